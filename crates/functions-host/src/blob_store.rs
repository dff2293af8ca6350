//! Containers with blobs in memory, and what a blob trigger keeps about them: events, receipts, path templates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regex::{Captures, Regex};
use serde_json::{Value, json};

use super::random;
use super::triggers::{self, ACCOUNT, BlobEvent};

/// What stays as it is in a blob's address.
const IN_ADDRESS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `{name}` in a template.
static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\{([\w-]+)\}").expect("a constant"));
/// The same in a template that is escaped for a regular expression.
static ESCAPED_PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\\\{(\w+)\\\}").expect("a constant"));

/// The blobs of one storage account; clones are the same ones.
#[derive(Clone, Debug, Default)]
pub struct BlobStore(Arc<Mutex<Account>>);

#[derive(Debug, Default)]
struct Account {
    blobs: BTreeMap<BlobName, Blob>,
    /// Every write in order, as a subscription to the account's events gets it.
    events: Vec<Version>,
    /// How many of them each function has been told.
    told: BTreeMap<String, usize>,
    /// Function and version of all that was done.
    receipts: BTreeSet<(String, Version)>,
}

/// A blob's place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobName {
    /// The container.
    pub container: String,
    /// The name inside it, which may have slashes.
    pub name: String,
}

/// One version of a blob.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Where it lies.
    pub blob: BlobName,
    /// New with each write.
    pub etag: String,
}

/// A blob.
#[derive(Clone, Debug)]
pub struct Blob {
    /// The exact bytes.
    pub content: Vec<u8>,
    /// New with each write.
    pub etag: String,
    /// User metadata.
    pub metadata: Value,
    /// As the writer said.
    pub content_type: String,
}

impl BlobName {
    /// From `container/name`.
    ///
    /// # Panics
    ///
    /// If there is no slash.
    pub fn new(path: &str) -> Self {
        let (container, name) = path.split_once('/').expect("container/name");
        Self {
            container: container.to_owned(),
            name: name.to_owned(),
        }
    }

    /// `container/name`.
    pub fn path(&self) -> String {
        format!("{}/{}", self.container, self.name)
    }
}

impl BlobStore {
    /// Writes a blob without metadata.
    pub fn put(&self, path: &str, content: impl Into<Vec<u8>>) -> Version {
        self.put_with(path, content, json!({}))
    }

    /// Writes a blob with user metadata.
    pub fn put_with(&self, path: &str, content: impl Into<Vec<u8>>, metadata: Value) -> Version {
        let version = Version {
            blob: BlobName::new(path),
            etag: format!("\"0x{:X}\"", random::bits()),
        };
        // What tools name by the end of the name; the service's own default says nothing.
        let content_type = match path.ends_with(".json") {
            true => "application/json",
            false => "application/octet-stream",
        };
        let blob = Blob {
            content: content.into(),
            etag: version.etag.clone(),
            metadata,
            content_type: content_type.to_owned(),
        };
        let mut account = self.account();
        account.blobs.insert(version.blob.clone(), blob);
        account.events.push(version.clone());
        version
    }

    /// A blob, if it is there.
    pub fn get(&self, path: &str) -> Option<Blob> {
        self.account().blobs.get(&BlobName::new(path)).cloned()
    }

    /// Removes a blob.
    pub fn delete(&self, path: &str) {
        self.account().blobs.remove(&BlobName::new(path));
    }

    /// Names of a container's blobs in order.
    pub fn names(&self, container: &str) -> Vec<String> {
        let account = self.account();
        let names = account.blobs.keys();
        names
            .filter(|blob| blob.container == container)
            .map(|blob| blob.name.clone())
            .collect()
    }

    /// The versions that lie there now.
    pub fn versions(&self) -> Vec<Version> {
        let account = self.account();
        let blobs = account.blobs.iter();
        blobs
            .map(|(name, blob)| Version {
                blob: name.clone(),
                etag: blob.etag.clone(),
            })
            .collect()
    }

    /// The events that a function has not been told yet.
    pub fn next_events(&self, function: &str) -> Vec<Version> {
        let mut account = self.account();
        let count = account.events.len();
        let told = account.told.insert(function.to_owned(), count);
        account.events[told.unwrap_or_default()..].to_vec()
    }

    /// Delivers an event once more, as event subscriptions may.
    pub fn repeat_event(&self, version: &Version) {
        self.account().events.push(version.clone());
    }

    /// Whether a function is done with a version.
    pub fn has_receipt(&self, function: &str, version: &Version) -> bool {
        let key = (function.to_owned(), version.clone());
        self.account().receipts.contains(&key)
    }

    /// Notes that a function is done with a version.
    pub fn add_receipt(&self, function: &str, version: &Version) {
        let key = (function.to_owned(), version.clone());
        self.account().receipts.insert(key);
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the host tells a function about a blob.
pub fn event(name: &BlobName, blob: &Blob, placeholders: Vec<(String, String)>) -> BlobEvent {
    let path = name.path();
    let address = utf8_percent_encode(&path, IN_ADDRESS);
    BlobEvent {
        body: blob.content.clone(),
        uri: format!("{ACCOUNT}/{address}"),
        placeholders,
        properties: triggers::blob_properties(&blob.content, &blob.content_type),
        metadata: blob.metadata.clone(),
    }
}

/// The values of a path's `{placeholders}` if a blob matches it; a path without a name takes a whole container.
pub fn match_path(template: &str, blob: &BlobName) -> Option<Vec<(String, String)>> {
    let Some((container, name)) = template.split_once('/') else {
        return (template == blob.container).then(Vec::new);
    };
    if container != blob.container {
        return None;
    }
    let escaped = regex::escape(name);
    let pattern = ESCAPED_PLACEHOLDER.replace_all(&escaped, "(?<$1>.+)");
    let form = Regex::new(&format!("^{pattern}$")).expect("names of placeholders are words");
    let found = form.captures(&blob.name)?;
    let names = form.capture_names().flatten();
    Some(
        names
            .map(|name| (name.to_owned(), found[name].to_owned()))
            .collect(),
    )
}

/// A path with its `{placeholders}` replaced.
///
/// # Errors
///
/// If one has no value.
pub fn fill_path(template: &str, values: &[(String, String)]) -> Result<String, String> {
    let mut missing = None;
    let filled = PLACEHOLDER.replace_all(template, |found: &Captures<'_>| {
        let name = &found[1];
        let mut known = values.iter();
        match known.find(|(known, _)| known.eq_ignore_ascii_case(name)) {
            Some((_, value)) => value.clone(),
            None if name == "rand-guid" => random::guid(),
            None => {
                missing = Some(name.to_owned());
                String::new()
            }
        }
    });
    match missing {
        Some(name) => Err(format!("no value for named parameter '{name}'")),
        None => Ok(filled.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn each_write_is_a_new_version_and_an_event() {
        let store = BlobStore::default();
        let first = store.put("in/a", "1");
        store.add_receipt("f", &first);
        let second = store.put_with("in/a", "2", json!({"model": "m"}));
        assert_ne!(first.etag, second.etag);
        let blob = store.get("in/a").unwrap();
        assert_eq!((blob.content, &blob.etag), (b"2".to_vec(), &second.etag));
        assert_eq!(store.versions(), std::slice::from_ref(&second));
        assert_eq!(store.next_events("f"), [first.clone(), second.clone()]);
        assert_eq!(store.next_events("f"), []);
        assert!(store.has_receipt("f", &first));
        assert!(!store.has_receipt("f", &second) && !store.has_receipt("g", &first));
        store.repeat_event(&first);
        assert_eq!(store.next_events("f"), [first]);
        assert_eq!(store.next_events("g").len(), 3);
        store.delete("in/a");
        assert!(store.get("in/a").is_none() && store.names("in").is_empty());
    }

    #[test]
    fn placeholders_match_and_are_filled_in() {
        let blob = BlobName::new("in/2026/a b.json");
        let name = |template: &str| match_path(template, &blob);
        assert_eq!(name("in/{name}"), Some(pairs(&[("name", "2026/a b.json")])));
        assert_eq!(
            name("in/{year}/{name}.json"),
            Some(pairs(&[("year", "2026"), ("name", "a b")]))
        );
        assert_eq!(name("in"), Some(vec![]));
        assert_eq!(name("in/{name}.csv"), None);
        assert_eq!(name("other/{name}"), None);
        assert_eq!(name("in/{name}xjson"), None, "a dot is a dot");

        let values = pairs(&[("name", "a b.json")]);
        let filled = fill_path("out/{Name}.json", &values);
        assert_eq!(filled.unwrap(), "out/a b.json.json");
        assert!(fill_path("out/{other}", &values).is_err());
        assert_eq!(fill_path("o/{rand-guid}", &values).unwrap().len(), 38);
    }

    #[test]
    fn an_event_has_a_percent_encoded_address() {
        let store = BlobStore::default();
        let name = store.put("in/ä b/100%.json", "x").blob;
        let blob = store.get(&name.path()).unwrap();
        let told = event(&name, &blob, Vec::new());
        let expected = "http://127.0.0.1:10000/devstoreaccount1/in/%C3%A4%20b/100%25.json";
        assert_eq!(told.uri, expected);
        assert_eq!(told.properties["ContentLength"], 1);
    }
}

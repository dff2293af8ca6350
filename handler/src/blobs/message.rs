//! The messages of the queue: an event of the storage account, a blob that is named by hand, or the rest of one.
//!
//! Source of the events: "Azure Blob Storage as an Event Grid source", in the schema of Event Grid or of CloudEvents.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};

use super::storage::Place;
use crate::bulk::Position;

/// Calls that one blob may take; their names stand in each message, which has 64 KiB at most.
pub(super) const MOST_CALLS: usize = 3000;
/// Blocks of a blob.
///
/// Source: "Scalability and performance targets for Blob storage".
pub(super) const MOST_BLOCKS: u64 = 50_000;

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Job {
    /// The blob: its container, a slash, and its name.
    pub(super) blob: String,
    /// What earlier calls have done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) done: Option<Progress>,
    /// Lines of a window, where the usual number took too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<usize>,
    /// How often it was begun again because it had changed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) restarts: u32,
    /// How many calls in a row have got no further.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) stalls: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How far a version of a blob is scored, by which model, and the blocks that were written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// The version of the blob.
    pub(super) etag: String,
    /// The model and its version by content.
    pub(super) model: String,
    /// Up to where lines are done.
    #[serde(flatten)]
    pub(super) at: Position,
    pub(super) scored: u64,
    pub(super) failed: u64,
    /// In the order of the calls.
    pub(super) blocks: Vec<Written>,
}

/// The blocks that one call has written: the start of their names, and how many of results and of refusals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written(pub(super) String, pub(super) u32, pub(super) u32);

impl Written {
    /// The names of blocks; of one length, as the blocks of a blob must have. [`Storage`](super::storage::Storage) makes base64
    /// of them.
    pub(super) fn name(call: &str, block: u32) -> String {
        format!("{call}{block:08}")
    }

    pub(super) fn results(&self) -> impl Iterator<Item = String> {
        (0..self.1).map(|block| Self::name(&self.0, block))
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = String> {
        (0..self.2).map(|block| Self::name(&self.0, block))
    }
}

impl Progress {
    /// Whether a call may have got so far: each line takes a byte at least, and is scored or refused once.
    fn may_be(&self) -> bool {
        let (results, refusals) = self.block_counts();
        self.blocks.len() <= MOST_CALLS
            && results.max(refusals) < MOST_BLOCKS
            && self.at.line <= self.at.byte
            && self.scored.saturating_add(self.failed) <= self.at.line.saturating_add(1)
    }

    /// The name of the block that says that a call has got so far: a message alone is no proof, since others may write to the
    /// queue, and a wrong position would leave lines out. As long as the names of other blocks.
    ///
    /// # Errors
    /// If it cannot be written as JSON.
    pub(super) fn seal(&self) -> serde_json::Result<String> {
        let digest = blake3::hash(&serde_json::to_vec(self)?).to_hex();
        Ok(digest
            .chars()
            .take(Written::name("12345678", 0).len())
            .collect())
    }

    /// Blocks of results and of refusals.
    pub(super) fn block_counts(&self) -> (u64, u64) {
        self.blocks.iter().fold((0, 0), |(results, refusals), one| {
            (results + u64::from(one.1), refusals + u64::from(one.2))
        })
    }
}

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// One of these places has a blob to be scored: an event's may be spelled in several ways.
    Blob { places: Vec<Place>, job: Job },
    /// Nothing; the text says why.
    Nothing(String),
}

/// An event of a storage account, in any schema.
#[derive(Deserialize)]
struct Event {
    #[serde(alias = "eventType", rename = "type")]
    kind: String,
    #[serde(default)]
    subject: String,
    data: Data,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    #[serde(default)]
    api: String,
    #[serde(default)]
    url: String,
    #[serde(default)]
    destination_url: String,
}

/// Event Grid delivers one event to a message, but webhooks get lists, and such are sent on.
#[derive(Deserialize)]
#[serde(untagged)]
enum Sent {
    Job(Job),
    Event(Event),
    One([Event; 1]),
}

/// What an error says was expected.
const EXPECTED: &str = "expected an event of a storage account, or {\"blob\": \"container/name\"}";

/// Reads a message, which Event Grid writes in base64.
///
/// # Errors
/// If it is neither; the text says what was expected.
pub(super) fn read(body: &[u8]) -> Result<Message, String> {
    let body = without_mark(body);
    let unpacked = match body.first() {
        Some(b'{' | b'[') => None,
        _ => BASE64_STANDARD.decode(body).ok(),
    };
    let text = unpacked.as_deref().map_or(body, without_mark);
    let sent: Sent = serde_json::from_slice(text)
        .map_err(|_| format!("the message names no blob: {EXPECTED}"))?;
    match sent {
        Sent::Job(job) => by_hand(job),
        Sent::Event(event) | Sent::One([event]) => Ok(of_event(&event)),
    }
}

/// A text without white space around it, and without the mark that some writers of UTF-8 begin with.
fn without_mark(text: &[u8]) -> &[u8] {
    let text = text.trim_ascii();
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

fn by_hand(job: Job) -> Result<Message, String> {
    let place = job
        .blob
        .split_once('/')
        .and_then(|(container, name)| place(container, name));
    let place = place.ok_or_else(|| format!("blob: {EXPECTED}"))?;
    if job.done.as_ref().is_some_and(|done| !done.may_be()) {
        return Err("done: no call of this program has written this".to_owned());
    }
    Ok(Message::Blob {
        places: vec![place],
        job,
    })
}

fn of_event(event: &Event) -> Message {
    let kind = event.kind.as_str();
    // A file that is created and not yet written to its end; its end has an event of its own.
    let is_begun = ["CreateFile", "SftpCreate"].contains(&event.data.api.as_str());
    let places = match kind {
        "Microsoft.Storage.BlobCreated" if is_begun => {
            return Message::Nothing("the file is only created yet".to_owned());
        }
        "Microsoft.Storage.BlobCreated" => {
            // The subject has the name as it is, the address an encoded form. Names with some characters are damaged in one
            // or the other.
            let subject = of_subject(&event.subject);
            let spelled = [
                subject,
                of_url(&event.data.url, true),
                of_url(&event.data.url, false),
            ];
            spelled.into_iter().flatten().collect::<Vec<_>>()
        }
        // Programs that write to a temporary name and rename: the blob has no other event under its name.
        "Microsoft.Storage.BlobRenamed" => {
            let url = &event.data.destination_url;
            [of_url(url, true), of_url(url, false)]
                .into_iter()
                .flatten()
                .collect()
        }
        kind => {
            let shown: String = kind.chars().take(60).collect();
            return Message::Nothing(format!("an event {shown:?} brings no blob"));
        }
    };
    let mut places: Vec<Place> = places;
    places.dedup();
    let Some(first) = places.first() else {
        return Message::Nothing("the event names no blob".to_owned());
    };
    let blob = format!("{}/{}", first.container, first.name);
    let job = Job {
        blob,
        done: None,
        rows: None,
        restarts: 0,
        stalls: 0,
    };
    Message::Blob { places, job }
}

fn of_subject(subject: &str) -> Option<Place> {
    let rest = subject.strip_prefix("/blobServices/default/containers/")?;
    let (container, name) = rest.split_once("/blobs/")?;
    place(container, name)
}

/// The last parts of an address; those of the emulator begin with the account.
fn of_url(url: &str, is_encoded: bool) -> Option<Place> {
    let (_, rest) = url.split_once("://")?;
    let (host, path) = rest.split_once('/')?;
    let path = match host.contains(":10000") || host.starts_with("127.") {
        true => path.split_once('/')?.1,
        false => path,
    };
    let (container, name) = path.split_once('/')?;
    if !is_encoded {
        return place(container, name);
    }
    let name = percent_decode_str(name).decode_utf8().ok()?;
    place(container, &name)
}

/// A blob, unless its name is one that addresses change, or none.
fn place(container: &str, name: &str) -> Option<Place> {
    let fits = !container.is_empty()
        && !name.is_empty()
        && name.len() <= 4096
        && !name.split('/').any(|part| part == "." || part == "..")
        && !name.contains(char::is_control)
        && container
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-$".contains(&byte));
    fits.then(|| Place {
        container: container.to_owned(),
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(body: &str) -> Vec<String> {
        match read(body.as_bytes()).unwrap() {
            Message::Blob { places, .. } => {
                let name = |place: Place| format!("{}|{}", place.container, place.name);
                places.into_iter().map(name).collect()
            }
            Message::Nothing(why) => vec![why],
        }
    }

    fn event(kind: &str, api: &str, subject: &str, url: &str) -> String {
        format!(
            r#"{{"topic":"/subscriptions/x","subject":"{subject}","eventType":"{kind}","id":"1","data":{{"api":"{api}","url":"{url}",
               "eTag":"0x1","contentLength":0,"blobType":"BlockBlob","destinationUrl":"{url}"}},"dataVersion":"2","eventTime":"2026-01-01T00:00:00Z"}}"#
        )
    }

    #[test]
    fn events_name_blobs_in_each_spelling_that_is_seen() {
        let created = "Microsoft.Storage.BlobCreated";
        let subject = |name: &str| format!("/blobServices/default/containers/in/blobs/{name}");
        let url = |name: &str| format!("https://a.blob.core.windows.net/in/{name}");
        for (name, encoded, expected) in [
            ("a.csv", "a.csv", vec!["in|a.csv"]),
            // The subject is what the name is: an address alone would not tell.
            (
                "a b+c.csv",
                "a%20b+c.csv",
                vec!["in|a b+c.csv", "in|a%20b+c.csv"],
            ),
            (
                "100%.csv",
                "100%25.csv",
                vec!["in|100%.csv", "in|100%25.csv"],
            ),
            (
                "a%20b.csv",
                "a%2520b.csv",
                vec!["in|a%20b.csv", "in|a%2520b.csv"],
            ),
            (
                "d/M\u{e4}rz #1.csv",
                "d/M%C3%A4rz%20%231.csv",
                vec!["in|d/M\u{e4}rz #1.csv", "in|d/M%C3%A4rz%20%231.csv"],
            ),
            // What is beyond the basic plane arrives damaged in the subject.
            (
                "\u{fffd}\u{fffd}.csv",
                "%F0%9F%92%8E.csv",
                vec![
                    "in|\u{fffd}\u{fffd}.csv",
                    "in|\u{1f48e}.csv",
                    "in|%F0%9F%92%8E.csv",
                ],
            ),
            ("a/blobs/b", "a/blobs/b", vec!["in|a/blobs/b"]),
        ] {
            let body = event(created, "PutBlockList", &subject(name), &url(encoded));
            assert_eq!(names(&body), expected, "{name}");
            assert_eq!(names(&BASE64_STANDARD.encode(&body)), expected, "in base64");
            assert_eq!(names(&format!("[{body}]")), expected, "in a list");
            let marked = format!("\u{feff}{body}");
            assert_eq!(names(&marked), expected, "with a mark");
            assert_eq!(names(&BASE64_STANDARD.encode(&marked)), expected, "packed");
        }
        // As CloudEvents has it, from a hierarchical account: its address is that of another service.
        let cloud = format!(
            r#"{{"source":"/subscriptions/x","subject":"{}","type":"{created}","time":"2026-01-01T00:00:00Z","id":"1","specversion":"1.0",
               "data":{{"api":"FlushWithClose","requestId":"r","eTag":"0x1","contentLength":1,"contentOffset":0,"blobType":"BlockBlob",
               "url":"https://a.dfs.core.windows.net/in/d/x","sequencer":"0","identity":"$superuser","storageDiagnostics":{{}}}}}}"#,
            subject("d/x")
        );
        assert_eq!(names(&cloud), ["in|d/x"]);
        let renamed = event(
            "Microsoft.Storage.BlobRenamed",
            "RenameFile",
            "",
            &url("b%20c"),
        );
        assert_eq!(names(&renamed), ["in|b c", "in|b%20c"]);
    }

    #[test]
    fn what_brings_no_blob_is_said_so() {
        let subject = "/blobServices/default/containers/in/blobs/a";
        for (kind, api, expected) in [
            (
                "Microsoft.Storage.BlobCreated",
                "CreateFile",
                "only created",
            ),
            (
                "Microsoft.Storage.BlobCreated",
                "SftpCreate",
                "only created",
            ),
            (
                "Microsoft.Storage.BlobDeleted",
                "DeleteBlob",
                "brings no blob",
            ),
            (
                "Microsoft.EventGrid.SubscriptionValidationEvent",
                "",
                "brings no blob",
            ),
            (
                "Microsoft.Storage.BlobTierChanged",
                "SetBlobTier",
                "brings no blob",
            ),
            (
                "Microsoft.Storage.DirectoryRenamed",
                "RenameDirectory",
                "brings no blob",
            ),
        ] {
            let said = &names(&event(kind, api, subject, "https://a.b/in/a"))[0];
            assert!(said.contains(expected), "{kind}: {said}");
        }
        for body in [
            "",
            "x",
            "{}",
            "[]",
            "{\"blob\":\"a\"}",
            "{\"blob\":\"in/..\"}",
            "{\"blob\":\"in/a/../b\"}",
            "{\"blob\":\"../x/y\"}",
        ] {
            assert!(
                read(body.as_bytes()).unwrap_err().contains(EXPECTED),
                "{body}"
            );
        }
        assert_eq!(names(r#"{"blob":"in/a b/c.csv"}"#), ["in|a b/c.csv"]);
        let emulator = "http://127.0.0.1:10000/devstoreaccount1/in/a";
        let body = event("Microsoft.Storage.BlobCreated", "PutBlob", "", emulator);
        assert_eq!(names(&body), ["in|a"]);
    }

    #[test]
    fn what_no_call_can_have_done_is_refused() {
        let sent = |line: u64, scored: u64, blocks: u32| {
            let job = Job {
                blob: "in/a.jsonl".to_owned(),
                done: Some(Progress {
                    etag: "1".to_owned(),
                    model: "m".to_owned(),
                    at: Position { byte: 100, line },
                    scored,
                    failed: 1,
                    blocks: vec![Written("aaaaaaaa".to_owned(), blocks, 0)],
                }),
                rows: None,
                restarts: 0,
                stalls: 0,
            };
            by_hand(job).is_ok()
        };
        assert!(sent(50, 49, 1));
        for (line, scored, blocks) in [(101, 9, 1), (50, u64::MAX, 1), (50, 9, u32::MAX)] {
            assert!(!sent(line, scored, blocks), "{line} {scored} {blocks}");
        }
    }

    #[test]
    fn the_longest_message_fits_a_queue_in_base64() {
        let call = Written("\u{10ffff}".repeat(8).replace('\u{10ffff}', "x"), 16, 16);
        let job = Job {
            blob: "x".repeat(2048),
            done: Some(Progress {
                etag: "\"0x8D4BCC2E4835CD0\"".to_owned(),
                model: "m".repeat(128),
                at: Position::default(),
                scored: u64::MAX,
                failed: u64::MAX,
                blocks: vec![call; MOST_CALLS],
            }),
            rows: Some(1),
            restarts: 1,
            stalls: 1,
        };
        let text = serde_json::to_string(&job).unwrap();
        assert!(text.len() < 64 << 10, "{}", text.len());
        assert_eq!(serde_json::from_str::<Job>(&text).unwrap(), job);
    }
}

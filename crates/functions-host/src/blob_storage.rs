//! Azurite, the official Blob Storage SDK, and the host's listener in between.

use std::path::Path;

use serde_json::{Value, json};

use super::azurite::Azurite;
use super::encoding::base64;
use super::host::FunctionsHost;
use super::host_config::Binding;
use super::invoke::Transport;
use super::python::{PythonProcess, bytes, text, without_nulls};
use super::triggers::BlobEvent;

/// The official SDK in a process of its own.
#[derive(Debug)]
pub struct BlobClient(PythonProcess);

impl BlobClient {
    /// A client of Azurite's Blob service.
    pub fn of(storage: &Azurite) -> Self {
        let port = storage.port().to_string();
        Self(PythonProcess::start("blob_storage.py", &[port]))
    }

    /// A client of one that has TLS with a certificate of this authority.
    pub fn secured(storage: &Azurite, authority: &Path) -> Self {
        let authority = authority.to_str().expect("a path in UTF-8").to_owned();
        let arguments = [storage.port().to_string(), authority];
        Self(PythonProcess::start("blob_storage.py", &arguments))
    }

    /// Makes a container.
    pub fn create_container(&self, container: &str) {
        let request = json!({ "container": container });
        self.0.ask("create_container", request);
    }

    /// Writes a blob, with a content type and user metadata if given.
    pub fn upload(
        &self,
        (container, name): (&str, &str),
        body: &[u8],
        content_type: Option<&str>,
        metadata: Option<Value>,
    ) {
        let request = json!({
            "container": container,
            "name": name,
            "body": base64(body),
            "content_type": content_type,
            "metadata": metadata,
        });
        self.0.ask("upload", without_nulls(request));
    }

    /// Writes a blob of another kind: `AppendBlob`, or `PageBlob`, whose length is a multiple of 512.
    pub fn upload_as(&self, kind: &str, (container, name): (&str, &str), body: &[u8]) {
        let request =
            json!({ "container": container, "name": name, "body": base64(body), "kind": kind });
        self.0.ask("upload", request);
    }

    /// Keeps a blob as it is now.
    pub fn snapshot(&self, container: &str, name: &str) {
        let request = json!({ "container": container, "name": name });
        self.0.ask("snapshot", request);
    }

    /// Locks a blob for others.
    pub fn lease(&self, container: &str, name: &str) {
        let request = json!({ "container": container, "name": name });
        self.0.ask("lease", request);
    }

    /// Ends the lease of a blob.
    pub fn end_lease(&self, container: &str, name: &str) {
        let request = json!({ "container": container, "name": name });
        self.0.ask("end_lease", request);
    }

    /// Removes a container with its blobs.
    pub fn delete_container(&self, container: &str) {
        let request = json!({ "container": container });
        self.0.ask("delete_container", request);
    }

    /// Names of all blobs of a container, sorted.
    pub fn names(&self, container: &str) -> Vec<String> {
        self.list(container)
            .iter()
            .map(|blob| text(blob, "name").expect("a name"))
            .collect()
    }

    /// A blob's content.
    ///
    /// # Panics
    ///
    /// If there is no such blob.
    pub fn download(&self, container: &str, name: &str) -> Vec<u8> {
        let request = json!({ "container": container, "name": name });
        bytes(&self.0.ask("download", request))
    }

    /// The same for a blob of JSON.
    pub fn download_json(&self, container: &str, name: &str) -> Value {
        serde_json::from_slice(&self.download(container, name)).expect("JSON")
    }

    /// Removes a blob.
    ///
    /// # Panics
    ///
    /// If there is no such blob.
    pub fn delete(&self, container: &str, name: &str) {
        let request = json!({ "container": container, "name": name });
        self.0.ask("delete", request);
    }

    fn list(&self, container: &str) -> Vec<Value> {
        let blobs = self.0.ask("list", json!({ "container": container }));
        blobs.as_array().expect("blobs").clone()
    }
}

/// What the host remembers of the blobs that a function has dealt with.
#[derive(Debug, Default)]
pub struct BlobReceipts(Vec<Value>);

impl FunctionsHost {
    /// Announces each new version of a blob to a function and writes the outputs; what fails stays new. Returns how
    /// many went well.
    ///
    /// # Errors
    ///
    /// Why the first that failed did.
    pub async fn scan(
        &self,
        client: &BlobClient,
        function: &str,
        receipts: &mut BlobReceipts,
    ) -> Result<usize, String> {
        let declared = self.config().function(function).expect("a function");
        let (container, _) = place(declared.trigger(), "");
        let (mut done, mut failure) = (0, None);
        for blob in client.list(&container) {
            let receipt = json!([function, blob["name"], blob["etag"]]);
            if receipts.0.contains(&receipt) {
                continue;
            }
            let name = text(&blob, "name").expect("a name");
            let event = event(&blob, &name, client.download(&container, &name));
            match self.blob(function, &event, Transport::Chunked).await {
                Ok(outcome) => {
                    assert_eq!(outcome.ignored, [""; 0], "outputs that the host would drop");
                    for output in declared.outputs() {
                        if let Some(content) = outcome.blob(&output.name) {
                            let (container, name) = place(output, &name);
                            client.upload((&container, &name), content, None, None);
                        }
                    }
                    receipts.0.push(receipt);
                    done += 1;
                }
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(done), Err)
    }
}

fn event(blob: &Value, name: &str, body: Vec<u8>) -> BlobEvent {
    BlobEvent {
        uri: text(blob, "uri").expect("an address"),
        placeholders: vec![("name".to_owned(), name.to_owned())],
        properties: json!({
            "ContentLength": body.len(),
            "ContentType": blob["content_type"],
            "LastModified": blob["last_modified"],
        }),
        metadata: blob["metadata"].clone(),
        body,
    }
}

/// Container and blob of a binding's path, `{name}` filled in.
fn place(binding: &Binding, name: &str) -> (String, String) {
    let path = binding.setting("path");
    let (container, blob) = path.split_once('/').expect("container/blob");
    (container.to_owned(), blob.replace("{name}", name))
}

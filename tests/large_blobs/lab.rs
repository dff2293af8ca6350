//! An app that scores large blobs, a storage account, and what its user does with them.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use functions_host::azurite::Azurite;
use functions_host::blob_storage::BlobClient;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::queue_storage::{Encoding, QueueClient};

pub(crate) const FUNCTION: &str = "score_large_blob";
pub(crate) const QUEUE: &str = "large";
pub(crate) const IN: &str = "incoming-large";
/// Azurite's account, with the key that its documentation shows.
pub(crate) const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// An app, a storage account, and what its user does with it.
pub(crate) struct Lab {
    pub(crate) host: Arc<FunctionsHost>,
    pub(crate) blobs: BlobClient,
    pub(crate) queue: QueueClient,
    app: AppRoot,
    options: HostOptions,
    _storage: [Azurite; 2],
}

/// A call works on a few windows of 100 lines.
fn options() -> HostOptions {
    HostOptions::from([
        ("SCORE_BLOBS_QUEUE", QUEUE),
        ("SCORE_BLOBS_BUDGET", "1ms"),
        ("SCORE_MAX_ROWS", "100"),
        ("SCORE_DEFAULT_MODEL", "affine"),
    ])
}

impl Lab {
    pub(crate) async fn start(change: impl FnOnce(HostOptions) -> HostOptions) -> Self {
        let storage = Azurite::start("blob");
        let endpoint = format!("http://127.0.0.1:{}/{ACCOUNT}", storage.port());
        let account = format!("AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint}");
        let client = BlobClient::of(&storage);
        let change = |options: HostOptions| change(options.setting("SCORE_BLOBS_STORAGE", account));
        Self::on(storage, client, change).await
    }
    /// On this account, which the options have to name.
    pub(crate) async fn on(
        storage: Azurite,
        blobs: BlobClient,
        change: impl FnOnce(HostOptions) -> HostOptions,
    ) -> Self {
        let app = AppRoot::new();
        for name in ["affine", "affine_wide", "slow"] {
            let model = format!("tests/data/models/{name}.onnx");
            app.add_model(name, repository().join(model), None);
        }
        app.link_model("tiny", &repository().join("tests/data/text/tiny"));
        let template = "handler/src/commands/package/templates/score_large_blob.json";
        let template = std::fs::read(repository().join(template)).unwrap();
        app.write(&format!("{FUNCTION}/function.json"), template);
        let storage = [storage, Azurite::start("queue")];
        let queue = QueueClient::of(&storage[1]);
        // The container of results is made with the first of them.
        for container in [IN, "rejected"] {
            blobs.create_container(container);
        }
        for name in [QUEUE, "large-poison"] {
            queue.create(name);
        }
        let options = change(options());
        let host = Arc::new(FunctionsHost::start(&app, options.clone()).await);
        Self {
            host,
            blobs,
            queue,
            app,
            options,
            _storage: storage,
        }
    }
    /// Another instance of the app, on the same storage.
    pub(crate) async fn instance(&self) -> FunctionsHost {
        FunctionsHost::start(&self.app, self.options.clone()).await
    }
    pub(crate) fn upload(&self, name: &str, text: &str) {
        self.blobs.upload((IN, name), text.as_bytes(), None, None);
    }
    pub(crate) fn send(&self, message: &str) {
        self.queue.send(QUEUE, Encoding::Plain, message.as_bytes());
    }
    pub(crate) fn name(&self, name: &str) {
        self.send(&json!({"blob": format!("{IN}/{name}")}).to_string());
    }
    /// Lets the function have one message.
    pub(crate) async fn call(&self) -> Result<(), String> {
        self.host.listen_stored(&self.queue, FUNCTION).await
    }
    /// Lets the function have messages until none is left; the result is how many there were.
    pub(crate) async fn work(&self) -> usize {
        let mut calls = 0;
        loop {
            let waiting = self.queue.take(QUEUE);
            if waiting.is_empty() {
                return calls;
            }
            for message in waiting {
                self.send(&message);
                self.call().await.unwrap();
                calls += 1;
            }
        }
    }
    /// Scores a blob without a disturbance.
    pub(crate) async fn scored(&self, name: &str, text: &str) -> (String, String) {
        self.upload(name, text);
        self.name(name);
        self.work().await;
        self.results(name)
    }

    pub(crate) fn results(&self, name: &str) -> (String, String) {
        let text = |container, name: &str| {
            let bytes = self.blobs.download(container, name);
            String::from_utf8(bytes).unwrap()
        };
        let refusals = format!("{name}.errors.jsonl");
        let has_refusals = self.names("rejected").contains(&refusals);
        let refusals = has_refusals.then(|| text("rejected", &refusals));
        (text("scored", name), refusals.unwrap_or_default())
    }

    pub(crate) fn names(&self, container: &str) -> Vec<String> {
        self.blobs.names(container)
    }
}

/// A table for the model `affine`, twice x plus one; each thousandth line cannot be scored.
pub(crate) fn table(lines: usize) -> String {
    let mut text = "a,b,c\n".to_owned();
    for line in 2..=lines {
        match line % 1000 {
            0 => text.push_str("x,y,z\n"),
            _ => writeln!(text, "{line},0,-1").unwrap(),
        }
    }
    text
}

pub(crate) fn lines_of(refusals: &str) -> Vec<u64> {
    let number = |line| {
        serde_json::from_str::<Value>(line).unwrap()["line"]
            .as_u64()
            .unwrap()
    };
    refusals.lines().map(number).collect()
}

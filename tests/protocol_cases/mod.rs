//! Conformance with the protocol between host and handler, case by case; each test bears the ids of the cases it shows.

mod batches;
mod blobs;
mod envelopes;
mod forwarded;
mod journeys;
mod large_batches;
mod life;
mod list;
mod load;
mod messages;
mod robustness;
mod scoring_app;
mod waits_inside;

pub(crate) use robustness::mistakes;

use std::path::PathBuf;

use crate::support::app_root::{AppRoot, repository};
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use functions_host::http1;

pub(crate) const JSON: (&str, &str) = ("content-type", "application/json");

/// One of the small models that the tests ship.
pub(crate) fn test_model(name: &str) -> PathBuf {
    repository().join(format!("tests/data/models/{name}.onnx"))
}

/// An app with one of them as its only model.
pub(crate) fn app_with(name: &str) -> AppRoot {
    let app = AppRoot::new();
    app.add_model(name, test_model(name), None);
    app
}

/// `GET /` on a connection of its own, as the host asks.
pub(crate) async fn probe(port: u16) -> Answer {
    let own = format!("127.0.0.1:{port}");
    let request = http1::head("GET", "/", &[("Host", own)]);
    http1::exchange(port, &[&request]).await.unwrap()
}

/// The value of one line of the metrics, `score_cache_damaged_total`.
pub(crate) async fn figure(host: &FunctionsHost, name: &str) -> i64 {
    let text = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    let mut values = text.lines().filter_map(|line| line.split_once(' '));
    let found = values.find(|(found, _)| found.split('{').next() == Some(name));
    let found = found.unwrap_or_else(|| panic!("no metric {name} in\n{text}"));
    found.1.parse().unwrap()
}

/// An app with the model `affine`, whose loading does not end before it is allowed to.
pub(crate) struct LateApp {
    pub(crate) app: AppRoot,
    endless: PathBuf,
}

/// So long that no test waits until it is read.
const ENDLESS_BYTES: u64 = 1 << 40;

impl LateApp {
    pub(crate) fn new() -> Self {
        Self::of(app_with("affine"))
    }

    /// Of an app that has the model.
    pub(crate) fn of(app: AppRoot) -> Self {
        // A hole that takes no room on the disk: all files of a model are read for its digest.
        let endless = app.path().join("models/affine/endless.bin");
        let file = std::fs::File::create(&endless).unwrap();
        file.set_len(ENDLESS_BYTES).unwrap();
        Self { app, endless }
    }

    pub(crate) async fn let_load(&self) {
        let file = std::fs::File::options().write(true).open(&self.endless);
        file.unwrap().set_len(0).unwrap();
    }
}

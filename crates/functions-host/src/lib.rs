//! A stand-in for the Azure Functions host, for tests: it starts a custom handler, and brings it requests, messages and
//! blobs as the host does.
//!
//! The host itself:
//! - [`app_folder`]: the folder of an app, in a temporary directory; [`functions`] puts functions into it
//! - [`host`]: starts, watches, stops and restarts the handler; [`host_options`]: modes, settings and other wishes for a
//!   start; [`supervisor`]: restarts the handler after a crash; [`process`]: the child process with its log lines, exit
//!   status and signals
//! - [`in_process`]: a handler that runs on a thread of the test's process instead
//! - [`forward`]: a caller's HTTP request on its way through the host, in all three modes; [`received`] is what the host
//!   makes of it, [`throttle`] how many it takes
//! - [`invoke`]: envelopes, and the host's verdict on their answers
//! - [`triggers`]: messages and blobs as the host puts them into an envelope
//! - [`listener`]: the host's triggers, from a queue or container through the handler to the outputs
//! - [`encoding`], [`outputs`]: the host's value rules, in and out; [`newtonsoft`] and [`iso8601`] serve them
//! - [`host_config`], [`routes`], [`headers`]: what the host reads from host.json, function.json, URLs and header lines
//!
//! Around it:
//! - [`broker`], [`storage_queue`], [`blob_store`]: Service Bus, storage queues and blobs in memory; [`cloud`]: all three
//! - [`service_bus`]; [`blob_storage`], [`queue_storage`]: a broker and [`azurite`], seen through the official SDKs, and
//!   the host's listeners; [`python`]: the processes of `tests/messaging`
//! - [`recording`], [`recorder`]: what a real host was seen to send, and a handler that notes what it gets;
//!   [`recorded_app`]: the app that it ran
//! - [`http1`], [`client`]: HTTP/1.1 by hand for odd cases, and a keep-alive client made of it
//! - [`answer`]: an HTTP answer as the caller sees it
//! - [`port`], [`random`]: free loopback ports and unique ids
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a failing expectation is what a test is for"
)]

pub mod answer;
pub mod app_folder;
pub mod azurite;
pub mod blob_storage;
pub mod blob_store;
pub mod broker;
pub mod client;
pub mod cloud;
pub mod encoding;
pub mod forward;
pub mod functions;
pub mod headers;
pub mod host;
pub mod host_config;
pub mod host_options;
pub mod http1;
pub mod in_process;
pub mod invoke;
pub mod iso8601;
pub mod listener;
pub mod newtonsoft;
pub mod outputs;
pub mod port;
pub mod process;
pub mod python;
pub mod queue_storage;
pub mod random;
pub mod received;
pub mod recorded_app;
pub mod recorder;
pub mod recording;
pub mod routes;
pub mod service_bus;
pub mod storage_queue;
pub mod supervisor;
pub mod throttle;
pub mod triggers;

/// How long tests wait for an event. Only a test that fails takes so long: what is asserted is the event, not the time, so
/// that a busy machine makes the tests slower and nothing else.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// Waits until `holds` says yes.
///
/// # Panics
///
/// With `what` if it does not within [`PATIENCE`].
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let give_up = std::time::Instant::now() + PATIENCE;
    while !holds().await {
        assert!(
            std::time::Instant::now() < give_up,
            "not within {PATIENCE:?}: {what}"
        );
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
}

/// The root of the workspace, where host.json, the sample models and the recordings lie.
pub fn repository() -> std::path::PathBuf {
    let mut workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let root = workspace.nth(2);
    root.expect("a member lies in the workspace").to_path_buf()
}

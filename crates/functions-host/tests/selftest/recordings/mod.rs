//! The stand-in held to recordings of a real host (`tests/data/recorded`).
//!
//! - [`http`]: a caller's request goes into the stand-in; compared is what the handler and what the caller get
//! - [`triggers`]: a message or blob goes in; compared is what the handler gets and what comes out
//! - [`lifecycle`]: retries, crashes, ends

mod http;
mod lifecycle;
mod triggers;

use futures_util::stream::{self, StreamExt as _};

use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::port;
use functions_host::recorded_app::app;
use functions_host::recorder::Recorder;
use functions_host::recording::{Recording, Request};

/// How many cases are compared at the same time.
const AT_ONCE: usize = 8;

/// A host with this app, and the handler that it talks to.
async fn start(recording: &Recording, mode: &str) -> (FunctionsHost, Recorder) {
    let settings = recording.member("settings");
    let port = port::free();
    let recorder = Recorder::start(port, recording.replies()).await;
    let mut options = HostOptions::default().port(port).key("FK");
    if settings["FUNCTIONS_CORETOOLS_ENVIRONMENT"] == "true" {
        options = options.core_tools();
    }
    let host = FunctionsHost::start(&app(mode, settings), options).await;
    (host, recorder)
}

fn masked(requests: &[Request]) -> Vec<Request> {
    requests.iter().map(Request::masked).collect()
}

/// Readable where requests differ.
fn shown(requests: &[Request]) -> Vec<(String, Vec<String>, String)> {
    let shown = |request: &Request| {
        let body = String::from_utf8_lossy(&request.body);
        (
            request.head.replace("\r\n", " | "),
            request.chunks.clone(),
            body.chars().take(4000).collect(),
        )
    };
    requests.iter().map(shown).collect()
}

fn assert_requests(case: &str, got: &[Request], recorded: &[Request]) -> Result<(), String> {
    let (got, recorded) = (shown(&masked(got)), shown(&masked(recorded)));
    match got == recorded {
        true => Ok(()),
        false => Err(format!(
            "{case}: the handler got\n  {got:#?}\ninstead of\n  {recorded:#?}"
        )),
    }
}

/// Compares the cases of a group, some of them at the same time: most wait. Fails with all faults at once, so that one look
/// tells which cases differ.
async fn replay_all(
    group: &str,
    recordings: impl Iterator<Item = Recording>,
    compare: impl AsyncFn(Recording) -> Result<(), String>,
) {
    let outcomes = stream::iter(recordings)
        .map(|recording| compare(recording))
        .buffered(AT_ONCE);
    let outcomes: Vec<Result<(), String>> = outcomes.collect().await;
    let cases = outcomes.len();
    assert!(cases > 0, "no case of {group}");
    let faults: Vec<String> = outcomes.into_iter().filter_map(Result::err).collect();
    assert!(
        faults.is_empty(),
        "{group}: {} of {cases} cases differ:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

//! What a real host sent, sent to the handler itself: each answer has to be one that the host completes with.

use regex::Regex;

use crate::support::app_root::AppRoot;
use crate::support::in_process;
use functions_host::answer::Answer;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::http1;
use functions_host::invoke::judge;
use functions_host::outputs::OutputValue;
use functions_host::recorded_app::bindings;
use functions_host::recording::{Recording, Request};

const GROUPS: [&str; 7] = [
    "probe",
    "forwarding",
    "proxying",
    "envelope",
    "outputs",
    "answers",
    "lifecycle",
];

/// The sample model under the recorded names of functions, without those that were made for the recording only.
async fn start(options: HostOptions) -> FunctionsHost {
    let app = AppRoot::with_sample();
    for folder in ["score_http", "score_queue", "score_blob"] {
        std::fs::remove_dir_all(app.path().join(folder)).unwrap();
    }
    for (name, bindings) in bindings() {
        if is_ours(name) {
            let file = serde_json::json!({ "bindings": bindings }).to_string();
            app.write(&format!("{name}/function.json"), file);
        }
    }
    in_process::start(&app, options).await
}

fn is_ours(function: &str) -> bool {
    !function.starts_with("out-") && !function.starts_with("ret-")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_request_gets_an_answer_that_the_host_completes_with() {
    let in_azure = start(HostOptions::default()).await;
    let in_core_tools = start(HostOptions::default().core_tools()).await;
    let (mut faults, mut count) = (Vec::new(), 0);
    for group in GROUPS {
        for recording in Recording::group(group) {
            let settings = recording.member("settings");
            let host = match settings["FUNCTIONS_CORETOOLS_ENVIRONMENT"].is_string() {
                true => &in_core_tools,
                false => &in_azure,
            };
            let mut requests = recording.requests();
            requests.dedup();
            for request in requests {
                let (_, rest) = request.head.split_once('/').unwrap();
                if !is_ours(rest) {
                    continue;
                }
                count += 1;
                let verdict = answered(host, &request).await;
                faults.extend(
                    verdict
                        .err()
                        .map(|why| format!("{group}/{}: {why}", recording.name())),
                );
            }
        }
    }
    assert!(count > 150, "only {count} requests");
    assert!(
        faults.is_empty(),
        "{} of {count} requests:\n{}",
        faults.len(),
        faults.join("\n")
    );
}

/// Sends a recorded request, to the port of this run, and says what the host would have against the answer.
async fn answered(host: &FunctionsHost, request: &Request) -> Result<(), String> {
    let port = Regex::new(r"Host: 127\.0\.0\.1:\d+").unwrap();
    let own = format!("Host: 127.0.0.1:{}", host.port());
    let request = Request {
        head: port.replace(&request.head, own).into_owned(),
        ..request.clone()
    };
    let answer = http1::exchange(host.port(), &[&request.bytes()]).await;
    let answer = answer.map_err(|error| error.to_string())?;
    if let Some((name, _)) = answer.headers.iter().find(|(_, value)| !value.is_ascii()) {
        return Err(format!("header {name} is not ASCII"));
    }
    if !request.body.starts_with(b"{\"Data\":") {
        return by_status(&answer, &request);
    }
    let target = request.head.split(' ').nth(1).unwrap();
    let function = host.config().function(&target[1..]);
    let function = function.ok_or_else(|| format!("no function for {target}"))?;
    let outcome = judge(Some(function), answer)?;
    if !outcome.ignored.is_empty() {
        return Err(format!("outputs without a binding: {:?}", outcome.ignored));
    }
    match outcome.outputs.values().next() {
        None => Err("neither a result nor a refusal".to_owned()),
        Some(OutputValue::Http(answer)) => by_status(answer, &request),
        Some(OutputValue::Unwritable(reason)) => Err(reason.clone()),
        Some(OutputValue::Messages(_) | OutputValue::Blob(_)) => Ok(()),
    }
}

/// A forwarded request whose path has left its route is the only one that reaches a function's own path.
fn by_status(answer: &Answer, request: &Request) -> Result<(), String> {
    let is_stray = request.head.starts_with("POST /score-queue ");
    match answer.status {
        400..500 => Ok(()),
        200..400 if !is_stray => Ok(()),
        status => Err(format!("{status} {} to {}", answer.text(), request.head)),
    }
}

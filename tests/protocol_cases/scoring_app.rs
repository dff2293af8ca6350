//! The app of the event cases: functions of every kind, a model to calculate with, and one that repeats texts.

use serde_json::{Value, json};

use super::test_model;
use crate::support::app_root::AppRoot;
use crate::support::in_process;
use functions_host::functions::add_functions;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::invoke::{InvocationOutcome, Transport};
use functions_host::outputs::guess_base64;
use functions_host::triggers::ServiceBusMessage;

/// A body for `affine`, the default model.
pub(super) const BODY: &str = r#"{"data":[[1,2,3]]}"#;

/// What `affine` says of [`BODY`].
pub(super) fn scores() -> Value {
    json!([[3.0, 5.0, 7.0]])
}

/// An app with some of the small models that the tests ship, and the functions of `functions_host::functions`.
pub(super) fn app(models: &[&str]) -> AppRoot {
    let app = AppRoot::new();
    for model in models {
        app.add_model(model, test_model(model), None);
    }
    add_functions(&app);
    app
}

/// Settings with a default model, under the Core Tools, so that envelopes may have a length.
pub(super) fn default_model(name: &str) -> HostOptions {
    HostOptions::default()
        .core_tools()
        .with_telemetry()
        .setting("SCORE_DEFAULT_MODEL", name)
}

/// A host with `affine` by default and `identity_string`.
pub(super) async fn host() -> FunctionsHost {
    let app = app(&["affine", "identity_string"]);
    in_process::start(&app, default_model("affine")).await
}

/// The same with a process of its own, for tests of what it logs.
pub(super) async fn host_with_log() -> FunctionsHost {
    let app = app(&["affine", "identity_string"]);
    FunctionsHost::start(&app, default_model("affine")).await
}

/// Delivers one message in both ways; the answers must not differ but in time, and both hold to the form.
pub(super) async fn deliver(
    host: &FunctionsHost,
    function: &str,
    message: &ServiceBusMessage,
) -> InvocationOutcome {
    let mut outcomes = Vec::new();
    for transport in Transport::ALL {
        let sent = std::slice::from_ref(message);
        let outcome = host.deliver(function, sent, transport).await;
        outcomes.push(outcome.unwrap_or_else(|error| panic!("{function}: {error}")));
    }
    let [first, second] = [outcomes.remove(0), outcomes.remove(0)];
    assert_form(&first);
    assert_form(&second);
    let names = |outcome: &InvocationOutcome| Vec::from_iter(outcome.outputs.keys().cloned());
    assert_eq!(names(&first), names(&second));
    first
}

/// Delivers an encoded body as it is.
pub(super) async fn deliver_data(
    host: &FunctionsHost,
    function: &str,
    data: Value,
) -> InvocationOutcome {
    let answer = host.invoke(function, data, json!({}), Transport::Chunked);
    let outcome = answer.await.unwrap();
    assert_form(&outcome);
    outcome
}

/// What holds for every success: 200, JSON, something in it, and only outputs that the function has.
pub(super) fn assert_form(outcome: &InvocationOutcome) {
    assert_eq!(outcome.raw.status, 200);
    assert_eq!(outcome.raw.header("content-type"), Some("application/json"));
    assert!(!outcome.raw.body.is_empty());
    assert_eq!(outcome.ignored, [""; 0]);
}

/// The document of the only result, which has no company.
pub(super) fn result(outcome: &InvocationOutcome) -> Value {
    assert!(!outcome.outputs.contains_key("rejected"), "{outcome:?}");
    let mut messages = outcome.messages("result");
    assert_eq!(messages.len(), 1, "{outcome:?}");
    messages.remove(0)
}

/// The only refusal, which has no company: its document and the original body.
pub(super) fn rejected(outcome: &InvocationOutcome) -> (Value, Vec<u8>) {
    assert!(!outcome.outputs.contains_key("result"), "{outcome:?}");
    let mut messages = outcome.messages("rejected");
    assert_eq!(messages.len(), 1, "{outcome:?}");
    let document = messages.remove(0);
    let body = original(&document);
    assert!(document["reason"]["message"].is_string(), "{document}");
    (document, body)
}

/// The body that a refusal keeps.
pub(super) fn original(document: &Value) -> Vec<u8> {
    guess_base64(document["body"].as_str().expect("a body")).expect("base64")
}

//! Messages and blobs that this process can never score.

use serde_json::Value;

use crate::protocol_cases::{SECONDS_5, test_model};
use crate::support::app_root::AppRoot;
use crate::support::functions::add_functions;
use crate::support::host::{FunctionsHost, HostOptions};
use crate::support::invoke::Transport;
use crate::support::triggers::ServiceBusMessage;

const BODY: &str = r#"{"data":[[1,2,3]]}"#;

async fn start(change: impl FnOnce(&AppRoot), options: HostOptions) -> FunctionsHost {
    let app = AppRoot::new();
    app.add_model("affine", test_model("affine"), None);
    add_functions(&app);
    change(&app);
    FunctionsHost::start(&app, options.setting("SCORE_DEFAULT_MODEL", "affine")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_waiting_mends_is_refused_at_once_and_alone() {
    let host = start(
        |app| {
            app.write("models/broken/model.onnx", "no model");
            let by_key = "[features]\nprefix = \"features:\"\n";
            app.add_model("by_key", test_model("affine"), Some(by_key));
        },
        HostOptions::default(),
    )
    .await;
    let batch = [
        ServiceBusMessage::new(BODY),
        ServiceBusMessage::new(BODY).with_property("model", "broken"),
        ServiceBusMessage::new(r#"{"keys":["a"]}"#).with_property("model", "by_key"),
        ServiceBusMessage::new(BODY),
    ];
    let sent = host.deliver("scoreBatch", &batch, Transport::Chunked);
    let outcome = tokio::time::timeout(SECONDS_5, sent)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(outcome.messages("result").len(), 2);
    let rejected = outcome.messages("rejected");
    let codes: Vec<&Value> = rejected.iter().map(|r| &r["reason"]["code"]).collect();
    assert_eq!(codes, ["model_not_loaded", "features_unavailable"]);
}

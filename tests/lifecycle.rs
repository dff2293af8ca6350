//! Starts that cannot succeed say why.

use crate::support::app_root::AppRoot;
use functions_host::PATIENCE;
use functions_host::host::{FunctionsHost, HostOptions};

/// Starts a handler that has to give up, and returns what it said.
pub(crate) async fn gives_up(app: &AppRoot, options: impl Into<HostOptions>) -> String {
    let host = FunctionsHost::spawn(app, options);
    assert_eq!(host.wait_exit(PATIENCE).await.code(), Some(1));
    let errors = host.error_logs();
    assert!(!errors.is_empty(), "no line says why");
    assert!(
        errors.iter().all(|line| !line.contains("panicked")),
        "{errors:?}"
    );
    errors.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_in_settings_are_told_at_once() {
    let settings = [
        ("SCORE_MAX_ROWS", "many"),
        ("REDIS_TIMEOUT", "5"),
        ("REDIS_URL", "x"),
    ];
    let said = gives_up(&AppRoot::with_sample(), settings).await;
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(
        said.contains(r#"SCORE_MAX_ROWS="many": expected a whole number"#),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_wrong_runtime_is_one_clear_line() {
    let app = AppRoot::with_sample();
    let text = app.path().join("host.json");
    let said = gives_up(&app, [("ORT_DYLIB_PATH", text.to_str().unwrap())]).await;
    assert!(
        said.contains("ONNX Runtime cannot be loaded from"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");

    let bare = AppRoot::with_sample();
    std::fs::remove_file(bare.path().join("bin/libonnxruntime.so.1"))
        .or_else(|_| std::fs::remove_file(bare.path().join("bin/libonnxruntime.dylib")))
        .unwrap();
    let said = gives_up(&bare, []).await;
    assert!(
        said.contains("run `make runtime` or set ORT_DYLIB_PATH"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_default_model_that_is_not_there_and_a_trigger_that_is_not_served_are_named() {
    let app = AppRoot::with_sample();
    let said = gives_up(&app, [("SCORE_DEFAULT_MODEL", "iris")]).await;
    assert!(said.contains("iris") && said.contains("mnist"), "{said}");
    app.write(
        "tick/function.json",
        r#"{"bindings":[{"type":"timerTrigger","direction":"in","name":"t","schedule":"0 * * * * *"}]}"#,
    );
    let said = gives_up(&app, []).await;
    assert!(
        said.contains("timerTrigger") && said.contains("tick"),
        "{said}"
    );
}

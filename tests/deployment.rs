//! What is shipped and what is documented, checked against what there is.

use std::path::Path;

use crate::support::app_root::repository;

#[test]
fn the_host_finds_the_program_under_the_name_that_the_zip_entry_has() {
    let host = read(&repository().join("host.json"));
    assert_eq!(
        host["customHandler"]["description"]["defaultExecutablePath"],
        "bin/handler"
    );
    // A newer host proxies, an older one forwards; with proxying alone an older one would send envelopes.
    assert_eq!(host["customHandler"]["enableForwardingHttpRequest"], true);
    assert_eq!(host["customHandler"]["enableProxyingHttpRequest"], true);
    assert_eq!(host["extensions"]["http"]["routePrefix"], "api");
    let function = read(&repository().join("score_http/function.json"));
    assert_eq!(function["bindings"][0]["route"], "score/{*path}");
    assert_eq!(function["bindings"][0]["authLevel"], "function");
    let local = read(&repository().join("local.settings.json"));
    assert_eq!(local["Values"]["FUNCTIONS_WORKER_RUNTIME"], "custom");
}

#[test]
fn the_documentation_lists_every_setting_with_its_default() {
    let document = std::fs::read_to_string(repository().join("docs/settings.md")).unwrap();
    for setting in handler::SETTINGS {
        let row = format!("| `{}` | {} |", setting.name, setting.default);
        assert!(document.contains(&row), "docs/settings.md has no row {row}");
    }
    let rows = document.lines().filter(|line| {
        line.starts_with("| `AZUREML_")
            || line.starts_with("| `SCORE_")
            || line.starts_with("| `REDIS_")
            || line.starts_with("| `ORT_")
            || line.starts_with("| `AZURE_")
            || line.starts_with("| `OTEL_")
    });
    assert_eq!(rows.count(), handler::SETTINGS.len());
}

fn read(file: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

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

fn read(file: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

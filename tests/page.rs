//! The page where a person tries the model: who gets it, and with which headers. What it does is tested in a browser,
//! by `make test-page`.

use serde_json::json;

use crate::guard::{alone, ask};
use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use functions_host::host::{CORE_TOOLS, Mode};
use functions_host::http1;

const FIREFOX: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const PATHS: [&str; 3] = ["/api/score", "/api/score/", "/api/score/mnist"];
const MAX_BYTES: usize = 150_000;

#[tokio::test(flavor = "multi_thread")]
async fn browsers_get_the_page_in_every_form_and_programs_the_document() {
    let host = in_process::start(&AppRoot::with_sample(), [CORE_TOOLS]).await;
    for mode in Mode::ALL {
        for path in PATHS.into_iter().chain(["/api/score?code=k"]) {
            let get = async |accept| {
                let headers = [("accept", accept)];
                let answer = host.http_by(mode, "GET", path, &headers, b"").await;
                answer.expect_status(200)
            };
            for accept in [FIREFOX, "text/html", "application/json;q=0.5, text/html"] {
                let page = get(accept).await;
                let content_type = page.header("content-type");
                assert_eq!(content_type, Some("text/html; charset=utf-8"), "{mode:?}");
                assert_eq!(page.header("vary"), Some("accept"), "{mode:?}");
                assert!(page.text().starts_with("<!doctype html>"), "{mode:?}");
                assert!(page.text().trim_end().ends_with("</html>"), "{mode:?}");
            }
            for accept in ["*/*", "application/json", "application/json, text/html"] {
                let document = get(accept).await;
                let content_type = document.header("content-type").unwrap();
                assert!(content_type.starts_with("application/json"), "{mode:?}");
                assert_eq!(document.header("vary"), Some("accept"), "{mode:?}");
                assert_eq!(document.at("/name"), "mnist", "{mode:?} {accept}");
            }
        }
        let unasked = host.http_by(mode, "GET", PATHS[0], &[], b"").await;
        assert_eq!(unasked.at("/name"), "mnist", "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_may_only_do_what_it_needs() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let page = host
        .http("GET", PATHS[0], &[("accept", FIREFOX)], b"")
        .await
        .expect_status(200);
    let policy = page.header("content-security-policy").unwrap();
    let directives: Vec<&str> = policy.split("; ").collect();
    for directive in [
        "default-src 'none'",
        "connect-src 'self'",
        "img-src 'self' data: blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(directives.contains(&directive), "{policy}");
    }
    for directive in ["script-src 'sha256-", "style-src 'sha256-"] {
        assert_eq!(policy.matches(directive).count(), 1, "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    for (name, value) in [
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(page.header(name), Some(value));
    }
    assert!(page.header("x-request-id").is_some());
    let text = page.text();
    assert!(text.len() < MAX_BYTES, "{} bytes", text.len());
    // The names of XML namespaces are no places to load from.
    let outside = text.replace("http://www.w3.org/", "");
    assert!(!outside.contains("http://") && !outside.contains("https://"));
    assert!(!text.contains(" onclick=") && !text.contains(" style="));
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_of_the_page_without_it() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let page = host
        .http("GET", PATHS[0], &[("accept", FIREFOX)], b"")
        .await;
    let headers = [("Host", "x"), ("Accept", FIREFOX)];
    let request = http1::head("HEAD", PATHS[0], &headers);
    let answer = http1::exchange(host.port(), &[&request]).await.unwrap();
    let answer = answer.expect_status(200);
    assert!(answer.body.is_empty());
    let length = page.body.len().to_string();
    assert_eq!(answer.header("content-length"), Some(length.as_str()));
    for name in ["content-type", "content-security-policy", "vary"] {
        assert_eq!(answer.header(name), page.header(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_and_errors_stay_as_they_are() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    // Before models are loaded, no model is unknown; this waits for them.
    let described = host.http("GET", "/api/score", &[], b"").await;
    described.expect_status(200);
    let browser = [("accept", FIREFOX)];
    for (path, status) in [
        ("/api/score/openapi.json", 200),
        ("/api/score/v2/models/mnist", 200),
    ] {
        let answer = host.http("GET", path, &browser, b"").await;
        let answer = answer.expect_status(status);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("content-security-policy"), None);
        answer.json();
    }
    // A page leads to the models there are, and only a page takes the key out of the address bar.
    for path in [
        "/api/score/nope",
        "/api/score/nope?code=k",
        "/api/score/nope?a=b&code=k",
    ] {
        let answer = host.http("GET", path, &browser, b"").await;
        let answer = answer.expect_status(404);
        let content_type = answer.header("content-type");
        assert_eq!(content_type, Some("text/html; charset=utf-8"));
        assert!(answer.header("content-security-policy").is_some());
        let program = host.http("GET", path, &[], b"").await;
        assert_eq!(program.at("/error/code"), "unknown_model");
    }
    let scored = host
        .http("POST", PATHS[0], &browser, br#"{"data": []}"#)
        .await;
    assert_eq!(scored.header("content-type"), Some("application/json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn score_page_off_removes_it() {
    let host = in_process::start(&AppRoot::with_sample(), [("SCORE_PAGE", "off")]).await;
    for path in PATHS {
        let answer = host.http("GET", path, &[("accept", FIREFOX)], b"").await;
        let answer = answer.expect_status(200);
        assert_eq!(answer.at("/name"), "mnist");
        assert_eq!(answer.header("vary"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_leads_browsers_to_the_page_where_no_host_is() {
    let browser = [("Host", "localhost"), ("Accept", FIREFOX)];
    let host = alone([]).await;
    for (target, address) in [
        ("/", "api/score"),
        ("/?code=a%20b", "api/score?code=a%20b"),
        ("/?//evil.example/", "api/score?//evil.example/"),
    ] {
        let answer = ask(&host, "GET", target, &browser, b"").await;
        let answer = answer.expect_status(303);
        assert_eq!(answer.header("location"), Some(address));
        assert_eq!(answer.header("vary"), Some("accept"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.body.is_empty());
    }
    let probe = ask(&host, "GET", "/", &browser[..1], b"").await;
    assert_eq!(probe.expect_status(200).at("/status"), "alive");
    let without_page = alone([("SCORE_PAGE", "off")]).await;
    let answer = ask(&without_page, "GET", "/", &browser, b"").await;
    assert_eq!(answer.expect_status(200).at("/status"), "alive");
    // What the host forwards from outside has no page there; its own probe is tested with the host's other calls.
    let hosted = in_process::start(&AppRoot::with_sample(), []).await;
    let answer = ask(&hosted, "GET", "/", &browser, b"").await;
    answer.expect_status(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_says_what_becomes_of_a_picture_and_of_class_numbers() {
    let app = AppRoot::with_sample();
    let onnx = |name: &str| repository().join(format!("tests/data/models/{name}.onnx"));
    let sized = "labels = [\"no\", \"yes\"]\n[inputs.x]\nsize = [3, 1]\nmean = 0.5\nstd = [0.25]\n";
    app.add_model("sized", onnx("affine"), Some(sized));
    app.add_model("table", onnx("affine"), None);
    // As many values as a square has fields: a table like any other.
    app.add_model("square", onnx("keras"), None);
    let named = "[inputs.x]\ncolumns = [\"a\", \"b\", \"<c>\"]\nmissing = \"nan\"\n";
    app.add_model("named", onnx("affine"), Some(named));
    let host = in_process::start(&app, []).await;
    let document = async |name: &str| {
        let path = format!("/api/score/{name}");
        let answer = host.http("GET", &path, &[], b"").await;
        answer.expect_status(200).json()
    };
    let mnist = document("mnist").await;
    assert_eq!(mnist["picture"]["shape"], json!([1, 784]));
    assert_eq!(mnist["picture"]["layout"], "hw");
    let scale = mnist["picture"]["scale"].as_f64().unwrap();
    assert!((scale - 1.0 / 255.0).abs() < 1e-6);
    assert!(mnist.get("labels").is_none());
    let sized = document("sized").await;
    assert_eq!(sized["labels"], json!(["no", "yes"]));
    assert_eq!(sized["picture"]["width"], 3);
    assert_eq!(sized["picture"]["height"], 1);
    assert_eq!(sized["picture"]["channels"], 1);
    assert_eq!(sized["picture"]["mean"], json!([0.5]));
    assert_eq!(sized["picture"]["std"], json!([0.25]));
    for name in ["table", "square", "named"] {
        let document = document(name).await;
        assert!(document.get("picture").is_none(), "{name}");
    }
    let input = &document("named").await["inputs"][0];
    assert_eq!(input["columns"], json!(["a", "b", "<c>"]));
    assert_eq!(input["missing"], "nan");
}

also_forwarded! {
    the_page_may_only_do_what_it_needs,
    head_tells_of_the_page_without_it,
    other_paths_and_errors_stay_as_they_are,
    score_page_off_removes_it,
}

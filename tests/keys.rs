//! Keys of the handler's own: how clients send them, what needs none, and where they must not appear.

use std::path::PathBuf;
use std::process::Command;

use crate::guard::{BODY, KEYS, OWN, SCORES, alone, ask, assert_refused, score, without_host};
use crate::lifecycle::gives_up;
use crate::protocol_cases::{JSON, app_with};
use crate::support::app_root::AppRoot;
use crate::support::in_process;
use functions_host::host::{FunctionsHost, Mode};
use functions_host::host_options::HostOptions;
use functions_host::port;

const FIRST: &str = "first-key-0123456789";
/// The key of the digest.
const SECOND: &str = "second-key-0123456789";

/// How clients send a key.
fn sent(key: &str) -> Vec<(String, String)> {
    [
        ("Authorization", format!("Bearer {key}")),
        ("authorization", format!("bearer  {key} ")),
        ("api-key", key.to_owned()),
        ("x-functions-key", key.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_taken_as_each_client_sends_it() {
    let host = alone([("SCORE_API_KEYS", KEYS)]).await;
    for key in [FIRST, SECOND] {
        for (name, value) in sent(key) {
            let answer = score(&host, &[OWN, (&name, &value)]).await;
            assert_eq!(answer.expect_status(200).text(), SCORES, "{name}: {value}");
        }
        let query = format!("/api/score?code={key}&clientId=default");
        assert_eq!(ask(&host, "GET", &query, &[OWN], b"").await.status, 200);
    }
    // Azure.AI.Inference for .NET sends it twice; others have a login for a proxy beside it.
    let twice = [OWN, ("Authorization", "Basic dTpw"), ("api-key", FIRST)];
    assert_eq!(score(&host, &twice).await.status, 200);
    for (headers, told) in [
        (&[OWN][..], "asks for a key"),
        (&[OWN, ("Authorization", FIRST)], "expected \\\"Bearer\\\""),
        (
            &[OWN, ("Authorization", "Bearer ")],
            "expected \\\"Bearer\\\"",
        ),
        (
            &[OWN, ("Authorization", "Bearer wrong")],
            "not one of this server's",
        ),
        (&[OWN, ("api-key", "")], "not one of this server's"),
        (&[OWN, ("api-key", &KEYS[21..])], "not one of this server's"),
        (&[OWN, ("x-api-key", FIRST)], "asks for a key"),
        (&[OWN, ("Cookie", FIRST)], "asks for a key"),
    ] {
        let answer = score(&host, headers).await;
        assert_refused(&answer, 401, "unauthorized", told);
        assert_eq!(
            answer.header("www-authenticate"),
            Some("Bearer realm=\"score\"")
        );
        assert!(!answer.text().contains("wrong"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_only_probes_are_answered_each_refusal_in_its_form() {
    let host = alone([("SCORE_API_KEYS", KEYS)]).await;
    let loaded = score(&host, &[OWN, ("api-key", FIRST)]).await;
    assert_eq!(loaded.status, 200);
    for path in [
        "/",
        "/api/health/live",
        "/api/health/ready",
        "/api/score/v2/health/live",
        "/api/score/v2/health/ready",
        "/api/score/ping",
        "/health",
    ] {
        assert_eq!(
            ask(&host, "GET", path, &[OWN], b"").await.status,
            200,
            "{path}"
        );
    }
    for path in [
        "/api/score/metrics",
        "/api/score/openapi.json",
        "/api/score/nope",
        "/api/nope",
        "/api/score/healthz",
        "/score_queue",
        "/API/SCORE/",
        "/api/score/../health/live",
        "/api/health/live/../../score",
        "/api/score/v2",
        "//api/health/live",
    ] {
        let answer = ask(&host, "GET", path, &[OWN], b"").await;
        assert_eq!(answer.status, 401, "{path}");
    }
    let form = async |path| ask(&host, "POST", path, &[OWN, JSON], BODY).await.json();
    let v2 = form("/api/score/v2/models/affine/infer").await;
    assert!(v2["error"].is_string(), "{v2}");
    let openai = form("/api/score/v1/embeddings").await;
    assert_eq!(openai["error"]["code"], "unauthorized", "{openai}");
    assert!(openai["error"]["type"].is_string(), "{openai}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_says_where_callers_are_refused() {
    for keys in [&[("SCORE_API_KEYS", KEYS)][..], &[]] {
        let settings = keys
            .iter()
            .fold(without_host([]), |settings, (name, value)| {
                settings.setting(name, *value)
            });
        let host = in_process::start(&app_with("affine"), settings).await;
        let query = "/api/score/openapi.json?all";
        let document = ask(&host, "GET", query, &[OWN, ("api-key", FIRST)], b"").await;
        let document = document.expect_status(200).json();
        let mut open = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                let method = method.to_uppercase();
                let responses = &operation["responses"];
                for (status, headers) in [
                    ("401", &[OWN, JSON][..]),
                    ("403", &[("Host", "evil.example"), ("api-key", FIRST), JSON]),
                ] {
                    let answer = ask(&host, &method, path, headers, b"{}").await;
                    let is_refused = answer.status.to_string() == status;
                    let is_told = responses[status].is_object();
                    assert_eq!(is_told, is_refused, "{method} {path} {status}");
                }
                open += usize::from(responses["403"].is_null());
            }
        }
        assert_eq!(
            open, 4,
            "probes of the Open Inference Protocol and of MLflow"
        );
    }
    let host = in_process::start(&app_with("affine"), HostOptions::default()).await;
    let document = host.http("GET", "/api/score/openapi.json", &[], b"").await;
    let paths = document.expect_status(200).json()["paths"].to_string();
    assert!(!paths.contains("Forbidden") && !paths.contains("Unauthorized"));
}

/// The app with `score_http` for callers without a key of the host's.
fn anonymous() -> AppRoot {
    let app = app_with("affine");
    let file: PathBuf = app.path().join("score_http/function.json");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let text = text.replace(
        "\"authLevel\": \"function\"",
        "\"authLevel\": \"anonymous\"",
    );
    assert!(text.contains("anonymous"));
    std::fs::write(&file, text).unwrap();
    app
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_host_keys_are_asked_for_where_the_host_asks_for_none() {
    let open = in_process::start(&anonymous(), [("SCORE_API_KEYS", KEYS)]).await;
    let bearer = format!("Bearer {FIRST}");
    let sent = [JSON, ("Authorization", bearer.as_str())];
    for mode in [
        Mode::Forwarded,
        Mode::Proxied,
        Mode::Envelope { chunked: true },
    ] {
        let answer = open
            .http_by(mode, "POST", "/api/score", &[JSON], BODY)
            .await;
        assert_refused(&answer, 401, "unauthorized", "asks for a key");
        let answer = open.http_by(mode, "POST", "/api/score", &sent, BODY).await;
        assert_eq!(answer.expect_status(200).text(), SCORES, "{mode:?}");
        let live = open
            .http_by(mode, "GET", "/api/health/live", &[], b"")
            .await;
        assert_eq!(live.status, 200, "{mode:?}");
        let code = format!("/api/score?code={SECOND}");
        let answer = open.http_by(mode, "GET", &code, &[], b"").await;
        assert_eq!(answer.status, 200, "{mode:?}");
    }
    // Where the host asks, its own keys are sent in the same headers.
    let keyed = in_process::start(&app_with("affine"), [("SCORE_API_KEYS", KEYS)]).await;
    let answer = keyed.http(
        "POST",
        "/api/score",
        &[JSON, ("x-functions-key", "the-host's")],
        BODY,
    );
    assert_eq!(answer.await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anonymous_function_needs_keys_or_the_word_that_none_are_meant() {
    let said = gives_up(&anonymous(), HostOptions::default()).await;
    for part in [
        "score_http/function.json: authLevel is anonymous",
        "SCORE_API_KEYS",
        "SCORE_ALLOW_ANONYMOUS=on",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let check = |setting: Option<(&str, &str)>| {
        let app = anonymous();
        let mut command = Command::new(app.path().join("bin/handler"));
        command.arg("check").current_dir(app.path()).env_clear();
        let output = command.envs(setting).output().unwrap();
        let problems = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), problems)
    };
    let (code, problems) = check(None);
    assert_eq!(code, Some(1));
    assert!(problems.contains("authLevel is anonymous"), "{problems}");
    let keys = ("SCORE_API_KEYS", KEYS);
    for meant in [keys, ("SCORE_ALLOW_ANONYMOUS", "on")] {
        let (code, problems) = check(Some(meant));
        assert_eq!(code, Some(0), "{problems}");
    }
    let meant = in_process::start(&anonymous(), [("SCORE_ALLOW_ANONYMOUS", "on")]).await;
    let answer = meant.http("POST", "/api/score", &[JSON], BODY).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_protect_nothing_end_the_start_and_none_is_quoted() {
    for (keys, told) in [
        ("", "SCORE_API_KEYS: it is empty"),
        (" \n", "SCORE_API_KEYS: it is empty"),
        ("hunter2hunter2hunter2,", "one is empty"),
        ("hunter2 hunter3", "has a space"),
        ("\"hunter2,hunter3\"", "remove the quotes"),
        (
            "@Microsoft.KeyVault(VaultName=hunter2;SecretName=k)",
            "not filled in",
        ),
        ("sha256:hunter2", "64 hexadecimal digits"),
    ] {
        let said = gives_up(
            &app_with("affine"),
            without_host([("SCORE_API_KEYS", keys)]),
        )
        .await;
        assert!(said.contains(told), "{keys}: {said}");
        assert!(!said.contains("hunter"), "{said}");
    }
    for (name, value) in [
        ("SCORE_ALLOWED_HOSTS", "*"),
        ("SCORE_ALLOWED_HOSTS", "https://a.example"),
        ("SCORE_CORS_ORIGINS", "app.example"),
        ("SCORE_CORS_ORIGINS", "null"),
        ("SCORE_MAX_NESTING", "129"),
    ] {
        let said = gives_up(&app_with("affine"), without_host([(name, value)])).await;
        assert!(
            said.contains(&format!("{name}={value:?}: expected ")),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_told_to_anyone() {
    let plain = "pl4nted-first-0123456789";
    for format in ["text", "json"] {
        let free = port::free();
        let options = without_host([("SCORE_API_KEYS", plain), ("SCORE_LOG", format)])
            .port(free)
            .setting("SCORE_PORT", free.to_string())
            .setting("SCORE_LOG_FILTER", "trace");
        let host = FunctionsHost::start(&app_with("affine"), options).await;
        let mut told = String::new();
        for key in [plain, "pl4nted-wrong"] {
            for (name, value) in sent(key) {
                told += &score(&host, &[OWN, (&name, &value)]).await.text();
            }
            for path in [
                "/api/score/metrics",
                "/api/score",
                "/api/score/nope",
                "/pl4nted",
            ] {
                let path = format!("{path}?code={key}");
                let answer = ask(&host, "GET", &path, &[OWN], b"").await;
                told += &answer.text().replace("/pl4nted", "");
            }
        }
        host.signal(nix::sys::signal::Signal::SIGTERM);
        host.wait_exit(functions_host::PATIENCE).await;
        for line in host.logs() {
            // The path is shown, the query never.
            told += &line.text.replace("/pl4nted", "");
        }
        assert!(told.contains("listening") && told.contains("unauthorized"));
        assert!(!told.contains("pl4nted"), "{told}");
    }
    let app = app_with("affine");
    for arguments in [&["settings"][..], &["settings", "--json"]] {
        let mut command = Command::new(app.path().join("bin/handler"));
        command.args(arguments).env_clear();
        let output = command.env("SCORE_API_KEYS", plain).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("SCORE_API_KEYS") && said.contains("(hidden)"));
        assert!(!said.contains("pl4nted"), "{said}");
    }
}

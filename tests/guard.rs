//! Who may ask a handler without a Functions host, and one whose functions are anonymous: names of the server, pages in
//! browsers, keys.

use std::path::PathBuf;

use crate::lifecycle::gives_up;
use crate::protocol_cases::{JSON, app_with};
use crate::support::app_root::AppRoot;
use crate::support::in_process;
use functions_host::answer::Answer;
use functions_host::host::{FunctionsHost, Mode};
use functions_host::host_options::HostOptions;
use functions_host::http1;

const BODY: &[u8] = br#"{"data":[[1,2,3]]}"#;
const SCORES: &str = "[[3.0,5.0,7.0]]";
const KEYS: &str =
    "first-key-0123456789,sha256:cdc8bf8583da505da0340b103c182d172408e4a68698993e485475e2f7e74b36";
const FIRST: &str = "first-key-0123456789";
/// The key of the digest.
const SECOND: &str = "second-key-0123456789";
const OWN: (&str, &str) = ("Host", "localhost");

/// A handler without a Functions host.
async fn alone<const N: usize>(settings: [(&str, &str); N]) -> FunctionsHost {
    in_process::start(&app_with("affine"), without_host(settings)).await
}

fn without_host<const N: usize>(settings: [(&str, &str); N]) -> HostOptions {
    ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"]
        .into_iter()
        .fold(HostOptions::from(settings), HostOptions::without)
}

/// Sends a request as it is.
async fn ask(
    host: &FunctionsHost,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let length = body.len().to_string();
    let length = [("Content-Length", length.as_str())];
    let headers = [headers, &length].concat();
    let request = [&http1::head(method, target, &headers), body].concat();
    http1::exchange(host.port(), &[&request]).await.unwrap()
}

async fn score(host: &FunctionsHost, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[JSON], headers].concat();
    ask(host, "POST", "/api/score", &headers, BODY).await
}

fn assert_refused(answer: &Answer, status: u16, code: &str, told: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert_eq!(answer.json()["error"]["code"], code, "{text}");
    assert!(text.contains(told), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_loopback_only_names_of_this_machine_are_answered() {
    let host = alone([("SCORE_ALLOWED_HOSTS", "scores.internal")]).await;
    let port = host.port();
    for own in [
        "localhost",
        "LOCALHOST:7071",
        "localhost.:80",
        "127.0.0.1",
        "[::1]:9",
        "scores.internal",
        "Scores.Internal.:443",
        &format!("127.0.0.1:{port}"),
    ] {
        let answer = score(&host, &[("Host", own)]).await;
        assert_eq!(answer.expect_status(200).text(), SCORES, "{own}");
    }
    for other in [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io:80",
        "user@localhost",
        "localhost:80@evil.example",
        "[fe80::1%25eth0]:80",
        "scores.internal,scores.internal",
        "0.0.0.0",
        "localhost:http",
        "",
    ] {
        for path in ["/api/score", "/api/score/metrics", "/api/nope"] {
            let answer = ask(&host, "GET", path, &[("Host", other)], b"").await;
            assert_refused(&answer, 403, "forbidden", "SCORE_ALLOWED_HOSTS");
        }
    }
    let long = "x".repeat(5000);
    let answer = score(&host, &[("Host", &long)]).await;
    assert!(answer.text().len() < 600, "{}", answer.text());
    // What a proxy says of another name changes nothing, in either direction.
    for name in ["X-Forwarded-Host", "Forwarded", "X-Original-Host"] {
        let answer = score(&host, &[OWN, (name, "evil.example")]).await;
        assert_eq!(answer.status, 200, "{name}");
        let answer = score(&host, &[("Host", "evil.example"), (name, "localhost")]).await;
        assert_eq!(answer.status, 403, "{name}");
    }
    let several = [OWN, ("Host", "evil.example")];
    let answer = score(&host, &several).await;
    assert_refused(&answer, 400, "invalid_input", "several Host headers");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_of_a_whole_url_counts_and_none_at_all_is_no_browser() {
    let host = alone([]).await;
    let whole = "http://evil.example/api/score";
    let answer = ask(&host, "GET", whole, &[OWN], b"").await;
    assert_refused(&answer, 403, "forbidden", "evil.example");
    let whole = "http://localhost:1/api/score";
    let answer = ask(&host, "GET", whole, &[("Host", "evil.example")], b"").await;
    assert_eq!(answer.status, 200);
    for old in [
        "GET /api/score HTTP/1.0\r\n\r\n",
        "GET /api/score HTTP/1.1\r\nConnection: close\r\n\r\n",
    ] {
        let answer = http1::exchange(host.port(), &[old.as_bytes()])
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{old}");
    }
    // Probes of load balancers have any name; they learn one word.
    for probe in [
        "/",
        "/api/health/live",
        "/api/health/ready",
        "/api/score/v2/health/live",
    ] {
        let answer = ask(&host, "GET", probe, &[("Host", "10.0.0.7:7071")], b"").await;
        assert_eq!(answer.status, 200, "{probe}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_every_name_is_answered_unless_names_are_set() {
    let open = alone([("SCORE_BIND", "0.0.0.0")]).await;
    assert_eq!(score(&open, &[("Host", "app.example")]).await.status, 200);
    let named = alone([
        ("SCORE_BIND", "0.0.0.0"),
        ("SCORE_ALLOWED_HOSTS", "app.example"),
    ])
    .await;
    assert_eq!(
        score(&named, &[("Host", "app.example:8080")]).await.status,
        200
    );
    assert_eq!(
        score(&named, &[("Host", "other.example")]).await.status,
        403
    );
    let probe = ask(
        &named,
        "GET",
        "/api/health/ready",
        &[("Host", "10.1.2.3")],
        b"",
    )
    .await;
    assert_eq!(probe.status, 200);
    // Under a Functions host the name is the app's, which the host knows.
    let hosted = in_process::start(&app_with("affine"), []).await;
    assert_eq!(score(&hosted, &[("Host", "app.example")]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_may_not_post_unless_their_origin_is_listed() {
    let origins = "https://app.example, chrome-extension://abcdef";
    let host = alone([("SCORE_CORS_ORIGINS", origins)]).await;
    let from = |site: &'static str, origin: &'static str| {
        [OWN, ("Sec-Fetch-Site", site), ("Origin", origin)]
    };
    for (site, origin) in [
        ("cross-site", "https://evil.example"),
        ("cross-site", "https://app.example.evil.example"),
        ("cross-site", "http://app.example"),
        ("Cross-Site", "null"),
    ] {
        let answer = score(&host, &from(site, origin)).await;
        assert_refused(&answer, 403, "forbidden", "SCORE_CORS_ORIGINS");
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    let hidden = score(&host, &[OWN, ("Sec-Fetch-Site", "cross-site")]).await;
    assert_eq!(hidden.status, 403);
    for (site, origin) in [
        ("same-origin", "http://localhost"),
        ("same-site", "http://localhost:3000"),
        ("none", "null"),
    ] {
        let answer = score(&host, &from(site, origin)).await;
        assert_eq!(answer.status, 200, "{site}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("vary"), Some("Origin"));
    }
    for origin in ["https://app.example", "chrome-extension://abcdef"] {
        let answer = score(&host, &from("cross-site", origin)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        let exposed = answer.header("access-control-expose-headers").unwrap();
        for name in [
            "X-Cache",
            "Server-Timing",
            "X-Request-Id",
            "X-Truncated",
            "Retry-After",
        ] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    // A link on another site may be followed.
    let link = from("cross-site", "https://evil.example");
    let read = ask(&host, "GET", "/api/score", &link, b"");
    assert_eq!(read.await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn preflights_are_answered_before_keys_are_asked_for() {
    let settings = [
        ("SCORE_CORS_ORIGINS", "https://app.example"),
        ("SCORE_API_KEYS", KEYS),
    ];
    let host = alone(settings).await;
    // As npm openai 6 sends it from Chromium, and Firefox, which lets pages name their user agent.
    let asked = "api-key,authorization,content-type,user-agent,x-stainless-arch,x-stainless-lang,x-stainless-os,\
                 x-stainless-package-version,x-stainless-retry-count,x-stainless-runtime,x-stainless-runtime-version,\
                 x-stainless-timeout";
    let preflight = |origin: &'static str| {
        [
            OWN,
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            ("Access-Control-Request-Headers", asked),
            ("Sec-Fetch-Site", "cross-site"),
        ]
    };
    for path in ["/api/score", "/api/score/v1/embeddings"] {
        let answer = ask(
            &host,
            "OPTIONS",
            path,
            &preflight("https://app.example"),
            b"",
        )
        .await;
        assert_eq!((answer.status, answer.body.len()), (204, 0));
        let allowed = answer.header("access-control-allow-headers").unwrap();
        for name in asked.split(',').chain(["x-functions-key"]) {
            assert!(
                allowed
                    .split(", ")
                    .any(|one| one.split(',').any(|one| one == name)),
                "{name}: {allowed}"
            );
        }
        assert_eq!(
            answer.header("access-control-allow-methods"),
            Some("GET, HEAD, POST")
        );
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://app.example")
        );
        assert_eq!(answer.header("vary"), Some("Origin"));
        let refused = ask(
            &host,
            "OPTIONS",
            path,
            &preflight("https://evil.example"),
            b"",
        )
        .await;
        assert_refused(&refused, 403, "forbidden", "evil.example");
    }
    // The request itself needs the key, and its refusal is readable.
    let from = [
        OWN,
        ("Origin", "https://app.example"),
        ("Sec-Fetch-Site", "cross-site"),
    ];
    let answer = score(&host, &from).await;
    assert_refused(&answer, 401, "unauthorized", "key");
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let any = alone([("SCORE_CORS_ORIGINS", "*")]).await;
    let answer = ask(&any, "OPTIONS", "/api/score", &preflight("null"), b"").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("null"));
    let closed = alone([]).await;
    let answer = ask(
        &closed,
        "OPTIONS",
        "/api/score",
        &preflight("https://app.example"),
        b"",
    )
    .await;
    assert_refused(&answer, 403, "forbidden", "SCORE_CORS_ORIGINS");
    assert_eq!(answer.header("vary"), None);
    // Not a preflight.
    assert_eq!(
        ask(&closed, "OPTIONS", "/api/score", &[OWN], b"")
            .await
            .status,
        405
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_to_label_gzip() {
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(BODY).unwrap();
    let packed = encoder.finish().unwrap();
    let host = alone([]).await;
    let hosted = in_process::start(&app_with("affine"), []).await;
    let page = ("Origin", "http://localhost");
    let label = ("Content-Encoding", "gzip");
    for (host, headers, status) in [
        (&host, &[OWN, JSON][..], 200),
        (&host, &[OWN, JSON, page], 400),
        (&host, &[OWN, JSON, page, label], 200),
        (&hosted, &[OWN, JSON, page], 200),
    ] {
        let answer = ask(host, "POST", "/api/score", headers, &packed).await;
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.text());
    }
}

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
        "/api/score/health",
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
async fn answers_are_not_kept_nor_guessed_at_and_may_keep_silent_about_hits() {
    let told = alone([]).await;
    let silent = alone([("SCORE_REVEAL", "off")]).await;
    for (host, reveals) in [(&told, true), (&silent, false)] {
        for _ in 0..2 {
            let answer = score(host, &[OWN]).await;
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.header("cache-control"), Some("no-store"));
            assert_eq!(answer.header("x-cache").is_some(), reveals);
            assert_eq!(answer.header("server-timing").is_some(), reveals);
        }
        let refused = ask(host, "POST", "/api/score", &[OWN, JSON], b"{").await;
        assert_eq!(refused.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(refused.header("cache-control"), Some("no-store"));
    }
}

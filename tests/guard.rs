//! Who may ask a handler without a Functions host: names of the server, and pages in browsers.

use crate::protocol_cases::{JSON, app_with};
use crate::support::in_process;
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use functions_host::host_options::HostOptions;
use functions_host::http1;

pub(crate) const BODY: &[u8] = br#"{"data":[[1,2,3]]}"#;
pub(crate) const SCORES: &str = "[[3.0,5.0,7.0]]";
pub(crate) const KEYS: &str =
    "first-key-0123456789,sha256:cdc8bf8583da505da0340b103c182d172408e4a68698993e485475e2f7e74b36";
pub(crate) const OWN: (&str, &str) = ("Host", "localhost");

/// A handler without a Functions host.
pub(crate) async fn alone<const N: usize>(settings: [(&str, &str); N]) -> FunctionsHost {
    in_process::start(&app_with("affine"), without_host(settings)).await
}

pub(crate) fn without_host<const N: usize>(settings: [(&str, &str); N]) -> HostOptions {
    ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"]
        .into_iter()
        .fold(HostOptions::from(settings), HostOptions::without)
}

/// Sends a request as it is.
pub(crate) async fn ask(
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

pub(crate) async fn score(host: &FunctionsHost, headers: &[(&str, &str)]) -> Answer {
    let headers = [&[JSON], headers].concat();
    ask(host, "POST", "/api/score", &headers, BODY).await
}

pub(crate) fn assert_refused(answer: &Answer, status: u16, code: &str, told: &str) {
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

//! The caller's own request, forwarded or proxied by the host.

use std::io::Write;
use std::time::Instant;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::{JSON, test_model};
use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::in_process;
use functions_host::PATIENCE;
use functions_host::answer::Answer;
use functions_host::host::{FunctionsHost, HostOptions, Mode};
use functions_host::http1::{self, RawConnection};
use functions_host::process::Level;

/// One line for each request.
const LOG_ALL: (&str, &str) = ("SCORE_LOG_FILTER", "debug");
const MODES: [Mode; 2] = Mode::HTTP;
/// The first setosa, versicolor and virginica of Fisher's table.
const FLOWERS: &[u8] = br#"{"data":[[5.1,3.5,1.4,0.2],[7.0,3.2,4.7,1.4],[6.3,3.3,6.0,2.5]]}"#;

/// scikit-learn's classifier under the name `iris`.
fn iris_app() -> AppRoot {
    let app = AppRoot::new();
    app.add_model("iris", test_model("zipmap"), None);
    app
}

async fn iris() -> FunctionsHost {
    in_process::start(&iris_app(), []).await
}

fn tells_the_flowers(answer: &Answer) {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.at("/output_label"), json!([0, 1, 2]));
    for flower in 0..3 {
        let probability = answer.at(&format!("/output_probability/{flower}/{flower}"));
        assert!(probability.as_f64().unwrap() > 0.5, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f01_f17_a_forwarded_and_a_proxied_request_get_the_right_scores() {
    let host = iris().await;
    let headers = [JSON, ("Host", "app.example")];
    let mut bodies = Vec::new();
    for mode in MODES {
        let answer = host
            .http_by(mode, "POST", "/api/score/iris", &headers, FLOWERS)
            .await;
        tells_the_flowers(&answer);
        // Proxied there is a second header with the id; both say the same.
        assert_eq!(answer.header("x-request-id"), Some(&*answer.invocation_id));
        bodies.push(answer.body);
    }
    assert_eq!(bodies[0], bodies[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_the_last_invocation_id_counts() {
    let host = FunctionsHost::start(&iris_app(), [LOG_ALL]).await;
    let id = "X-Azure-Functions-InvocationId";
    let length = FLOWERS.len().to_string();
    let rest = [JSON, ("Host", "app.example"), ("Content-Length", &length)];
    for (real, ids) in [
        ("real-1", vec![(id, "fake, real-1")]),
        ("real-2", vec![(id, "fake"), (id, "real-2")]),
    ] {
        let head = http1::head("POST", "/api/score/iris", &[&rest[..], &ids].concat());
        let answer = http1::exchange(host.port(), &[&head, FLOWERS]).await;
        let answer = answer.unwrap().expect_status(200);
        assert_eq!(answer.header("x-request-id"), Some(real));
        let line = host.wait_for_log(real, PATIENCE).await;
        assert!(line.text.contains("scored"), "{}", line.text);
    }
    assert!(host.logs().iter().all(|line| !line.text.contains("fake")));
}

#[tokio::test(flavor = "multi_thread")]
async fn f03_get_describes_the_model_and_a_post_without_a_body_is_a_400() {
    let host = iris().await;
    for mode in MODES {
        let path = "/api/score/iris";
        let described = host.http_by(mode, "GET", path, &[], b"").await;
        assert_eq!(described.expect_status(200).at("/name"), "iris");
        let empty = host.http_by(mode, "POST", path, &[], b"").await;
        assert_eq!(empty.expect_status(400).at("/error/code"), "invalid_input");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f04_head_is_answered_without_a_body() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let connection = RawConnection::open(host.port()).await.unwrap();
    let own = format!("127.0.0.1:{}", host.port());
    for path in ["/", "/api/score"] {
        let request = http1::head("HEAD", path, &[("Host", &own)]);
        connection.send(&request).await.unwrap();
        let response = connection.read_response(true).await.unwrap();
        assert_eq!(response.answer.status, 200, "{path}");
        assert!(connection.is_idle(), "nothing follows the head");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f05_f06_unknown_models_and_paths_are_a_404() {
    let host = iris().await;
    for mode in MODES {
        let unknown = host
            .http_by(mode, "POST", "/api/score/tulip", &[JSON], FLOWERS)
            .await
            .expect_status(404);
        assert_eq!(unknown.at("/error/code"), "unknown_model");
        let message = unknown.at("/error/message").to_string();
        assert!(message.contains("iris"), "names those there are: {message}");
    }
    // The host's own route does not let this through; a client that asks the handler itself gets the same answer.
    for path in ["/api/nope", "/api", "/api/score/iris/nope", "/nope/score"] {
        let request = http1::head("GET", path, &[("Host", "x")]);
        let answer = http1::exchange(host.port(), &[&request]).await.unwrap();
        let answer = answer.expect_status(404);
        assert_eq!(answer.at("/error/code"), "not_found", "{path}");
    }
    tells_the_flowers(&host.http("POST", "/api/score", &[JSON], FLOWERS).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn f07_a_query_changes_nothing() {
    let host = iris().await;
    for (mode, query) in [
        (Mode::Forwarded, "v=1%2C2&flag="),
        // The host makes the one above of these.
        (Mode::Forwarded, "v=1&v=2&flag"),
        (Mode::Proxied, "v=1&v=2&flag"),
        (Mode::Proxied, "v=%ff&=&&a=b=c?"),
    ] {
        let path = format!("/api/score/iris?{query}");
        tells_the_flowers(&host.http_by(mode, "POST", &path, &[JSON], FLOWERS).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f08_a_declared_length_over_the_limit_is_refused_before_the_body_comes() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let connection = RawConnection::open(host.port()).await.unwrap();
    let headers = [("Host", "x"), ("Content-Length", "99999999")];
    connection
        .send(&http1::head("POST", "/api/score", &headers))
        .await
        .unwrap();
    let response = connection.read_response(false).await.unwrap();
    assert_eq!(response.answer.status, 413);
}

#[tokio::test(flavor = "multi_thread")]
async fn f10_gzip_is_unpacked_whether_its_header_arrives_or_not() {
    let host = iris().await;
    let gzip = |bytes: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    };
    let packed = gzip(FLOWERS);
    let too_large = gzip(&vec![b' '; 33 << 20]);
    let headers = [JSON, ("Content-Encoding", "gzip")];
    for mode in MODES {
        // A forwarding host drops Content-Encoding.
        for headers in [&headers[..], &headers[..1], &[]] {
            let post = async |body: &[u8]| {
                host.http_by(mode, "POST", "/api/score/iris", headers, body)
                    .await
            };
            tells_the_flowers(&post(&packed).await);
            let broken = post(&packed[..packed.len() - 9]).await.expect_status(400);
            assert!(broken.text().contains("gzip"), "{}", broken.text());
            post(&too_large).await.expect_status(413);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f11_json_is_understood_under_the_types_that_clients_give_it() {
    let host = iris().await;
    for mode in MODES {
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/json; charset=UTF-8"),
            Some("application/x-www-form-urlencoded"),
        ] {
            let header = content_type.map(|value| ("content-type", value));
            let answer = host
                .http_by(mode, "POST", "/api/score/iris", header.as_slice(), FLOWERS)
                .await;
            tells_the_flowers(&answer);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f12_what_is_no_number_or_far_too_deep_is_a_400_in_bounded_time_and_memory() {
    let host = FunctionsHost::start(&iris_app(), []).await;
    tells_the_flowers(&host.http("POST", "/api/score", &[JSON], FLOWERS).await);
    let value = |value: &str| format!(r#"{{"data":[[5.1,3.5,1.4,{value}]]}}"#).into_bytes();
    let deep = |depth| ["[".repeat(depth), "]".repeat(depth)].concat();
    let objects = format!(r#"{}1{}"#, r#"{"a":"#.repeat(10_000), "}".repeat(10_000));
    let bodies = [
        value("\"\u{0}\""),
        [&b"{\"data\":[[\""[..], &[0xff, 0xfe], b"\"]]}"].concat(),
        value("NaN"),
        value("Infinity"),
        value("-Infinity"),
        value("1e999"),
        value(&"9".repeat(100_000)),
        value(&deep(10_000)),
        value(&"[".repeat(10_000)),
        value(&objects),
        deep(1_000_000).into_bytes(),
    ];
    let before = host.peak_memory();
    for body in &bodies {
        for mode in MODES {
            let start = Instant::now();
            let answer = host
                .http_by(mode, "POST", "/api/score", &[JSON], body)
                .await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
            assert_eq!(answer.status, 400, "{shown}: {}", answer.text());
            assert_eq!(answer.at("/error/code"), "invalid_input", "{shown}");
            // Milliseconds on a machine at rest.
            assert!(start.elapsed() < PATIENCE, "{shown}");
        }
    }
    let grown = host.peak_memory() - before;
    assert!(grown < 64 << 20, "{grown} bytes more");
    tells_the_flowers(&host.http("POST", "/api/score", &[JSON], FLOWERS).await);
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn f02_f16_log_lines_carry_the_invocation_id_and_no_secret() {
    for format in ["text", "json"] {
        let settings = [("SCORE_LOG", format), LOG_ALL];
        let host = FunctionsHost::start(&AppRoot::with_sample(), settings).await;
        let digits = Digits::load();
        let headers = [
            JSON,
            ("x-functions-key", "s3cret-key"),
            ("authorization", "Bearer s3cret-key"),
            ("x-azure-functions-invocationid", "chosen-by-the-client"),
        ];
        let path = "/api/score?code=s3cret-key";
        for mode in MODES {
            let answer = host
                .http_by(mode, "POST", path, &headers, &digits.body([0]))
                .await;
            let id = answer.expect_status(200).invocation_id;
            host.wait_for_log(&format!("scored.*{id}|{id}.*scored"), PATIENCE)
                .await;
            let bad = br#"{"data":[["s3cret-value"]]}"#;
            let refused = host.http_by(mode, "POST", path, &headers, bad).await;
            let id = refused.expect_status(400).invocation_id;
            host.wait_for_log(&id, PATIENCE).await;
        }
        for line in host.logs() {
            assert_eq!(line.level, Level::Information, "{}", line.text);
            assert!(!line.text.contains("s3cret"), "{}", line.text);
            assert!(!line.text.contains('\u{1b}'), "no colours: {}", line.text);
            assert!(!line.text.contains("chosen-by"), "{}", line.text);
            if format == "json" {
                serde_json::from_str::<Value>(&line.text).expect("a JSON line");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn f18_only_new_rows_are_computed_and_known_ones_are_equal_byte_for_byte() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let computed = async || {
        let document = host.http("GET", "/api/score", &[], b"").await.json();
        document["rows_computed"].as_i64().unwrap()
    };
    let score = async |body: Vec<u8>| {
        let answer = host.http("POST", "/api/score", &[JSON], &body).await;
        let answer = answer.expect_status(200);
        (answer.header("x-cache").unwrap().to_owned(), answer)
    };
    let (cache, first) = score(digits.body(0..50)).await;
    assert_eq!((cache.as_str(), computed().await), ("MISS", 50));

    let (cache, again) = score(digits.body(0..50)).await;
    assert_eq!((cache.as_str(), computed().await), ("HIT", 50));
    assert_eq!(again.body, first.body, "byte for byte");

    let (cache, half) = score(digits.body(25..75)).await;
    assert_eq!(
        (cache.as_str(), computed().await),
        ("PARTIAL; hits=25, rows=50", 75)
    );
    assert_eq!(half.json(), digits.answer(25..75));

    let doubled: Vec<usize> = [90, 91, 90, 90, 91].into();
    let (cache, answer) = score(digits.body(doubled.clone())).await;
    assert_eq!(
        (cache.as_str(), computed().await),
        ("MISS", 77),
        "equal rows run once"
    );
    assert_eq!(answer.json(), digits.answer(doubled));
}

#[tokio::test(flavor = "multi_thread")]
async fn f19_answers_have_exact_types_and_no_headers_of_the_connection() {
    let app = AppRoot::new();
    app.add_model("iris", test_model("zipmap"), None);
    let host = in_process::start(&app, HostOptions::default()).await;
    let own = format!("127.0.0.1:{}", host.port());
    let figures = "text/plain; version=0.0.4; charset=utf-8";
    let (json, word) = ("application/json", "text/plain; charset=utf-8");
    for (method, path, body, status, content_type) in [
        ("GET", "/", &b""[..], 200, json),
        ("POST", "/api/score/iris", FLOWERS, 200, json),
        ("POST", "/api/score/iris", &FLOWERS[..20], 400, json),
        ("POST", "/api/score/tulip", FLOWERS, 404, json),
        ("PUT", "/api/score/iris", FLOWERS, 405, json),
        ("POST", "/score_http", FLOWERS, 404, json),
        ("GET", "/api/health/live", b"", 200, word),
        ("GET", "/api/score", b"", 200, json),
        ("GET", "/api/score/openapi.json", b"", 200, json),
        ("GET", "/api/score/metrics", b"", 200, figures),
    ] {
        let length = body.len().to_string();
        let headers = [("Host", &own), ("Content-Length", &length)];
        let head = http1::head(method, path, &headers);
        let answer = http1::exchange(host.port(), &[&head, body]).await.unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        for name in ["connection", "transfer-encoding", "keep-alive"] {
            assert_eq!(answer.header(name), None, "{method} {path}");
        }
        let one = |name| answer.header_values(name).collect::<Vec<_>>();
        assert_eq!(one("content-type"), [content_type], "{method} {path}");
        assert_eq!(one("content-length"), [answer.body.len().to_string()]);
    }
}

also_forwarded! {
    f18_only_new_rows_are_computed_and_known_ones_are_equal_byte_for_byte,
}

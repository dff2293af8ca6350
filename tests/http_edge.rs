//! What happens at the edge of a request: many headers, early refusals, clients that go away, codings of bodies.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::protocol_cases::{JSON, LateApp, app_with};
use crate::support::in_process;
use functions_host::host::{FunctionsHost, Mode};
use functions_host::host_options::CORE_TOOLS;
use functions_host::http1::{self, RawConnection};
use functions_host::process::Level;
use functions_host::{PATIENCE, eventually};

const MODES: [Mode; 2] = [Mode::Forwarded, Mode::Proxied];
const OCTETS: (&str, &str) = ("content-type", "application/octet-stream");
const BODY: &[u8] = br#"{"data":[[1,2,3]]}"#;
const SCORES: &str = "[[3.0,5.0,7.0]]";

async fn affine() -> FunctionsHost {
    // So that envelopes may have a length, too.
    let tools = [CORE_TOOLS];
    let host = in_process::start(&app_with("affine"), tools).await;
    let first = host.http("POST", "/api/score", &[JSON], BODY).await;
    assert_eq!(first.expect_status(200).text(), SCORES);
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_headers_of_a_client_and_those_of_the_host_are_taken() {
    let host = affine().await;
    let numbered: Vec<(String, String)> = (0..200)
        .map(|number| (format!("X-{number}"), "v".to_owned()))
        .collect();
    let sent: Vec<(&str, &str)> = numbered.iter().map(|(n, v)| (&**n, &**v)).collect();
    for mode in MODES {
        // A web server takes 100 lines; the stand-in adds Host, and one for a trace.
        let answer = host
            .http_by(mode, "GET", "/api/score", &sent[..98], b"")
            .await;
        assert_eq!(answer.status, 200, "{mode:?}");
    }
    for (count, status) in [(127, 200), (128, 431)] {
        let headers = [&[("Host", "x")], &sent[..count]].concat();
        let head = http1::head("GET", "/api/score", &headers);
        let answer = http1::exchange(host.port(), &[&head]).await.unwrap();
        assert_eq!(answer.status, status, "{count} and Host");
    }
}

/// Sends a head whose body is held back, and returns all that comes.
async fn held_back(host: &FunctionsHost, path: &str, length: usize) -> (String, bool) {
    let connection = RawConnection::open(host.port()).await.unwrap();
    let length = length.to_string();
    let headers = [
        JSON,
        ("Host", "x"),
        ("Expect", "100-Continue"),
        ("Content-Length", &length),
    ];
    connection
        .send(&http1::head("POST", path, &headers))
        .await
        .unwrap();
    let closed = connection.is_closed_within(Duration::from_secs(2)).await;
    let all = String::from_utf8_lossy(&connection.leftover()).into_owned();
    (all, closed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_held_back_is_not_sent_for_if_it_is_refused() {
    let host = affine().await;
    for (path, length, status) in [
        ("/api/score/tulip", 1000, 404),
        ("/api/nope", 1000, 404),
        ("/score_queue", 1000, 404),
        ("/api/score/metrics", 1000, 405),
        ("/api/score/v2/models/tulip/infer", 1000, 404),
        ("/api/score", 99_999_999, 413),
    ] {
        let (all, closed) = held_back(&host, path, length).await;
        assert!(
            all.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {all}"
        );
        let lower = all.to_ascii_lowercase();
        assert!(lower.contains("\r\nconnection: close\r\n"), "{path}: {all}");
        assert!(closed, "{path}");
    }
    let (all, closed) = held_back(&host, "/api/score", 1000).await;
    assert_eq!(all, "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(!closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_unasked_is_read_away_behind_a_refusal() {
    let host = affine().await;
    let body = vec![b' '; 5_000_000];
    let length = body.len().to_string();
    for path in ["/api/score/tulip", "/api/nope", "/score_queue"] {
        let connection = RawConnection::open(host.port()).await.unwrap();
        let headers = [JSON, ("Host", "x"), ("Content-Length", &length)];
        let head = http1::head("POST", path, &headers);
        // Twice, so that the connection is still good after the first.
        for _ in 0..2 {
            connection.send(&head).await.unwrap();
            // The answer is there although not a byte of the body is.
            let answer = connection.read_response(false).await.unwrap().answer;
            assert_eq!(answer.status, 404, "{path}");
            connection.send(&body).await.unwrap();
        }
    }
    for mode in MODES {
        let path = "/api/score/tulip";
        let answer = host.http_by(mode, "POST", path, &[JSON], &body).await;
        assert_eq!(answer.expect_status(404).at("/error/code"), "unknown_model");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_is_counted_and_is_no_mistake() {
    let late = LateApp::new();
    let settings = [("SCORE_LOG_FILTER", "debug"), ("SCORE_LOAD_TIMEOUT", "5m")];
    let host = FunctionsHost::start(&late.app, settings).await;
    let counted = async |during: &str, count: usize| {
        let line = format!(r#"score_client_closed_total{{during="{during}"}} {count}"#);
        eventually(&line, async || {
            let figures = host.http("GET", "/api/score/metrics", &[], b"").await;
            figures.text().lines().any(|found| found == line)
        })
        .await;
    };
    let half = &BODY[..9];
    let length = BODY.len().to_string();
    let with_length = http1::head(
        "POST",
        "/api/score",
        &[JSON, ("Host", "x"), ("Content-Length", &length)],
    );
    let in_chunks = http1::head(
        "POST",
        "/api/score",
        &[JSON, ("Host", "x"), ("Transfer-Encoding", "chunked")],
    );
    let mut uploads = 0;
    for head in [&with_length, &in_chunks] {
        for resets in [false, true] {
            let connection = RawConnection::open(host.port()).await.unwrap();
            let chunk = [b"9\r\n", half, b"\r\n"].concat();
            let piece = if head == &in_chunks { &chunk } else { half };
            let pause = Duration::from_millis(20);
            connection.send_pieces(&[head, piece], pause).await.unwrap();
            tokio::time::sleep(pause).await;
            if resets {
                connection.reset().unwrap();
            }
            uploads += 1;
        }
    }
    counted("upload", uploads).await;
    // The model is not there yet, so that these wait with their bodies read.
    for _ in 0..3 {
        let connection = RawConnection::open(host.port()).await.unwrap();
        let pieces = [&with_length[..], BODY];
        let pause = Duration::from_millis(20);
        connection.send_pieces(&pieces, pause).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    counted("scoring", 3).await;
    // No sender that is there, only one that does not know how to write chunks.
    let garbage = http1::exchange(host.port(), &[&in_chunks, b"zz\r\nabc\r\n"]).await;
    let refused = garbage.unwrap().expect_status(400);
    assert_eq!(refused.at("/error/code"), "invalid_input");
    late.let_load().await;
    let answer = host.http("POST", "/api/score", &[JSON], BODY).await;
    assert_eq!(answer.expect_status(200).text(), SCORES);
    let figures = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    let refused = r#"score_requests_total{function="score",model="none",status="400"} 1"#;
    assert!(figures.lines().any(|line| line == refused), "{figures}");
    let lines = host.logs();
    let closed = lines
        .iter()
        .filter(|line| line.text.contains("client closed the connection"));
    assert_eq!(closed.clone().count(), uploads + 3);
    assert!(closed.clone().all(|line| line.text.contains("DEBUG")));
    assert!(lines.iter().all(|line| line.level == Level::Information));
    host.signal(nix::sys::signal::Signal::SIGTERM);
    let summary = host.wait_for_log("summary", PATIENCE).await.text;
    for figure in ["requests=2 ", "refused=1 ", "failed=0 ", "client_closed=7 "] {
        assert!(summary.contains(figure), "{figure}: {summary}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codings_that_are_not_taken_are_told_with_those_that_are() {
    let host = affine().await;
    for coding in [
        "br",
        "zstd",
        "deflate",
        "gzip, gzip",
        "gzip, br",
        "identity, gzip",
    ] {
        let headers = [JSON, ("content-encoding", coding)];
        let answer = host
            .http_by(Mode::Proxied, "POST", "/api/score", &headers, BODY)
            .await
            .expect_status(415);
        assert_eq!(answer.at("/error/code"), "unsupported_media_type");
        assert_eq!(answer.at("/error/target"), "Content-Encoding");
        let message = answer.at("/error/message").to_string();
        assert!(message.contains("gzip or identity"), "{message}");
        assert_eq!(answer.header("accept-encoding"), Some("gzip, identity"));
    }
    for (coding, body) in [
        ("identity", BODY.to_vec()),
        ("GZIP", gzip(BODY)),
        ("x-gzip", gzip(BODY)),
    ] {
        let headers = [JSON, ("content-encoding", coding)];
        let answer = host.http("POST", "/api/score", &headers, &body).await;
        assert_eq!(answer.expect_status(200).text(), SCORES, "{coding}");
    }
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(BODY).unwrap();
    let body = zlib.finish().unwrap();
    let headers = [JSON, ("content-encoding", "deflate")];
    let answer = host
        .http_by(Mode::Proxied, "POST", "/api/score", &headers, &body)
        .await;
    answer.expect_status(415);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gzipped_tensor_gets_its_scores_in_every_mode() {
    let host = affine().await;
    let rows: Vec<u8> = [1.0_f32, 2.0, 3.0]
        .repeat(50)
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let packed = gzip(&rows);
    for mode in Mode::ALL {
        for headers in [&[OCTETS][..], &[OCTETS, ("content-encoding", "gzip")]] {
            let answer = host
                .http_by(mode, "POST", "/api/score", headers, &packed)
                .await;
            assert_eq!(answer.status, 200, "{mode:?}: {}", answer.text());
            assert_eq!(answer.json().as_array().unwrap().len(), 50);
        }
    }
    // Switched off, it is the bytes of a tensor, and not a whole one.
    let identity = [OCTETS, ("content-encoding", "identity")];
    let answer = host
        .http_by(Mode::Proxied, "POST", "/api/score", &identity, &packed)
        .await;
    let message = answer.expect_status(400).text();
    assert!(message.contains("multiple of 12 bytes"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn targets_that_are_no_paths_are_refused_before_anything_looks_at_them() {
    let host = affine().await;
    for (target, status) in [
        ("CONNECT example.org:443", 405),
        ("CONNECT /", 405),
        ("CONNECT /api/score", 405),
        ("OPTIONS *", 400),
        ("POST *", 400),
        ("GET example.org:80", 400),
        ("GET http://example.org", 404),
        ("GET http://example.org/api/score", 200),
        ("GET http://example.org/nope", 404),
    ] {
        let connection = RawConnection::open(host.port()).await.unwrap();
        let head = format!("{target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.send(head.as_bytes()).await.unwrap();
        let answer = connection.read_response(false).await.unwrap().answer;
        assert_eq!(answer.status, status, "{target}: {}", answer.text());
        if [400, 405].contains(&status) {
            assert!(answer.json()["error"]["request_id"].is_string(), "{target}");
            assert_eq!(answer.header("connection"), Some("close"), "{target}");
        }
        let allowed = (status == 405).then_some("GET, HEAD, POST");
        assert_eq!(answer.header("allow"), allowed, "{target}");
    }
}

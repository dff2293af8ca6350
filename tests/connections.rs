//! Connections that take their time: heads, bodies and answers, and too many of them.

use std::time::{Duration, Instant};

use crate::protocol_cases::{JSON, app_with, figure};
use crate::support::in_process;
use functions_host::host::{CORE_TOOLS, FunctionsHost};
use functions_host::http1::{self, RawConnection};
use functions_host::{PATIENCE, eventually};

const BODY: &[u8] = br#"{"data":[[1,2,3]]}"#;
const LIVE: &str = "/api/health/live";

async fn open(host: &FunctionsHost) -> RawConnection {
    RawConnection::open(host.port()).await.unwrap()
}

fn get(path: &str) -> Vec<u8> {
    http1::head("GET", path, &[("Host", "127.0.0.1")])
}

/// A request's head, and its body as far as it goes.
fn post(path: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let length = length.to_string();
    let headers = [JSON, ("Host", "127.0.0.1"), ("Content-Length", &length)];
    [&http1::head("POST", path, &headers), body].concat()
}

async fn status(connection: &RawConnection, request: &[u8]) -> u16 {
    connection.send(request).await.unwrap();
    let response = connection.read_response(false).await.unwrap();
    response.answer.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_a_time_limit_from_its_first_byte() {
    let settings = [("SCORE_HEADER_TIMEOUT", "300ms")];
    let host = in_process::start(&app_with("affine"), settings).await;
    let (idle, slow) = (open(&host).await, open(&host).await);
    assert_eq!(status(&idle, &get(LIVE)).await, 200);
    // Behind a request, too.
    assert_eq!(status(&slow, &get(LIVE)).await, 200);
    let start = Instant::now();
    let drips = async {
        for byte in get(LIVE).chunks(1).cycle().skip(1) {
            if slow.send(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    tokio::select! {
        () = drips => {}
        closed = slow.is_closed_within(PATIENCE) => assert!(closed),
    }
    assert!(start.elapsed() >= Duration::from_millis(300));
    // Nothing has come on this one meanwhile.
    assert_eq!(status(&idle, &get(LIVE)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_behind_its_answer_is_no_head() {
    let limit = Duration::from_millis(300);
    let settings = [("SCORE_HEADER_TIMEOUT", "300ms")];
    let host = in_process::start(&app_with("affine"), settings).await;
    let connection = open(&host).await;
    let (all, part) = (200, [b' '; 100]);
    let begin = post("/no/such/path", all, &part);
    assert_eq!(status(&connection, &begin).await, 404);
    connection.send(&part).await.unwrap();
    assert!(!connection.is_closed_within(3 * limit).await);
    assert_eq!(status(&connection, &get(LIVE)).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_ask_nothing_make_way_for_those_that_do() {
    let settings = [("SCORE_MAX_CONNECTIONS", "6")];
    let host = in_process::start(&app_with("affine"), settings).await;
    let ordinary = open(&host).await;
    let mut hostile = Vec::new();
    for number in 0..30 {
        let connection = open(&host).await;
        let part: &[u8] = match number % 3 {
            0 => b"",
            1 => b"GET / HTTP/1.1\r\nHost: local",
            _ => &post("/api/score", 1 << 20, b"{"),
        };
        connection.send(part).await.unwrap();
        hostile.push(connection);
        assert_eq!(
            status(&ordinary, &post("/api/score", BODY.len(), BODY)).await,
            200
        );
        // One that is new gets in, too.
        assert_eq!(status(&open(&host).await, &get(LIVE)).await, 200);
    }
    for connection in &hostile[..24] {
        assert!(connection.is_closed_within(PATIENCE).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_pauses_is_a_408_and_ends_its_connection() {
    let settings = [("SCORE_BODY_TIMEOUT", "300ms")];
    let host = in_process::start(&app_with("affine"), settings).await;
    for (length, part) in [(1000, vec![b' '; 10]), (1 << 20, vec![b' '; 1 << 19])] {
        let connection = open(&host).await;
        connection
            .send(&post("/api/score", length, &part))
            .await
            .unwrap();
        let response = connection.read_response(false).await.unwrap();
        let answer = response.answer.expect_status(408);
        assert_eq!(answer.at("/error/code"), "too_slow");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(connection.is_closed_within(PATIENCE).await);
    }
    eventually("the room is given back", async || {
        figure(&host, "score_body_bytes_in_use").await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_calls_may_pause_for_longer() {
    let app = app_with("affine");
    let settings = [CORE_TOOLS, ("SCORE_BODY_TIMEOUT", "100ms")];
    let host = in_process::start(&app, settings).await;
    let envelope = br#"{"Data":{"message":"{\"data\":[[1,2,3]]}"},"Metadata":{}}"#;
    let local = format!("127.0.0.1:{}", host.port());
    let headers = [JSON, ("Host", &local), ("Transfer-Encoding", "chunked")];
    let connection = open(&host).await;
    let (first, second) = envelope.split_at(20);
    let head = http1::head("POST", "/score_queue", &headers);
    connection
        .send(&[head, http1::chunk(first)].concat())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let rest = [http1::chunk(second), http1::chunk(b"")].concat();
    assert_eq!(status(&connection, &rest).await, 200);
}

/// A row of so many numbers, whose answer is larger than what sockets hold.
fn large(numbers: usize) -> Vec<u8> {
    let mut body = br#"{"data":[["#.to_vec();
    body.extend_from_slice(&b"1,".repeat(numbers - 1));
    body.extend_from_slice(b"1]]}");
    post("/api/score", body.len(), &body)
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_read_keep_their_memory_counted() {
    // Room for what a request becomes, and for few answers beside it.
    let settings = [
        ("SCORE_MAX_BODY_BYTES", "9000000"),
        ("SCORE_MAX_WAITING_BYTES", "9000000"),
    ];
    let host = in_process::start(&app_with("any_rank"), settings).await;
    let request = large(2_000_000);
    let mut unread = Vec::new();
    for number in 1..=8 {
        let connection = open(&host).await;
        connection.send(&request).await.unwrap();
        unread.push(connection);
        eventually("it is answered", async || scored(&host).await == number).await;
    }
    let refused = open(&host).await;
    refused.send(&request).await.unwrap();
    let response = refused.read_response(false).await.unwrap();
    let answer = response.answer.expect_status(503);
    assert!(answer.header("retry-after").is_some());
    drop(unread);
    eventually("the memory is given back", async || {
        status(&open(&host).await, &request).await == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_takes_nothing_of_its_answer_loses_its_connection() {
    let settings = [("SCORE_SEND_TIMEOUT", "300ms")];
    let host = in_process::start(&app_with("any_rank"), settings).await;
    let unread = open(&host).await;
    unread.send(&large(4_000_000)).await.unwrap();
    eventually("it is answered", async || scored(&host).await == 1).await;
    // Only sending tells without taking anything.
    eventually("the connection ends", async || {
        unread.send(b" ").await.is_err()
    })
    .await;
    // A client that reads gets all of it.
    assert_eq!(status(&open(&host).await, &large(4_000_000)).await, 200);
}

/// How many requests have been scored.
async fn scored(host: &FunctionsHost) -> u64 {
    let metrics = host.http("GET", "/api/score/metrics", &[], b"").await;
    let text = metrics.text();
    let scored = text
        .lines()
        .filter(|line| line.starts_with("score_requests_total{function=\"score\""));
    let counts = scored.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    counts.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_behind_an_answer_that_is_not_read_wait_for_it() {
    let host = in_process::start(&app_with("any_rank"), []).await;
    let request = large(4_000_000);
    let unread = open(&host).await;
    unread.send(&request).await.unwrap();
    eventually("the answer is there", async || scored(&host).await == 1).await;
    let behind = post("/api/score", BODY.len(), BODY).repeat(20);
    unread.send(&behind).await.unwrap();
    for _ in 0..20 {
        assert_eq!(scored(&host).await, 1);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..21 {
        let response = unread.read_response(false).await.unwrap();
        response.answer.expect_status(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_have_limits_that_are_told_where_http_can() {
    let host = in_process::start(&app_with("affine"), []).await;
    let long = "x".repeat(33 << 10);
    let longer = "x".repeat(70 << 10);
    let many: Vec<(String, &str)> = (0..300).map(|n| (format!("X-{n}"), "v")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(n, v)| (&**n, *v)).collect();
    let heads = [
        http1::head("GET", LIVE, &[("Host", "x"), ("X-Long", &long)]),
        http1::head("GET", LIVE, &[("Host", "x"), ("X-Long", &longer)]),
        http1::head("GET", &format!("{LIVE}?{longer}"), &[("Host", "x")]),
        http1::head("GET", LIVE, &many),
    ];
    for head in heads {
        let connection = open(&host).await;
        // It may be closed before all of it is sent.
        let _ = connection.send(&head).await;
        let answer = connection.read_response(false).await.unwrap().answer;
        assert!(matches!(answer.status, 414 | 431), "{}", answer.status);
        assert!(connection.is_closed_within(PATIENCE).await);
    }
    assert!(host.is_running());
}

//! Forwarded requests that break off, wait, are too many, or whose callers go away.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{JSON, LateApp, app_with, figure, probe};
use crate::support::redis::RedisServer;
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use functions_host::http1::{self, RawConnection};
use functions_host::{PATIENCE, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn f09_a_body_that_breaks_off_gives_its_room_back() {
    // Room for one such body only.
    let settings = [("SCORE_MAX_WAITING_BYTES", "8192")];
    let host = FunctionsHost::start(&app_with("affine"), settings).await;
    let headers = [JSON, ("Host", "x"), ("Content-Length", "8000")];
    let head = http1::head("POST", "/api/score", &headers);
    let start = br#"{"data":[[1,2,3"#;
    for round in 0..20 {
        let mut connection = RawConnection::open(host.port()).await.unwrap();
        connection
            .send_pieces(&[&head, start], Duration::ZERO)
            .await
            .unwrap();
        if round % 2 == 0 {
            connection.half_close().await.unwrap();
            let answer = connection.read_response(false).await.unwrap().answer;
            assert_eq!(answer.expect_status(400).at("/error/code"), "client_closed");
        } else {
            connection.reset().unwrap();
        }
        eventually("the room is given back", async || {
            let body = br#"{"data":[[1,2,3]]}"#;
            let answer = host.http("POST", "/api/score", &[JSON], body).await;
            assert!([200, 503].contains(&answer.status), "{}", answer.text());
            answer.status == 200
        })
        .await;
    }
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn f13_of_256_parallel_requests_no_more_run_at_once_than_there_are_sessions() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    // Refused are requests that get no permit for themselves or for their rows; far below both limits, none is.
    for (name, value, is_refusing) in [
        ("SCORE_MAX_REQUESTS", "50", true),
        ("SCORE_MAX_WAITING_ROWS", "50", true),
        ("SCORE_MAX_REQUESTS", "512", false),
    ] {
        let batch = if is_refusing { "1" } else { "64" };
        let settings = [
            (name, value),
            ("SCORE_MAX_BATCH_ROWS", batch),
            ("SCORE_SESSIONS", "1"),
            ("REDIS_URL", &url),
        ];
        let host = FunctionsHost::start(&app_with("slow"), settings).await;
        host.wait_for_log("redis connected", PATIENCE).await;
        host.wait_for_log("model loaded", PATIENCE).await;
        redis.pause();
        let requests = (0..256).map(|row| {
            let body = json!({ "data": [[row, 0, 0, 0]] }).to_string();
            let host = &host;
            async move {
                let answer = host.http("POST", "/api/score", &[JSON], body).await;
                (answer, Instant::now())
            }
        });
        let answers = futures_util::future::join_all(requests).await;
        redis.resume();

        let (mut running, mut starts, mut ends) = (Duration::ZERO, Vec::new(), Vec::new());
        let (mut scored, mut refused) = (0, 0);
        for (row, (answer, end)) in answers.iter().enumerate() {
            if answer.status == 200 {
                scored += 1;
                assert_eq!(answer.json(), json!([[2.0 * row as f64, 0.0, 0.0, 0.0]]));
                let time = time_in_the_model(answer);
                running += time;
                starts.push(*end - time);
                ends.push(*end);
            } else {
                refused += 1;
                assert_eq!(answer.status, 503, "{}", answer.text());
                assert_eq!(answer.header("retry-after"), Some("1"));
                assert_eq!(answer.at("/error/code"), "overloaded");
            }
        }
        assert!(scored >= 50, "{name}={value}: {scored} scored");
        assert_eq!(refused > 0, is_refusing, "{name}={value}: {refused}");
        if is_refusing {
            // Each run had one row. One after the other they take the time from the first to the last, two at a time
            // half of it; in between, as answers arrive late on a busy machine.
            let time = *ends.iter().max().unwrap() - *starts.iter().min().unwrap();
            assert!(running < time.mul_f64(1.4), "{running:?} in {time:?}");
        }
    }
}

/// What `Server-Timing` says of the run itself.
fn time_in_the_model(answer: &Answer) -> Duration {
    let timing = answer.header("server-timing").unwrap();
    let (_, rest) = timing.split_once("infer;dur=").unwrap();
    let millis: f64 = rest.split(',').next().unwrap().parse().unwrap();
    Duration::from_secs_f64(millis / 1e3)
}

#[tokio::test(flavor = "multi_thread")]
async fn f14_while_models_load_requests_wait_and_are_told_to_come_back() {
    let late = LateApp::new();
    let host = FunctionsHost::start(&late.app, [("SCORE_LOAD_TIMEOUT", "300ms")]).await;
    let body = br#"{"data":[[1,2,3]]}"#;
    let start = Instant::now();
    let answer = host
        .http("POST", "/api/score", &[JSON], body)
        .await
        .expect_status(503);
    assert_eq!(answer.at("/error/code"), "loading");
    assert!(answer.header("retry-after").is_some());
    assert!(start.elapsed() >= Duration::from_millis(300));
    probe(host.port()).await.expect_status(200);
    drop(host);

    let host = FunctionsHost::start(&late.app, []).await;
    let request = host.http("POST", "/api/score", &[JSON], body);
    let load = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        late.let_load().await;
    };
    let (answer, ()) = tokio::join!(request, load);
    assert_eq!(answer.expect_status(200).text(), "[[3.0,5.0,7.0]]");
}

#[tokio::test(flavor = "multi_thread")]
async fn f15_work_of_clients_that_go_away_leaks_nothing() {
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("SCORE_MAX_REQUESTS", "12"),
        ("SCORE_SESSIONS", "1"),
        ("SCORE_MAX_BATCH_ROWS", "1"),
    ];
    let host = FunctionsHost::start(&app_with("slow"), settings).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let score = async |row: usize| {
        let body = json!({ "data": [[row, 1, 0, 0]] }).to_string();
        host.http("POST", "/api/score", &[JSON], body).await
    };
    score(0).await.expect_status(200);
    // Before attempts to reach Redis add to them.
    let before = open_files(&host);
    redis.pause();
    for row in 1..4 {
        score(row).await.expect_status(200);
    }
    host.wait_for_log("redis does not answer", PATIENCE).await;
    // Rounds in which the clients went away while rows of theirs waited.
    let mut rounds = 0;
    for round in 0.. {
        assert!(round < 100, "rows hardly ever wait");
        if rounds == 6 {
            break;
        }
        let mut connections = Vec::new();
        for client in 0..12 {
            let connection = RawConnection::open(host.port()).await.unwrap();
            let body = json!({ "data": [[round, 2, client, 0]] }).to_string();
            let length = body.len().to_string();
            let headers = [JSON, ("Host", "x"), ("Content-Length", &length)];
            let head = http1::head("POST", "/api/score", &headers);
            let pieces = [&head, body.as_bytes()];
            connection
                .send_pieces(&pieces, Duration::ZERO)
                .await
                .unwrap();
            connections.push(connection);
        }
        // Or all are answered already, if only that the requests of the round before have the permits.
        eventually("rows wait", async || {
            let waiting = figure(&host, "score_waiting_rows").await >= 2;
            rounds += usize::from(waiting);
            waiting || !connections.iter().any(RawConnection::is_idle)
        })
        .await;
        // By a reset or by an orderly end.
        for connection in connections {
            if rounds % 2 == 0 {
                connection.reset().unwrap();
            }
        }
    }
    eventually("permits are given back", async || {
        let all = (0..12).map(|row| score(row + 4));
        let answers = futures_util::future::join_all(all).await;
        answers.iter().all(|answer| answer.status == 200)
    })
    .await;
    let closed = r#"score_client_closed_total{during="scoring"}"#;
    let figures = host.http("GET", "/api/score/metrics", &[], b"").await;
    assert!(figures.text().contains(closed), "{}", figures.text());
    let waiting = async || figure(&host, "score_waiting_rows").await;
    eventually("no row waits", async || waiting().await == 0).await;
    redis.resume();
    eventually("redis is used again", async || {
        figure(&host, "score_cache_redis_up").await == 1
    })
    .await;
    eventually("no file stays open", async || open_files(&host) <= before).await;
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

/// The handler's open files and sockets, without those to this host.
fn open_files(host: &FunctionsHost) -> usize {
    host.client().forget_connections();
    let folder = format!("/proc/{}/fd", host.pid());
    std::fs::read_dir(folder).unwrap().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_that_are_only_announced_or_packed_hold_up_no_other() {
    let settings = [("SCORE_MAX_WAITING_BYTES", "8388608")];
    let host = FunctionsHost::start(&app_with("affine"), settings).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let length = (8 << 20).to_string();
    let headers = [JSON, ("Host", "x"), ("Content-Length", &length)];
    let head = http1::head("POST", "/api/score", &headers);
    let mut held = Vec::new();
    for _ in 0..8 {
        let connection = RawConnection::open(host.port()).await.unwrap();
        connection.send(&head).await.unwrap();
        held.push(connection);
    }
    let body = br#"{"data":[[1,2,3]]}"#;
    let answer = host.http("POST", "/api/score", &[JSON], body).await;
    answer.expect_status(200);
    // Each takes more than half of the room for what is read; whether they are scored or refused, all of it comes back.
    let text = format!(
        "{{\"data\":[{}[1,2,3]]}}",
        format!("[1,2,3],{:80}", "").repeat(9000)
    );
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let swarm = (0..8).map(|_| host.http("POST", "/api/score", &[JSON], packed.clone()));
    for answer in futures_util::future::join_all(swarm).await {
        assert!([200, 503].contains(&answer.status), "{}", answer.text());
        let retry = (answer.status == 503).then_some("1");
        assert_eq!(answer.header("retry-after"), retry);
    }
    eventually("one of them is scored", async || {
        let answer = host.http("POST", "/api/score", &[JSON], packed.clone());
        answer.await.status == 200
    })
    .await;
    drop(held);
}

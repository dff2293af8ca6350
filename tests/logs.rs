//! What a whole life of the program leaves in the log: one line for each event, and nothing of what is confidential.

use std::process::{Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::otlp::{Collector, attributes};
use crate::support::redis::{RedisOptions, RedisServer};
use functions_host::PATIENCE;
use functions_host::client::{Client, Request};
use functions_host::functions::add_functions;
use functions_host::host::{FunctionsHost, HostOptions, Mode};
use functions_host::invoke::Transport;
use functions_host::port;
use functions_host::triggers::{BlobEvent, ServiceBusMessage};

/// A part of everything that must not be found again.
const SECRET: &str = "pl4nted";

fn app() -> AppRoot {
    let app = AppRoot::new();
    let file = repository().join("tests/data/models/identity_string.onnx");
    let options = "[features]\nprefix = \"features:\"\nformat = \"json\"\n";
    app.add_model("identity_string", file, Some(options));
    add_functions(&app);
    app
}

/// Everything a caller can bring a secret in with.
async fn live(host: &FunctionsHost) {
    let headers = [
        ("content-type", "application/json"),
        ("x-functions-key", "pl4nted-key"),
        ("authorization", "Bearer pl4nted-token"),
        ("cookie", "session=pl4nted"),
    ];
    let path = "/api/score?code=pl4nted-code&clientId=pl4nted";
    for body in [
        r#"{"data":[["pl4nted","b"]]}"#,
        r#"{"data":[["pl4nted"]]}"#,
        r#"{"pl4nted":[]}"#,
        r#"{"data":[["pl4nted\u0000","b"]]}"#,
        r#"pl4nted"#,
        r#"{"keys":["pl4nted-known"]}"#,
        r#"{"keys":["pl4nted-unknown"]}"#,
        r#"{"keys":["pl4nted-broken"]}"#,
    ] {
        host.http("POST", path, &headers, body.as_bytes()).await;
        for function in ["scoreMessage", "scoreText", "scoreBatch"] {
            let messages = [ServiceBusMessage::new(body).with_property("secret", "pl4nted")];
            // Some are brought again.
            let _ = host.deliver(function, &messages, Transport::Chunked).await;
        }
        let mut blob = BlobEvent::new("a.json", body);
        blob.uri += "?sv=1&sig=pl4nted-signature";
        blob.metadata = json!({ "owner": "pl4nted" });
        let _ = host.blob("scoreBlob", &blob, Transport::Chunked).await;
    }
    for (method, path) in [
        ("GET", "/api/score/metrics?code=pl4nted"),
        ("DELETE", "/api/score?code=pl4nted"),
        ("GET", "/api/score/v2/models/x?code=pl4nted"),
    ] {
        host.http(method, path, &headers, b"").await;
    }
    let broken = b"{\"Data\":{\"msg\":\"pl4nted";
    for function in ["scoreMessage", "score_http"] {
        let _ = host.post_body(function, broken, Transport::Chunked).await;
    }
}

fn assert_silent(host: &FunctionsHost) {
    assert!(!host.logs().is_empty());
    for line in host.logs() {
        let text = &line.text;
        assert!(!text.to_lowercase().contains(SECRET), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_logged_or_traced_whatever_happens() {
    let redis = RedisServer::start_with(RedisOptions::default().password("pl4nted-password")).await;
    for (mode, format) in [
        (Mode::Forwarded, "text"),
        (Mode::Envelope { chunked: true }, "json"),
    ] {
        // It is empty after a restart.
        redis
            .command(&[b"SET", b"features:pl4nted-known", br#"["pl4nted","b"]"#])
            .await;
        redis
            .command(&[b"SET", b"features:pl4nted-broken", b"[\"pl4nted\", 7, {"])
            .await;
        let collector = Collector::start().await;
        let options = HostOptions::default()
            .mode(mode)
            .setting("REDIS_URL", redis.url())
            .setting("SCORE_L1_BYTES", "0")
            .setting("SCORE_FEATURES_TIMEOUT", "200ms")
            .setting("SCORE_MESSAGE_TIMEOUT", "300ms")
            .setting("SCORE_MESSAGE_BATCH_TIMEOUT", "300ms")
            .setting("SCORE_LOG", format)
            .setting(
                "SCORE_LOG_FILTER",
                "info,handler=trace,score=trace,ort=off,fred=off",
            )
            .setting("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint())
            .setting("OTEL_TRACES_SAMPLER", "always_on")
            .setting("OTEL_EXPORTER_OTLP_HEADERS", "api-key=pl4nted-otlp")
            .setting("OTEL_BSP_SCHEDULE_DELAY", "20");
        let host = FunctionsHost::start(&app(), options).await;
        host.wait_for_log("redis connected", PATIENCE).await;
        live(&host).await;
        redis.stop();
        live(&host).await;
        redis.restart().await;
        host.wait_for_log(
            "redis does not answer|answers again|cannot be used",
            PATIENCE,
        )
        .await;
        host.signal(nix::sys::signal::Signal::SIGTERM);
        host.wait_exit(PATIENCE).await;
        assert_silent(&host);
        let logs = host.logs();
        let scored: Vec<_> = logs
            .iter()
            .filter(|line| line.text.contains("scored"))
            .collect();
        assert!(scored.len() > 3, "{logs:?}");
        let spans = collector.spans();
        assert!(!spans.is_empty());
        for span in spans {
            let found = attributes(&span.attributes);
            assert!(
                !format!("{} {found:?}", span.name).contains(SECRET),
                "{found:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_says_of_a_wrong_password_holds_none() {
    let redis = RedisServer::start_with(RedisOptions::default().password("right")).await;
    let wrong = redis.url().replace("right", "pl4nted-password");
    let host = FunctionsHost::start(&app(), [("REDIS_URL", &*wrong)]).await;
    host.wait_for_log("cannot be used", PATIENCE).await;
    assert_silent(&host);
    let string = format!(
        "127.0.0.1:{},password=pl4nted,ssl=False,what=pl4nted",
        redis.port()
    );
    let host = FunctionsHost::start(&app(), [("REDIS_CONNECTION_STRING", &*string)]).await;
    host.wait_for_log("cannot be used", PATIENCE).await;
    assert_silent(&host);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_wrong_settings_holds_no_secret() {
    for (name, value) in [
        ("REDIS_URL", "redis://:pl4nted@host:port/x"),
        ("REDIS_URL", "pl4nted"),
        ("REDIS_URL", "http://:pl4nted@host"),
        ("REDIS_CONNECTION_STRING", "password=pl4nted"),
        (
            "REDIS_CONNECTION_STRING",
            "h:1,password=pl4nted,ssl=pl4nted",
        ),
    ] {
        let host = FunctionsHost::spawn(&app(), [(name, value), ("SCORE_MAX_ROWS", "none")]);
        let status = host.wait_exit(PATIENCE).await;
        assert_eq!(status.code(), Some(1), "{name}={value}");
        assert!(
            host.logs()
                .iter()
                .any(|line| line.text.contains("SCORE_MAX_ROWS"))
        );
        assert_silent(&host);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_said_of_wrong_trace_settings_holds_no_secret_and_stops_nothing() {
    let endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT";
    for (wrong, value) in [
        (endpoint, "http://user:pl4nted@ho st:4318"),
        (endpoint, "pl4nted"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://[pl4nted"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "pl4nted"),
        ("OTEL_TRACES_SAMPLER", "pl4nted"),
        ("OTEL_TRACES_SAMPLER_ARG", "pl4nted"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "pl4nted,\u{e9}=pl4nted"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "pl4nted"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "pl4nted"),
    ] {
        let options = HostOptions::default()
            .setting(endpoint, "http://user:pl4nted@127.0.0.1:9")
            .setting("OTEL_BSP_SCHEDULE_DELAY", "20")
            .setting("OTEL_TRACES_SAMPLER", "traceidratio")
            .setting("SCORE_LOG_FILTER", "info,handler=trace,score=trace")
            .setting(wrong, value);
        let host = FunctionsHost::start(&app(), options).await;
        let named = ["ENDPOINT", "PROTOCOL", "SAMPLER"];
        let said = if named.iter().any(|end| wrong.ends_with(end)) {
            wrong
        } else {
            // That port is closed.
            "traces cannot be exported"
        };
        let body = br#"{"data":[["a","b"]]}"#;
        let answer = host.http("POST", "/api/score", &[], body).await;
        answer.expect_status(200);
        host.wait_for_log(said, PATIENCE).await;
        assert_silent(&host);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_one_line_with_what_there_is_to_know() {
    let settings = [("SCORE_LOG", "json"), ("SCORE_LOG_FILTER", "debug")];
    let host = FunctionsHost::start(&app(), settings).await;
    let body = br#"{"data":[["a","b"]]}"#;
    let answer = host.http("POST", "/api/score", &[], body).await;
    let answer = answer.expect_status(200);
    host.http("POST", "/api/score", &[], b"{").await;
    let messages = [
        ServiceBusMessage::new(&body[..]),
        ServiceBusMessage::new("{"),
    ];
    let delivered = host.deliver("scoreBatch", &messages, Transport::Chunked);
    let id = delivered.await.unwrap().raw.invocation_id;
    host.wait_for_log("scored 1, rejected 1", PATIENCE).await;
    let lines: Vec<Value> = host
        .logs()
        .iter()
        .map(|line| serde_json::from_str(&line.text).expect("one JSON object per line"))
        .collect();
    let of = |id: &str, message: &str| {
        let found = lines.iter().filter(|l| l["id"] == id);
        let found: Vec<_> = found.filter(|l| l["message"] == message).collect();
        assert_eq!(found.len(), 1, "{message}: {lines:?}");
        found[0].clone()
    };
    let scored = of(&answer.invocation_id, "scored");
    assert_eq!(scored["model"], "identity_string");
    assert_eq!(
        (&scored["rows"], &scored["cache"]),
        (&json!(1), &json!("MISS"))
    );
    assert!(scored["ms"].is_f64() && scored["level"] == "DEBUG");
    let scored = of(&id, "scored");
    assert_eq!(
        (&scored["cache"], &scored["index"]),
        (&json!("HIT"), &json!(0))
    );
    assert!(of(&id, "scored 1, rejected 1")["ms"].is_f64());
    let is_rejected = |l: &&Value| {
        let message = l["message"].as_str();
        message.is_some_and(|message| message.starts_with("rejected"))
    };
    let rejected = lines.iter().find(is_rejected).unwrap();
    assert_eq!(
        (&rejected["id"], &rejected["index"], &rejected["model"]),
        (&json!(id), &json!(1), &json!("identity_string"))
    );
    assert!(rejected["ms"].is_f64(), "{rejected}");
    let refused = lines.iter().find(|l| l["message"] == "request refused");
    let refused = refused.unwrap();
    assert_eq!(refused["status"], 400);
    assert_eq!(refused["model"], "identity_string");
    assert!(refused["ms"].is_f64(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_usual_is_told_in_a_summary_and_not_line_by_line() {
    let host = FunctionsHost::start(&app(), [("SCORE_LOG", "json")]).await;
    let body = br#"{"data":[["a","b"]]}"#;
    for _ in 0..3 {
        let answer = host.http("POST", "/api/score", &[], body).await;
        answer.expect_status(200);
    }
    host.http("POST", "/api/score", &[], b"{")
        .await
        .expect_status(400);
    host.http("GET", "/api/score/metrics", &[], b"").await;
    let messages = [ServiceBusMessage::new(&body[..])];
    let delivered = host.deliver("scoreBatch", &messages, Transport::Chunked);
    assert_eq!(delivered.await.unwrap().logs, [""; 0]);
    host.signal(nix::sys::signal::Signal::SIGTERM);
    host.wait_exit(PATIENCE).await;
    let lines: Vec<Value> = host
        .logs()
        .iter()
        .map(|line| serde_json::from_str(&line.text).expect("one JSON object per line"))
        .collect();
    let texts: Vec<&str> = lines.iter().filter_map(|l| l["message"].as_str()).collect();
    assert!(
        !texts.iter().any(|text| text.contains("scored")),
        "{texts:?}"
    );
    assert!(texts.contains(&"request refused"), "{texts:?}");
    let summaries: Vec<&Value> = lines.iter().filter(|l| l["message"] == "summary").collect();
    let sum = |name: &str| -> u64 { summaries.iter().filter_map(|l| l[name].as_u64()).sum() };
    let found = ["requests", "refused", "failed", "rows", "hits", "misses"].map(sum);
    assert_eq!(found, [5, 1, 0, 4, 3, 1], "{summaries:?}");
    assert_eq!(summaries[0]["level"], "INFO");
    assert!(summaries[0]["hit_percent"].is_f64());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_slow_is_told_with_its_steps() {
    // So that everything is.
    let settings = [("SCORE_LOG", "json"), ("SCORE_LOG_SLOW", "1ns")];
    let host = FunctionsHost::start(&app(), settings).await;
    let body = br#"{"data":[["a","b"]]}"#;
    let answer = host.http("POST", "/api/score", &[], body).await;
    let line = host.wait_for_log(&answer.invocation_id, PATIENCE).await;
    let line: Value = serde_json::from_str(&line.text).unwrap();
    assert_eq!(
        (&line["message"], &line["level"]),
        (&json!("scored slowly"), &json!("INFO"))
    );
    assert_eq!((&line["rows"], &line["cache"]), (&json!(1), &json!("MISS")));
    let steps = line["steps_ms"].as_str().unwrap();
    for step in ["decode=", " cache=", " queue=", " infer=", " encode="] {
        assert!(steps.contains(step), "{steps}");
    }
    let messages = [ServiceBusMessage::new(&body[..])];
    let delivered = host.deliver("scoreBatch", &messages, Transport::Chunked);
    let id = delivered.await.unwrap().raw.invocation_id;
    let line = host.wait_for_log(&id, PATIENCE).await;
    let line: Value = serde_json::from_str(&line.text).unwrap();
    assert_eq!(
        (&line["message"], &line["index"]),
        (&json!("scored slowly"), &json!(0))
    );
}

#[test]
fn no_name_begins_a_line_or_steers_a_terminal() {
    let app = AppRoot::with_sample();
    let name = "odd\n2026 ERROR made up\u{1b}[2J\u{9b}31m";
    std::fs::create_dir(app.path().join(name)).unwrap();
    let open = r#"{"bindings": [
        {"type": "httpTrigger", "direction": "in", "name": "req", "authLevel": "anonymous", "route": "score/{*path}"},
        {"type": "http", "direction": "out", "name": "res"}]}"#;
    std::fs::write(app.path().join(name).join("function.json"), open).unwrap();
    for format in ["text", "json"] {
        let mut handler = Command::new(app.path().join("bin/handler"));
        handler
            .current_dir(app.path())
            .env_clear()
            .env("SCORE_LOG", format);
        let output = handler
            .env("SCORE_PORT", port::free().to_string())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = said
            .lines()
            .filter(|line| line.contains("made up"))
            .collect();
        assert_eq!(lines.len(), 1, "{said}");
        assert!(lines[0].contains(r"odd\n2026 ERROR made up"), "{said}");
        assert!(!said.contains('\u{1b}') && !said.contains('\u{9b}'));
    }
}

/// The metric of that name.
async fn metric(client: &Client, name: &str) -> u64 {
    let head = b"GET /api/score/metrics HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec();
    let body = Vec::new();
    let answer = client.send(&Request { head, body }).await.unwrap();
    let text = String::from_utf8(answer.body).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_not_read_stops_nothing() {
    let app = AppRoot::with_sample();
    let port = port::free();
    let mut handler = Command::new(app.path().join("bin/handler"))
        .current_dir(app.path())
        .env("SCORE_PORT", port.to_string())
        .env("SCORE_LOG_FILTER", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let client = Client::new(port, PATIENCE);
    let deadline = Instant::now() + PATIENCE;
    let body = br#"{"data":[[1]]}"#.to_vec();
    let head = format!(
        "POST /api/score HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = Request {
        head: head.into_bytes(),
        body,
    };
    while Instant::now() < deadline {
        // It may not listen yet.
        if client.send(&request).await.is_ok()
            && metric(&client, "score_log_lines_dropped_total").await > 0
        {
            break;
        }
    }
    assert!(metric(&client, "score_log_lines_dropped_total").await > 0);
    client.send(&request).await.unwrap().expect_status(400);
    let pid = i32::try_from(handler.id()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let ended = tokio::task::spawn_blocking(move || handler.wait().unwrap());
    let status = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
}

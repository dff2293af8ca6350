//! Tests of the stand-ins themselves: this program plays a small handler for them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use functions_host::app_folder::AppFolder;
use functions_host::encoding::base64;
use functions_host::host::{CORE_TOOLS, FunctionsHost, HostOptions, Mode};
use functions_host::http1::{self, RawConnection};
use functions_host::invoke::Transport;
use functions_host::outputs::OutputValue;
use functions_host::triggers::{BlobEvent, ServiceBusMessage};

/// An app whose executable is this program, running [`plays_a_handler`] alone.
fn app() -> AppFolder {
    let app = AppFolder::bare();
    let program = std::env::current_exe().unwrap();
    let host = json!({
        "version": "2.0",
        "functionTimeout": "00:05:00",
        "customHandler": {
            "description": {
                "defaultExecutablePath": program,
                "arguments": ["host::plays_a_handler", "--exact", "--nocapture"],
            },
            "enableForwardingHttpRequest": true,
        },
    });
    app.write("host.json", host.to_string());
    let function = |name: &str, bindings: Value| {
        app.write(
            &format!("{name}/function.json"),
            json!({ "bindings": bindings }).to_string(),
        );
    };
    let input = |kind: &str, name: &str| json!({"type": kind, "direction": "in", "name": name, "dataType": "binary"});
    let output = |kind: &str, name: &str| json!({"type": kind, "direction": "out", "name": name});
    let mut request = input("httpTrigger", "req");
    request["route"] = "score/{*path}".into();
    request["methods"] = json!(["get", "post", "head"]);
    function("score_http", json!([request, output("http", "res")]));
    let queue = json!([
        input("serviceBusTrigger", "msg"),
        output("serviceBus", "result"),
        output("queue", "rejected")
    ]);
    function("score_queue", queue);
    function(
        "score_blob",
        json!([input("blobTrigger", "blob"), output("blob", "scored")]),
    );
    app
}

/// The handler of the other tests; passes at once if it was given no port.
#[test]
fn plays_a_handler() {
    play_handler(answer);
}

/// Answers a request for a target, given an echo of it and its body.
pub(crate) type AnswerWith = fn(&str, &Value, &[u8]) -> (u16, Option<Value>);

/// Serves for ever if this process was given a port.
pub(crate) fn play_handler(answer: AnswerWith) {
    let port = std::env::vars().find(|(name, _)| name == "FUNCTIONS_CUSTOMHANDLER_PORT");
    let Some(port) = port.and_then(|(_, value)| value.parse::<u16>().ok()) else {
        return;
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    println!("listening");
    eprintln!("a warning");
    for stream in listener.incoming().flatten() {
        std::thread::spawn(move || while serve_one(&stream, answer).is_some() {});
    }
}

fn serve_one(stream: &TcpStream, answer: AnswerWith) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .ok()
            .filter(|count| *count > 0)?;
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let request = lines.remove(0);
    let headers: Vec<(String, String)> = lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    let header = |name: &str| {
        headers
            .iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.clone())
    };
    let body = match header("transfer-encoding") {
        Some(_) => read_chunks(&mut reader)?,
        None => {
            let mut body =
                vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
            reader.read_exact(&mut body).ok()?;
            body
        }
    };
    let (method, target) = request.split_once(' ')?;
    let target = target.trim_end_matches(" HTTP/1.1");
    println!("{method} {target}");
    let echo =
        json!({"method": method, "target": target, "headers": headers, "body": base64(&body)});
    let (status, answer) = answer(target, &echo, &body);
    let text = answer.map(|answer| answer.to_string()).unwrap_or_default();
    let length = text.len();
    let shown = if method == "HEAD" { "" } else { &text };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{shown}").ok()
}

fn read_chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let length = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; length + 2];
        reader.read_exact(&mut chunk).ok()?;
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

fn answer(target: &str, echo: &Value, body: &[u8]) -> (u16, Option<Value>) {
    let data = || serde_json::from_slice::<Value>(body).unwrap()["Data"].clone();
    match target {
        "/exit" => std::process::exit(7),
        "/fail" => (500, Some(json!({}))),
        "/hang" => (204, None),
        "/score_http" => {
            let headers = json!({"content-type": "application/json"});
            let res = json!({"statusCode": 201, "headers": headers, "body": echo.to_string()});
            (200, Some(json!({"Outputs": {"res": res}, "Logs": ["one"]})))
        }
        "/score_queue" => {
            let outputs = json!({"result": [echo.to_string()], "rejected": ["positive"]});
            (200, Some(json!({ "Outputs": outputs })))
        }
        "/score_blob" => (200, Some(json!({"outputs": {"scored": data()["blob"]}}))),
        _ => (200, Some(echo.clone())),
    }
}

fn header<'a>(echo: &'a Value, name: &str) -> Option<&'a str> {
    let headers = echo["headers"].as_array().unwrap();
    headers
        .iter()
        .find(|pair| pair[0] == name)
        .and_then(|pair| pair[1].as_str())
}

#[tokio::test]
async fn starts_watches_and_restarts() {
    let app = app();
    let host = FunctionsHost::start(&app, HostOptions::default()).await;
    assert!(host.startup_time() > Duration::ZERO && host.startup_time() < Duration::from_secs(10));
    assert_eq!(host.mode(), Mode::Forwarded);
    host.wait_for_log("^listening$", Duration::from_secs(2))
        .await;
    host.wait_for_log("warning", Duration::from_secs(2)).await;
    assert_eq!(host.error_logs(), [""; 0]);

    let first = host.pid();
    let failed = host
        .invoke("exit", json!({}), json!({}), Transport::Chunked)
        .await;
    assert!(failed.unwrap_err().contains("no answer"));
    assert_eq!(host.wait_exit(Duration::from_secs(2)).await.code(), Some(7));
    host.restart().await;
    assert_ne!(host.pid(), first);
    host.signal(Signal::SIGTERM);
    use std::os::unix::process::ExitStatusExt as _;
    assert_eq!(
        host.wait_exit(Duration::from_secs(2)).await.signal(),
        Some(15)
    );
    assert!(!host.is_running());
}

#[tokio::test]
async fn reports_a_handler_that_ends_early() {
    let app = app();
    let host = FunctionsHost::spawn(
        &app,
        HostOptions::default().without("FUNCTIONS_CUSTOMHANDLER_PORT"),
    );
    let error = host.wait_ready(Duration::from_secs(20)).await.unwrap_err();
    assert!(error.contains("ended before"), "{error}");
    assert_eq!(host.wait_exit(Duration::from_secs(2)).await.code(), Some(0));
}

#[tokio::test]
async fn orphans_the_handler_on_request() {
    let app = app();
    let host = FunctionsHost::start(&app, HostOptions::default().with_parent()).await;
    host.crash();
    assert!(!host.is_gone_within(Duration::from_millis(50)).await);
    host.kill();
    assert!(host.is_gone_within(Duration::from_secs(2)).await);
}

#[tokio::test]
async fn forwards_as_the_host_does() {
    let app = app();
    let host = FunctionsHost::start(&app, HostOptions::default()).await;
    let sent = [
        ("Host", "app.example"),
        ("content-type", "application/json"),
        ("Content-Encoding", "gzip"),
        ("x-azure-functions-invocationid", "fake"),
        ("User-Agent", "curl/8"),
        ("Cookie", "a=1"),
    ];
    let answer = host
        .http("POST", "/api/score/a%20b?v=1&v=2&flag", &sent, "{}")
        .await;
    let echo = answer.json();
    assert_eq!(echo["target"], "/api/score/a%20b?v=1,2&flag=");
    assert_eq!(echo["body"], "e30=");
    assert_eq!(header(&echo, "host"), Some("app.example"));
    assert_eq!(header(&echo, "content-type"), Some("application/json"));
    assert_eq!(header(&echo, "content-length"), Some("2"));
    assert_eq!(header(&echo, "content-encoding"), None);
    let ids = header(&echo, "x-azure-functions-invocationid").unwrap();
    assert_eq!(ids, format!("fake, {}", answer.invocation_id));
    assert!(
        header(&echo, "user-agent")
            .unwrap()
            .starts_with("curl/8 Azure-Functions-Host/4.")
    );
    assert_eq!(header(&echo, "traceparent"), None, "no telemetry");

    let empty = host
        .http("GET", "/api/score", &[("Content-Type", "text/plain")], "")
        .await
        .json();
    assert_eq!(
        (
            header(&empty, "content-type"),
            header(&empty, "content-length")
        ),
        (None, None)
    );
    assert_eq!(host.http("HEAD", "/api/score", &[], "").await.body, b"");
    let chunked = host
        .http(
            "POST",
            "/api/score",
            &[("Transfer-Encoding", "chunked")],
            "{}",
        )
        .await;
    assert_eq!((chunked.status, chunked.host_error.is_some()), (500, true));
    let nowhere = host.http("GET", "/api/nope", &[], "").await;
    assert_eq!((nowhere.status, nowhere.host_error.is_some()), (404, true));
    assert_eq!(host.http("DELETE", "/api/score", &[], "").await.status, 404);
}

#[tokio::test]
async fn proxies_as_newer_hosts_do() {
    let app = app();
    let host = FunctionsHost::start(&app, HostOptions::default().mode(Mode::Proxied)).await;
    let sent = [
        ("content-encoding", "gzip"),
        ("X-Azure-Functions-InvocationId", "fake"),
    ];
    let answer = host
        .http("POST", "/api/score/a%2541?v=1&v=2", &sent, "hello")
        .await;
    let echo = answer.json();
    assert_eq!(echo["target"], "/api/score/a%2541?v=1&v=2");
    assert_eq!(echo["body"], "aGVsbG8=");
    assert_eq!(
        header(&echo, "host").unwrap(),
        format!("127.0.0.1:{}", host.port())
    );
    assert_eq!(header(&echo, "x-forwarded-host"), Some("app.example"));
    assert_eq!(header(&echo, "content-length"), Some("5"));
    assert_eq!(header(&echo, "content-encoding"), Some("gzip"));
    assert_eq!(
        header(&echo, "x-azure-functions-invocationid"),
        Some(answer.invocation_id.as_str())
    );
    assert_eq!(
        header(&echo, "x-ms-invocation-id"),
        Some(answer.invocation_id.as_str())
    );
}

#[tokio::test]
async fn asks_for_keys_and_gives_each_call_a_traceparent_with_telemetry() {
    let app = app();
    let options = HostOptions::default().key("k").with_telemetry();
    let host = FunctionsHost::start(&app, options).await;
    let refused = host.http("GET", "/api/score", &[], "").await;
    assert_eq!((refused.status, refused.host_error.is_some()), (401, true));
    let by_query = host.http("GET", "/api/score?code=k", &[], "").await;
    let echo = by_query.expect_status(200).json();
    assert!(header(&echo, "traceparent").is_some());
    let by_header = [("x-functions-key", "k")];
    let answer = host.http("GET", "/api/score", &by_header, "").await;
    answer.expect_status(200);
}

#[tokio::test]
async fn a_function_that_is_switched_off_is_not_found() {
    let app = app();
    for switch in [
        "AzureWebJobs_score_http_Disabled",
        "AzureWebJobs.score_http.Disabled",
    ] {
        let host = FunctionsHost::start(&app, [(switch, "true")]).await;
        let answer = host.http("GET", "/api/score", &[], "").await;
        assert_eq!((answer.status, answer.host_error.is_some()), (404, true));
    }
}

#[tokio::test]
async fn wraps_http_into_envelopes() {
    let app = app();
    let host = FunctionsHost::start(&app, [CORE_TOOLS]).await;
    for chunked in [true, false] {
        let mode = Mode::Envelope { chunked };
        let sent = [
            ("content-type", "application/json"),
            ("x-a", "1"),
            ("x-a", "2"),
        ];
        let answer = host
            .http_by(
                mode,
                "POST",
                "/api/score/iris?v=2&code=k",
                &sent,
                r#"{"id":7}"#,
            )
            .await;
        assert_eq!((answer.status, answer.host_error.as_ref()), (201, None));
        let echo = answer.json();
        assert_eq!(echo["target"], "/score_http");
        assert_eq!(header(&echo, "content-length").is_some(), !chunked);
        assert_eq!(
            header(&echo, "x-azure-functions-invocationid"),
            Some(answer.invocation_id.as_str())
        );
        let envelope: Value = serde_json::from_slice(&decode(&echo["body"])).unwrap();
        let request = &envelope["Data"]["req"];
        assert_eq!(
            request["Url"],
            "http://app.example/api/score/iris?v=2&code=k"
        );
        assert_eq!(
            request["Headers"]["Content-Type"],
            json!(["application/json"])
        );
        assert_eq!(request["Headers"]["x-a"], json!(["1", "2"]));
        assert_eq!(request["Params"], json!({"path": "iris"}));
        assert_eq!(request["Body"], r#"{"id":7}"#);
        assert_eq!(envelope["Metadata"]["v"], "\"2\"");
        assert_eq!(envelope["Metadata"]["id"], "\"7\"");
        assert_eq!(envelope["Metadata"].get("code"), None);
        assert_eq!(envelope["Metadata"]["sys"]["MethodName"], "score_http");
    }
    let binary = [("content-type", "application/octet-stream")];
    let answer = host
        .http_by(Mode::ALL[2], "POST", "/api/score", &binary, [0, 255])
        .await;
    let envelope: Value = serde_json::from_slice(&decode(&answer.json()["body"])).unwrap();
    assert_eq!(envelope["Data"]["req"]["Body"], "AP8=");
    assert_eq!(envelope["Data"]["req"]["Params"], json!({"path": null}));
}

fn decode(text: &Value) -> Vec<u8> {
    functions_host::outputs::guess_base64(text.as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn delivers_messages_and_blobs() {
    let app = app();
    let host = FunctionsHost::start(&app, [CORE_TOOLS]).await;
    for transport in Transport::ALL {
        let message = ServiceBusMessage::new(r#"{"id":"r-1"}"#).with_id("m-1");
        let outcome = host
            .deliver("score_queue", &[message], transport)
            .await
            .unwrap();
        let echo = &outcome.messages("result")[0];
        let envelope: Value = serde_json::from_slice(&decode(&echo["body"])).unwrap();
        assert_eq!(envelope["Data"]["msg"], base64(br#"{"id":"r-1"}"#));
        assert_eq!(envelope["Metadata"]["MessageId"], "\"m-1\"");
        assert_eq!(
            outcome.outputs["rejected"],
            OutputValue::Messages(vec![b"positive".to_vec()])
        );

        let content: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let event = BlobEvent::new("a.bin", content.clone());
        let outcome = host.blob("score_blob", &event, transport).await.unwrap();
        assert_eq!(outcome.blob("scored"), Some(content.as_slice()));

        for (function, reason) in [("fail", "500"), ("hang", "hangs")] {
            let error = host
                .invoke(function, json!({}), json!({}), transport)
                .await
                .unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}

#[tokio::test]
async fn sends_raw_requests() {
    let app = app();
    let host = FunctionsHost::start(&app, HostOptions::default()).await;
    let pieces: [&[u8]; 3] = [b"GET /x HT", b"TP/1.1\r\nhost: a\r", b"\n\r\n"];
    assert_eq!(
        http1::exchange(host.port(), &pieces)
            .await
            .unwrap()
            .at("/target"),
        "/x"
    );
    let mut connection = RawConnection::open(host.port()).await.unwrap();
    connection
        .send(b"POST /x HTTP/1.1\r\ncontent-length: 9\r\n\r\nabc")
        .await
        .unwrap();
    connection.half_close().await.unwrap();
    assert!(connection.is_closed_within(Duration::from_secs(2)).await);
    let connection = RawConnection::open(host.port()).await.unwrap();
    connection.reset().unwrap();
}

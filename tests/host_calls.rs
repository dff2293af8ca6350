//! Envelopes and probes come from the host alone: what a real host was seen to send, and what callers reach through it.

use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use functions_host::answer::Answer;
use functions_host::host::{FunctionsHost, HostOptions, Mode};
use functions_host::{http1, port};

/// One recorded request, made by `tests/data/take_requests.py`.
struct Recorded {
    case: String,
    head: String,
    framing: String,
    body: String,
}

fn recorded(group: &str) -> Vec<Recorded> {
    let file = repository().join("tests/data/recorded/handler_requests.jsonl");
    let lines = std::fs::read_to_string(file).unwrap();
    let all = lines.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| value[name].as_str().unwrap().to_owned();
        Recorded {
            case: text("case"),
            head: text("head"),
            framing: text("framing"),
            body: text("body"),
        }
    });
    let found: Vec<Recorded> = all.filter(|one| one.case.starts_with(group)).collect();
    assert!(!found.is_empty(), "no recording {group}");
    found
}

impl Recorded {
    /// The port that the handler of the recording had, if a request was sent to it as such.
    fn port(&self) -> Option<&str> {
        let rest = self.head.split_once("\r\nHost: 127.0.0.1:")?.1;
        Some(rest.split_once("\r\n")?.0)
    }

    /// The head as this handler on this port would get it.
    fn head(&self, port: u16) -> String {
        let own = format!("Host: 127.0.0.1:{port}\r\n");
        match self.port() {
            Some(recorded) => {
                let recorded = format!("Host: 127.0.0.1:{recorded}\r\n");
                self.head.replace(&recorded, &own)
            }
            None => self.head.clone(),
        }
    }

    fn function(&self) -> &str {
        let target = self.head.split(' ').nth(1).unwrap();
        target.trim_start_matches('/')
    }

    /// Sends it with another head.
    async fn send_as(&self, port: u16, head: &str) -> Answer {
        let body = match head.contains("Transfer-Encoding") {
            true => http1::chunked(self.body.as_bytes()),
            false => self.body.clone().into_bytes(),
        };
        let sent = http1::exchange(port, &[head.as_bytes(), &body]).await;
        sent.unwrap_or_else(|error| panic!("{}: {error}", self.case))
    }

    async fn send(&self, port: u16) -> Answer {
        self.send_as(port, &self.head(port)).await
    }
}

/// An app with every function that was recorded, whose folders bear the names they had then.
fn app() -> AppRoot {
    let app = AppRoot::with_sample();
    for old in ["score-http", "score-queue", "score-blob"] {
        let file = format!("{}/function.json", old.replace('-', "_"));
        let text = std::fs::read_to_string(app.path().join(file)).unwrap();
        // They took one message at a time.
        let text = text.replace("\"many\"", "\"one\"");
        app.write(&format!("{old}/function.json"), text);
    }
    for one in recorded("envelope/") {
        let name = one.function().to_owned();
        if one.body.is_empty() || app.path().join(&name).exists() {
            continue;
        }
        let envelope: Value = serde_json::from_str(&one.body).unwrap();
        let (binding, _) = envelope["Data"].as_object().unwrap().iter().next().unwrap();
        let bindings = json!([
            { "type": "queueTrigger", "direction": "in", "name": binding,
              "dataType": if one.case.contains("binary") { "binary" } else { "string" } },
            { "type": "queue", "direction": "out", "name": "result" },
            { "type": "queue", "direction": "out", "name": "rejected" },
        ]);
        let file = json!({ "bindings": bindings }).to_string();
        app.write(&format!("{name}/function.json"), file);
    }
    app
}

/// That of a path that is served by nothing, but for its name.
fn assert_unknown(what: &str, answer: &Answer) {
    assert_eq!(answer.status, 404, "{what}: {}", answer.text());
    assert_eq!(answer.at("/error/code"), "not_found", "{what}");
    let message = answer.at("/error/message");
    let message = message.as_str().unwrap();
    assert!(message.starts_with("nothing is served at"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_envelopes_are_taken_as_they_come_and_from_no_other_sender() {
    let options = HostOptions::default();
    let host = in_process::start(&app(), options).await;
    for one in recorded("envelope/") {
        let head = one.head(host.port());
        let answer = one.send(host.port()).await;
        // The host would follow the redirect of a handler.
        if one.framing != "chunked" {
            assert_unknown(&one.case, &answer);
            continue;
        }
        assert_eq!(answer.status, 200, "{}: {}", one.case, answer.text());
        let own = format!("Host: 127.0.0.1:{}", host.port());
        let length = format!("Content-Length: {}", one.body.len());
        for (what, other) in [
            ("host", head.replace(&own, "Host: app.example")),
            ("port", head.replace(&own, "Host: 127.0.0.1:1")),
            ("no port", head.replace(&own, "Host: 127.0.0.1")),
            ("twice", head.replace(&own, &format!("{own}\r\n{own}"))),
            (
                "length",
                head.replace("Transfer-Encoding: chunked", &length),
            ),
            (
                "proxied",
                head.replace("User-Agent", "X-Forwarded-For: 127.0.0.1\r\nUser-Agent"),
            ),
            ("method", head.replacen("POST", "PUT", 1)),
        ] {
            assert_ne!(head, other, "{what}");
            let answer = one.send_as(host.port(), &other).await;
            assert_unknown(&format!("{}, {what}", one.case), &answer);
        }
    }
    for host_name in ["localhost", "[::1]", "LocalHost"] {
        let one = &recorded("envelope/service-bus-one-empty")[0];
        let head = one.head(host.port()).replace("127.0.0.1", host_name);
        let answer = one.send_as(host.port(), &head).await;
        assert_eq!(answer.status, 200, "{host_name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_the_core_tools_envelopes_have_a_length() {
    let options = HostOptions::default().core_tools();
    let host = in_process::start(&app(), options).await;
    for one in recorded("envelope/") {
        let answer = one.send(host.port()).await;
        let expected = if one.framing == "none" { 404 } else { 200 };
        assert_eq!(answer.status, expected, "{}", one.case);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_do_not_reach_envelopes_or_the_probe_through_the_host() {
    let options = HostOptions::default();
    let host = in_process::start(&app(), options).await;
    for case in [
        "forwarding/path-backslash-dots",
        "forwarding/path-double-encoded-dots",
        "proxying/path-backslash-dots",
        "proxying/path-double-encoded-dots",
    ] {
        let one = &recorded(case)[0];
        let answer = one.send(host.port()).await;
        if case.starts_with("proxying") {
            // It stays below the route, and is no model's.
            assert!(one.function().starts_with("api/score/"));
            answer.expect_status(404);
            continue;
        }
        assert_eq!(one.function(), "score-queue");
        assert_unknown(case, &answer);
        // A caller who knows the port of the handler still cannot choose the framing.
        let port = format!("Host: 127.0.0.1:{}", host.port());
        let guessed = one.head.replace("Host: app.example", &port);
        assert_unknown(case, &one.send_as(host.port(), &guessed).await);
    }
    // What stays below the route is a request like any other.
    let inside = recorded("forwarding/path-literal-dots")[0]
        .send(host.port())
        .await;
    assert_eq!(inside.expect_status(404).at("/error/code"), "unknown_model");
    let figures = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    let counted = r#"score_requests_total{function="none",model="none",status="404"}"#;
    assert!(figures.contains(counted), "{figures}");
    assert!(!figures.contains("score-queue"), "{figures}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_probe_is_answered_for_the_host_and_for_anyone_where_there_is_none() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    for one in recorded("probe/") {
        let answer = one.send(host.port()).await.expect_status(200);
        assert_eq!(answer.text(), r#"{"status":"alive"}"#, "{}", one.case);
    }
    // By /api/score/%252e%252e/%252e%252e/ through a forwarding host.
    let outside = http1::head("GET", "/", &[("Host", "app.example")]);
    let answer = http1::exchange(host.port(), &[&outside]).await.unwrap();
    assert_unknown("GET /", &answer);

    let alone = stand_alone([]).await;
    let answer = http1::exchange(alone.port(), &[&outside]).await.unwrap();
    assert_eq!(answer.expect_status(200).text(), r#"{"status":"alive"}"#);
}

/// The program without a Functions host.
pub(crate) async fn stand_alone<const N: usize>(settings: [(&str, &str); N]) -> FunctionsHost {
    let free = port::free();
    let options = ["FUNCTIONS_CUSTOMHANDLER_PORT", "FUNCTIONS_HTTPWORKER_PORT"]
        .into_iter()
        .fold(HostOptions::from(settings), HostOptions::without);
    let options = options.port(free).setting("SCORE_PORT", free.to_string());
    FunctionsHost::start(&app(), options).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_there_are_no_envelopes_unless_a_setting_says_so() {
    // The name by which the stand-in forwards.
    let closed = stand_alone([("SCORE_ALLOWED_HOSTS", "app.example")]).await;
    let open = stand_alone([("SCORE_ENVELOPES", "on")]).await;
    for one in recorded("envelope/service-bus-one-binary") {
        assert_unknown(&one.case, &one.send(closed.port()).await);
        let answer = one.send(open.port()).await;
        assert_eq!(answer.status, 200, "{}", one.case);
    }
    let warned = |host: &FunctionsHost| {
        let lines = host.logs();
        lines
            .iter()
            .any(|line| line.text.contains("SCORE_ENVELOPES is on"))
    };
    assert!(warned(&open) && !warned(&closed));
    let scored = |mode| closed.http_by(mode, "GET", "/api/score", &[], b"");
    scored(Mode::Forwarded).await.expect_status(200);
}

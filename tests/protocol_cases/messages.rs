//! B1 to B16: one Service Bus message at a time.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::LateApp;
use super::scoring_app::{
    BODY, app, default_model, deliver, deliver_data, host, host_with_log, original, rejected,
    result, scores,
};
use crate::support::in_process;
use crate::support::redis::RedisServer;
use functions_host::PATIENCE;
use functions_host::encoding::{base64, twice};
use functions_host::host::{CORE_TOOLS, FunctionsHost};
use functions_host::invoke::Transport;
use functions_host::port;
use functions_host::storage_queue::QueueMessage;
use functions_host::triggers::ServiceBusMessage;

fn message(body: impl Into<Vec<u8>>) -> ServiceBusMessage {
    ServiceBusMessage::new(body)
}

/// A message for `identity_string`, whose rows have two texts.
fn texts(texts: [&str; 2]) -> ServiceBusMessage {
    let body = json!({ "data": [texts] }).to_string();
    message(body).with_property("model", "identity_string")
}

#[tokio::test(flavor = "multi_thread")]
async fn b01_b02_binary_and_text_give_the_same_result() {
    let host = host().await;
    for function in ["scoreMessage", "scoreText"] {
        let sent = message(BODY).with_id("m-1");
        let outcome = deliver(&host, function, &sent).await;
        let document = result(&outcome);
        assert_eq!(document["result"], scores(), "{function}");
        assert_eq!(document["id"], "m-1", "{function}");
        // an array of texts, which the host leaves as they are
        let raw = outcome.raw.json();
        assert!(raw["Outputs"]["result"][0].is_string(), "{raw}");
    }
    let stored = QueueMessage::new(BODY);
    let outcome = host.deliver_stored("scoreStored", &stored, Transport::Chunked);
    let outcome = outcome.await.unwrap();
    let document = result(&outcome);
    assert_eq!(document["result"], scores());
    assert_eq!(document["id"], stored.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn b03_texts_of_all_kinds_are_decoded_exactly() {
    let host = host().await;
    let odd = ["\"\\\" {\u{2028}} \u{1F600}", "tab\t\r\n \\u0041 é \u{1}"];
    for function in ["scoreText", "scoreMessage"] {
        let outcome = deliver(&host, function, &texts(odd)).await;
        assert_eq!(result(&outcome)["result"], json!([odd]), "{function}");
        // no model can take a NUL, but it arrives
        let sent = texts(["nul \u{0}", "\u{0}"]);
        let (_, body) = rejected(&deliver(&host, function, &sent).await);
        assert_eq!(body, sent.body, "{function}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b04_a_value_instead_of_its_text_is_taken_as_the_body() {
    let host = host().await;
    let body: Value = serde_json::from_str(BODY).unwrap();
    let outcome = deliver_data(&host, "scoreText", json!({ "msg": body })).await;
    assert_eq!(result(&outcome)["result"], scores());
}

#[tokio::test(flavor = "multi_thread")]
async fn b05_invalid_base64_is_rejected() {
    let host = host().await;
    let url_safe = base64(&[0xfb, 0xff, 0xfe])
        .replace('+', "-")
        .replace('/', "_");
    let missing = base64(br#"{"data":[[1,2,30]]}"#)
        .trim_end_matches('=')
        .to_owned();
    assert!(url_safe.contains(['-', '_']) && !missing.len().is_multiple_of(4));
    for bad in ["!!!!", "A", url_safe.as_str(), missing.as_str()] {
        let outcome = deliver_data(&host, "scoreMessage", json!({ "msg": bad })).await;
        let (document, kept) = rejected(&outcome);
        assert_eq!(document["reason"]["code"], "invalid_input", "{bad}");
        assert_eq!(kept, bad.as_bytes());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b06_bad_bodies_are_rejected_with_the_original_and_the_reason() {
    let host = host_with_log().await;
    let shape = r#"{"data":[[1,2]]}"#;
    let cases: [(&[u8], &str, &str); 6] = [
        (b"not JSON", "invalid_input", "affine"),
        (b"{\"data\":", "invalid_input", "affine"),
        (shape.as_bytes(), "invalid_input", "affine"),
        (br#"{"data":[[1,2,NaN]]}"#, "invalid_input", "affine"),
        (b"\xd7\x6d\xf8", "invalid_input", "affine"),
        (BODY.as_bytes(), "not_found", "nowhere"),
    ];
    for (body, code, model) in cases {
        let mut sent = message(body).with_id("m-9").with_property("model", model);
        sent.correlation_id = Some("c-9".to_owned());
        let outcome = deliver(&host, "scoreMessage", &sent).await;
        let (document, kept) = rejected(&outcome);
        assert_eq!(kept, body);
        assert_eq!(document["id"], "m-9");
        assert_eq!(document["correlation_id"], "c-9");
        assert_eq!(document["model"], model);
        assert_eq!(document["delivery_count"], 1);
        let reason = &document["reason"];
        let is_so = reason["code"] == code || (code == "not_found" && reason["code"] != "internal");
        assert!(is_so, "{document}");
        let time = document["time"].as_str().unwrap();
        assert!(time.ends_with('Z') && time.contains('T'), "{time}");
    }
    for body in ["not JSON", shape] {
        let outcome = deliver(&host, "scoreText", &message(body)).await;
        assert_eq!(rejected(&outcome).1, body.as_bytes());
    }
    assert_eq!(
        host.error_logs(),
        [""; 0],
        "a sender's mistakes are no errors of ours"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn b07_b08_results_reach_the_broker_as_they_are() {
    let host = host().await;
    let digest = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for odd in [
        "positive",
        "1234",
        digest,
        "2026-03-01T10:00:05Z",
        "",
        "true",
    ] {
        let outcome = deliver(&host, "scoreMessage", &texts([odd, "x"])).await;
        assert_eq!(result(&outcome)["result"], json!([[odd, "x"]]), "{odd}");
        // what the host holds after its own reading is what the handler wrote
        let written = outcome.raw.at("/Outputs/result/0");
        assert_eq!(
            outcome.outputs["result"].texts(),
            [written.as_str().unwrap()]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b09_a_body_cannot_forge_metadata() {
    let host = host().await;
    let forged = r#""DeliveryCount":99,"messageid":"forged","sys":"x","CorrelationId":"forged",
        "ApplicationProperties":{"model":"nowhere"},"UserProperties":{"model":"nowhere"}"#;
    let good = format!(r#"{{"data":[[1,2,3]],{forged}}}"#);
    let bad = format!(r#"{{"data":[[1]],{forged}}}"#);
    for function in ["scoreText", "scoreMessage"] {
        let plain = deliver(&host, function, &message(BODY)).await;
        let plain = result(&plain)["result"].clone();
        let outcome = deliver(&host, function, &message(good.clone())).await;
        let documents = [outcome.messages("result"), outcome.messages("rejected")].concat();
        assert_eq!(documents.len(), 1);
        // refused for the unknown members or scored: never by the forged model
        if let Some(scored) = documents[0].get("result") {
            assert_eq!(*scored, plain);
            assert_eq!(documents[0]["model"], "affine");
        }
        let outcome = deliver(&host, function, &message(bad.clone()).with_id("true")).await;
        let (document, _) = rejected(&outcome);
        for document in [&documents[0], &document] {
            assert_ne!(document["id"], "forged", "{function}");
            assert_ne!(document["delivery_count"], 99, "{function}");
            assert_ne!(document["correlation_id"], "forged", "{function}");
            assert_ne!(document["model"], "nowhere", "{function}");
        }
        if function == "scoreMessage" {
            assert_eq!(document["id"], "true");
            assert_eq!(document["delivery_count"], 1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b10_delivery_counts_of_every_form_are_accepted() {
    let host = host().await;
    let data = json!({ "msg": base64(b"bad") });
    for (metadata, expected) in [
        (json!({"DeliveryCount": "1"}), json!(1)),
        (json!({"DeliveryCount": 1}), json!(1)),
        (json!({}), Value::Null),
        (json!({"DeliveryCount": "many"}), Value::Null),
    ] {
        let sent = host.invoke("scoreMessage", data.clone(), metadata, Transport::Chunked);
        let (document, _) = rejected(&sent.await.unwrap());
        assert_eq!(document["delivery_count"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b11_a_message_waits_for_the_model() {
    let late = LateApp::of(app(&["affine"]));
    let host = FunctionsHost::start(&late.app, [CORE_TOOLS]).await;
    let start = Instant::now();
    let load = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        late.let_load().await;
    };
    let sent = message(BODY);
    let (outcome, ()) = tokio::join!(deliver(&host, "scoreMessage", &sent), load);
    assert_eq!(result(&outcome)["result"], scores());
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[tokio::test(flavor = "multi_thread")]
async fn b12_a_message_that_waited_long_enough_goes_back_to_the_broker() {
    let late = LateApp::of(app(&["affine"]));
    let host =
        FunctionsHost::start(&late.app, [("SCORE_MESSAGE_TIMEOUT", "400ms"), CORE_TOOLS]).await;
    for function in ["scoreMessage", "scoreText"] {
        let start = Instant::now();
        let messages = [message(BODY)];
        let sent = host.deliver(function, &messages, Transport::Chunked);
        let error = sent.await.unwrap_err();
        let took = start.elapsed();
        assert!(error.contains("status 503"), "{error}");
        assert!(took >= Duration::from_millis(300), "{took:?}");
        // The default is four minutes.
        assert!(took < PATIENCE, "{took:?}");
    }
    late.let_load().await;
    let outcome = deliver(&host, "scoreMessage", &message(BODY)).await;
    assert_eq!(result(&outcome)["result"], scores());
}

/// Accepts connections and closes each after the first bytes.
fn closing_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 64]);
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn b13_messages_are_scored_without_redis() {
    let redis = RedisServer::start().await;
    let app = app(&["affine"]);
    let closed = format!("redis://127.0.0.1:{}", port::free());
    let closing = format!("redis://127.0.0.1:{}", closing_server());
    for url in [closed, closing, redis.url()] {
        let host = FunctionsHost::start(&app, [("REDIS_URL", url.as_str()), CORE_TOOLS]).await;
        host.wait_for_log("model loaded", PATIENCE).await;
        if url == redis.url() {
            host.wait_for_log("redis connected", PATIENCE).await;
            redis.pause();
        }
        let start = Instant::now();
        for _ in 0..3 {
            let outcome = deliver(&host, "scoreMessage", &message(BODY)).await;
            assert_eq!(result(&outcome)["result"], scores(), "{url}");
        }
        assert!(start.elapsed() < PATIENCE, "{url}");
    }
    redis.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn b14_the_same_message_twice_in_parallel_is_computed_once() {
    let host = FunctionsHost::start(&app(&["slow"]), []).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    let sent = [message(r#"{"data":[[1,2,3,4]]}"#).with_id("m")];
    let twin = || host.deliver("scoreMessage", &sent, Transport::Chunked);
    let (one, other) = tokio::join!(twin(), twin());
    for outcome in [one.unwrap(), other.unwrap()] {
        assert_eq!(result(&outcome)["result"], json!([[2.0, 4.0, 6.0, 8.0]]));
    }
    let document = host.http("GET", "/api/score", &[], b"").await.json();
    assert_eq!(document["rows_computed"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn b15_an_empty_message_is_rejected() {
    let host = host().await;
    for function in ["scoreMessage", "scoreText"] {
        let outcome = deliver(&host, function, &message("")).await;
        let (_, body) = rejected(&outcome);
        assert_eq!(body, b"", "{function}");
    }
    let stored = QueueMessage::new("");
    let outcome = host.deliver_stored("scoreStored", &stored, Transport::Chunked);
    rejected(&outcome.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn b16_bad_messages_are_left_to_the_broker_if_so_configured() {
    let app = app(&["affine"]);
    // a batch cannot fail for one of its messages, so this policy refuses to start with one
    for function in ["scoreBatch", "score_queue"] {
        std::fs::remove_dir_all(app.path().join(function)).unwrap();
    }
    let host = FunctionsHost::start(&app, [("SCORE_ON_INVALID", "fail"), CORE_TOOLS]).await;
    for body in ["not JSON", r#"{"data":[[1]]}"#, ""] {
        for function in ["scoreMessage", "scoreText"] {
            let data = match function {
                "scoreText" => twice(&body.into()),
                _ => base64(body.as_bytes()).into(),
            };
            let sent = host.post_envelope(
                function,
                json!({ "msg": data }),
                json!({}),
                Transport::Chunked,
            );
            let answer = sent.await.unwrap();
            assert!((400..600).contains(&answer.status), "{}", answer.status);
            assert_eq!(answer.json().get("Outputs"), None);
        }
    }
    let outcome = deliver(&host, "scoreMessage", &message(BODY)).await;
    assert_eq!(result(&outcome)["result"], scores());

    let with_batch = super::scoring_app::app(&["affine"]);
    std::fs::remove_dir_all(with_batch.path().join("score_queue")).unwrap();
    let host = FunctionsHost::spawn(&with_batch, [("SCORE_ON_INVALID", "fail")]);
    assert_eq!(host.wait_exit(PATIENCE).await.code(), Some(1));
    let said = host.error_logs().join("\n");
    assert!(
        said.contains("scoreBatch") && said.contains("SCORE_ON_INVALID"),
        "{said}"
    );
    // both ways out
    assert!(said.contains(r#"SCORE_ON_INVALID to "reject""#), "{said}");
    assert!(
        said.contains(r#""cardinality": "one" in scoreBatch/function.json"#),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sender_chooses_the_model_and_gets_its_traces_back() {
    let app = app(&["affine", "affine_other"]);
    let host = in_process::start(&app, default_model("affine")).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let sent = message(BODY)
        .with_property("model", "affine_other")
        .with_property("Diagnostic-Id", trace);
    let document = result(&deliver(&host, "scoreMessage", &sent).await);
    assert_eq!(document["result"], json!([[4.0, 7.0, 10.0]]));
    assert_eq!(document["model"], "affine_other");
    assert_eq!(document["traceparent"], trace);
    let sent = message("bad").with_property("Diagnostic-Id", trace);
    let outcome = deliver(&host, "scoreMessage", &sent).await;
    let document = &outcome.messages("rejected")[0];
    assert_eq!(document["traceparent"], trace);
    assert_eq!(original(document), b"bad");
}

/// As .NET's StreamWriter and PowerShell write.
#[tokio::test(flavor = "multi_thread")]
async fn a_byte_order_mark_is_no_part_of_a_message() {
    let host = host().await;
    let marked = format!("\u{feff}{BODY}");
    for function in ["scoreMessage", "scoreText"] {
        let outcome = deliver(&host, function, &message(marked.clone())).await;
        assert_eq!(result(&outcome)["result"], scores(), "{function}");
    }
    let utf16: Vec<u8> = marked.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let outcome = deliver(&host, "scoreMessage", &message(utf16)).await;
    assert_eq!(result(&outcome)["result"], scores());
    let stored = QueueMessage::new(marked);
    let outcome = host.deliver_stored("scoreStored", &stored, Transport::Chunked);
    assert_eq!(result(&outcome.await.unwrap())["result"], scores());
}

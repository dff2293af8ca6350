//! L1 to L7: one blob at a time.

use serde_json::{Value, json};

use super::scoring_app::{BODY, assert_form, deliver_data, host, original, scores};
use crate::support::app_root::AppRoot;
use crate::support::in_process;
use functions_host::blob_store::{self, BlobStore};
use functions_host::encoding::base64;
use functions_host::host::{CORE_TOOLS, FunctionsHost};
use functions_host::http1::{self, RawConnection};
use functions_host::invoke::{InvocationOutcome, Transport, judge};
use functions_host::outputs::guess_base64;
use functions_host::triggers::BlobEvent;

async fn announce(host: &FunctionsHost, event: &BlobEvent) -> InvocationOutcome {
    let [by, other] = Transport::ALL;
    let outcome = host.blob("scoreBlob", event, by).await.unwrap();
    let again = host.blob("scoreBlob", event, other).await.unwrap();
    let names = |outcome: &InvocationOutcome| Vec::from_iter(outcome.outputs.keys().cloned());
    assert_eq!(names(&outcome), names(&again));
    assert_form(&outcome);
    outcome
}

fn stored(path: &str, content: impl Into<Vec<u8>>, metadata: Value) -> BlobEvent {
    let store = BlobStore::default();
    let name = store.put_with(path, content, metadata).blob;
    let blob = store.get(path).unwrap();
    blob_store::event(&name, &blob, vec![("name".to_owned(), name.name.clone())])
}

fn document(outcome: &InvocationOutcome, output: &str) -> Value {
    assert_eq!(outcome.outputs.len(), 1, "{outcome:?}");
    let content = outcome
        .blob(output)
        .unwrap_or_else(|| panic!("no {output}: {outcome:?}"));
    serde_json::from_slice(content).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn l01_a_blob_is_scored_into_a_blob() {
    let host = host().await;
    let event = stored("inbox/a.json", BODY, json!({}));
    let outcome = announce(&host, &event).await;
    let scored = document(&outcome, "scored");
    assert_eq!(scored["result"], scores());
    assert_eq!(scored["id"], "inbox/a.json");
    let written = outcome.raw.at("/Outputs/scored");
    let content = guess_base64(written.as_str().unwrap()).expect("base64 of the document");
    assert_eq!(outcome.blob("scored"), Some(content.as_slice()));
}

#[tokio::test(flavor = "multi_thread")]
async fn l02_the_result_is_the_same_byte_for_byte_whatever_it_says() {
    let host = host().await;
    for odd in ["positive", "1234", "2026-03-01T10:00:05Z", "é \u{1F600} \\"] {
        let body = json!({"data": [[odd, "x"]]}).to_string();
        let event = stored("inbox/a.json", body, json!({"model": "identity_string"}));
        let outcome = announce(&host, &event).await;
        let scored = document(&outcome, "scored");
        assert_eq!(scored["result"], json!([[odd, "x"]]));
        assert_eq!(scored["model"], "identity_string");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l03_a_blob_is_known_by_its_real_name() {
    let host = host().await;
    for path in [
        "inbox/a b.json",
        "inbox/2026/03/ä%20&x=1#?.json",
        "inbox/+%2F.json",
    ] {
        let outcome = announce(&host, &stored(path, BODY, json!({}))).await;
        assert_eq!(document(&outcome, "scored")["id"], path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l04_a_huge_blob_is_rejected_in_little_memory() {
    const MIB: usize = 1024 * 1024;
    let app = super::scoring_app::app(&["affine"]);
    let limit = MIB.to_string();
    let host =
        FunctionsHost::start(&app, [("SCORE_MAX_BODY_BYTES", limit.as_str()), CORE_TOOLS]).await;
    announce(&host, &stored("inbox/small", BODY, json!({}))).await;
    let before = host.peak_memory();
    for path in ["inbox/huge", "inbox/huge again"] {
        let event = stored(path, "", json!({}));
        let own = format!("127.0.0.1:{}", host.port());
        let head = http1::head(
            "POST",
            "/scoreBlob",
            &[
                ("Host", &*own),
                ("Content-Type", "application/json; charset=utf-8"),
                ("Transfer-Encoding", "chunked"),
            ],
        );
        let connection = RawConnection::open(host.port()).await.unwrap();
        connection.send(&head).await.unwrap();
        // the host sends all of it before it looks for an answer
        send_chunk(&connection, br#"{"Data":{"blob":""#).await;
        let mebibyte = vec![b'A'; MIB];
        for _ in 0..134 {
            send_chunk(&connection, &mebibyte).await;
        }
        let metadata = json!({"Uri": format!("\"{}\"", event.uri), "Properties": {}, "sys": {}});
        let tail = format!(r#""}},"Metadata":{metadata}}}"#);
        send_chunk(&connection, tail.as_bytes()).await;
        connection.send(b"0\r\n\r\n").await.unwrap();
        let answer = connection.read_response(false).await.unwrap().answer;
        let outcome = judge(host.config().function("scoreBlob"), answer).unwrap();
        assert_form(&outcome);
        let rejected = document(&outcome, "rejected");
        assert_eq!(rejected["reason"]["code"], "too_large");
        assert_eq!(rejected["body"], Value::Null);
        assert_eq!(rejected["id"], path);
    }
    let grown = host.peak_memory() - before;
    assert!(grown < 32 * MIB, "{} MiB more", grown / MIB);
}

async fn send_chunk(connection: &RawConnection, bytes: &[u8]) {
    let line = format!("{:x}\r\n", bytes.len());
    connection.send(line.as_bytes()).await.unwrap();
    connection.send(bytes).await.unwrap();
    connection.send(b"\r\n").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn l05_an_empty_blob_is_rejected() {
    let host = host().await;
    let outcome = announce(&host, &stored("inbox/empty.json", "", json!({}))).await;
    let rejected = document(&outcome, "rejected");
    assert_eq!(original(&rejected), b"");
    assert_eq!(rejected["id"], "inbox/empty.json");
    let outcome = announce(&host, &stored("inbox/bad.json", "bad", json!({}))).await;
    assert_eq!(original(&document(&outcome, "rejected")), b"bad");
}

#[tokio::test(flavor = "multi_thread")]
async fn l06_properties_may_be_missing_or_anything() {
    let host = host().await;
    let data = json!({ "blob": base64(BODY.as_bytes()) });
    for metadata in [
        json!({}),
        json!({"Properties": {}}),
        json!({"Properties": null, "Uri": "\"\"", "Metadata": []}),
        json!({"Properties": "x", "Uri": 7, "name": "\"a\""}),
    ] {
        let sent = host.invoke("scoreBlob", data.clone(), metadata, Transport::Chunked);
        let outcome = sent.await.unwrap();
        assert_eq!(document(&outcome, "scored")["result"], scores());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn l07_line_breaks_in_base64_are_tolerated_or_rejected() {
    let host = host().await;
    let mut broken = base64(BODY.as_bytes());
    broken.insert_str(8, "\r\n");
    let outcome = deliver_data(&host, "scoreBlob", json!({ "blob": broken })).await;
    match outcome.blob("scored") {
        Some(_) => assert_eq!(document(&outcome, "scored")["result"], scores()),
        None => assert_eq!(
            document(&outcome, "rejected")["reason"]["code"],
            "invalid_input"
        ),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_blob_function_that_is_shipped_scores_too() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let digits = crate::support::digits::Digits::load();
    let event = stored("incoming/digits.json", digits.body(0..3), json!({}));
    let sent = host.blob("score_blob", &event, Transport::Chunked);
    let outcome = sent.await.unwrap();
    assert_eq!(document(&outcome, "scored")["result"], digits.answer(0..3));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_known_by_the_name_of_their_blob() {
    use std::io::Write as _;
    let host = host().await;
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(b"a,b,c\n1,2,3\n").unwrap();
    let utf16: Vec<u8> = "\u{feff}1;2,0;3"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    for (path, content) in [
        ("inbox/a.csv", b"\xef\xbb\xbf1,2,3\n".to_vec()),
        ("inbox/a.csv.gz", packer.finish().unwrap()),
        ("inbox/a.tsv", b"1\t2\t3\n".to_vec()),
        ("inbox/excel.csv", utf16),
    ] {
        let outcome = announce(&host, &stored(path, content, json!({}))).await;
        assert_eq!(document(&outcome, "scored")["result"], scores(), "{path}");
    }
}

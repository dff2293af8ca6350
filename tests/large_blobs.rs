//! Blobs that the handler reads itself, in Azurite, from the messages of a storage queue to the results.

mod blobs;
mod identity;
mod lab;
mod messages;
mod traces;

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use functions_host::encoding::base64;
use functions_host::host::FunctionsHost;
use lab::table;
pub(crate) use lab::{IN, Lab, QUEUE, lines_of};

#[tokio::test(flavor = "multi_thread")]
async fn a_long_blob_passes_through_many_calls_and_duplicates_do_no_harm() {
    let lab = Lab::start(|options| options).await;
    let text = table(3000);
    lab.upload("a.csv", &text);
    lab.name("a.csv");
    let calls = lab.work().await;
    assert!(calls > 4, "{calls} calls");
    let (results, refusals) = lab.results("a.csv");
    assert_eq!(lines_of(&refusals), [1000, 2000, 3000]);
    assert_eq!(results.lines().count(), 1 + 2999 - 3);
    assert!(results.starts_with("line,"), "{}", &results[..50]);
    assert!(
        results.contains("\n2999,\"[5999.0,1.0,-1.0]\"\n"),
        "{}",
        &results[results.len() - 99..]
    );
    // Each message comes twice for some time, in any order with what follows from it.
    lab.upload("b.csv", &text);
    lab.name("b.csv");
    for _ in 0..3 {
        for message in lab.queue.take(QUEUE) {
            for _ in 0..2 {
                lab.send(&message);
                lab.call().await.unwrap();
                if lab.names("scored").contains(&"b.csv".to_owned()) {
                    assert!(lab.results("b.csv").0 == results, "half a file");
                }
            }
        }
    }
    lab.work().await;
    assert_eq!(lab.results("b.csv"), (results.clone(), refusals.clone()));
    // An old message of a blob that is done changes nothing, and neither does an event for it.
    lab.name("b.csv");
    assert_eq!(lab.work().await, 1);
    assert_eq!(lab.results("b.csv"), (results, refusals));
    assert_eq!(lab.queue.take("large-poison"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_changes_is_begun_again_and_one_that_goes_ends() {
    let lab = Lab::start(|options| options).await;
    let (old, new) = (table(2000), table(1500).replace(",0,-1", ",7,7"));
    let (expected, expected_refusals) = lab.scored("plain.csv", &new).await;
    lab.upload("a.csv", &old);
    lab.name("a.csv");
    lab.call().await.unwrap();
    let stale = lab.queue.take(QUEUE);
    lab.upload("a.csv", &new);
    // The rest of the old version, its own event, and the rest of the old version again.
    lab.send(&stale[0]);
    lab.name("a.csv");
    lab.send(&stale[0]);
    lab.work().await;
    let found = lab.results("a.csv");
    assert_eq!(found, (expected, expected_refusals));
    // A version without refusals leaves none of an older one.
    let (good, none) = lab.scored("a.csv", "1,2,3\n").await;
    assert_eq!((good.lines().count(), none.as_str()), (2, ""));
    assert!(
        !lab.names("rejected")
            .contains(&"a.csv.errors.jsonl".to_owned())
    );
    lab.upload("b.csv", &old);
    lab.name("b.csv");
    lab.call().await.unwrap();
    lab.blobs.delete(IN, "b.csv");
    lab.name("b.csv");
    lab.work().await;
    assert!(!lab.names("scored").contains(&"b.csv".to_owned()));
    assert_eq!(lab.queue.take("large-poison"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_the_same_after_the_handlers_death() {
    // One row after the other, 40 ms each.
    let lab = Lab::start(|options| {
        options
            .setting("SCORE_SESSIONS", "1")
            .setting("SCORE_MAX_BATCH_ROWS", "1")
            .setting("SCORE_MAX_ROWS", "2")
    })
    .await;
    let rows = |from: usize| -> String {
        (from..from + 24)
            .map(|row| format!("[{row},0,0,0]\n"))
            .collect()
    };
    let slowly = |name: &str, text: &str| {
        let model = Some(json!({"model": "slow"}));
        lab.blobs.upload((IN, name), text.as_bytes(), None, model);
        lab.name(name);
    };
    slowly("a.jsonl", &rows(0));
    lab.work().await;
    let (expected, _) = lab.results("a.jsonl");
    assert_eq!(expected.lines().count(), 24);
    slowly("b.jsonl", &rows(0).replace(",0]", ",1]"));
    lab.work().await;
    let (undisturbed, _) = lab.results("b.jsonl");
    lab.host.restart().await;
    slowly("c.jsonl", &rows(0).replace(",0]", ",1]"));
    let mut kills = 0;
    while let Some(message) = lab.queue.take(QUEUE).pop() {
        lab.send(&message);
        let before = computed(&lab.host).await;
        let killer = (kills < 3).then(|| tokio::spawn(kill_after(lab.host.clone(), before)));
        let outcome = lab.call().await;
        let Some(killer) = killer else {
            outcome.unwrap();
            continue;
        };
        killer.await.unwrap();
        lab.host.restart().await;
        kills += 1;
        if outcome.is_err() {
            // The host gives it back.
            lab.send(&message);
        }
    }
    assert_eq!(lab.results("c.jsonl").0, undisturbed);
}

/// Kills the handler when it has computed more rows than these.
async fn kill_after(host: Arc<FunctionsHost>, before: u64) {
    while computed(&host).await <= before {
        sleep(Duration::from_millis(5)).await;
    }
    host.kill();
}

async fn computed(host: &FunctionsHost) -> u64 {
    let metrics = host.http("GET", "/api/score/metrics", &[], b"").await;
    let text = metrics.expect_status(200).text();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("score_computed_rows_total{model=\"slow\"} "));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_names_of_every_kind_arrive() {
    let lab = Lab::start(|options| options).await;
    let event = |api: &str, name: &str, url: &str| {
        json!({
            "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/a",
            "subject": format!("/blobServices/default/containers/{IN}/blobs/{name}"),
            "eventType": "Microsoft.Storage.BlobCreated",
            "id": "1", "dataVersion": "", "metadataVersion": "1", "eventTime": "2026-11-30T10:00:05.1Z",
            "data": {"api": api, "eTag": "0x1", "contentType": "text/csv", "contentLength": 0, "blobType": "BlockBlob",
                     "url": format!("https://a.blob.core.windows.net/{IN}/{url}"), "sequencer": "0"},
        })
        .to_string()
    };
    for (name, subject, url) in [
        ("a b+c.csv", "a b+c.csv", "a%20b+c.csv"),
        ("100%.csv", "100%.csv", "100%25.csv"),
        ("a%20b.csv", "a%20b.csv", "a%2520b.csv"),
        (
            "d/M\u{e4}rz #1?.CSV",
            "d/M\u{e4}rz #1?.CSV",
            "d/M%C3%A4rz%20%231%3F.CSV",
        ),
        ("\u{1f48e}.csv", "\u{fffd}\u{fffd}.csv", "%F0%9F%92%8E.csv"),
    ] {
        lab.upload(name, "1,2,3\n");
        let message = base64(event("PutBlob", subject, url).as_bytes());
        lab.send(&message);
        assert_eq!(lab.work().await, 1, "{name}");
        let (results, _) = lab.results(name);
        assert!(
            results.ends_with("\n1,\"[3.0,5.0,7.0]\"\n"),
            "{name}: {results}"
        );
    }
    // What is only begun, what is elsewhere, and what is no event.
    for (message, log) in [
        (event("CreateFile", "x.csv", "x.csv"), "only created"),
        (
            json!({"blob": "scored/a.csv"}).to_string(),
            "is not in the container",
        ),
        (
            json!({"blob": format!("{IN}/gone.csv")}).to_string(),
            "not there any more",
        ),
    ] {
        lab.send(&message);
        assert_eq!(lab.work().await, 1);
        lab.host.wait_for_log(log, functions_host::PATIENCE).await;
    }
    lab.send("nonsense");
    let failure = lab.call().await.unwrap_err();
    assert!(failure.contains("status 400"), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn files_of_every_kind_end_as_results_or_as_a_reason() {
    let lab = Lab::start(|options| options.setting("SCORE_MAX_BODY_BYTES", "2000")).await;
    for (name, text, results, refused) in [
        ("empty.csv", "", "line,", vec![]),
        ("empty.jsonl", "", "", vec![]),
        ("blank.jsonl", "\n \n[1,2,3]\n\n", "{\"line\":3,", vec![]),
        ("bom.csv", "\u{feff}a,b,c\n1,2,3\n", "line,", vec![]),
        (
            "quotes.csv",
            "a,b,c\n\"1\",\"2\",\"3\"\n\"x\ny\",2,3\n4,5,6\n",
            "line,",
            vec![3],
        ),
        (
            "mixed.jsonl",
            "[1,2,3]\n[1,2]\nx\n{\"no\":1}\n[4,5,6]",
            "{\"line\":1,",
            vec![2, 3, 4],
        ),
    ] {
        let (found, refusals) = lab.scored(name, text).await;
        assert!(found.starts_with(results), "{name}: {found}");
        assert_eq!(lines_of(&refusals), refused, "{name}: {refusals}");
    }
    let long = format!("[1,2,3]\n[1,2,{}3]\n[4,5,6]\n", " ".repeat(9000));
    let (found, refusals) = lab.scored("long.jsonl", &long).await;
    assert_eq!(found.lines().count(), 2);
    assert!(refusals.contains("\"code\":\"too_large\""), "{refusals}");
    let typed = |name: &str, bytes: &[u8], content_type: &str| {
        lab.blobs
            .upload((IN, name), bytes, Some(content_type), None);
        lab.name(name);
    };
    typed("named-by-type", b"1,2,3\n", "text/csv; charset=utf-8");
    lab.work().await;
    assert!(lab.results("named-by-type").0.contains("[3.0,5.0,7.0]"));
    for (name, bytes, reason) in [
        ("a.txt", &b"1,2,3\n"[..], "ends with none of"),
        ("a.parquet", b"PAR1", "Parquet is not taken as a blob"),
        ("a.csv.gz", b"\x1f\x8b", "packed"),
        ("utf16.csv", b"\xff\xfe1\0,\0", "UTF-16"),
        ("doubt.csv", b"x\ny\n", "the first line"),
    ] {
        typed(name, bytes, "application/octet-stream");
        lab.work().await;
        let refusal = lab
            .blobs
            .download_json("rejected", &format!("{name}.errors.jsonl"));
        assert_eq!(refusal["blob"], format!("{IN}/{name}"));
        let message = refusal["reason"]["message"].as_str().unwrap();
        assert!(message.contains(reason), "{name}: {message}");
        assert!(!lab.names("scored").contains(&name.to_owned()));
    }
    let model = Some(json!({"model": "unknown"}));
    lab.blobs.upload((IN, "m.csv"), b"1,2,3\n", None, model);
    lab.name("m.csv");
    lab.work().await;
    let refusal = lab.blobs.download_json("rejected", "m.csv.errors.jsonl");
    assert_eq!(refusal["reason"]["code"], "unknown_model");
    // With the model it is scored, and the refusal goes.
    let (found, refusals) = lab.scored("m.csv", "1,2,3\n").await;
    assert_eq!((found.lines().count(), refusals.as_str()), (2, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_account_the_function_says_what_to_set() {
    let lab = Lab::start(|options| options.setting("SCORE_BLOBS_STORAGE", "My Account")).await;
    lab.name("a.csv");
    let failure = lab.call().await.unwrap_err();
    assert!(failure.contains("status 500"), "{failure}");
    let hint = "expected https://<account>.blob.core.windows.net";
    lab.host.wait_for_log(hint, Duration::from_secs(5)).await;
}

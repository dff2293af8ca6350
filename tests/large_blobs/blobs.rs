//! Blobs of every kind and name, and what happens to them while they are scored.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::computed;
use super::lab::{IN, Lab, QUEUE, lines_of};

#[tokio::test(flavor = "multi_thread")]
async fn names_of_every_kind_are_read_and_written_as_they_are() {
    let lab = Lab::start(|options| options).await;
    let longest = format!("{}.csv", "x".repeat(1020));
    let names = [
        "a b.csv",
        " .csv",
        "a%2Fb.csv",
        "a+b&c=d.csv",
        "d/e//f.csv",
        "M\u{e4}rz \u{2603}\u{1f48e}.csv",
        "back\\slash.csv",
        "a.csv?snapshot=2026-01-01T00:00:00.0000000Z.csv",
        "#;,'\"<>|.csv",
        "%.csv",
        "%2E%2E.csv",
        &longest,
    ];
    for (row, name) in names.into_iter().enumerate() {
        lab.upload(name, &format!("{row},2,3\nx,y,z\n"));
        lab.name(name);
    }
    assert_eq!(lab.work().await, names.len());
    let rejected = lab.names("rejected");
    assert_eq!(rejected.len(), names.len());
    for (row, name) in names.into_iter().enumerate() {
        let result = String::from_utf8(lab.blobs.download("scored", name)).unwrap();
        let expected = format!("\n1,\"[{}.0,5.0,7.0]\"\n", 2 * row + 1);
        assert!(result.ends_with(&expected), "{name}: {result}");
    }
    // The name of refusals is longer, so a part of this one's gives way.
    let shortened = rejected
        .iter()
        .find(|name| name.starts_with("xxx"))
        .unwrap();
    assert!(
        shortened.len() == 1024 && shortened.ends_with(".errors.jsonl"),
        "{shortened}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_other_kinds_are_scored_or_told() {
    let lab = Lab::start(|options| options).await;
    let scored = async |name: &str| {
        lab.name(name);
        lab.work().await;
        lab.results(name)
    };
    lab.blobs
        .upload_as("AppendBlob", (IN, "log.jsonl"), b"[1,2,3]\n[4,5,6]\n");
    let (results, refusals) = scored("log.jsonl").await;
    assert_eq!((results.lines().count(), refusals.as_str()), (2, ""));
    // A page blob ends with zeros, which are no line of it.
    let mut pages = b"[1,2,3]\n".to_vec();
    pages.resize(512, 0);
    lab.blobs.upload_as("PageBlob", (IN, "pages.jsonl"), &pages);
    let (results, refusals) = scored("pages.jsonl").await;
    assert_eq!((results.lines().count(), lines_of(&refusals)), (1, vec![2]));
    // What is there now is scored, not what a snapshot keeps.
    lab.upload("kept.csv", "1,2,3\n");
    lab.blobs.snapshot(IN, "kept.csv");
    lab.upload("kept.csv", "4,5,6\n");
    assert!(scored("kept.csv").await.0.contains("[9.0,11.0,13.0]"));
    // A blob of another kind stands where the results would be.
    lab.blobs
        .upload_as("AppendBlob", ("scored", "taken.csv"), b"mine");
    lab.upload("taken.csv", "1,2,3\n");
    let (results, refusal) = scored("taken.csv").await;
    assert_eq!(results, "mine");
    assert!(refusal.contains("InvalidBlobType"), "{refusal}");
    // The container of refusals is made again, and one of blobs that has gone is no reason to fail.
    lab.blobs.delete_container("rejected");
    lab.upload("bad.jsonl", "[1]\n");
    assert_eq!(lines_of(&scored("bad.jsonl").await.1), [1]);
    lab.blobs.delete_container(IN);
    lab.name("a.csv");
    assert_eq!(lab.work().await, 1);
    lab.host
        .wait_for_log("not there any more", functions_host::PATIENCE)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_on_the_results_puts_them_off() {
    let lab = Lab::start(|options| options).await;
    let (old, _) = lab.scored("a.csv", "1,2,3\n").await;
    lab.blobs.lease("scored", "a.csv");
    lab.blobs.lease(IN, "a.csv");
    lab.blobs.end_lease(IN, "a.csv");
    lab.upload("a.csv", "4,5,6\n");
    lab.blobs.lease(IN, "a.csv");
    lab.name("a.csv");
    lab.call().await.unwrap();
    assert_eq!(lab.results("a.csv").0, old);
    let message = lab.queue.take(QUEUE).remove(0);
    let stalls = serde_json::from_str::<Value>(&message).unwrap()["stalls"].clone();
    assert_eq!(stalls, 1, "{message}");
    lab.blobs.end_lease("scored", "a.csv");
    lab.send(&message);
    lab.work().await;
    assert!(lab.results("a.csv").0.contains("[9.0,11.0,13.0]"));
    // One that lasts is told.
    lab.blobs.lease("scored", "a.csv");
    lab.blobs.end_lease(IN, "a.csv");
    lab.upload("a.csv", "7,8,9\n");
    lab.name("a.csv");
    lab.work().await;
    let (results, refusal) = lab.results("a.csv");
    assert!(results.contains("[9.0,11.0,13.0]"), "{results}");
    assert!(refusal.contains("end the lease"), "{refusal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_changes_or_goes_during_a_call_is_never_mixed() {
    // One row after the other, 40 ms each.
    let lab = Lab::start(|options| {
        options
            .setting("SCORE_SESSIONS", "1")
            .setting("SCORE_MAX_BATCH_ROWS", "1")
            .setting("SCORE_MAX_ROWS", "2")
            .setting("SCORE_BLOBS_BUDGET", "1m")
    })
    .await;
    let lab = Arc::new(lab);
    let rows =
        |last: u32| -> String { (0..10).map(|row| format!("[{row},0,0,{last}]\n")).collect() };
    let upload = |name: &str, text: &str| {
        let model = Some(json!({"model": "slow"}));
        lab.blobs.upload((IN, name), text.as_bytes(), None, model);
    };
    upload("plain.jsonl", &rows(1));
    lab.name("plain.jsonl");
    lab.work().await;
    let (expected, _) = lab.results("plain.jsonl");
    assert_eq!(expected.lines().count(), 10);
    for (name, last) in [("changed.jsonl", 2), ("gone.jsonl", 3)] {
        upload(name, &rows(last));
        lab.name(name);
        let before = computed(&lab.host).await;
        let call = tokio::spawn({
            let lab = lab.clone();
            async move { lab.call().await }
        });
        while computed(&lab.host).await <= before {
            sleep(Duration::from_millis(5)).await;
        }
        match last {
            2 => upload(name, &rows(1)),
            _ => lab.blobs.delete(IN, name),
        }
        call.await.unwrap().unwrap();
        assert!(!lab.names("scored").contains(&name.to_owned()), "{name}");
        lab.work().await;
    }
    assert_eq!(lab.results("changed.jsonl").0, expected);
    assert!(!lab.names("scored").contains(&"gone.jsonl".to_owned()));
}

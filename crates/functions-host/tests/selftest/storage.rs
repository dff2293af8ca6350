//! Tests of the stand-in triggers for storage queues and blobs, with the handler of the tests of `listener`.

use serde_json::Value;

use crate::listener::{app, listen};
use functions_host::app_folder::AppFolder;
use functions_host::broker::EntityOptions;
use functions_host::cloud::Cloud;
use functions_host::eventually;
use functions_host::functions;

const POISON: &str = "webjobs-blobtrigger-poison";

#[tokio::test(flavor = "multi_thread")]
async fn stored_messages_are_tried_five_times_and_then_poison() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(), &cloud).await;
    for body in ["a", "fail", "fail-before 5", "bad"] {
        cloud.queues.put("stored", body).unwrap();
    }
    eventually("all is done", async || {
        cloud.queues.messages("stored").is_empty()
    })
    .await;
    let texts = |queue: &str| -> Vec<String> {
        let messages = cloud.queues.messages(queue);
        messages.iter().map(|message| message.text()).collect()
    };
    let mut results = texts("stored-results");
    results.sort();
    assert_eq!(results, ["a", "fail-before 5"]);
    assert_eq!(texts("stored-rejected"), ["bad"]);
    assert_eq!(texts("stored-poison"), ["fail"]);
    assert_eq!(listener.failures().len(), 9);
}

fn make_polling(app: &AppFolder) {
    app.edit_json("scoreBlob/function.json", |function| {
        let trigger = function["bindings"][0].as_object_mut().unwrap();
        trigger.remove("source");
    });
}

/// Waits until the host has done with one more blob, and with every change before it.
async fn score_another(cloud: &Cloud, name: &str) {
    cloud.blobs.put(&format!("inbox/{name}"), "another");
    eventually("another blob is scored", async || {
        let scored = cloud.blobs.get(&format!("results/{name}.json"));
        let announced = cloud.queues.messages("azure-webjobs-blobs-scoreBlob");
        scored.is_some() && announced.is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_are_handled_once_per_version_from_both_sources() {
    for is_polling in [false, true] {
        let app = app();
        if is_polling {
            make_polling(&app);
        }
        let cloud = functions::cloud(EntityOptions::default());
        let first = cloud.blobs.put("inbox/a b", "one");
        cloud.blobs.put("inbox/c", "bad");
        let listener = listen(&app, &cloud).await;
        let has = |path: &str, content: &[u8]| {
            let blob = cloud.blobs.get(path);
            blob.is_some_and(|blob| blob.content == content)
        };
        eventually("scored", async || has("results/a b.json", b"one")).await;
        eventually("rejected", async || has("rejected/c.json", b"no")).await;
        cloud.blobs.repeat_event(&first);
        score_another(&cloud, "d").await;
        assert_eq!(listener.invocations(), 3, "not again");
        cloud.blobs.put("inbox/a b", "two");
        eventually("scored again", async || has("results/a b.json", b"two")).await;
        drop(listener);
        let listener = listen(&app, &cloud).await;
        score_another(&cloud, "e").await;
        assert_eq!(listener.invocations(), 1, "receipts outlive the host");
        let names = cloud.blobs.names("results");
        assert_eq!(names, ["a b.json", "d.json", "e.json"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_blob_is_tried_five_times_and_named_in_the_poison_queue() {
    let cloud = functions::cloud(EntityOptions::default());
    let listener = listen(&app(), &cloud).await;
    let version = cloud.blobs.put("inbox/x", "fail");
    eventually("poison", async || !cloud.queues.messages(POISON).is_empty()).await;
    assert_eq!(listener.invocations(), 5);
    let note = cloud.queues.messages(POISON).remove(0).text();
    let note: Value = serde_json::from_str(&note).unwrap();
    assert_eq!(note["ContainerName"], "inbox");
    assert_eq!(note["BlobName"], "x");
    assert_eq!(note["ETag"], version.etag);
    assert!(cloud.blobs.get("inbox/x").is_some(), "it stays");
    score_another(&cloud, "y").await;
    assert_eq!(listener.invocations(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_into_the_watched_container_triggers_again() {
    let app = app();
    app.edit_json("scoreBlob/function.json", |function| {
        function["bindings"][1]["path"] = "inbox/{name}x".into();
    });
    let cloud = functions::cloud(EntityOptions::default());
    let _listener = listen(&app, &cloud).await;
    cloud.blobs.put("inbox/a", "one");
    eventually("a chain", async || cloud.blobs.names("inbox").len() > 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_gone_or_was_replaced_is_skipped() {
    let (app, cloud) = (app(), functions::cloud(EntityOptions::default()));
    cloud.blobs.put("inbox/gone", "fail");
    cloud.blobs.put("inbox/new", "fail");
    cloud.blobs.delete("inbox/gone");
    cloud.blobs.put("inbox/new", "two");
    let listener = listen(&app, &cloud).await;
    eventually("scored", async || !cloud.blobs.names("results").is_empty()).await;
    score_another(&cloud, "last").await;
    assert_eq!(listener.failures(), [""; 0]);
    assert_eq!(cloud.blobs.names("results"), ["last.json", "new.json"]);
}

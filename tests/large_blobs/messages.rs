//! Messages that come twice at a time, are too large, or tell what no call has done.

use serde_json::{Value, json};

use functions_host::invoke::Transport;
use functions_host::storage_queue::QueueMessage;

use super::lab::{FUNCTION, IN, Lab, QUEUE, table};

#[tokio::test(flavor = "multi_thread")]
async fn two_instances_that_get_the_same_message_at_once_write_one_result() {
    let lab = Lab::start(|options| options).await;
    let text = table(3000);
    let expected = lab.scored("plain.csv", &text).await;
    let other = lab.instance().await;
    lab.upload("a.csv", &text);
    lab.name("a.csv");
    let mut rounds = 0;
    while let Some(message) = lab.queue.take(QUEUE).first() {
        for _ in 0..2 {
            lab.send(message);
        }
        let both = tokio::join!(lab.call(), other.listen_stored(&lab.queue, FUNCTION));
        assert_eq!(both, (Ok(()), Ok(())));
        if lab.names("scored").contains(&"a.csv".to_owned()) {
            assert!(
                lab.results("a.csv") == expected,
                "half a file, or two mixed"
            );
        }
        rounds += 1;
    }
    assert!(rounds > 4, "{rounds} rounds");
    assert!(lab.results("a.csv") == expected);
}

/// What a forger might make of the message for the rest of a blob.
fn forgeries(message: &Value, length: usize) -> Vec<(&'static str, Value)> {
    let with = |change: &dyn Fn(&mut Value)| {
        let mut forged = message.clone();
        change(&mut forged["done"]);
        forged
    };
    let more = |value: &Value, by: u64| json!(value.as_u64().unwrap() + by);
    vec![
        (
            "amid a line",
            with(&|done| done["byte"] = more(&done["byte"], 2)),
        ),
        (
            "a later line",
            with(&|done| done["byte"] = more(&done["byte"], 7 * 40)),
        ),
        ("the end", with(&|done| done["byte"] = json!(length))),
        (
            "another number",
            with(&|done| done["line"] = more(&done["line"], 1)),
        ),
        ("fewer scored", with(&|done| done["scored"] = json!(1))),
        ("no blocks", with(&|done| done["blocks"] = json!([]))),
        (
            "blocks of its own",
            with(&|done| done["blocks"] = json!([["abcdefgh", 1, 0]])),
        ),
        (
            "a block twice",
            with(&|done| {
                let blocks = done["blocks"].as_array_mut().unwrap();
                blocks.push(blocks[0].clone());
            }),
        ),
        (
            "another version",
            with(&|done| done["etag"] = json!("\"0x1\"")),
        ),
        (
            "another model",
            with(&|done| done["model"] = json!("affine/1@x")),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_call_has_done_is_not_believed() {
    let lab = Lab::start(|options| options).await;
    let text = table(1500);
    let expected = lab.scored("plain.csv", &text).await;
    lab.upload("first.csv", &text);
    lab.name("first.csv");
    lab.call().await.unwrap();
    let first = lab.queue.take(QUEUE).remove(0);
    let count = forgeries(&serde_json::from_str(&first).unwrap(), text.len()).len();
    for case in 0..count {
        let name = format!("{case}.csv");
        lab.upload(&name, &text);
        lab.name(&name);
        lab.call().await.unwrap();
        let message = serde_json::from_str(&lab.queue.take(QUEUE)[0]).unwrap();
        let (what, forged) = forgeries(&message, text.len()).remove(case);
        lab.send(&forged.to_string());
        lab.work().await;
        assert!(lab.results(&name) == expected, "{what}: {forged}");
    }
    // The message of another blob has another blob's blocks.
    let stolen = first.replace("first.csv", "second.csv");
    lab.upload("second.csv", &text);
    lab.send(&stolen);
    lab.work().await;
    assert!(lab.results("second.csv") == expected);
    // The one that is true goes on where it says.
    lab.send(&first);
    lab.work().await;
    assert!(lab.results("first.csv") == expected);
    assert_eq!(lab.queue.take("large-poison"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_can_never_be_read_are_refused_with_what_was_expected() {
    let lab = Lab::start(|options| options).await;
    let blob = format!("{IN}/a.csv");
    let done = |change: Value| {
        let mut done = json!({"etag": "1", "model": "m", "line": 1, "byte": 9, "scored": 1, "failed": 0, "blocks": []});
        done.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        json!({"blob": blob, "done": done}).to_string().into_bytes()
    };
    for (body, status) in [
        (b"nonsense".to_vec(), 400),
        (Vec::new(), 400),
        (b"\xff\xfe{\0".to_vec(), 400),
        (vec![b'['; 60_000], 400),
        (
            json!({"blob": format!("{IN}/d/../a.csv")})
                .to_string()
                .into_bytes(),
            400,
        ),
        (
            json!([{"blob": blob}, {"blob": blob}])
                .to_string()
                .into_bytes(),
            400,
        ),
        (done(json!({"byte": -1})), 400),
        (done(json!({"line": 10})), 400),
        (done(json!({"scored": u64::MAX})), 400),
        (done(json!({"blocks": [["a", u32::MAX, 0]]})), 400),
        (vec![b' '; 129 << 10], 413),
    ] {
        let start = String::from_utf8_lossy(&body[..body.len().min(99)]).into_owned();
        let message = QueueMessage::new(body);
        let outcome = lab
            .host
            .deliver_stored(FUNCTION, &message, Transport::Chunked);
        let failure = outcome.await.unwrap_err();
        assert!(
            failure.contains(&format!("status {status}")),
            "{start}: {failure}"
        );
        assert!(!failure.contains("SCORE_MAX_BODY_BYTES"), "{failure}");
    }
    assert!(lab.names("rejected").is_empty());
}

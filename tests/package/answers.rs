//! A package with all triggers: as a folder and as a zip, it starts and answers.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use zip::ZipArchive;

use super::{files, folder, model, package, sample, text};
use crate::protocol_cases::mistakes;
use crate::support::app_root::{AppRoot, repository};
use crate::support::funcignore::shipped_files;
use functions_host::broker::EntityOptions;
use functions_host::cloud::Cloud;
use functions_host::eventually;
use functions_host::host::{FunctionsHost, HostOptions};
use functions_host::host_config::read_json;
use functions_host::listener::Listener;
use functions_host::triggers::ServiceBusMessage;

const JSON: (&str, &str) = ("content-type", "application/json");
const BODY: &str = r#"{"data":[[1,2,3]]}"#;
const ALL: &str = "http,servicebus,servicebus-topic,storage-queue,blob";

/// What a zip deployment makes of it, with the modes of the entries.
pub(super) fn unzipped(zip: &Path) -> TempDir {
    let folder = folder();
    let mut archive = ZipArchive::new(fs::File::open(zip).unwrap()).unwrap();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).unwrap();
        let path = folder.path().join(entry.enclosed_name().unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut file = fs::File::create(&path).unwrap();
        std::io::copy(&mut entry, &mut file).unwrap();
        let mode = entry.unix_mode().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }
    folder
}

/// The app settings as the package lists them, nothing filled in: the app must start with them.
fn settings(app: &Path) -> HostOptions {
    let list = fs::read_to_string(app.join("app-settings.json")).unwrap();
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    let start = HostOptions::default().setting("SCORE_DEFAULT_MODEL", "affine");
    list.iter().fold(start, |options, entry| {
        let [name, value] = ["name", "value"].map(|member| entry[member].as_str().unwrap());
        options.setting(name, value)
    })
}

async fn answers_http(host: &FunctionsHost) {
    let answer = host.http("POST", "/api/score", &[JSON], BODY.as_bytes());
    assert_eq!(
        answer.await.expect_status(200).json(),
        json!([[3.0, 5.0, 7.0]])
    );
    let seven = fs::read(repository().join("examples/mnist/seven.json")).unwrap();
    let answer = host.http("POST", "/api/score/mnist", &[JSON], &seven).await;
    assert_eq!(answer.expect_status(200).json(), json!([7]));
}

async fn answers_messages_and_blobs(listener: &Listener, cloud: &Cloud) {
    let scores = json!([[3.0, 5.0, 7.0]]);
    for place in ["score", "score-requests"] {
        let message = ServiceBusMessage::new(BODY).with_id(place);
        cloud.broker.send(place, message).unwrap();
    }
    eventually("two results", async || {
        cloud.broker.waiting("score-results").len() == 2
    })
    .await;
    for message in cloud.broker.waiting("score-results") {
        let document: Value = serde_json::from_slice(&message.body).unwrap();
        assert_eq!(document["result"], scores);
    }
    cloud.queues.put("score", BODY).unwrap();
    eventually("a stored result", async || {
        !cloud.queues.messages("score-results").is_empty()
    })
    .await;
    let stored = cloud.queues.messages("score-results").remove(0);
    let document: Value = serde_json::from_slice(&stored.body).unwrap();
    assert_eq!(document["result"], scores);
    cloud.blobs.put("incoming/one", BODY);
    let scored = "scored/one.json";
    eventually(scored, async || cloud.blobs.get(scored).is_some()).await;
    let blob = cloud.blobs.get(scored).unwrap();
    let document: Value = serde_json::from_slice(&blob.content).unwrap();
    assert_eq!(document["result"], scores);
    assert_eq!(listener.failures(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_with_all_triggers_answers_as_folder_and_as_zip() {
    let (out, zips) = (folder(), folder());
    let zip = zips.path().join("app.zip");
    let (out_text, zip_text) = (text(out.path()), text(&zip));
    let (sample, affine) = (sample(), model("affine"));
    let report = package(&[
        "--model",
        &sample,
        &affine,
        "--trigger",
        ALL,
        "--out",
        &out_text,
        "--zip",
        &zip_text,
    ]);
    for part in ["bin/handler", "models/affine", "total", "zip"] {
        assert!(report.contains(part), "{report}");
    }

    // The zip holds what the Core Tools would ship, and only the handler may be executed.
    let in_folder = files(out.path());
    let names: Vec<String> = in_folder.keys().cloned().collect();
    let unzipped = unzipped(&zip);
    let in_zip = files(unzipped.path());
    let shipped = shipped_files(out.path(), &names);
    assert_eq!(Vec::from_iter(in_zip.keys().cloned()), shipped);
    for (name, mode) in &in_zip {
        let expected = if name == "bin/handler" { 0o755 } else { 0o644 };
        assert_eq!(mode & 0o777, expected, "{name}");
        let [one, other] = [out.path(), unzipped.path()].map(|root| fs::read(root.join(name)));
        assert!(one.unwrap() == other.unwrap(), "{name} differs");
    }
    let dockerfile = fs::read_to_string(out.path().join("Dockerfile")).unwrap();
    assert!(dockerfile.contains("\nFROM ${BASE}\n"));
    let copied: Vec<&str> = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY ")?.split(' ').next())
        .collect();
    for name in in_zip.keys() {
        let first = name.split('/').next().unwrap();
        assert!(copied.contains(&first), "{first} is not in the image");
    }

    assert_eq!(in_folder["bin/handler"] & 0o777, 0o755);
    // Bodies of a storage queue's messages come as they are, and none of their members passes for one of the message.
    let stored = read_json(&out.path().join("score_storage_queue/function.json"));
    assert_eq!(stored["bindings"][0]["dataType"], "binary");
    let host = read_json(&out.path().join("host.json"));
    assert_eq!(host["extensions"]["queues"]["messageEncoding"], "none");
    for name in in_zip
        .keys()
        .filter(|name| name.ends_with("/function.json"))
    {
        let document = read_json(&out.path().join(name));
        assert_eq!(
            mistakes(&document, "function.json", None),
            [""; 0],
            "{name}"
        );
    }

    let cloud = Cloud::default();
    for queue in ["score", "score-results", "score-rejected"] {
        cloud.broker.create_queue(queue, EntityOptions::default());
    }
    let options = EntityOptions::default();
    cloud
        .broker
        .create_topic("score-requests", &["score"], options);
    let settings = settings(out.path());
    let deployed = FunctionsHost::start(&AppRoot::of(unzipped), settings.clone()).await;
    answers_http(&deployed).await;
    let listener = Listener::start(deployed, &cloud);
    assert_eq!(listener.not_indexed(), [""; 0]);
    answers_messages_and_blobs(&listener, &cloud).await;

    let host = FunctionsHost::start(&AppRoot::of(out), settings).await;
    answers_http(&host).await;
}

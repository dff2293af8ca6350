//! The blob trigger: changes go through a queue of the host's own, so that a blob is tried a few times.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Shared, resolved};
use crate::blob_store::{self, BlobName, Version, match_path};
use crate::host_config::Function;
use crate::newtonsoft::indented;
use crate::storage_queue::QueueMessage;
use crate::triggers;

/// Where blobs end that failed too often.
const POISON: &str = "webjobs-blobtrigger-poison";
/// How long an announced blob is reserved.
const INVISIBLE: Duration = Duration::from_secs(600);
/// Between two looks for changes; minutes on a live host.
const PAUSE: Duration = Duration::from_millis(10);

/// Works for ever.
pub(super) async fn pump(shared: Arc<Shared>, function: Arc<Function>) {
    let path = resolved(shared.config(), &function, "path");
    let queue: Arc<str> = format!("azure-webjobs-blobs-{}", function.name).into();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let degree = shared
        .config()
        .number("/blobs/maxDegreeOfParallelism", 8 * cores);
    let permits = Arc::new(Semaphore::new(degree));
    let (mut work, mut announced) = (JoinSet::new(), BTreeSet::new());
    loop {
        announce(&shared, &function, &path, &queue, &mut announced);
        let permit = Arc::clone(&permits).acquire_owned().await;
        while work.try_join_next().is_some() {}
        let Some(message) = shared.cloud.queues.get(&queue, INVISIBLE) else {
            sleep(PAUSE).await;
            continue;
        };
        let (shared, function) = (Arc::clone(&shared), Arc::clone(&function));
        let (queue, path) = (Arc::clone(&queue), path.clone());
        work.spawn(async move {
            handle(&shared, &function, &path, &queue, &message).await;
            drop(permit);
        });
    }
}

fn is_pushed(function: &Function) -> bool {
    function.trigger().setting("source") == "EventGrid"
}

/// Puts changes into the host's queue: each event, or each version that a scan finds for the first time.
fn announce(
    shared: &Shared,
    function: &Function,
    path: &str,
    queue: &str,
    announced: &mut BTreeSet<Version>,
) {
    let blobs = &shared.cloud.blobs;
    let changes: Vec<Version> = match is_pushed(function) {
        true => blobs.next_events(&function.name),
        false => blobs
            .versions()
            .into_iter()
            .filter(|version| {
                !blobs.has_receipt(&function.name, version) && announced.insert(version.clone())
            })
            .collect(),
    };
    for version in changes {
        if match_path(path, &version.blob).is_some() {
            let note = json!({"blob": version.blob.path(), "etag": version.etag});
            let put = shared.cloud.queues.put(queue, note.to_string());
            put.expect("a short note");
        }
    }
}

async fn handle(
    shared: &Shared,
    function: &Function,
    path: &str,
    queue: &str,
    message: &QueueMessage,
) {
    let note: Value = serde_json::from_slice(&message.body).expect("a note of `announce`");
    let text = |member: &str| note[member].as_str().expect("text").to_owned();
    let version = Version {
        blob: BlobName::new(&text("blob")),
        etag: text("etag"),
    };
    let queues = &shared.cloud.queues;
    let max = shared.config().number("/blobs/poisonBlobThreshold", 5);
    match try_handle(shared, function, path, &version).await {
        Ok(()) => {}
        Err(_) if message.dequeue_count < max as i64 => {
            return queues.hide(queue, message, Duration::ZERO);
        }
        Err(_) => {
            let note = json!({
                "Type": "BlobTrigger",
                "FunctionId": format!("Host.Functions.{}", function.name),
                "BlobType": "BlockBlob",
                "ContainerName": version.blob.container,
                "BlobName": version.blob.name,
                "ETag": version.etag,
            });
            queues.put(POISON, indented(&note)).expect("a short note");
            shared.cloud.blobs.add_receipt(&function.name, &version);
        }
    }
    queues.delete(queue, message);
}

/// Invokes the function for the blob as it is now, unless it is gone, done, or another version that comes by itself.
async fn try_handle(
    shared: &Shared,
    function: &Function,
    path: &str,
    version: &Version,
) -> Result<(), String> {
    let blobs = &shared.cloud.blobs;
    let Some(blob) = blobs.get(&version.blob.path()) else {
        return Ok(());
    };
    let current = Version {
        etag: blob.etag.clone(),
        ..version.clone()
    };
    let is_other = current != *version && !is_pushed(function);
    if is_other || blobs.has_receipt(&function.name, &current) {
        return Ok(());
    }
    let placeholders = match_path(path, &version.blob).unwrap_or_default();
    let event = blob_store::event(&version.blob, &blob, placeholders.clone());
    let envelope = triggers::blob(function, &event);
    shared.invoke(function, Ok(envelope), &placeholders).await?;
    blobs.add_receipt(&function.name, &current);
    Ok(())
}

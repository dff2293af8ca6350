//! The storage queue trigger: read, invoke, then delete, show again, or move to the poison queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{Shared, resolved};
use crate::host_config::Function;
use crate::storage_queue::QueueMessage;
use crate::triggers;

/// How long a message is invisible while it is worked on.
const INVISIBLE: Duration = Duration::from_secs(600);
/// Between two looks at an empty queue.
const PAUSE: Duration = Duration::from_millis(10);

/// Works for ever.
pub(super) async fn pump(shared: Arc<Shared>, function: Arc<Function>) {
    let queue: Arc<str> = resolved(shared.config(), &function, "queueName").into();
    let batch_size = shared.config().number("/queues/batchSize", 16);
    let threshold = shared
        .config()
        .number("/queues/newBatchThreshold", batch_size / 2);
    let permits = Arc::new(Semaphore::new(batch_size + threshold));
    let mut work = JoinSet::new();
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        while work.try_join_next().is_some() {}
        let Some(message) = shared.cloud.queues.get(&queue, INVISIBLE) else {
            sleep(PAUSE).await;
            continue;
        };
        let (shared, function) = (Arc::clone(&shared), Arc::clone(&function));
        let queue = Arc::clone(&queue);
        work.spawn(async move {
            handle(&shared, &function, &queue, &message).await;
            drop(permit);
        });
    }
}

async fn handle(shared: &Shared, function: &Function, queue: &str, message: &QueueMessage) {
    let envelope = triggers::queue(function, message);
    let queues = &shared.cloud.queues;
    let max = shared.config().number("/queues/maxDequeueCount", 5);
    let hidden = shared
        .config()
        .time_span("/queues/visibilityTimeout", Duration::ZERO);
    match shared.invoke(function, envelope, &[]).await {
        Ok(()) => drop(queues.delete(queue, message)),
        Err(_) if message.dequeue_count < max as i64 => queues.hide(queue, message, hidden),
        Err(_) => {
            let poison = format!("{queue}-poison");
            if let Err(error) = queues.put(&poison, message.body.clone()) {
                shared.fail(function, &error);
            }
            queues.delete(queue, message);
        }
    }
}

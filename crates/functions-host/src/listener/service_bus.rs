//! The Service Bus trigger: receive, invoke, then complete or abandon.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::{Shared, resolved};
use crate::broker::{Broker, Received, Session, subscription_path};
use crate::host_config::Function;
use crate::triggers::{self, Envelope, ServiceBusMessage};

/// How long one receive waits.
const WAIT: Duration = Duration::from_secs(60);

/// What function.json and host.json say.
#[derive(Debug)]
struct Source {
    /// Of the queue or subscription.
    path: String,
    is_batch: bool,
    has_sessions: bool,
    max_calls: usize,
    max_sessions: usize,
    max_batch: usize,
    renewed_for: Duration,
    session_idle: Duration,
}

impl Source {
    fn new(shared: &Shared, function: &Function) -> Self {
        let config = shared.config();
        let path = match resolved(config, function, "queueName") {
            queue if !queue.is_empty() => queue,
            _ => subscription_path(
                &resolved(config, function, "topicName"),
                &resolved(config, function, "subscriptionName"),
            ),
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let minutes = |count: u64| Duration::from_secs(60 * count);
        Self {
            path,
            is_batch: function.trigger().setting("cardinality") == "many",
            has_sessions: function.trigger().settings["isSessionsEnabled"] == true,
            max_calls: config.number("/serviceBus/maxConcurrentCalls", 16 * cores),
            max_sessions: config.number("/serviceBus/maxConcurrentSessions", 8),
            max_batch: config.number("/serviceBus/maxMessageBatchSize", 1000),
            renewed_for: config.time_span("/serviceBus/maxAutoLockRenewalDuration", minutes(5)),
            session_idle: config.time_span("/serviceBus/sessionIdleTimeout", minutes(1)),
        }
    }

    /// Messages of one invocation.
    fn max(&self) -> usize {
        if self.is_batch { self.max_batch } else { 1 }
    }

    fn envelope(
        &self,
        function: &Function,
        messages: &[ServiceBusMessage],
    ) -> Result<Envelope, String> {
        match messages {
            [message] if !self.is_batch => Ok(triggers::single(function, message)),
            batch => triggers::batch(function, batch),
        }
    }
}

/// Works for ever.
pub(super) async fn pump(shared: Arc<Shared>, function: Arc<Function>) {
    let source = Arc::new(Source::new(&shared, &function));
    if source.has_sessions {
        let mut holders = JoinSet::new();
        for _ in 0..source.max_sessions {
            let (shared, function) = (Arc::clone(&shared), Arc::clone(&function));
            holders.spawn(hold_sessions(shared, function, Arc::clone(&source)));
        }
        while holders.join_next().await.is_some() {}
        return;
    }
    let calls = if source.is_batch { 1 } else { source.max_calls };
    let permits = Arc::new(Semaphore::new(calls));
    let mut work = JoinSet::new();
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let broker = &shared.cloud.broker;
        let received = broker.receive(&source.path, source.max(), WAIT).await;
        while work.try_join_next().is_some() {}
        if received.is_empty() {
            continue;
        }
        let (shared, function) = (Arc::clone(&shared), Arc::clone(&function));
        let source = Arc::clone(&source);
        work.spawn(async move {
            handle(&shared, &function, &source, received, None).await;
            drop(permit);
        });
    }
}

/// Takes one session after the other, each until nothing more comes.
async fn hold_sessions(shared: Arc<Shared>, function: Arc<Function>, source: Arc<Source>) {
    let broker = &shared.cloud.broker;
    loop {
        let Some(session) = broker.accept_session(&source.path, WAIT).await else {
            continue;
        };
        loop {
            let (max, idle) = (source.max(), source.session_idle);
            let next = broker.receive_in(&source.path, &session, max, idle);
            match next.await {
                Ok(received) if !received.is_empty() => {
                    handle(&shared, &function, &source, received, Some(&session)).await;
                }
                Ok(_) | Err(_) => break,
            }
        }
        broker.release_session(&source.path, &session);
    }
}

/// One invocation, and what becomes of its messages.
async fn handle(
    shared: &Shared,
    function: &Function,
    source: &Source,
    received: Vec<Received>,
    session: Option<&Session>,
) {
    let broker = &shared.cloud.broker;
    let messages: Vec<ServiceBusMessage> = received
        .iter()
        .map(|received| received.message.clone())
        .collect();
    let envelope = source.envelope(function, &messages);
    let result = tokio::select! {
        result = shared.invoke(function, envelope, &[]) => result,
        () = renew(broker, source, &received[0], session) => unreachable!("never ends"),
    };
    for received in &received {
        let settled = match &result {
            Ok(()) => broker.complete(&source.path, received.lock),
            Err(_) => broker.abandon(&source.path, received.lock),
        };
        if settled.is_err() {
            let id = &received.message.message_id;
            shared.fail(function, &format!("the lock of message {id} is lost"));
        }
    }
}

/// Keeps the lock of a single message, or of its session; batches have to hurry. Never ends.
async fn renew(broker: &Broker, source: &Source, received: &Received, session: Option<&Session>) {
    let end = Instant::now() + source.renewed_for;
    let pause = broker.lock_duration(&source.path) / 2;
    while !source.is_batch && Instant::now() + pause < end {
        sleep(pause).await;
        // a lost lock shows when the message is settled
        let _ = match session {
            Some(session) => broker.renew_session(&source.path, session),
            None => broker.renew(&source.path, received.lock),
        };
    }
    std::future::pending().await
}

//! One Redis server and the connection to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::clients::WithOptions;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::{ClusterInterface, EventInterface};
use fred::prelude::{Client, ClientLike, HashesInterface, KeysInterface, Options, Value};
use fred::types::{ClusterHash, CustomCommand, Expiration};
use futures_util::future::join_all;
use parking_lot::Mutex;
use score::{Backoff, StoreEntry};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::credentials::RedisLogin;
use crate::endpoint::Endpoint;
use crate::explain;
use crate::together::Together;

/// Look-ups in a row without an answer in time after which a node is left alone for a while.
const SILENT_TIMES: u32 = 3;
const RESTS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));

/// Keys of one command. The parser of replies takes 20 MiB at once, which is 80 KiB for each of them.
const MAX_KEYS_AT_ONCE: usize = 256;

/// A server and the client that keeps one connection to it. The connection heals itself; while it is down, commands
/// fail at once.
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
    client: Client,
    /// The client's own task, which reads from the connection and makes it again. It ends with this.
    task: AbortOnDropHandle<Result<(), FredError>>,
    /// The task that hears of connections that are lost and of logins that are refused. It ends with this.
    _events: AbortOnDropHandle<()>,
    /// Locked for one read or write at a time, never across an await.
    rest: Mutex<Rest>,
    /// Whether it has refused a command with several keys.
    one_by_one: AtomicBool,
    /// What requests look up at the same time.
    pub(super) together: Arc<Together>,
}

impl Node {
    /// Starts to connect.
    pub(super) fn start(host: &str, port: u16, client: Client, endpoint: Arc<Endpoint>) -> Self {
        let task = AbortOnDropHandle::new(client.connect());
        let events = tokio::spawn(watch_events(client.clone(), endpoint));
        Self {
            host: host.to_owned(),
            port,
            client,
            task,
            _events: AbortOnDropHandle::new(events),
            rest: Mutex::default(),
            one_by_one: AtomicBool::new(false),
            together: Arc::default(),
        }
    }

    /// Waits until it is connected.
    pub(super) async fn connected(&self) -> Result<(), FredError> {
        self.client.wait_for_connect().await
    }

    /// Waits until the first attempt to connect has succeeded or failed, for a client that makes only one.
    pub(super) async fn connected_at_once(&mut self) -> Result<(), FredError> {
        tokio::select! {
            connected = self.client.wait_for_connect() => connected,
            ended = &mut self.task => ended.unwrap_or_else(|_| Err(FredError::new_canceled())),
        }
    }

    /// Whether it is at this address and its client still keeps the connection.
    pub(super) fn is_usable_at(&self, host: &str, port: u16) -> bool {
        self.host == host && self.port == port && !self.task.is_finished()
    }

    pub(super) fn is_connected(&self) -> bool {
        !self.task.is_finished() && self.client.is_connected()
    }

    /// A client for other commands, likewise without retries or queueing.
    pub(super) fn client(&self) -> WithOptions<Client> {
        self.client.with_options(&options())
    }

    /// Logs the open connection in once more.
    pub(super) async fn authenticate(&self, login: &RedisLogin) -> Result<(), FredError> {
        let command = CustomCommand::new_static("AUTH", ClusterHash::Random, false);
        let arguments = vec![login.username.as_str(), login.password.as_str()];
        self.client().custom(command, arguments).await
    }

    /// The answer to `CLUSTER SLOTS`.
    pub(super) async fn cluster_slots(&self) -> Result<Value, FredError> {
        self.client().cluster_slots().await
    }

    /// The values of `keys` by few commands, as long as the server takes it: several times cheaper than one for each key.
    pub(super) async fn get_at_once(
        &self,
        keys: &[String],
    ) -> Vec<Result<Option<Bytes>, FredError>> {
        if keys.len() == 1 || self.one_by_one.load(Ordering::Relaxed) {
            return self.get_each(keys).await;
        }
        let client = self.client();
        let commands = keys.chunks(MAX_KEYS_AT_ONCE).map(async |part| {
            let values: Vec<Option<Bytes>> = client.mget(part.to_vec()).await?;
            expect_count(values, part.len())
        });
        let mut values = Vec::with_capacity(keys.len());
        for (answer, part) in join_all(commands)
            .await
            .into_iter()
            .zip(keys.chunks(MAX_KEYS_AT_ONCE))
        {
            match answer {
                Ok(answer) => values.extend(answer.into_iter().map(Ok)),
                // A proxy that hides a cluster may still mind slots.
                Err(error) if error.details().starts_with("CROSSSLOT") => {
                    self.one_by_one.store(true, Ordering::Relaxed);
                    return self.get_each(keys).await;
                }
                Err(error) => values.extend(part.iter().map(|_| Err(error.clone()))),
            }
        }
        values
    }

    /// The values of `keys` by a command for each. They travel together: the client writes what is queued in one go.
    pub(super) async fn get_each(&self, keys: &[String]) -> Vec<Result<Option<Bytes>, FredError>> {
        let client = self.client();
        let mut replies = match keys {
            // Futures of the client are large; one alone need not be moved about.
            [only] => vec![client.get(only.as_str()).await],
            _ => join_all(keys.iter().map(|key| client.get(key.as_str()))).await,
        };
        for reply in &mut replies {
            if reply.as_ref().is_err_and(is_wrong_type) {
                *reply = Ok(None);
            }
        }
        replies
    }

    /// The values of `fields` in the hash under each of `keys`, likewise.
    pub(super) async fn get_fields(
        &self,
        keys: &[String],
        fields: &[String],
    ) -> Vec<Result<Vec<Option<Bytes>>, FredError>> {
        let client = self.client();
        let gets = keys
            .iter()
            .map(|key| client.hmget(key.as_str(), fields.to_vec()));
        let mut replies: Vec<Result<Vec<Option<Bytes>>, FredError>> = join_all(gets).await;
        for reply in &mut replies {
            if reply.as_ref().is_err_and(is_wrong_type) {
                *reply = Ok(vec![None; fields.len()]);
            }
        }
        let checked = replies.into_iter();
        checked
            .map(|reply| reply.and_then(|values| expect_count(values, fields.len())))
            .collect()
    }

    /// What kind of value lies under each of `keys`, likewise.
    pub(super) async fn kinds(&self, keys: &[String]) -> Vec<Result<String, FredError>> {
        let client = self.client();
        let command = || CustomCommand::new_static("TYPE", ClusterHash::FirstKey, false);
        let asks = keys
            .iter()
            .map(|key| client.custom(command(), vec![key.as_str()]));
        join_all(asks).await
    }

    /// Writes `entries`, likewise.
    pub(super) async fn set_each(&self, entries: Vec<StoreEntry>) -> Vec<Result<(), FredError>> {
        let client = self.client();
        let sets = entries.into_iter().map(|entry| {
            let expire = entry
                .ttl
                .map(|ttl| Expiration::PX(ttl.as_millis().clamp(1, i64::MAX as u128) as i64));
            client.set(entry.key, entry.value, expire, None, false)
        });
        join_all(sets).await
    }

    /// Whether it was of no use so often that it is left alone for now.
    pub(super) fn rests(&self) -> bool {
        let until = self.rest.lock().until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Notes whether it has served in time.
    pub(super) fn note(&self, answered: bool) {
        self.rest.lock().note(answered, Instant::now());
    }
}

/// The client makes lost connections again by itself; it must not do so with a login that was just refused. Ends with
/// the client.
async fn watch_events(client: Client, endpoint: Arc<Endpoint>) {
    let mut errors = client.error_rx();
    loop {
        match errors.recv().await {
            Ok((error, server)) => {
                let server = server.map(|server| server.to_string());
                let reason = explain::redacted(&endpoint.config, &error);
                debug!(server, kind = ?error.kind(), reason, "redis connection lost or refused");
                if let (ErrorKind::Auth, Some(logins)) = (error.kind(), &endpoint.logins) {
                    logins.refuse();
                }
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// When to leave a silent node alone. The client gives up a silent connection only if nothing is sent for a while, and
/// in a cluster other nodes' answers wait for those of this one.
#[derive(Debug, Default)]
struct Rest {
    silent_in_a_row: u32,
    until: Option<Instant>,
}

impl Rest {
    fn note(&mut self, answered: bool, now: Instant) {
        if answered {
            *self = Self::default();
            return;
        }
        self.silent_in_a_row = self.silent_in_a_row.saturating_add(1);
        if let Some(times) = self.silent_in_a_row.checked_sub(SILENT_TIMES) {
            self.until = Some(now + RESTS.after(times).next_pause());
        }
    }
}

/// A reply with too few or too many values would give some to the wrong keys.
fn expect_count<T>(values: Vec<T>, count: usize) -> Result<Vec<T>, FredError> {
    if values.len() == count {
        return Ok(values);
    }
    let reason = format!("expected {count} values, got {}", values.len());
    Err(FredError::new(ErrorKind::Parse, reason))
}

/// A value of another type than string is stored there; no result, as with any foreign value.
fn is_wrong_type(error: &FredError) -> bool {
    error.details().starts_with("WRONGTYPE")
}

/// Without retries or queueing: callers have a budget and can do without an answer.
fn options() -> Options {
    Options {
        fail_fast: true,
        max_attempts: Some(1),
        ..Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_node_rests_for_longer_and_longer_until_it_answers() {
        let (mut rest, now) = (Rest::default(), Instant::now());
        let mut rests = Vec::new();
        for _ in 0..8 {
            rest.note(false, now);
            rests.push(rest.until.map_or(0, |until| (until - now).as_millis()));
        }
        assert_eq!(rests, [0, 0, 100, 200, 400, 800, 1000, 1000]);
        rest.note(true, now);
        assert_eq!(rest.until, None);
    }
}

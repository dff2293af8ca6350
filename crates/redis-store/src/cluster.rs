//! The servers behind an endpoint, one or a cluster's primaries, and which of them has a key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fred::error::{Error as FredError, ErrorKind};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all, select_ok};
use parking_lot::RwLock;
use score::{Backoff, StoreEntry, StoreError};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::debug;

use crate::credentials::RedisLogin;
use crate::endpoint::Endpoint;
use crate::logins::Logins;
use crate::node::Node;
use crate::renewal;
use crate::slots::{self, Shard};
use crate::table::Table;

/// Pauses between two looks at the slot table, however many redirections and errors ask for one; longer while looking
/// changes nothing, and short enough to notice a promoted replica soon.
const REFRESH_PAUSES: Backoff =
    Backoff::new(Duration::from_millis(100), Duration::from_millis(500));
/// How long a node may take to tell the slot table.
const SLOTS_TIMEOUT: Duration = Duration::from_millis(500);

/// Each primary takes a connection and about 256 KiB. Redis itself recommends at most 1,000 nodes, replicas included.
const MAX_PRIMARIES: usize = 256;

/// The servers behind an endpoint. Keys are routed here and not by the client library: its cluster mode serves no key
/// while one node is away, and sends what was redirected by ASK back to where it came from.
pub(super) struct Cluster {
    shared: Arc<Shared>,
    /// The task that keeps the slot table current; a single server needs none. It ends with this.
    refresher: Option<AbortOnDropHandle<()>>,
    /// The task that keeps the connections logged in, where logins end. It ends with this.
    _renewal: Option<AbortOnDropHandle<()>>,
}

struct Shared {
    endpoint: Arc<Endpoint>,
    /// Which node has which slots. Locked for one read or replacement at a time, never across an await.
    table: RwLock<Arc<Table>>,
    /// Wakes the refresher: something says that the table is not true any more.
    stale: Notify,
}

impl Cluster {
    /// Connects to the first of the servers that answers and, if it belongs to a cluster, to all primaries of it. One
    /// that must belong to a cluster and knows of none answers nothing.
    pub(super) async fn connect(
        endpoint: Arc<Endpoint>,
        servers: &[(String, u16)],
        login: Option<(Arc<Logins>, RedisLogin)>,
    ) -> Result<Self, FredError> {
        let attempts = servers.iter().map(|(host, port)| {
            let client = endpoint.client(host, *port, true);
            let (endpoint, clustered) = (endpoint.clone(), endpoint.config.clustered);
            Box::pin(async move {
                let mut node = Node::start(host, *port, client?, endpoint);
                node.connected_at_once().await?;
                let shards = match shards_of(&node).await {
                    Ok(shards) => shards,
                    // A proxy that hides a cluster blocks the command, a lone server has none: for us they are the same.
                    Err(error) if !clustered && !is_no_answer(&error) => Vec::new(),
                    Err(error) => return Err(error),
                };
                if clustered && shards.is_empty() {
                    let reason = "no slot of the cluster has a node";
                    return Err(FredError::new(ErrorKind::Cluster, reason));
                }
                Ok((node, shards))
            })
        });
        let ((node, shards), _) = select_ok(attempts).await?;
        if shards.is_empty() {
            return Ok(Self::over(endpoint, Table::single(node), false, login));
        }
        let table = Table::join(&endpoint, shards, &[Arc::new(node)]).await?;
        Ok(Self::over(endpoint, table, true, login))
    }

    fn over(
        endpoint: Arc<Endpoint>,
        table: Table,
        clustered: bool,
        login: Option<(Arc<Logins>, RedisLogin)>,
    ) -> Self {
        let shared = Arc::new(Shared {
            endpoint,
            table: RwLock::new(Arc::new(table)),
            stale: Notify::new(),
        });
        let refresher =
            clustered.then(|| AbortOnDropHandle::new(tokio::spawn(keep_table(shared.clone()))));
        let renewal = login.map(|(logins, login)| {
            let shared = shared.clone();
            let nodes = move || shared.table().nodes.clone();
            AbortOnDropHandle::new(tokio::spawn(renewal::keep_logged_in(nodes, logins, login)))
        });
        Self {
            shared,
            refresher,
            _renewal: renewal,
        }
    }

    /// Its servers.
    pub(super) fn nodes(&self) -> Vec<Arc<Node>> {
        self.shared.table().nodes.clone()
    }

    /// Where its servers are.
    pub(super) fn servers(&self) -> Vec<(String, u16)> {
        let table = self.shared.table();
        let nodes = table.nodes.iter();
        nodes.map(|node| (node.host.clone(), node.port)).collect()
    }

    /// Whether it is one, and not a single server.
    pub(super) fn is_clustered(&self) -> bool {
        self.refresher.is_some()
    }

    /// One round trip to each server that has some of the keys, all at the same time.
    pub(super) async fn get_many(
        &self,
        keys: Vec<String>,
        budget: Duration,
    ) -> Vec<Result<Option<Bytes>, StoreError>> {
        // A node of a cluster takes several keys in one command only if they are of one slot.
        let clustered = self.is_clustered();
        let get = move |node: Arc<Node>, keys: Vec<String>| {
            async move {
                match clustered {
                    true => node.get_each(&keys).await,
                    false => {
                        let together = node.together.clone();
                        let ask = move |keys: Vec<String>| {
                            let node = node.clone();
                            async move { node.get_at_once(&keys).await }
                        };
                        together.get(keys, budget, ask).await
                    }
                }
            }
            .boxed()
        };
        self.on_each_node(keys, String::as_bytes, get, budget).await
    }

    /// A command for each key, all sent at the same time.
    pub(super) async fn get_fields(
        &self,
        keys: Vec<String>,
        fields: Vec<String>,
        budget: Duration,
    ) -> Vec<Result<Vec<Option<Bytes>>, StoreError>> {
        let fields: Arc<[String]> = fields.into();
        let get = move |node: Arc<Node>, keys: Vec<String>| {
            let fields = fields.clone();
            async move { node.get_fields(&keys, &fields).await }.boxed()
        };
        self.on_each_node(keys, String::as_bytes, get, budget).await
    }

    /// Likewise.
    pub(super) async fn kinds(
        &self,
        keys: Vec<String>,
        budget: Duration,
    ) -> Vec<Result<String, StoreError>> {
        let ask =
            |node: Arc<Node>, keys: Vec<String>| async move { node.kinds(&keys).await }.boxed();
        self.on_each_node(keys, String::as_bytes, ask, budget).await
    }

    /// Like [`Cluster::get_many`].
    pub(super) async fn set_many(
        &self,
        entries: Vec<StoreEntry>,
        budget: Duration,
    ) -> Vec<Result<(), StoreError>> {
        let set = |node: Arc<Node>, entries| async move { node.set_each(entries).await }.boxed();
        self.on_each_node(entries, |entry| entry.key.as_bytes(), set, budget)
            .await
    }

    /// Gives every node its share of the items and puts the outcomes back into the items' order. Futures of the client are
    /// large: boxed, they are moved only once.
    async fn on_each_node<T, R>(
        &self,
        items: Vec<T>,
        key: impl Fn(&T) -> &[u8],
        command: impl Fn(Arc<Node>, Vec<T>) -> BoxFuture<'static, Vec<Result<R, FredError>>>,
        budget: Duration,
    ) -> Vec<Result<R, StoreError>> {
        let table = self.shared.table();
        let count = items.len();
        if let [only] = &table.nodes[..]
            && !self.is_clustered()
        {
            let replies = self.within(budget, only, command(only.clone(), items));
            return self.explained(&table, replies.await, count, budget);
        }
        let mut shares: Vec<(Vec<usize>, Vec<T>)> = Vec::new();
        shares.resize_with(table.nodes.len(), Default::default);
        for (place, item) in items.into_iter().enumerate() {
            if let Some(owner) = table.owner(key(&item)) {
                shares[owner].0.push(place);
                shares[owner].1.push(item);
            }
        }
        let shares = table.nodes.iter().zip(shares);
        let commands =
            shares
                .filter(|(_, (places, _))| !places.is_empty())
                .map(|(node, (places, items))| {
                    let replies = self.within(budget, node, command(node.clone(), items));
                    async move { (places, replies.await) }
                });
        let mut outcomes: Vec<Option<Result<R, StoreError>>> = Vec::new();
        outcomes.resize_with(count, || None);
        for (places, replies) in join_all(commands).await {
            let replies = self.explained(&table, replies, places.len(), budget);
            for (place, reply) in places.into_iter().zip(replies) {
                outcomes[place] = Some(reply);
            }
        }
        let outcomes = outcomes.into_iter();
        outcomes
            .map(|outcome| outcome.unwrap_or_else(|| Err(self.shared.homeless())))
            .collect()
    }

    /// The replies of a node to `count` items, or what no reply means for each of them.
    fn explained<R>(
        &self,
        table: &Table,
        replies: Option<Vec<Result<R, FredError>>>,
        count: usize,
        budget: Duration,
    ) -> Vec<Result<R, StoreError>> {
        match replies {
            Some(replies) => {
                let explain = |error| self.shared.fault(table, &error);
                replies.into_iter().map(|r| r.map_err(explain)).collect()
            }
            None => {
                let fault = self.shared.fault(table, &no_answer_within(budget));
                (0..count).map(|_| Err(fault.clone())).collect()
            }
        }
    }

    /// `None` if the node does not answer in time, or was of no use too often to be asked.
    async fn within<R>(
        &self,
        budget: Duration,
        node: &Node,
        replies: impl Future<Output = Vec<Result<R, FredError>>>,
    ) -> Option<Vec<Result<R, FredError>>> {
        // A single server is watched by the gate before the whole store.
        if self.is_clustered() && node.rests() {
            return None;
        }
        let replies = timeout(budget, replies).await.ok();
        let serves = |reply: &Result<R, FredError>| !reply.as_ref().is_err_and(is_out_of_service);
        node.note(replies.as_ref().is_some_and(|r| r.iter().all(serves)));
        replies
    }
}

impl Shared {
    fn table(&self) -> Arc<Table> {
        self.table.read().clone()
    }

    /// What an error means for the store as a whole, and for the table.
    fn fault(&self, table: &Table, error: &FredError) -> StoreError {
        let fault = self.endpoint.explain(error);
        let not_there = is_redirection(error) || is_out_of_service(error);
        if matches!(fault, StoreError::Refused(_)) && !not_there {
            return fault;
        }
        self.stale.notify_one();
        let answers = |node: &Arc<Node>| node.is_connected() && !node.rests();
        let elsewhere = table.nodes.len() > 1 && table.nodes.iter().any(answers);
        match fault {
            StoreError::Unreachable(reason) | StoreError::Refused(reason) if elsewhere => {
                StoreError::PartUnreachable(reason)
            }
            StoreError::Refused(reason) => StoreError::Unreachable(reason),
            fault => fault,
        }
    }

    /// A slot without a node, for the time being.
    fn homeless(&self) -> StoreError {
        self.stale.notify_one();
        StoreError::PartUnreachable("no node of the cluster has the slot".to_owned())
    }

    /// Asks the nodes for the slot table, another one first each time: one that comes back may know an old one.
    /// `true` if it has changed.
    async fn refresh(&self, turn: usize) -> bool {
        let mut nodes = self.table().nodes.clone();
        let turn = turn % nodes.len().max(1);
        nodes.rotate_left(turn);
        for node in nodes.iter().filter(|node| node.is_connected()) {
            let Ok(shards) = shards_of(node).await else {
                continue;
            };
            if shards.is_empty() {
                continue;
            }
            let Ok(table) = Table::join(&self.endpoint, shards, &nodes).await else {
                return false;
            };
            let mut present = self.table.write();
            let changed = !present.is_like(&table);
            if changed {
                debug!(
                    primaries = table.nodes.len(),
                    "slots of the redis cluster changed"
                );
            }
            *present = Arc::new(table);
            return changed;
        }
        false
    }
}

/// Looks at the slot table whenever something says that it has changed.
async fn keep_table(shared: Arc<Shared>) {
    let mut pauses = REFRESH_PAUSES;
    for turn in 0.. {
        shared.stale.notified().await;
        // A shard that stays away keeps asking for a look.
        if shared.refresh(turn).await {
            pauses.reset();
        }
        sleep(pauses.next_pause()).await;
    }
}

async fn shards_of(node: &Node) -> Result<Vec<Shard>, FredError> {
    let answer = timeout(SLOTS_TIMEOUT, node.cluster_slots()).await;
    let answer = answer.unwrap_or_else(|_| Err(no_answer_within(SLOTS_TIMEOUT)))?;
    let shards = slots::parse(answer, &node.host).ok_or_else(|| {
        FredError::new(ErrorKind::Parse, "CLUSTER SLOTS answers in an unknown form")
    })?;
    let primaries: HashSet<(&str, u16)> = shards
        .iter()
        .map(|shard| (shard.host.as_str(), shard.port))
        .collect();
    match primaries.len() {
        0..=MAX_PRIMARIES => Ok(shards),
        count => {
            let reason = format!(
                "the cluster says that it has {count} primaries; at most {MAX_PRIMARIES} are accepted"
            );
            Err(FredError::new(ErrorKind::Routing, reason))
        }
    }
}

fn no_answer_within(time: Duration) -> FredError {
    FredError::new(ErrorKind::Timeout, format!("no answer within {time:?}"))
}

/// Whether nothing is known of a server's slots, or nothing that can be used.
fn is_no_answer(error: &FredError) -> bool {
    matches!(
        error.kind(),
        ErrorKind::IO
            | ErrorKind::Canceled
            | ErrorKind::Timeout
            | ErrorKind::Protocol
            | ErrorKind::Routing
    )
}

/// The key is, or is about to be, on another node.
pub(super) fn is_redirection(error: &FredError) -> bool {
    let word = error.details().split(' ').next();
    matches!(word, Some("MOVED" | "ASK" | "TRYAGAIN"))
}

/// The node serves no key at present, though another one may have taken over.
fn is_out_of_service(error: &FredError) -> bool {
    let word = error.details().split(' ').next();
    matches!(word, Some("CLUSTERDOWN" | "LOADING" | "MASTERDOWN"))
}

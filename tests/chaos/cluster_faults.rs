//! What happens to a cluster's shards, and to its slots.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use futures_util::future::{FutureExt, LocalBoxFuture, join_all};

use super::fault::Effect::{Misses, Outage};
use super::fault::{Backend, Fault};
use super::pair::tell;
use crate::support::redis::RedisServer;
use crate::support::redis_cluster::RedisCluster;
use functions_host::host::HostOptions;

/// Primary and replica of the shard that fails over.
const FAILING: [usize; 2] = [0, 3];
/// Those of the shard that is lost as a whole.
const LOST: [usize; 2] = [1, 4];
/// A node that nothing happens to.
const WITNESS: usize = 2;

/// Three primaries with a replica each; the handler is told of one node.
#[derive(Debug)]
pub(crate) struct Cluster {
    nodes: RedisCluster,
    /// The primary that was killed last.
    killed: AtomicUsize,
    /// Slots that are half moved.
    moving: Mutex<Vec<Move>>,
}

#[derive(Clone, Copy, Debug)]
struct Move {
    slot: u16,
    to: usize,
}

impl Cluster {
    /// Starts it.
    pub(crate) async fn start() -> Self {
        Self {
            nodes: RedisCluster::start().await,
            killed: AtomicUsize::new(0),
            moving: Mutex::default(),
        }
    }

    fn lost(&self) -> impl Iterator<Item = &RedisServer> {
        LOST.into_iter().map(|node| self.nodes.node(node))
    }

    /// Whether all shards refuse to serve while one is gone, as they do by default.
    async fn cover(&self, all_or_nothing: &str) {
        let set = format!("CONFIG SET cluster-require-full-coverage {all_or_nothing}");
        join_all(self.nodes.all().iter().map(|node| tell(node, &set))).await;
    }
}

impl Backend for Cluster {
    fn settings(&self) -> HostOptions {
        HostOptions::default().setting("REDIS_URL", self.nodes.url())
    }

    fn prepare(&self) -> LocalBoxFuture<'_, ()> {
        async {
            for primary in self.nodes.primaries(WITNESS).await {
                tell(self.nodes.node(primary), "FLUSHALL").await;
            }
        }
        .boxed_local()
    }
}

/// All of them. Slots move last: some shard has no known rows any more then.
pub(crate) fn list() -> Vec<Fault<Cluster>> {
    vec![
        Fault::<Cluster>::new(
            "cluster: primary killed, replica promoted",
            Misses,
            |c| kill_primary(c).boxed_local(),
            |c| {
                let promoted = c.nodes.partner(c.killed.load(Ordering::Relaxed));
                c.nodes.wait_until_promoted(promoted).boxed_local()
            },
        )
        .tidied_by(|c| {
            async {
                let killed = c.killed.load(Ordering::Relaxed);
                c.nodes.node(killed).restart().await;
                c.nodes.wait_until_healthy().await;
            }
            .boxed_local()
        }),
        Fault::<Cluster>::new(
            "cluster: a shard's primary and replica frozen",
            Misses,
            |c| async { c.lost().for_each(RedisServer::pause) }.boxed_local(),
            |c| {
                async {
                    c.lost().for_each(RedisServer::resume);
                    join_all(LOST.map(|node| c.nodes.wait_until_served(node))).await;
                }
                .boxed_local()
            },
        )
        .prepared_by(|c| c.cover("no").boxed_local())
        .tidied_by(|c| {
            async {
                c.nodes.wait_until_healthy().await;
                c.cover("yes").await;
            }
            .boxed_local()
        }),
        Fault::<Cluster>::new(
            "cluster: down without one shard (CLUSTERDOWN)",
            Outage,
            |c| {
                async {
                    c.lost().for_each(RedisServer::stop);
                    c.nodes.wait_until_down(WITNESS).await;
                }
                .boxed_local()
            },
            |c| {
                async {
                    join_all(c.lost().map(RedisServer::restart)).await;
                    c.nodes.wait_until_healthy().await;
                }
                .boxed_local()
            },
        ),
        Fault::new(
            "cluster: slots on the move (ASK)",
            Misses,
            |c| begin_moves(c).boxed_local(),
            |c| finish_moves(c).boxed_local(),
        ),
    ]
}

async fn kill_primary(cluster: &Cluster) {
    let primaries = cluster.nodes.primaries(WITNESS).await;
    let primary = FAILING.into_iter().find(|node| primaries.contains(node));
    let primary = primary.expect("the shard has a primary");
    cluster.killed.store(primary, Ordering::Relaxed);
    cluster.nodes.node(primary).stop();
}

/// Slots go from the fullest shard to the emptiest.
async fn begin_moves(cluster: &Cluster) {
    let nodes = &cluster.nodes;
    let mut primaries = Vec::new();
    for node in nodes.primaries(WITNESS).await {
        primaries.push((nodes.node(node).key_count().await, node));
    }
    primaries.sort_unstable();
    let [(_, to), .., (_, from)] = primaries[..] else {
        panic!("no three primaries: {primaries:?}");
    };
    for (slot, _) in nodes.slots_with_keys(from).await {
        nodes.begin_move(slot, from, to).await;
        let mut moving = cluster
            .moving
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        moving.push(Move { slot, to });
    }
}

async fn finish_moves(cluster: &Cluster) {
    let moves = std::mem::take(
        &mut *cluster
            .moving
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
    );
    for Move { slot, to } in moves {
        cluster.nodes.finish_move(slot, to).await;
    }
}

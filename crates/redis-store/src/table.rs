//! Which node has which slots.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use fred::error::Error as FredError;
use fred::util::redis_keyslot;
use futures_util::future::join_all;
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::node::Node;
use crate::slots::Shard;

/// How long a node that is new in the table is waited for; a dead one must not hold up the others.
const JOIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Nodes, and the ranges of slots with the place of their node, in order of the slots.
pub(super) struct Table {
    pub(super) nodes: Vec<Arc<Node>>,
    ranges: Vec<(RangeInclusive<u16>, usize)>,
}

impl Table {
    /// One node that has everything.
    pub(super) fn single(node: Node) -> Self {
        Self {
            nodes: vec![Arc::new(node)],
            ranges: vec![(0..=u16::MAX, 0)],
        }
    }

    /// The table of `shards`, which are in order. Nodes that are known stay connected, new ones are given a moment to
    /// get there.
    pub(super) async fn join(
        endpoint: &Arc<Endpoint>,
        shards: Vec<Shard>,
        known: &[Arc<Node>],
    ) -> Result<Self, FredError> {
        let (mut nodes, mut new) = (Vec::new(), Vec::new());
        let mut places: Vec<(String, u16)> = Vec::new();
        let mut ranges = Vec::new();
        for Shard { slots, host, port } in shards {
            let place = (host, port);
            if let Some(node) = places.iter().position(|known| *known == place) {
                ranges.push((slots, node));
                continue;
            }
            ranges.push((slots, places.len()));
            places.push(place);
        }
        for (host, port) in &places {
            let node = known.iter().find(|node| node.is_usable_at(host, *port));
            let node = match node {
                Some(node) => node.clone(),
                None => {
                    let client = endpoint.client(host, *port, false)?;
                    let node = Arc::new(Node::start(host, *port, client, endpoint.clone()));
                    new.push(node.clone());
                    node
                }
            };
            nodes.push(node);
        }
        join_all(
            new.iter()
                .map(|node| timeout(JOIN_TIMEOUT, node.connected())),
        )
        .await;
        Ok(Self { nodes, ranges })
    }

    /// Whether it leads every key to the same place.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let places = |table: &Self| -> Vec<(String, u16)> {
            let nodes = table.nodes.iter();
            nodes.map(|node| (node.host.clone(), node.port)).collect()
        };
        self.ranges == other.ranges && places(self) == places(other)
    }

    /// The place of the node that has the key; `None` if no node has its slot.
    pub(super) fn owner(&self, key: &[u8]) -> Option<usize> {
        let slot = redis_keyslot(key);
        let after = self
            .ranges
            .partition_point(|(slots, _)| *slots.start() <= slot);
        let (slots, node) = self.ranges.get(after.checked_sub(1)?)?;
        slots.contains(&slot).then_some(*node)
    }
}

//! A private Redis cluster on loopback: three primaries with a replica each.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;

use super::certificates::Certificates;
use super::redis::{RedisOptions, RedisServer};
use super::resp::RespValue;
use functions_host::{eventually, port};

const PRIMARIES: usize = 3;
const NODES: usize = 2 * PRIMARIES;
const SLOTS: u16 = 16_384;

/// How the cluster is set up.
#[derive(Clone, Debug)]
pub(crate) struct ClusterOptions {
    server: RedisOptions,
    tls: bool,
    full_coverage: bool,
    node_timeout: Duration,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            server: RedisOptions::default(),
            tls: false,
            full_coverage: true,
            node_timeout: Duration::from_secs(1),
        }
    }
}

impl ClusterOptions {
    /// Clients must authenticate.
    pub(crate) fn password(mut self, password: &str) -> Self {
        self.server = self
            .server
            .password(password)
            .argument("--masterauth", password);
        self
    }

    /// With TLS as on Azure: nodes announce their address, the certificate is made out to localhost only.
    pub(crate) fn tls(mut self) -> Self {
        self.tls = true;
        self
    }

    /// The other shards go on serving while one is gone.
    pub(crate) fn partial_coverage(mut self) -> Self {
        self.full_coverage = false;
        self
    }
}

/// What clients have asked of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientWork {
    /// GET commands.
    pub(crate) gets: i64,
    /// Times it read from a connection of any client, this test included.
    pub(crate) reads: i64,
}

/// A running cluster; its nodes are killed when it is dropped.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    nodes: Vec<RedisServer>,
    bus_ports: Vec<u16>,
    options: ClusterOptions,
    folder: TempDir,
}

impl RedisCluster {
    /// Starts a plain cluster without a password.
    pub(crate) async fn start() -> Self {
        Self::start_with(ClusterOptions::default()).await
    }

    /// Starts a cluster and waits until all its nodes agree.
    ///
    /// # Panics
    ///
    /// If `redis-server` is missing or the nodes do not agree in time.
    pub(crate) async fn start_with(mut options: ClusterOptions) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        if options.tls {
            let certificates = Certificates::create(folder.path(), &["localhost"], false);
            options.server = options
                .server
                .tls_with(&certificates)
                .argument("--tls-cluster", "yes")
                .argument("--tls-replication", "yes");
        }
        let bus_ports: Vec<u16> = (0..NODES).map(|_| port::free()).collect();
        let nodes = join_all(bus_ports.iter().map(|bus_port| {
            let coverage = if options.full_coverage { "yes" } else { "no" };
            let server = options
                .server
                .clone()
                .argument("--cluster-enabled", "yes")
                .argument("--cluster-port", &bus_port.to_string())
                .argument("--cluster-announce-ip", "127.0.0.1")
                .argument(
                    "--cluster-node-timeout",
                    &options.node_timeout.as_millis().to_string(),
                )
                .argument("--cluster-require-full-coverage", coverage)
                .argument("--cluster-replica-validity-factor", "0")
                .argument("--repl-diskless-sync-delay", "0");
            RedisServer::start_with(server)
        }))
        .await;
        let cluster = Self {
            nodes,
            bus_ports,
            options,
            folder,
        };
        cluster.form().await;
        cluster
    }

    async fn form(&self) {
        let per_shard = SLOTS.div_ceil(PRIMARIES as u16);
        for primary in 0..PRIMARIES {
            let first = primary as u16 * per_shard;
            let last = (first + per_shard).min(SLOTS) - 1;
            let (first, last) = (first.to_string(), last.to_string());
            self.cluster(primary, &["ADDSLOTSRANGE", &first, &last])
                .await;
            let epoch = (primary + 1).to_string();
            self.cluster(primary, &["SET-CONFIG-EPOCH", &epoch]).await;
        }
        for other in 1..NODES {
            let (port, bus) = (self.cluster_port(other), self.bus_ports[other].to_string());
            self.cluster(0, &["MEET", "127.0.0.1", &port, &bus]).await;
        }
        for replica in PRIMARIES..NODES {
            let primary = self.id(replica - PRIMARIES).await;
            let known = async || self.nodes_seen_by(replica).await.contains(&primary);
            eventually("the nodes have met", known).await;
            self.cluster(replica, &["REPLICATE", &primary]).await;
        }
        self.wait_until_healthy().await;
    }

    /// Address of one node for clients, with the password if any: `redis-cluster://` or `rediss-cluster://`.
    pub(crate) fn url(&self) -> String {
        self.node_url(0).replacen("://", "-cluster://", 1)
    }

    /// The same with three nodes.
    pub(crate) fn url_of_several(&self) -> String {
        let others: Vec<String> = [1, 4].map(|node| self.place(node)).to_vec();
        format!("{},{}", self.url(), others.join(","))
    }

    /// `redis://` or `rediss://` and one node, as if there was no cluster.
    pub(crate) fn node_url(&self, node: usize) -> String {
        self.nodes[node].url()
    }

    /// Host and port for clients.
    pub(crate) fn place(&self, node: usize) -> String {
        match self.options.tls {
            true => format!("localhost:{}", self.nodes[node].tls_port()),
            false => format!("127.0.0.1:{}", self.nodes[node].port()),
        }
    }

    /// The authority that signed the nodes' certificate.
    pub(crate) fn ca_file(&self) -> &Path {
        self.nodes[0].ca_file()
    }

    /// The six servers.
    pub(crate) fn all(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// One of the six servers.
    pub(crate) fn node(&self, node: usize) -> &RedisServer {
        &self.nodes[node]
    }

    /// The nodes that are primaries now, by the judgement of `witness`.
    pub(crate) async fn primaries(&self, witness: usize) -> Vec<usize> {
        let table = self.nodes_seen_by(witness).await;
        let is_primary = |line: &&str| line.contains("master") && !line.contains("fail");
        let ports: Vec<String> = table
            .lines()
            .filter(is_primary)
            .filter_map(|line| Some(line.split([':', '@']).nth(1)?.to_owned()))
            .collect();
        (0..NODES)
            .filter(|node| ports.contains(&self.nodes[*node].port().to_string()))
            .collect()
    }

    /// The replica that a node had at the start; the other way round too.
    pub(crate) fn partner(&self, node: usize) -> usize {
        (node + PRIMARIES) % NODES
    }

    /// Waits until `node` has taken the place of a dead primary, and the cluster serves all slots again.
    pub(crate) async fn wait_until_promoted(&self, node: usize) {
        let promoted =
            async || self.primaries(node).await.contains(&node) && self.is_ok(node).await;
        eventually("the replica is promoted", promoted).await;
    }

    /// Waits until every node sees all six, all slots are served, and all replicas follow.
    pub(crate) async fn wait_until_healthy(&self) {
        for node in 0..NODES {
            let healthy = async || {
                let table = self.nodes_seen_by(node).await;
                let settled = !["fail", "handshake", "disconnected"]
                    .iter()
                    .any(|word| table.contains(word));
                settled
                    && table.lines().count() == NODES
                    && table.matches("slave").count() == NODES - PRIMARIES
                    && self.is_ok(node).await
                    && self.follows_or_leads(node).await
            };
            eventually("the cluster is healthy", healthy).await;
        }
    }

    /// Waits until not all slots are served, by the judgement of `witness`.
    pub(crate) async fn wait_until_down(&self, witness: usize) {
        let down = async || !self.is_ok(witness).await;
        eventually("the cluster is down", down).await;
    }

    /// Waits until all slots are served, by the judgement of `witness`.
    pub(crate) async fn wait_until_served(&self, witness: usize) {
        let served = async || self.is_ok(witness).await;
        eventually("all slots are served", served).await;
    }

    /// Makes a node miss a slot, so that it answers CLUSTERDOWN only. The others do not know.
    pub(crate) async fn take_out_of_service(&self, node: usize) {
        self.cluster(node, &["DELSLOTS", "0"]).await;
        let down = async || !self.is_ok(node).await;
        eventually("the node is out of service", down).await;
    }

    /// SIGSTOP for all nodes; well below the node timeout the cluster does not notice.
    pub(crate) fn pause_all(&self) {
        self.nodes.iter().for_each(RedisServer::pause);
    }

    /// SIGCONT for all nodes.
    pub(crate) fn resume_all(&self) {
        self.nodes.iter().for_each(RedisServer::resume);
    }

    async fn is_ok(&self, node: usize) -> bool {
        let state = self.nodes[node].command(&[b"CLUSTER", b"INFO"]).await;
        state.text().contains("cluster_state:ok")
    }

    async fn follows_or_leads(&self, node: usize) -> bool {
        let state = self.nodes[node]
            .command(&[b"INFO", b"replication"])
            .await
            .text();
        state.contains("role:master") || state.contains("master_link_status:up")
    }

    /// Keys of all primaries that run.
    pub(crate) async fn key_count(&self, witness: usize) -> i64 {
        let mut count = 0;
        for node in self.primaries(witness).await {
            count += self.nodes[node].key_count().await;
        }
        count
    }

    /// Waits until the primaries hold at least `count` keys.
    pub(crate) async fn wait_for_keys(&self, count: i64) {
        let enough = async || self.key_count(0).await >= count;
        eventually("the keys are there", enough).await;
    }

    /// What clients have asked of each node.
    pub(crate) async fn client_work(&self) -> Vec<ClientWork> {
        join_all(self.nodes.iter().map(async |node| ClientWork {
            gets: calls(
                &node.command(&[b"INFO", b"commandstats"]).await.text(),
                "get",
            ),
            reads: node.info("total_reads_processed").await,
        }))
        .await
    }

    /// Slots that have keys on `node`, with the keys.
    pub(crate) async fn slots_with_keys(&self, node: usize) -> Vec<(u16, Vec<Vec<u8>>)> {
        let mut slots: Vec<(u16, Vec<Vec<u8>>)> = Vec::new();
        for key in self.nodes[node].keys("*").await {
            let reply = self.nodes[node]
                .command(&[b"CLUSTER", b"KEYSLOT", &key])
                .await;
            let slot = reply.integer() as u16;
            match slots.iter_mut().find(|(known, _)| *known == slot) {
                Some((_, keys)) => keys.push(key),
                None => slots.push((slot, vec![key])),
            }
        }
        slots
    }

    /// First half of moving a slot: its keys are on `to`, yet it still belongs to `from`, which answers ASK.
    pub(crate) async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, from_id, to_id) = (slot.to_string(), self.id(from).await, self.id(to).await);
        self.cluster(to, &["SETSLOT", &slot, "IMPORTING", &from_id])
            .await;
        self.cluster(from, &["SETSLOT", &slot, "MIGRATING", &to_id])
            .await;
        // From now on there are no new ones.
        let keys: [&[u8]; 4] = [b"CLUSTER", b"GETKEYSINSLOT", slot.as_bytes(), b"1000"];
        let keys = self.nodes[from].command(&keys).await;
        let keys = keys.elements().iter().filter_map(RespValue::bytes);
        let port = self.cluster_port(to);
        let mut migrate: Vec<&[u8]> = [
            &b"MIGRATE"[..],
            b"127.0.0.1",
            port.as_bytes(),
            b"",
            b"0",
            b"5000",
            b"REPLACE",
            b"KEYS",
        ]
        .to_vec();
        migrate.extend(keys);
        let reply = self.nodes[from].command(&migrate).await;
        assert!(matches!(reply, RespValue::Simple(_)), "MIGRATE: {reply:?}");
    }

    /// Second half: the slot belongs to `to`, and all nodes hear of it.
    pub(crate) async fn finish_move(&self, slot: u16, to: usize) {
        let (slot, id) = (slot.to_string(), self.id(to).await);
        self.cluster(to, &["SETSLOT", &slot, "NODE", &id]).await;
        for node in self.primaries(to).await {
            self.cluster(node, &["SETSLOT", &slot, "NODE", &id]).await;
        }
    }

    async fn cluster(&self, node: usize, arguments: &[&str]) {
        let mut command: Vec<&[u8]> = vec![b"CLUSTER"];
        command.extend(arguments.iter().map(|argument| argument.as_bytes()));
        let reply = self.nodes[node].command(&command).await;
        assert_eq!(reply, RespValue::Simple("OK".to_owned()), "{arguments:?}");
    }

    async fn id(&self, node: usize) -> String {
        let reply = self.nodes[node].command(&[b"CLUSTER", b"MYID"]).await;
        reply.text()
    }

    async fn nodes_seen_by(&self, node: usize) -> String {
        let reply = self.nodes[node].command(&[b"CLUSTER", b"NODES"]).await;
        reply.text()
    }

    /// The port that nodes use among each other. Clients are told the one for their kind of connection.
    fn cluster_port(&self, node: usize) -> String {
        let node = &self.nodes[node];
        match self.options.tls {
            true => node.tls_port().to_string(),
            false => node.port().to_string(),
        }
    }
}

/// `cmdstat_get:calls=3,usec=...`
fn calls(stats: &str, command: &str) -> i64 {
    let prefix = format!("cmdstat_{command}:calls=");
    let line = stats.lines().find_map(|line| line.strip_prefix(&prefix));
    let count = line.and_then(|line| line.split(',').next()?.parse().ok());
    count.unwrap_or(0)
}

//! Redis clusters as Azure offers them: found out, asked shard by shard, and followed when slots and primaries change.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::memo::{cache, score};
use crate::protocol_cases::figure;
use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::redis::{RedisOptions, RedisServer};
use crate::support::redis_cluster::{ClusterOptions, RedisCluster};
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use functions_host::port;
use functions_host::process::LogLine;
use functions_host::{PATIENCE, eventually};

/// Failures of probes and connections that take longer than connections are left to heal.
const ATTEMPTS: i64 = 8;
/// Enough rows for every shard to have its share.
const ROWS: usize = 100;

/// A handler whose hits are all of Redis; connected, with a second for each look-up: the machine may be busy.
async fn with_redis(app: &AppRoot, url: &str) -> FunctionsHost {
    started(
        app,
        [
            ("REDIS_URL", url),
            ("REDIS_TIMEOUT", "3s"),
            ("SCORE_L1_BYTES", "0"),
        ],
    )
    .await
}

async fn started<const N: usize>(app: &AppRoot, settings: [(&str, &str); N]) -> FunctionsHost {
    let host = FunctionsHost::start(app, settings).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    host
}

/// Whether all rows come out of Redis, and right.
async fn all_hit(host: &FunctionsHost, digits: &Digits) -> bool {
    let answer = score(host, &digits.body(0..ROWS)).await;
    assert_eq!(answer.json(), digits.answer(0..ROWS));
    cache(&answer) == "HIT"
}

/// Waits until all rows hit; the limits are wide for the sake of busy machines.
async fn hits_again(host: &FunctionsHost, digits: &Digits, limit: Duration) {
    let start = Instant::now();
    while !all_hit(host, digits).await {
        assert!(start.elapsed() < limit, "no hits within {limit:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Scores all rows once, so that they are in Redis.
async fn fill(host: &FunctionsHost, digits: &Digits, cluster: &RedisCluster) {
    score(host, &digits.body(0..ROWS)).await;
    cluster.wait_for_keys(ROWS as i64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_all_shards_are_found_again_with_one_round_trip_to_each() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start().await;
    let host = with_redis(&app, &cluster.url()).await;
    host.wait_for_log("redis is a cluster", PATIENCE).await;
    fill(&host, &digits, &cluster).await;
    for primary in 0..3 {
        assert!(cluster.node(primary).key_count().await > ROWS as i64 / 6);
    }

    // While the nodes stand still everything that waits for no answer is sent, and then read at once.
    let before = cluster.client_work().await;
    let frozen = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        cluster.resume_all();
    };
    cluster.pause_all();
    let body = digits.body(0..ROWS);
    let (answer, ()) = tokio::join!(score(&host, &body), frozen);
    let after = cluster.client_work().await;
    assert_eq!(cache(&answer), "HIT");
    for primary in 0..3 {
        let keys = cluster.node(primary).key_count().await;
        let gets = after[primary].gets - before[primary].gets;
        let reads = after[primary].reads - before[primary].reads;
        assert_eq!(gets, keys, "primary {primary}");
        // One is the look-up's; the others are those of replicas and of the questions above.
        assert!(reads < 12, "primary {primary}: {reads} reads, {gets} GETs");
    }

    let second = with_redis(&app, &cluster.url()).await;
    assert!(all_hit(&second, &digits).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_found_by_several_nodes_of_which_one_is_dead() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start_with(ClusterOptions::default().password("s3cret")).await;
    let host = with_redis(&app, &cluster.url()).await;
    fill(&host, &digits, &cluster).await;
    cluster.node(4).stop();
    let second = with_redis(&app, &cluster.url_of_several()).await;
    assert!(all_hit(&second, &digits).await);
    for line in second.logs() {
        assert!(!line.text.contains("s3cret"), "{}", line.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_left_its_cluster_does_not_hide_it() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start().await;
    let bus = port::free().to_string();
    let lone = RedisOptions::default()
        .argument("--cluster-enabled", "yes")
        .argument("--cluster-port", &bus);
    let lone = RedisServer::start_with(lone).await;
    let first = format!("://127.0.0.1:{},", lone.port());
    let url = cluster.url().replacen("://", &first, 1);
    for _ in 0..5 {
        let host = with_redis(&app, &url).await;
        // Whichever of the two answers first.
        let gave_up = |line: &LogLine| line.text.contains("cannot be used");
        assert!(!host.logs().iter().any(gave_up));
        fill(&host, &digits, &cluster).await;
        assert!(all_hit(&host, &digits).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_few_rights_is_told_which_one_a_cluster_takes() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start().await;
    let allow = async |right: &str| {
        for node in 0..6 {
            let user = format!("ACL SETUSER app on >pw ~score:* {right}");
            let user: Vec<&[u8]> = user.split(' ').map(str::as_bytes).collect();
            cluster.node(node).command(&user).await;
        }
    };
    allow("+get +mget +set").await;
    let url = cluster.url().replacen("://", "://app:pw@", 1);
    let host = FunctionsHost::start(&app, [("REDIS_URL", url.as_str())]).await;
    host.wait_for_log(r"with a cluster \+cluster\|slots", PATIENCE)
        .await;
    allow("+cluster|slots").await;
    let host = with_redis(&app, &url).await;
    fill(&host, &digits, &cluster).await;
    assert!(all_hit(&host, &digits).await);
}

/// What people paste whose cache has Azure Managed Redis' default policy: it names no cluster, and with TLS the nodes
/// announce addresses for which there are no certificates.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_found_out_also_behind_tls_and_announced_addresses() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster =
        RedisCluster::start_with(ClusterOptions::default().tls().password("p+w/=x")).await;
    let authority = cluster.ca_file().to_str().unwrap();
    let portal = format!(
        "{},password=p+w/=x,ssl=True,abortConnect=False",
        cluster.place(0)
    );
    for (name, value) in [
        ("REDIS_URL", cluster.url()),
        ("REDIS_URL", cluster.node_url(1)),
        ("REDIS_CONNECTION_STRING", portal),
    ] {
        let settings = [
            (name, value.as_str()),
            ("REDIS_CA_FILE", authority),
            ("REDIS_TIMEOUT", "3s"),
            ("SCORE_L1_BYTES", "0"),
        ];
        let host = started(&app, settings).await;
        host.wait_for_log("redis is a cluster", PATIENCE).await;
        fill(&host, &digits, &cluster).await;
        assert!(all_hit(&host, &digits).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_found_out_by_the_address_of_any_node() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start().await;
    for node in [0, 3] {
        let host = with_redis(&app, &cluster.node_url(node)).await;
        host.wait_for_log("redis is a cluster", PATIENCE).await;
        fill(&host, &digits, &cluster).await;
        assert!(all_hit(&host, &digits).await);
    }
}

/// A proxy that hides a cluster, as with Azure Managed Redis' Enterprise policy, refuses its commands.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_blocks_cluster_commands_is_used_as_it_is() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start_with(RedisOptions::default()).await;
    redis
        .command(&[b"ACL", b"SETUSER", b"default", b"-cluster"])
        .await;
    let host = with_redis(&app, &redis.url()).await;
    host.wait_for_log("redis is a single endpoint", PATIENCE)
        .await;
    score(&host, &digits.body(0..ROWS)).await;
    redis.wait_for_keys(ROWS as i64, PATIENCE).await;
    assert!(all_hit(&host, &digits).await);
}

/// The same proxy where it refuses commands with keys of several slots.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_refuses_keys_of_several_slots_is_asked_for_each() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let options = RedisOptions::default()
        .argument("--cluster-enabled", "yes")
        .argument("--cluster-port", &port::free().to_string());
    let redis = RedisServer::start_with(options).await;
    redis
        .command(&[b"CLUSTER", b"ADDSLOTSRANGE", b"0", b"16383"])
        .await;
    redis
        .command(&[b"ACL", b"SETUSER", b"default", b"-cluster"])
        .await;
    let host = with_redis(&app, &redis.url()).await;
    host.wait_for_log("redis is a single endpoint", PATIENCE)
        .await;
    score(&host, &digits.body(0..ROWS)).await;
    redis.wait_for_keys(ROWS as i64, PATIENCE).await;
    assert!(all_hit(&host, &digits).await);
}

/// Sixteen clients score one to four rows each while `change` happens. No request may fail, no answer be wrong.
async fn while_scoring(host: &FunctionsHost, digits: &Digits, change: impl Future<Output = ()>) {
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let clients = (0..16).map(|client| {
        let (done, served) = (&done, &served);
        async move {
            let mut row = client * 5;
            while !done.load(Ordering::Relaxed) {
                let rows: Vec<usize> = (row..row + 1 + client % 4).map(|row| row % ROWS).collect();
                let answer = score(host, &digits.body(rows.clone())).await;
                assert_eq!(answer.json(), digits.answer(rows));
                served.fetch_add(1, Ordering::Relaxed);
                row += 7;
            }
        }
    });
    let change = async {
        change.await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(futures_util::future::join_all(clients), change);
    assert!(served.load(Ordering::Relaxed) > 32, "{served:?} requests");
    assert_eq!(host.error_logs(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_move_cost_no_request_and_are_found_at_their_new_place() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start().await;
    let host = with_redis(&app, &cluster.url()).await;
    fill(&host, &digits, &cluster).await;
    while_scoring(&host, &digits, async {
        let (half_way, whole) = {
            let mut slots = cluster.slots_with_keys(0).await;
            (slots.pop().unwrap(), slots)
        };
        for (slot, _) in &whole {
            cluster.begin_move(*slot, 0, 1).await;
            cluster.finish_move(*slot, 1).await;
        }
        hits_again(&host, &digits, PATIENCE).await;
        // Now the one whose keys answer ASK: misses, until the move is done.
        let (slot, keys) = half_way;
        cluster.begin_move(slot, 0, 1).await;
        let count = keys.len();
        let give_up = Instant::now() + PATIENCE;
        let mut asked = score(&host, &digits.body(0..ROWS)).await;
        // Rows that another request computes at that moment count as found.
        while cache(&asked) == "HIT" {
            assert!(Instant::now() < give_up, "keys that answer ASK are found");
            asked = score(&host, &digits.body(0..ROWS)).await;
        }
        assert!((ROWS - count..ROWS).contains(&hits(&asked)));
        cluster.finish_move(slot, 1).await;
        hits_again(&host, &digits, PATIENCE).await;
        assert_eq!(cluster.node(0).key_count().await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_primary_costs_no_request_and_its_replica_takes_over() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start().await;
    let host = with_redis(&app, &cluster.url()).await;
    fill(&host, &digits, &cluster).await;
    while_scoring(&host, &digits, async {
        // The node that the URL names.
        cluster.node(0).stop();
        cluster.wait_until_promoted(cluster.partner(0)).await;
        hits_again(&host, &digits, PATIENCE).await;
        cluster.node(0).restart().await;
        cluster.wait_until_healthy().await;
        hits_again(&host, &digits, PATIENCE).await;
    })
    .await;
}

/// Rows that were found, of a request of which only some were.
fn hits(answer: &Answer) -> usize {
    let found = cache(answer).strip_prefix("PARTIAL; hits=");
    let count = found.and_then(|rest| rest.split(',').next()?.parse().ok());
    count.unwrap_or_else(|| panic!("{}", cache(answer)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_shard_costs_its_own_rows_and_no_others() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let options = ClusterOptions::default().partial_coverage();
    let cluster = RedisCluster::start_with(options).await;
    let host = with_redis(&app, &cluster.url()).await;
    fill(&host, &digits, &cluster).await;
    let lost = cluster.node(0).key_count().await as usize;
    cluster.node(cluster.partner(0)).stop();
    cluster.node(0).stop();
    tokio::time::sleep(Duration::from_millis(500)).await;
    while_scoring(&host, &digits, async {
        let end = Instant::now() + Duration::from_secs(4);
        while Instant::now() < end {
            let answer = score(&host, &digits.body(0..ROWS)).await;
            assert_eq!(answer.json(), digits.answer(0..ROWS));
            // More than are left where a client beside this one computes some of the others at the moment.
            let hits = hits(&answer);
            assert!((ROWS - lost..ROWS).contains(&hits), "{hits} hits");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let gave_up = |line: &LogLine| line.text.contains("does not answer");
        assert!(!host.logs().iter().any(gave_up));
    })
    .await;
}

/// A primary that was cut off from the others, or reads its data from a disk, answers: that it serves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_out_of_service_costs_its_own_rows_and_no_others() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start().await;
    let host = with_redis(&app, &cluster.url()).await;
    fill(&host, &digits, &cluster).await;
    let lost = cluster.node(0).key_count().await as usize;
    cluster.take_out_of_service(0).await;
    let mut hits = 0;
    for row in 0..ROWS {
        // Often enough in a row to shut the gate.
        for _ in 0..4 {
            let answer = score(&host, &digits.body([row])).await;
            assert_eq!(answer.json(), digits.answer([row]));
            assert_ne!(cache(&answer), "BYPASS", "row {row}");
            hits += usize::from(cache(&answer) == "HIT");
        }
    }
    assert_eq!(hits, 4 * (ROWS - lost));
    let gave_up = |line: &LogLine| line.text.contains("does not answer");
    assert!(!host.logs().iter().any(gave_up));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_shard_soon_delays_nobody() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let options = ClusterOptions::default().partial_coverage();
    let cluster = RedisCluster::start_with(options).await;
    let url = cluster.url();
    let budget = Duration::from_secs(3);
    let settings = [
        ("REDIS_URL", url.as_str()),
        ("REDIS_TIMEOUT", "3s"),
        ("SCORE_L1_BYTES", "0"),
    ];
    let host = started(&app, settings).await;
    fill(&host, &digits, &cluster).await;
    let lost = cluster.node(2).key_count().await as usize;
    cluster.node(cluster.partner(2)).stop();
    cluster.node(2).pause();
    let partly = format!("PARTIAL; hits={}, rows={ROWS}", ROWS - lost);
    let give_up = Instant::now() + PATIENCE;
    let mut quick = 0;
    while quick < 5 {
        let start = Instant::now();
        let answer = score(&host, &digits.body(0..ROWS)).await;
        quick += usize::from(start.elapsed() < budget);
        assert_eq!(
            (cache(&answer), answer.json()),
            (partly.as_str(), digits.answer(0..ROWS))
        );
        assert!(Instant::now() < give_up, "all wait for the frozen shard");
    }
    cluster.node(2).resume();
    hits_again(&host, &digits, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_is_down_costs_no_request_and_comes_back() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let cluster = RedisCluster::start().await;
    let host = with_redis(&app, &cluster.url()).await;
    fill(&host, &digits, &cluster).await;
    while_scoring(&host, &digits, async {
        // The node that the URL names is gone for good.
        cluster.node(0).stop();
        cluster.wait_until_promoted(cluster.partner(0)).await;
        // Without primary and replica of one shard no shard serves: CLUSTERDOWN.
        for node in [cluster.partner(1), 1] {
            cluster.node(node).stop();
        }
        // The fall itself may go unsaid, so soon after the last one; that it lasts is said below.
        let give_up = Instant::now() + PATIENCE;
        while cache(&score(&host, &digits.body([0])).await) != "BYPASS" {
            assert!(Instant::now() < give_up, "a cluster that is down is asked");
        }
        // Long enough for the connections to be given up and restored.
        let errors = "score_cache_redis_errors_total";
        let before = figure(&host, errors).await;
        eventually("the cluster is not tried again", async || {
            figure(&host, errors).await >= before + ATTEMPTS
        })
        .await;
        for node in [1, cluster.partner(1)] {
            cluster.node(node).restart().await;
        }
        cluster.wait_until_served(2).await;
        // Nothing of the restarted shard is left; what is scored now is found again soon.
        hits_again(&host, &digits, PATIENCE).await;
    })
    .await;
}

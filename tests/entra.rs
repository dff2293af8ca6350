//! Logins to Redis by Microsoft Entra ID: tokens of a managed identity, renewed while requests go on.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::identity::{self, CLIENT_ID, HEADER, IdentityEndpoint, OBJECT_ID};
use crate::support::redis::{RedisOptions, RedisServer};
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use functions_host::host_options::HostOptions;
use functions_host::{PATIENCE, eventually, port};

const JSON: (&str, &str) = ("content-type", "application/json");
const AN_HOUR: Duration = Duration::from_secs(3600);

fn options(identity: &IdentityEndpoint, url: &str) -> HostOptions {
    let options = HostOptions::from([
        ("REDIS_AUTH", "entra"),
        ("REDIS_URL", url),
        ("SCORE_L1_BYTES", "0"),
        // A busy machine must not look like a lost login.
        ("REDIS_TIMEOUT", "5s"),
    ]);
    let settings = identity.settings().into_iter();
    settings.fold(options, |options, (name, value)| {
        options.setting(name, value)
    })
}

async fn score(host: &FunctionsHost, body: &[u8]) -> Answer {
    let answer = host.http("POST", "/api/score", &[JSON], body).await;
    answer.expect_status(200)
}

fn cache(answer: &Answer) -> &str {
    answer.header("x-cache").expect("an X-Cache header")
}

async fn wait_for_hit(host: &FunctionsHost, digits: &Digits) {
    let give_up = Instant::now() + PATIENCE;
    while cache(&score(host, &digits.body([0])).await) != "HIT" {
        assert!(Instant::now() < give_up, "no hit: {:#?}", host.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Connections of the identity.
async fn connections(redis: &RedisServer) -> Vec<String> {
    let list = redis.command(&[b"CLIENT", b"LIST"]).await.text();
    let user = format!(" user={OBJECT_ID} ");
    let lines = list.lines().filter(|line| line.contains(&user));
    lines
        .filter_map(|line| Some(line.split(' ').next()?.to_owned()))
        .collect()
}

fn no_secret(host: &FunctionsHost, identity: &IdentityEndpoint) {
    let mut secrets = identity.tokens();
    secrets.push(HEADER.to_owned());
    for line in host.logs() {
        let shown = secrets.iter().find(|secret| line.text.contains(*secret));
        assert!(shown.is_none(), "{}", line.text);
    }
}

/// Clients that ask for one row each, over and over, until `faults` ends. All answers must be right; those that did not
/// come out of Redis are counted.
async fn under_load(
    host: &FunctionsHost,
    digits: &Digits,
    faults: impl Future<Output = ()>,
) -> usize {
    let (done, served, missed) = (
        AtomicBool::new(false),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let clients = (0..4).map(|row| {
        let (done, served, missed) = (&done, &served, &missed);
        async move {
            while !done.load(Ordering::Relaxed) {
                let answer = score(host, &digits.body([row])).await;
                assert_eq!(answer.json(), digits.answer([row]));
                served.fetch_add(1, Ordering::Relaxed);
                missed.fetch_add((cache(&answer) != "HIT").into(), Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let faults = async {
        faults.await;
        done.store(true, Ordering::Relaxed);
    };
    tokio::join!(futures_util::future::join_all(clients), faults);
    assert!(served.load(Ordering::Relaxed) > 20);
    missed.load(Ordering::Relaxed)
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_expire_under_load_and_the_connection_stays() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start_with(RedisOptions::default().tls()).await;
    let identity = IdentityEndpoint::new(&[redis.port()], Duration::from_secs(4));
    identity.start().await;
    let authority = redis.ca_file().to_str().unwrap();
    let options = options(&identity, &redis.url()).setting("REDIS_CA_FILE", authority);
    let host = FunctionsHost::start(&app, options).await;
    host.wait_for_log("(TLS, Entra ID)", PATIENCE).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    score(&host, &digits.body(0..8)).await;
    redis.wait_for_keys(8, PATIENCE).await;

    let before = connections(&redis).await;
    assert_eq!(before.len(), 1, "{before:?}");
    let (first, start) = (identity.tokens().len(), Instant::now());
    let three_renewals = eventually("three renewals", async || {
        identity.tokens().len() >= first + 3
    });
    let missed = under_load(&host, &digits, three_renewals).await;
    assert_eq!(missed, 0, "every answer comes out of Redis");
    assert_eq!(connections(&redis).await, before, "the same connection");
    let (renewed, seconds) = (identity.tokens().len() - first, start.elapsed().as_secs());
    assert!(
        renewed as u64 <= seconds.max(3),
        "{renewed} tokens in {seconds} s"
    );
    assert_eq!(identity.kills(), 0);
    assert_eq!(host.error_logs(), Vec::<String>::new());
    no_secret(&host, &identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_logs_in_once_ends_with_its_token() {
    let redis = RedisServer::start().await;
    let identity = IdentityEndpoint::new(&[redis.port()], Duration::from_secs(2));
    identity.start().await;
    let host =
        FunctionsHost::start(&AppRoot::with_sample(), options(&identity, &redis.url())).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    // A frozen client cannot renew: the stand-in must end its connection, or the other tests prove nothing.
    host.signal(nix::sys::signal::Signal::SIGSTOP);
    let give_up = Instant::now() + PATIENCE;
    while !connections(&redis).await.is_empty() {
        assert!(Instant::now() < give_up, "it is still connected");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(identity.kills(), 1);
    host.signal(nix::sys::signal::Signal::SIGCONT);
    let digits = Digits::load();
    host.wait_for_log("model loaded", PATIENCE).await;
    wait_for_hit(&host, &digits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_replaced_by_a_fresh_one() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let identity = IdentityEndpoint::new(&[redis.port()], AN_HOUR);
    identity.start().await;
    let host = FunctionsHost::start(&app, options(&identity, &redis.url())).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    wait_for_hit(&host, &digits).await;
    let user = OBJECT_ID.as_bytes();
    under_load(&host, &digits, async {
        redis
            .command(&[b"ACL", b"SETUSER", user, b"resetpass"])
            .await;
        redis.command(&[b"CLIENT", b"KILL", b"USER", user]).await;
        wait_for_hit(&host, &digits).await;
        for _ in 0..50 {
            wait_for_hit(&host, &digits).await;
        }
    })
    .await;
    let issued = identity.tokens().len();
    assert!((2..=4).contains(&issued), "{issued} tokens");
    assert_eq!(host.error_logs(), Vec::<String>::new());
    no_secret(&host, &identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_identity_endpoint_it_scores_and_hits_come_later() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let identity = IdentityEndpoint::new(&[redis.port()], AN_HOUR);
    // Start-up waits for no token: there is none.
    let options = options(&identity, &redis.url()).setting("SCORE_LOG_FILTER", "info,score=debug");
    let host = FunctionsHost::start(&app, options).await;
    let line = host.wait_for_log("redis cannot be used", PATIENCE).await;
    let said = "the identity endpoint gives no token";
    assert!(
        line.text.contains(said) && line.text.contains("refused"),
        "{}",
        line.text
    );
    host.wait_for_log("model loaded", PATIENCE).await;
    let answer = score(&host, &digits.body([3])).await;
    assert_eq!(
        (cache(&answer), answer.json()),
        ("BYPASS", digits.answer([3]))
    );
    host.wait_for_log("redis cannot be used yet", PATIENCE)
        .await;
    identity.start().await;
    wait_for_hit(&host, &digits).await;
    let complaints = host
        .logs()
        .into_iter()
        .filter(|line| line.text.contains("cannot be used, ") && line.text.contains(said))
        .count();
    assert_eq!(complaints, 1, "one line for one outage");
    no_secret(&host, &identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_away_at_renewal_is_told_once_and_costs_hits_only_while_it_is_away() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let identity = IdentityEndpoint::new(&[redis.port()], Duration::from_secs(4));
    identity.start().await;
    let host = FunctionsHost::start(&app, options(&identity, &redis.url())).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    wait_for_hit(&host, &digits).await;
    identity.stop();
    under_load(&host, &digits, async {
        host.wait_for_log("login for redis cannot be renewed", PATIENCE)
            .await;
        host.wait_for_log("redis does not answer", PATIENCE).await;
        identity.start().await;
        wait_for_hit(&host, &digits).await;
    })
    .await;
    let logs = host.logs();
    let told = |text: &str| logs.iter().filter(|line| line.text.contains(text)).count();
    assert_eq!(told("cannot be renewed"), 1);
    assert_eq!(host.error_logs(), Vec::<String>::new());
    no_secret(&host, &identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_assigned_identity_is_named_by_its_client_id() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start().await;
    let identity = IdentityEndpoint::user_assigned(&[redis.port()], AN_HOUR);
    identity.start().await;
    for (client_id, said) in [
        (
            "",
            "set AZURE_CLIENT_ID to the client id of its user-assigned identity",
        ),
        (
            "0000",
            "AZURE_CLIENT_ID is not the client id of an identity that is assigned",
        ),
        (CLIENT_ID, "redis connected"),
    ] {
        let options = options(&identity, &redis.url()).setting("AZURE_CLIENT_ID", client_id);
        let host = FunctionsHost::start(&app, options).await;
        host.wait_for_log(said, PATIENCE).await;
        host.wait_for_log("model loaded", PATIENCE).await;
        assert_eq!(
            score(&host, &digits.body([4])).await.json(),
            digits.answer([4])
        );
        no_secret(&host, &identity);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_without_rights_is_told_what_it_needs() {
    let app = AppRoot::with_sample();
    let redis = RedisServer::start().await;
    // Its tokens are unknown to this server.
    let identity = IdentityEndpoint::new(&[], AN_HOUR);
    identity.start().await;
    let host = FunctionsHost::start(&app, options(&identity, &redis.url())).await;
    let line = host.wait_for_log("redis cannot be used", PATIENCE).await;
    assert!(line.text.contains("access policy"), "{}", line.text);
    assert!(line.text.contains("Entra ID"), "{}", line.text);
    no_secret(&host, &identity);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_identity_and_sign_in_it_says_how_to_get_one() {
    let app = AppRoot::with_sample();
    let redis = RedisServer::start().await;
    let url = redis.url();
    let settings = [
        ("REDIS_AUTH", "entra"),
        ("REDIS_URL", url.as_str()),
        ("PATH", "/nowhere"),
    ];
    let host = FunctionsHost::start(&app, settings).await;
    let line = host.wait_for_log("redis cannot be used", PATIENCE).await;
    assert!(line.text.contains("run `az login`"), "{}", line.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_of_a_cluster_is_logged_in_again() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let nodes = [cluster_node().await, cluster_node().await];
    form_cluster(&nodes).await;
    let ports = nodes.each_ref().map(|(node, _)| node.port());
    let identity = IdentityEndpoint::new(&ports, Duration::from_secs(4));
    identity.start().await;
    let url = format!("redis-cluster://127.0.0.1:{}", ports[0]);
    let host = FunctionsHost::start(&app, options(&identity, &url)).await;
    host.wait_for_log("redis connected", PATIENCE).await;
    host.wait_for_log("model loaded", PATIENCE).await;
    score(&host, &digits.body(0..8)).await;
    eventually("all are stored", async || {
        nodes[0].0.key_count().await + nodes[1].0.key_count().await >= 8
    })
    .await;

    let mut before = Vec::new();
    for (node, _) in &nodes {
        before.push((connections(node).await, identity::logins(node.port()).await));
    }
    let start = Instant::now();
    let two_logins = eventually("two logins to each node", async || {
        for ((node, _), (_, logins)) in nodes.iter().zip(&before) {
            if identity::logins(node.port()).await < logins + 2 {
                return false;
            }
        }
        true
    });
    let missed = under_load(&host, &digits, two_logins).await;
    let seconds = start.elapsed().as_secs() as i64;
    assert_eq!(missed, 0, "every answer comes out of Redis");
    for ((node, _), (connected, logins)) in nodes.iter().zip(before) {
        assert_eq!(connections(node).await, connected, "the same connection");
        let again = identity::logins(node.port()).await - logins;
        assert!(again <= seconds.max(2), "{again} logins in {seconds} s");
    }
    assert_eq!(identity.kills(), 0);
    no_secret(&host, &identity);
}

async fn cluster_node() -> (RedisServer, u16) {
    let bus = port::free();
    let options = RedisOptions::default()
        .argument("--cluster-enabled", "yes")
        .argument("--cluster-port", &bus.to_string());
    (RedisServer::start_with(options).await, bus)
}

async fn form_cluster(nodes: &[(RedisServer, u16); 2]) {
    let [(first, _), (second, bus)] = nodes;
    for (node, from, to) in [(first, "0", "8191"), (second, "8192", "16383")] {
        let slots: [&[u8]; 4] = [b"CLUSTER", b"ADDSLOTSRANGE", from.as_bytes(), to.as_bytes()];
        node.command(&slots).await;
    }
    let (port, bus) = (second.port().to_string(), bus.to_string());
    let meet: [&[u8]; 5] = [
        b"CLUSTER",
        b"MEET",
        b"127.0.0.1",
        port.as_bytes(),
        bus.as_bytes(),
    ];
    first.command(&meet).await;
    let give_up = Instant::now() + PATIENCE;
    for (node, _) in nodes {
        while !node
            .command(&[b"CLUSTER", b"INFO"])
            .await
            .text()
            .contains("cluster_state:ok")
        {
            assert!(Instant::now() < give_up, "no cluster");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

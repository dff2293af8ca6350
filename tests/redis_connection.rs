//! Connections to Redis: what is accepted, and for what is not, one line that says what to change.

use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::cache_command::program;
use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::redis::{RedisOptions, RedisServer};
use functions_host::PATIENCE;
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;
use functions_host::host_options::HostOptions;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn score(host: &FunctionsHost, body: &[u8]) -> Answer {
    let answer = host.http("POST", "/api/score", &[JSON], body).await;
    answer.expect_status(200)
}

fn cache(answer: &Answer) -> &str {
    answer.header("x-cache").expect("an X-Cache header")
}

fn no_secret(host: &FunctionsHost, secret: &str) {
    for line in host.logs() {
        assert!(!line.text.contains(secret), "{}", line.text);
    }
}

/// The settings of a client that trusts this authority only.
fn trusting(authority: &Path, name: &str, value: &str) -> HostOptions {
    let authority = authority.to_str().expect("a path of text");
    HostOptions::from([(name, value), ("REDIS_CA_FILE", authority)])
}

/// Starts a handler that cannot use Redis. It says so once, on one line that holds all of `said`, and scores.
async fn complains(options: impl Into<HostOptions>, said: &[&str]) -> FunctionsHost {
    let digits = Digits::load();
    let host = FunctionsHost::start(&AppRoot::with_sample(), options).await;
    let line = host.wait_for_log("redis cannot be used", PATIENCE).await;
    for said in said {
        assert!(line.text.contains(said), "{said:?} is not in {}", line.text);
    }
    let answer = score(&host, &digits.body([4])).await;
    assert_eq!(answer.json(), digits.answer([4]));
    let lines = host.logs().into_iter();
    let complaints = lines.filter(|line| line.text.contains("redis cannot be used"));
    assert_eq!(complaints.count(), 1);
    assert_eq!(host.error_logs(), Vec::<String>::new());
    host
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_a_private_authority_and_the_portals_connection_string() {
    let (digits, app) = (Digits::load(), AppRoot::with_sample());
    let redis = RedisServer::start_with(RedisOptions::default().tls().password("p+w/=x")).await;
    let portal = format!(
        "localhost:{},password=p+w/=x,ssl=True,abortConnect=False,keepAlive=86400",
        redis.tls_port()
    );
    let authority = redis.ca_file().to_str().unwrap().to_owned();
    for (name, value) in [
        ("REDIS_URL", redis.url()),
        ("REDIS_CONNECTION_STRING", portal),
    ] {
        let settings = [
            (name, value.as_str()),
            ("REDIS_CA_FILE", authority.as_str()),
            ("SCORE_L1_BYTES", "0"),
        ];
        let host = FunctionsHost::start(&app, settings).await;
        host.wait_for_log("redis connected", PATIENCE).await;
        score(&host, &digits.body([0])).await;
        redis.wait_for_keys(1, PATIENCE).await;
        assert_eq!(cache(&score(&host, &digits.body([0])).await), "HIT");
        no_secret(&host, "p+w/=x");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_plain_port() {
    let redis = RedisServer::start_with(RedisOptions::default().tls()).await;
    // A server without TLS waits for the end of a command, so nothing but time tells.
    let address = format!("localhost:{},ssl=True,connectTimeout=1000", redis.port());
    let options = trusting(redis.ca_file(), "REDIS_CONNECTION_STRING", &address);
    complains(
        options,
        &[
            "did not answer in time",
            "is this its port with TLS",
            "ssl=False",
        ],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_port_that_answers_in_plain_text() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // What a plain Redis says at once where its clients are too many.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream
                .write_all(b"-ERR max number of clients reached\r\n")
                .await;
        }
    });
    let url = format!("rediss://127.0.0.1:{port}");
    complains(
        [("REDIS_URL", url.as_str())],
        &["does not speak TLS", "redis://"],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_tls_to_a_tls_port() {
    let redis = RedisServer::start_with(RedisOptions::default().tls()).await;
    let url = format!("redis://127.0.0.1:{}", redis.tls_port());
    complains([("REDIS_URL", url.as_str())], &["rediss://", "ssl=True"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_and_a_missing_one() {
    let redis = RedisServer::start_with(RedisOptions::default().password("right")).await;
    let wrong = redis.url().replace("right", "wr0ng");
    let host = complains(
        [("REDIS_URL", wrong.as_str())],
        &["WRONGPASS", "user or password"],
    )
    .await;
    no_secret(&host, "wr0ng");
    let missing = redis.url().replace(":right@", "");
    let said = ["NOAUTH", "needs a password"];
    complains([("REDIS_URL", missing.as_str())], &said).await;
}

/// A server without passwords, which answers every command with this text.
async fn server_that_says(reply: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let reply = reply.clone();
            tokio::spawn(async move {
                let mut commands = [0; 4096];
                while client.read(&mut commands).await? > 0 {
                    client.write_all(reply.as_bytes()).await?;
                }
                std::io::Result::Ok(())
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_repeat_the_password_are_not_quoted() {
    const PASSWORD: &str = "hunter2+/hunter2";
    let app = AppRoot::with_sample();
    for reply in [
        // Redis 4 to 7, with AUTH renamed to "".
        "-ERR unknown command `AUTH`, with args beginning with: `hunter2+/hunter2`, \r\n",
        "-ERR unknown command 'AUTH', with args beginning with: 'hunter2+/hunter2' \r\n",
        // Proxies and other servers.
        "-ERR unsupported command: AUTH hunter2+/hunter2\r\n",
        "-ERR invalid password hunter2+/hun...\r\n",
        "-WRONGPASS hunter2+/hunter2 is wrong\r\n",
        "-NOAUTH hunter2+/hunter2\r\n",
        "+you said AUTH hunter2+/hunter2\r\n",
        "AUTH hunter2+/hunter2 is no command\r\n",
        "HTTP/1.1 400 Bad Request\r\n\r\nAUTH hunter2+/hunter2",
    ] {
        let port = server_that_says(reply.to_owned()).await;
        let text = format!("127.0.0.1:{port},password={PASSWORD}");
        let address = ("REDIS_CONNECTION_STRING", text.as_str());
        let options = HostOptions::from([address, ("SCORE_LOG_FILTER", "trace")]);
        let host = FunctionsHost::start(&app, options).await;
        host.wait_for_log("redis cannot be used", PATIENCE).await;
        no_secret(&host, "hunter2");
        let output = program(&app, &[address], &["cache", "stats"]).output();
        let output = output.await.expect("it starts");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(
            !output.status.success() && !said.contains("hunter2"),
            "{said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_that_is_no_pair_ends_the_program_and_is_not_repeated() {
    let app = AppRoot::with_sample();
    for text in [
        "127.0.0.1:6379,hunter2",
        "127.0.0.1:6379,password=ab,hunter2.example.net",
    ] {
        for arguments in [&[][..], &["cache", "stats"], &["settings"]] {
            let mut program = program(&app, &[("REDIS_CONNECTION_STRING", text)], arguments);
            let output = program.output().await.expect("it starts");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert!(
                said.contains("expected host:port or key=value"),
                "{arguments:?}: {said}"
            );
            assert!(
                !output.status.success() && !said.contains("hunter2"),
                "{said}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_without_rights() {
    let redis = RedisServer::start().await;
    redis
        .command(&[
            b"ACL",
            b"SETUSER",
            b"guest",
            b"on",
            b">p4ss",
            b"+@connection",
            b"+info",
        ])
        .await;
    let url = format!("redis://guest:p4ss@127.0.0.1:{}", redis.port());
    let host = complains(
        [("REDIS_URL", url.as_str())],
        &["NOPERM", "mget", "~score:*"],
    )
    .await;
    no_secret(&host, "p4ss");
    redis
        .command(&[
            b"ACL",
            b"SETUSER",
            b"guest",
            b"+get",
            b"+mget",
            b"+set",
            b"~score:*",
        ])
        .await;
    host.wait_for_log("redis connected", PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority() {
    let redis = RedisServer::start_with(RedisOptions::default().tls()).await;
    let options = trusting(redis.other_ca_file(), "REDIS_URL", &redis.url());
    complains(options, &["authority", "REDIS_CA_FILE"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate() {
    let redis = RedisServer::start_with(RedisOptions::default().expired_tls()).await;
    let options = trusting(redis.ca_file(), "REDIS_URL", &redis.url());
    complains(options, &["certificate", "expired", "clock"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_host_name_and_how_to_name_it() {
    let tls = RedisOptions::default().tls_for(&["cache.example.net"]);
    let redis = RedisServer::start_with(tls).await;
    let options = trusting(redis.ca_file(), "REDIS_URL", &redis.url());
    complains(
        options,
        &["not for the host localhost", "cache.example.net", "sslHost"],
    )
    .await;

    let named = format!(
        "localhost:{},ssl=True,sslHost=cache.example.net",
        redis.tls_port()
    );
    let options = trusting(redis.ca_file(), "REDIS_CONNECTION_STRING", &named);
    let host = FunctionsHost::start(&AppRoot::with_sample(), options).await;
    host.wait_for_log("redis connected", PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_there() {
    let url = "redis://no-such-host.invalid:6379";
    complains([("REDIS_URL", url)], &["no-such-host.invalid", "host name"]).await;
    let url = format!("redis://127.0.0.1:{}", functions_host::port::free());
    complains([("REDIS_URL", url.as_str())], &["refused"]).await;
}

//! What happens to servers, and what they refuse.

use futures_util::future::{FutureExt, ready};

use super::fault::Effect::{Misses, Outage, RefusedWrites};
use super::fault::Fault;
use super::pair::{PASSWORD, Pair, USER, replicate, tell};
use crate::support::resp::{self, RespValue};
use functions_host::eventually;

/// All of them.
pub(crate) fn list() -> Vec<Fault<Pair>> {
    let mut faults = processes();
    faults.extend(refusals());
    faults.extend(replicas());
    faults
}

fn processes() -> Vec<Fault<Pair>> {
    vec![
        Fault::new(
            "killed",
            Outage,
            |p| {
                p.proxy.refuse();
                async move { p.primary().stop() }.boxed_local()
            },
            |p| {
                async {
                    p.primary().restart().await;
                    p.proxy.pass();
                }
                .boxed_local()
            },
        ),
        Fault::new(
            "stopped (SIGSTOP)",
            Outage,
            |p| async move { p.primary().pause() }.boxed_local(),
            |p| async move { p.primary().resume() }.boxed_local(),
        ),
        Fault::new(
            "restarted empty",
            Misses,
            |p| p.primary().restart().boxed_local(),
            |_| ready(()).boxed_local(),
        ),
    ]
}

fn refusals() -> Vec<Fault<Pair>> {
    vec![
        Fault::new(
            "memory full (noeviction)",
            RefusedWrites,
            |p| tell(p.primary(), "CONFIG SET maxmemory 1").boxed_local(),
            |p| tell(p.primary(), "CONFIG SET maxmemory 0").boxed_local(),
        ),
        Fault::new(
            "password changed",
            Outage,
            |p| change_password(p, "0ther").boxed_local(),
            |p| change_password(p, PASSWORD).boxed_local(),
        ),
        Fault::new(
            "user without rights (NOPERM)",
            Outage,
            |p| tell(p.primary(), "ACL SETUSER score -@all").boxed_local(),
            |p| tell(p.primary(), "ACL SETUSER score +@all").boxed_local(),
        ),
        Fault::new(
            "user may only read (NOPERM)",
            RefusedWrites,
            |p| tell(p.primary(), "ACL SETUSER score -@write").boxed_local(),
            |p| tell(p.primary(), "ACL SETUSER score +@write").boxed_local(),
        ),
        Fault::new(
            "cannot save (MISCONF)",
            RefusedWrites,
            |p| fail_to_save(p).boxed_local(),
            |p| tell(p.primary(), "CONFIG SET save  dbfilename dump.rdb").boxed_local(),
        ),
        Fault::new(
            "loading its data (LOADING)",
            Outage,
            |p| reload_slowly(p).boxed_local(),
            |p| {
                async {
                    tell(p.primary(), "CONFIG SET key-load-delay 0").await;
                    eventually("all is loaded", || is_loaded(p)).await;
                }
                .boxed_local()
            },
        ),
    ]
}

fn replicas() -> Vec<Fault<Pair>> {
    vec![
        Fault::<Pair>::new(
            "made a replica (READONLY)",
            RefusedWrites,
            |p| tell_to_follow(p).boxed_local(),
            |p| tell(p.primary(), "REPLICAOF NO ONE").boxed_local(),
        )
        .prepared_by(|p| {
            async {
                replicate(p.primary(), p.spare()).await;
                tell(p.spare(), "REPLICAOF NO ONE").await;
            }
            .boxed_local()
        }),
        Fault::<Pair>::new(
            "failover to the replica",
            Outage,
            |p| {
                p.proxy.refuse();
                async move { p.primary().stop() }.boxed_local()
            },
            |p| {
                async {
                    tell(p.spare(), "REPLICAOF NO ONE").await;
                    p.swap();
                    p.proxy.pass();
                    p.spare().restart().await;
                }
                .boxed_local()
            },
        )
        .prepared_by(|p| replicate(p.primary(), p.spare()).boxed_local()),
    ]
}

async fn change_password(pair: &Pair, password: &str) {
    let change = format!("ACL SETUSER {USER} resetpass >{password}");
    tell(pair.primary(), &change).await;
    let kill = format!("CLIENT KILL USER {USER}");
    tell(pair.primary(), &kill).await;
}

async fn tell_to_follow(pair: &Pair) {
    let follow = format!("REPLICAOF 127.0.0.1 {}", pair.spare().port());
    tell(pair.primary(), &follow).await;
}

/// A folder lies where the dump should go.
async fn fail_to_save(pair: &Pair) {
    let primary = pair.primary();
    let folder = primary.command(&[b"CONFIG", b"GET", b"dir"]).await;
    let folder = std::path::Path::new(&folder.elements()[1].text()).join("obstacle");
    std::fs::create_dir_all(folder).expect("a temporary folder can be written");
    tell(primary, "CONFIG SET dbfilename obstacle").await;
    let save: [&[u8]; 4] = [b"CONFIG", b"SET", b"save", b"3600 1"];
    primary.command(&save).await;
    tell(primary, "BGSAVE").await;
    eventually("saving has failed", || async {
        let info = primary.command(&[b"INFO", b"persistence"]).await.text();
        info.contains("rdb_last_bgsave_status:err")
    })
    .await;
}

/// Far more keys than it can load in the time, at 5 ms each; it answers others meanwhile, but only to say so.
async fn reload_slowly(pair: &Pair) {
    let primary = pair.primary();
    tell(primary, "DEBUG POPULATE 4000 filler 500").await;
    tell(
        primary,
        "CONFIG SET key-load-delay 5000 loading-process-events-interval-bytes 1024",
    )
    .await;
    let port = primary.port();
    tokio::spawn(async move { resp::pipeline(port, &[&[b"DEBUG", b"RELOAD"]]).await });
    eventually("loading has begun", || async { !is_loaded(pair).await }).await;
}

async fn is_loaded(pair: &Pair) -> bool {
    let reply = pair.primary().command(&[b"PING"]).await;
    !matches!(reply, RespValue::Error(_))
}

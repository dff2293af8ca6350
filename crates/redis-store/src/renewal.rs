//! Keeps live connections logged in: a new login before the old one ends, sent over the connections there are.
//!
//! The client library has a task of its own for that, with two faults here: it runs at a fixed interval, while the life
//! of a token is only known once it is there, and on a cluster it first waits for every reply under way, on all nodes,
//! without limit. An `AUTH` among the other commands does neither: the server answers in order, what was sent before
//! runs with the old login, and a refused one leaves the old one in force until the connection is made again.

use std::sync::Arc;
use std::time::Duration;

use fred::error::{Error as FredError, ErrorKind};
use futures_util::future::join_all;
use score::Backoff;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::credentials::RedisLogin;
use crate::explain;
use crate::logins::Logins;
use crate::node::Node;

/// Azure asks for a new login this long before the old one ends, at the latest.
const MARGIN: Duration = Duration::from_secs(180);
const AUTH_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);

/// Runs without end; `login` is the one that the `nodes` of the moment were connected with.
pub(super) async fn keep_logged_in(
    nodes: impl Fn() -> Vec<Arc<Node>>,
    logins: Arc<Logins>,
    mut login: RedisLogin,
) {
    loop {
        sleep(time_until_renewal(login.time_left())).await;
        login = renew(&nodes, &logins, login.time_left()).await;
    }
}

/// Until a new login is there and all connections have it.
async fn renew(
    nodes: &impl Fn() -> Vec<Arc<Node>>,
    logins: &Logins,
    time_left: Duration,
) -> RedisLogin {
    let kind = logins.kind();
    // A short life leaves no time for long pauses.
    let longest = MAX_BACKOFF.min(time_left / 4).max(FIRST_BACKOFF);
    let mut backoff = Backoff::new(FIRST_BACKOFF, longest);
    let mut failed = false;
    loop {
        let reason = match logins.renew().await {
            Ok(login) => match authenticate(&nodes(), &login).await {
                Ok(()) => {
                    if failed {
                        info!("{kind} login for redis renewed");
                    }
                    return login;
                }
                // Connections that are being made again get the new login anyway.
                Err(error) if *error.kind() != ErrorKind::Auth => return login,
                Err(error) => explain::quotable(error.details()),
            },
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut failed, true) {
            warn!(%reason, "the {kind} login for redis cannot be renewed yet");
        }
        sleep(backoff.next_pause_spread(0.2)).await;
    }
}

/// A quarter of the life before its end, and early enough for the margin; half-way if the life is as short as that.
/// Processes that started together do not ask together.
fn time_until_renewal(left: Duration) -> Duration {
    let before_margin = left.saturating_sub(MARGIN).max(left / 2);
    let wait = (left * 3 / 4).min(before_margin);
    wait.mul_f64(0.9 + 0.1 * fastrand::f64()).max(FIRST_BACKOFF)
}

/// Logs every open connection in.
async fn authenticate(nodes: &[Arc<Node>], login: &RedisLogin) -> Result<(), FredError> {
    let outcomes = nodes.iter().map(|node| async {
        match timeout(AUTH_TIMEOUT, node.authenticate(login)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FredError::new(ErrorKind::Timeout, "no answer to AUTH")),
        }
    });
    let faults = join_all(outcomes).await.into_iter().filter_map(Result::err);
    // A refusal counts for more than a connection that is away, which gets the new login when it is back.
    let fault = faults.max_by_key(|fault| *fault.kind() == ErrorKind::Auth);
    fault.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renews_three_minutes_ahead_or_half_way_through_short_lives() {
        let hours = |hours: u64| Duration::from_secs(hours * 3600);
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        for (left, latest) in [
            (hours(24), hours(18)),
            (minutes(60), minutes(45)),
            (minutes(10), minutes(7)),
            (minutes(4), minutes(2)),
            (Duration::from_secs(8), Duration::from_secs(4)),
        ] {
            for _ in 0..100 {
                let wait = time_until_renewal(left);
                assert!(wait <= latest && wait >= latest * 9 / 10, "{wait:?}");
            }
        }
        assert_eq!(time_until_renewal(Duration::ZERO), FIRST_BACKOFF);
    }
}

//! All open connections, whose number is bounded.
//!
//! Where there are as many as there may be, the one that has gone longest without a complete request makes way for a new
//! one: so connections that only stay open, or send hardly anything, keep no caller out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::connection::{Connection, ConnectionLimits};

/// How long a connection may take to close before another one has to.
const CLOSING: Duration = Duration::from_millis(100);
/// How often the log may say that the limit is reached.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    limits: ConnectionLimits,
    epoch: Instant,
    open: Mutex<Open>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Open {
    by_number: HashMap<u64, Arc<Connection>>,
    next: u64,
    warned: Option<Instant>,
}

/// A connection among the open ones, until it is dropped.
pub(super) struct Listed {
    number: u64,
    all: Arc<Connections>,
}

impl Connections {
    /// At most so many at once.
    pub(super) fn new(most: usize, limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            most,
            limits,
            epoch: Instant::now(),
            open: Mutex::default(),
            ended: Notify::new(),
        })
    }

    /// Ready once there may be one more. Closes others for that, but none whose request is in work.
    pub(super) async fn make_way(&self) {
        while self.is_full() {
            if let Some(longest) = self.longest_without_request() {
                longest.close();
            }
            let _ = timeout(CLOSING, self.ended.notified()).await;
        }
    }

    fn is_full(&self) -> bool {
        self.open.lock().by_number.len() >= self.most
    }

    fn longest_without_request(&self) -> Option<Arc<Connection>> {
        let mut open = self.open.lock();
        let silent = open
            .warned
            .is_some_and(|at| at.elapsed() < WARNING_INTERVAL);
        if !silent {
            open.warned = Some(Instant::now());
            warn!(
                connections = self.most,
                "as many connections are open as SCORE_MAX_CONNECTIONS allows: the one that has gone longest without a \
                 complete request makes way for each new one"
            );
        }
        let closable = open.by_number.values();
        let closable = closable.filter_map(|one| Some((one.last_complete()?, one)));
        closable
            .min_by_key(|(last, _)| *last)
            .map(|(_, one)| one.clone())
    }

    /// Lists a new connection.
    pub(super) fn add(self: &Arc<Self>) -> (Arc<Connection>, Listed) {
        let connection = Connection::new(self.limits, self.epoch);
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        open.by_number.insert(number, connection.clone());
        let all = self.clone();
        (connection, Listed { number, all })
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.all.open.lock().by_number.remove(&self.number);
        self.all.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;
    use crate::http::connection::Watched;
    use crate::http::pace::Pace;

    fn connections(most: usize) -> Arc<Connections> {
        let second = Duration::from_secs(1);
        let limits = ConnectionLimits {
            head: 20 * second,
            answers: Pace::new(240, 30 * second),
        };
        Connections::new(most, limits)
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_has_gone_longest_without_a_complete_request_makes_way() {
        let all = connections(3);
        let mut open = Vec::new();
        for _ in 0..3 {
            all.make_way().await;
            let (connection, listed) = all.add();
            let work = Watched::new(std::future::pending::<()>(), connection.clone());
            open.push((connection, Some(tokio::spawn(work.map(|()| drop(listed))))));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The first has a request in work, the second has had one lately.
        open[0].0.request_came();
        open[1].0.request_came();
        open[1].0.answered();
        all.make_way().await;
        open[2].1.take().unwrap().await.unwrap();
        let (_kept, _listed) = all.add();
        tokio::time::sleep(Duration::from_millis(10)).await;
        all.make_way().await;
        open[1].1.take().unwrap().await.unwrap();
        // Nothing is left to close but what has just come and what is in work.
        let (_latest, _) = all.add();
        assert!(!open[0].1.as_ref().unwrap().is_finished());
    }
}

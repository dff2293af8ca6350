//! Look-ups of several requests in one command.
//!
//! Under load, requests arrive while their thread works on others. What they look up then is sent at once: one command, one
//! reply and two system calls for several requests, instead of for each of them. No look-up waits for the reply to another,
//! and one alone waits for nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use fred::error::{Error as FredError, ErrorKind};
use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

/// Keys of one command for several requests: with values of 1 MiB, the largest that are written, the reply is within what
/// the client's parser takes.
const MOST_KEYS: usize = 16;

/// The value of a key.
pub(super) type Reply = Result<Option<Bytes>, FredError>;

/// What requests look up in one server.
#[derive(Default)]
pub(super) struct Together {
    /// Commands that are on their way.
    asking: AtomicUsize,
    /// Look-ups that are sent as soon as a thread has gone once through its work. Locked to add one, or to take all.
    waiting: Mutex<Vec<Waiting>>,
}

struct Waiting {
    keys: Vec<String>,
    budget: Duration,
    answer: oneshot::Sender<Vec<Reply>>,
}

/// A command on its way, until it is dropped.
struct Asking<'a>(&'a AtomicUsize);

impl<'a> Asking<'a> {
    fn begin(asking: &'a AtomicUsize) -> Self {
        asking.fetch_add(1, Ordering::Relaxed);
        Self(asking)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Together {
    /// The values of `keys`, by few calls of `ask`. What takes longer than `budget` is given up.
    pub(super) async fn get<F, R>(
        self: Arc<Self>,
        keys: Vec<String>,
        budget: Duration,
        ask: F,
    ) -> Vec<Reply>
    where
        F: Fn(Vec<String>) -> R + Send + Sync + 'static,
        R: Future<Output = Vec<Reply>> + Send + 'static,
    {
        if keys.len() >= MOST_KEYS || self.asking.load(Ordering::Relaxed) == 0 {
            let _asking = Asking::begin(&self.asking);
            return ask(keys).await;
        }
        let count = keys.len();
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock();
            waiting.push(Waiting {
                keys,
                budget,
                answer,
            });
            waiting.len() == 1
        };
        if is_first {
            tokio::spawn(self.ask_together(ask));
        }
        let lost = |_| FredError::new(ErrorKind::Canceled, "the look-up has ended");
        let answer = answered.await.map_err(lost);
        answer.unwrap_or_else(|error| vec![Err(error); count])
    }

    /// Asks for what waits by then.
    async fn ask_together<F, R>(self: Arc<Self>, ask: F)
    where
        F: Fn(Vec<String>) -> R,
        R: Future<Output = Vec<Reply>>,
    {
        // The scheduler comes back after all tasks that are ready now, which look things up, too.
        yield_now().await;
        let mut waiting = std::mem::take(&mut *self.waiting.lock());
        let budgets = waiting.iter().map(|one| one.budget);
        let budget = budgets.max().unwrap_or_default();
        let mut commands = Vec::new();
        while !waiting.is_empty() {
            let mut keys = 0;
            let fitting = waiting.iter().take_while(|one| {
                keys += one.keys.len();
                keys <= MOST_KEYS
            });
            let fitting = fitting.count().max(1);
            commands.push(self.ask_for(waiting.drain(..fitting).collect(), &ask));
        }
        // All of their requests have given up by then.
        let _ = timeout(budget, join_all(commands)).await;
    }

    async fn ask_for<R>(&self, mut group: Vec<Waiting>, ask: impl Fn(Vec<String>) -> R)
    where
        R: Future<Output = Vec<Reply>>,
    {
        let counts: Vec<usize> = group.iter().map(|one| one.keys.len()).collect();
        let keys = group.iter_mut().flat_map(|one| one.keys.drain(..));
        let _asking = Asking::begin(&self.asking);
        let mut values = ask(keys.collect()).await.into_iter();
        for (one, count) in group.into_iter().zip(counts) {
            // One that has given up does not listen.
            let _ = one.answer.send(values.by_ref().take(count).collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Commands, in the order in which they are sent, each answered on demand.
    type Sent = (Vec<String>, oneshot::Sender<()>);

    fn server() -> (
        impl Fn(Vec<String>) -> futures_util::future::BoxFuture<'static, Vec<Reply>> + Clone,
        mpsc::UnboundedReceiver<Sent>,
    ) {
        let (sender, sent) = mpsc::unbounded_channel();
        let ask = move |keys: Vec<String>| {
            let (answer, answered) = oneshot::channel();
            sender.send((keys.clone(), answer)).unwrap();
            let reply = async move {
                let _ = answered.await;
                let value = |key: String| Ok((key != "none").then(|| Bytes::from(key)));
                keys.into_iter().map(value).collect::<Vec<Reply>>()
            };
            Box::pin(reply) as _
        };
        (ask, sent)
    }

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn found(reply: &[Reply]) -> Vec<Option<&[u8]>> {
        let value = |reply: &'_ Reply| reply.as_ref().unwrap().as_deref().map(<[u8]>::to_vec);
        let values = reply.iter().map(value);
        values
            .map(|value| value.map(|value| &*value.leak()))
            .collect()
    }

    #[tokio::test]
    async fn what_is_looked_up_while_others_are_on_their_way_is_sent_together() {
        let (together, (ask, mut sent)) = (Arc::<Together>::default(), server());
        let get =
            |names: &[&str]| tokio::spawn(together.clone().get(keys(names), LONG, ask.clone()));
        let alone = get(&["a"]);
        let (asked, answer_alone) = sent.recv().await.unwrap();
        assert_eq!(asked, keys(&["a"]));
        let many: Vec<&str> = vec!["m"; MOST_KEYS - 3];
        let (one, two, large, gone) = (get(&["b"]), get(&["none", "c"]), get(&many), get(&["d"]));
        let (first, second) = (sent.recv().await.unwrap(), sent.recv().await.unwrap());
        // As many as there may be in one command.
        assert_eq!(first.0, [keys(&["b", "none", "c"]), keys(&many)].concat());
        assert_eq!(second.0, keys(&["d"]));
        gone.abort();
        // Each gets its own, in whichever order the replies come.
        drop((second.1, first.1));
        assert_eq!(found(&two.await.unwrap()), [None, Some(&b"c"[..])]);
        assert_eq!(found(&one.await.unwrap()), [Some(&b"b"[..])]);
        assert_eq!(large.await.unwrap().len(), many.len());
        drop(answer_alone);
        assert_eq!(found(&alone.await.unwrap()), [Some(&b"a"[..])]);
        assert_eq!(together.asking.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_given_up() {
        let (together, (ask, mut sent)) = (Arc::<Together>::default(), server());
        let alone = tokio::spawn(together.clone().get(keys(&["a"]), LONG, ask.clone()));
        let _silent = sent.recv().await.unwrap();
        let reply = together.clone().get(keys(&["b", "c"]), LONG, ask).await;
        assert!(reply.len() == 2 && reply.iter().all(Result::is_err));
        alone.abort();
    }
}

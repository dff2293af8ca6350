//! The threads that read requests and write answers, each with a scheduler of its own.
//!
//! One scheduler for all of them hands the work of one request from thread to thread: whenever a reply wakes two tasks, an
//! idle thread is woken to take one of them. That costs a hit in Redis a fifth of its processor time, and a miss a quarter
//! of its latency, when requests come one by one (docs/performance.md). Here a connection stays where it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::Context;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::warn;

use super::share::Share;

/// All threads, in the order in which connections are given to them.
pub(crate) struct Workers {
    all: Vec<Worker>,
    /// All threads but the first one, which belongs to the caller that starts them.
    others: Vec<Runtime>,
}

struct Worker {
    handle: Handle,
    /// How many connections it has.
    connections: Arc<AtomicUsize>,
    share: Arc<Share>,
}

/// A connection among those of its thread, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(connections: &Arc<AtomicUsize>) -> Self {
        connections.fetch_add(1, Ordering::Relaxed);
        Self(connections.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A scheduler with one thread. While that is busy with a large body, its other tasks go on on another one.
///
/// # Errors
/// If the system refuses to watch sockets for it.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("the async runtime cannot be started")
}

impl Workers {
    /// Starts what is missing to `count` threads; the first one is there already.
    ///
    /// # Errors
    /// As [`runtime`].
    pub(crate) fn start(first: &Handle, count: usize) -> anyhow::Result<Self> {
        let others = (1..count).map(|_| runtime());
        let others = others.collect::<anyhow::Result<Vec<_>>>()?;
        let all = std::iter::once(first).chain(others.iter().map(Runtime::handle));
        let all = all.map(|handle| Worker {
            handle: handle.clone(),
            connections: Arc::default(),
            share: Arc::default(),
        });
        Ok(Self {
            all: all.collect(),
            others,
        })
    }

    /// How many connections there are.
    pub(crate) fn connections(&self) -> usize {
        let each = self.all.iter().map(|worker| &worker.connections);
        each.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    /// Lets the thread with the fewest connections serve this one; among equals the first, which also talks to Redis.
    pub(super) fn serve<F>(
        &self,
        stream: TcpStream,
        connection: impl FnOnce(TcpStream, &Arc<Share>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let fewest = |worker: &&Worker| worker.connections.load(Ordering::Relaxed);
        let Some(worker) = self.all.iter().min_by_key(fewest) else {
            return;
        };
        let _entered = worker.handle.enter();
        // Otherwise the thread that accepted it would be woken for each of its requests.
        let stream = match stream.into_std().and_then(TcpStream::from_std) {
            Ok(stream) => stream,
            Err(error) => {
                warn!(%error, "a connection cannot be served");
                return;
            }
        };
        let counted = Counted::new(&worker.connections);
        let serving = connection(stream, &worker.share);
        // The connection ends the task: when its client closes it, when it was idle for too long, or when the server tells all
        // of them to shut down. What is left then ends with the runtime.
        worker.handle.spawn(async move {
            serving.await;
            drop(counted);
        });
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for runtime in self.others.drain(..) {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use tokio::net::TcpListener;
    use tokio::sync::{mpsc, oneshot};

    use super::*;

    /// A connection that tells its thread, and lasts until told to end.
    async fn open(workers: &Workers, listener: &TcpListener) -> (ThreadId, oneshot::Sender<()>) {
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (tell, mut told) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        workers.serve(accepted.unwrap().0, |stream, _| async move {
            tell.send(thread::current().id()).await.unwrap();
            let _ = ended.await;
            drop((stream, client));
        });
        (told.recv().await.unwrap(), end)
    }

    #[test]
    fn a_thread_busy_with_a_large_body_leaves_its_other_connections_to_another() {
        let first = runtime().unwrap();
        let workers = Workers::start(first.handle(), 1).unwrap();
        let (finish, finished) = std::sync::mpsc::channel();
        let (tell, mut told) = mpsc::channel(1);
        first.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            workers.serve(accepted.unwrap().0, |stream, _| async move {
                tell.send(()).await.unwrap();
                tokio::task::block_in_place(|| finished.recv().unwrap());
                drop((stream, client));
            });
            told.recv().await.unwrap();
            let (_, end) = open(&workers, &listener).await;
            end.send(()).unwrap();
            finish.send(()).unwrap();
        });
    }

    #[test]
    fn connections_are_shared_out_and_stay() {
        let first = runtime().unwrap();
        let workers = Workers::start(first.handle(), 3).unwrap();
        first.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut connections = Vec::new();
            for _ in 0..6 {
                connections.push(open(&workers, &listener).await);
            }
            let threads: Vec<ThreadId> = connections.iter().map(|(thread, _)| *thread).collect();
            assert_eq!(threads[..3], threads[3..]);
            assert!(
                threads[0] != threads[1] && threads[1] != threads[2] && threads[2] != threads[0]
            );
            // What ends makes room for the next one.
            let (thread, end) = connections.remove(1);
            end.send(()).unwrap();
            while workers.all[1].connections.load(Ordering::Relaxed) == 2 {
                tokio::task::yield_now().await;
            }
            assert_eq!(open(&workers, &listener).await.0, thread);
        });
    }
}

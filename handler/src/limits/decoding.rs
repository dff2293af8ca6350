//! Where bodies are read: small ones at once, others on a thread of their own, as many at a time as there are cores.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::Span;
use wire::{Declared, TableForm, Watch};

use super::account::{Account, Charge, Reading};
use crate::blocking::LARGE_BYTES;
use crate::problem::Problem;

/// How long a body waits for its turn, and then for memory, before it is refused: overload is told at once.
const WAIT: Duration = Duration::from_millis(80);
/// The same for callers that are not to be refused.
const NO_HURRY: Duration = Duration::from_secs(24 * 3600);
/// What a body may take beside a small factor of its bytes and be read at once.
const LIGHT_BYTES: usize = 1 << 20;

/// Bounds how many large bodies are read at once, and what all bodies become.
#[derive(Debug)]
pub(crate) struct Decoding {
    /// As many turns as there are cores: more would only take more memory.
    turns: Arc<Semaphore>,
    account: Arc<Account>,
    wait: Duration,
}

impl Decoding {
    /// Memory for so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        Self {
            turns: Arc::new(Semaphore::new(cores)),
            account: Arc::new(Account::new(bytes)),
            wait: WAIT,
        }
    }

    /// For callers that bound what they ask for, and wait for as long as it takes.
    pub(crate) fn unbounded() -> Self {
        Self {
            wait: NO_HURRY,
            ..Self::new(usize::MAX >> 1)
        }
    }

    /// Memory for what is not read here; none yet, and none is waited for.
    pub(crate) fn charge(&self) -> Charge {
        Charge::new(self.account.clone())
    }

    /// Reads a body, and returns with what was read the memory it takes. Where `read` asks for more than a little, it is
    /// called a second time, in its turn and apart.
    ///
    /// # Errors
    /// As [`Decoding::read_apart`].
    pub(crate) async fn read<T, R>(
        &self,
        body: Given<'_>,
        declared: Declared<'_>,
        read: R,
    ) -> Result<(T, Charge), Problem>
    where
        T: Send + 'static,
        R: Fn(&[u8], Declared<'_>, &dyn Watch) -> T + Send + 'static,
    {
        match self.read_at_once(body.bytes(), declared, &read) {
            Some(read) => Ok(read),
            // In a box: what only large bodies need would be copied with the future of every request.
            None => Box::pin(self.read_apart(body, declared, read)).await,
        }
    }

    /// Reads a small body; `None` if it is large, or `read` asks for more than a little.
    pub(crate) fn read_at_once<T>(
        &self,
        body: &[u8],
        declared: Declared<'_>,
        read: &impl Fn(&[u8], Declared<'_>, &dyn Watch) -> T,
    ) -> Option<(T, Charge)> {
        if body.len() >= LARGE_BYTES {
            return None;
        }
        let light = Light::default();
        let value = read(body, declared, &light);
        (!light.is_over()).then(|| (value, self.charge()))
    }

    /// Reads a body in its turn, on a thread of its own. `read` is asked to end if the caller goes away meanwhile.
    ///
    /// # Errors
    /// 503 if there is neither a turn nor memory in time, 413 if it takes more memory than there is.
    pub(crate) async fn read_apart<T, R>(
        &self,
        body: Given<'_>,
        declared: Declared<'_>,
        read: R,
    ) -> Result<(T, Charge), Problem>
    where
        T: Send + 'static,
        R: Fn(&[u8], Declared<'_>, &dyn Watch) -> T + Send + 'static,
    {
        let (body, headers) = (body.kept(), Headers::of(declared));
        let turn = timeout(self.wait, self.turns.clone().acquire_owned()).await;
        let turn = turn.ok().and_then(Result::ok);
        let turn = turn.ok_or_else(|| Problem::busy("too many large bodies are being read"))?;
        let reading = Reading::new(self.account.clone(), Instant::now() + self.wait);
        let reading = Arc::new(reading);
        let (span, watch) = (Span::current(), reading.clone());
        let thread = spawn_blocking(move || {
            let value = span.in_scope(|| read(&body, headers.declared(), &*watch));
            drop(turn);
            value
        });
        let value = UntilAbandoned {
            reading: &reading,
            thread,
        }
        .end()
        .await?;
        if let Some(refusal) = reading.refusal() {
            return Err(refusal);
        }
        let reading = Arc::into_inner(reading).ok_or_else(Problem::internal)?;
        Ok((value, reading.into_charge()))
    }
}

/// A reading that is told to end if it is not waited for any more.
struct UntilAbandoned<'a, T> {
    reading: &'a Reading,
    thread: tokio::task::JoinHandle<T>,
}

impl<T> UntilAbandoned<'_, T> {
    async fn end(mut self) -> Result<T, Problem> {
        match (&mut self.thread).await {
            Ok(value) => Ok(value),
            // Caught where every panic of a request is.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            Err(_) => Err(Problem::internal()),
        }
    }
}

impl<T> Drop for UntilAbandoned<'_, T> {
    fn drop(&mut self) {
        self.reading.abandon();
    }
}

/// A body that is to be read.
#[derive(Debug)]
pub(crate) enum Given<'a> {
    /// Bytes that are copied if the body is read apart.
    Small(&'a [u8]),
    /// Bytes that are shared.
    Shared(Bytes),
}

impl Given<'_> {
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Small(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }

    fn kept(self) -> Bytes {
        match self {
            Self::Small(bytes) => Bytes::copy_from_slice(bytes),
            Self::Shared(bytes) => bytes,
        }
    }
}

/// What [`Declared`] borrows.
struct Headers {
    texts: [Option<String>; 4],
    json_bytes: Option<usize>,
    wrapped: bool,
    by_row: bool,
    table: Option<TableForm>,
}

impl Headers {
    fn of(declared: Declared<'_>) -> Self {
        let Declared {
            content_type,
            content_encoding,
            json_bytes,
            shape,
            datatype,
            wrapped,
            by_row,
            table,
        } = declared;
        Self {
            texts: [content_type, content_encoding, shape, datatype]
                .map(|text| text.map(str::to_owned)),
            json_bytes,
            wrapped,
            by_row,
            table,
        }
    }

    fn declared(&self) -> Declared<'_> {
        let [content_type, content_encoding, shape, datatype] = &self.texts;
        Declared {
            content_type: content_type.as_deref(),
            content_encoding: content_encoding.as_deref(),
            json_bytes: self.json_bytes,
            shape: shape.as_deref(),
            datatype: datatype.as_deref(),
            wrapped: self.wrapped,
            by_row: self.by_row,
            table: self.table,
        }
    }
}

/// Lets a body take a little, and ends the reading of one that asks for more.
#[derive(Debug, Default)]
struct Light {
    taken: AtomicUsize,
    over: AtomicBool,
}

impl Watch for Light {
    fn take(&self, bytes: usize) -> bool {
        let taken = self.taken.load(Ordering::Relaxed).saturating_add(bytes);
        self.taken.store(taken, Ordering::Relaxed);
        let fits = taken <= LIGHT_BYTES;
        if !fits {
            self.over.store(true, Ordering::Relaxed);
        }
        fits
    }

    /// Not a second time: what is decoded takes time as well.
    fn give_back(&self, _bytes: usize) {}

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn decoding(bytes: usize) -> Decoding {
        Decoding::new(bytes)
    }

    fn small() -> Given<'static> {
        Given::Small(b"{}")
    }

    #[tokio::test(start_paused = true)]
    async fn who_bounds_its_bodies_waits_for_a_turn() {
        let decoding = Arc::new(Decoding::unbounded());
        let turns = decoding.turns.available_permits() as u32;
        let all = decoding.turns.clone().acquire_many_owned(turns).await;
        let waiting = decoding.clone();
        let body = Bytes::from(vec![b' '; LARGE_BYTES]);
        let read = tokio::spawn(async move {
            let read = waiting.read(Given::Shared(body), Declared::default(), |body, _, _| {
                body.len()
            });
            read.await.map(|(bytes, _)| bytes)
        });
        tokio::time::sleep(100 * WAIT).await;
        assert!(!read.is_finished());
        drop(all);
        assert_eq!(read.await.unwrap().unwrap(), LARGE_BYTES);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_body_that_asks_for_more_than_a_little_is_read_apart() {
        let decoding = decoding(4 * LIGHT_BYTES);
        let declared = Declared {
            content_type: Some("text/csv"),
            ..Declared::default()
        };
        let here = std::thread::current().id();
        let taking = |bytes| {
            move |_: &[u8], declared: Declared<'_>, watch: &dyn Watch| {
                assert_eq!(declared.content_type, Some("text/csv"));
                (watch.take(bytes), std::thread::current().id())
            }
        };
        let read = decoding.read(small(), declared, taking(LIGHT_BYTES)).await;
        assert_eq!(read.unwrap().0, (true, here));
        let read = decoding
            .read(small(), declared, taking(2 * LIGHT_BYTES))
            .await;
        let ((taken, thread), charge) = read.unwrap();
        assert!(taken && thread != here);
        assert_eq!(decoding.account.in_use(), 2 * LIGHT_BYTES);
        let refused = decoding
            .read(small(), declared, taking(3 * LIGHT_BYTES))
            .await;
        assert_eq!(refused.unwrap_err().status(), 503);
        drop(charge);
        assert_eq!(decoding.account.in_use(), 0);
        let never = decoding
            .read(small(), declared, taking(5 * LIGHT_BYTES))
            .await;
        assert_eq!(never.unwrap_err().status(), 413);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn large_bodies_take_turns_and_end_once_their_callers_are_gone() {
        let decoding = Arc::new(decoding(1 << 20));
        let body = Bytes::from(vec![b' '; LARGE_BYTES]);
        let (began, begins) = mpsc::channel();
        let turns = decoding.turns.available_permits();
        let read = || {
            let (decoding, body, began) = (decoding.clone(), body.clone(), began.clone());
            tokio::spawn(async move {
                let until_over = move |_: &[u8], _: Declared<'_>, watch: &dyn Watch| {
                    began.send(()).unwrap();
                    while !watch.is_over() {
                        std::thread::yield_now();
                    }
                };
                let read = decoding.read(Given::Shared(body), Declared::default(), until_over);
                read.await.map(|_| ())
            })
        };
        let held: Vec<_> = (0..turns).map(|_| read()).collect();
        for _ in 0..turns {
            tokio::task::block_in_place(|| begins.recv()).unwrap();
        }
        assert_eq!(read().await.unwrap().unwrap_err().status(), 503);
        held.iter().for_each(tokio::task::JoinHandle::abort);
        let all = decoding.turns.acquire_many(turns as u32).await;
        assert!(all.is_ok());
    }
}

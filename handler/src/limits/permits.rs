//! How many requests and messages may be scored at once.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::Problem;

/// Permits to score; one is held from when a body is there until its answer is.
#[derive(Debug)]
pub(crate) struct Permits {
    free: Semaphore,
    all: usize,
}

impl Permits {
    /// So many may be held at once.
    pub(crate) fn new(max_requests: usize) -> Self {
        let all = max_requests.min(Semaphore::MAX_PERMITS);
        Self {
            free: Semaphore::new(all),
            all,
        }
    }

    /// How many are held now.
    pub(crate) fn in_use(&self) -> usize {
        self.all - self.free.available_permits()
    }

    /// A permit, if one is free.
    ///
    /// # Errors
    /// 503 if none is.
    pub(crate) fn take_free(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let permit = self.free.try_acquire();
        permit.map_err(|_| Problem::busy("too many requests are in flight"))
    }

    /// A permit, as soon as one is free.
    ///
    /// # Errors
    /// Never in fact: nothing closes the semaphore.
    pub(crate) async fn take(&self) -> Result<SemaphorePermit<'_>, Problem> {
        let permit = self.free.acquire().await;
        permit.map_err(|_| Problem::internal())
    }
}

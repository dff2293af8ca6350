//! How many HTTP requests a host lets run and wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::host_config::HostConfig;

/// The limits of section `extensions.http`.
#[derive(Debug)]
pub struct Throttle {
    running: Arc<Semaphore>,
    outstanding: Arc<AtomicUsize>,
    max_outstanding: usize,
}

/// Dropped when a request is answered.
#[derive(Debug)]
pub struct Permit {
    outstanding: Arc<AtomicUsize>,
    running: Option<OwnedSemaphorePermit>,
}

impl Throttle {
    /// As host.json says; what it does not say is not limited.
    pub fn new(config: &HostConfig) -> Self {
        let limit = |name: &str| config.number(&format!("/http/{name}"), Semaphore::MAX_PERMITS);
        Self {
            running: Arc::new(Semaphore::new(limit("maxConcurrentRequests"))),
            outstanding: Arc::default(),
            max_outstanding: limit("maxOutstandingRequests"),
        }
    }

    /// Waits until a request may run; nothing if too many run and wait already.
    pub async fn enter(&self) -> Option<Permit> {
        let before = self.outstanding.fetch_add(1, Ordering::SeqCst);
        let mut permit = Permit {
            outstanding: Arc::clone(&self.outstanding),
            running: None,
        };
        if before >= self.max_outstanding {
            return None;
        }
        permit.running = Arc::clone(&self.running).acquire_owned().await.ok();
        Some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.outstanding.fetch_sub(1, Ordering::SeqCst);
    }
}

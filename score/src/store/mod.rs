//! What a shared store has to do, the supervisor of its connection, and the circuit breaker (gate) in front of it.

mod backoff;
mod contract;
mod gate;
mod supervise;

pub use backoff::Backoff;
pub(crate) use backoff::spread_out;
pub use contract::{Store, StoreEntry, StoreError};
pub(crate) use supervise::{SupervisedStore, Supervisor, Use};

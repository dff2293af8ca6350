//! What a shared store has to do, and the circuit breaker in front of it.

mod contract;
mod gate;

pub use contract::{MemoStore, StoreEntry, StoreError};
pub(crate) use gate::{Gate, Pass};

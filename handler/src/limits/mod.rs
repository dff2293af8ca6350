//! How much may be in work at once.

mod account;
mod decoding;
mod permits;
mod room;

use wire::Limits;

use crate::config::Config;

pub(crate) use account::Charge;
pub(crate) use decoding::{Decoding, Given};
pub(crate) use permits::Permits;
pub(crate) use room::{BodyLimits, Room};

/// What the settings allow a body to take.
pub(crate) fn body_limits(config: &Config) -> Limits {
    Limits {
        max_bytes: config.max_body_bytes,
        max_nesting: config.max_nesting,
        max_rows: config.max_rows,
    }
}

/// What all that bodies become may take together: as much as bodies, and enough for one that is as large as one may be.
pub(crate) fn decoded_bytes(config: &Config) -> usize {
    /// Elements take up to eight times their text, as zeros in a float64 model do with a copy.
    const FACTOR: usize = 8;
    let one = config.max_body_bytes.saturating_mul(FACTOR);
    config.max_waiting_bytes.max(one)
}

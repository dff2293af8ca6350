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

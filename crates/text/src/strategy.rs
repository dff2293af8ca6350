//! How pairs of texts that are too long are cut.

use serde::{Deserialize, Serialize};

/// Which text of a pair loses tokens where both are too long.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The longer one, until both are as long.
    #[default]
    LongestFirst,
    /// The query.
    OnlyFirst,
    /// The text.
    OnlySecond,
}

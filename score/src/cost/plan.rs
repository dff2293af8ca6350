//! The words of a decision: the ways in which a request can be scored, and what they cost.

use super::ghost::Seen;
use crate::cache::Tiers;

/// When remembered results are looked up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CachePolicy {
    /// For every request.
    #[default]
    Always,
    /// Where the costs learned so far say that it pays.
    Auto,
    /// Never, and nothing is remembered.
    Off,
}

impl CachePolicy {
    /// Its word in the settings.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::Auto => "auto",
            Self::Off => "off",
        }
    }
}

/// How one request is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Computed; nothing is looked up or remembered.
    Compute,
    /// Its rows are looked up one by one.
    Rows(Tiers),
    /// It is looked up as a whole.
    Request(Tiers),
}

impl Plan {
    /// The one to keep to while too little is known, and under [`CachePolicy::Always`]. Of all that cost about the same
    /// the first is taken: what others share, and what is found in parts.
    pub(super) const PREFERRED: [Self; 5] = [
        Self::Rows(Tiers::All),
        Self::Request(Tiers::All),
        Self::Rows(Tiers::Local),
        Self::Request(Tiers::Local),
        Self::Compute,
    ];
    pub(crate) const DEFAULT: Self = Self::PREFERRED[0];

    /// The tiers that are asked, and that remember.
    pub(crate) fn tiers(self) -> Option<Tiers> {
        match self {
            Self::Rows(tiers) | Self::Request(tiers) => Some(tiers),
            Self::Compute => None,
        }
    }

    /// Its name in figures.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Rows(Tiers::All) => "rows",
            Self::Request(Tiers::All) => "request",
            Self::Rows(Tiers::Local) => "rows_local",
            Self::Request(Tiers::Local) => "request_local",
            Self::Compute => "none",
        }
    }
}

/// What a model's rows and look-ups cost, as far as it has shown, in seconds. Costs are moving averages for each row, in
/// requests and runs as they come: many rows at once cost less each.
#[derive(Debug, Clone, Default)]
pub struct CostFigures {
    /// Computing a row; `None` before the first runs.
    pub row: Option<f64>,
    /// Finding out whether this process holds a row: the digest and the look-up.
    pub local_lookup: Option<f64>,
    /// Asking the shared store for a row.
    pub remote_lookup: Option<f64>,
    /// Computing that hits made unnecessary, less the time of all look-ups and of remembering; a sum.
    pub saved: f64,
    /// Requests by how they were looked up.
    pub plans: [(&'static str, u64); Plan::PREFERRED.len()],
}

/// The tiers that can be asked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Available {
    pub(crate) local: bool,
    pub(crate) remote: bool,
}

impl Available {
    /// Whether a plan is one of its own here. Where there is one tier, all tiers are that one.
    pub(super) fn has(self, plan: Plan) -> bool {
        match plan {
            Plan::Rows(Tiers::Local) | Plan::Request(Tiers::Local) => self.local && self.remote,
            _ => true,
        }
    }
}

/// How a request is to be scored.
#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) plan: Plan,
    pub(super) seen: Seen,
    /// The tiers that the request before was to ask too: only their times are learned.
    pub(super) warm: Option<Tiers>,
}

impl Default for Decision {
    fn default() -> Self {
        Self {
            plan: Plan::DEFAULT,
            seen: Seen::default(),
            warm: Some(Tiers::All),
        }
    }
}

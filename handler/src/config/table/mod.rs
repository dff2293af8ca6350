//! Every setting of the program, one row each. Reading, `handler settings` and docs/settings.md follow from the table.
//!
//! To add a setting: one row in the group it belongs to, one field of `Config` that holds its value, and the tables of
//! docs/settings.md written again by `handler settings --markdown`.

mod cache;
mod callers;
mod platform;
mod requests;
mod serving;

use super::setting::Setting;
pub(super) use cache::*;
pub(super) use callers::*;
pub(super) use platform::*;
pub(super) use requests::*;
pub(super) use serving::*;

/// Settings that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// What they are about.
    pub heading: &'static str,
    /// In the order in which they are shown.
    pub settings: &'static [Setting],
}

/// Every setting that this program or a library in it reads, in the order in which they are shown.
pub const SETTINGS: &[Group] = &[
    MODELS, LISTENING, CALLERS, LIMITS, MESSAGES, BLOBS, CACHE, REDIS, LOGS, TRACES, PLATFORM,
];

/// The settings of all groups.
pub(crate) fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().flat_map(|group| group.settings)
}

/// Makes a typed constant of each row, and a [`Group`] of all of them.
macro_rules! settings {
    ($group:ident, $heading:literal: $($id:ident: $type:ty = $row:expr;)*) => {
        $(pub(crate) const $id: Typed<$type> = $row;)*
        pub(crate) const $group: Group = Group {
            heading: $heading,
            settings: &[$($id.setting),*],
        };
    };
}
use settings;

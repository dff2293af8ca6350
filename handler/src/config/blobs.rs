//! Where large blobs are, and how long a call may work on one.

use std::time::Duration;

use super::reader::Reader;
use super::table;

/// What the settings say about large blobs. The account is looked at when it is first needed: other functions use the same
/// variables, and may run with what this program does not understand.
#[cfg_attr(not(feature = "blobs"), allow(dead_code, reason = "read and not used"))]
#[derive(Clone)]
pub(crate) struct BlobSettings {
    /// Address, name or connection string of the storage account.
    pub(crate) storage: Option<String>,
    /// Of a user-assigned identity.
    pub(crate) client_id: Option<String>,
    /// Whether the app has a managed identity.
    pub(crate) is_managed: bool,
    /// The container of what is scored.
    pub(crate) incoming: String,
    /// The container of results.
    pub(crate) scored: String,
    /// The container of refusals.
    pub(crate) rejected: String,
    /// How long one call works.
    pub(crate) budget: Duration,
}

impl std::fmt::Debug for BlobSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the account, which may be a connection string.
        let mut shown = f.debug_struct("BlobSettings");
        shown.field("incoming", &self.incoming);
        shown.field("scored", &self.scored);
        shown.field("rejected", &self.rejected);
        shown.field("budget", &self.budget).finish_non_exhaustive()
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> BlobSettings {
    let own = reader.value(&table::BLOBS_CLIENT_ID);
    let client_id = own.or_else(|| reader.value(&table::CLIENT_ID));
    let settings = BlobSettings {
        storage: reader.value(&table::BLOBS_STORAGE),
        client_id,
        is_managed: reader.is_set(&table::IDENTITY_ENDPOINT)
            && reader.is_set(&table::IDENTITY_HEADER),
        incoming: reader.value(&table::BLOBS_INCOMING),
        scored: reader.value(&table::BLOBS_SCORED),
        rejected: reader.value(&table::BLOBS_REJECTED),
        budget: reader.value(&table::BLOBS_BUDGET),
    };
    if [&settings.scored, &settings.rejected].contains(&&settings.incoming) {
        reader.mistakes.push(format!(
            "SCORE_BLOBS_INCOMING: expected another container than those of SCORE_BLOBS_SCORED and SCORE_BLOBS_REJECTED, found {:?}: \
             results would take the place of what is scored",
            settings.incoming
        ));
    }
    if settings.scored == settings.rejected {
        reader.mistakes.push(format!(
            "SCORE_BLOBS_REJECTED: expected another container than that of SCORE_BLOBS_SCORED, found {:?}: the refused lines of one blob \
             would take the place of another's results",
            settings.rejected
        ));
    }
    settings
}

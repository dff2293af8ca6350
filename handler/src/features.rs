//! Rows that a request or a message names by key: read from the shared store and made into tensors.

use score::{FeatureError, FeatureFormat, FeatureStore, ModelMetadata, NamedTensor, ScoreError};
use tracing::{Instrument, info_span};
use wire::{AnswerForm, Body, Decoded, HashReader, Limits, Unfit};

use crate::blocking;

/// Why there are no rows for keys.
#[derive(Debug)]
pub(crate) enum NoRows {
    /// The model takes none by key; the text says what to set.
    NotServed(String),
    /// No Redis is set.
    NoStore,
    /// Keys are missing, or the store cannot be asked.
    NotRead(FeatureError),
    /// What is stored does not fit the model.
    Unfit(Unfit),
    /// All values together are larger than a body may be.
    TooLarge(usize),
    /// The model takes no request without rows.
    Empty(ScoreError),
}

/// The rows of a body; those it only names are fetched from the store.
///
/// # Errors
/// [`NoRows`]; its texts never hold any part of a stored value.
pub(crate) async fn fetch(
    store: Option<&FeatureStore>,
    limits: Limits,
    metadata: &ModelMetadata,
    body: Body,
) -> Result<Decoded, NoRows> {
    match body {
        Body::Rows(decoded) => Ok(decoded),
        Body::Keys(keys) => Ok(Decoded {
            inputs: rows(store, limits, metadata, &keys).await?,
            answer: AnswerForm::of_stored_rows(),
            by_position: false,
        }),
    }
}

async fn rows(
    store: Option<&FeatureStore>,
    limits: Limits,
    metadata: &ModelMetadata,
    keys: &[String],
) -> Result<Vec<NamedTensor>, NoRows> {
    let options = &metadata.options;
    let Some(features) = &options.features else {
        return Err(NoRows::NotServed(format!(
            "model {:?} takes no keys: its model.toml has no table [features] with a prefix",
            metadata.name
        )));
    };
    let signature = &metadata.signature;
    if keys.is_empty() {
        return wire::no_rows(signature, limits.max_nesting).map_err(NoRows::Empty);
    }
    let store = store.ok_or(NoRows::NoStore)?;
    let span = info_span!("features", score.keys = keys.len());
    if features.format == FeatureFormat::Hash {
        return hashes(store, &features.prefix, metadata, keys, limits)
            .instrument(span)
            .await;
    }
    let values = store.get(&features.prefix, keys, features.format);
    let values = values.instrument(span).await.map_err(NoRows::NotRead)?;
    // Counted as often as they are asked for: a short list of keys must not make up more than a body could bring.
    let bytes: usize = values.iter().map(|value| value.len()).sum();
    if bytes > limits.max_bytes {
        return Err(NoRows::TooLarge(limits.max_bytes));
    }
    let read = || wire::read_rows(keys, &values, options, signature, limits.max_nesting);
    blocking::apart(bytes, read).map_err(NoRows::Unfit)
}

/// Bytes that a field of a hash takes on its way at least, so that short ones are bounded too.
const FIELD_BYTES: usize = 16;

/// Rows that lie in hashes.
async fn hashes(
    store: &FeatureStore,
    prefix: &str,
    metadata: &ModelMetadata,
    keys: &[String],
    limits: Limits,
) -> Result<Vec<NamedTensor>, NoRows> {
    let reader = HashReader::new(metadata);
    let fields = reader.fields();
    let least = (keys.len() * FIELD_BYTES).saturating_mul(fields.len());
    if least > limits.max_bytes {
        return Err(NoRows::TooLarge(limits.max_bytes));
    }
    let rows = store.get_fields(prefix, keys, &fields).await;
    let rows = rows.map_err(NoRows::NotRead)?;
    let values = rows.iter().flatten().flatten();
    let bytes: usize = values.map(|value| value.len()).sum();
    if bytes > limits.max_bytes {
        return Err(NoRows::TooLarge(limits.max_bytes));
    }
    blocking::apart(bytes.max(least), || reader.read(keys, &rows)).map_err(NoRows::Unfit)
}

//! Rows that a request or a message names by key: read from the shared store and made into tensors.

use score::{FeatureError, FeatureFormat, FeatureStore, ModelMetadata, NamedTensor, ScoreError};
use tracing::{Instrument, info_span};
use wire::{AnswerForm, Decoded, HashReader, Limits, Unfit};

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
    /// There is no memory for them.
    NoMemory,
    /// The model takes no request without rows.
    Empty(ScoreError),
}

/// The rows under keys. `take` is told how many bytes they take so far, and ends the reading by `false`.
///
/// # Errors
/// [`NoRows`]; its texts never hold any part of a stored value.
pub(crate) async fn fetch(
    store: Option<&FeatureStore>,
    limits: Limits,
    metadata: &ModelMetadata,
    keys: &[String],
    take: &mut Take<'_>,
) -> Result<Decoded, NoRows> {
    Ok(Decoded {
        inputs: rows(store, limits, metadata, keys, take).await?,
        answer: AnswerForm::of_stored_rows(),
        by_position: false,
    })
}

async fn rows(
    store: Option<&FeatureStore>,
    limits: Limits,
    metadata: &ModelMetadata,
    keys: &[String],
    take: &mut Take<'_>,
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
        return hashes(store, &features.prefix, metadata, keys, (limits, take))
            .instrument(span)
            .await;
    }
    let mut budget = Budget::new(limits, take);
    let mut fits = |bytes| budget.fits(bytes);
    let values = store.get(&features.prefix, keys, features.format, &mut fits);
    let values = values.instrument(span).await;
    let values = values.map_err(|error| budget.reason(error))?;
    // Counted as often as they are asked for: a short list of keys must not make up more than a body could bring.
    let bytes: usize = values.iter().map(|value| value.len()).sum();
    if !budget.fits(bytes) {
        return Err(budget.reason(FeatureError::TooLarge));
    }
    let read = || wire::read_rows(keys, &values, options, signature, limits.max_nesting);
    blocking::apart(bytes, read).map_err(NoRows::Unfit)
}

/// Takes memory, so many bytes in all; `false` if there is none.
pub(crate) type Take<'a> = dyn FnMut(usize) -> bool + Send + 'a;

/// What the values of one request may take.
struct Budget<'a, 't> {
    max_bytes: usize,
    take: &'a mut Take<'t>,
    /// Whether they are larger than a body may be.
    is_exceeded: bool,
}

impl<'a, 't> Budget<'a, 't> {
    fn new(limits: Limits, take: &'a mut Take<'t>) -> Self {
        Self {
            max_bytes: limits.max_bytes,
            take,
            is_exceeded: false,
        }
    }

    /// The values themselves, the row of each, and all rows together.
    fn fits(&mut self, bytes: usize) -> bool {
        const COPIES: usize = 4;
        self.is_exceeded = bytes > self.max_bytes;
        !self.is_exceeded && (self.take)(bytes.saturating_mul(COPIES))
    }

    fn reason(&self, error: FeatureError) -> NoRows {
        match error {
            FeatureError::TooLarge if self.is_exceeded => NoRows::TooLarge(self.max_bytes),
            FeatureError::TooLarge => NoRows::NoMemory,
            error => NoRows::NotRead(error),
        }
    }
}

/// Bytes that a field of a hash takes on its way at least, so that short ones are bounded too.
const FIELD_BYTES: usize = 16;

/// Rows that lie in hashes.
async fn hashes(
    store: &FeatureStore,
    prefix: &str,
    metadata: &ModelMetadata,
    keys: &[String],
    (limits, take): (Limits, &mut Take<'_>),
) -> Result<Vec<NamedTensor>, NoRows> {
    let reader = HashReader::new(metadata);
    let fields = reader.fields();
    let least = (keys.len() * FIELD_BYTES).saturating_mul(fields.len());
    if least > limits.max_bytes {
        return Err(NoRows::TooLarge(limits.max_bytes));
    }
    let mut budget = Budget::new(limits, take);
    let mut fits = |bytes| budget.fits(bytes + least);
    let rows = store.get_fields(prefix, keys, &fields, &mut fits).await;
    let rows = rows.map_err(|error| budget.reason(error))?;
    let values = rows.iter().flatten().flatten();
    let bytes: usize = values.map(|value| value.len()).sum();
    if !budget.fits(bytes + least) {
        return Err(budget.reason(FeatureError::TooLarge));
    }
    blocking::apart(bytes.max(least), || reader.read(keys, &rows)).map_err(NoRows::Unfit)
}

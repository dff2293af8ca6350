//! What is known of the values that a model takes: those that its graph compares inputs with, and the rows of `samples.json`
//! beside it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use tracing::warn;

use super::ModelFolder;
use super::graph::{KnownValues, Reading};
use super::small_file::read_small_file;
use crate::scorer::ModelMetadata;
use crate::signature::ModelSignature;
use crate::tensor::{NamedTensor, Tensor};

/// What the file with sample rows is called.
pub(super) const SAMPLES: &str = "samples.json";
/// Longer ones are data sets.
const MAX_SAMPLES_BYTES: u64 = 1 << 20;
/// Columns of one input whose categories are told.
const MAX_COLUMNS: usize = 256;

/// Reads the rows of a JSON text for a model. The error says what is wrong with which row.
pub type SampleReader = fn(&ModelMetadata, &str) -> Result<Vec<NamedTensor>, String>;

/// What is known of the values that a model takes.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// For inputs by name, what the graph compares each column with; `None` where it compares a column with nothing. A list of
    /// single values is one column.
    pub categories: BTreeMap<String, Vec<Option<KnownValues>>>,
    /// The content of `samples.json`, which has rows that the model takes: a list in JSON.
    pub samples: Option<Arc<str>>,
}

impl Hints {
    /// What the graph says.
    pub(crate) fn of(reading: &Reading, signature: &ModelSignature) -> Self {
        let inputs = signature.inputs.iter().enumerate();
        let categories = inputs.filter_map(|(input, spec)| {
            let width = match spec.signed_shape()[..] {
                [_] | [_, 1] => 1,
                [_, width] => usize::try_from(width).ok().filter(|n| *n <= MAX_COLUMNS)?,
                _ => return None,
            };
            let whole =
                |values: &&KnownValues| !values.texts.is_empty() || !values.numbers.is_empty();
            let column = |column| reading.known.of(input, column).filter(whole).cloned();
            let columns: Vec<_> = (0..width).map(column).collect();
            let some = columns.iter().any(Option::is_some);
            some.then(|| (spec.name.clone(), columns))
        });
        Self {
            categories: categories.collect(),
            samples: None,
        }
    }
}

/// The rows of `samples.json` as one tensor for each input, and the text itself. A file that does not fit is told in the log
/// and has no effect: it is no part of the model.
pub(crate) fn read_samples(
    folder: &ModelFolder,
    metadata: &ModelMetadata,
    reader: Option<SampleReader>,
) -> Option<(Vec<Tensor>, Arc<str>)> {
    let file = folder.folder.join(SAMPLES);
    let read = reader?;
    let rows = read_small_file(&file, MAX_SAMPLES_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => "expected a text file of at most 1 MiB".to_owned(),
        _ => error.to_string(),
    });
    if !file.is_file() {
        return None;
    }
    let rows =
        rows.and_then(|bytes| String::from_utf8(bytes).map_err(|_| "expected UTF-8".to_owned()));
    let rows = rows.and_then(|text| {
        let named = read(metadata, &text)?;
        let arranged = metadata.signature.arrange(named);
        let mut arranged = arranged.map_err(|error| error.to_string())?;
        arranged.tensors.truncate(metadata.signature.inputs.len());
        Ok((arranged.tensors, text.into()))
    });
    let warned = rows.inspect_err(|reason| {
        warn!(model = folder.name, "{SAMPLES} has no effect: {reason}");
    });
    warned.ok()
}

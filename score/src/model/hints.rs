//! What is known of the values that a model takes: those that its graph compares inputs with, and the rows of `samples.json`
//! beside it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::ModelFolder;
use super::graph::{KnownValues, Reading};
use super::small_file::read_small_file;
use crate::signature::{Dim, ModelSignature};
use crate::tensor::ElementType;

/// What the file with sample rows is called.
pub(super) const SAMPLES: &str = "samples.json";
/// Longer ones are data sets.
const MAX_SAMPLES_BYTES: u64 = 1 << 20;
/// Columns of one input whose categories are told.
const MAX_COLUMNS: usize = 256;

/// What is known of the values that a model takes.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// For inputs by name, what the graph compares each column with; `None` where it compares a column with nothing. A list of
    /// single values is one column.
    pub categories: BTreeMap<String, Vec<Option<KnownValues>>>,
    /// The content of `samples.json`, which has rows that the model takes: a list in JSON.
    pub samples: Option<Arc<str>>,
    /// Why `samples.json` has no effect, if there is one that does not fit.
    pub unused_samples: Option<String>,
    /// The names of the columns of outputs, for people: those of the classes whose scores they hold.
    pub classes: BTreeMap<String, Vec<String>>,
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
        let classes = &reading.classes;
        let outputs = signature.outputs.iter().filter(|spec| {
            let width = spec.dims().get(1..);
            let is_float = matches!(
                spec.element_type,
                ElementType::Float32 | ElementType::Float64
            );
            is_float && !classes.is_empty() && width == Some(&[Dim::Fixed(classes.len())])
        });
        Self {
            categories: categories.collect(),
            samples: None,
            unused_samples: None,
            classes: outputs
                .map(|spec| (spec.name.clone(), classes.clone()))
                .collect(),
        }
    }
}

impl ModelFolder {
    /// The content of `samples.json`, if there is one.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub(crate) fn samples(&self) -> Option<Result<String, String>> {
        let read = read_small_file(&self.folder.join(SAMPLES), MAX_SAMPLES_BYTES);
        Some(match read {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| "expected UTF-8".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err("expected a text file of at most 1 MiB".to_owned())
            }
            Err(error) => Err(error.to_string()),
        })
    }
}

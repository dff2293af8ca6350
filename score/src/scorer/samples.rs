//! The sample rows beside a model.

use std::sync::Arc;

use tracing::warn;

use super::ModelMetadata;
use crate::model::ModelFolder;
use crate::tensor::{NamedTensor, Tensor};

/// Reads the rows of a JSON text for a model. The error says what is wrong with which row.
pub type SampleReader = fn(&ModelMetadata, &str) -> Result<Vec<NamedTensor>, String>;

/// The rows of `samples.json` as one tensor for each input, and the text itself. A file that does not fit is told in the log
/// and has no effect: it is no part of the model.
pub(super) fn read_samples(
    folder: &ModelFolder,
    metadata: &ModelMetadata,
    reader: Option<SampleReader>,
) -> Option<(Vec<Tensor>, Arc<str>)> {
    let text = folder.samples().filter(|_| reader.is_some())?;
    let read = |text: String| {
        let named = reader.map_or(Ok(Vec::new()), |read| read(metadata, &text))?;
        let arranged = metadata.signature.arrange(named);
        let mut tensors = arranged.map_err(|error| error.to_string())?.tensors;
        tensors.truncate(metadata.signature.inputs.len());
        Ok((tensors, text.into()))
    };
    let rows = text.and_then(read).inspect_err(|reason| {
        warn!(model = folder.name, "samples.json has no effect: {reason}");
    });
    rows.ok()
}

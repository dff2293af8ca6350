//! The sample rows beside a model.

use std::sync::Arc;

use tracing::warn;

use super::ModelMetadata;
use crate::model::ModelFolder;
use crate::tensor::{NamedTensor, Tensor};

/// Reads the rows of a JSON text for a model. The error says what is wrong with which row.
pub type SampleReader = fn(&ModelMetadata, &str) -> Result<Vec<NamedTensor>, String>;

/// The rows of `samples.json` as one tensor for each input, and the text itself.
type Samples = (Vec<Tensor>, Arc<str>);

/// What `samples.json` has, if there is one. A file that does not fit is told in the log
/// and has no effect: it is no part of the model.
///
/// # Errors
/// Says why it does not fit.
pub(super) fn read_samples(
    folder: &ModelFolder,
    metadata: &ModelMetadata,
    reader: Option<SampleReader>,
) -> Result<Option<Samples>, String> {
    let Some(text) = folder.samples().filter(|_| reader.is_some()) else {
        return Ok(None);
    };
    let read = |text: String| {
        let named = reader.map_or(Ok(Vec::new()), |read| read(metadata, &text))?;
        let arranged = metadata.signature.arrange(named);
        let mut tensors = arranged.map_err(|error| error.to_string())?.tensors;
        tensors.truncate(metadata.signature.inputs.len());
        Ok(Some((tensors, text.into())))
    };
    text.and_then(read).inspect_err(|reason| {
        warn!(model = folder.name, "samples.json has no effect: {reason}");
    })
}

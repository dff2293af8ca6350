//! Loading a model from its folder, and what its `model.toml` may ask of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use super::samples::read_samples;
use super::{ModelMetadata, Scorer, ScorerOptions};
use crate::cache::{Cache, ModelDigest};
use crate::error::LoadError;
use crate::model::{
    Character, FeatureFormat, Hints, Model, ModelFolder, ModelOptions, OnnxModel, Reading, Runtime,
    check_inputs, check_outputs, examine, widths,
};
use crate::signature::{ModelSignature, Rows};
use crate::tensor::{ElementType, Tensor};

impl Scorer {
    /// Loads a model, finds out its character and starts its threads. Blocks; not for an async thread.
    ///
    /// Results are remembered under the digest of the model's files. If these were exchanged while it was loaded, the model
    /// is loaded once more, so that no result is remembered under the digest of another model.
    ///
    /// # Errors
    /// If the model cannot be loaded, its files do not stay the same while that is tried, or `model.toml` names an output
    /// it does not have.
    pub fn load(
        runtime: &Runtime,
        folder: &ModelFolder,
        options: ScorerOptions,
        cache: Arc<Cache>,
    ) -> Result<Self, LoadError> {
        let (loaded, folder) = folder
            .clone()
            .load_settled(|folder| load_sessions(runtime, folder, options))?;
        let (metadata, models) = loaded;
        Self::start(metadata, models, options, cache).map_err(|error| LoadError::Model {
            path: folder.file.display().to_string(),
            reason: error.to_string(),
        })
    }
}

/// Opens the sessions of a model and finds out its character.
fn load_sessions(
    runtime: &Runtime,
    folder: &ModelFolder,
    options: ScorerOptions,
) -> Result<(ModelMetadata, Vec<Box<dyn Model>>), LoadError> {
    let start = Instant::now();
    let (sessions, threads) = sessions_and_threads(folder.bytes, options);
    let open = || OnnxModel::load(runtime, folder, threads);
    let mut first = open()?;
    let mut signature = first.signature().clone();
    let one_row_only = signature.takes_one_row_only();
    if one_row_only {
        signature.free_rows();
    }
    let default_outputs = check_options(folder, &signature)?;
    let has_optional = !signature.optional.is_empty();
    let reading = Reading::in_file(&folder.file, &signature.inputs, has_optional);
    let digest = ModelDigest::new(&folder.digest()?, runtime.build());
    let mut metadata = ModelMetadata {
        version: folder.version.clone(),
        options: folder.options_for(&signature),
        default_outputs,
        hints: Hints::of(&reading, &signature),
        ..ModelMetadata::new(&folder.name, signature, Rows::Together, digest)
    };
    let samples = read_samples(folder, &metadata, options.samples).unwrap_or_else(|reason| {
        metadata.hints.unused_samples = Some(reason);
        None
    });
    let (samples, text) = samples.unzip();
    metadata.hints.samples = text;
    let mut trial = Trial {
        folder,
        model: &mut first,
        one_row_only,
        reading: &reading,
        samples: &samples.unwrap_or_default(),
    };
    (metadata.signature, metadata.character) = trial.character(&metadata.signature)?;
    trial.check_widths(&metadata.signature)?;
    let known = metadata.character.deterministic;
    metadata.memoize = folder.options.memoize.unwrap_or(known == Some(true));
    metadata.digest = digest.with_rows(metadata.character.rows);
    let mut models: Vec<Box<dyn Model>> = vec![Box::new(first)];
    for _ in 1..sessions {
        models.push(Box::new(open()?));
    }
    metadata.load_time = start.elapsed();
    Ok((metadata, models))
}

/// From this size on a model has one session only: each has a copy of the weights.
const LARGE_MODEL_BYTES: u64 = 64 << 20;

/// How many sessions a model gets and on how many threads each computes. Small models gain nothing from a second thread
/// inside a run.
pub(super) fn sessions_and_threads(model_bytes: u64, options: ScorerOptions) -> (usize, usize) {
    match options.sessions {
        Some(sessions) => (sessions.max(1), 1),
        None if model_bytes >= LARGE_MODEL_BYTES => (1, options.cores.max(1)),
        None => (options.cores.max(1), 1),
    }
}

/// What is needed to find out how a model's rows are treated.
struct Trial<'a> {
    folder: &'a ModelFolder,
    model: &'a mut OnnxModel,
    one_row_only: bool,
    reading: &'a Reading,
    samples: &'a [Tensor],
}

impl Trial<'_> {
    /// How the model's rows are treated, whether it always says the same, and the signature with the shapes that its outputs
    /// have then. Runs the model.
    ///
    /// # Errors
    /// [`LoadError::Options`] if `model.toml` wants its rows treated in a way that the model does not allow.
    fn character(
        &mut self,
        signature: &ModelSignature,
    ) -> Result<(ModelSignature, Character), LoadError> {
        let declared = self.folder.options.rows();
        if let Some(freed) = signature.with_free_outputs() {
            let found = self.examine(&freed);
            match declared {
                None if found.rows.are_cut_apart() => return Ok((freed, found)),
                Some(rows) if rows.are_cut_apart() => {
                    return Ok((freed, found.declared(rows, &self.reading.proof)));
                }
                _ => {}
            }
        }
        let found = self.examine(signature);
        let Some(rows) = declared else {
            return Ok((signature.clone(), found));
        };
        match rows_unfit(rows, signature, self.one_row_only) {
            Some(reason) => Err(self.folder.wrong_options(&format!("rows: {reason}"))),
            None => Ok((signature.clone(), found.declared(rows, &self.reading.proof))),
        }
    }

    /// Compares the number of labels with what a run gives, where the file does not declare it.
    fn check_widths(&mut self, signature: &ModelSignature) -> Result<(), LoadError> {
        let folder = self.folder;
        if folder.options.output.is_empty() {
            return Ok(());
        }
        let (reading, samples) = (self.reading, self.samples);
        let model = &mut *self.model;
        let mut found: Option<Vec<usize>> = None;
        let width = |index: usize| {
            let run = || widths(&mut *model, signature, reading, samples).unwrap_or_default();
            found.get_or_insert_with(run).get(index).copied()
        };
        let checked = check_outputs(&folder.options, signature, width);
        checked.map_err(|reason| folder.wrong_options(&reason))
    }

    fn examine(&mut self, signature: &ModelSignature) -> Character {
        let one_row_only = self.one_row_only;
        examine(
            self.model,
            signature,
            one_row_only,
            self.reading,
            self.samples,
        )
    }
}

/// Why the rows of a model cannot be treated as `model.toml` says.
fn rows_unfit(rows: Rows, signature: &ModelSignature, one_row_only: bool) -> Option<&'static str> {
    match rows {
        Rows::Together => None,
        Rows::Independent | Rows::Alone if !signature.has_dynamic_rows() => Some(
            "they cannot be cut apart, since axis 0 is not free in every input and output; take the line out",
        ),
        Rows::Independent if one_row_only => {
            Some("the model takes one row at a time; say \"alone\" or take the line out")
        }
        Rows::Independent | Rows::Alone => None,
    }
}

/// Why rows by key cannot be had for this model in that format.
pub(super) fn features_unfit(options: &ModelOptions, signature: &ModelSignature) -> Option<String> {
    let format = options.features.as_ref()?.format;
    let inputs = &signature.inputs;
    if inputs.is_empty() {
        return Some("the model has no input".to_owned());
    }
    if let Some(spec) = inputs.iter().find(|spec| spec.dims().is_empty()) {
        let why = match spec.shape {
            Some(_) => "has no rows",
            None => "does not declare what a row is",
        };
        return Some(format!("input {:?} {why}; it is {spec}", spec.name));
    }
    if format == FeatureFormat::Json {
        return None;
    }
    if format == FeatureFormat::Hash {
        let unnamed = inputs
            .iter()
            .find(|spec| options.fields_of(spec).is_none())?;
        let name = &unnamed.name;
        return Some(format!(
            "hash needs a name for each value of a row, and input {name:?} is {unnamed}; name its columns: columns = [...] \
             in the table [inputs.{name}]"
        ));
    }
    let [spec] = &inputs[..] else {
        let takes = signature.describe_inputs();
        let format = format.as_str();
        return Some(format!(
            "{format} holds one input, and the model takes {takes}; use json"
        ));
    };
    let lengths = &spec.signed_shape()[1..];
    let fits = match format {
        FeatureFormat::Npy => !matches!(
            spec.element_type,
            ElementType::BFloat16 | ElementType::String
        ),
        // The number of bytes tells the length of one axis, not of several.
        _ => spec.element_type.size().is_some() && lengths.iter().filter(|n| **n < 0).count() < 2,
    };
    (!fits).then(|| format!("{} cannot hold a row of {spec}; use json", format.as_str()))
}

/// Checks `model.toml` beside what the model takes and gives. Returns the outputs to answer with, as indices into
/// [`ModelSignature::declared`].
///
/// # Errors
/// [`LoadError::Options`] names the key and what to change.
pub fn check_options(
    folder: &ModelFolder,
    signature: &ModelSignature,
) -> Result<Vec<usize>, LoadError> {
    let checked = match folder.is_text && !folder.options.output.is_empty() {
        true => Err("output: only models of tensors have it".to_owned()),
        false => check_inputs(&folder.options, signature)
            .and_then(|()| check_outputs(&folder.options, signature, |_| None)),
    };
    checked.map_err(|reason| folder.wrong_options(&reason))?;
    match features_unfit(&folder.options, signature) {
        Some(reason) => Err(folder.wrong_options(&format!("features: {reason}"))),
        None => choose_outputs(folder, signature),
    }
}

fn choose_outputs(
    folder: &ModelFolder,
    signature: &ModelSignature,
) -> Result<Vec<usize>, LoadError> {
    let Some(names) = &folder.options.outputs else {
        return Ok((0..signature.declared.len()).collect());
    };
    let by_name: BTreeMap<&str, usize> = signature
        .declared
        .iter()
        .enumerate()
        .map(|(index, spec)| (spec.name.as_str(), index))
        .collect();
    if names.is_empty() {
        return Err(folder.wrong_options("outputs: name at least one"));
    }
    if let Some((index, name)) = names
        .iter()
        .enumerate()
        .find(|(i, n)| names[..*i].contains(n))
    {
        return Err(folder.wrong_options(&format!("outputs: {name:?} is named again at {index}")));
    }
    names
        .iter()
        .map(|name| {
            by_name.get(name.as_str()).copied().ok_or_else(|| {
                let known: Vec<&str> = by_name.keys().copied().collect();
                folder.wrong_options(&format!(
                    "outputs: the model has no output {name:?}; it has {}",
                    known.join(", ")
                ))
            })
        })
        .collect()
}

//! Whether `model.toml` fits what the model takes and gives.

use std::collections::BTreeMap;

use crate::error::LoadError;
use crate::model::{FeatureFormat, ModelFolder, ModelOptions, check_inputs};
use crate::signature::ModelSignature;
use crate::tensor::ElementType;

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
    check_inputs(&folder.options, signature).map_err(|reason| folder.wrong_options(&reason))?;
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

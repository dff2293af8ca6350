//! Inputs and outputs as the metadata shows them, with what a form for them has to know.

use score::{ElementType, KnownValues, MissingValues, ModelMetadata, TensorSpec};
use serde_json::{Value, json};
use wire::tensor_document;

/// An input, with the names of its columns, their categories, and whether values may be missing.
pub(super) fn input_document(metadata: &ModelMetadata, spec: &TensorSpec) -> Value {
    let mut document = tensor_document(spec);
    if let Some(options) = metadata.options.inputs.get(&spec.name) {
        if !options.columns.is_empty() {
            document["columns"] = json!(options.columns);
        }
        if !options.aliases.is_empty() {
            document["aliases"] = json!(options.aliases);
        }
        if options.missing == Some(MissingValues::Nan) {
            document["missing"] = json!("nan");
        }
    }
    if let Some(columns) = metadata.hints.categories.get(&spec.name) {
        let is_whole = !matches!(
            spec.element_type,
            ElementType::Float32 | ElementType::Float64
        );
        let values = |known: &KnownValues| match spec.element_type {
            ElementType::String => json!(known.texts),
            _ if is_whole => known.numbers.iter().map(|number| *number as i64).collect(),
            _ => json!(known.numbers),
        };
        let columns = columns.iter().map(|known| known.as_ref().map(values));
        document["categories"] = json!(columns.collect::<Vec<_>>());
    }
    document
}

/// An output, with what `model.toml` makes of it, and the names of classes that it or the graph knows.
pub(super) fn output_document(metadata: &ModelMetadata, spec: &TensorSpec) -> Value {
    let mut document = tensor_document(spec);
    let options = metadata.options.output.get(&spec.name);
    if let Some(activation) = options.and_then(|options| options.activation) {
        document["activation"] = json!(activation.as_str());
    }
    if let Some(top) = options.and_then(|options| options.top_k) {
        document["top_k"] = json!(top);
    }
    let labels = match options {
        Some(_) => metadata.options.labels_of(&spec.name),
        None => &[],
    };
    let classes = metadata.hints.classes.get(&spec.name);
    let known = classes.filter(|_| metadata.options.labels.is_empty() && labels.is_empty());
    match known {
        Some(classes) => document["labels"] = json!(classes),
        None if !labels.is_empty() => document["labels"] = json!(labels),
        None => {}
    }
    document
}

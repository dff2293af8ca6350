//! Bodies by content type, with an example request of each model.

use score::{Dim, ElementType, ModelMetadata, ModelSignature, OutputForm, TensorSpec};
use serde_json::{Value, json};
use wire::schema::reference;
use wire::{Declared, Limits, protocol_sample, sample_request};

use super::header_references;

/// One pixel, to ask whether a model takes pictures.
const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0:~\x9bU\
    \0\0\0\nIDATx\x9cc`\0\0\0\x02\0\x01H\xaf\xa4q\0\0\0\0IEND\xaeB`\x82";
const BINARY: &str = "application/octet-stream";
const NPY: &str = "application/x-npy";

/// JSON of that schema.
pub(super) fn json(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

/// A body in any dialect or format.
pub(super) fn request(metadata: &ModelMetadata) -> Value {
    let signature = &metadata.signature;
    let mut content = json(reference(&format!("{}.request", metadata.name)));
    if let Some(example) = sample_request(signature) {
        content["application/json"]["example"] = example;
    }
    if is_table(signature) {
        content["text/csv"] = plain("One row per line.".to_owned());
    }
    if let [spec] = &signature.inputs[..] {
        if is_raw(spec) {
            content[BINARY] = plain(format!("The little-endian bytes of {spec}."));
        }
        if has_npy(spec) {
            content[NPY] = plain(format!("A numpy array, {spec}."));
        }
        if takes_pictures(metadata) {
            for ty in ["image/png", "image/jpeg", "image/webp"] {
                content[ty] = plain("One picture.".to_owned());
            }
        }
    }
    json!({ "required": true, "content": content })
}

/// A body in the Open Inference Protocol.
pub(super) fn protocol_request(metadata: &ModelMetadata) -> Value {
    let mut content = json(reference(&format!("{}.protocol_request", metadata.name)));
    if let Some(example) = protocol_sample(&metadata.signature) {
        content["application/json"]["example"] = example;
    }
    content[BINARY] = plain(
        "JSON whose inputs have a parameter `binary_data_size` instead of data, then the bytes of these inputs; \
         `Inference-Header-Content-Length` tells where."
            .to_owned(),
    );
    json!({ "required": true, "content": content })
}

/// The answer of which the model's schema `part` tells.
pub(super) fn answer(metadata: &ModelMetadata, part: &str) -> Value {
    let mut content = json(reference(&format!("{}.{part}", metadata.name)));
    content[BINARY] =
        plain("In the Open Inference Protocol: JSON, then the outputs wanted as bytes.".to_owned());
    if answers_npy(metadata) {
        content[NPY] = plain("A numpy array, if `Accept` asks for it.".to_owned());
    }
    let headers = [
        "X-Cache",
        "Server-Timing",
        "X-Request-Id",
        "Inference-Header-Content-Length",
    ];
    json!({
        "description": "The scores, in the dialect of the request.",
        "headers": header_references(&headers),
        "content": content,
    })
}

/// A body that no schema describes further.
fn plain(description: String) -> Value {
    json!({ "schema": { "description": description } })
}

/// Whether each input is a column of a table, or the only one is a matrix.
fn is_table(signature: &ModelSignature) -> bool {
    let column = |spec: &TensorSpec| match &spec.shape {
        Some(dims) => dims.len() == 1 || spec.has_single_values(),
        None => true,
    };
    match &signature.inputs[..] {
        [] => false,
        [only] => only.dims().len() == 2 || column(only),
        all => all.iter().all(column),
    }
}

/// Whether the number of bytes tells the shape.
fn is_raw(spec: &TensorSpec) -> bool {
    let free = spec
        .dims()
        .iter()
        .filter(|dim| matches!(dim, Dim::Dynamic(_)));
    spec.shape.is_some() && spec.element_type.size().is_some() && free.count() <= 1
}

fn has_npy(spec: &TensorSpec) -> bool {
    !matches!(
        spec.element_type,
        ElementType::BFloat16 | ElementType::String
    )
}

fn answers_npy(metadata: &ModelMetadata) -> bool {
    let signature = &metadata.signature;
    let [only] = metadata.default_outputs[..] else {
        return false;
    };
    let form = signature.declared.get(only).map(|output| output.form);
    match form {
        Some(OutputForm::Tensor(index)) => signature.outputs.get(index).is_some_and(has_npy),
        _ => false,
    }
}

/// Shape, type and `model.toml` decide, so the reader of pictures is asked.
fn takes_pictures(metadata: &ModelMetadata) -> bool {
    let declared = Declared {
        content_type: Some("image/png"),
        ..Declared::default()
    };
    let limits = Limits {
        max_bytes: PICTURE.len(),
        max_nesting: 0,
        max_rows: 100,
    };
    wire::decode(PICTURE, declared, metadata, limits).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::samples;

    fn spec(element_type: ElementType, shape: &[i64]) -> TensorSpec {
        samples::spec("x", element_type, shape)
    }

    #[test]
    fn raw_bytes_need_one_free_axis_at_most_and_elements_of_one_size() {
        assert!(is_raw(&spec(ElementType::Float32, &[-1, 3])));
        assert!(is_raw(&spec(ElementType::Bool, &[])));
        assert!(!is_raw(&spec(ElementType::Float32, &[-1, -1])));
        assert!(!is_raw(&spec(ElementType::String, &[-1])));
        assert!(!is_raw(&samples::undeclared("x", ElementType::Float32)));
    }

    #[test]
    fn a_table_is_one_matrix_or_columns() {
        let of = |shapes: &[&[i64]]| {
            let inputs = shapes.iter().map(|shape| spec(ElementType::Int64, shape));
            is_table(&ModelSignature::of_tensors(inputs.collect(), vec![]))
        };
        assert!(of(&[&[-1, 784]]));
        assert!(of(&[&[-1, 1], &[-1]]));
        assert!(!of(&[&[-1, 3, 2]]));
        assert!(!of(&[&[-1, 3], &[-1]]));
        assert!(!of(&[&[]]));
        assert!(!of(&[]));
        let undeclared = samples::undeclared("x", ElementType::Int64);
        assert!(is_table(&ModelSignature::of_tensors(
            vec![undeclared],
            vec![]
        )));
    }
}

//! Answers of the protocol: `{"model_name", "model_version", "id", "outputs": [...]}` with flat data, and binary data
//! behind it.

use std::borrow::Cow;

use score::{
    ModelMetadata, NamedTensor, OutputForm, Tensor, TensorData, element_count, with_elements,
};
use serde::Serialize;

use super::super::Answer;
use super::asked::{AskedOutput, Parameters, Source};
use super::classes::classes;
use crate::body::Encoded;
use crate::json::output::item_shapes;
use crate::json::write::Flat;

#[derive(Serialize)]
struct Document<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Parameters::are_none")]
    parameters: &'a Parameters,
    outputs: Vec<Output<'a>>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<BinarySize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Flat<'a>>,
}

#[derive(Serialize)]
struct BinarySize {
    binary_data_size: usize,
}

/// A tensor to answer with, under its name.
struct Named<'a> {
    name: Cow<'a, str>,
    tensor: Cow<'a, Tensor>,
    binary: bool,
}

/// Writes the outputs that the request selects.
pub(super) fn write(answer: &Answer<'_>) -> serde_json::Result<Encoded> {
    let Some(asked) = &answer.form.asked else {
        return super::super::azure_ml::write_bare(answer);
    };
    let mut tensors = Vec::with_capacity(asked.outputs.len());
    for output in &asked.outputs {
        add(answer, *output, &mut tensors);
    }
    let mut binary = Vec::new();
    let mut outputs = Vec::with_capacity(tensors.len());
    for named in &tensors {
        let before = binary.len();
        if named.binary {
            named.tensor.data().append_le_bytes(&mut binary);
        }
        outputs.push(Output {
            name: &named.name,
            datatype: named.tensor.element_type().datatype(),
            shape: named.tensor.shape(),
            parameters: named.binary.then(|| BinarySize {
                binary_data_size: binary.len() - before,
            }),
            data: (!named.binary).then(|| Flat(named.tensor.data())),
        });
    }
    let any_binary = asked.outputs.iter().any(|output| output.binary);
    let mut body = serde_json::to_vec(&Document {
        model_name: &answer.metadata.name,
        model_version: &answer.metadata.version,
        id: asked.id.as_deref(),
        parameters: &asked.parameters,
        outputs,
    })?;
    if !any_binary {
        return Ok(Encoded::json(body));
    }
    let json_bytes = body.len();
    body.append(&mut binary);
    Ok(Encoded {
        body,
        content_type: "application/octet-stream",
        json_bytes: Some(json_bytes),
    })
}

/// The tensors of one output.
fn add<'a>(answer: &Answer<'a>, asked: AskedOutput, tensors: &mut Vec<Named<'a>>) {
    let binary = asked.binary;
    let result = |index: usize| answer.response.outputs.get(index);
    match asked.source {
        Source::Tensor(index) => {
            let Some(NamedTensor { name, tensor }) = result(index) else {
                return;
            };
            let count = asked.classes;
            let classes =
                count.and_then(|count| class_strings(answer.metadata, index, tensor, count));
            tensors.push(Named {
                name: Cow::Borrowed(name),
                tensor: classes.map_or(Cow::Borrowed(tensor), Cow::Owned),
                binary,
            });
        }
        Source::Sequence(declared) => {
            let Some(output) = answer.metadata.signature.declared.get(declared) else {
                return;
            };
            let OutputForm::Sequence { elements, shapes } = output.form else {
                return;
            };
            let (Some(elements), Some(shapes)) = (result(elements), result(shapes)) else {
                return;
            };
            let items = items(&elements.tensor, &shapes.tensor).enumerate();
            tensors.extend(items.map(|(position, tensor)| Named {
                name: Cow::Owned(format!("{}.{position}", output.name)),
                tensor: Cow::Owned(tensor),
                binary,
            }));
        }
    }
}

fn class_strings(
    metadata: &ModelMetadata,
    output: usize,
    tensor: &Tensor,
    count: usize,
) -> Option<Tensor> {
    let spec = metadata.signature.outputs.get(output)?;
    classes(tensor, spec, count, metadata.options.labels_of(&spec.name))
}

/// The tensors of a sequence, one by one.
fn items<'a>(elements: &'a Tensor, shapes: &Tensor) -> impl Iterator<Item = Tensor> + 'a {
    let mut start = 0;
    item_shapes(shapes).into_iter().map_while(move |shape| {
        let end = start + element_count(&shape)?;
        let data =
            with_elements!(elements.data(), v => TensorData::from(v.get(start..end)?.to_vec()));
        start = end;
        Tensor::new(shape, data).ok()
    })
}

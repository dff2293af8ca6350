//! What a text model gives: its inputs and outputs, and the tensors that are stored of each text.

use half::f16;
use score::{
    EMBEDDING, ENTITIES, ElementType, LABEL, ModelSignature, QUERY, RunError, SCORE, SCORES, TEXT,
    TOKENS, TRUNCATED, Task, Tensor, TensorData, TensorSpec, TextMetadata, Tokenized, WEIGHTS,
    stored_spans,
};

use crate::options::StoredAs;

/// What a text model takes and gives.
pub(crate) fn signature(text: &TextMetadata) -> ModelSignature {
    use score::Dim::{Dynamic, Fixed};
    let spec = |name: &str, element_type, deeper: Option<usize>| {
        let rows = std::iter::once(Dynamic(None));
        TensorSpec {
            name: name.to_owned(),
            element_type,
            shape: Some(rows.chain(deeper.map(Fixed)).collect()),
        }
    };
    let mut inputs = vec![spec(TEXT, ElementType::String, None)];
    if text.pairs {
        inputs.insert(0, spec(QUERY, ElementType::String, None));
    }
    let mut outputs = match text.task {
        Task::Embedding => vec![spec(EMBEDDING, ElementType::Float32, Some(text.dimensions))],
        Task::Sparse => vec![spec(WEIGHTS, ElementType::String, None)],
        Task::Rerank => vec![spec(SCORE, ElementType::Float32, None)],
        Task::Classify => vec![
            spec(LABEL, ElementType::String, None),
            spec(SCORES, ElementType::Float32, Some(text.labels.len())),
        ],
        Task::Tag => vec![spec(ENTITIES, ElementType::String, None)],
    };
    outputs.push(spec(TOKENS, ElementType::Int64, None));
    outputs.push(spec(TRUNCATED, ElementType::Bool, None));
    ModelSignature::of_tensors(inputs, outputs)
}

/// How many of the outputs are answered unless a request asks for others.
pub(crate) fn default_outputs_of(task: Task) -> usize {
    match task {
        Task::Classify => 2,
        _ => 1,
    }
}

/// The tensors that are stored of one text, of one row each. `numbers`: its vector, its logits, the logits of its tokens, or
/// its weight for each id of the vocabulary.
pub(crate) fn stored(
    task: Task,
    text: &Tokenized,
    numbers: Vec<f32>,
    store: StoredAs,
) -> Result<Vec<Tensor>, RunError> {
    refuse_nonsense(&numbers)?;
    let mut outputs = match task {
        Task::Embedding | Task::Rerank | Task::Classify => {
            vec![floats(vec![1, numbers.len()], numbers, store)?]
        }
        Task::Sparse => sparse(&numbers, store)?,
        Task::Tag => tagged(text, &numbers, store)?,
    };
    let tokens = TensorData::Int64(vec![text.ids.len() as i64]);
    outputs.push(tensor(vec![1], tokens)?);
    outputs.push(tensor(vec![1], TensorData::Bool(vec![text.cut]))?);
    Ok(outputs)
}

/// Logits that are no numbers have no order, and make nonsense of all scores; vectors of them have no direction.
pub(crate) fn refuse_nonsense(numbers: &[f32]) -> Result<(), RunError> {
    match numbers.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(RunError::NoNumber(*value)),
    }
}

fn sparse(weights: &[f32], store: StoredAs) -> Result<Vec<Tensor>, RunError> {
    let given = || {
        weights
            .iter()
            .enumerate()
            .filter(|(_, weight)| **weight > 0.0)
    };
    let index = |(index, _): (usize, &f32)| i32::try_from(index).unwrap_or(i32::MAX);
    let indices: Vec<i32> = given().map(index).collect();
    let values: Vec<f32> = given().map(|(_, weight)| *weight).collect();
    let count = indices.len();
    Ok(vec![
        tensor(vec![1, count], TensorData::Int32(indices))?,
        floats(vec![1, count], values, store)?,
    ])
}

fn tagged(text: &Tokenized, logits: &[f32], store: StoredAs) -> Result<Vec<Tensor>, RunError> {
    let labels = logits.len() / text.ids.len().max(1);
    let all: Vec<&[f32]> = logits.chunks_exact(labels.max(1)).collect();
    let mut kept = Vec::with_capacity(text.spans.len() * labels);
    for span in &text.spans {
        let token = all.get(span.place);
        kept.extend_from_slice(token.ok_or_else(|| wrong("a token has no logits"))?);
    }
    let spans = stored_spans(&text.ids, &text.spans);
    let spans = spans.ok_or_else(|| wrong("spans of tokens make no tensors"))?;
    let mut outputs = Vec::from(spans);
    outputs.push(floats(vec![1, text.spans.len(), labels], kept, store)?);
    Ok(outputs)
}

fn wrong(reason: &str) -> RunError {
    RunError::Failed(reason.to_owned())
}

fn floats(shape: Vec<usize>, values: Vec<f32>, store: StoredAs) -> Result<Tensor, RunError> {
    let data = match store {
        StoredAs::Float32 => TensorData::Float32(values),
        StoredAs::Float16 => TensorData::Float16(narrowed(&values)?),
    };
    tensor(shape, data)
}

/// The nearest numbers of float16.
fn narrowed(values: &[f32]) -> Result<Vec<f16>, RunError> {
    let narrow: Vec<f16> = values.iter().map(|value| f16::from_f32(*value)).collect();
    let too_large = |(wide, narrow): (&f32, &f16)| wide.is_finite() && narrow.is_infinite();
    match values.iter().zip(&narrow).any(too_large) {
        false => Ok(narrow),
        true => Err(wrong(
            "a number of the result is too large for float16; set store = \"float32\" in [text] of model.toml",
        )),
    }
}

pub(crate) fn tensor(shape: Vec<usize>, data: TensorData) -> Result<Tensor, RunError> {
    let tensor = Tensor::new(shape, data);
    tensor.map_err(|error| RunError::Failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use score::{TokenSpan, Words};

    use super::*;

    fn text(spans: Vec<TokenSpan>) -> Tokenized {
        Tokenized {
            ids: vec![2, 7, 3],
            types: vec![0; 3],
            cut: true,
            skipped: 0,
            spans,
        }
    }

    #[test]
    fn of_a_sparse_vector_only_weights_are_stored() {
        let numbers = vec![0.0, 0.5, 0.0, 2.0];
        let stored = stored(Task::Sparse, &text(Vec::new()), numbers, StoredAs::Float32).unwrap();
        assert_eq!(stored[0].data(), &TensorData::Int32(vec![1, 3]));
        assert_eq!(stored[1].data(), &TensorData::Float32(vec![0.5, 2.0]));
        assert_eq!(stored[2].data(), &TensorData::Int64(vec![3]));
        assert_eq!(stored[3].data(), &TensorData::Bool(vec![true]));
    }

    #[test]
    fn of_tokens_those_are_stored_that_lie_in_the_text() {
        let span = TokenSpan {
            place: 1,
            at: (0, 4),
            continues: false,
            unknown: true,
        };
        let numbers = vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let stored = stored(Task::Tag, &text(vec![span]), numbers, StoredAs::Float16).unwrap();
        let shapes: Vec<&[usize]> = stored.iter().map(Tensor::shape).collect();
        let expected: [&[usize]; 7] = [
            &[1, 1],
            &[1, 1],
            &[1, 1, 2],
            &[1, 1],
            &[1, 1, 2],
            &[1],
            &[1],
        ];
        assert_eq!(shapes, expected);
        assert_eq!(stored[0].data(), &TensorData::Int32(vec![7]));
        let logits = [2.0, 3.0].map(f16::from_f32).to_vec();
        assert_eq!(stored[4].data(), &TensorData::Float16(logits));
    }

    #[test]
    fn results_that_are_no_numbers_are_the_models_fault() {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for task in [Task::Embedding, Task::Rerank, Task::Sparse, Task::Tag] {
                let refused = stored(
                    task,
                    &text(Vec::new()),
                    vec![0.0, value, 1.0],
                    StoredAs::Float32,
                );
                assert!(matches!(refused, Err(RunError::NoNumber(_))), "{value}");
            }
        }
    }

    struct Vocabulary(crate::Tokenizer);

    impl Words for Vocabulary {
        fn name(&self, id: u32) -> String {
            self.0.token(id).unwrap()
        }

        fn join(&self, names: Vec<String>) -> String {
            self.0.join(names).unwrap()
        }
    }

    /// The tokens of a text are one row of each tensor, as they come out of the store.
    fn row(tensor: Tensor) -> Tensor {
        let (shape, data) = tensor.into_parts();
        Tensor::new(shape[1..].to_vec(), data).unwrap()
    }

    #[test]
    fn entities_are_those_of_transformers_for_each_way_to_aggregate() {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/text");
        let read = |name: &str| std::fs::read(format!("{data}/{name}")).unwrap();
        let tokenizer = crate::tokenizer::tests::tagging(&read("tag/tokenizer.json"));
        let words = Vocabulary(tokenizer);
        let labels = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"].map(str::to_owned);
        let all: serde_json::Value = serde_json::from_slice(&read("heads.json")).unwrap();
        let mut compared = 0;
        for expected in all["tag"].as_array().unwrap() {
            let text = expected["text"].as_str().unwrap();
            let tokens = words
                .0
                .tokenize(text, &score::TextOptions::default())
                .unwrap();
            let logits = expected["logits"].as_array().unwrap().iter();
            let logits = logits.flat_map(|token| token.as_array().unwrap());
            let logits: Vec<f32> = logits.map(|logit| logit.as_f64().unwrap() as f32).collect();
            let stored = stored(Task::Tag, &tokens, logits, StoredAs::Float32).unwrap();
            let stored: Vec<Tensor> = stored.into_iter().map(row).collect();
            for aggregation in ["none", "simple", "first", "average", "max"] {
                let way = serde_json::from_value(aggregation.into()).unwrap();
                let found = score::entities(&stored, text, &labels, &words, way, &["O"]).unwrap();
                let expected = expected["entities"][aggregation].as_array().unwrap();
                assert_eq!(found.len(), expected.len(), "{text} {aggregation}");
                for (found, expected) in found.iter().zip(expected) {
                    let mut found = serde_json::to_value(found).unwrap();
                    let (score, close) = (&found["score"], &expected["score"]);
                    let difference = score.as_f64().unwrap() - close.as_f64().unwrap();
                    assert!(difference.abs() < 1e-4, "{found} {expected}");
                    found["score"] = expected["score"].clone();
                    assert_eq!(&found, expected, "{text} {aggregation}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 80, "{compared}");
    }
}

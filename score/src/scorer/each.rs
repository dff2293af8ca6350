//! Results of texts one by one, for models whose results have different shapes: tags and sparse vectors.

use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;

use super::Scorer;
use super::texts::{Done, Results};
use crate::cache::decode;
use crate::error::ScoreError;
use crate::model::TextModel;
use crate::request::{CacheOutcome, InferenceRequest, InferenceResponse, Timings};
use crate::tensor::{ElementType, NamedTensor, Tensor, TensorData};
use crate::text::{
    Aggregation, ENTITIES, Entity, TEXT, TOKENS, TRUNCATED, Task, TextMetadata, WEIGHTS, Weight,
    Words, entities, weights,
};

/// What is stored of one text: the tensors of its task without axis 0, the number of its tokens, and whether it was cut.
#[derive(Debug, Clone)]
pub struct StoredText(Arc<[Tensor]>);

impl StoredText {
    /// The number of its tokens, special tokens included.
    pub fn tokens(&self) -> i64 {
        let tokens = self.0.len().checked_sub(2).and_then(|at| self.0.get(at));
        match tokens.map(Tensor::data) {
            Some(TensorData::Int64(tokens)) => tokens.first().copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether a part of it was cut off.
    pub fn is_truncated(&self) -> bool {
        match self.0.last().map(Tensor::data) {
            Some(TensorData::Bool(truncated)) => truncated.first().copied().unwrap_or(false),
            _ => false,
        }
    }
}

/// The results of a request's texts, one by one.
#[derive(Debug, Clone)]
pub struct EachResponse {
    /// In the order of the request. Equal texts share their results.
    pub texts: Vec<StoredText>,
    /// How much of it was remembered.
    pub cache: CacheOutcome,
    /// Where the time went.
    pub timings: Timings,
}

impl Scorer {
    /// Scores texts as [`Scorer::score_as_stored`], for any task: results need not have one shape.
    ///
    /// # Errors
    /// As [`Scorer::score`]; also where the model takes no texts.
    pub async fn score_each(&self, request: InferenceRequest) -> Result<EachResponse, ScoreError> {
        let batcher = self.text_batcher()?;
        let done = self.score_texts_in_time(batcher, request).await?;
        self.apart_from(done)
    }

    /// Takes the results of texts apart.
    fn apart_from(&self, done: Done) -> Result<EachResponse, ScoreError> {
        let unlike = || ScoreError::Internal("stored results are of another model".to_owned());
        let texts: Option<Vec<StoredText>> = match done.results {
            Results::Remembered(recall) => {
                let types: Vec<ElementType> =
                    self.stored.iter().map(|spec| spec.element_type).collect();
                let unit = |payload: &Option<Bytes>| {
                    let tensors = decode(payload.as_ref()?, &types)?;
                    Some(StoredText(tensors.into()))
                };
                let units: Option<Vec<StoredText>> = recall.found.iter().map(unit).collect();
                units.map(|units| {
                    let rows = 0..recall.units.rows();
                    rows.map(|row| units[recall.units.of_row(row)].clone())
                        .collect()
                })
            }
            Results::Computed(found) => found
                .into_iter()
                .map(|tensors| {
                    let row = tensors.into_iter().map(Tensor::into_row);
                    row.collect::<Option<Vec<Tensor>>>()
                        .map(|row| StoredText(row.into()))
                })
                .collect(),
        };
        Ok(EachResponse {
            texts: texts.ok_or_else(unlike)?,
            cache: done.cache,
            timings: done.timings,
        })
    }

    /// The entities of `text` from what is stored of it, but for those whose tag is among `ignored`.
    ///
    /// # Errors
    /// If the model is no token classifier.
    pub fn entities(
        &self,
        text: &str,
        stored: &StoredText,
        aggregation: Aggregation,
        ignored: &[&str],
    ) -> Result<Vec<Entity>, ScoreError> {
        let words = Vocabulary(self.text_batcher()?.model().as_ref());
        let labels = self.metadata.text.as_ref().map(|text| &text.labels[..]);
        let labels = labels.unwrap_or_default();
        let found = entities(&stored.0, text, labels, &words, aggregation, ignored);
        found.ok_or_else(|| ScoreError::invalid("model", "the model gives no tags of tokens"))
    }

    /// The sparse vector of a text from what is stored of it, by ascending index.
    ///
    /// # Errors
    /// If the model gives no sparse vectors.
    pub fn weights(&self, stored: &StoredText) -> Result<Vec<Weight>, ScoreError> {
        let found = weights(&stored.0);
        found.ok_or_else(|| ScoreError::invalid("model", "the model gives no sparse vectors"))
    }

    /// Scores texts whose results have different shapes. The answer holds them as JSON, one string for each text.
    pub(super) async fn score_in_json(
        &self,
        known: &TextMetadata,
        request: InferenceRequest,
    ) -> Result<InferenceResponse, ScoreError> {
        let texts: Vec<String> = match known.task {
            Task::Tag => texts_of(&request),
            _ => Vec::new(),
        };
        let each = self.score_each(request).await?;
        let rows = each.texts.len();
        let mut written = Vec::with_capacity(rows);
        for (row, stored) in each.texts.iter().enumerate() {
            let json = match known.task {
                Task::Tag => {
                    let text = texts.get(row).map_or("", String::as_str);
                    in_json(&self.entities(text, stored, Aggregation::Simple, &["O"])?)
                }
                _ => in_json(&self.weights(stored)?),
            };
            written.push(json?);
        }
        let name = if known.task == Task::Tag {
            ENTITIES
        } else {
            WEIGHTS
        };
        let tokens = each.texts.iter().map(StoredText::tokens).collect();
        let truncated = each.texts.iter().map(StoredText::is_truncated).collect();
        let output = |name: &str, data: TensorData| {
            let tensor = Tensor::new(vec![rows], data);
            let tensor = tensor.map_err(|error| ScoreError::Internal(error.to_string()))?;
            let name = name.to_owned();
            Ok(NamedTensor { name, tensor })
        };
        Ok(InferenceResponse {
            outputs: vec![
                output(name, TensorData::String(written))?,
                output(TOKENS, TensorData::Int64(tokens))?,
                output(TRUNCATED, TensorData::Bool(truncated))?,
            ],
            rows,
            cache: each.cache,
            timings: each.timings,
        })
    }
}

fn texts_of(request: &InferenceRequest) -> Vec<String> {
    let input = request.inputs.iter().find(|input| input.name == TEXT);
    match input.map(|input| input.tensor.data()) {
        Some(TensorData::String(texts)) => texts.clone(),
        _ => Vec::new(),
    }
}

fn in_json<T: Serialize>(value: &T) -> Result<String, ScoreError> {
    serde_json::to_string(value).map_err(|error| ScoreError::Internal(error.to_string()))
}

/// The model's tokenizer, for the words of entities.
struct Vocabulary<'a>(&'a dyn TextModel);

impl Words for Vocabulary<'_> {
    fn name(&self, id: u32) -> String {
        self.0.token(id).unwrap_or_default()
    }

    fn join(&self, names: Vec<String>) -> String {
        self.0.join(names).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_tensors_are_the_count_of_tokens_and_the_cut() {
        let tensor = |data| Tensor::new(Vec::new(), data).unwrap();
        let stored = StoredText(Arc::new([
            tensor(TensorData::Int64(vec![7])),
            tensor(TensorData::Bool(vec![true])),
        ]));
        assert_eq!((stored.tokens(), stored.is_truncated()), (7, true));
        let nothing = StoredText(Arc::new([]));
        assert_eq!((nothing.tokens(), nothing.is_truncated()), (0, false));
    }
}

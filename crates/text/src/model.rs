//! A text model that is loaded: texts in, what is stored of each out.

use std::sync::Arc;

use score::{
    Model, OnnxModel, Passage, RunError, Task, Tensor, TensorData, TextModel, TextOptions,
    TextSession, Token, TokenizeError, Tokenized, Wanted,
};

use crate::company::Company;
use crate::dense::Dense;
use crate::graph::Graph;
use crate::results::{refuse_nonsense, stored, tensor};
use crate::settings::Settings;
use crate::tokenizer::Tokenizer;

/// What all sessions of a model share.
pub(crate) struct Shared {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) settings: Settings,
    pub(crate) graph: Graph,
    pub(crate) dense: Vec<Dense>,
    /// The filler for shorter texts of a run.
    pub(crate) padding: i64,
    /// The highest id that the tokenizer gives.
    pub(crate) highest_id: u32,
    pub(crate) company: Company,
}

/// One session of a text model.
pub(crate) struct Session {
    pub(crate) onnx: OnnxModel,
    pub(crate) shared: Arc<Shared>,
}

impl TextModel for Shared {
    fn tokenize(
        &self,
        passage: &Passage,
        options: &TextOptions,
    ) -> Result<Tokenized, TokenizeError> {
        match &passage.query {
            None => self.tokenizer.tokenize(&passage.text, options),
            Some(query) => self.tokenizer.tokenize_pair(query, &passage.text, options),
        }
    }

    fn run_slots(&self) -> Option<usize> {
        let allowed = self.company.is_allowed();
        allowed.then_some(self.settings.batch_tokens)
    }

    fn tokens(
        &self,
        text: &str,
        prompt: Option<&str>,
        special: bool,
    ) -> Result<Vec<Token>, TokenizeError> {
        self.tokenizer.tokens(text, prompt, special)
    }

    fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.token(id)
    }

    fn join(&self, names: Vec<String>) -> Result<String, TokenizeError> {
        self.tokenizer.join(names)
    }

    fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizeError> {
        self.tokenizer.decode(ids, skip_special)
    }
}

impl TextSession for Session {
    fn run(&mut self, texts: &[&Tokenized], wanted: Wanted) -> Result<Vec<Vec<Tensor>>, RunError> {
        match wanted {
            Wanted::Outputs => {
                let numbers = self.numbers(texts)?;
                let (task, store) = {
                    let settings = &self.shared.settings.stored;
                    (settings.task(), settings.store)
                };
                let each = texts.iter().zip(numbers);
                each.map(|(text, numbers)| stored(task, text, numbers, store))
                    .collect()
            }
            Wanted::TokenVectors => self.token_vectors(texts),
        }
    }

    fn after_run(&mut self) {
        let shared = self.shared.clone();
        let step = |texts: &[&Tokenized]| self.numbers(texts);
        shared.company.step(shared.highest_id, step);
    }
}

impl Session {
    /// The numbers of texts that share a run, before they are rounded for the store: their vectors, their logits, or those of
    /// their tokens.
    pub(crate) fn numbers(&mut self, texts: &[&Tokenized]) -> Result<Vec<Vec<f32>>, RunError> {
        let (output, is_pooled) = (self.shared.graph.output, self.shared.graph.is_pooled);
        let ran = self.values_of(output, is_pooled, texts)?;
        let shared = &self.shared;
        let each = texts.iter().zip(ran.values.chunks_exact(ran.each));
        let numbers = each.map(|(text, values)| match is_pooled {
            true => Ok(values.to_vec()),
            // Without the tokens that fill it up.
            false => shared.of_tokens(&values[..text.ids.len() * ran.width], ran.width, text),
        });
        numbers.collect()
    }

    /// Whether each text was cut, and a matrix with the vectors of its tokens.
    fn token_vectors(&mut self, texts: &[&Tokenized]) -> Result<Vec<Vec<Tensor>>, RunError> {
        let output = self.shared.graph.token_output.ok_or_else(|| {
            RunError::Rejected(
                "its ONNX file gives one vector for each text, and none for tokens".to_owned(),
            )
        })?;
        let ran = self.values_of(output, false, texts)?;
        let matrices = texts.iter().zip(ran.values.chunks_exact(ran.each));
        let matrices = matrices.map(|(text, values)| {
            let tokens = text.ids.len();
            let values = values[..tokens * ran.width].to_vec();
            refuse_nonsense(&values)?;
            let matrix = tensor(vec![tokens, ran.width], TensorData::Float32(values))?;
            Ok(vec![
                tensor(vec![1], TensorData::Bool(vec![text.cut]))?,
                matrix,
            ])
        });
        matrices.collect()
    }

    /// The numbers of one output.
    fn values_of(
        &mut self,
        output: usize,
        is_pooled: bool,
        texts: &[&Tokenized],
    ) -> Result<Values, RunError> {
        let (mut outputs, slots) = self.outputs(texts)?;
        let found = (output < outputs.len()).then(|| outputs.swap_remove(output));
        Values::of(found, is_pooled, (texts.len(), slots))
    }

    /// All outputs of a run, and how many slots each text has in it.
    pub(crate) fn outputs(
        &mut self,
        texts: &[&Tokenized],
    ) -> Result<(Vec<Tensor>, usize), RunError> {
        let shared = &self.shared;
        let (inputs, slots) = shared.graph.feed(texts, shared.padding);
        Ok((self.onnx.run(&inputs, &[])?, slots))
    }
}

/// The numbers of an output for the texts of a run.
pub(crate) struct Values {
    pub(crate) values: Vec<f32>,
    /// Numbers of a text.
    each: usize,
    /// Numbers of a vector.
    pub(crate) width: usize,
}

impl Values {
    /// Those of an output of a run, if it has one there: one vector for each of so many texts, or one for each of their slots.
    pub(crate) fn of(
        output: Option<Tensor>,
        is_pooled: bool,
        (texts, slots): (usize, usize),
    ) -> Result<Self, RunError> {
        let missing = || "the output with the vectors or logits is missing".to_owned();
        let output = output.ok_or_else(|| RunError::Failed(missing()))?;
        let (shape, data) = output.into_parts();
        let values = floats(data).ok_or_else(|| RunError::Failed("expected floats".to_owned()))?;
        let fits = match (is_pooled, &shape[..]) {
            (true, [rows, width]) => *rows == texts && *width > 0,
            // One logit for each text.
            (true, [rows]) => *rows == texts,
            (false, [rows, tokens, width]) => *rows == texts && *tokens == slots && *width > 0,
            _ => false,
        };
        if !fits {
            return Err(RunError::Failed(format!(
                "the output with the vectors or logits has the shape {shape:?} for {texts} texts of {slots} tokens"
            )));
        }
        Ok(Self {
            each: values.len() / texts.max(1),
            width: shape.get(1..).and_then(<[_]>::last).copied().unwrap_or(1),
            values,
        })
    }
}

impl Shared {
    /// The numbers of a text from those of its tokens.
    fn of_tokens(
        &self,
        tokens: &[f32],
        width: usize,
        text: &Tokenized,
    ) -> Result<Vec<f32>, RunError> {
        let settings = &self.settings.stored;
        match (settings.task(), &settings.head, &settings.pooling) {
            (Task::Sparse, Some(head), _) => Ok(head.pooling.pool(tokens, width)),
            (Task::Embedding, _, Some(pooling)) => {
                self.behind(pooling.pool(tokens, width, text.skipped))
            }
            _ => Ok(tokens.to_vec()),
        }
    }

    /// What the layers behind the pooling make of a vector.
    fn behind(&self, mut vector: Vec<f32>) -> Result<Vec<f32>, RunError> {
        for layer in &self.dense {
            let (takes, gets) = (layer.inputs(), vector.len());
            if takes != gets {
                return Err(RunError::Failed(format!(
                    "a Dense module of modules.json takes {takes} numbers, and {gets} come before it: they do not belong together"
                )));
            }
            vector = layer.apply(&vector);
        }
        Ok(vector)
    }
}

/// Floats of any width as float32.
fn floats(data: TensorData) -> Option<Vec<f32>> {
    match data {
        TensorData::Float32(values) => Some(values),
        TensorData::Float16(values) => Some(values.iter().map(|value| value.to_f32()).collect()),
        TensorData::BFloat16(values) => Some(values.iter().map(|value| value.to_f32()).collect()),
        _ => None,
    }
}

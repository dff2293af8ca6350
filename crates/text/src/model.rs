//! A text model that is loaded: texts in, a vector and a number of tokens for each out.

use std::sync::Arc;

use half::f16;
use score::{
    EMBEDDING, ElementType, Model, ModelSignature, OnnxModel, RunError, TEXT, TOKENS, TRUNCATED,
    Tensor, TensorData, TensorSpec, TextModel, TextOptions, TextSession, Token, TokenizeError,
    Tokenized, Wanted,
};

use crate::company::Company;
use crate::dense::Dense;
use crate::graph::Graph;
use crate::options::StoredAs;
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

/// What a text model takes and gives, with vectors of so many numbers.
pub(crate) fn signature(dimensions: usize) -> ModelSignature {
    use score::Dim::{Dynamic, Fixed};
    let spec = |name: &str, element_type, deeper: Option<usize>| {
        let rows = std::iter::once(Dynamic(None));
        TensorSpec {
            name: name.to_owned(),
            element_type,
            shape: Some(rows.chain(deeper.map(Fixed)).collect()),
        }
    };
    ModelSignature::of_tensors(
        vec![spec(TEXT, ElementType::String, None)],
        vec![
            spec(EMBEDDING, ElementType::Float32, Some(dimensions)),
            spec(TOKENS, ElementType::Int64, None),
            spec(TRUNCATED, ElementType::Bool, None),
        ],
    )
}

impl TextModel for Shared {
    fn tokenize(&self, text: &str, options: &TextOptions) -> Result<Tokenized, TokenizeError> {
        self.tokenizer.tokenize(text, options)
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

    fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TokenizeError> {
        self.tokenizer.decode(ids, skip_special)
    }
}

impl TextSession for Session {
    fn run(&mut self, texts: &[&Tokenized], wanted: Wanted) -> Result<Vec<Vec<Tensor>>, RunError> {
        match wanted {
            Wanted::Outputs => {
                let vectors = self.embed(texts)?;
                let outputs = texts.iter().zip(vectors);
                let store = self.shared.settings.stored.store;
                outputs
                    .map(|(text, vector)| outputs_of(text, vector, store))
                    .collect()
            }
            Wanted::TokenVectors => self.token_vectors(texts),
        }
    }

    fn after_run(&mut self) {
        let shared = self.shared.clone();
        let step = |texts: &[&Tokenized]| self.embed(texts);
        shared.company.step(shared.highest_id, step);
    }
}

/// The outputs of one text, as tensors of one row.
fn outputs_of(
    text: &Tokenized,
    vector: Vec<f32>,
    store: StoredAs,
) -> Result<Vec<Tensor>, RunError> {
    let width = vector.len();
    let vector = match store {
        StoredAs::Float32 => TensorData::Float32(vector),
        StoredAs::Float16 => TensorData::Float16(narrowed(&vector)?),
    };
    let tokens = TensorData::Int64(vec![text.ids.len() as i64]);
    Ok(vec![
        tensor(vec![1, width], vector)?,
        tensor(vec![1], tokens)?,
        tensor(vec![1], TensorData::Bool(vec![text.cut]))?,
    ])
}

/// The nearest numbers of float16.
fn narrowed(vector: &[f32]) -> Result<Vec<f16>, RunError> {
    let narrow: Vec<f16> = vector.iter().map(|value| f16::from_f32(*value)).collect();
    let too_large = |(wide, narrow): (&f32, &f16)| wide.is_finite() && narrow.is_infinite();
    match vector.iter().zip(&narrow).any(too_large) {
        false => Ok(narrow),
        true => Err(RunError::Failed(
            "a number of the vector is too large for float16; set store = \"float32\" in [text] of model.toml".to_owned(),
        )),
    }
}

fn tensor(shape: Vec<usize>, data: TensorData) -> Result<Tensor, RunError> {
    let tensor = Tensor::new(shape, data);
    tensor.map_err(|error| RunError::Failed(error.to_string()))
}

impl Session {
    /// The vectors of texts that share a run, before they are rounded for the store.
    pub(crate) fn embed(&mut self, texts: &[&Tokenized]) -> Result<Vec<Vec<f32>>, RunError> {
        let (output, is_pooled) = (self.shared.graph.output, self.shared.graph.is_pooled);
        let ran = self.values_of(output, is_pooled, texts)?;
        let shared = &self.shared;
        let pooling = shared.settings.stored.pooling.as_ref();
        let pooling = pooling.filter(|_| !is_pooled);
        let vectors = texts.iter().zip(ran.values.chunks_exact(ran.each));
        let vectors = vectors.map(|(text, values)| match pooling {
            None => Ok(values.to_vec()),
            Some(pooling) => {
                let tokens = &values[..text.ids.len() * ran.width];
                shared.behind(pooling.pool(tokens, ran.width, text.skipped))
            }
        });
        vectors.collect()
    }

    /// A matrix with the vectors of its tokens for each text.
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
            let matrix = tensor(vec![tokens, ran.width], TensorData::Float32(values))?;
            Ok(vec![matrix])
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
        let shared = &self.shared;
        let (inputs, slots) = shared.graph.feed(texts, shared.padding);
        let mut outputs = self.onnx.run(&inputs, &[])?;
        if output >= outputs.len() {
            return Err(RunError::Failed(
                "the output with the vectors is missing".to_owned(),
            ));
        }
        let (shape, data) = outputs.swap_remove(output).into_parts();
        let values = floats(data).ok_or_else(|| RunError::Failed("expected floats".to_owned()))?;
        let fits = match (is_pooled, &shape[..]) {
            (true, [rows, width]) => *rows == texts.len() && *width > 0,
            (false, [rows, tokens, width]) => {
                *rows == texts.len() && *tokens == slots && *width > 0
            }
            _ => false,
        };
        if !fits {
            let rows = texts.len();
            return Err(RunError::Failed(format!(
                "the output with the vectors has the shape {shape:?} for {rows} texts of {slots} tokens"
            )));
        }
        Ok(Values {
            each: values.len() / texts.len().max(1),
            width: shape.last().copied().unwrap_or(0),
            values,
        })
    }
}

/// The numbers of an output for the texts of a run.
struct Values {
    values: Vec<f32>,
    /// Numbers of a text.
    each: usize,
    /// Numbers of a vector.
    width: usize,
}

impl Shared {
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

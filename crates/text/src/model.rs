//! A text model that is loaded: texts in, a vector and a number of tokens for each out.

use std::sync::Arc;

use score::{
    EMBEDDING, ElementType, Model, ModelSignature, OnnxModel, RunError, TEXT, TOKENS, TRUNCATED,
    Tensor, TensorData, TensorSpec, TextOptions,
};

use crate::company::Company;
use crate::dense::Dense;
use crate::graph::Graph;
use crate::runs::plan;
use crate::settings::Settings;
use crate::tokenizer::{TokenizeError, Tokenized, Tokenizer};

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
    pub(crate) signature: ModelSignature,
}

/// One session of a text model.
pub(crate) struct TextModel {
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

impl Model for TextModel {
    fn signature(&self) -> &ModelSignature {
        &self.shared.signature
    }

    fn run(&mut self, inputs: &[Tensor], _given: &[usize]) -> Result<Vec<Tensor>, RunError> {
        self.run_texts(inputs, &TextOptions::default())
    }

    fn run_texts(
        &mut self,
        inputs: &[Tensor],
        options: &TextOptions,
    ) -> Result<Vec<Tensor>, RunError> {
        let Some(TensorData::String(texts)) = inputs.first().map(Tensor::data) else {
            return Err(RunError::Failed("expected texts".to_owned()));
        };
        let tokenizer = &self.shared.tokenizer;
        let tokenize = |(row, text): (usize, &String)| match tokenizer.tokenize(text, options) {
            Ok(text) => Ok(text),
            Err(TokenizeError::TooLong { tokens, limit }) => {
                Err(RunError::TextTooLong { row, tokens, limit })
            }
            Err(TokenizeError::Failed(reason)) => Err(RunError::Rejected(reason)),
        };
        let texts = texts.iter().enumerate().map(tokenize);
        let texts: Vec<Tokenized> = texts.collect::<Result<_, RunError>>()?;
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        let budget = self.shared.settings.batch_tokens;
        let mut vectors: Vec<Vec<f32>> = vec![Vec::new(); texts.len()];
        for run in plan(&lengths, budget, self.shared.company.is_allowed()) {
            let these: Vec<&Tokenized> = run.iter().map(|text| &texts[*text]).collect();
            for (text, vector) in run.into_iter().zip(self.embed(&these)?) {
                vectors[text] = vector;
            }
        }
        let rows = texts.len();
        let dimensions = vectors.first().map_or(0, Vec::len);
        let tensor = |shape, data| {
            let tensor = Tensor::new(shape, data);
            tensor.map_err(|_| RunError::Failed("vectors of texts differ in length".to_owned()))
        };
        let tokens: Vec<i64> = lengths.into_iter().map(|length| length as i64).collect();
        let cut: Vec<bool> = texts.iter().map(|text| text.cut).collect();
        Ok(vec![
            tensor(
                vec![rows, dimensions],
                TensorData::Float32(vectors.concat()),
            )?,
            tensor(vec![rows], TensorData::Int64(tokens))?,
            tensor(vec![rows], TensorData::Bool(cut))?,
        ])
    }

    fn after_run(&mut self) {
        let shared = self.shared.clone();
        let step = |texts: &[&Tokenized]| self.embed(texts);
        shared.company.step(shared.highest_id, step);
    }
}

impl TextModel {
    /// The vectors of texts that share a run, as they are stored.
    pub(crate) fn embed(&mut self, texts: &[&Tokenized]) -> Result<Vec<Vec<f32>>, RunError> {
        let shared = &self.shared;
        let (inputs, slots) = shared.graph.feed(texts, shared.padding);
        let mut outputs = self.onnx.run(&inputs, &[])?;
        if shared.graph.output >= outputs.len() {
            return Err(RunError::Failed(
                "the output with the vectors is missing".to_owned(),
            ));
        }
        let (shape, data) = outputs.swap_remove(shared.graph.output).into_parts();
        let values = floats(data).ok_or_else(|| RunError::Failed("expected floats".to_owned()))?;
        let each = values.len() / texts.len().max(1);
        let fits = match (shared.graph.is_pooled, &shape[..]) {
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
        let pooling = shared.settings.stored.pooling.as_ref();
        let pooling = pooling.filter(|_| !shared.graph.is_pooled);
        let vectors = texts.iter().zip(values.chunks_exact(each));
        let vectors = vectors.map(|(text, values)| match pooling {
            None => Ok(values.to_vec()),
            Some(pooling) => {
                let width = each / slots;
                let tokens = &values[..text.ids.len() * width];
                shared.behind(pooling.pool(tokens, width, text.skipped))
            }
        });
        vectors.collect()
    }
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

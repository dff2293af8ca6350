//! The ONNX file of a text model: which inputs it takes, and which output holds the vectors or logits.

use score::{
    Dim, ElementType, LoadError, ModelFolder, ModelSignature, Task, Tensor, TensorData, TensorSpec,
    Tokenized,
};

use crate::settings::Stored;

/// What the ONNX file takes and gives.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    inputs: Vec<Input>,
    /// The length that every text has to be padded to, if it is fixed.
    length: Option<usize>,
    /// Whether a run may hold several texts.
    pub(crate) takes_several: bool,
    /// The output with the vectors or logits, among all outputs.
    pub(crate) output: usize,
    /// Whether it has one row for each text, and not one for each token.
    pub(crate) is_pooled: bool,
    /// The output with a vector for each token, if there is one.
    pub(crate) token_output: Option<usize>,
}

/// What an input holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Ids,
    Mask,
    Types,
    Positions,
}

const ROLES: [(&str, Role); 4] = [
    ("input_ids", Role::Ids),
    ("attention_mask", Role::Mask),
    ("token_type_ids", Role::Types),
    ("position_ids", Role::Positions),
];
/// Outputs of exported models, those that are preferred first, and whether they hold one vector for each text.
const OUTPUTS: [(&str, bool); 3] = [
    ("sentence_embedding", true),
    ("last_hidden_state", false),
    ("token_embeddings", false),
];

impl Graph {
    /// Finds out what the inputs and outputs are for.
    ///
    /// # Errors
    /// If one is not known, or which output holds the vectors is unclear.
    pub(crate) fn of(
        folder: &ModelFolder,
        signature: &ModelSignature,
        settings: &Stored,
    ) -> Result<Self, LoadError> {
        let refuse = |reason: String| {
            Err(LoadError::Model {
                path: folder.file.display().to_string(),
                reason,
            })
        };
        let (inputs, [rows, length]) = match roles(signature) {
            Ok(found) => found,
            Err(reason) => return refuse(reason),
        };
        if !inputs.iter().any(|(role, _)| *role == Role::Ids) {
            return refuse("expected an input input_ids; there is none".to_owned());
        }
        if rows.is_some_and(|rows| rows != 1) {
            return refuse(
                "input_ids has a fixed number of rows; export the model with a free first axis"
                    .to_owned(),
            );
        }
        let most = settings.max_tokens;
        if let Some(length) = length.filter(|length| *length < most) {
            return Err(folder.wrong_options(&format!(
                "text.max_tokens: {most} is more than the {length} tokens of the ONNX file's inputs; set it to {length} or less"
            )));
        }
        let Outputs {
            chosen: (output, is_pooled),
            tokens: token_output,
        } = match settings.task() {
            Task::Embedding => outputs(folder, signature, settings)?,
            Task::Rerank | Task::Classify => Outputs::of_logits(folder, signature, true)?,
            Task::Sparse | Task::Tag => Outputs::of_logits(folder, signature, false)?,
        };
        Ok(Self {
            inputs,
            length,
            takes_several: rows.is_none(),
            output,
            is_pooled,
            token_output,
        })
    }

    /// Whether every text is padded to the same length, so that none gains from company.
    pub(crate) fn is_padded(&self) -> bool {
        self.length.is_some()
    }

    /// The tensors of one run; and how many slots each text has.
    pub(crate) fn feed(&self, texts: &[&Tokenized], padding: i64) -> (Vec<Tensor>, usize) {
        let longest = texts.iter().map(|text| text.ids.len()).max().unwrap_or(0);
        // A text may have no token, and a graph hardly runs on tensors without elements.
        let slots = self.length.unwrap_or(longest.max(1));
        let tensor = |(role, element_type): &(Role, ElementType)| {
            let mut values = Vec::with_capacity(texts.len() * slots);
            for text in texts {
                let end = values.len() + slots;
                let ids = text.ids.iter();
                match role {
                    Role::Ids => values.extend(ids.map(|id| i64::from(*id))),
                    Role::Mask => values.extend(ids.map(|_| 1)),
                    Role::Types => values.extend(text.types.iter().map(|ty| i64::from(*ty))),
                    Role::Positions => values.extend((0..).take(text.ids.len())),
                }
                let filler = if *role == Role::Ids { padding } else { 0 };
                values.resize(end, filler);
            }
            let data = match element_type {
                ElementType::Int32 => {
                    let narrow = values
                        .into_iter()
                        .map(|value| i32::try_from(value).unwrap_or(i32::MAX));
                    TensorData::Int32(narrow.collect())
                }
                _ => TensorData::Int64(values),
            };
            Tensor::new(vec![texts.len(), slots], data).ok()
        };
        (self.inputs.iter().filter_map(tensor).collect(), slots)
    }
}

/// Outputs that hold vectors.
struct Outputs {
    /// The one that answers come from, and whether it holds one vector for each text.
    chosen: (usize, bool),
    /// The one with a vector for each token.
    tokens: Option<usize>,
}

/// Whether an output holds floats of any width.
fn is_float(spec: &TensorSpec) -> bool {
    let ty = spec.element_type;
    matches!(
        ty,
        ElementType::Float32 | ElementType::Float16 | ElementType::BFloat16
    )
}

impl Outputs {
    /// The output with logits: the one of that name, else the only one with as many axes as logits of texts or tokens have.
    fn of_logits(
        folder: &ModelFolder,
        signature: &ModelSignature,
        of_texts: bool,
    ) -> Result<Self, LoadError> {
        let axes: &[usize] = if of_texts { &[1, 2] } else { &[3] };
        let fits = |spec: &TensorSpec| {
            is_float(spec) && (spec.shape.is_none() || axes.contains(&spec.dims().len()))
        };
        let all = || {
            let specs = signature.outputs.iter().enumerate();
            specs.filter(|(_, spec)| fits(spec))
        };
        let named = all().find(|(_, spec)| spec.name == "logits");
        let mut others = all();
        let only = others.next().filter(|_| others.next().is_none());
        let Some((output, _)) = named.or(only) else {
            let shape = if of_texts {
                "float32 [?,?]"
            } else {
                "float32 [?,?,?]"
            };
            return Err(LoadError::Model {
                path: folder.file.display().to_string(),
                reason: format!(
                    "expected an output \"logits\" {shape}; found {}; export the model with its head, or set another task in \
                     [text] of model.toml",
                    all_of(signature)
                ),
            });
        };
        Ok(Self {
            chosen: (output, of_texts),
            tokens: None,
        })
    }
}

/// The outputs of the ONNX file, for an error.
fn all_of(signature: &ModelSignature) -> String {
    let outputs = signature.outputs.iter();
    let outputs: Vec<String> = outputs
        .map(|spec| format!("{:?} {spec}", spec.name))
        .collect();
    outputs.join(", ")
}

fn outputs(
    folder: &ModelFolder,
    signature: &ModelSignature,
    settings: &Stored,
) -> Result<Outputs, LoadError> {
    let all = || {
        let specs = signature.outputs.iter().enumerate();
        specs.filter(|(_, spec)| is_float(spec))
    };
    let named = |(name, pooled): &(&str, bool)| {
        let found = all().find(|(_, spec)| spec.name == *name);
        found.map(|(index, _)| (index, *pooled))
    };
    let by_rank = |(index, spec): (usize, &TensorSpec)| match spec.dims().len() {
        2 => Some((index, true)),
        3 => Some((index, false)),
        _ => None,
    };
    let mut known: Vec<(usize, bool)> = OUTPUTS.iter().filter_map(named).collect();
    if known.is_empty() {
        known = all().filter_map(by_rank).collect();
        if known.len() > 1 {
            known.clear();
        }
    }
    // Who sets the pooling wants the vectors of tokens.
    let tokens = known.iter().find(|(_, pooled)| !pooled);
    let chosen = tokens.filter(|_| settings.pooling_is_set).or(known.first());
    match chosen {
        None => Err(no_vectors(folder, signature)),
        Some((_, true)) if settings.pooling_is_set => Err(folder.wrong_options(
            "text.pooling: the ONNX file gives one vector for each text already, so there is nothing to pool; take the line out",
        )),
        Some((_, false)) if settings.pooling.is_none() => Err(folder.wrong_options(
            "text.pooling is needed: neither modules.json nor 1_Pooling/config.json says how the vectors of tokens become \
             one; put pooling = \"mean\", \"cls\" or \"lasttoken\" into [text] of model.toml, as the model was trained",
        )),
        Some(chosen) => Ok(Outputs {
            chosen: *chosen,
            tokens: tokens.map(|(output, _)| *output),
        }),
    }
}

fn no_vectors(folder: &ModelFolder, signature: &ModelSignature) -> LoadError {
    LoadError::Model {
        path: folder.file.display().to_string(),
        reason: format!(
            "which output holds the vectors is unclear: expected sentence_embedding, last_hidden_state or \
             token_embeddings, or a single float output of 2 or 3 axes; found {}; export the model with such an output",
            all_of(signature)
        ),
    }
}

/// An input with its role and element type.
type Input = (Role, ElementType);

/// The role of each input, and the lengths of the two axes where they are fixed.
fn roles(signature: &ModelSignature) -> Result<(Vec<Input>, [Option<usize>; 2]), String> {
    let mut inputs = Vec::new();
    let mut axes: [Option<usize>; 2] = [None; 2];
    for spec in &signature.inputs {
        let role = ROLES.iter().find(|(name, _)| *name == spec.name);
        let whole = matches!(spec.element_type, ElementType::Int64 | ElementType::Int32);
        match role {
            Some((_, role)) if whole && spec.dims().len() == 2 => {
                inputs.push((*role, spec.element_type))
            }
            _ => {
                let name: String = spec.name.chars().take(100).collect();
                return Err(format!(
                    "expected the inputs of a text model, input_ids, attention_mask, token_type_ids and position_ids as \
                     int64 [?,?]; found {name:?} {spec}; export the model for feature extraction, without a cache of keys \
                     and values, or set task = \"tensors\" in [text] of model.toml to serve its tensors as they are"
                ));
            }
        }
        for (axis, dim) in axes.iter_mut().zip(spec.dims()) {
            if let Dim::Fixed(length) = dim {
                *axis = Some(*length);
            }
        }
    }
    Ok((inputs, axes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shorter_texts_are_filled_up_and_masked() {
        let all = [Role::Ids, Role::Mask, Role::Types, Role::Positions];
        let mut graph = Graph {
            inputs: all.iter().map(|role| (*role, ElementType::Int64)).collect(),
            length: None,
            takes_several: true,
            output: 0,
            is_pooled: false,
            token_output: Some(0),
        };
        let text = |ids: &[u32]| Tokenized {
            ids: ids.to_vec(),
            types: vec![1; ids.len()],
            cut: false,
            skipped: 0,
            spans: Vec::new(),
        };
        let (long, short) = (text(&[5, 6, 7]), text(&[8]));
        let values = |graph: &Graph| -> Vec<Vec<i64>> {
            let (tensors, _) = graph.feed(&[&long, &short], 9);
            let data = tensors.iter().map(|tensor| match tensor.data() {
                TensorData::Int64(values) => values.clone(),
                TensorData::Int32(values) => values.iter().map(|v| i64::from(*v)).collect(),
                _ => Vec::new(),
            });
            data.collect()
        };
        let expected = [
            [5, 6, 7, 8, 9, 9],
            [1, 1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0, 0],
            [0, 1, 2, 0, 0, 0],
        ];
        assert_eq!(values(&graph), expected);
        graph.inputs = vec![(Role::Ids, ElementType::Int32)];
        graph.length = Some(4);
        assert_eq!(values(&graph), [[5, 6, 7, 9, 8, 9, 9, 9]]);
    }
}

//! What stands on top of the transformer: the task of a model, its labels and its activation, as the files of the folder say.

use std::path::Path;

use score::{Activation, LoadError, ModelFolder, Task, quoted};
use serde::Serialize;

use crate::config::{Crosses, HeadConfig, PromptConfig, TokenizerConfig, wrong};
use crate::modules::{Modules, NEEDS_HEAD};
use crate::options::TextOptions;
use crate::sparse::SparsePooling;
use crate::strategy::Strategy;

/// What makes the stored result of a model that gives no vectors. All of it is part of the model's digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// What the model is for; never `Embedding`.
    pub task: Task,
    /// Whether it takes pairs of texts.
    pub pairs: bool,
    /// How pairs are cut.
    pub strategy: Strategy,
    /// How a sparse model pools.
    pub pooling: SparsePooling,
    /// The token that stands for what the vocabulary does not have, if `tokenizer_config.json` names it.
    pub unknown: Option<String>,
}

/// What makes an answer of the stored result.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Scoring {
    /// The labels in the order of the logits; `None` if the folder names none.
    pub(crate) labels: Option<Vec<String>>,
    /// What makes scores of logits; `None` if the folder does not say.
    pub(crate) activation: Option<Activation>,
}

/// The task, where `model.toml` does not say it: by the modules of sentence-transformers, else by the name of the architecture.
pub(crate) fn task(options: &TextOptions, modules: &Modules, config: &HeadConfig) -> Task {
    if let Some(task) = options.task {
        return task;
    }
    if modules.pools() || options.pooling.is_some() {
        return Task::Embedding;
    }
    if modules.sparse.is_some() {
        return Task::Sparse;
    }
    match config.architecture() {
        name if name.ends_with("ForSequenceClassification") => match config.count() {
            Some(1) => Task::Rerank,
            _ => Task::Classify,
        },
        name if name.ends_with("ForTokenClassification") => Task::Tag,
        name if name.ends_with("ForMaskedLM") => Task::Sparse,
        _ => Task::Embedding,
    }
}

impl Head {
    /// The head of a model with this task; `None` for embeddings.
    ///
    /// # Errors
    /// If `model.toml` says what makes no sense for the task.
    pub(crate) fn read(
        folder: &ModelFolder,
        options: &TextOptions,
        modules: &Modules,
        tokenizer: &TokenizerConfig,
    ) -> Result<(Option<Self>, Scoring), LoadError> {
        let config = HeadConfig::read(&modules.transformer)?;
        let task = task(options, modules, &config);
        refuse_senseless(options, task)
            .map_err(|reason| folder.wrong_options(&format!("text.{reason}")))?;
        if task == Task::Embedding {
            let none = Scoring {
                labels: None,
                activation: None,
            };
            return Ok((None, none));
        }
        if scores_texts(task) && config.architecture().ends_with("ForCausalLM") {
            let found = quoted(config.architecture());
            let reason = format!("architectures: {found} is a language model; {NEEDS_HEAD}");
            return Err(wrong(&modules.transformer.join("config.json"), reason));
        }
        let of_sentence = PromptConfig::read(&folder.folder)?;
        let crosses = config.crosses(&of_sentence);
        let strategy = match options.truncation_strategy {
            Some(strategy) => strategy,
            None => tokenizer.strategy(&modules.transformer)?,
        };
        let pairs = match task {
            Task::Rerank => true,
            Task::Classify => options.pairs.unwrap_or(crosses.is_some()),
            _ => false,
        };
        let scoring = Scoring {
            labels: config
                .labels()
                .map_err(|reason| wrong(&modules.transformer.join("config.json"), reason))?,
            activation: options
                .activation
                .or(said(&modules.transformer, crosses, &config)?),
        };
        let head = Self {
            task,
            pairs,
            strategy: if pairs { strategy } else { Strategy::default() },
            pooling: modules.sparse.unwrap_or_default(),
            unknown: (task == Task::Tag)
                .then(|| tokenizer.unknown().map(str::to_owned))
                .flatten(),
        };
        Ok((Some(head), scoring))
    }
}

impl Scoring {
    /// The labels and the activation of a model that gives so many logits.
    ///
    /// # Errors
    /// If the folder names other labels.
    pub(crate) fn fit(
        self,
        folder: &Path,
        task: Task,
        width: usize,
    ) -> Result<(Vec<String>, Activation), LoadError> {
        if matches!(task, Task::Embedding | Task::Sparse) {
            return Ok((Vec::new(), Activation::None));
        }
        let config = folder.join("config.json");
        if task == Task::Rerank && width != 1 {
            return Err(wrong(
                &config,
                format!(
                    "the ONNX file gives {width} numbers for each pair, and a reranker gives one; set task = \"classify\" in \
                     [text] of model.toml"
                ),
            ));
        }
        let labels = match self.labels {
            Some(labels) if labels.len() != width => {
                return Err(wrong(
                    &config,
                    format!(
                        "id2label: expected {width} labels, as many as the ONNX file gives logits; found {}; the config and \
                         the model do not belong together",
                        labels.len()
                    ),
                ));
            }
            Some(labels) => labels,
            None => (0..width).map(|label| format!("LABEL_{label}")).collect(),
        };
        let otherwise = match width {
            1 => Activation::Sigmoid,
            _ => Activation::Softmax,
        };
        Ok((labels, self.activation.unwrap_or(otherwise)))
    }
}

/// The activation that the folder names, or that follows from the kind of problem.
fn said(
    folder: &Path,
    crosses: Option<Crosses<'_>>,
    config: &HeadConfig,
) -> Result<Option<Activation>, LoadError> {
    if let Some(Crosses {
        activation: Some(name),
        file,
    }) = crosses
    {
        let known = match name.rsplit('.').next().unwrap_or(name) {
            "Sigmoid" => Some(Activation::Sigmoid),
            "Softmax" => Some(Activation::Softmax),
            "Identity" => Some(Activation::None),
            _ => None,
        };
        let unknown = || {
            let name: String = name.chars().take(200).collect();
            wrong(
                &folder.join(file),
                format!(
                    "activation_fn: expected Sigmoid, Softmax or Identity of torch.nn; found {name:?}; set activation in [text] \
                     of model.toml"
                ),
            )
        };
        return known.map(Some).ok_or_else(unknown);
    }
    Ok(match config.problem_type.as_deref() {
        Some("regression") => Some(Activation::None),
        Some("multi_label_classification") => Some(Activation::Sigmoid),
        Some("single_label_classification") if config.count() != Some(1) => {
            Some(Activation::Softmax)
        }
        _ => None,
    })
}

fn scores_texts(task: Task) -> bool {
    matches!(task, Task::Rerank | Task::Classify)
}

/// Refuses keys of `[text]` that another task has.
fn refuse_senseless(options: &TextOptions, task: Task) -> Result<(), String> {
    let scores = scores_texts(task);
    let keys = [
        (
            "pooling",
            options.pooling.is_some(),
            task == Task::Embedding,
        ),
        (
            "normalize",
            options.normalize.is_some(),
            task == Task::Embedding,
        ),
        (
            "dimensions",
            options.dimensions.is_some(),
            task == Task::Embedding,
        ),
        ("activation", options.activation.is_some(), scores),
        ("pairs", options.pairs.is_some(), task == Task::Classify),
        (
            "truncation_strategy",
            options.truncation_strategy.is_some(),
            scores,
        ),
    ];
    match keys.iter().find(|(_, given, known)| *given && !known) {
        None => Ok(()),
        Some((key, ..)) => Err(format!(
            "{key}: a model with task = {:?} has no such key; take the line out",
            task.as_str()
        )),
    }
}

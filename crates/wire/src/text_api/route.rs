//! One route of an API: its paths, what it takes and what it answers.

use std::fmt;
use std::time::Duration;

use score::{Entity, ModelMetadata, ScoreError, Task, Tensor, TextMetadata, Token, Weight};
use serde_json::Value;

use super::{Answered, Form, Labels, Ranks, TextError, TextRequest, Vectors};
use crate::body::{Declared, Limits, PayloadError};
use crate::format::{charset, gzip};
use crate::watch::Watch;

pub use crate::dialect::MODEL;

/// The tasks of all models that take texts; the usual one first.
pub const ALL_TASKS: &[Task] = &[
    Task::Embedding,
    Task::Sparse,
    Task::Rerank,
    Task::Classify,
    Task::Tag,
];

/// One route of an API.
pub struct TextRoute {
    /// The segments of its path below the prefix; [`MODEL`] stands for a model's name.
    pub path: &'static [&'static str],
    /// Where a second path has a model's name, beside the path without one.
    pub named: Option<End>,
    /// Its name in the OpenAPI document.
    pub id: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What it takes and answers.
    pub operation: Operation,
}

/// An end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In front of its segments.
    Front,
    /// Behind its segments.
    Back,
}

/// What a route takes and answers.
pub enum Operation {
    /// POST: texts in, what a model makes of them out.
    Take(Take),
    /// GET: what is told about models.
    Tell(Tell),
}

/// What is told about models.
pub struct Tell {
    /// Which models.
    pub about: About,
    pub(crate) write: fn(&[Served<'_>]) -> Value,
    /// The schema of an answer.
    pub answer_schema: fn() -> Value,
}

/// Models that an answer is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// All that serve.
    All,
    /// The one that the path names, of any kind.
    Any,
    /// One that takes texts: the one that the path names, or the usual one.
    Texts,
}

/// A model that serves.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// What is known about it.
    pub metadata: &'a ModelMetadata,
    /// When it was loaded, in seconds since 1970.
    pub since: u64,
}

impl Tell {
    /// The answer.
    pub fn write(&self, models: &[Served<'_>]) -> Value {
        (self.write)(models)
    }
}

/// How texts are read, and how what a model makes of them is answered.
pub struct Take {
    /// A sample body, without the name of a model.
    pub sample: &'static str,
    /// Whether the API has a member `model` in its bodies. Where it has none, clients of several servers send the name that
    /// another server knows: it is passed over unless a model has it.
    pub names_model: bool,
    /// How long its clients wait, if that is shorter than a request may take.
    pub budget: Option<Duration>,
    pub(crate) read: fn(&[u8], Limits) -> Result<TextRequest, TextError>,
    /// What is made of the texts and how it is written, by the tasks of models. The route is for all of these.
    pub writes: &'static [Write],
    /// The schema of a request.
    pub request_schema: fn() -> Value,
    /// The schema of an answer.
    pub answer_schema: fn() -> Value,
}

/// Writes results that differ in length from text to text.
pub type WriteEach<R> = fn(&TextRequest, &Answered<'_, &[Vec<R>]>) -> Vec<u8>;

/// What is made of texts, and how that is written.
pub enum Write {
    /// Their vectors. These have the dimensions and the length that the request asks for.
    Vectors(fn(&TextRequest, &Answered<'_, Vectors<'_>>) -> Vec<u8>),
    /// The order of texts by the scores of a reranker, one for each.
    Ranks(fn(&TextRequest, &Answered<'_, Ranks<'_>>) -> Vec<u8>),
    /// The scores of their labels.
    Labels(fn(&TextRequest, &Answered<'_, Labels<'_>>) -> Vec<u8>),
    /// The same, also of a reranker: a score for its only label.
    AnyLabels(fn(&TextRequest, &Answered<'_, Labels<'_>>) -> Vec<u8>),
    /// The entities in them.
    Entities(WriteEach<Entity>),
    /// Their sparse vectors.
    Weights(WriteEach<Weight>),
    /// The vectors of their tokens, a matrix for each text.
    TokenVectors(fn(&[Tensor]) -> Vec<u8>),
    /// Their tokens.
    Tokens(fn(&[Vec<Token>]) -> Vec<u8>),
    /// The texts of token ids.
    Texts(fn(&[String]) -> Vec<u8>),
}

impl Write {
    /// Whether a request brings what this is made of.
    ///
    /// # Errors
    /// If it compares sentences, ranks texts or brings pairs, and this is for something else.
    pub fn check(&self, request: &TextRequest, metadata: &TextMetadata) -> Result<(), ScoreError> {
        let (alike, pairs) = (
            request.form == Form::Similarity,
            !request.queries.is_empty(),
        );
        let wrong = |member: &str, message: &str| {
            Err(ScoreError::invalid(member, format!("{member}: {message}")))
        };
        match self {
            Self::Vectors(_) if !pairs => Ok(()),
            _ if alike => wrong("inputs", "only a model for embeddings compares sentences"),
            Self::Ranks(_) if !pairs => {
                wrong("query", "the model ranks texts by a query; found none")
            }
            Self::Ranks(_) if request.form == Form::Pairs => wrong(
                "inputs",
                "the model ranks texts by one query, sent as query and texts; for the scores of pairs in their order send them to \
                 predict",
            ),
            Self::Ranks(_) | Self::Tokens(_) | Self::Texts(_) => Ok(()),
            // Each API has a name of its own for the member, and some have no pairs.
            _ if metadata.pairs && !pairs => Err(ScoreError::InvalidInput {
                target: None,
                message: "the model takes pairs of texts; found texts alone: send pairs to predict, such as {\"inputs\": [[\"a\", \
                          \"b\"]]}"
                    .to_owned(),
            }),
            _ if pairs && !metadata.pairs => wrong(
                "inputs",
                "the model takes texts alone, such as [[\"a\"], [\"b\"]]; found a pair or a query",
            ),
            _ => Ok(()),
        }
    }

    /// The tasks of the models that make this of texts; the usual one first.
    pub fn tasks(&self) -> &'static [Task] {
        match self {
            Self::Vectors(_) | Self::TokenVectors(_) => &[Task::Embedding],
            Self::Ranks(_) => &[Task::Rerank],
            Self::Labels(_) => &[Task::Classify],
            Self::AnyLabels(_) => &[Task::Classify, Task::Rerank],
            Self::Entities(_) => &[Task::Tag],
            Self::Weights(_) => &[Task::Sparse],
            Self::Tokens(_) | Self::Texts(_) => ALL_TASKS,
        }
    }
}

impl TextRoute {
    /// Whether it serves a path, and the model that the path names.
    pub(super) fn fits<'p>(&self, path: &[&'p str]) -> Option<Option<&'p str>> {
        let longer = path.len() == self.path.len() + 1;
        let (path, mut model) = match (self.named, path) {
            (Some(End::Front), [model, rest @ ..]) if longer => (rest, Some(*model)),
            (Some(End::Back), [rest @ .., model]) if longer => (rest, Some(*model)),
            _ => (path, None),
        };
        if path.len() != self.path.len() {
            return None;
        }
        for (segment, given) in self.path.iter().zip(path) {
            match *segment {
                MODEL => model = Some(*given),
                segment if segment == *given => {}
                _ => return None,
            }
        }
        (model != Some("")).then_some(model)
    }

    /// Whether it takes texts, by POST; any other is asked by GET.
    pub fn takes_texts(&self) -> bool {
        match self.operation {
            Operation::Take(_) => true,
            Operation::Tell(_) => false,
        }
    }

    /// Its path below the prefix, as documents write it.
    pub fn template(&self) -> String {
        self.path.join("/")
    }

    /// Its second path, which names a model.
    pub fn named_template(&self) -> Option<String> {
        let template = self.template();
        self.named.map(|end| match end {
            End::Front => format!("{MODEL}/{template}"),
            End::Back => format!("{template}/{MODEL}"),
        })
    }
}

impl fmt::Debug for TextRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.template())
    }
}

impl PartialEq for TextRoute {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for TextRoute {}

impl Take {
    /// The tasks of the models that it is for, each once.
    pub fn tasks(&self) -> Vec<Task> {
        let mut tasks = Vec::new();
        for task in self.writes.iter().flat_map(Write::tasks) {
            if !tasks.contains(task) {
                tasks.push(*task);
            }
        }
        tasks
    }

    /// Whether such a model answers the sample.
    pub fn suits(&self, text: &TextMetadata) -> bool {
        let limits = Limits {
            max_bytes: self.sample.len(),
            max_nesting: 8,
            max_rows: 8,
        };
        let sample = (self.read)(self.sample.as_bytes(), limits);
        let write = self.write_for(text.task);
        matches!((sample, write), (Ok(sample), Some(write)) if write.check(&sample, text).is_ok())
    }

    /// What is made of texts by a model for this task.
    pub fn write_for(&self, task: Task) -> Option<&Write> {
        let usual = self
            .writes
            .iter()
            .find(|write| write.tasks().first() == Some(&task));
        usual.or_else(|| {
            self.writes
                .iter()
                .find(|write| write.tasks().contains(&task))
        })
    }

    /// Reads a body, and asks for the memory that it takes. Members that are not known pass, as do members that are null.
    ///
    /// # Errors
    /// [`TextError`] names the member, what was found and what was expected.
    pub fn read(
        &self,
        body: &[u8],
        declared: Declared<'_>,
        limits: Limits,
        watch: &dyn Watch,
    ) -> Result<TextRequest, TextError> {
        let read = self.read_bounded(body, declared, limits, watch);
        match read {
            Err(_) if watch.is_over() => Err(PayloadError::Stopped.into()),
            read => read,
        }
    }

    fn read_bounded(
        &self,
        body: &[u8],
        declared: Declared<'_>,
        limits: Limits,
        watch: &dyn Watch,
    ) -> Result<TextRequest, TextError> {
        let unpacked = gzip::unpack(body, declared, limits.max_bytes, watch);
        let signature = score::ModelSignature::default();
        let inflated = gzip::inflated(body, unpacked, declared, &signature)?;
        let body = inflated.as_deref().unwrap_or(body);
        let text = charset::to_utf8(body, declared, watch)?;
        if text.len() > limits.max_bytes {
            return Err(PayloadError::TooLarge.into());
        }
        // The shortest text takes three bytes of a body.
        let texts = limits.max_rows.min(text.len() / 3);
        if !watch.take(text.len() + texts * 2 * size_of::<String>()) {
            return Err(PayloadError::Stopped.into());
        }
        (self.read)(&text, limits)
    }
}

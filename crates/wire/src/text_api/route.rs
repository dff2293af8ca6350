//! One route of an API: its paths, what it takes and what it answers.

use std::fmt;
use std::time::Duration;

use score::{ModelMetadata, Tensor, Token};
use serde_json::Value;

use super::{Answered, TextError, TextRequest, Vectors};
use crate::body::{Declared, Limits, PayloadError};
use crate::format::{charset, gzip};
use crate::watch::Watch;

/// Stands for the name of a model in [`TextRoute::path`].
pub const MODEL: &str = "{model}";

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
    /// Whether the body may name a model, as the member `model`.
    pub names_model: bool,
    /// How long its clients wait, if that is shorter than a request may take.
    pub budget: Option<Duration>,
    pub(crate) read: fn(&[u8], Limits) -> Result<TextRequest, TextError>,
    /// What is made of the texts, and how it is written.
    pub write: Write,
    /// The schema of a request.
    pub request_schema: fn() -> Value,
    /// The schema of an answer.
    pub answer_schema: fn() -> Value,
}

/// What is made of texts, and how that is written.
pub enum Write {
    /// Their vectors. These have the dimensions and the length that the request asks for.
    Vectors(fn(&TextRequest, &Answered<'_, Vectors<'_>>) -> Vec<u8>),
    /// The vectors of their tokens, a matrix for each text.
    TokenVectors(fn(&[Tensor]) -> Vec<u8>),
    /// Their tokens.
    Tokens(fn(&[Vec<Token>]) -> Vec<u8>),
    /// The texts of token ids.
    Texts(fn(&[String]) -> Vec<u8>),
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

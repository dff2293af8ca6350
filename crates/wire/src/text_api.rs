//! The APIs of text models. Each is one file with its row of [`TEXT_APIS`]; routes, the forms of errors, the OpenAPI
//! document and the table in docs/requests.md are derived from that table.

mod models;
mod ollama;
mod openai;
mod read;
mod search_skill;
mod tei;
mod vectors;

use std::fmt;
use std::time::Duration;

use score::{ModelMetadata, ScoreError, Tensor, Token};
use serde_json::Value;

use crate::body::{Declared, Limits, PayloadError};
use crate::dialect::Protocol;
use crate::error_form::ErrorForm;
use crate::format::{charset, gzip};
use crate::watch::Watch;
use search_skill::Record;
pub use vectors::VectorEncoding;

/// Stands for the name of a model in [`TextRoute::path`].
pub const MODEL: &str = "{model}";

/// One API: its routes and the form of its errors.
pub struct TextApi {
    /// The server or service whose clients use it.
    pub name: &'static str,
    /// Its section in docs/text.md.
    pub section: &'static str,
    /// What its routes are for, in the documentation.
    pub purpose: &'static str,
    /// The form of errors at its routes.
    pub errors: &'static ErrorForm,
    /// Its routes.
    pub routes: &'static [TextRoute],
}

/// One route of an API.
pub struct TextRoute {
    /// The segments of its path below the prefix; [`MODEL`] stands for a model's name.
    pub path: &'static [&'static str],
    /// Its name in the OpenAPI document.
    pub id: &'static str,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What it takes and answers.
    pub operation: Operation,
}

/// What a route takes and answers.
pub enum Operation {
    /// POST: texts in, their vectors or what follows from them out.
    Embed(Embed),
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

/// How texts are read and their vectors are answered.
pub struct Embed {
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
    Vectors(fn(&TextRequest, &Embedded<'_>) -> Vec<u8>),
    /// The vectors of their tokens, a matrix for each text.
    TokenVectors(fn(&[Tensor]) -> Vec<u8>),
    /// Their tokens.
    Tokens(fn(&[Vec<Token>]) -> Vec<u8>),
    /// The texts of token ids.
    Texts(fn(&[String]) -> Vec<u8>),
}

/// All APIs. The first route that fits a path serves it.
pub static TEXT_APIS: &[&TextApi] = &[
    &openai::OPENAI,
    &ollama::OLLAMA,
    &search_skill::SEARCH_SKILL,
    &tei::TEI,
];

/// A route that a path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextCall<'p> {
    /// The API of the route.
    pub api: &'static TextApi,
    /// The route.
    pub route: &'static TextRoute,
    /// The model that the path names.
    pub model: Option<&'p str>,
}

impl TextApi {
    /// The route of a path, which is given by its segments below the prefix.
    pub fn find<'p>(path: &[&'p str]) -> Option<TextCall<'p>> {
        let all = TEXT_APIS.iter().flat_map(|api| {
            let routes = api.routes.iter();
            routes.map(move |route| (*api, route))
        });
        let mut fitting = all.filter(|(_, route)| route.fits(path));
        let (api, route) = fitting.next()?;
        let model = route.path.iter().position(|segment| *segment == MODEL);
        let model = model.and_then(|at| path.get(at)).copied();
        Some(TextCall { api, route, model })
    }

    /// Its row in the documentation's table of paths.
    pub fn documentation(&self) -> String {
        let routes = self.routes.iter().filter(|route| !route.path.is_empty());
        let routes = routes.map(|route| {
            let method = match route.takes_texts() {
                true => "POST",
                false => "GET",
            };
            format!("`{method} /api/score/{}`", route.template())
        });
        let routes: Vec<String> = routes.collect();
        let Self {
            name,
            section,
            purpose,
            ..
        } = self;
        format!(
            "| {} | [{name}](text.md#{section}): {purpose} |",
            routes.join(", ")
        )
    }

    /// The form of errors below the first segment of a path, if that belongs to an API.
    pub fn errors_below(first: &str) -> Option<&'static ErrorForm> {
        let owner = TEXT_APIS.iter().find(|api| {
            let mut routes = api.routes.iter();
            first != MODEL && routes.any(|route| route.path.first() == Some(&first))
        });
        owner.map(|api| api.errors)
    }
}

/// Whether a model of this name cannot be addressed by it directly below the prefix, since an API has a route there.
pub fn is_reserved(name: &str) -> bool {
    matches!(name, "metrics" | "openapi.json")
        || Protocol::errors_below(name).is_some()
        || TextApi::errors_below(name).is_some()
}

impl TextRoute {
    fn fits(&self, path: &[&str]) -> bool {
        let mut pairs = self.path.iter().zip(path);
        self.path.len() == path.len()
            && pairs.all(|(segment, given)| match *segment {
                MODEL => !given.is_empty(),
                segment => segment == *given,
            })
    }

    /// Whether it takes texts, by POST; any other is asked by GET.
    pub fn takes_texts(&self) -> bool {
        match self.operation {
            Operation::Embed(_) => true,
            Operation::Tell(_) => false,
        }
    }

    /// Its path below the prefix, as documents write it.
    pub fn template(&self) -> String {
        self.path.join("/")
    }
}

impl fmt::Debug for TextApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)
    }
}

impl PartialEq for TextApi {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TextApi {}

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

/// What a request asks for, whichever API it is of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextRequest {
    /// The texts.
    pub texts: Vec<String>,
    /// The model that the body names.
    pub model: Option<String>,
    /// How the texts are to be treated.
    pub options: TextOptions,
    /// How vectors are to be written.
    pub encoding: VectorEncoding,
    /// Lists of token ids, for a request that brings them instead of texts.
    pub ids: Vec<Vec<u32>>,
    /// Whether special tokens are part of the answer.
    pub special: Option<bool>,
    pub(crate) form: Form,
}

/// What is made of the vectors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Form {
    /// They are answered.
    #[default]
    Vectors,
    /// The first one is compared with the others.
    Similarity,
    /// They are answered by record; a record without a text has none.
    Records(Vec<Record>),
}

/// Why texts cannot be read.
#[derive(Debug)]
pub enum TextError {
    /// The body holds no texts.
    Empty(ScoreError),
    /// The body is malformed, too large or of another type.
    Payload(PayloadError),
}

impl From<PayloadError> for TextError {
    fn from(error: PayloadError) -> Self {
        Self::Payload(error)
    }
}

impl From<ScoreError> for TextError {
    fn from(error: ScoreError) -> Self {
        Self::Payload(error.into())
    }
}

impl TextRequest {
    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let texts = self.texts.iter();
        let texts: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
        let ids = self.ids.iter();
        texts + ids.map(|ids| size_of_val(&ids[..])).sum::<usize>()
    }
}

/// How the texts of a request are to be treated; what is `None` is as the model has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// How many numbers of each vector are wanted.
    pub dimensions: Option<usize>,
    /// Whether vectors are scaled to length 1.
    pub normalize: Option<bool>,
    /// The name of the prompt to put in front of each text.
    pub prompt_name: Option<String>,
    /// What the texts are: `query`, `document`. It selects a prompt where the model has one for that.
    pub input_type: Option<String>,
    /// Whether longer texts are cut.
    pub truncate: Option<bool>,
    /// The side on which they are cut.
    pub truncation_side: Option<Side>,
}

/// A side of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its beginning.
    Left,
    /// Its end.
    Right,
}

/// The vectors of a request's texts.
#[derive(Debug, Clone, Copy)]
pub struct Embedded<'a> {
    /// The name of the model.
    pub model: &'a str,
    /// The vectors one behind the other.
    pub values: &'a [f32],
    /// How many numbers each vector has.
    pub width: usize,
    /// The number of tokens of each text.
    pub tokens: &'a [i64],
    /// Whether a part of each text was cut off.
    pub truncated: &'a [bool],
    /// Whether the model refuses texts that are too long, unless a request has them cut.
    pub refuses: bool,
    /// How long the request has been in work.
    pub took: Duration,
}

impl<'a> Embedded<'a> {
    /// The vectors.
    pub(crate) fn vectors(&self) -> impl ExactSizeIterator<Item = &'a [f32]> {
        self.values.chunks_exact(self.width.max(1))
    }

    /// The tokens of all texts together.
    pub(crate) fn all_tokens(&self) -> i64 {
        self.tokens.iter().sum()
    }
}

impl Embed {
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

#[cfg(test)]
mod tests;

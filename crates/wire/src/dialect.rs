//! The dialects of JSON bodies. Each is one file with its rows of [`DIALECTS`], and with the routes of its own that its
//! clients call ([`PROTOCOLS`]); everything else, the OpenAPI document and docs/requests.md included, is derived from these
//! tables. Bodies of every dialect are taken at every route that scores.

mod answer;
pub(crate) mod azure_ml;
mod content;
pub(crate) mod fast;
pub(crate) mod keys;
mod members;
mod method;
pub(crate) mod mlflow;
pub(crate) mod open_inference;
mod routes;
pub(crate) mod tensorflow_serving;
pub(crate) mod texts;

use std::fmt;

use score::{ModelMetadata, NamedTensor, ScoreError};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::body::{Bounds, Encoded};
use crate::context::Context;
use crate::schema::parts::Parts;
pub(crate) use answer::Answer;
pub use answer::{AnswerForm, response_bytes};
pub use content::{Body, Decoded};
pub(crate) use members::Members;
pub(crate) use open_inference::Asked;
pub use routes::{MODEL, Operation, PROTOCOLS, Protocol, ProtocolCall, ProtocolRoute, VERSION};

/// One dialect: how it is told from others, read, answered and described.
pub struct Dialect {
    /// The server or service whose clients use it.
    pub name: &'static str,
    /// The member of the body that holds its inputs.
    pub member: &'static str,
    /// A sample body for the documentation, in Markdown.
    pub body: &'static str,
    /// The answer to that body, in Markdown.
    pub answer: &'static str,
    /// A request in this dialect, as JSON in which these words stand for values: `$rows` (the values of the model's one input, or
    /// an object by input name), `$columns` (an object by name), `$records` (a list of rows as objects), `$list` (the
    /// values of the one input, or records), `$names` (those of several inputs) and `$cells` (rows in that order), `$tensors`
    /// (the Open Inference Protocol's list).
    pub sample: &'static str,
    /// The member of an answer that holds the results; `None` if they are bare or have a form of their own.
    pub under: Option<&'static str>,
    /// Members beside [`Dialect::member`] that change how a body is read or answered.
    pub options: &'static [&'static str],
    /// Whether a body with [`Dialect::member`] is of this dialect, if several dialects have that member.
    pub(crate) recognises: fn(&RawValue, &Members<'_>) -> bool,
    pub(crate) read: fn(&Request<'_>) -> Result<Body, ScoreError>,
    pub(crate) write: fn(&Answer<'_>) -> serde_json::Result<Encoded>,
    /// The schema of a request; `None` for models that do not take this dialect.
    pub(crate) request_schema: fn(&Parts<'_>) -> Option<Value>,
    pub(crate) answer_schema: fn(&Parts<'_>) -> Value,
}

/// All dialects. If several have the same member, the first one that recognises a body reads it.
pub static DIALECTS: &[&Dialect] = &[
    &azure_ml::DATA,
    &azure_ml::INPUTS,
    &mlflow::INPUT_DATA,
    &mlflow::DATAFRAME_SPLIT,
    &mlflow::DATAFRAME_RECORDS,
    &tensorflow_serving::INSTANCES,
    &open_inference::OPEN_INFERENCE,
    &tensorflow_serving::INPUTS,
    &mlflow::INPUTS,
    &keys::KEYS,
    &texts::TEXTS,
];

impl Dialect {
    /// The dialect of a body whose inputs are `value`, under `member`.
    fn of(member: &str, value: &RawValue, members: &Members<'_>) -> Option<&'static Self> {
        let named = DIALECTS.iter().filter(|dialect| dialect.member == member);
        let mut named = named.copied();
        named.find(|dialect| (dialect.recognises)(value, members))
    }

    /// Its row in the documentation's table of dialects.
    pub fn documentation(&self) -> String {
        format!("| {}: {} | {} |", self.name, self.body, self.answer)
    }
}

impl fmt::Debug for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.member)
    }
}

/// Recognises every body, for a dialect whose member no other dialect has.
fn alone(_: &RawValue, _: &Members<'_>) -> bool {
    true
}

/// A body of JSON whose dialect is known.
pub(crate) struct Request<'a> {
    /// The value of the dialect's member.
    pub(crate) value: &'a RawValue,
    pub(crate) members: Members<'a>,
    /// The bytes behind the JSON.
    pub(crate) binary: &'a [u8],
    pub(crate) metadata: &'a ModelMetadata,
    pub(crate) bounds: Bounds<'a>,
}

impl<'a> Request<'a> {
    pub(crate) fn context(&self, target: &'a str) -> Context<'a> {
        Context::new(self.metadata, self.bounds, target)
    }

    /// Rows that are answered in `dialect`, by the method that the request names.
    fn rows(
        &self,
        dialect: &'static Dialect,
        inputs: Vec<NamedTensor>,
    ) -> Result<Body, ScoreError> {
        let output = method::output(&self.members, self.metadata)?;
        let answer = AnswerForm {
            output,
            ..AnswerForm::of(dialect)
        };
        Ok(Body::rows_of(inputs, answer))
    }

    /// The same for a table; `by_position` if the order of its columns counts.
    fn table(
        &self,
        dialect: &'static Dialect,
        inputs: Vec<NamedTensor>,
        by_position: bool,
    ) -> Result<Body, ScoreError> {
        let mut body = self.rows(dialect, inputs)?;
        if let Body::Rows(decoded) = &mut body {
            decoded.by_position = by_position;
        }
        Ok(body)
    }
}

/// Reads a body of JSON that is an object.
///
/// # Errors
/// [`ScoreError::InvalidInput`] naming the place, what was found and what was expected.
pub(crate) fn read(
    body: &[u8],
    binary: &[u8],
    metadata: &ModelMetadata,
    bounds: Bounds<'_>,
) -> Result<Body, ScoreError> {
    let members = Members::read(body, &metadata.signature)?;
    let (member, value) = members.only_inputs(body, &metadata.signature)?;
    let Some(dialect) = Dialect::of(member, value, &members) else {
        let message = format!("{member}: {}", members::expected());
        return Err(ScoreError::invalid(member, message));
    };
    (dialect.read)(&Request {
        value,
        members,
        binary,
        metadata,
        bounds,
    })
}

#[cfg(test)]
mod tests;

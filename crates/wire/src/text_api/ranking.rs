//! Documents that are ranked by what they say to a query, as Cohere, Jina, vLLM and infinity take and answer them.

use std::fmt;
use std::io::Write as _;

use score::ScoreError;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::read::{more_than, without_texts};
use super::vectors::{array, text};
use super::{Answered, Ranks, TextError, TextRequest};
use crate::body::Limits;
use crate::schema::open;

/// Reads documents: texts, or objects with a text.
pub(super) struct Documents(pub(super) Limits);

impl<'de> DeserializeSeed<'de> for Documents {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Documents {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of texts, or of objects with a text as \"text\"")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut documents = Vec::new();
        let most = self.0.max_rows;
        while let Some(Document(text)) = seq.next_element()? {
            let index = documents.len();
            if index == most {
                return Err(more_than(most, "documents"));
            }
            documents.push(text.ok_or_else(|| {
                de::Error::custom(format_args!(
                    "document {index} is an object without a text as \"text\""
                ))
            })?);
        }
        Ok(documents)
    }
}

/// The text of one document.
struct Document(Option<String>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or an object with a text as \"text\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Document, E> {
                Ok(Document(Some(text.to_owned())))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut text = None;
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "text" => text = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Document(text))
            }
        }
        deserializer.deserialize_any(One)
    }
}

/// A request with a query and texts, which are in the member of this name.
pub(super) fn checked(request: TextRequest, member: &str) -> Result<TextRequest, TextError> {
    if request.queries.is_empty() {
        let message = "query: expected a text; found none";
        return Err(ScoreError::invalid("query", message).into());
    }
    match request.texts.is_empty() {
        true => Err(without_texts(member)),
        false => Ok(request),
    }
}

/// How ranked documents are repeated, and what an answer tells beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// As objects; with units of this version of Cohere's API.
    Cohere(u8),
    /// As texts.
    Infinity,
}

/// Writes ranked documents.
pub(super) fn write(
    request: &TextRequest,
    answered: &Answered<'_, Ranks<'_>>,
    style: Style,
) -> Vec<u8> {
    let ranks = answered.results;
    let tokens = answered.all_tokens();
    // Writing to a vector cannot fail, here and below.
    let mut out = br#"{"object":"rerank","id":"#.to_vec();
    text(answered.id, &mut out);
    out.extend(br#","model":"#);
    text(answered.model, &mut out);
    out.extend(br#","results":"#);
    let best = ranks.best(request.results.top);
    array(best, &mut out, |index, out| {
        let _ = write!(out, r#"{{"index":{index},"relevance_score":"#);
        let _ = serde_json::to_writer(&mut *out, &ranks.score(index));
        if let Some(document) = answered.texts.get(index) {
            out.extend(br#","document":"#);
            if let Style::Cohere(_) = style {
                out.extend(br#"{"text":"#);
            }
            text(document, out);
            if let Style::Cohere(_) = style {
                out.push(b'}');
            }
        }
        out.push(b'}');
    });
    let _ = write!(
        out,
        r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}"#
    );
    if let Style::Cohere(version) = style {
        // Of a hundred documents each.
        let units = ranks.logits.len().div_ceil(100);
        let _ = write!(
            out,
            r#","meta":{{"api_version":{{"version":"{version}"}},"billed_units":{{"search_units":{units}}},"tokens":{{"input_tokens":{tokens}}}}}"#
        );
    }
    out.push(b'}');
    out
}

/// The members of a request that holds documents.
pub(super) fn request_members() -> [(&'static str, Value); 5] {
    let text = || json!({ "type": "string" });
    let object = open([("text", text())], 1);
    let documents = json!({
        "type": "array", "minItems": 1, "items": { "anyOf": [text(), object] },
    });
    [
        ("query", text()),
        ("documents", documents),
        ("model", json!({ "type": ["string", "null"] })),
        (
            "top_n",
            json!({ "type": ["integer", "null"], "minimum": 1 }),
        ),
        ("return_documents", json!({ "type": ["boolean", "null"] })),
    ]
}

/// The schema of an answer, with documents as this one says.
pub(super) fn answer_schema(document: Value) -> Value {
    let number = || json!({ "type": "integer", "minimum": 0 });
    let text = || json!({ "type": "string" });
    let result = [
        ("index", number()),
        ("relevance_score", json!({ "type": "number" })),
        ("document", document),
    ];
    let usage = [("prompt_tokens", number()), ("total_tokens", number())];
    let results = json!({ "type": "array", "items": open(result, 2) });
    let members = [
        ("id", text()),
        ("model", text()),
        ("results", results),
        ("usage", open(usage, 2)),
        ("object", json!({ "const": "rerank" })),
        ("meta", json!({ "type": "object" })),
    ];
    open(members, 5)
}

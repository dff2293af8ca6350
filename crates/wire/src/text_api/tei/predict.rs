//! Classification of texts and of pairs.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::super::read::{Member, Members, more_than, read_texts, wrong};
use super::super::vectors::array;
use super::super::{Answered, Form, Labels, Operation, Take, TextError, TextRequest, Write};
use super::{OPTIONS, option, options_schema};
use crate::body::Limits;
use crate::schema::open;

pub(super) const PREDICT: Operation = Operation::Take(Take {
    sample: r#"{"inputs": [["The ferry leaves at noon."]]}"#,
    names_model: false,
    budget: None,
    read: read_inputs,
    writes: &[Write::AnyLabels(write_labels)],
    request_schema,
    answer_schema,
});

fn read_inputs(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    read_texts::<Request>(body, limits, "inputs")
}

struct Request;

impl Members for Request {
    const EXPECTED: &'static str = r#"an object such as {"inputs": "a text"}"#;
    const NAMES: &'static [&'static str] = OPTIONS;

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        match member.name {
            "inputs" => {
                let limits = member.limits;
                member.seeded(Inputs { limits, request })
            }
            "parameters" => member.object::<Self>(request),
            _ => option(member, request),
        }
    }
}

/// Reads a text, a pair `["a", "b"]`, or a list of lists of one or two texts.
struct Inputs<'r> {
    limits: Limits,
    request: &'r mut TextRequest,
}

impl<'de> DeserializeSeed<'de> for Inputs<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inputs<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a pair of texts, or a list of lists of one or two texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.request.texts = vec![text.to_owned()];
        self.request.queries = Vec::new();
        self.request.form = Form::One;
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (mut flat, mut texts, mut queries) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(item) = seq.next_element_seed(Item)? {
            match item {
                Given::Text(text) => flat.push(text),
                Given::Pair(query, text) => {
                    queries.extend(query);
                    texts.push(text);
                }
            }
            let most = self.limits.max_rows;
            if texts.len() > most {
                return Err(more_than(most, "texts"));
            }
            if flat.len() > 2 || !(flat.is_empty() || texts.is_empty()) {
                return Err(de::Error::custom(
                    "expected a text, a pair of texts or a list of lists; send several texts as [[\"a\"], [\"b\"]]",
                ));
            }
        }
        if !queries.is_empty() && queries.len() != texts.len() {
            return Err(de::Error::custom(
                "expected single texts or pairs; found both",
            ));
        }
        self.request.form = match flat.is_empty() {
            true => Form::List,
            false => Form::One,
        };
        if let Some(text) = flat.pop() {
            texts.push(text);
            queries = flat;
        }
        self.request.texts = texts;
        self.request.queries = queries;
        Ok(())
    }
}

/// One text, or a pair whose first text is optional.
pub(in crate::text_api) enum Given {
    Text(String),
    Pair(Option<String>, String),
}

/// Reads a text, a list of one or two, or an object with `text` and `text_pair`, as transformers' pipelines take it.
pub(in crate::text_api) struct Item;

impl<'de> DeserializeSeed<'de> for Item {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            r#"a text, a list of one or two texts, or an object with "text" and "text_pair""#,
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Given, E> {
        Ok(Given::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Given, A::Error> {
        let (one, two) = (seq.next_element()?, seq.next_element()?);
        let more: Option<de::IgnoredAny> = seq.next_element()?;
        match (one, two, more) {
            (Some(text), None, None) => Ok(Given::Pair(None, text)),
            (query, Some(text), None) => Ok(Given::Pair(query, text)),
            _ => Err(de::Error::custom("expected lists of one or two texts")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Given, A::Error> {
        let (mut text, mut pair) = (None, None);
        while let Some(name) = map.next_key::<String>()? {
            let slot = match name.as_str() {
                "text" => &mut text,
                "text_pair" => &mut pair,
                _ => {
                    map.next_value::<de::IgnoredAny>()?;
                    continue;
                }
            };
            let read = map.next_value::<Option<String>>();
            *slot = read.map_err(|error| wrong(&name, error))?;
        }
        match (text, pair) {
            (None, _) => Err(wrong("text", "expected a text; found none")),
            (Some(text), None) => Ok(Given::Pair(None, text)),
            (query, Some(pair)) => Ok(Given::Pair(query, pair)),
        }
    }
}

fn write_labels(request: &TextRequest, answered: &Answered<'_, Labels<'_>>) -> Vec<u8> {
    let mut best = answered.results.best(request.results.top);
    let mut out = Vec::new();
    // Writing to a vector cannot fail.
    let write = |labels: Vec<_>, out: &mut Vec<u8>| drop(serde_json::to_writer(out, &labels));
    match request.form {
        Form::One => write(best.next().unwrap_or_default(), &mut out),
        _ => array(best, &mut out, write),
    }
    out
}

fn request_schema() -> Value {
    let text = || json!({ "type": "string" });
    let pair =
        |least: u8| json!({ "type": "array", "items": text(), "minItems": least, "maxItems": 2 });
    let batch = json!({ "type": "array", "items": pair(1), "minItems": 1 });
    let members = [
        ("inputs", json!({ "anyOf": [text(), batch, pair(1)] })),
        ("raw_scores", json!({ "type": ["boolean", "null"] })),
    ];
    open(members.into_iter().chain(options_schema()), 1)
}

/// The best labels of one text, or of each text.
fn answer_schema() -> Value {
    let labels = labels_schema();
    json!({ "anyOf": [{ "type": "array", "items": labels }, labels] })
}

/// Labels with scores.
pub(in crate::text_api) fn labels_schema() -> Value {
    let members = [
        ("label", json!({ "type": "string" })),
        ("score", json!({ "type": "number" })),
    ];
    json!({ "type": "array", "items": open(members, 2) })
}

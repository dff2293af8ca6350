//! What pipelines take as `inputs`.
//!
//! Source: `TextClassificationPipeline` of transformers, which takes a pair as an object with `text` and `text_pair`, or as a
//! list of two texts inside a list; the API of sentence similarity for `source_sentence` and `sentences`.

use std::fmt;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::read::{Member, Texts, more_than, wrong};
use super::super::tei::{Given, Item};
use super::super::{Form, TextRequest};
use crate::body::Limits;

/// The member `inputs`.
pub(super) fn take<'de, A: MapAccess<'de>>(
    member: Member<'_, A>,
    request: &mut TextRequest,
) -> Result<(), A::Error> {
    let limits = member.limits;
    member.seeded(Inputs { limits, request })
}

/// Reads a text, a pair, a list of texts or of pairs, or sentences to compare, of which the source comes first.
struct Inputs<'r> {
    limits: Limits,
    request: &'r mut TextRequest,
}

impl Inputs<'_> {
    /// Takes over texts, and the first texts of pairs.
    fn set<E: de::Error>(
        self,
        queries: Vec<String>,
        texts: Vec<String>,
        form: Form,
    ) -> Result<(), E> {
        if queries.is_empty() {
            self.request.form = form;
        } else if self.request.queries.is_empty() {
            self.request.form = Form::Pairs;
            self.request.queries = queries;
        } else {
            return Err(E::custom(
                "found pairs beside a query; send pairs alone, or the query with texts",
            ));
        }
        self.request.texts = texts;
        Ok(())
    }
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
        f.write_str(
            r#"a text, an object with "text" and "text_pair", a list of these, or an object with "source_sentence" and "sentences""#,
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.set(Vec::new(), vec![text.to_owned()], Form::One)
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (mut queries, mut texts) = (Vec::new(), Vec::new());
        let most = self.limits.max_rows;
        loop {
            let at = texts.len();
            let item = seq.next_element_seed(Item);
            let item = item.map_err(|error| wrong(&format!("item {at}"), error))?;
            let Some(item) = item else { break };
            if at == most {
                return Err(more_than(most, "texts"));
            }
            let (query, text) = match item {
                Given::Text(text) => (None, text),
                Given::Pair(query, text) => (query, text),
            };
            if at > 0 && query.is_some() == queries.is_empty() {
                let (single, pair) = match query {
                    Some(_) => (0, at),
                    None => (at, 0),
                };
                return Err(de::Error::custom(format_args!(
                    "item {single} is a single text, item {pair} is a pair; expected one kind"
                )));
            }
            queries.extend(query);
            texts.push(text);
        }
        self.set(queries, texts, Form::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut text, mut pair, mut source) = (None, None, None);
        let mut sentences = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let slot = match name.as_str() {
                "text" => &mut text,
                "text_pair" => &mut pair,
                "source_sentence" => &mut source,
                "sentences" => {
                    let read = map.next_value_seed(Texts(self.limits));
                    sentences = read.map_err(|error| wrong(&name, error))?;
                    continue;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let read = map.next_value::<Option<String>>();
            *slot = read.map_err(|error| wrong(&name, error))?;
        }
        match (text, pair, source) {
            (None, None, Some(source)) => {
                sentences.insert(0, source);
                self.set(Vec::new(), sentences, Form::Similarity)
            }
            (Some(query), Some(text), None) => self.set(vec![query], vec![text], Form::Pairs),
            (Some(text), None, None) => self.set(Vec::new(), vec![text], Form::One),
            (None, Some(_), _) => Err(wrong(
                "text",
                "expected a text beside text_pair; found none",
            )),
            (None, None, None) => Err(de::Error::custom(
                "expected an object with text (and text_pair), or with source_sentence and sentences; found neither",
            )),
            (Some(_), _, Some(_)) => Err(de::Error::custom(
                "found text beside source_sentence; expected one of them",
            )),
        }
    }
}

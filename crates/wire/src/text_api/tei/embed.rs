//! Vectors of texts, dense and sparse, and what they say of the texts' similarity.

use std::fmt;

use score::Weight;
use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::super::read::{Member, Members, Texts, read, without_texts, wrong};
use super::super::vectors::array;
use super::super::{
    Answered, Form, Operation, Take, TextError, TextRequest, VectorEncoding, Vectors, Write,
};
use super::{OPTIONS, option, options_schema};
use crate::body::Limits;
use crate::schema::open;

pub(super) const EMBED: Operation = Operation::Take(Take {
    sample: r#"{"inputs": ["The ferry leaves at noon."]}"#,
    names_model: false,
    budget: None,
    read: read_inputs,
    writes: &[Write::Vectors(write_vectors)],
    request_schema: embed_schema,
    answer_schema: vectors_schema,
});

pub(super) const SIMILARITY: Operation = Operation::Take(Take {
    sample: r#"{"inputs": {"source_sentence": "The ferry leaves at noon.", "sentences": ["The boat departs at twelve."]}}"#,
    names_model: false,
    budget: None,
    read: read_sentences,
    writes: &[Write::Vectors(write_vectors)],
    request_schema: similarity_schema,
    answer_schema: || json!({ "type": "array", "items": { "type": "number" } }),
});

pub(super) const EMBED_SPARSE: Operation = Operation::Take(Take {
    sample: r#"{"inputs": ["The ferry leaves at noon."]}"#,
    names_model: false,
    budget: None,
    read: read_texts,
    writes: &[Write::Weights(write_weights)],
    request_schema: embed_schema,
    answer_schema: || {
        let members = [
            ("index", json!({ "type": "integer", "minimum": 0 })),
            ("value", json!({ "type": "number" })),
        ];
        list(list(open(members, 2)))
    },
});

fn read_inputs(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let request = read::<Request>(body, limits)?;
    check_inputs(request)
}

/// A request with texts or with sentences to compare.
pub(in crate::text_api) fn check_inputs(request: TextRequest) -> Result<TextRequest, TextError> {
    match (request.texts.len(), &request.form) {
        (0, _) => Err(without_texts("inputs")),
        (1, Form::Similarity) => Err(without_texts("inputs.sentences")),
        _ => Ok(request),
    }
}

fn read_sentences(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let request = read_inputs(body, limits)?;
    match request.form {
        Form::Similarity => Ok(request),
        _ => Err(score::ScoreError::invalid(
            "inputs",
            r#"inputs: expected an object such as {"source_sentence": "a text", "sentences": ["another"]}; found texts"#,
        )
        .into()),
    }
}

/// A request with texts.
pub(super) fn read_texts(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let request = read_inputs(body, limits)?;
    match request.form {
        Form::Similarity => {
            let message = "inputs: expected a text or a list of texts; found sentences to compare";
            Err(score::ScoreError::invalid("inputs", message).into())
        }
        _ => Ok(request),
    }
}

struct Request;

impl Members for Request {
    const EXPECTED: &'static str = r#"an object such as {"inputs": ["a text"]}"#;
    const NAMES: &'static [&'static str] = OPTIONS;

    fn defaults(request: &mut TextRequest) {
        request.options.normalize = Some(true);
    }

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        match member.name {
            "inputs" => {
                let inputs = Inputs {
                    limits: member.limits,
                    texts: &mut request.texts,
                };
                request.form = member.seeded(inputs)?;
                Ok(())
            }
            "parameters" => member.object::<Self>(request),
            _ => option(member, request),
        }
    }
}

/// Reads a text, a list of texts, or sentences to compare, whose texts go to `texts`, the source first.
struct Inputs<'t> {
    limits: Limits,
    texts: &'t mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Inputs<'_> {
    type Value = Form;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Form, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inputs<'_> {
    type Value = Form;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of texts, or an object with source_sentence and sentences")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Form, E> {
        *self.texts = vec![text.to_owned()];
        Ok(Form::One)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Form, E> {
        Ok(Form::List)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Form, A::Error> {
        *self.texts = Texts(self.limits).visit_seq(seq)?;
        Ok(Form::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Form, A::Error> {
        let (mut source, mut sentences) = (None, Vec::new());
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "source_sentence" => source = map.next_value::<Option<String>>()?,
                "sentences" => sentences = map.next_value_seed(Texts(self.limits))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let source =
            source.ok_or_else(|| wrong("source_sentence", "expected a text; found none"))?;
        sentences.insert(0, source);
        *self.texts = sentences;
        Ok(Form::Similarity)
    }
}

pub(in crate::text_api) fn write_vectors(
    request: &TextRequest,
    answered: &Answered<'_, Vectors<'_>>,
) -> Vec<u8> {
    let float = VectorEncoding::Float;
    if request.form != Form::Similarity {
        let mut out = Vec::with_capacity(float.bytes(answered.results.values.len()) + 16);
        array(answered.results.each(), &mut out, |vector, out| {
            float.write(vector, out);
        });
        return out;
    }
    let mut vectors = answered.results.each();
    let source = vectors.next().unwrap_or_default();
    let cosines: Vec<f32> = vectors.map(|vector| cosine(source, vector)).collect();
    let mut out = Vec::with_capacity(float.bytes(cosines.len()));
    float.write(&cosines, &mut out);
    out
}

/// The cosine of the angle between two vectors; 0 where one of them has no direction.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    match lengths > 0.0 {
        true => (dot(one, other) / lengths) as f32,
        false => 0.0,
    }
}

pub(in crate::text_api) fn write_weights(
    _: &TextRequest,
    answered: &Answered<'_, &[Vec<Weight>]>,
) -> Vec<u8> {
    // Numbers can always be written.
    serde_json::to_vec(answered.results).unwrap_or_default()
}

pub(super) fn embed_schema() -> Value {
    let text = || json!({ "type": "string" });
    let texts = json!({ "anyOf": [text(), { "type": "array", "items": text() }] });
    let members = [
        ("inputs", texts),
        ("normalize", json!({ "type": ["boolean", "null"] })),
        (
            "dimensions",
            json!({ "type": ["integer", "null"], "minimum": 1 }),
        ),
    ];
    open(members.into_iter().chain(options_schema()), 1)
}

fn similarity_schema() -> Value {
    let text = || json!({ "type": "string" });
    let inputs = [
        ("source_sentence", text()),
        (
            "sentences",
            json!({ "type": "array", "items": text(), "minItems": 1 }),
        ),
    ];
    open(
        [("inputs", open(inputs, 2))]
            .into_iter()
            .chain(options_schema()),
        1,
    )
}

fn vectors_schema() -> Value {
    list(list(json!({ "type": "number" })))
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

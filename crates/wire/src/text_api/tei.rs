//! text-embeddings-inference, the server of Hugging Face, and the clients of its inference API.
//!
//! Source: the routes and types of text-embeddings-inference (`router/src/http/server.rs`, `router/src/http/types.rs`) and
//! what its clients send: `@huggingface/inference` posts to the address it is given, without a path of its own, and puts
//! options beside `inputs` or below `parameters`.

mod tokens;

use std::fmt;

use score::Truncate;
use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::VectorEncoding;
use super::read::{Member, Members, Texts, read, without_texts, wrong};
use super::vectors::array;
use super::{
    About, Answered, End, Form, Operation, Served, Side, Take, Tell, TextApi, TextError,
    TextRequest, TextRoute, Vectors, Write,
};
use crate::body::Limits;
use crate::error_form;
use crate::schema::open;

/// text-embeddings-inference.
pub(super) static TEI: TextApi = TextApi {
    name: "text-embeddings-inference",
    section: "text-embeddings-inference",
    purpose: "vectors of texts and of their tokens, similarity, tokens",
    errors: &error_form::HUGGING_FACE,
    routes: &[
        TextRoute {
            path: &[],
            named: None,
            id: "inference",
            summary: "Vectors of texts, or the similarity of sentences",
            operation: EMBED,
        },
        route(&["embed"], "embed", "Vectors of texts", EMBED),
        route(&["info"], "info", "What the text model is and takes", INFO),
        route(
            &["embed_all"],
            "embed_all",
            "The vectors of all tokens of texts",
            tokens::EMBED_ALL,
        ),
        route(
            &["tokenize"],
            "tokenize",
            "The tokens of texts",
            tokens::TOKENIZE,
        ),
        route(
            &["decode"],
            "decode",
            "The texts of token ids",
            tokens::DECODE,
        ),
        route(
            &["similarity"],
            "similarity",
            "How similar sentences are to one of them",
            SIMILARITY,
        ),
    ],
};

/// A route that may have a model's name in front of it.
const fn route(
    path: &'static [&'static str],
    id: &'static str,
    summary: &'static str,
    operation: Operation,
) -> TextRoute {
    TextRoute {
        path,
        named: Some(End::Front),
        id,
        summary,
        operation,
    }
}

const EMBED: Operation = Operation::Take(Take {
    sample: r#"{"inputs": ["The ferry leaves at noon."]}"#,
    names_model: false,
    budget: None,
    read: read_inputs,
    write: Write::Vectors(write_vectors),
    request_schema: embed_schema,
    answer_schema: vectors_schema,
});

const SIMILARITY: Operation = Operation::Take(Take {
    sample: r#"{"inputs": {"source_sentence": "The ferry leaves at noon.", "sentences": ["The boat departs at twelve."]}}"#,
    names_model: false,
    budget: None,
    read: read_sentences,
    write: Write::Vectors(write_vectors),
    request_schema: similarity_schema,
    answer_schema: || json!({ "type": "array", "items": { "type": "number" } }),
});

const INFO: Operation = Operation::Tell(Tell {
    about: About::Texts,
    write: |models| models.first().map_or(Value::Null, info),
    answer_schema: info_schema,
});

fn info(model: &Served<'_>) -> Value {
    let metadata = model.metadata;
    let Some(text) = &metadata.text else {
        return Value::Null;
    };
    json!({
        "model_id": metadata.name,
        "model_sha": metadata.digest.to_hex(),
        "model_dtype": "float32",
        "model_type": { "embedding": { "pooling": text.pooling } },
        "max_input_length": text.max_tokens,
        "max_batch_tokens": text.batch_tokens,
        "max_client_batch_size": text.max_texts,
        "auto_truncate": text.truncate != Truncate::Refuse,
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn info_schema() -> Value {
    let text = || json!({ "type": "string" });
    let number = || json!({ "type": "integer", "minimum": 1 });
    let members = [
        ("model_id", text()),
        ("model_sha", text()),
        ("model_dtype", text()),
        ("model_type", json!({ "type": "object" })),
        ("max_input_length", number()),
        ("max_batch_tokens", number()),
        ("max_client_batch_size", number()),
        ("auto_truncate", json!({ "type": "boolean" })),
        ("version", text()),
    ];
    open(members, 9)
}

fn read_inputs(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let request = read::<Request>(body, limits)?;
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

struct Request;

impl Members for Request {
    const EXPECTED: &'static str = r#"an object such as {"inputs": ["a text"]}"#;
    const NAMES: &'static [&'static str] = &[
        "inputs",
        "parameters",
        "truncate",
        "truncation_direction",
        "prompt_name",
        "normalize",
        "dimensions",
        "add_special_tokens",
    ];

    fn defaults(request: &mut TextRequest) {
        request.options.normalize = Some(true);
    }

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        let options = &mut request.options;
        match member.name {
            "inputs" => {
                let limits = member.limits;
                request.form = member.seeded(Inputs {
                    limits,
                    texts: &mut request.texts,
                })?;
            }
            "parameters" => member.object::<Self>(request)?,
            "truncate" => options.truncate = member.flag()?,
            "truncation_direction" => {
                let sides = [("left", Side::Left), ("right", Side::Right)];
                options.truncation_side = member.word(&sides)?;
            }
            "prompt_name" => options.prompt_name = member.optional("the name of a prompt")?,
            "add_special_tokens" => request.special = member.flag()?,
            "normalize" => options.normalize = Some(member.flag()?.unwrap_or(true)),
            "dimensions" => options.dimensions = member.dimensions()?,
            _ => member.skip()?,
        }
        Ok(())
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
        Ok(Form::Vectors)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Form, E> {
        Ok(Form::Vectors)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Form, A::Error> {
        *self.texts = Texts(self.limits).visit_seq(seq)?;
        Ok(Form::Vectors)
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

fn write_vectors(request: &TextRequest, answered: &Answered<'_, Vectors<'_>>) -> Vec<u8> {
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

fn options_schema() -> [(&'static str, Value); 4] {
    [
        ("truncate", json!({ "type": ["boolean", "null"] })),
        (
            "truncation_direction",
            json!({ "enum": ["left", "right", "Left", "Right", null] }),
        ),
        ("prompt_name", json!({ "type": ["string", "null"] })),
        (
            "parameters",
            json!({ "type": ["object", "null"], "description": "The other members may also be here." }),
        ),
    ]
}

fn embed_schema() -> Value {
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
    let vector = json!({ "type": "array", "items": { "type": "number" } });
    json!({ "type": "array", "items": vector })
}

//! Ollama's embeddings.
//!
//! Source: "Generate embeddings" in Ollama's API documentation and `EmbedHandler` in its `server/routes.go`: vectors are
//! scaled to length 1, longer texts are cut unless `truncate` is false.

use std::io::Write as _;

use serde::de::MapAccess;
use serde_json::{Value, json};

use super::read::{Member, Members, read_texts};
use super::vectors::{array, text};
use super::{
    Answered, Operation, Take, TextApi, TextError, TextRequest, TextRoute, VectorEncoding, Vectors,
    Write,
};
use crate::body::Limits;
use crate::error_form;
use crate::schema::open;

/// Ollama's API.
pub(super) static OLLAMA: TextApi = TextApi {
    name: "Ollama",
    section: "ollama",
    purpose: "vectors of texts",
    errors: &error_form::OLLAMA,
    guest: false,
    routes: &[
        TextRoute {
            path: &["api", "embed"],
            named: None,
            id: "ollama_embed",
            summary: "Vectors of texts, as Ollama answers them",
            operation: Operation::Take(Take {
                sample: r#"{"input": ["The ferry leaves at noon."]}"#,
                request_schema: || schema("input"),
                read: read_embed,
                writes: &[Write::Vectors(write_embed)],
                answer_schema: embed_schema,
                ..EMBED
            }),
        },
        TextRoute {
            path: &["api", "embeddings"],
            named: None,
            id: "ollama_embeddings",
            summary: "The vector of one text, as older clients of Ollama ask for it",
            operation: Operation::Take(Take {
                sample: r#"{"prompt": "The ferry leaves at noon."}"#,
                request_schema: || schema("prompt"),
                read: read_one,
                writes: &[Write::Vectors(write_one)],
                answer_schema: one_schema,
                ..EMBED
            }),
        },
    ],
};

const EMBED: Take = Take {
    sample: "",
    names_model: true,
    budget: None,
    read: read_embed,
    writes: &[Write::Vectors(write_embed)],
    request_schema: || Value::Null,
    answer_schema: embed_schema,
};

fn read_embed(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    read_texts::<Request>(body, limits, "input")
}

fn read_one(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let one = Limits {
        max_rows: 1,
        ..limits
    };
    read_texts::<Request>(body, one, "prompt")
}

struct Request;

impl Members for Request {
    const EXPECTED: &'static str = r#"an object such as {"model": "name", "input": ["a text"]}"#;
    const NAMES: &'static [&'static str] = &["input", "prompt", "model", "dimensions", "truncate"];

    fn defaults(request: &mut TextRequest) {
        request.options.normalize = Some(true);
    }

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        let options = &mut request.options;
        match member.name {
            "input" | "prompt" => request.texts = member.texts()?,
            // A name without a tag means the tag `latest`, and clients may write it out.
            "model" => {
                request.model = member.model()?.map(|mut name| {
                    if let Some(plain) = name.strip_suffix(":latest") {
                        name.truncate(plain.len());
                    }
                    name
                });
            }
            "dimensions" => options.dimensions = member.count()?,
            "truncate" => options.truncate = member.flag()?,
            _ => member.skip()?,
        }
        Ok(())
    }
}

fn write_embed(_: &TextRequest, answered: &Answered<'_, Vectors<'_>>) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(VectorEncoding::Float.bytes(answered.results.values.len()) + 256);
    out.extend(br#"{"model":"#);
    text(answered.model, &mut out);
    out.extend(br#","embeddings":"#);
    array(answered.results.each(), &mut out, |vector, out| {
        VectorEncoding::Float.write(vector, out);
    });
    let (took, tokens) = (answered.took.as_nanos(), answered.all_tokens());
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        r#","total_duration":{took},"load_duration":0,"prompt_eval_count":{tokens}}}"#
    );
    out
}

fn write_one(_: &TextRequest, answered: &Answered<'_, Vectors<'_>>) -> Vec<u8> {
    let mut out = br#"{"embedding":"#.to_vec();
    VectorEncoding::Float.write(answered.results.values, &mut out);
    out.push(b'}');
    out
}

fn schema(texts: &str) -> Value {
    let text = || json!({ "type": "string" });
    let list = json!({ "type": "array", "items": text() });
    let input = match texts {
        "input" => json!({ "anyOf": [text(), list] }),
        _ => text(),
    };
    let members = [
        (texts, input),
        ("model", json!({ "type": ["string", "null"] })),
        ("truncate", json!({ "type": ["boolean", "null"] })),
        (
            "dimensions",
            json!({ "type": ["integer", "null"], "minimum": 1 }),
        ),
    ];
    open(members, 1)
}

fn vector_schema() -> Value {
    json!({ "type": "array", "items": { "type": "number" } })
}

fn embed_schema() -> Value {
    let number = || json!({ "type": "integer", "minimum": 0 });
    let members = [
        ("model", json!({ "type": "string" })),
        (
            "embeddings",
            json!({ "type": "array", "items": vector_schema() }),
        ),
        ("total_duration", number()),
        ("load_duration", number()),
        ("prompt_eval_count", number()),
    ];
    open(members, 5)
}

fn one_schema() -> Value {
    open([("embedding", vector_schema())], 1)
}

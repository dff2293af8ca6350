//! The embeddings of OpenAI's API: texts in, vectors and a count of tokens out.
//!
//! Source: "Embeddings" in OpenAI's API reference, and what its clients send: they ask for base64 unless told otherwise, and
//! read floats where `encoding_format` is absent.

use std::io::Write as _;

use serde::de::MapAccess;
use serde_json::{Value, json};

use super::infinity::UNNAMED;
use super::read::{Member, Members, read_texts};
use super::vectors::{array, text};
use super::{
    Answered, MODEL, Operation, Take, TextApi, TextError, TextRequest, TextRoute, VectorEncoding,
    Vectors, Write, models,
};
use crate::body::Limits;
use crate::error_form;
use crate::schema::open;

/// OpenAI's API.
pub(super) static OPENAI: TextApi = TextApi {
    name: "OpenAI",
    section: "openais-clients",
    purpose: "embeddings, also in the forms of Azure OpenAI and Azure.AI.Inference; the models, also for KServe V1 and TensorFlow Serving",
    errors: &error_form::OPENAI,
    guest: false,
    routes: &[
        embeddings(&["v1", "embeddings"], "embeddings", EMBEDDINGS),
        // Azure OpenAI, its older and its newer form.
        embeddings(
            &["openai", "deployments", MODEL, "embeddings"],
            "deployment_embeddings",
            EMBEDDINGS,
        ),
        embeddings(
            &["openai", "v1", "embeddings"],
            "azure_embeddings",
            EMBEDDINGS,
        ),
        // Azure.AI.Inference, and infinity's own client.
        embeddings(&["embeddings"], "inference_embeddings", OF_INFINITY),
        TextRoute {
            path: &["v1", "models"],
            named: None,
            id: "list_models",
            summary: "The models that serve, for clients of OpenAI, KServe V1 and TensorFlow Serving",
            operation: models::MODELS,
        },
        TextRoute {
            path: &["v1", "models", MODEL],
            named: None,
            id: "model",
            summary: "One model, for clients of OpenAI, KServe V1 and TensorFlow Serving",
            operation: models::MODEL,
        },
        TextRoute {
            path: &["openai", "v1", "models"],
            named: None,
            id: "azure_list_models",
            summary: "The models that serve",
            operation: models::MODELS,
        },
        TextRoute {
            path: &["openai", "v1", "models", MODEL],
            named: None,
            id: "azure_model",
            summary: "One model",
            operation: models::MODEL,
        },
    ],
};

const fn embeddings(
    path: &'static [&'static str],
    id: &'static str,
    operation: Operation,
) -> TextRoute {
    TextRoute {
        path,
        named: None,
        id,
        summary: "Embeddings as OpenAI's API has them",
        operation,
    }
}

const EMBEDDINGS: Operation = taking(read_embeddings::<false>);
/// infinity's client names the only model `default/not-specified`, and sends `"dimensions": 0` for all of them.
const OF_INFINITY: Operation = taking(read_embeddings::<true>);

const fn taking(read: fn(&[u8], Limits) -> Result<TextRequest, TextError>) -> Operation {
    Operation::Take(Take {
        sample: r#"{"input": ["The ferry leaves at noon."]}"#,
        names_model: true,
        budget: None,
        read,
        writes: &[Write::Vectors(write_embeddings)],
        request_schema,
        answer_schema,
    })
}

fn read_embeddings<const OF_INFINITY_TOO: bool>(
    body: &[u8],
    limits: Limits,
) -> Result<TextRequest, TextError> {
    read_texts::<Embeddings<OF_INFINITY_TOO>>(body, limits, "input")
}

struct Embeddings<const OF_INFINITY_TOO: bool>;

impl<const OF_INFINITY_TOO: bool> Members for Embeddings<OF_INFINITY_TOO> {
    const EXPECTED: &'static str = r#"an object such as {"input": ["a text"], "model": "name"}"#;
    const NAMES: &'static [&'static str] = &[
        "input",
        "model",
        "encoding_format",
        "dimensions",
        "prompt_name",
        "input_type",
        "truncate",
    ];

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        let options = &mut request.options;
        match member.name {
            "input" => request.texts = member.texts()?,
            "model" => {
                let named = |name: &String| !OF_INFINITY_TOO || name != UNNAMED;
                request.model = member.model()?.filter(named);
            }
            "encoding_format" => {
                let encodings = [
                    ("float", VectorEncoding::Float),
                    ("base64", VectorEncoding::Base64),
                ];
                request.encoding = member.word(&encodings)?.unwrap_or_default();
            }
            "dimensions" if OF_INFINITY_TOO => {
                let count: Option<usize> = member.optional("a number")?;
                options.dimensions = count.filter(|count| *count > 0);
            }
            "dimensions" => options.dimensions = member.count()?,
            "prompt_name" => options.prompt_name = member.optional("the name of a prompt")?,
            "input_type" => options.input_type = member.optional("a text such as \"query\"")?,
            "truncate" => options.truncate = member.flag()?,
            _ => member.skip()?,
        }
        Ok(())
    }
}

fn write_embeddings(request: &TextRequest, answered: &Answered<'_, Vectors<'_>>) -> Vec<u8> {
    let encoding = request.encoding;
    let vectors = answered.results.each();
    let each = 64 + encoding.bytes(answered.results.width);
    let mut out = Vec::with_capacity(vectors.len() * each + answered.model.len() + 128);
    out.extend(br#"{"object":"list","data":"#);
    array(vectors.enumerate(), &mut out, |(index, vector), out| {
        // Writing to a vector cannot fail, here and below.
        let _ = write!(
            out,
            r#"{{"object":"embedding","index":{index},"embedding":"#
        );
        encoding.write(vector, out);
        out.push(b'}');
    });
    out.extend(br#","model":"#);
    text(answered.model, &mut out);
    let tokens = answered.all_tokens();
    let _ = write!(
        out,
        r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#
    );
    out
}

fn request_schema() -> Value {
    let text = || json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": text() });
    let optional = |schema: Value| json!({ "anyOf": [schema, { "type": "null" }] });
    let members = [
        ("input", json!({ "anyOf": [text(), texts] })),
        ("model", optional(text())),
        (
            "encoding_format",
            json!({ "enum": ["float", "base64", null] }),
        ),
        (
            "dimensions",
            json!({ "type": ["integer", "null"], "minimum": 1 }),
        ),
        ("user", optional(text())),
        ("prompt_name", optional(text())),
        ("input_type", optional(text())),
        ("truncate", json!({ "type": ["boolean", "null"] })),
    ];
    open(members, 1)
}

fn answer_schema() -> Value {
    let number = || json!({ "type": "integer", "minimum": 0 });
    let vector = json!({ "anyOf": [
        { "type": "array", "items": { "type": "number" } },
        { "type": "string", "description": "Little-endian float32 as base64." },
    ] });
    let item = [
        ("object", json!({ "const": "embedding" })),
        ("index", number()),
        ("embedding", vector),
    ];
    let usage = [("prompt_tokens", number()), ("total_tokens", number())];
    let members = [
        ("object", json!({ "const": "list" })),
        ("data", json!({ "type": "array", "items": open(item, 3) })),
        ("model", json!({ "type": "string" })),
        ("usage", open(usage, 2)),
    ];
    open(members, 4)
}

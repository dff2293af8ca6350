//! Embeddings in several types of numbers.

use std::io::Write as _;

use serde::de::MapAccess;
use serde_json::{Value, json};

use super::super::read::{Member, Members, read_texts};
use super::super::vectors::{EmbeddingType, array, text};
use super::super::{Answered, Form, Operation, Side, Take, TextError, TextRequest, Vectors, Write};
use super::only_texts;
use crate::body::Limits;
use crate::schema::open;

pub(super) const V1: Operation = Operation::Take(Take {
    sample: r#"{"texts": ["The ferry leaves at noon."], "input_type": "search_document"}"#,
    read: read_v1,
    writes: &[Write::Vectors(write_v1)],
    answer_schema: || answer_schema(json!({ "anyOf": [vectors_schema(), by_type_schema()] })),
    ..EMBED
});

pub(super) const V2: Operation = Operation::Take(EMBED);

const EMBED: Take = Take {
    sample: r#"{"texts": ["The ferry leaves at noon."], "input_type": "search_document", "embedding_types": ["float"]}"#,
    names_model: true,
    budget: None,
    read: read_v2,
    writes: &[Write::Vectors(write_v2)],
    request_schema,
    answer_schema: || answer_schema(by_type_schema()),
};

/// Without types, version 1 answers a list of vectors.
fn read_v1(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let mut request = read_texts::<Embed>(body, limits, "texts")?;
    request.repeats_texts = true;
    Ok(request)
}

fn read_v2(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let mut request = read_v1(body, limits)?;
    if request.form == Form::List {
        request.form = Form::ByType(vec![EmbeddingType::Float]);
    }
    Ok(request)
}

struct Embed;

impl Members for Embed {
    const EXPECTED: &'static str = r#"an object such as {"model": "name", "texts": ["a text"]}"#;
    const NAMES: &'static [&'static str] = &[
        "texts",
        "images",
        "inputs",
        "model",
        "input_type",
        "embedding_types",
        "output_dimension",
        "max_tokens",
        "truncate",
    ];

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        let options = &mut request.options;
        match member.name {
            "texts" => request.texts = member.texts()?,
            "images" | "inputs" => only_texts(member)?,
            "model" => request.model = member.model()?,
            "input_type" => {
                options.input_type = member.optional("a text such as \"search_query\"")?
            }
            "embedding_types" => {
                let types = member.words(&EmbeddingType::NAMES)?;
                request.form = match types.is_empty() {
                    true => Form::List,
                    false => Form::ByType(types),
                };
            }
            "output_dimension" => options.dimensions = member.count()?,
            "max_tokens" => options.max_tokens = member.count()?,
            "truncate" => {
                let ends = [
                    ("NONE", None),
                    ("START", Some(Side::Left)),
                    ("END", Some(Side::Right)),
                ];
                if let Some(end) = member.word(&ends)? {
                    options.truncate = Some(end.is_some());
                    options.truncation_side = end;
                }
            }
            _ => member.skip()?,
        }
        Ok(())
    }
}

fn write_v1(request: &TextRequest, answered: &Answered<'_, Vectors<'_>>) -> Vec<u8> {
    write(request, answered, 1)
}

fn write_v2(request: &TextRequest, answered: &Answered<'_, Vectors<'_>>) -> Vec<u8> {
    write(request, answered, 2)
}

fn write(request: &TextRequest, answered: &Answered<'_, Vectors<'_>>, version: u8) -> Vec<u8> {
    let numbers = answered.results.values.len();
    let mut out = Vec::with_capacity(request.vector_bytes(numbers) + 256);
    out.extend(br#"{"id":"#);
    text(answered.id, &mut out);
    out.extend(br#","response_type":"#);
    match &request.form {
        Form::ByType(types) => {
            out.extend(br#""embeddings_by_type","embeddings":"#);
            for (index, of) in types.iter().enumerate() {
                out.push(if index == 0 { b'{' } else { b',' });
                text(of.name(), &mut out);
                out.push(b':');
                vectors(answered, *of, &mut out);
            }
            out.push(b'}');
        }
        _ => {
            out.extend(br#""embeddings_floats","embeddings":"#);
            vectors(answered, EmbeddingType::Float, &mut out);
        }
    }
    out.extend(br#","texts":"#);
    array(answered.texts, &mut out, |each, out| text(each, out));
    let tokens = answered.all_tokens();
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        r#","meta":{{"api_version":{{"version":"{version}"}},"billed_units":{{"input_tokens":{tokens}}}}}}}"#
    );
    out
}

fn vectors(answered: &Answered<'_, Vectors<'_>>, of: EmbeddingType, out: &mut Vec<u8>) {
    array(answered.results.each(), out, |vector, out| {
        of.write(vector, out)
    });
}

fn request_schema() -> Value {
    let text = || json!({ "type": "string" });
    let names = EmbeddingType::NAMES.map(|(name, _)| name);
    let count = || json!({ "type": ["integer", "null"], "minimum": 1 });
    let members = [
        (
            "texts",
            json!({ "type": "array", "items": text(), "minItems": 1 }),
        ),
        ("model", json!({ "type": ["string", "null"] })),
        ("input_type", json!({ "type": ["string", "null"] })),
        (
            "embedding_types",
            json!({ "type": ["array", "null"], "items": { "enum": names } }),
        ),
        ("output_dimension", count()),
        ("max_tokens", count()),
        (
            "truncate",
            json!({ "enum": ["NONE", "START", "END", null] }),
        ),
    ];
    open(members, 1)
}

fn vectors_schema() -> Value {
    let vector = json!({ "type": "array", "items": { "type": "number" } });
    json!({ "type": "array", "items": vector })
}

fn by_type_schema() -> Value {
    let integers = || {
        let vector = json!({ "type": "array", "items": { "type": "integer" } });
        json!({ "type": "array", "items": vector })
    };
    let members = [
        ("float", vectors_schema()),
        ("int8", integers()),
        ("uint8", integers()),
        ("binary", integers()),
        ("ubinary", integers()),
        (
            "base64",
            json!({ "type": "array", "items": { "type": "string" } }),
        ),
    ];
    open(members, 0)
}

fn answer_schema(embeddings: Value) -> Value {
    let text = || json!({ "type": "string" });
    let members = [
        ("id", text()),
        ("response_type", text()),
        ("embeddings", embeddings),
        ("texts", json!({ "type": "array", "items": text() })),
        ("meta", json!({ "type": "object" })),
    ];
    open(members, 5)
}

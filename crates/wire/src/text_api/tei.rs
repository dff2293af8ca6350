//! text-embeddings-inference, the server of Hugging Face.
//!
//! Source: its routes and types (`router/src/http/server.rs`, `router/src/http/types.rs`). Clients of Hugging Face's inference
//! API use its routes, too, and put options beside `inputs` or below `parameters`.

mod embed;
mod predict;
mod rank;
mod tokens;

use std::collections::BTreeMap;

use score::{Task, Truncate};
use serde::de::MapAccess;
use serde_json::{Value, json};

use super::read::Member;
use super::{About, End, Operation, Served, Side, Tell, TextApi, TextRequest, TextRoute};
use crate::error_form;
use crate::schema::open;
pub(super) use embed::{check_inputs, write_vectors, write_weights};
pub(super) use predict::{Given, Item, labels_schema};
pub(super) use rank::{take_ranked, write_ranks};

/// text-embeddings-inference.
pub(super) static TEI: TextApi = TextApi {
    name: "text-embeddings-inference",
    section: "text-embeddings-inference",
    purpose: "vectors of texts and of their tokens, sparse vectors, similarity, tokens, ranking, classification",
    errors: &error_form::HUGGING_FACE,
    guest: false,
    routes: &[
        route(&["embed"], "embed", "Vectors of texts", embed::EMBED),
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
            embed::SIMILARITY,
        ),
        route(
            &["embed_sparse"],
            "embed_sparse",
            "Sparse vectors of texts",
            embed::EMBED_SPARSE,
        ),
        route(
            &["rerank"],
            "rerank",
            "Texts or documents ranked by what they say to a query; with `documents` as infinity takes and answers them",
            rank::RERANK,
        ),
        route(
            &["predict"],
            "predict",
            "The scores of labels for texts",
            predict::PREDICT,
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
    let names = text.labels.iter().enumerate();
    let labels = json!({
        "id2label": names.clone().map(|(id, name)| (id.to_string(), name)).collect::<BTreeMap<_, _>>(),
        "label2id": names.map(|(id, name)| (name, id)).collect::<BTreeMap<_, _>>(),
    });
    let model_type = match text.task {
        Task::Embedding => json!({ "embedding": { "pooling": text.pooling } }),
        Task::Sparse => json!({ "embedding": { "pooling": "splade" } }),
        Task::Rerank => json!({ "reranker": labels }),
        Task::Classify => json!({ "classifier": labels }),
        Task::Tag => json!({ "tagger": labels }),
    };
    json!({
        "model_id": metadata.name,
        "model_sha": metadata.digest.to_hex(),
        "model_dtype": "float32",
        "model_type": model_type,
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

/// The members that are options of several routes, and those that hold texts.
pub(super) const OPTIONS: &[&str] = &[
    "inputs",
    "parameters",
    "query",
    "texts",
    "documents",
    "truncate",
    "truncation_direction",
    "prompt_name",
    "normalize",
    "dimensions",
    "add_special_tokens",
    "raw_scores",
    "return_text",
    "return_documents",
    "top_n",
    "top_k",
    "model",
];

/// One of the options, or a member that is passed over.
pub(super) fn option<'de, A: MapAccess<'de>>(
    member: Member<'_, A>,
    request: &mut TextRequest,
) -> Result<(), A::Error> {
    let options = &mut request.options;
    match member.name {
        "truncate" => options.truncate = member.flag()?,
        "truncation_direction" => {
            let sides = [("left", Side::Left), ("right", Side::Right)];
            options.truncation_side = member.word(&sides)?;
        }
        "prompt_name" => options.prompt_name = member.optional("the name of a prompt")?,
        "add_special_tokens" => request.special = member.flag()?,
        "normalize" => options.normalize = Some(member.flag()?.unwrap_or(true)),
        "dimensions" => options.dimensions = member.count()?,
        "raw_scores" => request.results.activation = member.raw_scores()?,
        "return_text" | "return_documents" => {
            request.repeats_texts = member.flag()?.unwrap_or(false);
        }
        "top_n" | "top_k" => request.results.top = member.count()?,
        "model" => request.model = member.model()?,
        _ => member.skip()?,
    }
    Ok(())
}

pub(super) fn options_schema() -> [(&'static str, Value); 4] {
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

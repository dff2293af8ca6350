//! Cohere's ranking and embeddings; its ranking is also that of Jina and vLLM.
//!
//! Source: "Rerank" and "Embed" in Cohere's API reference, versions 1 and 2, and what its clients send and read; "Reranker" in
//! Jina's API reference and `RerankRequest` of vLLM, whose answers have `usage` instead of `meta`.

mod embed;

use score::ScoreError;
use serde::de::{IgnoredAny, MapAccess};
use serde_json::{Value, json};

use super::ranking::{self, Documents, Style};
use super::read::{Member, Members, read, wrong};
use super::{Answered, Operation, Ranks, Take, TextApi, TextError, TextRequest, TextRoute, Write};
use crate::body::Limits;
use crate::error_form;
use crate::schema::open;

/// Cohere's API.
pub(super) static COHERE: TextApi = TextApi {
    name: "Cohere",
    section: "ranking",
    purpose: "ranking, also as Jina and vLLM have it, and embeddings",
    errors: &error_form::COHERE,
    guest: true,
    routes: &[
        rerank(&["v1", "rerank"], "rerank_v1", &[Write::Ranks(write_v1)]),
        rerank(&["v2", "rerank"], "rerank_v2", &[Write::Ranks(write_v2)]),
        TextRoute {
            path: &["v1", "embed"],
            named: None,
            id: "embed_v1",
            summary: "Embeddings as version 1 of Cohere's API has them",
            operation: embed::V1,
        },
        TextRoute {
            path: &["v2", "embed"],
            named: None,
            id: "embed_v2",
            summary: "Embeddings as version 2 of Cohere's API has them",
            operation: embed::V2,
        },
    ],
};

const fn rerank(
    path: &'static [&'static str],
    id: &'static str,
    writes: &'static [Write],
) -> TextRoute {
    TextRoute {
        path,
        named: None,
        id,
        summary: "Documents ranked by what they say to a query",
        operation: Operation::Take(Take {
            sample: r#"{"query": "When does the ferry leave?", "documents": ["The ferry leaves at noon.", "Tickets are sold on board."]}"#,
            names_model: true,
            budget: None,
            read: read_rerank,
            writes,
            request_schema: rerank_schema,
            answer_schema: || {
                let document = open([("text", json!({ "type": "string" }))], 1);
                ranking::answer_schema(document)
            },
        }),
    }
}

fn read_rerank(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let request = ranking::checked(read::<Rerank>(body, limits)?, "documents")?;
    match request.queries.iter().any(String::is_empty) {
        true => {
            Err(ScoreError::invalid("query", "query: expected a text; found an empty one").into())
        }
        false => Ok(request),
    }
}

struct Rerank;

impl Members for Rerank {
    const EXPECTED: &'static str =
        r#"an object such as {"model": "name", "query": "a text", "documents": ["a text"]}"#;
    const NAMES: &'static [&'static str] = &[
        "query",
        "documents",
        "model",
        "top_n",
        "top_k",
        "return_documents",
        "max_tokens_per_doc",
        "rank_fields",
        "raw_scores",
    ];

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        let results = &mut request.results;
        match member.name {
            "query" => {
                let query: Option<String> = member.optional("a text")?;
                request.queries = query.into_iter().collect();
            }
            "documents" => {
                let documents = Documents(member.limits);
                request.texts = member.seeded(documents)?;
            }
            "model" => request.model = member.model()?,
            "top_n" | "top_k" => results.top = member.count()?,
            "return_documents" => request.repeats_texts = member.flag()?.unwrap_or(false),
            "max_tokens_per_doc" => request.options.max_tokens = member.count()?,
            "raw_scores" => results.activation = member.raw_scores()?,
            "rank_fields" => {
                let name = member.name;
                let fields = member.names()?.unwrap_or_default();
                if fields.iter().any(|field| field != "text") {
                    return Err(wrong(name, "documents are ranked by their \"text\" alone"));
                }
            }
            _ => member.skip()?,
        }
        Ok(())
    }
}

/// A member that would bring something other than texts; null passes.
fn only_texts<'de, A: MapAccess<'de>>(member: Member<'_, A>) -> Result<(), A::Error> {
    let name = member.name;
    match member.optional::<IgnoredAny>("null")? {
        Some(_) => Err(wrong(
            name,
            "the models take texts alone; send them as \"texts\"",
        )),
        None => Ok(()),
    }
}

fn write_v1(request: &TextRequest, answered: &Answered<'_, Ranks<'_>>) -> Vec<u8> {
    ranking::write(request, answered, Style::Cohere(1))
}

fn write_v2(request: &TextRequest, answered: &Answered<'_, Ranks<'_>>) -> Vec<u8> {
    ranking::write(request, answered, Style::Cohere(2))
}

fn rerank_schema() -> Value {
    let tokens = (
        "max_tokens_per_doc",
        json!({ "type": ["integer", "null"], "minimum": 1 }),
    );
    open(ranking::request_members().into_iter().chain([tokens]), 2)
}

//! Ranking. The path is infinity's, too: a request with `documents` instead of `texts` is one of its clients.
//!
//! Source: `RerankInput` and `ReRankResult` of infinity (`fastapi_schemas/pymodels.py`).

use std::io::Write as _;

use serde::de::MapAccess;
use serde_json::{Value, json};

use super::super::infinity::UNNAMED;
use super::super::ranking::{self, Documents, Style};
use super::super::read::{Member, Members, read};
use super::super::vectors::{array, text};
use super::super::{Answered, Form, Operation, Ranks, Take, TextError, TextRequest, Write};
use super::{OPTIONS, option, options_schema};
use crate::body::Limits;
use crate::schema::open;

pub(super) const RERANK: Operation = Operation::Take(Take {
    sample: r#"{"query": "When does the ferry leave?", "texts": ["The ferry leaves at noon.", "Tickets are sold on board."]}"#,
    names_model: false,
    budget: None,
    read: read_ranked,
    writes: &[Write::Ranks(write_ranks)],
    request_schema,
    answer_schema,
});

fn read_ranked(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let mut request = read::<Ranked>(body, limits)?;
    let documents = request.form == Form::Documents;
    if !documents || request.model.as_deref() == Some(UNNAMED) {
        // Clients of text-embeddings-inference name the server, or the model that they believe to run there.
        request.model = None;
    }
    let member = match documents {
        true => "documents",
        false => "texts",
    };
    ranking::checked(request, member)
}

struct Ranked;

impl Members for Ranked {
    const EXPECTED: &'static str = r#"an object such as {"query": "a text", "texts": ["a text"]}"#;
    const NAMES: &'static [&'static str] = OPTIONS;

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        match member.name {
            "documents" => {
                let documents = Documents(member.limits);
                request.texts = member.seeded(documents)?;
                request.form = Form::Documents;
                Ok(())
            }
            "model" => {
                request.model = member.model()?;
                Ok(())
            }
            "parameters" => member.object::<Self>(request),
            _ => take_ranked(member, request),
        }
    }
}

/// The members `query` and `texts`, or one of the options.
pub(in crate::text_api) fn take_ranked<'de, A: MapAccess<'de>>(
    member: Member<'_, A>,
    request: &mut TextRequest,
) -> Result<(), A::Error> {
    match member.name {
        "query" => {
            let query: Option<String> = member.optional("a text")?;
            request.queries = query.into_iter().collect();
            Ok(())
        }
        "texts" => {
            request.texts = member.texts()?;
            Ok(())
        }
        _ => option(member, request),
    }
}

pub(in crate::text_api) fn write_ranks(
    request: &TextRequest,
    answered: &Answered<'_, Ranks<'_>>,
) -> Vec<u8> {
    if request.form == Form::Documents {
        return ranking::write(request, answered, Style::Infinity);
    }
    let ranks = answered.results;
    let mut out = Vec::new();
    let best = ranks.best(request.results.top);
    array(best, &mut out, |index, out| {
        // Writing to a vector cannot fail.
        let _ = write!(out, r#"{{"index":{index},"#);
        if let Some(repeated) = answered.texts.get(index) {
            out.extend(br#""text":"#);
            text(repeated, out);
            out.push(b',');
        }
        out.extend(br#""score":"#);
        let _ = serde_json::to_writer(&mut *out, &ranks.score(index));
        out.push(b'}');
    });
    out
}

fn request_schema() -> Value {
    let text = || json!({ "type": "string" });
    let flag = || json!({ "type": ["boolean", "null"] });
    let texts = json!({ "type": "array", "items": text(), "minItems": 1 });
    let members = [
        ("query", text()),
        ("texts", texts),
        ("raw_scores", flag()),
        ("return_text", flag()),
    ];
    let texts = open(members.into_iter().chain(options_schema()), 2);
    let documents = open(ranking::request_members(), 2);
    json!({ "anyOf": [texts, documents] })
}

fn answer_schema() -> Value {
    let members = [
        ("index", json!({ "type": "integer", "minimum": 0 })),
        ("score", json!({ "type": "number" })),
        ("text", json!({ "type": "string" })),
    ];
    let ranks = json!({ "type": "array", "items": open(members, 2) });
    let documents = ranking::answer_schema(json!({ "type": "string" }));
    json!({ "anyOf": [ranks, documents] })
}

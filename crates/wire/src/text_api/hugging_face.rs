//! The pipelines of Hugging Face's inference API. Its clients post to the address they are given and add no path.
//!
//! Source: `text_classification` and `token_classification` of huggingface_hub's `InferenceClient`, which takes the labels of
//! a text from a list with one item for each text, also for a single one; the specifications of these tasks
//! (`packages/tasks` of huggingface.js); transformers' pipelines for what options mean.

mod inputs;

use score::{Activation, Aggregation, Entity};
use serde::de::MapAccess;
use serde_json::{Value, json};

use super::read::{Member, Members, read, wrong};
use super::tei;
use super::{
    Answered, End, Form, Labels, Operation, Take, TextApi, TextError, TextRequest, TextRoute, Write,
};
use crate::body::Limits;
use crate::error_form;
use crate::schema::open;

/// Pipelines, and the path of a server that has only one model.
pub(super) static HUGGING_FACE: TextApi = TextApi {
    name: "Hugging Face",
    section: "classification",
    purpose: "classification of texts and of tokens",
    errors: &error_form::HUGGING_FACE,
    guest: false,
    routes: &[
        TextRoute {
            path: &[],
            named: None,
            id: "inference",
            summary: "What the model is for",
            operation: Operation::Take(Take {
                writes: &[
                    Write::Vectors(tei::write_vectors),
                    Write::Ranks(tei::write_ranks),
                    Write::Labels(write_labels),
                    Write::Entities(write_entities),
                    Write::Weights(tei::write_weights),
                ],
                ..CLASSIFY
            }),
        },
        TextRoute {
            path: &["pipeline", "text-classification"],
            named: Some(End::Back),
            id: "text_classification",
            summary: "The scores of labels for texts",
            operation: Operation::Take(CLASSIFY),
        },
        TextRoute {
            path: &["pipeline", "token-classification"],
            named: Some(End::Back),
            id: "token_classification",
            summary: "The entities in texts",
            operation: Operation::Take(Take {
                writes: &[Write::Entities(write_entities)],
                request_schema: tagging_schema,
                answer_schema: || {
                    let entities = entities_schema();
                    json!({ "anyOf": [{ "type": "array", "items": entities }, entities] })
                },
                ..CLASSIFY
            }),
        },
    ],
};

const CLASSIFY: Take = Take {
    sample: r#"{"inputs": "The ferry leaves at noon."}"#,
    names_model: false,
    budget: None,
    read: read_inputs,
    writes: &[Write::Labels(write_labels)],
    request_schema: classification_schema,
    answer_schema: || json!({ "type": "array", "items": tei::labels_schema() }),
};

fn read_inputs(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let request = read::<Request>(body, limits)?;
    match request.queries.is_empty() {
        true => tei::check_inputs(request),
        false => super::ranking::checked(request, "texts"),
    }
}

struct Request;

impl Members for Request {
    const EXPECTED: &'static str = r#"an object such as {"inputs": "a text"}"#;
    const NAMES: &'static [&'static str] = tei::OPTIONS;

    fn defaults(request: &mut TextRequest) {
        request.options.normalize = Some(true);
    }

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        if matches!(member.name, "inputs" | "texts") && !request.texts.is_empty() {
            let message = "found texts in inputs and in texts, or twice; send single texts and pairs as inputs, or texts with a \
                           query";
            return Err(wrong(member.name, message));
        }
        let results = &mut request.results;
        match member.name {
            "inputs" => inputs::take(member, request)?,
            "query" if request.form == Form::Pairs => {
                let message = "found a query beside pairs in inputs; send pairs alone, or the query with texts";
                return Err(wrong("query", message));
            }
            "parameters" => member.object::<Self>(request)?,
            "function_to_apply" => {
                let activations = [
                    ("sigmoid", Activation::Sigmoid),
                    ("softmax", Activation::Softmax),
                    ("none", Activation::None),
                ];
                results.activation = member.word(&activations)?;
            }
            "aggregation_strategy" => {
                let aggregations = [
                    ("none", Aggregation::None),
                    ("simple", Aggregation::Simple),
                    ("first", Aggregation::First),
                    ("average", Aggregation::Average),
                    ("max", Aggregation::Max),
                ];
                results.aggregation = member.word(&aggregations)?;
            }
            "ignore_labels" => results.ignored = member.names()?,
            _ => tei::take_ranked(member, request)?,
        }
        Ok(())
    }
}

/// The labels of each text, in a list also for a single one.
fn write_labels(request: &TextRequest, answered: &Answered<'_, Labels<'_>>) -> Vec<u8> {
    let best: Vec<_> = answered.results.best(request.results.top).collect();
    // Texts and numbers can always be written.
    serde_json::to_vec(&best).unwrap_or_default()
}

/// The entities of each text; those of a single one without a list around them.
fn write_entities(request: &TextRequest, answered: &Answered<'_, &[Vec<Entity>]>) -> Vec<u8> {
    let written = match (&request.form, answered.results) {
        (Form::One, [only]) => serde_json::to_vec(only),
        (_, all) => serde_json::to_vec(all),
    };
    // Texts and numbers can always be written.
    written.unwrap_or_default()
}

fn inputs_schema() -> Value {
    let text = || json!({ "type": "string" });
    json!({ "anyOf": [text(), { "type": "array", "items": text(), "minItems": 1 }] })
}

fn classification_schema() -> Value {
    let text = || json!({ "type": "string" });
    let pair = || open([("text", text()), ("text_pair", text())], 1);
    let pairs = json!({ "type": "array", "items": pair(), "minItems": 1 });
    let mut inputs = inputs_schema();
    if let Some(forms) = inputs["anyOf"].as_array_mut() {
        forms.extend([pair(), pairs]);
    }
    let parameters = [
        (
            "top_k",
            json!({ "type": ["integer", "null"], "minimum": 1 }),
        ),
        (
            "function_to_apply",
            json!({ "enum": ["sigmoid", "softmax", "none", null] }),
        ),
    ];
    let members = [("inputs", inputs), ("parameters", open(parameters, 0))];
    open(members, 1)
}

fn tagging_schema() -> Value {
    let strategies = json!(["none", "simple", "first", "average", "max", null]);
    let labels = json!({ "type": ["array", "null"], "items": { "type": "string" } });
    let parameters = [
        ("aggregation_strategy", json!({ "enum": strategies })),
        ("ignore_labels", labels),
    ];
    let members = [
        ("inputs", inputs_schema()),
        ("parameters", open(parameters, 0)),
    ];
    open(members, 1)
}

/// The entities of a text.
pub(super) fn entities_schema() -> Value {
    let text = || json!({ "type": "string" });
    let position = || json!({ "type": "integer", "minimum": 0 });
    let members = [
        ("score", json!({ "type": "number" })),
        ("word", text()),
        ("start", position()),
        ("end", position()),
        ("entity_group", text()),
        ("entity", text()),
        ("index", position()),
    ];
    json!({ "type": "array", "items": open(members, 4) })
}

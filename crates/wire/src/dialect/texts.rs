//! `{"query": "...", "texts": [...]}`: texts, and the query that rerankers rank them by, as text-embeddings-inference takes
//! them. Answered are the scores in the order of the texts.

use score::{
    ElementType, ModelSignature, NamedTensor, QUERY, ScoreError, TEXT, Tensor, TensorData,
};
use serde_json::json;

use super::{AnswerForm, Dialect, Request, alone, azure_ml};
use crate::context::Context;
use crate::dialect::Body;
use crate::rows::tabular;
use crate::schema::open;

/// `{"query": "...", "texts": [...]}`
pub(crate) static TEXTS: Dialect = Dialect {
    name: "Texts, for models that take them",
    member: "texts",
    body: r#"`{"texts": ["..."]}`; `{"query": "...", "texts": ["..."]}` for a [reranker](text.md#ranking)"#,
    answer: "the bare result: scores in the order of the texts",
    sample: r#"{"texts":[""]}"#,
    under: None,
    options: &["query"],
    recognises: alone,
    read,
    write: azure_ml::write_bare,
    request_schema: |parts| {
        let signature = &parts.metadata.signature;
        takes_texts(signature).then(|| {
            let text = || json!({ "type": "string" });
            let texts = json!({ "type": "array", "items": text() });
            match signature.input(QUERY) {
                Some(_) => open([("texts", texts), ("query", text())], 2),
                None => open([("texts", texts)], 1),
            }
        })
    },
    answer_schema: |parts| parts.result.clone(),
};

/// Whether the inputs of a model are texts, or queries and texts.
fn takes_texts(signature: &ModelSignature) -> bool {
    let of_strings = |name: &str| {
        let spec = signature.input(name);
        spec.is_some_and(|spec| spec.element_type == ElementType::String)
    };
    let names = || signature.inputs.iter().map(|spec| spec.name.as_str());
    of_strings(TEXT) && names().all(|name| name == TEXT || (name == QUERY && of_strings(QUERY)))
}

fn read(request: &Request<'_>) -> Result<Body, ScoreError> {
    let context = request.context("texts");
    let signature = context.signature;
    if !takes_texts(signature) {
        let takes = signature.describe_inputs();
        let message = format!("texts: the model takes {takes}");
        return Err(ScoreError::invalid("texts", message));
    }
    let text = signature.inputs.iter().filter(|spec| spec.name == TEXT);
    let text = ModelSignature::of_tensors(text.cloned().collect(), Vec::new());
    let context = Context {
        signature: &text,
        ..context
    };
    let mut inputs = tabular::read(context, request.value)?;
    let wrong = |message: &str| ScoreError::invalid("query", format!("query: {message}"));
    match (request.members.get("query"), signature.input(QUERY)) {
        (Some(query), Some(_)) => {
            let query: Result<String, _> = serde_json::from_str(query.get());
            let query = query.map_err(|_| wrong("expected a text"))?;
            let query = Tensor::new(vec![1], TensorData::String(vec![query]));
            let tensor = query.map_err(|_| wrong("expected a text"))?;
            inputs.insert(
                0,
                NamedTensor {
                    name: QUERY.to_owned(),
                    tensor,
                },
            );
        }
        (None, Some(_)) => return Err(wrong("expected a text; found none")),
        (Some(_), None) => return Err(wrong("the model takes texts alone")),
        (None, None) => {}
    }
    Ok(Body::rows_of(inputs, AnswerForm::of(&TEXTS)))
}

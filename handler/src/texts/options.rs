//! What a request asks of the model for its texts.

use score::{ScoreError, TextMetadata, TextOptions, Truncate, quoted};
use wire::text_api::{Side, TextRequest};

use crate::problem::Problem;

/// The options of a request.
///
/// # Errors
/// If it names a prompt that the model does not have.
pub(super) fn options(request: &TextRequest, text: &TextMetadata) -> Result<TextOptions, Problem> {
    let options = &request.options;
    let refuses = text.truncate == Truncate::Refuse;
    let truncate = match (options.truncate, options.truncation_side) {
        (Some(false), _) => Some(Truncate::Refuse),
        // The side alone does not say that texts are to be cut.
        (None, _) if refuses => None,
        (_, Some(Side::Left)) => Some(Truncate::Left),
        (_, Some(Side::Right)) => Some(Truncate::Right),
        // On the model's side, if it has one.
        (Some(true), None) if refuses => Some(Truncate::Right),
        (_, None) => None,
    };
    let prompt = match (&options.prompt_name, &options.input_type) {
        (Some(name), _) => Some(named_prompt(name, text)?),
        (None, Some(kind)) => typed_prompt(kind, text),
        (None, None) => None,
    };
    Ok(TextOptions {
        prompt: prompt.map(str::to_owned),
        truncate,
        max_tokens: options.max_tokens,
    })
}

fn named_prompt<'t>(name: &str, text: &'t TextMetadata) -> Result<&'t str, Problem> {
    if let Some(prompt) = text.prompts.get(name) {
        return Ok(prompt);
    }
    let known: Vec<&str> = text.prompts.keys().map(String::as_str).collect();
    let known = match known[..] {
        [] => "the model has none".to_owned(),
        _ => format!("the model has: {}", known.join(", ")),
    };
    let message = format!("prompt_name: there is no prompt {}; {known}", quoted(name));
    Err(ScoreError::invalid("prompt_name", message).into())
}

/// The prompt for texts of that kind, by the names that models give it; the model's own if it has none.
fn typed_prompt<'t>(kind: &str, text: &'t TextMetadata) -> Option<&'t str> {
    let names: &[&str] = match kind {
        "query" | "search_query" => &["query", "search_query"],
        "document" | "passage" | "search_document" => {
            &["document", "passage", "search_document", "corpus"]
        }
        _ => return text.prompts.get(kind).map(String::as_str),
    };
    let mut prompts = names.iter().filter_map(|name| text.prompts.get(*name));
    prompts.next().map(String::as_str)
}

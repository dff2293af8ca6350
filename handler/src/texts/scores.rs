//! Answers with scores: those of rerankers, and those of classifiers with their labels.

use score::{Activation, InferenceResponse, LOGITS, scores};
use wire::text_api::{Answered, Labels, Ranks, TextRequest};

use super::{Asked, TextAnswer, counted, tensor};
use crate::admission::Visit;
use crate::problem::Problem;

/// About how many bytes a score takes in an answer, beside a label or a text.
const BYTES_A_SCORE: usize = 64;

/// Answers with the order of a request's texts.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn ranks(
    write: fn(&TextRequest, &Answered<'_, Ranks<'_>>) -> Vec<u8>,
    mut asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    let response = asked.score(visit).await?;
    let (tokens, truncated) = counted(&response)?;
    let logits = scores(tensor(&response, LOGITS)?, Activation::None);
    let logits = logits.ok_or_else(Problem::internal)?;
    let texts: usize = asked.repeated.iter().map(|text| 2 * text.len()).sum();
    let bytes = asked.bytes() + texts + logits.len() * BYTES_A_SCORE;
    asked.held.reach(bytes)?;
    let ranks = Ranks {
        logits: &logits,
        activation: activation(&asked)?,
    };
    let answered = asked.answered(ranks, tokens, truncated)?;
    let body = write(&asked.request, &answered);
    asked.answer(body, (response.cache, response.timings), truncated)
}

/// Answers with the labels of a request's texts.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn labels(
    write: fn(&TextRequest, &Answered<'_, Labels<'_>>) -> Vec<u8>,
    mut asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    if asked.request.texts.is_empty() {
        // Records that all are mistaken.
        let none = Labels {
            names: &[],
            scores: &[],
        };
        let answered = asked.answered(none, &[], &[])?;
        return Ok(TextAnswer::of_body(write(&asked.request, &answered)));
    }
    let response = asked.score(visit).await?;
    let (tokens, truncated) = counted(&response)?;
    let scores = scored(&asked, &response)?;
    let names = asked.text()?.labels.iter();
    let bytes: usize = names.map(|name| BYTES_A_SCORE + name.len()).sum();
    let bytes = asked.bytes() + tokens.len() * bytes;
    asked.held.reach(bytes)?;
    let labels = Labels {
        names: &asked.text()?.labels,
        scores: &scores,
    };
    let body = write(&asked.request, &asked.answered(labels, tokens, truncated)?);
    asked.answer(body, (response.cache, response.timings), truncated)
}

/// Scores of the stored logits, by the activation that the request asks for or the model has.
fn scored(asked: &Asked<'_>, response: &InferenceResponse) -> Result<Vec<f32>, Problem> {
    let scores = scores(tensor(response, LOGITS)?, activation(asked)?);
    scores.ok_or_else(Problem::internal)
}

fn activation(asked: &Asked<'_>) -> Result<Activation, Problem> {
    let asked_for = asked.request.results.activation;
    Ok(asked_for.unwrap_or(asked.text()?.activation))
}

//! Answers with scores: those of rerankers, and those of classifiers with their labels.

use score::{InferenceResponse, LOGITS, scores};
use wire::text_api::{Answered, Labels, TextRequest};

use super::{Asked, counted, tensor};
use crate::admission::Visit;
use crate::http::reply::Reply;
use crate::problem::Problem;

/// About how many bytes a score takes in an answer, beside a label or a text.
const BYTES_A_SCORE: usize = 64;

/// Answers with the order of a request's texts.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn ranks(
    write: fn(&TextRequest, &Answered<'_, &[f32]>) -> Vec<u8>,
    mut asked: Asked<'_>,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem> {
    let response = asked.score(visit).await?;
    let (tokens, truncated) = counted(&response)?;
    let scores = scored(&asked, &response)?;
    let texts: usize = asked.repeated.iter().map(|text| 2 * text.len()).sum();
    asked.held.reach(texts + scores.len() * BYTES_A_SCORE)?;
    let answered = asked.answered(&scores[..], tokens, truncated)?;
    let body = write(&asked.request, &answered);
    asked.reply(body, response.cache, truncated)
}

/// Answers with the labels of a request's texts.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn labels(
    write: fn(&TextRequest, &Answered<'_, Labels<'_>>) -> Vec<u8>,
    mut asked: Asked<'_>,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem> {
    if asked.request.texts.is_empty() {
        // Records that all are mistaken.
        let none = Labels {
            names: &[],
            scores: &[],
        };
        let answered = asked.answered(none, &[], &[])?;
        return Ok(Reply::json(write(&asked.request, &answered)));
    }
    let response = asked.score(visit).await?;
    let (tokens, truncated) = counted(&response)?;
    let scores = scored(&asked, &response)?;
    let names = &asked.scorer.clone();
    let names = names.metadata().text.as_ref().map(|text| &text.labels[..]);
    let names = names.unwrap_or_default();
    let bytes: usize = names.iter().map(|name| BYTES_A_SCORE + name.len()).sum();
    asked.held.reach(tokens.len() * bytes)?;
    let labels = Labels {
        names,
        scores: &scores,
    };
    let body = write(&asked.request, &asked.answered(labels, tokens, truncated)?);
    asked.reply(body, response.cache, truncated)
}

/// Scores of the stored logits, by the activation that the request asks for or the model has.
fn scored(asked: &Asked<'_>, response: &InferenceResponse) -> Result<Vec<f32>, Problem> {
    let asked_for = asked.request.results.activation;
    let activation = asked_for.unwrap_or(asked.text()?.activation);
    let scores = scores(tensor(response, LOGITS)?, activation);
    scores.ok_or_else(Problem::internal)
}

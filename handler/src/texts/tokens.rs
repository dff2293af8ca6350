//! Routes about tokens: nothing of theirs is stored.

use score::{Tensor, Token};

use super::{Asked, LARGE_ELEMENTS, TextAnswer, permit};
use crate::admission::Visit;
use crate::blocking;
use crate::limits::Charge;
use crate::problem::Problem;

/// Bytes of a number of a vector, in memory and in an answer.
const BYTES_A_NUMBER: usize = 4 + 12;
/// About how many bytes a token takes beside its texts, in memory and in an answer.
const BYTES_A_TOKEN: usize = 256;

/// Answers with what the model makes of each token.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn vectors(
    write: fn(&[Tensor]) -> Vec<u8>,
    asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    let _permit = permit(visit, asked.call).await?;
    let texts = asked.request.texts;
    let (found, cut) = asked.scorer.token_vectors(texts, asked.options).await?;
    let numbers: usize = found.iter().map(|tensor| tensor.data().len()).sum();
    let mut answer = written(asked.held, numbers * BYTES_A_NUMBER, || write(&found))?;
    answer.truncated = cut;
    Ok(answer)
}

/// Answers with the tokens of texts.
///
/// # Errors
/// As [`vectors`].
pub(super) async fn tokens(
    write: fn(&[Vec<Token>]) -> Vec<u8>,
    asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    let _permit = permit(visit, asked.call).await?;
    let special = asked.request.special.unwrap_or(true);
    let (texts, prompt) = (asked.request.texts, asked.options.prompt);
    let found = asked.scorer.tokenize(texts, prompt, special).await?;
    let bytes = |token: &Token| BYTES_A_TOKEN + 2 * (token.name.len() + token.text.len());
    let bytes = found.iter().flatten().map(bytes).sum();
    written(asked.held, bytes, || write(&found))
}

/// Answers with the texts of tokens.
///
/// # Errors
/// As [`vectors`].
pub(super) async fn texts(
    write: fn(&[String]) -> Vec<u8>,
    asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    let _permit = permit(visit, asked.call).await?;
    let skip_special = !asked.request.special.unwrap_or(false);
    let found = asked.scorer.decode(asked.request.ids, skip_special).await?;
    let bytes = found.iter().map(|text| 2 * text.len()).sum();
    written(asked.held, bytes, || write(&found))
}

/// Writes an answer that takes so many bytes together with what it is made of.
fn written(
    mut held: Charge,
    bytes: usize,
    write: impl FnOnce() -> Vec<u8>,
) -> Result<TextAnswer, Problem> {
    held.reach(bytes)?;
    let body = blocking::apart_if(bytes >= LARGE_ELEMENTS * BYTES_A_NUMBER, write);
    held.settle(body.len())?;
    Ok(TextAnswer {
        held: Some(held),
        ..TextAnswer::of_body(body)
    })
}

//! Routes about tokens: nothing of theirs is stored.

use score::{Tensor, Token};

use super::Asked;
use crate::admission::Visit;
use crate::http::reply::Reply;
use crate::problem::Problem;

/// Answers with what the model makes of each token.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn vectors(
    write: fn(&[Tensor]) -> Vec<u8>,
    asked: Asked<'_>,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem> {
    let _permit = visit.permit(asked.call).await?;
    let texts = asked.request.texts;
    let found = asked.scorer.token_vectors(texts, asked.options).await?;
    Ok(Reply::json(write(&found)))
}

/// Answers with the tokens of texts.
///
/// # Errors
/// As [`vectors`].
pub(super) async fn tokens(
    write: fn(&[Vec<Token>]) -> Vec<u8>,
    asked: Asked<'_>,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem> {
    let _permit = visit.permit(asked.call).await?;
    let special = asked.request.special.unwrap_or(true);
    let (texts, prompt) = (asked.request.texts, asked.options.prompt);
    let found = asked.scorer.tokenize(texts, prompt, special).await?;
    Ok(Reply::json(write(&found)))
}

/// Answers with the texts of tokens.
///
/// # Errors
/// As [`vectors`].
pub(super) async fn texts(
    write: fn(&[String]) -> Vec<u8>,
    asked: Asked<'_>,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem> {
    let _permit = visit.permit(asked.call).await?;
    let skip_special = !asked.request.special.unwrap_or(false);
    let found = asked.scorer.decode(asked.request.ids, skip_special).await?;
    Ok(Reply::json(write(&found)))
}

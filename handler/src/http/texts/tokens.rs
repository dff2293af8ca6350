//! Routes about tokens: nothing of theirs is stored.

use wire::text_api::Write;

use super::Asked;
use crate::admission::Visit;
use crate::http::reply::Reply;
use crate::problem::Problem;

/// Answers with tokens, with what the model makes of each, or with texts of tokens.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn answer(
    write: &Write,
    asked: Asked<'_>,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem> {
    let Asked {
        request,
        options,
        scorer,
        ..
    } = asked;
    let _permit = visit.permit(asked.call).await?;
    let body = match write {
        Write::Vectors(_) => return Err(Problem::internal()),
        Write::TokenVectors(write) => write(&scorer.token_vectors(request.texts, options).await?),
        Write::Tokens(write) => {
            let special = request.special.unwrap_or(true);
            let tokens = scorer.tokenize(request.texts, options.prompt, special);
            write(&tokens.await?)
        }
        Write::Texts(write) => {
            let skip_special = !request.special.unwrap_or(false);
            write(&scorer.decode(request.ids, skip_special).await?)
        }
    };
    Ok(Reply::json(body))
}

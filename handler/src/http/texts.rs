//! The APIs of text models: one way for all of them, from the table in `wire::text_api`.

mod tell;

use wire::text_api::Operation;

use super::body::BodyBytes;
use super::head::{Head, check_coding};
use super::reply::Reply;
use super::request::set_cache;
use super::route::TextTarget;
use crate::admission::Visit;
use crate::problem::Problem;
use crate::texts::{self, Asked};
pub(super) use tell::tell;

/// Answers a request that brings texts.
///
/// # Errors
/// [`Problem`] says whether the body, the load or this program is at fault.
pub(super) async fn answer<F>(
    head: &Head,
    target: &TextTarget,
    read_body: impl FnOnce() -> F,
    visit: &mut Visit<'_>,
) -> Result<Reply, Problem>
where
    F: Future<Output = Result<BodyBytes, Problem>>,
{
    let Operation::Take(take) = &target.route.operation else {
        return Err(Problem::internal());
    };
    check_coding(head.content_encoding.as_deref())?;
    let call = head.call();
    let mut body = read_body().await?;
    let (request, held) = visit.read_texts(take, call, body.given()).await?;
    drop(body);
    let names = (target.model.as_deref(), request.model.as_deref());
    let (scorer, write) = visit.find_texts(take, names).await?;
    let asked = Asked::new(call, take.budget, request, held, scorer);
    let answer = texts::answer(write, asked, Some(visit)).await?;
    let mut reply = Reply::json(answer.body);
    reply.held = answer.held;
    reply.set_truncated(answer.truncated);
    if let Some(cache) = answer.cache {
        set_cache(&mut reply, cache);
    }
    Ok(reply)
}

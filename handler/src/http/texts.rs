//! The APIs of text models: one way for all of them, from the table in `wire::text_api`.

mod options;
mod tell;
mod tokens;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use score::{
    InferenceResponse, NamedTensor, Scorer, TEXT, TOKENS, TRUNCATED, Tensor, TensorData,
    TextMetadata, TextOptions, Truncate,
};
use wire::text_api::{Answered, Operation, TextRequest, Write};

use super::body::BodyBytes;
use super::head::{Head, check_coding};
use super::reply::Reply;
use super::request::set_cache;
use super::route::TextTarget;
use crate::admission::Visit;
use crate::limits::Charge;
use crate::problem::{ErrorCode, Problem};
use crate::scoring::Call;
pub(super) use tell::tell;

/// Answers from this size on are written beside the other work of their thread.
const LARGE_ELEMENTS: usize = 32 << 10;

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
    let named = target.model.as_deref().or(request.model.as_deref());
    let scorer = visit.find_texts(named).await?;
    let text = scorer.metadata().text.as_ref();
    let options = options::options(&request, text.ok_or_else(Problem::internal)?)?;
    let asked = Asked {
        call,
        budget: take.budget,
        request,
        options,
        held,
        scorer,
    };
    match &take.write {
        Write::Vectors(write) => vectors::answer(*write, asked, visit).await,
        write => Box::pin(tokens::answer(write, asked, visit)).await,
    }
}

/// A request that was read, and the model that is to answer it.
struct Asked<'a> {
    call: Call<'a>,
    budget: Option<Duration>,
    request: TextRequest,
    options: TextOptions,
    held: Charge,
    scorer: Arc<Scorer>,
}

impl Asked<'_> {
    fn text(&self) -> Result<&TextMetadata, Problem> {
        let text = self.scorer.metadata().text.as_ref();
        text.ok_or_else(Problem::internal)
    }

    /// What the model makes of the texts, as it is stored. Takes the texts out of the request.
    async fn score(&mut self, visit: &mut Visit<'_>) -> Result<InferenceResponse, Problem> {
        let texts = std::mem::take(&mut self.request.texts);
        let texts = Tensor::new(vec![texts.len()], TensorData::String(texts));
        let input = NamedTensor {
            name: TEXT.to_owned(),
            tensor: texts.map_err(|_| Problem::internal())?,
        };
        let options = std::mem::take(&mut self.options);
        let scored = visit.score_as_stored(self.call, vec![input], options);
        let Some(budget) = self.budget else {
            return scored.await;
        };
        let deadline = (self.call.since + budget).into();
        let scored = tokio::time::timeout_at(deadline, scored).await;
        scored.map_err(|_| beyond(budget))?
    }

    fn answered<'r, R>(
        &'r self,
        results: R,
        tokens: &'r [i64],
        truncated: &'r [bool],
    ) -> Result<Answered<'r, R>, Problem> {
        Ok(Answered {
            results,
            model: &self.scorer.metadata().name,
            id: self.call.id,
            tokens,
            truncated,
            refuses: self.text()?.truncate == Truncate::Refuse,
            took: self.call.since.elapsed(),
        })
    }

    /// The reply with this body.
    fn reply(
        mut self,
        body: Vec<u8>,
        response: &InferenceResponse,
        truncated: &[bool],
    ) -> Result<Reply, Problem> {
        self.held.settle(body.len())?;
        let mut reply = Reply::json(body);
        reply.held = Some(self.held);
        reply.set_truncated(truncated.iter().filter(|cut| **cut).count());
        set_cache(&mut reply, response.cache);
        Ok(reply)
    }
}

/// The tokens of each text, and whether a part of it was cut off.
fn counted(response: &InferenceResponse) -> Result<(&[i64], &[bool]), Problem> {
    let (tokens, truncated) = (tensor(response, TOKENS)?, tensor(response, TRUNCATED)?);
    match (tokens.data(), truncated.data()) {
        (TensorData::Int64(tokens), TensorData::Bool(truncated)) => Ok((tokens, truncated)),
        _ => Err(Problem::internal()),
    }
}

fn tensor<'a>(response: &'a InferenceResponse, name: &str) -> Result<&'a Tensor, Problem> {
    let output = response.outputs.iter().find(|output| output.name == name);
    let tensor = output.map(|output| &output.tensor);
    tensor.ok_or_else(Problem::internal)
}

/// For a request that its client would not have waited for any longer.
fn beyond(budget: Duration) -> Problem {
    let message = format!(
        "not done within {budget:?}, and the client waits no longer; what is done is stored, so that the next try takes less"
    );
    Problem::new(ErrorCode::Timeout, message)
}

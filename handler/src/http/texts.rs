//! The APIs of text models: one way for all of them, from the table in `wire::text_api`.

mod each;
mod options;
mod scores;
mod tell;
mod tokens;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use score::{
    CacheOutcome, EachResponse, InferenceResponse, NamedTensor, QUERY, Scorer, TEXT, TOKENS,
    TRUNCATED, Tensor, TensorData, TextMetadata, TextOptions, Truncate,
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
    let names = (target.model.as_deref(), request.model.as_deref());
    let (scorer, write) = visit.find_texts(take, names).await?;
    let text = scorer.metadata().text.as_ref();
    let text = text.ok_or_else(Problem::internal)?;
    write.check(&request, text)?;
    let asked = Asked {
        call,
        budget: take.budget,
        options: options::options(&request, text)?,
        request,
        repeated: Vec::new(),
        held,
        scorer,
    };
    match write {
        Write::Vectors(write) => vectors::answer(*write, asked, visit).await,
        Write::Ranks(write) => Box::pin(scores::ranks(*write, asked, visit)).await,
        Write::Labels(write) | Write::AnyLabels(write) => {
            Box::pin(scores::labels(*write, asked, visit)).await
        }
        Write::Entities(write) => Box::pin(each::entities(*write, asked, visit)).await,
        Write::Weights(write) => Box::pin(each::weights(*write, asked, visit)).await,
        Write::TokenVectors(write) => Box::pin(tokens::vectors(*write, asked, visit)).await,
        Write::Tokens(write) => Box::pin(tokens::tokens(*write, asked, visit)).await,
        Write::Texts(write) => Box::pin(tokens::texts(*write, asked, visit)).await,
    }
}

/// A request that was read, and the model that is to answer it.
struct Asked<'a> {
    call: Call<'a>,
    budget: Option<Duration>,
    request: TextRequest,
    options: TextOptions,
    /// The request's texts while they are scored and answered, if the answer needs them.
    repeated: Vec<String>,
    held: Charge,
    scorer: Arc<Scorer>,
}

impl Asked<'_> {
    fn text(&self) -> Result<&TextMetadata, Problem> {
        let text = self.scorer.metadata().text.as_ref();
        text.ok_or_else(Problem::internal)
    }

    /// About how many bytes it takes.
    fn bytes(&self) -> usize {
        let repeated = self.repeated.iter().map(String::len);
        self.request.bytes() + repeated.sum::<usize>()
    }

    /// What the model makes of the texts, as it is stored. Takes the texts out of the request.
    async fn score(&mut self, visit: &mut Visit<'_>) -> Result<InferenceResponse, Problem> {
        let inputs = self.inputs()?;
        let options = std::mem::take(&mut self.options);
        let scored = visit.score_as_stored(self.call, inputs, options);
        within(self.call, self.budget, scored).await
    }

    /// The same, text by text.
    async fn score_each(&mut self, visit: &mut Visit<'_>) -> Result<EachResponse, Problem> {
        let inputs = self.inputs()?;
        let options = std::mem::take(&mut self.options);
        let scored = visit.score_each(self.call, inputs, options);
        within(self.call, self.budget, scored).await
    }

    /// The model's inputs.
    fn inputs(&mut self) -> Result<Vec<NamedTensor>, Problem> {
        if self.request.repeats_texts {
            self.held.reach(2 * self.request.bytes())?;
            self.repeated = self.request.texts.clone();
        }
        let queries = std::mem::take(&mut self.request.queries);
        let texts = std::mem::take(&mut self.request.texts);
        let mut inputs = Vec::with_capacity(2);
        for (name, texts) in [(QUERY, queries), (TEXT, texts)] {
            if !texts.is_empty() {
                let tensor = Tensor::new(vec![texts.len()], TensorData::String(texts));
                inputs.push(NamedTensor {
                    name: name.to_owned(),
                    tensor: tensor.map_err(|_| Problem::internal())?,
                });
            }
        }
        Ok(inputs)
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
            texts: &self.repeated,
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
        cache: CacheOutcome,
        truncated: &[bool],
    ) -> Result<Reply, Problem> {
        self.held.settle(body.len())?;
        let refuses = self.text()?.truncate == Truncate::Refuse;
        let mut reply = Reply::json(body);
        reply.held = Some(self.held);
        if self.request.answers_cut_texts(refuses) {
            reply.set_truncated(truncated.iter().filter(|cut| **cut).count());
        }
        set_cache(&mut reply, cache);
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

/// Work that ends with an error once the client waits no longer.
async fn within<T>(
    call: Call<'_>,
    budget: Option<Duration>,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let Some(budget) = budget else {
        return work.await;
    };
    let done = tokio::time::timeout_at((call.since + budget).into(), work).await;
    done.map_err(|_| beyond(budget))?
}

/// For a request that its client would not have waited for any longer.
fn beyond(budget: Duration) -> Problem {
    let message = format!(
        "not done within {budget:?}, and the client waits no longer; what is done is stored, so that the next try takes less"
    );
    Problem::new(ErrorCode::Timeout, message)
}

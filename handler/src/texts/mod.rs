//! What models make of texts, as the APIs in `wire::text_api` answer it: for requests, and for lines of files.

mod each;
mod options;
mod scores;
mod tokens;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use score::{
    CacheOutcome, EachResponse, InferenceResponse, NamedTensor, QUERY, Scorer, TEXT, TOKENS,
    TRUNCATED, Tensor, TensorData, TextMetadata, TextOptions, Timings, Truncate,
};
use tokio::sync::SemaphorePermit;
use wire::text_api::{Answered, TextRequest, Write};

use crate::admission::Visit;
use crate::limits::Charge;
use crate::problem::{ErrorCode, Problem};
use crate::scoring::{self, Call};

/// Answers from this size on are written beside the other work of their thread.
const LARGE_ELEMENTS: usize = 32 << 10;

/// An answer, and what is told of it beside its body.
#[derive(Debug)]
pub(crate) struct TextAnswer {
    /// JSON.
    pub(crate) body: Vec<u8>,
    /// The memory of the body, to be held until it is written.
    pub(crate) held: Option<Charge>,
    /// How many of the texts were cut.
    pub(crate) truncated: usize,
    /// How much of it was remembered; `None` where nothing is.
    pub(crate) cache: Option<CacheOutcome>,
    /// Texts that were scored.
    pub(crate) texts: usize,
    /// How long the model took.
    pub(crate) infer: Duration,
}

impl TextAnswer {
    /// An answer for which nothing was scored.
    fn of_body(body: Vec<u8>) -> Self {
        Self {
            body,
            held: None,
            truncated: 0,
            cache: None,
            texts: 0,
            infer: Duration::ZERO,
        }
    }
}

/// Answers a request whose model was found. A visit gives the permit to work with the model; what needs none has no visit.
///
/// # Errors
/// [`Problem`] says whether the body, the load or this program is at fault.
pub(crate) async fn answer(
    write: &Write,
    asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    write.check(&asked.request, asked.text()?)?;
    let asked = asked.with_options()?;
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

/// A permit to work with a model, where one is needed.
async fn permit<'a>(
    visit: Option<&mut Visit<'a>>,
    call: Call<'_>,
) -> Result<Option<SemaphorePermit<'a>>, Problem> {
    match visit {
        Some(visit) => visit.permit(call).await.map(Some),
        None => Ok(None),
    }
}

/// A request that was read, and the model that is to answer it.
pub(crate) struct Asked<'a> {
    call: Call<'a>,
    budget: Option<Duration>,
    request: TextRequest,
    options: TextOptions,
    /// The request's texts while they are scored and answered, if the answer needs them.
    repeated: Vec<String>,
    held: Charge,
    scorer: Arc<Scorer>,
}

impl<'a> Asked<'a> {
    /// `budget` is how long its client waits, if that is shorter than the model may take; `held` its memory.
    pub(crate) fn new(
        call: Call<'a>,
        budget: Option<Duration>,
        request: TextRequest,
        held: Charge,
        scorer: Arc<Scorer>,
    ) -> Self {
        Self {
            call,
            budget,
            request,
            options: TextOptions::default(),
            repeated: Vec::new(),
            held,
            scorer,
        }
    }

    /// What the request asks of the model.
    fn with_options(mut self) -> Result<Self, Problem> {
        self.options = options::options(&self.request, self.text()?)?;
        Ok(self)
    }

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
    async fn score(&mut self, visit: Option<&mut Visit<'_>>) -> Result<InferenceResponse, Problem> {
        let inputs = self.inputs()?;
        let options = std::mem::take(&mut self.options);
        let (call, scorer) = (self.call, &self.scorer);
        let scored = async {
            let _permit = permit(visit, call).await?;
            scoring::score_as_stored(scorer, call, inputs, options).await
        };
        within(call, self.budget, scored).await
    }

    /// The same, text by text.
    async fn score_each(&mut self, visit: Option<&mut Visit<'_>>) -> Result<EachResponse, Problem> {
        let inputs = self.inputs()?;
        let options = std::mem::take(&mut self.options);
        let (call, scorer) = (self.call, &self.scorer);
        let scored = async {
            let _permit = permit(visit, call).await?;
            scoring::score_each(scorer, call, inputs, options).await
        };
        within(call, self.budget, scored).await
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

    /// The answer with this body.
    fn answer(
        mut self,
        body: Vec<u8>,
        (cache, timings): (CacheOutcome, Timings),
        truncated: &[bool],
    ) -> Result<TextAnswer, Problem> {
        self.held.settle(body.len())?;
        let refuses = self.text()?.truncate == Truncate::Refuse;
        let cut = truncated.iter().filter(|cut| **cut).count();
        Ok(TextAnswer {
            body,
            held: Some(self.held),
            truncated: match self.request.answers_cut_texts(refuses) {
                true => cut,
                false => 0,
            },
            cache: Some(cache),
            texts: truncated.len(),
            infer: timings.infer,
        })
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

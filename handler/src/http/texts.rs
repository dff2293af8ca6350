//! The APIs of text models: one way for all of them, from the table in `wire::text_api`.

use std::time::{Duration, Instant};

use score::{
    EMBEDDING, InferenceResponse, NamedTensor, ScoreError, Scorer, TEXT, TOKENS, TRUNCATED, Tensor,
    TensorData, TextMetadata, TextOptions, Truncate, finished, quoted,
};
use serde_json::Value;
use wire::text_api::{About, Embedded, Operation, Served, Side, TextRequest, Write};

use super::body::BodyBytes;
use super::head::{Head, check_coding};
use super::reply::Reply;
use super::request::set_cache;
use super::route::TextTarget;
use crate::admission::Visit;
use crate::blocking;
use crate::limits::Charge;
use crate::models::Models;
use crate::problem::{ErrorCode, Problem};

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
    let Operation::Embed(embed) = &target.route.operation else {
        return Err(Problem::internal());
    };
    check_coding(head.content_encoding.as_deref())?;
    let call = head.call();
    let mut body = read_body().await?;
    let (mut request, held) = visit.read_texts(embed, call, body.given()).await?;
    drop(body);
    let named = target.model.as_deref().or(request.model.as_deref());
    let scorer = visit.find_texts(named).await?;
    let metadata = scorer.metadata();
    let text = metadata.text.as_ref().ok_or_else(Problem::internal)?;
    let wanted = Wanted::of(&request, text)?;
    let options = options(&request, text)?;
    let texts = std::mem::take(&mut request.texts);
    let write = match embed.write {
        Write::Vectors(write) => write,
        ref other => {
            let _permit = visit.permit(call).await?;
            let asked = (request, texts, options);
            let body = Box::pin(of_tokens(other, &scorer, asked)).await?;
            return Ok(Reply::json(body));
        }
    };
    let answer = Answer {
        write,
        request: &request,
        model: &metadata.name,
        wanted,
        refuses: text.truncate == Truncate::Refuse,
        since: head.received,
    };
    if texts.is_empty() {
        // Records that all are mistaken.
        return Ok(Reply::json(answer.written(&[], 0, &[], &[])));
    }
    let rows = vec![texts.len()];
    let texts = Tensor::new(rows, TensorData::String(texts)).map_err(|_| Problem::internal())?;
    let input = NamedTensor {
        name: TEXT.to_owned(),
        tensor: texts,
    };
    let scored = visit.score_as_stored(call, vec![input], options);
    let response = match embed.budget {
        None => scored.await?,
        Some(budget) => {
            let deadline = (head.received + budget).into();
            let scored = tokio::time::timeout_at(deadline, scored).await;
            scored.map_err(|_| beyond(budget))??
        }
    };
    let mut reply = answer.reply(&response, held)?;
    set_cache(&mut reply, response.cache);
    Ok(reply)
}

/// The answer of a route that is about tokens.
async fn of_tokens(
    write: &Write,
    scorer: &Scorer,
    (request, texts, options): (TextRequest, Vec<String>, TextOptions),
) -> Result<Vec<u8>, Problem> {
    match write {
        Write::Vectors(_) => Err(Problem::internal()),
        Write::TokenVectors(write) => Ok(write(&scorer.token_vectors(texts, options).await?)),
        Write::Tokens(write) => {
            let special = request.special.unwrap_or(true);
            Ok(write(
                &scorer.tokenize(texts, options.prompt, special).await?,
            ))
        }
        Write::Texts(write) => {
            let skip_special = !request.special.unwrap_or(false);
            Ok(write(&scorer.decode(request.ids, skip_special).await?))
        }
    }
}

/// What a route tells about models.
///
/// # Errors
/// If there is no such model, or models are still being loaded.
pub(super) fn tell(models: &Models, target: &TextTarget) -> Result<Value, Problem> {
    let Operation::Tell(tell) = &target.route.operation else {
        return Err(Problem::internal());
    };
    let name = target.model.as_deref();
    let scorers: Vec<&Scorer> = match tell.about {
        About::All => models.loaded().map(|(_, scorer)| scorer).collect(),
        About::Any => vec![models.get(name)?],
        About::Texts => vec![models.taking_texts(name)?],
    };
    let served: Vec<Served<'_>> = scorers
        .into_iter()
        .map(|scorer| Served {
            metadata: scorer.metadata(),
            since: models.since(),
        })
        .collect();
    Ok(tell.write(&served))
}

/// For a request that its client would not have waited for any longer.
fn beyond(budget: Duration) -> Problem {
    let message = format!(
        "not done within {budget:?}, and the client waits no longer; what is done is stored, so that the next try takes less"
    );
    Problem::new(ErrorCode::Timeout, message)
}

/// The form of vectors that a request asks for.
#[derive(Clone, Copy)]
struct Wanted {
    dimensions: usize,
    normalize: bool,
}

impl Wanted {
    fn of(request: &TextRequest, text: &TextMetadata) -> Result<Self, Problem> {
        let options = &request.options;
        let most = text.max_dimensions;
        match options.dimensions {
            Some(wanted) if wanted > most => {
                let message = format!(
                    "dimensions: {wanted} is more than the {most} of the model; ask for {most} or fewer"
                );
                Err(ScoreError::invalid("dimensions", message).into())
            }
            wanted => Ok(Self {
                dimensions: wanted.unwrap_or(text.dimensions),
                normalize: options.normalize.unwrap_or(text.normalize),
            }),
        }
    }
}

/// What a request asks of the model for its texts.
fn options(request: &TextRequest, text: &TextMetadata) -> Result<TextOptions, Problem> {
    let options = &request.options;
    let truncate = match (options.truncate, options.truncation_side) {
        (Some(false), _) => Some(Truncate::Refuse),
        (_, Some(Side::Left)) => Some(Truncate::Left),
        (_, Some(Side::Right)) => Some(Truncate::Right),
        // On the model's side, if it has one.
        (Some(true), None) if text.truncate == Truncate::Refuse => Some(Truncate::Right),
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
        max_tokens: None,
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

/// What an answer is made of beside the vectors.
struct Answer<'a> {
    write: fn(&TextRequest, &Embedded<'_>) -> Vec<u8>,
    request: &'a TextRequest,
    model: &'a str,
    wanted: Wanted,
    refuses: bool,
    since: Instant,
}

impl Answer<'_> {
    /// The answer in the API's form.
    fn reply(&self, response: &InferenceResponse, mut held: Charge) -> Result<Reply, Problem> {
        let stored = tensor(response, EMBEDDING)?;
        let (TensorData::Int64(tokens), TensorData::Bool(truncated)) = (
            tensor(response, TOKENS)?.data(),
            tensor(response, TRUNCATED)?.data(),
        ) else {
            return Err(Problem::internal());
        };
        let Wanted {
            dimensions,
            normalize,
        } = self.wanted;
        let (rows, encoding) = (tokens.len(), self.request.encoding);
        held.reach(encoding.bytes(rows * (dimensions + 64)))?;
        let body = blocking::apart_if(stored.data().len() >= LARGE_ELEMENTS, || {
            let vectors = finished(stored, dimensions, normalize)?;
            let TensorData::Float32(values) = vectors.data() else {
                return None;
            };
            let width = vectors.row_shape().iter().product();
            Some(self.written(values, width, tokens, truncated))
        });
        let body = body.ok_or_else(Problem::internal)?;
        held.settle(body.len())?;
        let mut reply = Reply::json(body);
        reply.held = Some(held);
        reply.set_truncated(truncated.iter().filter(|cut| **cut).count());
        Ok(reply)
    }

    fn written(&self, values: &[f32], width: usize, tokens: &[i64], truncated: &[bool]) -> Vec<u8> {
        let embedded = Embedded {
            model: self.model,
            values,
            width,
            tokens,
            truncated,
            refuses: self.refuses,
            took: self.since.elapsed(),
        };
        (self.write)(self.request, &embedded)
    }
}

fn tensor<'a>(response: &'a InferenceResponse, name: &str) -> Result<&'a Tensor, Problem> {
    let output = response.outputs.iter().find(|output| output.name == name);
    let tensor = output.map(|output| &output.tensor);
    tensor.ok_or_else(Problem::internal)
}

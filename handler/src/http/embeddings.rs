//! `POST v1/embeddings`: the embeddings of OpenAI's API.

use score::{
    EMBEDDING, InferenceResponse, NamedTensor, TEXT, TOKENS, TRUNCATED, Tensor, TensorData,
    TextMetadata, TextOptions, finished,
};
use warp::http::HeaderName;
use wire::{EmbeddingsRequest, Limits, read_embeddings, write_embeddings};

use super::body::BodyBytes;
use super::head::{Head, check_coding};
use super::reply::Reply;
use crate::admission::Visit;
use crate::blocking;
use crate::problem::Problem;

/// How many texts of the request were cut.
const TRUNCATED_COUNT: HeaderName = HeaderName::from_static("x-truncated");
/// Answers from this size on are written beside the other work of their thread.
const LARGE_ELEMENTS: usize = 32 << 10;

/// Answers a request; also says how much of it was remembered.
///
/// # Errors
/// [`Problem`] says whether the body, the load or this program is at fault.
pub(super) async fn answer<F>(
    head: &Head,
    read_body: impl FnOnce() -> F,
    visit: &mut Visit<'_>,
    limits: Limits,
) -> Result<(Reply, score::CacheOutcome), Problem>
where
    F: Future<Output = Result<BodyBytes, Problem>>,
{
    check_coding(head.content_encoding.as_deref())?;
    let call = head.call();
    let body = read_body().await?;
    let large = body.bytes.len() >= blocking::LARGE_BYTES;
    let read = blocking::apart_if(large, || {
        read_embeddings(&body.bytes, call.declared, limits)
    });
    drop(body);
    let EmbeddingsRequest {
        texts,
        model,
        encoding,
        dimensions,
    } = read.map_err(|error| Problem::from_payload(error, limits.max_bytes))?;
    let scorer = visit.find_texts(model.as_deref()).await?;
    let metadata = scorer.metadata();
    let text = metadata.text.as_ref().ok_or_else(Problem::internal)?;
    let dimensions = dimensions_of(dimensions, text)?;
    let rows = vec![texts.len()];
    let texts = Tensor::new(rows, TensorData::String(texts)).map_err(|_| Problem::internal())?;
    let input = NamedTensor {
        name: TEXT.to_owned(),
        tensor: texts,
    };
    let response = visit
        .score_as_stored(call, vec![input], TextOptions::default())
        .await?;
    let output = |name: &str| tensor(&response, name).ok_or_else(Problem::internal);
    let stored = output(EMBEDDING)?;
    let tokens = match output(TOKENS)?.data() {
        TensorData::Int64(tokens) => tokens.iter().sum(),
        _ => 0,
    };
    let body = blocking::apart_if(stored.data().len() >= LARGE_ELEMENTS, || {
        let vectors = finished(stored, dimensions, text.normalize)?;
        Some(write_embeddings(&metadata.name, &vectors, tokens, encoding))
    });
    let mut reply = Reply::json(body.ok_or_else(Problem::internal)?);
    if let TensorData::Bool(cut) = output(TRUNCATED)?.data()
        && cut.contains(&true)
    {
        let count = cut.iter().filter(|cut| **cut).count();
        reply.set(TRUNCATED_COUNT, &count.to_string());
    }
    Ok((reply, response.cache))
}

/// How many numbers of each vector are answered.
fn dimensions_of(wanted: Option<usize>, text: &TextMetadata) -> Result<usize, Problem> {
    let most = text.max_dimensions;
    match wanted {
        None => Ok(text.dimensions),
        Some(wanted) if wanted <= most => Ok(wanted),
        Some(wanted) => {
            let mut problem = Problem::bad_request(format!(
                "dimensions: {wanted} is more than the {most} of the model; ask for {most} or fewer"
            ));
            problem.target = Some("dimensions".to_owned());
            Err(problem)
        }
    }
}

fn tensor<'a>(response: &'a InferenceResponse, name: &str) -> Option<&'a Tensor> {
    let output = response.outputs.iter().find(|output| output.name == name);
    output.map(|output| &output.tensor)
}

//! Answers with the vectors of texts.

use score::{EMBEDDING, ScoreError, TensorData, TextMetadata, finished};
use wire::text_api::{Answered, TextRequest, Vectors};

use super::{Asked, LARGE_ELEMENTS, TextAnswer, tensor};
use crate::admission::Visit;
use crate::blocking;
use crate::problem::Problem;

/// Answers with the vectors of a request's texts.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn answer(
    write: fn(&TextRequest, &Answered<'_, Vectors<'_>>) -> Vec<u8>,
    mut asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    let Wanted {
        dimensions,
        normalize,
    } = Wanted::of(&asked.request, asked.text()?)?;
    if asked.request.texts.is_empty() {
        // Records that all are mistaken.
        let none = Vectors {
            values: &[],
            width: 0,
        };
        let answered = asked.answered(none, &[], &[])?;
        return Ok(TextAnswer::of_body(write(&asked.request, &answered)));
    }
    let response = asked.score(visit).await?;
    let stored = tensor(&response, EMBEDDING)?;
    let (tokens, truncated) = super::counted(&response)?;
    let numbers = tokens.len() * (dimensions + 64);
    let bytes = asked.bytes() + asked.request.vector_bytes(numbers);
    asked.held.reach(bytes)?;
    let large = stored.data().len() >= LARGE_ELEMENTS;
    let body = blocking::apart_if(large, || {
        let vectors = finished(stored, dimensions, normalize);
        let vectors = vectors.ok_or_else(Problem::internal)?;
        let TensorData::Float32(values) = vectors.data() else {
            return Err(Problem::internal());
        };
        let width = vectors.row_shape().iter().product();
        let answered = asked.answered(Vectors { values, width }, tokens, truncated)?;
        Ok(write(&asked.request, &answered))
    });
    asked.answer(body?, (response.cache, response.timings), truncated)
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

//! Answers with results of different sizes: entities, and sparse vectors.

use score::{EachResponse, Entity, StoredText, Weight};
use wire::text_api::WriteEach;

use super::{Asked, LARGE_ELEMENTS, TextAnswer};
use crate::admission::Visit;
use crate::blocking;
use crate::problem::Problem;

/// About how many bytes an entity takes in an answer, beside its words.
const ENTITY_BYTES: usize = 160;

/// About how many bytes a weight takes in an answer.
const WEIGHT_BYTES: usize = 40;

/// Tags that are no part of an entity, unless a request says otherwise.
const OUTSIDE: &str = "O";

/// Answers with the entities in a request's texts.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn entities(
    write: WriteEach<Entity>,
    mut asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    asked.request.repeats_texts = true;
    answer(write, asked, visit, |asked, index, stored| {
        let text = asked.repeated.get(index).map_or("", String::as_str);
        let results = &asked.request.results;
        let aggregation = results.aggregation.unwrap_or_default();
        let ignored: Vec<&str> = match &results.ignored {
            Some(labels) => labels.iter().map(String::as_str).collect(),
            None => vec![OUTSIDE],
        };
        let entities = asked.scorer.entities(text, stored, aggregation, &ignored)?;
        let words = entities.iter().map(|entity| 2 * entity.word.len());
        let bytes = words.sum::<usize>() + entities.len() * ENTITY_BYTES;
        Ok((entities, bytes))
    })
    .await
}

/// Answers with the sparse vectors of a request's texts.
///
/// # Errors
/// [`Problem`] says whether the texts, the load or this program is at fault.
pub(super) async fn weights(
    write: WriteEach<Weight>,
    asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
) -> Result<TextAnswer, Problem> {
    answer(write, asked, visit, |asked, _, stored| {
        let weights = asked.scorer.weights(stored)?;
        let bytes = weights.len() * WEIGHT_BYTES;
        Ok((weights, bytes))
    })
    .await
}

/// Answers with what `of` makes of each stored result; it also says about how many bytes that takes in the answer.
async fn answer<R>(
    write: WriteEach<R>,
    mut asked: Asked<'_>,
    visit: Option<&mut Visit<'_>>,
    of: impl Fn(&Asked<'_>, usize, &StoredText) -> Result<(Vec<R>, usize), Problem>,
) -> Result<TextAnswer, Problem> {
    let each = match asked.request.texts.is_empty() {
        // Records that all are mistaken.
        true => None,
        false => Some(asked.score_each(visit).await?),
    };
    let Some(EachResponse {
        texts,
        cache,
        timings,
    }) = each
    else {
        let answered = asked.answered(&[][..], &[], &[])?;
        return Ok(TextAnswer::of_body(write(&asked.request, &answered)));
    };
    let tokens: Vec<i64> = texts.iter().map(StoredText::tokens).collect();
    let truncated: Vec<bool> = texts.iter().map(StoredText::is_truncated).collect();
    let large = tokens.iter().sum::<i64>() >= LARGE_ELEMENTS as i64 / 8;
    let body = blocking::apart_if(large, || {
        let (mut results, mut bytes) = (Vec::with_capacity(texts.len()), asked.bytes());
        for (index, stored) in texts.iter().enumerate() {
            let (result, written) = of(&asked, index, stored)?;
            // In memory, and in the answer.
            bytes += 2 * written;
            asked.held.reach(bytes)?;
            results.push(result);
        }
        let answered = asked.answered(&results[..], &tokens, &truncated)?;
        Ok::<_, Problem>(write(&asked.request, &answered))
    });
    asked.answer(body?, (cache, timings), &truncated)
}

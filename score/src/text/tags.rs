//! Tags of tokens, and the entities that they form: what transformers' `TokenClassificationPipeline` answers
//! (`src/transformers/pipelines/token_classification.py`), from the stored logits of a text's tokens.

use serde::{Deserialize, Serialize};

use super::floats;
use super::scores::{Activation, highest};
use crate::tensor::{Tensor, TensorData};

/// Bits of a token's flags.
const CONTINUES: u8 = 1;
const UNKNOWN: u8 = 2;

/// How tokens become entities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aggregation {
    /// Each token by itself.
    None,
    /// Neighbours with the same tag are one entity.
    #[default]
    Simple,
    /// As `Simple`, but a word has the tag of its first token.
    First,
    /// As `Simple`, but a word has the tag whose scores are highest on average over its tokens.
    Average,
    /// As `Simple`, but a word has the tag of its token with the highest score.
    Max,
}

/// Where a token lies in its text, and what kind of token it is. Special tokens and those of a prompt have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenSpan {
    /// Its place among the tokens that the model sees.
    pub place: usize,
    /// Where it begins and ends in the caller's text, in Unicode code points as Python counts them.
    pub at: (usize, usize),
    /// Whether it goes on with the word of the token before it.
    pub continues: bool,
    /// Whether the vocabulary does not have it.
    pub unknown: bool,
}

/// A tagged token, or several that form one entity.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entity {
    /// The tag of a token, such as `B-PER`; `None` for a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity: Option<String>,
    /// The tag of a group, such as `PER`; `None` for a token by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_group: Option<String>,
    /// How sure the model is: between 0 and 1.
    pub score: f32,
    /// The place of a token by itself among the tokens that the model sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<usize>,
    /// What the tokenizer makes of its tokens; the text itself is from `start` to `end`.
    pub word: String,
    /// Where it begins in the text, in Unicode code points.
    pub start: usize,
    /// Where it ends.
    pub end: usize,
}

/// What turns ids into words: the model's tokenizer.
pub trait Words {
    /// The name of a token in the vocabulary, such as `##ing`.
    fn name(&self, id: u32) -> String;
    /// The text of tokens that follow each other.
    fn join(&self, names: Vec<String>) -> String;
}

/// The tensors that are stored of a tagged text, axis 0 left out: `[tokens]` ids (int32), places in the run (int32), where
/// they begin and end (int32 `[tokens,2]`), flags (uint8), and the logits (`[tokens,labels]`).
pub(crate) struct Stored<'a> {
    ids: &'a [i32],
    places: &'a [i32],
    at: &'a [i32],
    flags: &'a [u8],
    scores: Vec<f32>,
}

/// Ids, places, spans and flags of a text's tokens as they are stored, with axis 0 of one row.
pub fn stored_spans(ids: &[u32], spans: &[TokenSpan]) -> Option<[Tensor; 4]> {
    let number = |number: usize| i32::try_from(number).unwrap_or(i32::MAX);
    let id = |span: &TokenSpan| number(ids.get(span.place).map_or(0, |id| *id as usize));
    let flag =
        |span: &TokenSpan| u8::from(span.continues) * CONTINUES + u8::from(span.unknown) * UNKNOWN;
    let count = spans.len();
    let at = spans
        .iter()
        .flat_map(|span| [number(span.at.0), number(span.at.1)]);
    let places = spans.iter().map(|span| number(span.place));
    Some([
        Tensor::new(
            vec![1, count],
            TensorData::Int32(spans.iter().map(id).collect()),
        )
        .ok()?,
        Tensor::new(vec![1, count], TensorData::Int32(places.collect())).ok()?,
        Tensor::new(vec![1, count, 2], TensorData::Int32(at.collect())).ok()?,
        Tensor::new(
            vec![1, count],
            TensorData::Uint8(spans.iter().map(flag).collect()),
        )
        .ok()?,
    ])
}

impl<'a> Stored<'a> {
    fn of(stored: &'a [Tensor], labels: usize) -> Option<Self> {
        let [ids, places, at, flags, logits, ..] = stored else {
            return None;
        };
        let (TensorData::Int32(ids), TensorData::Int32(places), TensorData::Int32(at)) =
            (ids.data(), places.data(), at.data())
        else {
            return None;
        };
        let TensorData::Uint8(flags) = flags.data() else {
            return None;
        };
        let mut scores = floats(logits)?.into_owned();
        let tokens = ids.len();
        let fits = places.len() == tokens
            && at.len() == 2 * tokens
            && flags.len() == tokens
            && labels > 0
            && scores.len() == labels * tokens;
        for token in scores.chunks_exact_mut(labels.max(1)) {
            Activation::Softmax.apply(token);
        }
        fits.then_some(Self {
            ids,
            places,
            at,
            flags,
            scores,
        })
    }
}

/// A token or a word with its scores.
struct Tagged {
    label: usize,
    score: f32,
    index: usize,
    word: String,
    at: (usize, usize),
}

/// A token before words are formed.
struct Piece<'a> {
    scores: &'a [f32],
    index: usize,
    word: String,
    at: (usize, usize),
    continues: bool,
}

/// The entities of one text from the tensors that are stored of it, but for those whose tag is among `ignored`. `None` for
/// other tensors.
pub fn entities(
    stored: &[Tensor],
    text: &str,
    labels: &[String],
    words: &dyn Words,
    aggregation: Aggregation,
    ignored: &[&str],
) -> Option<Vec<Entity>> {
    let stored = Stored::of(stored, labels.len())?;
    let pieces = pieces(&stored, text, labels.len(), words);
    let tagged = match aggregation {
        Aggregation::None | Aggregation::Simple => pieces.into_iter().map(alone).collect(),
        _ => of_words(pieces, words, aggregation),
    };
    let name = |label: usize| labels.get(label).map_or("", String::as_str);
    let mut entities: Vec<Entity> = match aggregation {
        Aggregation::None => {
            let token = |tagged: Tagged| Entity {
                entity: Some(name(tagged.label).to_owned()),
                entity_group: None,
                score: tagged.score,
                index: Some(tagged.index),
                word: tagged.word,
                start: tagged.at.0,
                end: tagged.at.1,
            };
            tagged.into_iter().map(token).collect()
        }
        _ => grouped(tagged, name, words),
    };
    entities.retain(|entity| {
        let tags = [&entity.entity, &entity.entity_group];
        let mut tags = tags.into_iter().flatten();
        !tags.any(|tag| ignored.contains(&tag.as_str()))
    });
    Some(entities)
}

fn pieces<'s>(
    stored: &'s Stored<'_>,
    text: &str,
    labels: usize,
    words: &dyn Words,
) -> Vec<Piece<'s>> {
    let whole = |number: &i32| usize::try_from(*number).unwrap_or(0);
    let starts = Starts::of(text);
    let (at, _) = stored.at.as_chunks::<2>();
    let tokens = stored
        .ids
        .iter()
        .zip(stored.places)
        .zip(at)
        .zip(stored.flags);
    let tokens = tokens.zip(stored.scores.chunks_exact(labels));
    let pieces = tokens.map(|((((id, place), [from, to]), flags), scores)| {
        let at = (whole(from), whole(to));
        Piece {
            scores,
            index: whole(place),
            word: match flags & UNKNOWN == UNKNOWN {
                true => starts.part(at).to_owned(),
                false => words.name(u32::try_from(*id).unwrap_or(0)),
            },
            at,
            continues: flags & CONTINUES == CONTINUES,
        }
    });
    pieces.collect()
}

/// Where each code point of a text begins.
struct Starts<'a> {
    text: &'a str,
    /// Not counted for plain ASCII.
    starts: Option<Vec<usize>>,
}

impl<'a> Starts<'a> {
    fn of(text: &'a str) -> Self {
        let starts = || {
            let starts = text.char_indices().map(|(at, _)| at);
            starts.chain([text.len()]).collect()
        };
        Self {
            text,
            starts: (!text.is_ascii()).then(starts),
        }
    }

    fn part(&self, (from, to): (usize, usize)) -> &'a str {
        let byte = |point: usize| match &self.starts {
            Some(starts) => starts.get(point).copied(),
            None => Some(point),
        };
        let bytes = byte(from).zip(byte(to));
        let part = bytes.and_then(|(from, to)| self.text.get(from..to));
        part.unwrap_or_default()
    }
}

fn alone(piece: Piece<'_>) -> Tagged {
    let label = highest(piece.scores).unwrap_or(0);
    Tagged {
        label,
        score: piece.scores.get(label).copied().unwrap_or(0.0),
        index: piece.index,
        word: piece.word,
        at: piece.at,
    }
}

/// One tag for each word.
fn of_words(pieces: Vec<Piece<'_>>, words: &dyn Words, aggregation: Aggregation) -> Vec<Tagged> {
    let mut word: Vec<Piece<'_>> = Vec::new();
    let mut tagged = Vec::new();
    for piece in pieces {
        if !piece.continues && !word.is_empty() {
            tagged.extend(of_word(std::mem::take(&mut word), words, aggregation));
        }
        word.push(piece);
    }
    tagged.extend(of_word(word, words, aggregation));
    tagged
}

fn of_word(word: Vec<Piece<'_>>, words: &dyn Words, aggregation: Aggregation) -> Option<Tagged> {
    let (first, last) = (word.first()?, word.last()?);
    let best = |piece: &Piece<'_>| {
        piece
            .scores
            .iter()
            .copied()
            .fold(f32::NEG_INFINITY, f32::max)
    };
    let scores = match aggregation {
        Aggregation::Average => {
            let mean = |label: usize| {
                let sum: f32 = word.iter().map(|piece| piece.scores[label]).sum();
                sum / word.len() as f32
            };
            (0..first.scores.len()).map(mean).collect()
        }
        Aggregation::Max => {
            // The first one of several, as Python's `max`.
            let most = word
                .iter()
                .reduce(|most, piece| match best(piece) > best(most) {
                    true => piece,
                    false => most,
                });
            most?.scores.to_vec()
        }
        _ => first.scores.to_vec(),
    };
    let (index, at) = (first.index, (first.at.0, last.at.1));
    let label = highest(&scores)?;
    Some(Tagged {
        label,
        score: scores[label],
        index,
        at,
        word: words.join(word.into_iter().map(|piece| piece.word).collect()),
    })
}

/// Whether a tag begins an entity, and of which kind it is.
fn kind_of(tag: &str) -> (bool, &str) {
    match (tag.strip_prefix("B-"), tag.strip_prefix("I-")) {
        (Some(kind), _) => (true, kind),
        (None, Some(kind)) => (false, kind),
        (None, None) => (false, tag),
    }
}

/// Neighbours of one kind are one entity, unless the second begins another one.
fn grouped<'l>(
    tagged: Vec<Tagged>,
    name: impl Fn(usize) -> &'l str,
    words: &dyn Words,
) -> Vec<Entity> {
    let mut groups: Vec<Vec<Tagged>> = Vec::new();
    for next in tagged {
        let (begins, kind) = kind_of(name(next.label));
        let last = groups.last_mut();
        let goes_on = |group: &&mut Vec<Tagged>| {
            let last = group.last().map(|last| kind_of(name(last.label)).1);
            !begins && last == Some(kind)
        };
        match last.filter(goes_on) {
            Some(group) => group.push(next),
            None => groups.push(vec![next]),
        }
    }
    let entity = |group: Vec<Tagged>| {
        let (first, last) = (group.first()?, group.last()?);
        let tag = name(first.label);
        let sum: f32 = group.iter().map(|tagged| tagged.score).sum();
        Some(Entity {
            entity: None,
            // Python's `split("-", 1)[-1]`: prefixes other than B and I go, too.
            entity_group: Some(tag.split_once('-').map_or(tag, |(_, kind)| kind).to_owned()),
            score: sum / group.len() as f32,
            index: None,
            start: first.at.0,
            end: last.at.1,
            word: words.join(group.into_iter().map(|tagged| tagged.word).collect()),
        })
    };
    groups.into_iter().filter_map(entity).collect()
}

//! A text model for tests, whose runs are watched and can be held.

use std::sync::{Arc, Mutex, mpsc};

use half::f16;

use crate::error::TextPart;
use crate::model::{
    Passage, RunError, TextModel, TextSession, Token, TokenizeError, Tokenized, Wanted,
};
use crate::tensor::{Tensor, TensorData};
use crate::text::TextOptions;

/// A text of this many bytes makes its run fail.
pub(crate) const BAD: usize = 13;
/// A longer text is refused.
pub(crate) const LIMIT: usize = 64;

/// A text has as many tokens as bytes, with its prompt.
pub(crate) struct FakeTexts {
    pub(crate) slots: Option<usize>,
}

impl TextModel for FakeTexts {
    fn tokenize(
        &self,
        passage: &Passage,
        options: &TextOptions,
    ) -> Result<Tokenized, TokenizeError> {
        let prompt = options.prompt.as_ref().map_or(0, String::len);
        let (tokens, limit) = (passage.bytes() + prompt, LIMIT);
        if tokens > limit {
            let tokens = Some(tokens);
            return Err(TokenizeError::TooLong {
                part: TextPart::Text,
                tokens,
                limit,
            });
        }
        Ok(Tokenized {
            ids: vec![1; tokens],
            types: vec![0; tokens],
            cut: false,
            skipped: 0,
            spans: Vec::new(),
        })
    }

    fn run_slots(&self) -> Option<usize> {
        self.slots
    }

    fn tokens(
        &self,
        text: &str,
        _prompt: Option<&str>,
        special: bool,
    ) -> Result<Vec<Token>, TokenizeError> {
        let token = |at: usize| Token {
            id: 1,
            name: "x".to_owned(),
            special,
            at: (at, at + 1),
            text: "x".to_owned(),
        };
        Ok((0..text.len()).map(token).collect())
    }

    fn token(&self, id: u32) -> Option<String> {
        (id == 1).then(|| "x".to_owned())
    }

    fn join(&self, names: Vec<String>) -> Result<String, TokenizeError> {
        Ok(names.join(" "))
    }

    fn decode(&self, ids: &[u32], _skip_special: bool) -> Result<String, TokenizeError> {
        match ids.iter().find(|id| **id > 1) {
            Some(id) => Err(format!("id {id} is not in the vocabulary").into()),
            None => Ok("x".repeat(ids.len())),
        }
    }
}

/// The lengths of the texts of every run, in order.
#[derive(Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<Vec<Vec<usize>>>>);

impl Seen {
    pub(crate) fn runs(&self) -> Vec<Vec<usize>> {
        self.0.lock().unwrap().clone()
    }
}

/// Its vectors are `[tokens, 0.1]`. Each run waits for a message, until all senders are gone.
pub(crate) struct FakeSession {
    pub(crate) seen: Seen,
    /// Whether vectors are rounded, as they are to be stored.
    pub(crate) rounded: bool,
    pub(crate) hold: mpsc::Receiver<()>,
}

impl TextSession for FakeSession {
    fn run(&mut self, texts: &[&Tokenized], wanted: Wanted) -> Result<Vec<Vec<Tensor>>, RunError> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.ids.len()).collect();
        self.seen.0.lock().unwrap().push(lengths.clone());
        let _ = self.hold.recv();
        if lengths.contains(&BAD) {
            return Err(RunError::Rejected("thirteen".to_owned()));
        }
        let outputs = |tokens: &usize| {
            let vector = |rows: usize| {
                let values = [*tokens as f32, 0.1].repeat(rows);
                Tensor::new(vec![rows, 2], TensorData::Float32(values)).unwrap()
            };
            let stored = |tensor: Tensor| match (self.rounded, tensor.data()) {
                (true, TensorData::Float32(values)) => {
                    let values = values.iter().map(|value| f16::from_f32(*value)).collect();
                    Tensor::new(vec![1, 2], TensorData::Float16(values)).unwrap()
                }
                _ => tensor,
            };
            let cut = Tensor::new(vec![1], TensorData::Bool(vec![false])).unwrap();
            match wanted {
                Wanted::TokenVectors => vec![cut, vector(*tokens)],
                Wanted::Outputs => vec![
                    stored(vector(1)),
                    Tensor::new(vec![1], TensorData::Int64(vec![*tokens as i64])).unwrap(),
                    cut,
                ],
            }
        };
        Ok(lengths.iter().map(outputs).collect())
    }
}

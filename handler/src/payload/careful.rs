//! Nested arrays read token by token: exact, and with words for every mistake.

use std::fmt::Write;

use score::{ElementType, ScoreError, Shape, Tensor};
use serde_json::value::RawValue;

use super::element::{Element, with_element_type};

/// Reads nested arrays of elements of one type, as deep as they go, up to `max_nesting` levels. The shape is the one
/// numpy would give: `[]` has shape [0].
///
/// # Errors
/// [`ScoreError::InvalidInput`] with the place of the first mistake, such as `data[0][17]`.
pub(super) fn read_array(
    text: &str,
    ty: ElementType,
    target: &str,
    max_nesting: usize,
) -> Result<Tensor, ScoreError> {
    let (shape, data) = with_element_type!(ty, T => {
        let mut reader = Reader::<T> {
            elements: Vec::new(),
            lengths: Vec::new(),
            element_level: None,
            place: Vec::new(),
            target,
            max_nesting,
        };
        reader.read(text).map(|()| (reader.lengths, reader.elements))
    })?;
    Tensor::new(shape, data).map_err(|error| ScoreError::invalid(target, error.to_string()))
}

struct Reader<'a, T> {
    elements: Vec<T>,
    lengths: Shape,
    /// The level at which elements stand, once the first one was seen.
    element_level: Option<usize>,
    place: Vec<usize>,
    target: &'a str,
    max_nesting: usize,
}

impl<T: Element> Reader<'_, T> {
    fn read(&mut self, text: &str) -> Result<(), ScoreError> {
        match text.as_bytes().first() {
            Some(b'[') => self.read_level(text),
            _ => self.read_element(text),
        }
    }

    fn read_level(&mut self, text: &str) -> Result<(), ScoreError> {
        let level = self.place.len();
        if self.element_level.is_some_and(|at| at <= level) {
            return Err(self.wrong("an array stands where others have a value"));
        }
        if level >= self.max_nesting {
            let limit = self.max_nesting;
            return Err(self.wrong(&format!("arrays are nested more than {limit} deep")));
        }
        let items: Vec<&RawValue> =
            serde_json::from_str(text).map_err(|error| self.wrong(&error.to_string()))?;
        self.check_length(level, items.len())?;
        self.place.push(0);
        for (position, item) in items.into_iter().enumerate() {
            self.place[level] = position;
            self.read(item.get())?;
        }
        self.place.pop();
        Ok(())
    }

    fn check_length(&mut self, level: usize, length: usize) -> Result<(), ScoreError> {
        match self.lengths.get(level) {
            None => self.lengths.push(length),
            Some(before) if *before == length => {}
            Some(before) => {
                let message = format!("{length} values where the arrays before have {before}");
                return Err(self.wrong(&message));
            }
        }
        Ok(())
    }

    fn read_element(&mut self, token: &str) -> Result<(), ScoreError> {
        let level = self.place.len();
        let expected = *self.element_level.get_or_insert(level);
        if expected != level || self.lengths.len() > level {
            return Err(self.wrong("a value stands where others have an array"));
        }
        if token.starts_with('{') {
            return Err(self.wrong("expected a value, got an object"));
        }
        let element = T::parse(token).map_err(|reason| self.wrong(&reason))?;
        self.elements.push(element);
        Ok(())
    }

    fn wrong(&self, message: &str) -> ScoreError {
        let mut target = self.target.to_owned();
        for index in &self.place {
            // Writing to a String does not fail.
            let _ = write!(target, "[{index}]");
        }
        ScoreError::invalid(target.clone(), format!("{target}: {message}"))
    }
}

//! The careful path: nested arrays are read token by token, exactly, and every mistake gets an error text.

use std::fmt::{self, Write};

use score::{ScoreError, Shape, Tensor, TensorSpec};
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::context::{Context, shown};
use crate::json::element::{Element, with_element_type};
use crate::json::missing;
use crate::watch;

/// Reads nested arrays of elements of the input's type, as deep as they go, up to `max_nesting` levels. The shape is the
/// one numpy would give: `[]` has shape `[0]`.
///
/// # Errors
/// [`ScoreError::InvalidInput`] with the place of the first mistake, such as `data[0][17]`.
pub(crate) fn read_array(
    context: Context<'_>,
    text: &str,
    spec: &TensorSpec,
    target: &str,
) -> Result<Tensor, ScoreError> {
    let options = context.options_of(spec);
    let (shape, data) = with_element_type!(spec.element_type, T => {
        let mut reader = Reader::<T> {
            elements: Vec::new(),
            lengths: Vec::new(),
            element_level: None,
            place: Vec::new(),
            target,
            max_nesting: context.max_nesting,
            takes_missing: options.is_some_and(|options| options.missing.is_some()),
            columns: context.columns_of(spec),
            context,
        };
        reader.read(text).map(|()| {
            let shape: Shape = reader.lengths.into_iter().flatten().collect();
            (shape, reader.elements)
        })
    })?;
    Tensor::new(shape, data).map_err(|error| ScoreError::invalid(target, error.to_string()))
}

/// Elements between two looks at whether the reading is over.
const WATCHED_ELEMENTS: usize = 4096;

/// Passes the elements of an array on one by one, as text, until it is told to stop; returns their number.
pub(crate) struct Items<F>(pub(crate) F);

impl<'de, F: FnMut(usize, &'de str) -> bool> Visitor<'de> for Items<F> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<usize, A::Error> {
        let mut count = 0;
        while let Some(item) = seq.next_element::<&RawValue>()? {
            if !self.0(count, item.get()) {
                return Err(A::Error::custom("stopped"));
            }
            count += 1;
        }
        Ok(count)
    }
}

struct Reader<'a, T> {
    elements: Vec<T>,
    /// The lengths of arrays by level, once one array of that level has been read to its end.
    lengths: Vec<Option<usize>>,
    /// The level of the elements, once the first one has been read.
    element_level: Option<usize>,
    place: Vec<usize>,
    target: &'a str,
    max_nesting: usize,
    /// Whether a missing value is NaN.
    takes_missing: bool,
    /// The names of columns, for mistakes.
    columns: &'a [String],
    context: Context<'a>,
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
        if self.lengths.len() == level {
            self.lengths.push(None);
        }
        self.place.push(0);
        let mut mistake = None;
        let items = Items(|position, item: &str| {
            self.place[level] = position;
            self.read(item)
                .map_err(|error| mistake = Some(error))
                .is_ok()
        });
        let length = serde_json::Deserializer::from_str(text).deserialize_seq(items);
        if let Some(mistake) = mistake {
            return Err(mistake);
        }
        self.place.pop();
        let length = length.map_err(|error| self.wrong(&error.to_string()))?;
        self.check_length(level, length)
    }

    fn check_length(&mut self, level: usize, length: usize) -> Result<(), ScoreError> {
        let known = self.lengths[level].get_or_insert(length);
        if *known == length {
            return Ok(());
        }
        let message = format!("{length} values where the arrays before have {known}");
        Err(self.wrong(&message))
    }

    fn read_element(&mut self, token: &str) -> Result<(), ScoreError> {
        let level = self.place.len();
        let expected = *self.element_level.get_or_insert(level);
        if expected != level || self.lengths.len() > level {
            return Err(self.wrong("a value stands where others have an array"));
        }
        if token.starts_with('{') && !T::IN_OBJECTS {
            return Err(self.wrong("expected a value, got an object"));
        }
        let missing = T::NAN.filter(|_| missing::is_missing(token));
        let element = match (T::parse(token), missing) {
            (Ok(element), _) => element,
            (Err(_), Some(nan)) if self.takes_missing => nan,
            (Err(reason), missing) => {
                let hint = missing.map_or("", |_| {
                    "; a missing value is \"NaN\", or null and empty cells too where model.toml says missing = \"nan\""
                });
                return Err(self.wrong(&format!("{reason}{}{hint}", self.column())));
            }
        };
        self.elements.push(element);
        match self.elements.len().is_multiple_of(WATCHED_ELEMENTS) && self.context.watch.is_over() {
            true => Err(watch::stopped()),
            false => Ok(()),
        }
    }

    /// The name of the column at the current position, if it has one.
    fn column(&self) -> String {
        let name = match self.place[..] {
            [_, column] => self.columns.get(column),
            _ => None,
        };
        name.map_or_else(String::new, |name| format!(" (column {})", shown(name)))
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

//! The common case in one pass: nested arrays of plain values straight into the typed buffer.
//!
//! Whatever is unusual or wrong makes this path give up; [`super::careful`] then reads the text again and finds the
//! words for it.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use score::{ElementType, Shape, Tensor, TensorSpec};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::element::{Element, with_element_type};

/// The members that hold rows as nested arrays.
pub(super) const ROW_MEMBERS: [&str; 2] = ["data", "instances"];

/// The tensor in the first of [`ROW_MEMBERS`] that a body has, for the model's one input, with that member's name.
/// `None` if the careful path has to look.
pub(super) fn read_body(body: &[u8], spec: &TensorSpec) -> Option<(&'static str, Tensor)> {
    let plan = Plan::for_input(spec, body.len());
    let mut member = "";
    let (shape, data) = with_element_type!(spec.element_type, T => {
        let mut json = serde_json::Deserializer::from_slice(body);
        let read = json.deserialize_map(BodyVisitor::<T>::new(plan));
        read.ok().filter(|_| json.end().is_ok()).map(|(name, rows)| {
            member = name;
            rows
        })
    })?;
    Some((member, Tensor::new(shape, data).ok()?))
}

/// The tensor in a piece of JSON text with exactly `rank` levels of arrays. `None` if the careful path has to look.
pub(super) fn read_array(text: &str, ty: ElementType, plan: Plan) -> Option<Tensor> {
    let (shape, data) = with_element_type!(ty, T => {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = DataSeed::<T>::new(plan).deserialize(&mut json);
        read.ok().filter(|_| json.end().is_ok())
    })?;
    Tensor::new(shape, data).ok()
}

/// The members of the other dialects.
const OTHER_MEMBERS: [&str; 4] = ["inputs", "Inputs", "input_data", "keys"];

/// How many levels of arrays are expected and how many elements at first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    rank: usize,
    capacity: usize,
}

impl Plan {
    /// `text_bytes` bounds the room taken beforehand: every element is at least two characters long.
    pub(super) fn new(rank: usize, elements: usize, text_bytes: usize) -> Self {
        Self {
            rank,
            capacity: elements.min(text_bytes / 2),
        }
    }

    /// The shape of an input, with room for one row.
    pub(super) fn for_input(spec: &TensorSpec, text_bytes: usize) -> Self {
        let lengths = spec.signed_shape();
        let fixed = lengths.iter().filter_map(|n| usize::try_from(*n).ok());
        let elements = fixed.fold(1usize, usize::saturating_mul);
        Self::new(lengths.len(), elements, text_bytes)
    }
}

struct BodyVisitor<T> {
    plan: Plan,
    element: PhantomData<T>,
}

impl<T> BodyVisitor<T> {
    fn new(plan: Plan) -> Self {
        Self {
            plan,
            element: PhantomData,
        }
    }
}

impl<'de, T: Element> Visitor<'de> for BodyVisitor<T> {
    type Value = (&'static str, (Shape, Vec<T>));

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            match ROW_MEMBERS.iter().find(|member| **member == key) {
                Some(member) if found.is_none() => {
                    let rows = map.next_value_seed(DataSeed::<T>::new(self.plan))?;
                    found = Some((*member, rows));
                }
                Some(_) => return Err(A::Error::custom("given twice")),
                // Another dialect: there is no point in reading all of it here.
                None if OTHER_MEMBERS.contains(&key.as_ref()) => {
                    return Err(A::Error::custom("another dialect"));
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        found.ok_or_else(|| A::Error::custom("no rows"))
    }
}

/// Reads nested arrays: their shape and their elements.
pub(super) struct DataSeed<T> {
    plan: Plan,
    element: PhantomData<T>,
}

impl<T> DataSeed<T> {
    pub(super) fn new(plan: Plan) -> Self {
        Self {
            plan,
            element: PhantomData,
        }
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for DataSeed<T> {
    type Value = (Shape, Vec<T>);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let mut elements = Vec::with_capacity(self.plan.capacity);
        let mut lengths = vec![None; self.plan.rank];
        let level = Level {
            elements: &mut elements,
            lengths: &mut lengths,
        };
        level.deserialize(deserializer)?;
        // An axis below an empty array has no length yet.
        let shape = lengths.into_iter().collect::<Option<Shape>>();
        let shape = shape.ok_or_else(|| D::Error::custom("empty"))?;
        Ok((shape, elements))
    }
}

/// One level of nesting; with no lengths left it is an element.
struct Level<'a, T> {
    elements: &'a mut Vec<T>,
    lengths: &'a mut [Option<usize>],
}

impl<'de, T: Element> DeserializeSeed<'de> for Level<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.lengths.is_empty() {
            self.elements.push(T::read(deserializer)?);
            Ok(())
        } else {
            deserializer.deserialize_seq(self)
        }
    }
}

impl<'de, T: Element> Visitor<'de> for Level<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Some((length, deeper)) = self.lengths.split_first_mut() else {
            return Err(A::Error::custom("too deep"));
        };
        let mut count = 0;
        loop {
            let level = Level {
                elements: &mut *self.elements,
                lengths: &mut *deeper,
            };
            if seq.next_element_seed(level)?.is_none() {
                break;
            }
            count += 1;
        }
        match *length.get_or_insert(count) == count {
            true => Ok(()),
            false => Err(A::Error::custom("ragged")),
        }
    }
}

//! Tensors as JSON arrays.

use score::{Tensor, TensorData, with_elements};
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::json::element::Element;

/// Elements in nested arrays, as the shape says; a scalar is a bare value.
pub(crate) struct Nested<'a> {
    shape: &'a [usize],
    data: &'a TensorData,
    start: usize,
}

impl<'a> Nested<'a> {
    /// All of a tensor.
    pub(crate) fn of(tensor: &'a Tensor) -> Self {
        Self {
            shape: tensor.shape(),
            data: tensor.data(),
            start: 0,
        }
    }

    /// One row of a tensor; the tensor must have that row.
    pub(crate) fn row_of(tensor: &'a Tensor, row: usize) -> Self {
        let shape = tensor.row_shape();
        Self::part_of(tensor, shape, row * shape.iter().product::<usize>())
    }

    /// Elements from `start` on, as many as `shape` holds.
    pub(crate) fn part_of(tensor: &'a Tensor, shape: &'a [usize], start: usize) -> Self {
        Self {
            shape,
            data: tensor.data(),
            start,
        }
    }
}

/// Elements in one array, for any shape.
pub(crate) struct Flat<'a>(pub(crate) &'a TensorData);

impl Serialize for Flat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_elements!(self.0, v => serializer.collect_seq(v.iter().map(Element::json)))
    }
}

impl Serialize for Nested<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some((length, deeper)) = self.shape.split_first() else {
            return with_elements!(self.data, v => v[self.start].json().serialize(serializer));
        };
        let mut seq = serializer.serialize_seq(Some(*length))?;
        if deeper.is_empty() {
            with_elements!(self.data, v => {
                for element in &v[self.start..self.start + length] {
                    seq.serialize_element(&element.json())?;
                }
            });
        } else {
            let stride: usize = deeper.iter().product();
            for index in 0..*length {
                seq.serialize_element(&Nested {
                    shape: deeper,
                    data: self.data,
                    start: self.start + index * stride,
                })?;
            }
        }
        seq.end()
    }
}

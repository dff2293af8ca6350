//! Sparse vectors: the few ids of the vocabulary that a text has weights for.

use serde::Serialize;

use super::floats;
use crate::tensor::{Tensor, TensorData};

/// One number of a sparse vector.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Weight {
    /// The id in the vocabulary.
    pub index: u32,
    /// Its weight; more than 0.
    pub value: f32,
}

/// The weights of one text by ascending index, from the tensors that are stored of it. `None` for other tensors.
pub fn weights(stored: &[Tensor]) -> Option<Vec<Weight>> {
    let [indices, values, ..] = stored else {
        return None;
    };
    let TensorData::Int32(indices) = indices.data() else {
        return None;
    };
    let values = floats(values)?;
    let weight = |(index, value): (&i32, &f32)| {
        Some(Weight {
            index: u32::try_from(*index).ok()?,
            value: *value,
        })
    };
    let weights = indices.iter().zip(values.iter());
    weights.map(weight).collect()
}

//! Cutting a request into units of work and putting their results together again.
//!
//! A unit is one row where the model's rows are independent, else the whole request. Rows stay where they are in the
//! request's tensors; only those that must be computed are copied.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::fast::RandomState;

use crate::cache::{
    KeyMaker, ModelDigest, RowStack, UnitKey, can_encode, decode, encode_row, encode_whole,
};
use crate::signature::{Arranged, TensorSpec};
use crate::tensor::{ElementType, Tensor};
use crate::text::TextOptions;

/// The distinct units of a request with their keys. Rows that are equal share one unit.
#[derive(Debug)]
pub(crate) struct Units {
    /// The keys of the distinct units.
    pub(crate) keys: Vec<UnitKey>,
    /// For each distinct unit, the first row that holds it.
    first_row: Vec<usize>,
    /// For each row of the request, its unit.
    unit_of_row: Vec<usize>,
    /// The request is one unit, for any axes of its tensors.
    whole: bool,
}

impl Units {
    /// Cuts `rows` rows of `inputs` apart.
    pub(crate) fn of_rows(
        model: ModelDigest,
        inputs: &[Tensor],
        text: &TextOptions,
        rows: usize,
    ) -> Self {
        let maker = KeyMaker::for_rows(model, inputs);
        let keys = maker.asking(text).rows(inputs, rows);
        if rows == 1 {
            return Self {
                keys,
                first_row: vec![0],
                unit_of_row: vec![0],
                whole: false,
            };
        }
        let mut units = Self {
            keys: Vec::with_capacity(rows),
            first_row: Vec::with_capacity(rows),
            unit_of_row: Vec::with_capacity(rows),
            whole: false,
        };
        // Keys are digests, so that nothing has to protect the table from made-up collisions.
        let mut seen = HashMap::with_capacity_and_hasher(rows, RandomState::default());
        for (row, key) in keys.into_iter().enumerate() {
            let unit = *seen.entry(key).or_insert(units.keys.len());
            if unit == units.keys.len() {
                units.keys.push(key);
                units.first_row.push(row);
            }
            units.unit_of_row.push(unit);
        }
        units
    }

    /// Takes the request as one unit that counts as `rows` rows.
    pub(crate) fn whole(model: ModelDigest, inputs: &Arranged, rows: usize) -> Self {
        let mut maker = KeyMaker::for_whole(model, &inputs.tensors, &inputs.given);
        Self {
            keys: vec![maker.whole(&inputs.tensors)],
            first_row: vec![0],
            unit_of_row: vec![0; rows],
            whole: true,
        }
    }

    /// The first row of a unit.
    pub(crate) fn row_of(&self, unit: usize) -> Option<usize> {
        self.first_row.get(unit).copied()
    }

    /// Whether the request is one unit.
    pub(crate) fn are_whole(&self) -> bool {
        self.whole
    }

    /// How many rows the request has; 1 if they belong together.
    pub(crate) fn rows(&self) -> usize {
        self.unit_of_row.len()
    }

    /// The unit of a row.
    pub(crate) fn of_row(&self, row: usize) -> usize {
        self.unit_of_row[row]
    }

    /// How many rows of the request belong to units that `is_one` picks.
    pub(crate) fn count_rows(&self, is_one: impl Fn(usize) -> bool) -> usize {
        let picked = self.unit_of_row.iter().filter(|unit| is_one(**unit));
        picked.count()
    }

    /// The inputs of the given rows alone, in order.
    pub(crate) fn take(&self, inputs: &Arranged, units: &[usize]) -> Arranged {
        let rows: Vec<usize> = units.iter().map(|unit| self.first_row[*unit]).collect();
        let tensors = inputs.tensors.iter();
        Arranged {
            tensors: tensors.map(|input| input.take_rows(&rows)).collect(),
            given: Vec::new(),
        }
    }

    /// The payloads of `count` units, of which `outputs` are the results. `None` if they cannot be told apart or stored.
    pub(crate) fn payloads(&self, outputs: &[Tensor], count: usize) -> Option<Vec<Bytes>> {
        if !can_encode(outputs) {
            None
        } else if self.whole {
            Some(vec![encode_whole(outputs)])
        } else if outputs.iter().all(|output| output.rows() == Some(count)) {
            Some((0..count).map(|row| encode_row(outputs, row)).collect())
        } else {
            None
        }
    }

    /// Puts the outputs of all rows together from the payloads of the distinct units. `None` if a payload is not what
    /// `outputs` says or if rows have different shapes, which cannot be stacked.
    pub(crate) fn join(
        &self,
        outputs: &[TensorSpec],
        payloads: &[Option<Bytes>],
    ) -> Option<Vec<Tensor>> {
        let types: Vec<ElementType> = outputs.iter().map(|o| o.element_type).collect();
        if self.whole {
            return decode(payloads.first()?.as_ref()?, &types);
        }
        let mut stack = RowStack::new(&types, self.rows());
        for unit in &self.unit_of_row {
            stack.push(payloads[*unit].as_ref()?)?;
        }
        stack.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::{Dim, ModelSignature};
    use crate::tensor::TensorData;

    fn signature() -> ModelSignature {
        let spec = |name: &str| TensorSpec {
            name: name.into(),
            element_type: ElementType::Float32,
            shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(2)]),
        };
        ModelSignature::of_tensors(vec![spec("x")], vec![spec("y")])
    }

    fn matrix(values: &[f32]) -> Vec<Tensor> {
        let shape = vec![values.len() / 2, 2];
        vec![Tensor::new(shape, TensorData::Float32(values.to_vec())).unwrap()]
    }

    fn units(inputs: &[Tensor]) -> Units {
        let model = ModelDigest::new(&blake3::hash(b"m"), "1");
        let rows = inputs[0].rows().unwrap();
        Units::of_rows(model, inputs, &TextOptions::default(), rows)
    }

    #[test]
    fn equal_rows_are_one_unit_and_come_back_in_their_places() {
        let units = units(&matrix(&[1., 1., 2., 2., 1., 1.]));
        assert_eq!(units.keys.len(), 2);
        let computed = units.payloads(&matrix(&[10., 11., 20., 21.]), 2).unwrap();
        let payloads: Vec<_> = computed.into_iter().map(Some).collect();
        let joined = units.join(&signature().outputs, &payloads).unwrap();
        assert_eq!(joined, matrix(&[10., 11., 20., 21., 10., 11.]));
        assert_eq!(units.count_rows(|unit| unit == 0), 2);
    }

    #[test]
    fn refuses_to_join_what_does_not_fit() {
        let units = units(&matrix(&[1., 1., 2., 2.]));
        let good = encode_row(&matrix(&[1., 2.]), 0);
        let wide = encode_row(
            &[Tensor::new(vec![1, 3], TensorData::Float32(vec![0.; 3])).unwrap()],
            0,
        );
        let join = |a: &Bytes, b: &Bytes| {
            units.join(&signature().outputs, &[Some(a.clone()), Some(b.clone())])
        };
        assert!(join(&good, &good).is_some());
        assert!(join(&good, &wide).is_none());
        assert!(join(&good, &good.slice(..5)).is_none());
        assert!(
            units
                .join(&signature().outputs, &[Some(good), None])
                .is_none()
        );
    }
}

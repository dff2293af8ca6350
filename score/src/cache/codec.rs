//! The bytes of a remembered result.
//!
//! A *payload* holds the outputs of one unit, one after the other: element type (`u8`), number of axes (`u8`), each
//! axis (`u32`), then the elements (little-endian; strings with a `u32` length). In Redis it is sealed (`seal`).

use bytes::{Buf, BufMut, Bytes};

use crate::signature::TensorSpec;
use crate::tensor::{ElementType, Shape, Tensor, TensorData};

/// The payload of one row of `outputs`, whose axis 0 is the row.
pub(crate) fn encode_row(outputs: &[Tensor], row: usize) -> Bytes {
    encode(outputs, Tensor::row_shape, |tensor| tensor.row_range(row))
}

/// The payload of `outputs` as one unit.
pub(crate) fn encode_whole(outputs: &[Tensor]) -> Bytes {
    encode(outputs, Tensor::shape, |tensor| 0..tensor.data().len())
}

fn encode(
    outputs: &[Tensor],
    shape: impl Fn(&Tensor) -> &[usize],
    range: impl Fn(&Tensor) -> std::ops::Range<usize>,
) -> Bytes {
    let mut out = Vec::with_capacity(128);
    for tensor in outputs {
        out.put_u8(tensor.element_type() as u8);
        let axes = shape(tensor);
        out.put_u8(axes.len() as u8);
        for axis in axes {
            out.put_u32_le(*axis as u32);
        }
        tensor.data().put_bytes(range(tensor), &mut out);
    }
    // Without the room that was too much: these bytes may be kept for long.
    Bytes::from(out.into_boxed_slice())
}

/// Whether [`encode_row`] and [`encode_whole`] can write these tensors: the format has a `u8` rank and `u32` axes.
pub(crate) fn can_encode(outputs: &[Tensor]) -> bool {
    outputs.iter().all(|tensor| {
        u8::try_from(tensor.shape().len()).is_ok()
            && tensor.shape().iter().all(|n| u32::try_from(*n).is_ok())
    })
}

/// Reads a payload: the tensors of one unit, with the expected element types.
/// `None` if the bytes are anything but a complete payload.
pub(crate) fn decode(payload: &[u8], types: &[ElementType]) -> Option<Vec<Tensor>> {
    let mut rest = payload;
    let mut outputs = Vec::with_capacity(types.len());
    for ty in types {
        let axes = take_axes(*ty, &mut rest)?;
        let count = count_elements(axes.clone())?;
        // Every element takes at least one byte, so a lying shape cannot ask for more room than the payload has.
        let mut data = TensorData::with_capacity(*ty, count.min(rest.len()));
        data.take_bytes(count, &mut rest)?;
        outputs.push(Tensor::new(axes.collect(), data).ok()?);
    }
    rest.is_empty().then_some(outputs)
}

/// The axes of the next tensor. They are not copied: of most payloads each is only compared.
fn take_axes<'a>(
    expected: ElementType,
    rest: &mut &'a [u8],
) -> Option<impl ExactSizeIterator<Item = usize> + Clone + use<'a>> {
    if ElementType::from_tag(rest.try_get_u8().ok()?)? != expected {
        return None;
    }
    let count = usize::from(rest.try_get_u8().ok()?);
    let (axes, elements) = rest.split_at_checked(count * size_of::<u32>())?;
    *rest = elements;
    let (axes, _) = axes.as_chunks();
    Some(axes.iter().map(|axis| u32::from_le_bytes(*axis) as usize))
}

fn count_elements(mut axes: impl Iterator<Item = usize>) -> Option<usize> {
    axes.try_fold(1usize, |n, axis| n.checked_mul(axis))
}

/// Whether a payload has the outputs of one unit, with types and shapes that the model declares. The checksum detects
/// accidents only: who can write to the store can give an entry any shape.
pub(crate) fn fits(payload: &[u8], outputs: &[TensorSpec], is_row: bool) -> bool {
    let mut rest = payload;
    outputs.iter().all(|spec| {
        take_axes(spec.element_type, &mut rest).is_some_and(|axes| {
            spec.may_be_remembered(axes.clone(), is_row)
                && count_elements(axes)
                    .and_then(|count| skip(spec.element_type, count, &mut rest))
                    .is_some()
        })
    }) && rest.is_empty()
}

fn skip(ty: ElementType, count: usize, rest: &mut &[u8]) -> Option<()> {
    if let Some(size) = ty.size() {
        *rest = rest.get(count.checked_mul(size)?..)?;
        return Some(());
    }
    for _ in 0..count {
        let length = rest.try_get_u32_le().ok()? as usize;
        *rest = rest.get(length..)?;
    }
    Some(())
}

/// Elements for which there is room before their rows are there: 4 MiB of float32.
const MOST_RESERVED: usize = 1 << 20;

/// Stacks the payloads of rows into the tensors of all rows.
pub(crate) struct RowStack {
    expected: usize,
    rows: usize,
    /// For each output the shape of a row, once known, and the elements so far.
    outputs: Vec<(Option<Shape>, TensorData)>,
}

impl RowStack {
    /// For outputs of the given element types, `rows` rows of them.
    pub(crate) fn new(types: &[ElementType], rows: usize) -> Self {
        let empty = |ty: &ElementType| (None, TensorData::with_capacity(*ty, 0));
        Self {
            expected: rows,
            rows: 0,
            outputs: types.iter().map(empty).collect(),
        }
    }

    /// Adds one row. `None` if the bytes are anything but a complete payload, or its shapes differ from the rows before.
    pub(crate) fn push(&mut self, payload: &[u8]) -> Option<()> {
        let mut rest = payload;
        for (known, data) in &mut self.outputs {
            let axes = take_axes(data.element_type(), &mut rest)?;
            let shape = known.get_or_insert_with(|| axes.clone().collect());
            if !shape.iter().copied().eq(axes.clone()) {
                return None;
            }
            let count = count_elements(axes)?;
            if self.rows == 0 {
                // As if all were like the first one, unless that is large.
                let room = count.min(rest.len()).saturating_mul(self.expected);
                data.reserve(room.min(MOST_RESERVED));
            }
            data.take_bytes(count, &mut rest)?;
        }
        self.rows += 1;
        rest.is_empty().then_some(())
    }

    /// The stacked outputs; `None` without any row.
    pub(crate) fn finish(self) -> Option<Vec<Tensor>> {
        let rows = self.rows;
        let stack = |(shape, data): (Option<Shape>, TensorData)| {
            let mut shape = shape?;
            shape.insert(0, rows);
            Tensor::new(shape, data).ok()
        };
        self.outputs.into_iter().map(stack).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs() -> Vec<Tensor> {
        vec![
            Tensor::new(vec![2], TensorData::Int64(vec![7, 3])).unwrap(),
            Tensor::new(
                vec![2, 2],
                TensorData::Float32(vec![0.25, 0.75, f32::NAN, 1.0]),
            )
            .unwrap(),
            Tensor::new(vec![2], TensorData::String(vec!["a".into(), "bé".into()])).unwrap(),
        ]
    }

    const TYPES: [ElementType; 3] = [
        ElementType::Int64,
        ElementType::Float32,
        ElementType::String,
    ];

    #[test]
    fn a_row_comes_back_as_it_was() {
        let row = decode(&encode_row(&outputs(), 0), &TYPES).unwrap();
        assert_eq!(row[0].data(), &TensorData::Int64(vec![7]));
        assert_eq!(row[0].shape(), [0usize; 0]);
        assert_eq!(row[1].data(), &TensorData::Float32(vec![0.25, 0.75]));
        assert_eq!(row[2].data(), &TensorData::String(vec!["a".into()]));
    }

    #[test]
    fn decoding_nonsense_neither_panics_nor_allocates_wildly() {
        assert!(decode(b"", &TYPES).is_none());
        let mut lie = vec![ElementType::Float32 as u8, 2];
        lie.extend([0xff; 8]);
        assert!(decode(&lie, &[ElementType::Float32]).is_none());
        let payload = encode_whole(&outputs());
        assert!(decode(&payload, &TYPES[..2]).is_none(), "left-over bytes");
        assert!(
            decode(&payload, &[ElementType::Float32; 3]).is_none(),
            "other types"
        );
    }
}

//! What identifies a remembered result.

use std::fmt::Write;

use bytes::BufMut;

use super::digest;
use super::namespace::{ModelTag, Namespace};
use crate::signature::Rows;
use crate::tensor::Tensor;
use crate::text::{TextOptions, Truncate};

/// Changes whenever the meaning of a key or of a stored value changes: older entries are then never found.
pub(super) const FORMAT_VERSION: u8 = 2;

/// Digest of everything, apart from the inputs, that a model's answers depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelDigest {
    digest: [u8; 32],
    rows: Rows,
}

impl ModelDigest {
    /// Digests the model's own files (in a fixed order) together with the version of the runtime that runs them.
    pub fn new(files: &blake3::Hash, runtime_version: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"score model\0");
        hasher.update(&[FORMAT_VERSION]);
        hasher.update(files.as_bytes());
        hasher.update(runtime_version.as_bytes());
        Self {
            digest: *hasher.finalize().as_bytes(),
            rows: Rows::Independent,
        }
    }

    /// The same for a model whose rows are treated like this, which may change what it answers.
    pub fn with_rows(self, rows: Rows) -> Self {
        Self { rows, ..self }
    }

    /// Its first 8 bytes, by which keys in Redis name the model.
    pub fn tag(self) -> ModelTag {
        let [a, b, c, d, e, f, g, h, ..] = self.digest;
        ModelTag(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    }

    /// The digest in hexadecimal.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.digest).to_hex().to_string()
    }
}

/// The identity of one unit of work: a model and the tensors it was given. Equal keys mean equal answers.
///
/// A cryptographic digest, because callers choose the tensors: with a weaker one a caller could prepare two inputs
/// with the same key and have one answered with the other's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct UnitKey {
    model: ModelTag,
    unit: [u8; 32],
}

impl UnitKey {
    /// The key as Redis sees it: `<namespace>:2:<model>:<unit>`, model and unit hexadecimal.
    pub(crate) fn to_redis(self, namespace: &Namespace) -> String {
        let mut key = namespace.prefix();
        let unit = blake3::Hash::from_bytes(self.unit).to_hex();
        // Writing to a string cannot fail.
        let _ = write!(key, "{}:{unit}", self.model);
        key
    }

    /// The raw digest of the unit.
    pub(crate) fn unit(&self) -> &[u8; 32] {
        &self.unit
    }

    /// What the key in Redis says of model and unit, as bytes: 8 of the model, 32 of the unit.
    pub(super) fn bytes(&self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let (model, unit) = bytes.split_at_mut(8);
        model.copy_from_slice(&self.model.0.to_be_bytes());
        unit.copy_from_slice(&self.unit);
        bytes
    }
}

/// Makes the keys of one request.
pub(crate) struct KeyMaker {
    model: ModelTag,
    /// Digest of all that the units of one request have in common; the key under which their bytes are digested.
    common: [u8; 32],
    scratch: Vec<u8>,
}

impl KeyMaker {
    /// For units that are single rows of `inputs` (in the model's order). Types and row shapes go into the digest once.
    pub(crate) fn for_rows(model: ModelDigest, inputs: &[Tensor]) -> Self {
        Self::new(model, b'r', inputs, &[], Tensor::row_shape)
    }

    /// For a request that is one unit; `given` says which optional inputs are among its tensors.
    pub(crate) fn for_whole(model: ModelDigest, inputs: &[Tensor], given: &[usize]) -> Self {
        Self::new(model, b'w', inputs, given, Tensor::shape)
    }

    /// The same for a request that asks this of a text model. Without options the keys stay what they were before there
    /// were any.
    pub(crate) fn asking(mut self, options: &TextOptions) -> Self {
        if options.is_empty() {
            return self;
        }
        let mut asked = Vec::with_capacity(64);
        asked.put_u8(match options.truncate {
            None => b'-',
            Some(Truncate::Right) => b'r',
            Some(Truncate::Left) => b'l',
            Some(Truncate::Refuse) => b'x',
        });
        if let Some(most) = options.max_tokens {
            // A letter of its own, so that it looks like no other option.
            asked.put_u8(b'm');
            asked.put_u64_le(most as u64);
        }
        asked.put_u8(options.prompt.is_some().into());
        asked.put_slice(options.prompt.as_deref().unwrap_or_default().as_bytes());
        self.common = *blake3::keyed_hash(&self.common, &asked).as_bytes();
        self
    }

    fn new(
        model: ModelDigest,
        unit: u8,
        inputs: &[Tensor],
        given: &[usize],
        shape: impl Fn(&Tensor) -> &[usize],
    ) -> Self {
        let mut head = Vec::with_capacity(128);
        head.put_slice(&model.digest);
        head.put_u8(match model.rows {
            Rows::Independent => b'i',
            Rows::Alone => b'a',
            Rows::Together => b't',
        });
        head.put_u8(unit);
        head.put_u32_le(given.len() as u32);
        for index in given {
            head.put_u32_le(*index as u32);
        }
        head.put_u32_le(inputs.len() as u32);
        for tensor in inputs {
            let axes = shape(tensor);
            head.put_u8(tensor.element_type() as u8);
            head.put_u32_le(axes.len() as u32);
            for axis in axes {
                head.put_u64_le(*axis as u64);
            }
        }
        Self {
            model: model.tag(),
            common: *blake3::hash(&head).as_bytes(),
            scratch: Vec::new(),
        }
    }

    /// The keys of all `rows` rows.
    pub(crate) fn rows(&mut self, inputs: &[Tensor], rows: usize) -> Vec<UnitKey> {
        if rows > 1
            && let [only] = inputs
            && let Some(bytes) = only.data().plain_bytes(0..only.data().len())
            && let Some(length) = bytes.len().checked_div(rows)
            && length > 0
        {
            let units = digest::of_rows(&self.common, bytes, length).into_iter();
            let key = |unit| UnitKey {
                model: self.model,
                unit,
            };
            return units.map(key).collect();
        }
        let rows = 0..rows;
        // A query of one row stands for all rows.
        let of = |tensor: &Tensor, row: usize| match tensor.rows() {
            Some(1) => 0,
            _ => row,
        };
        rows.map(|row| self.digest(inputs, |tensor| tensor.row_range(of(tensor, row))))
            .collect()
    }

    /// The key of the whole request.
    pub(crate) fn whole(&mut self, inputs: &[Tensor]) -> UnitKey {
        self.digest(inputs, |tensor| 0..tensor.data().len())
    }

    fn digest(
        &mut self,
        inputs: &[Tensor],
        range: impl Fn(&Tensor) -> std::ops::Range<usize>,
    ) -> UnitKey {
        // Plain numbers of a single input are digested where they lie.
        let bytes = match inputs {
            [only] => only.data().plain_bytes(range(only)),
            _ => None,
        };
        let bytes = bytes.unwrap_or_else(|| {
            self.scratch.clear();
            for tensor in inputs {
                tensor.data().put_bytes(range(tensor), &mut self.scratch);
            }
            &self.scratch
        });
        UnitKey {
            model: self.model,
            unit: *blake3::keyed_hash(&self.common, bytes).as_bytes(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::TensorData;

    fn digest(files: &[u8], runtime: &str) -> ModelDigest {
        ModelDigest::new(&blake3::hash(files), runtime)
    }

    fn floats(shape: &[usize], values: &[f32]) -> Tensor {
        Tensor::new(shape.to_vec(), TensorData::Float32(values.to_vec())).unwrap()
    }

    fn row_key(model: ModelDigest, inputs: &[Tensor], row: usize) -> UnitKey {
        let rows = inputs[0].rows().unwrap();
        KeyMaker::for_rows(model, inputs).rows(inputs, rows)[row]
    }

    #[test]
    fn the_same_row_has_the_same_key_wherever_it_stands() {
        let model = digest(b"m", "1.31");
        let alone = [floats(&[1, 2], &[3., 4.])];
        let second = [floats(&[2, 2], &[1., 2., 3., 4.])];
        assert_eq!(row_key(model, &alone, 0), row_key(model, &second, 1));
    }

    #[test]
    fn everything_that_may_change_the_answer_changes_the_key() {
        let model = digest(b"m", "1.31");
        let base = [floats(&[1, 2], &[3., 4.])];
        let key = row_key(model, &base, 0);
        let ints = [Tensor::new(vec![1, 2], TensorData::Int32(vec![3, 4])).unwrap()];
        let others = [
            row_key(digest(b"n", "1.31"), &base, 0),
            row_key(digest(b"m", "1.32"), &base, 0),
            row_key(model.with_rows(Rows::Alone), &base, 0),
            row_key(model.with_rows(Rows::Together), &base, 0),
            row_key(model, &[floats(&[1, 2], &[3., 5.])], 0),
            row_key(model, &[floats(&[1, 2, 1], &[3., 4.])], 0),
            row_key(model, &[floats(&[1, 1, 2], &[3., 4.])], 0),
            row_key(model, &ints, 0),
            KeyMaker::for_whole(model, &base, &[]).whole(&base),
            KeyMaker::for_whole(model, &base, &[0]).whole(&base),
        ];
        for other in others {
            assert_ne!(other, key);
        }
    }

    #[test]
    fn what_a_request_asks_of_texts_changes_the_key() {
        let model = digest(b"m", "1.31");
        let base = [Tensor::new(vec![1], TensorData::String(vec!["a".into()])).unwrap()];
        let key = |prompt: Option<&str>, truncate| {
            let options = TextOptions {
                prompt: prompt.map(str::to_owned),
                truncate,
                max_tokens: None,
            };
            let mut maker = KeyMaker::for_rows(model, &base).asking(&options);
            maker.rows(&base, 1)[0]
        };
        assert_eq!(key(None, None), row_key(model, &base, 0));
        let different = [
            key(None, None),
            key(Some("query: "), None),
            key(Some(""), None),
            key(None, Some(Truncate::Left)),
            key(None, Some(Truncate::Right)),
            key(None, Some(Truncate::Refuse)),
            key(Some("query: "), Some(Truncate::Left)),
        ];
        for (place, one) in different.iter().enumerate() {
            assert!(!different[..place].contains(one), "{place}");
        }
    }

    #[test]
    fn strings_cannot_be_shifted_between_elements() {
        let model = digest(b"m", "1.31");
        let text = |a: &str, b: &str| {
            [Tensor::new(vec![1, 2], TensorData::String(vec![a.into(), b.into()])).unwrap()]
        };
        let one = text("ab", "c");
        let other = text("a", "bc");
        assert_ne!(row_key(model, &one, 0), row_key(model, &other, 0));
    }

    #[test]
    fn the_redis_key_names_namespace_format_and_model() {
        let inputs = [floats(&[1, 1], &[1.])];
        let model = digest(b"m", "1.31");
        let key = row_key(model, &inputs, 0).to_redis(&Namespace::default());
        assert_eq!(key.len(), 89);
        assert!(key.starts_with(&format!("score:2:{}:", &model.to_hex()[..16])));
        let found = Namespace::default().model_of(key.as_bytes());
        assert_eq!(found, Some(model.tag()));
    }
}

//! Access to private modules for `benches/micro`; not part of the shipped program.

use bytes::Bytes;

use crate::cache::{
    EntrySecret, KeyMaker, ModelDigest, Namespace, RowStack, Seal, UnitKey, encode_row,
};
use crate::rows::Units;
use crate::tensor::{ElementType, Tensor};
use crate::text::TextOptions;

/// The keys of rows.
pub struct Keys(Vec<UnitKey>);

/// Digests each row.
pub fn digest(model: ModelDigest, inputs: &[Tensor], rows: usize) -> Keys {
    Keys(KeyMaker::for_rows(model, inputs).rows(inputs, rows))
}

/// Cuts a request into units, digests included; gives how many are distinct.
pub fn split(model: ModelDigest, inputs: &[Tensor], rows: usize) -> usize {
    let text = TextOptions::default();
    Units::of_rows(model, inputs, &text, rows).keys.len()
}

/// The payload of each row.
pub fn encode_rows(outputs: &[Tensor], rows: usize) -> Vec<Bytes> {
    (0..rows).map(|row| encode_row(outputs, row)).collect()
}

/// How entries are sealed.
pub struct Sealing(Seal);

impl Sealing {
    /// By a MAC if there is a secret, else by a checksum.
    pub fn new(secret: Option<&EntrySecret>) -> Self {
        Self(Seal::new(secret, &Namespace::default()))
    }

    /// What Redis gets for each payload.
    pub fn close_rows(&self, keys: &Keys, payloads: &[Bytes]) -> Vec<Bytes> {
        let rows = keys.0.iter().zip(payloads);
        rows.map(|(key, payload)| self.0.close(key, payload))
            .collect()
    }

    /// The payloads of what Redis gave; `None` if one is damaged.
    pub fn open_rows(&self, keys: &Keys, values: &[Bytes]) -> Option<Vec<Bytes>> {
        let rows = keys.0.iter().zip(values);
        rows.map(|(key, value)| self.0.open(key, value)).collect()
    }
}

/// Stacks the payloads of all rows; `None` if one is damaged.
pub fn stack_rows(types: &[ElementType], payloads: &[Bytes]) -> Option<Vec<Tensor>> {
    let mut stack = RowStack::new(types, payloads.len());
    for payload in payloads {
        stack.push(payload)?;
    }
    stack.finish()
}

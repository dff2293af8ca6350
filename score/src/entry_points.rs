//! Every way into this crate for bytes from outside: what the fuzz targets and the bounded run of `cargo test` call. None of
//! them may panic on any bytes, nor take more memory than a small multiple of them.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use crate::cache::{
    EntrySecret, KeyMaker, ModelDigest, Namespace, RowStack, Seal, UnitKey, decode, encode_whole,
    fits,
};
use crate::signature::{Dim, ModelSignature, Rows, TensorSpec};
use crate::tensor::{ElementType, Tensor, TensorData};

fn spec(name: &str, element_type: ElementType, dims: &[Option<usize>]) -> TensorSpec {
    let dims = dims
        .iter()
        .map(|dim| dim.map_or(Dim::Dynamic(None), Dim::Fixed));
    TensorSpec {
        name: name.to_owned(),
        element_type,
        shape: Some(dims.collect()),
    }
}

fn key() -> Option<UnitKey> {
    let inputs = [Tensor::new(vec![1, 1], TensorData::Float32(vec![1.0])).ok()?];
    let model = ModelDigest::new(&blake3::hash(b"m"), "1").with_rows(Rows::Independent);
    KeyMaker::for_rows(model, &inputs).rows(&inputs, 1).pop()
}

/// A value that the shared store has under a key, and what lies behind its seal.
pub fn entry(data: &[u8]) {
    let (Some(key), value) = (key(), Bytes::copy_from_slice(data)) else {
        return;
    };
    let secret: Option<EntrySecret> = "s".repeat(32).parse().ok();
    for secret in [None, secret] {
        let seal = Seal::new(secret.as_ref(), &Namespace::default());
        if let Some(payload) = seal.open(&key, &value) {
            assert_eq!(seal.close(&key, &payload), value);
        }
    }
    let one = [spec("y", ElementType::Float32, &[None, Some(2)])];
    let three = [
        spec("label", ElementType::Int64, &[None]),
        spec("y", ElementType::Float32, &[None, None]),
        spec("text", ElementType::String, &[None]),
    ];
    for outputs in [&one[..], &three] {
        let types: Vec<_> = outputs.iter().map(|spec| spec.element_type).collect();
        let read = decode(data, &types);
        if let Some(read) = &read {
            assert_eq!(encode_whole(read), data);
        }
        // What strings hold is looked at only when they are read.
        let has_texts = types.contains(&ElementType::String);
        let [whole, row] = [false, true].map(|is_row| fits(data, outputs, is_row) && !has_texts);
        assert!(!(whole || row) || read.is_some());
        let mut stack = RowStack::new(&types, 2);
        let pushed = stack.push(data).and_then(|()| stack.push(data));
        let stacked = pushed.and_then(|()| stack.finish());
        assert!(!row || stacked.is_some());
    }
}

/// An ONNX file in `folder`, as far as this crate reads it itself: its versions, its external data, what its graph says of
/// rows.
pub fn onnx(folder: &Path, data: &[u8]) {
    let file = folder.join("model.onnx");
    if fs::write(&file, data).is_err() {
        return;
    }
    crate::model::entry_points::onnx(&file);
    for (name, ty) in [("x", ElementType::Float32), ("ids", ElementType::Int64)] {
        let inputs = [spec(name, ty, &[None, Some(3)])];
        for has_optional in [false, true] {
            let read = crate::model::Reading::in_file(&file, &inputs, has_optional);
            assert_eq!(read.table_sizes.len(), inputs.len());
        }
    }
}

/// Each of the other files of a model that this crate reads, in `folder`.
pub fn options(folder: &Path, data: &[u8]) {
    let input = spec(
        "x",
        ElementType::Float32,
        &[None, Some(3), Some(8), Some(8)],
    );
    let signature = ModelSignature::of_tensors(vec![input], Vec::new());
    crate::model::entry_points::options(folder, data, &signature);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bounded::run;

    #[test]
    fn no_stored_value_is_more_than_the_reader_expects() {
        run("entry", entry);
    }

    #[test]
    fn no_onnx_file_is_more_than_the_readers_expect() {
        let folder = tempfile::tempdir().unwrap();
        run("onnx", |data| onnx(folder.path(), data));
    }

    #[test]
    fn no_options_are_more_than_the_readers_expect() {
        let folder = tempfile::tempdir().unwrap();
        run("options", |data| options(folder.path(), data));
    }
}

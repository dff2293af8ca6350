//! docs/cache.md is right to the byte: its examples are what the code writes and reads, and what its rules give.

use twox_hash::XxHash3_128;

use super::codec::{decode, encode_row, encode_whole};
use super::seal::{EntrySecret, Seal};
use super::*;
use crate::model::{ModelFolder, find_models};
use crate::tensor::{ElementType, Tensor, TensorData};

const DOCUMENT: &str = include_str!("../../../docs/cache.md");
const BUILD: &str = "ORT 1.24.0";
const SECRET: &str = "an example: 32 characters or more";

/// The text of the fenced block with these words behind its fence.
fn block(words: &str) -> &'static str {
    let (_, rest) = DOCUMENT
        .split_once(&format!("\n```{words}\n"))
        .unwrap_or_else(|| panic!("no block {words}"));
    rest.split_once("```").expect("the block ends").0
}

/// The bytes of a block of `hexadecimal | explanation` lines.
fn bytes(words: &str) -> Vec<u8> {
    let lines = block(words).lines();
    let numbers = lines.flat_map(|line| {
        let (numbers, _) = line.split_once('|').expect("an explanation");
        numbers.split_whitespace()
    });
    numbers
        .map(|number| u8::from_str_radix(number, 16).expect("a byte"))
        .collect()
}

/// The digest of the files, from a real folder.
fn files() -> blake3::Hash {
    let root = std::env::temp_dir().join(format!("score-document-{}", std::process::id()));
    let folder = root.join("example");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, text) in [
        ("model.onnx", "\x3a\0"),
        ("model.toml", "ttl = \"1h\""),
        ("README.md", "a model card"),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    let digest = ModelFolder::read(&find_models(&root).unwrap()[0])
        .unwrap()
        .digest()
        .unwrap();
    std::fs::remove_dir_all(&root).unwrap();
    digest
}

/// The example's row among others.
fn inputs() -> [Tensor; 1] {
    let values = TensorData::Float32(vec![9.0, 9.0, 0.5, -2.0]);
    [Tensor::new(vec![2, 2], values).unwrap()]
}

fn outputs() -> [Tensor; 2] {
    let labels = TensorData::String(vec!["other".into(), "café".into()]);
    let probabilities = TensorData::Float32(vec![1.0, 0.0, 0.25, 0.75]);
    [
        Tensor::new(vec![2], labels).unwrap(),
        Tensor::new(vec![2, 2], probabilities).unwrap(),
    ]
}

fn key() -> UnitKey {
    let model = ModelDigest::new(&files(), BUILD);
    KeyMaker::for_rows(model, &inputs()).rows(&inputs(), 2)[1]
}

#[test]
fn the_example_is_what_the_code_writes_and_reads() {
    let (key, entry) = (key(), Bytes::from(bytes("hex entry")));
    assert_eq!(key.to_redis(&Namespace::default()), block("text").trim());
    assert_eq!(
        Seal::Checksum.close(&key, &encode_row(&outputs(), 1)),
        entry
    );

    let payload = Seal::Checksum.open(&key, &entry).expect("a sound entry");
    let types = [ElementType::String, ElementType::Float32];
    let row = decode(&payload, &types).expect("two outputs");
    assert_eq!(row[0].data(), &TensorData::String(vec!["café".into()]));
    assert_eq!(row[1].data(), &TensorData::Float32(vec![0.25, 0.75]));
    assert_eq!((row[0].shape(), row[1].shape()), (&[][..], &[2][..]));

    let whole = [Tensor::new(vec![2], TensorData::Int64(vec![7, 3])).unwrap()];
    assert_eq!(encode_whole(&whole), bytes("hex whole"));
    let read = decode(&bytes("hex whole"), &[ElementType::Int64]);
    assert_eq!(read.expect("one output"), whole);
}

#[test]
fn the_signed_example_is_what_the_code_writes_and_reads() {
    let secret: EntrySecret = SECRET.parse().unwrap();
    let seal = Seal::new(Some(&secret), &Namespace::default());
    let (key, payload) = (key(), encode_row(&outputs(), 1));
    let entry = Bytes::from([bytes("hex signed"), payload.to_vec()].concat());
    assert_eq!(seal.close(&key, &payload), entry);
    assert_eq!(seal.open(&key, &entry), Some(payload));
}

/// Nothing here but the digests and the document's own bytes and rules.
#[test]
fn the_rules_give_the_example() {
    let digest = |parts: &[&[u8]]| *blake3::hash(&parts.concat()).as_bytes();
    let files = digest(&[&digest(&[b"model.onnx"]), &digest(&[b"\x3a\x00"])]);
    let model_digest = digest(&[b"score model", &[0, 2], &files, BUILD.as_bytes()]);
    let common = bytes("hex common");
    assert_eq!(common[..32], model_digest);

    let unit = blake3::keyed_hash(&digest(&[&common]), &bytes("hex row"));
    let model = &blake3::Hash::from_bytes(model_digest).to_hex()[..16];
    let key = format!("score:2:{model}:{}", unit.to_hex());
    assert_eq!(key, block("text").trim());

    let entry = bytes("hex entry");
    assert_eq!(&entry[..3], b"SM\x03");
    let seed = u64::from_le_bytes(unit.as_bytes()[..8].try_into().unwrap());
    let checksum = XxHash3_128::oneshot_with_seed(seed, &entry[19..]);
    assert_eq!(entry[3..19], checksum.to_be_bytes());

    let signed = bytes("hex signed");
    assert_eq!(&signed[..3], b"SM\x02");
    let (_, context) = DOCUMENT.split_once("with the context\n`").unwrap();
    let (context, _) = context.split_once('`').unwrap();
    let secret = [SECRET.as_bytes(), b"\0score"].concat();
    let message = [&entry[19..], &model_digest[..8], unit.as_bytes()].concat();
    let mac = blake3::keyed_hash(&blake3::derive_key(context, &secret), &message);
    assert_eq!(signed[3..], mac.as_bytes()[..16]);
}

#[test]
fn the_table_of_element_types_is_complete() {
    for ty in ElementType::ALL {
        let size = match ty.size() {
            Some(size) => size.to_string(),
            None => "4, and its own length".to_owned(),
        };
        let row = format!("\n| {} | {ty} | {size} |\n", ty as u8);
        assert!(DOCUMENT.contains(&row), "no row {row}");
    }
}

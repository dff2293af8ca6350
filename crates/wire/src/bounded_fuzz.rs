//! The fuzz targets' entry points over their corpus, with a fixed number of mutations of each seed.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::entry_points;

/// Mutated bodies for each entry point.
const CASES: u32 = 400;

fn run(target: &str, entry: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    paths.sort();
    let seeds: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(!seeds.is_empty());
    seeds.iter().for_each(|seed| entry(seed));
    let config = Config {
        cases: CASES,
        failure_persistence: None,
        ..Config::default()
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let change = (
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        0..6u8,
        any::<u8>(),
    );
    let changes = prop::collection::vec(change, 1..8);
    let bodies = (prop::sample::select(seeds), changes);
    let run = TestRunner::new_with_rng(config, rng).run(&bodies, |(seed, changes)| {
        let mut body = seed;
        for (from, to, kind, byte) in changes {
            let places = body.len() + 1;
            mutate(&mut body, from.index(places), to.index(places), kind, byte);
        }
        entry(&body);
        Ok(())
    });
    run.unwrap();
}

/// One change: bytes replaced, inserted, removed, repeated, cut off, or a sign of JSON put in.
fn mutate(body: &mut Vec<u8>, from: usize, to: usize, kind: u8, byte: u8) {
    const SIGNS: &[u8] = b"[]{}\",:-.0e\\ \0\xff";
    let (from, to) = (from.min(to), from.max(to));
    match kind {
        0 if from < body.len() => body[from] = byte,
        1 => body.insert(from, byte),
        2 => drop(body.drain(from..to)),
        3 => {
            let part = body[from..to].to_vec();
            body.splice(to..to, part);
        }
        4 => body.truncate(from),
        _ => body.insert(from, SIGNS[usize::from(byte) % SIGNS.len()]),
    }
}

#[test]
fn no_json_is_more_than_the_readers_expect() {
    run("json", entry_points::json);
}

#[test]
fn no_texts_are_more_than_the_readers_expect() {
    run("texts", entry_points::texts);
}

#[test]
fn no_body_of_another_format_is_more_than_the_readers_expect() {
    run("formats", entry_points::formats);
}

#[test]
fn no_stored_value_is_more_than_the_readers_expect() {
    run("stored", entry_points::stored);
}

#[test]
fn no_accept_header_is_more_than_the_parser_expects() {
    run("accept", entry_points::accept);
}

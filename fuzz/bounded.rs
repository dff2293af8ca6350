//! A fuzz target's entry point over its corpus, with a fixed number of mutations: the part of fuzzing that `cargo test` does.
//! Each crate with entry points includes this file in its tests.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// Mutated inputs for each entry point.
const CASES: u32 = 400;

/// Calls the entry point of a fuzz target with each seed of its corpus, and with mutations of them.
pub(crate) fn run(target: &str, entry: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = folder.ancestors().map(|folder| folder.join("fuzz/corpus"));
    let folder = folders.find(|folder| folder.is_dir()).unwrap().join(target);
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

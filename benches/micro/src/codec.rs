//! Results into what is remembered, and back: 64 rows of ten floats.

use bytes::Bytes;
use divan::{Bencher, black_box};
use score::bench::{Keys, Sealing, encode_rows, stack_rows};

use crate::samples::{self, Answer, ROWS};

fn payloads() -> Vec<Bytes> {
    encode_rows(&[Answer::Probabilities.tensor(ROWS)], ROWS)
}

fn keys() -> Keys {
    score::bench::digest(samples::digest(), &[samples::input(ROWS)], ROWS)
}

#[divan::bench]
fn encode_row(bencher: Bencher<'_, '_>) {
    let outputs = [Answer::Probabilities.tensor(ROWS)];
    bencher.bench(|| encode_rows(black_box(&outputs), ROWS));
}

/// Without a secret, and with one.
fn sealings() -> [Sealing; 2] {
    let secret = "s".repeat(32).parse().unwrap();
    [Sealing::new(None), Sealing::new(Some(&secret))]
}

#[divan::bench(args = [false, true])]
fn seal(bencher: Bencher<'_, '_>, signed: bool) {
    let (keys, payloads) = (keys(), payloads());
    let sealing = &sealings()[usize::from(signed)];
    bencher.bench(|| sealing.close_rows(&keys, black_box(&payloads)));
}

#[divan::bench(args = [false, true])]
fn open(bencher: Bencher<'_, '_>, signed: bool) {
    let keys = keys();
    let sealing = &sealings()[usize::from(signed)];
    let values = sealing.close_rows(&keys, &payloads());
    sealing.open_rows(&keys, &values).unwrap();
    bencher.bench(|| sealing.open_rows(&keys, black_box(&values)));
}

#[divan::bench]
fn row_stack(bencher: Bencher<'_, '_>) {
    let payloads = payloads();
    let types = [Answer::Probabilities.tensor(1).element_type()];
    stack_rows(&types, &payloads).unwrap();
    bencher.bench(|| stack_rows(&types, black_box(&payloads)));
}

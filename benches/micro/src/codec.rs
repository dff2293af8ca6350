//! Results into what is remembered, and back: 64 rows of ten floats.

use bytes::Bytes;
use divan::{Bencher, black_box};
use score::bench::{Keys, encode_rows, open_rows, seal_rows, stack_rows};

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

#[divan::bench]
fn seal(bencher: Bencher<'_, '_>) {
    let (keys, payloads) = (keys(), payloads());
    bencher.bench(|| seal_rows(&keys, black_box(&payloads)));
}

#[divan::bench]
fn open(bencher: Bencher<'_, '_>) {
    let keys = keys();
    let values = seal_rows(&keys, &payloads());
    open_rows(&keys, &values).unwrap();
    bencher.bench(|| open_rows(&keys, black_box(&values)));
}

#[divan::bench]
fn row_stack(bencher: Bencher<'_, '_>) {
    let payloads = payloads();
    let types = [Answer::Probabilities.tensor(1).element_type()];
    stack_rows(&types, &payloads).unwrap();
    bencher.bench(|| stack_rows(&types, black_box(&payloads)));
}

//! Rows into keys and units.

use divan::{Bencher, black_box};

use crate::samples;

#[divan::bench(args = [1, 64])]
fn digest(bencher: Bencher<'_, '_>, rows: usize) {
    let (model, inputs) = (samples::digest(), [samples::input(rows)]);
    bencher.bench(|| score::bench::digest(model, black_box(&inputs), rows));
}

#[divan::bench(args = [1, 64])]
fn units_with_digests(bencher: Bencher<'_, '_>, rows: usize) {
    let (model, inputs) = (samples::digest(), [samples::input(rows)]);
    bencher.bench(|| score::bench::split(model, black_box(&inputs), rows));
}

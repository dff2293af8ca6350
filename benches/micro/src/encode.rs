//! Tensors into answers.

use divan::{Bencher, black_box};
use wire::AnswerForm;

use crate::samples::{Answer, metadata};

fn run(bencher: Bencher<'_, '_>, answer: Answer, rows: usize) {
    let response = answer.response(rows);
    let metadata = metadata(&response.outputs[0].tensor);
    let encode = |response| wire::encode(&AnswerForm::bare(), None, &metadata, response);
    encode(&response).unwrap();
    bencher.bench(|| encode(black_box(&response)));
}

#[divan::bench(args = [1, 64])]
fn labels(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, Answer::Labels, rows);
}

#[divan::bench(args = [1, 64])]
fn ten_floats(bencher: Bencher<'_, '_>, rows: usize) {
    run(bencher, Answer::Probabilities, rows);
}

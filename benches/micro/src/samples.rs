//! Made-up requests and answers, the same in every run.

use std::fmt;

use score::{
    CacheOutcome, ElementType, InferenceResponse, ModelDigest, ModelMetadata, ModelSignature,
    NamedTensor, Tensor, TensorData, Timings,
};
use wire::samples;

pub(crate) use crate::visitors::COLUMNS;

/// How numbers are written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numbers {
    /// `0` to `255`.
    Ints,
    /// `0.439`.
    Short,
    /// `0.4390000104904175`: what Python writes of a float32, with a blank behind each comma.
    Python,
    /// The digits that come with the sample model: four of five are `0`, the others have one to three decimals.
    Pixels,
}

/// The rows of all bodies of one sample. One body of one row would flatter every parser: the processor would soon
/// know by heart how long each number is.
pub(crate) const ROWS: usize = 64;

/// How many rows a body has, and how they are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) rows: usize,
    pub(crate) numbers: Numbers,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, rows: {}", self.numbers, self.rows)
    }
}

impl Sample {
    fn between(self) -> &'static str {
        match self.numbers {
            Numbers::Ints | Numbers::Short | Numbers::Pixels => ",",
            Numbers::Python => ", ",
        }
    }

    /// For each body its rows' numbers as text.
    pub(crate) fn bodies(self) -> Vec<Vec<String>> {
        let values = values(ROWS);
        let written = |write: fn(f32) -> String| {
            let texts: Vec<_> = values.iter().map(|value| write(*value)).collect();
            let rows = texts.chunks(COLUMNS);
            rows.map(|row| row.join(self.between())).collect()
        };
        let rows: Vec<String> = match self.numbers {
            Numbers::Ints => written(|value| format!("{}", (value * 255.0).round())),
            Numbers::Short => written(|value| format!("{value:.3}")),
            Numbers::Python => written(|value| format!("{}", f64::from(value))),
            Numbers::Pixels => digits(),
        };
        rows.chunks(self.rows).map(<[_]>::to_vec).collect()
    }
}

/// Rows as they stand in the examples.
fn digits() -> Vec<String> {
    let text = include_str!("../../../examples/mnist/digits.json");
    let rows = text.lines().filter(|line| line.starts_with("[0"));
    let rows = rows.map(|line| line.trim_matches(['[', ']', ',']).to_owned());
    rows.take(ROWS).collect()
}

/// Numbers from 0 to 1.
pub(crate) fn values(rows: usize) -> Vec<f32> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..rows * COLUMNS).map(|_| random.f32()).collect()
}

/// The tensor of a request.
pub(crate) fn input(rows: usize) -> Tensor {
    Tensor::new(vec![rows, COLUMNS], values(rows).into()).unwrap()
}

/// A model of one input, whose answers are what the sample says.
pub(crate) fn metadata(answer: &Tensor) -> ModelMetadata {
    let spec = |name, element_type, row: &[usize]| {
        let lengths = row.iter().map(|length| i64::try_from(*length).unwrap());
        let axes: Vec<i64> = std::iter::once(-1).chain(lengths).collect();
        samples::spec(name, element_type, &axes)
    };
    let input = spec("x", ElementType::Float32, &[COLUMNS]);
    let output = spec("y", answer.element_type(), &answer.shape()[1..]);
    samples::metadata(ModelSignature::of_tensors(vec![input], vec![output]))
}

pub(crate) fn digest() -> ModelDigest {
    ModelDigest::new(&blake3::hash(b"m"), "1")
}

/// What a model answers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    /// One class for each row.
    Labels,
    /// Ten floats for each row.
    Probabilities,
}

impl Answer {
    pub(crate) fn tensor(self, rows: usize) -> Tensor {
        let mut random = fastrand::Rng::with_seed(8);
        let (shape, data): (_, TensorData) = match self {
            Self::Labels => {
                let labels: Vec<i64> = (0..rows).map(|_| random.i64(0..10)).collect();
                (vec![rows], labels.into())
            }
            Self::Probabilities => {
                let floats: Vec<f32> = (0..rows * 10).map(|_| random.f32()).collect();
                (vec![rows, 10], floats.into())
            }
        };
        Tensor::new(shape, data).unwrap()
    }

    pub(crate) fn response(self, rows: usize) -> InferenceResponse {
        InferenceResponse {
            outputs: vec![NamedTensor {
                name: "y".into(),
                tensor: self.tensor(rows),
            }],
            rows,
            cache: CacheOutcome::Asked { hits: rows, rows },
            timings: Timings::default(),
        }
    }
}

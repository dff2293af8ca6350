//! Trying a model out with made-up rows: whether it always says the same, and whether a row gets the same result in any
//! company.

use std::time::{Duration, Instant};

use super::Model;
use super::graph::{Known, Reading};
use super::made_up::{self, Kind, OUTLIER, Plan};
use crate::signature::{Dim, ModelSignature, TensorSpec};
use crate::tensor::{Tensor, TensorData};

/// Enough for one row to stand out against the others by any common measure.
const ROWS: usize = 24;
/// The rows that are also run alone.
const ALONE: [usize; 4] = [0, 1, OUTLIER, ROWS - 1];
/// The lengths tried for axes other than axis 0 whose length is free.
const FREE_AXES: [usize; 3] = [3, 1, 17];
/// The shapes tried for inputs that declare none, until the model runs on one.
const UNDECLARED: [&[usize]; 4] = [&[ROWS, FREE_AXES[0]], &[FREE_AXES[0]], &[], &[1, 3, 16, 16]];
/// When so much time is gone, what has been tried is enough.
const MAX_TIME: Duration = Duration::from_secs(2);
/// What a row has in company is too much to be sure of with fewer kinds of rows.
const FEWEST_KINDS: usize = 2;

/// How close results have to be, as a multiple of what another order of summation usually changes.
pub(super) const CLOSE: f64 = 1.0;
/// The same where the graph proves that rows are apart: deep networks make more of the last bits, on inputs that they were
/// not made for.
pub(super) const ROUGHLY: f64 = 100.0;

/// No result of any type may differ by more.
const MOST: f64 = 0.1;

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tried {
    /// Whether the same input gave the same output, bit for bit; `None` if the model did not run.
    pub(super) deterministic: Option<bool>,
    /// Whether every row got the same result in any company; the text says why that is not known or not so.
    pub(super) same_in_company: Result<(), Company>,
}

/// Why rows are not known to get the same results in any company.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Company {
    /// They get others.
    Matters(String),
    /// It was not seen.
    NotSeen(String),
    /// All rows got the same result, which tells nothing: a threshold that no row reached, for example.
    AllEqual,
}

/// The rows of one trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trial {
    /// The model's own samples, over and over.
    Samples,
    /// The values of samples, those of each input from another row.
    Crossed,
    /// Made-up rows; axes whose length is free have this one.
    MadeUp(Kind, usize),
}

/// A model and what it is tried with.
pub(super) struct Probe<'a> {
    model: &'a mut dyn Model,
    signature: &'a ModelSignature,
    known: &'a Known,
    samples: &'a [Tensor],
    limits: Vec<u64>,
    undeclared: &'static [usize],
    slack: f64,
}

impl<'a> Probe<'a> {
    /// `reading` has the sizes of the tables that the inputs are indices into, and what they are compared with; `samples` are
    /// rows that the model takes, if there are any: one tensor for each input.
    pub(super) fn new(
        model: &'a mut dyn Model,
        signature: &'a ModelSignature,
        reading: &'a Reading,
        samples: &'a [Tensor],
    ) -> Self {
        let sizes = reading
            .table_sizes
            .iter()
            .copied()
            .chain(std::iter::repeat(None));
        let specs = signature.inputs.iter().zip(sizes);
        let limits = specs.map(|(spec, size)| match size {
            Some(size) => (size as u64).min(made_up::limit_of(spec.element_type).max(1 << 20)),
            None => made_up::limit_of(spec.element_type),
        });
        Self {
            limits: limits.collect(),
            slack: CLOSE,
            undeclared: UNDECLARED[0],
            known: &reading.known,
            samples,
            model,
            signature,
        }
    }

    fn rows_of(&self, trial: Trial, rows: usize) -> Result<Vec<Tensor>, String> {
        let crossed = match trial {
            Trial::MadeUp(kind, free_axis) => return self.make(kind, rows, free_axis),
            // They belong together as they are.
            _ if !self.signature.has_dynamic_rows() => return Ok(self.samples.to_vec()),
            Trial::Crossed => 1,
            Trial::Samples => 0,
        };
        let samples = self.samples.iter().enumerate();
        let repeated = samples.map(|(input, tensor)| {
            let given = tensor.rows().unwrap_or(1).max(1);
            let shift = crossed * (input + 1);
            let picked = (0..rows).map(|row| (row + row / given * shift) % given);
            tensor.take_rows(&picked.collect::<Vec<_>>())
        });
        Ok(repeated.collect())
    }

    /// Samples first, since a model that takes few values takes them.
    fn trials(&self, kinds: &[Kind]) -> Vec<Trial> {
        let samples = [Trial::Samples, Trial::Crossed];
        let samples = match self.samples.is_empty() {
            true => &[][..],
            false => &samples[..kinds.len().min(2)],
        };
        let free_axes = self.free_axes().iter();
        let made_up =
            free_axes.flat_map(|axis| kinds.iter().map(|kind| Trial::MadeUp(*kind, *axis)));
        samples.iter().copied().chain(made_up).collect()
    }

    fn make(&self, kind: Kind, rows: usize, free_axis: usize) -> Result<Vec<Tensor>, String> {
        let plan = Plan {
            kind,
            rows,
            free_axis,
            undeclared: self.undeclared,
            limits: &self.limits,
            known: self.known,
        };
        made_up::make(&self.signature.inputs, plan)
            .ok_or_else(|| "its inputs are too large to be tried out".to_owned())
    }

    /// Runs single rows, twice each. `Err` says why that cannot be told.
    pub(super) fn rows_alone(&mut self) -> Result<bool, String> {
        let mut same = true;
        let mut ran = None;
        let mut trials = self.trials(&Kind::ALL);
        trials.retain(|trial| !matches!(trial, Trial::MadeUp(_, axis) if *axis != FREE_AXES[0]));
        for (place, trial) in trials.into_iter().enumerate() {
            let outcome = self.rows_of(trial, 2).and_then(|rows| {
                let alone = take(&rows, &[1]);
                let outputs = self.run(&alone)?;
                if outputs.iter().any(|tensor| tensor.rows() != Some(1)) {
                    return Err("one row gives several".to_owned());
                }
                Ok(self
                    .run(&alone)
                    .is_ok_and(|again| same_bits(&outputs, &again)))
            });
            match outcome {
                Ok(equal) => {
                    same &= equal;
                    ran = Some(());
                }
                // Not every model takes every value.
                Err(reason) if place == 0 => return Err(reason),
                Err(_) => {}
            }
        }
        ran.map(|()| same)
            .ok_or_else(|| "the model does not run on made-up rows".to_owned())
    }

    /// Runs rows together, twice.
    pub(super) fn rows_together(&mut self) -> Option<bool> {
        let (inputs, outputs) = self.first_run()?;
        Some(
            self.run(&inputs)
                .is_ok_and(|again| same_bits(&outputs, &again)),
        )
    }

    /// What the model makes of the first rows it is tried with.
    pub(super) fn outputs(&mut self) -> Option<Vec<Tensor>> {
        self.first_run().map(|(_, outputs)| outputs)
    }

    fn first_run(&mut self) -> Option<(Vec<Tensor>, Vec<Tensor>)> {
        let undeclared = |spec: &TensorSpec| spec.shape.is_none();
        if self.samples.is_empty() && self.signature.inputs.iter().any(undeclared) {
            self.undeclared = *UNDECLARED.iter().find(|shape| self.runs_on(shape))?;
        }
        let first = self.trials(&[Kind::Alike]).first().copied()?;
        let inputs = self.rows_of(first, ROWS).ok()?;
        let outputs = self.run(&inputs).ok()?;
        Some((inputs, outputs))
    }

    fn runs_on(&mut self, shape: &'static [usize]) -> bool {
        self.undeclared = shape;
        self.make(Kind::Alike, ROWS, FREE_AXES[0])
            .is_ok_and(|inputs| self.run(&inputs).is_ok())
    }

    /// Runs made-up rows together, alone and in another order, and compares: rows of several kinds and lengths, because a
    /// model that looks at the whole batch may do so only when one row stands out. `kinds` bounds how much is tried,
    /// `slack` how far results may differ.
    pub(super) fn company(&mut self, kinds: &[Kind], slack: f64) -> Tried {
        self.slack = slack;
        let start = Instant::now();
        self.limit_whole_numbers();
        let mut tried = Tried {
            deterministic: None,
            same_in_company: Ok(()),
        };
        let (mut varied, mut ran) = (false, 0);
        for (place, trial) in self.trials(kinds).into_iter().enumerate() {
            if ran >= FEWEST_KINDS && start.elapsed() > MAX_TIME {
                break;
            }
            match self.compare(trial, &mut tried.deterministic) {
                Ok(differ) => {
                    varied |= differ;
                    ran += 1;
                }
                // Not every model takes every value or length.
                Err(Company::NotSeen(_)) if place > 0 => {}
                Err(reason) => {
                    tried.same_in_company = Err(reason);
                    return tried;
                }
            }
        }
        tried.same_in_company = if ran < kinds.len().min(FEWEST_KINDS) {
            let reason = "the model runs on too few kinds of made-up rows";
            Err(Company::NotSeen(reason.to_owned()))
        } else if varied {
            Ok(())
        } else {
            Err(Company::AllEqual)
        };
        tried
    }

    /// Numbers that turn out to be too large for the model are indices into a smaller table.
    fn limit_whole_numbers(&mut self) {
        // Of known values and others, a model may refuse the others.
        let kind = match self.known.is_empty() {
            true => Kind::Wide,
            false => Kind::FarApart,
        };
        while self.limits.iter().any(|limit| *limit > made_up::SMALL) {
            let runs = self
                .make(kind, ROWS, FREE_AXES[0])
                .is_ok_and(|inputs| self.run(&inputs).is_ok());
            if runs {
                return;
            }
            for limit in &mut self.limits {
                *limit = (*limit / 8).max(made_up::SMALL);
            }
        }
    }

    fn free_axes(&self) -> &'static [usize] {
        let inner = self
            .signature
            .inputs
            .iter()
            .flat_map(|spec| spec.dims().iter().skip(1));
        let free = inner.filter(|dim| matches!(dim, Dim::Dynamic(_))).count();
        if free > 0 {
            &FREE_AXES
        } else {
            &FREE_AXES[..1]
        }
    }

    /// Whether rows differed at all.
    fn compare(&mut self, trial: Trial, deterministic: &mut Option<bool>) -> Result<bool, Company> {
        let inputs = self.rows_of(trial, ROWS).map_err(Company::NotSeen)?;
        let outputs = self.run(&inputs).map_err(Company::NotSeen)?;
        let same = self
            .run(&inputs)
            .is_ok_and(|again| same_bits(&outputs, &again));
        *deterministic = Some(same && *deterministic != Some(false));
        if !same {
            return Err(matters("the same rows gave different results"));
        }
        if outputs.iter().any(|tensor| tensor.rows() != Some(ROWS)) {
            return Err(matters(
                "an output has another number of rows than the inputs",
            ));
        }
        let mut picks: Vec<Vec<usize>> = ALONE.iter().map(|row| vec![*row]).collect();
        picks.push((0..ROWS).rev().collect());
        picks.push((0..ROWS).filter(|row| *row != OUTLIER).collect());
        for pick in picks {
            let got = self.run(&take(&inputs, &pick));
            let got = got.map_err(|_| matters("rows that run together do not run alone"))?;
            let agree = got.len() == outputs.len()
                && got
                    .iter()
                    .zip(&outputs)
                    .all(|(got, all)| close(got, &all.take_rows(&pick), self.slack));
            if !agree {
                return Err(matters("rows gave other results alone or among other rows"));
            }
        }
        Ok(outputs.iter().any(rows_differ))
    }

    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        self.model.run(inputs, &[]).map_err(|error| {
            let reason = error.to_string();
            format!("the model does not run on made-up rows ({reason})")
        })
    }
}

fn matters(reason: &str) -> Company {
    Company::Matters(reason.to_owned())
}

fn take(inputs: &[Tensor], rows: &[usize]) -> Vec<Tensor> {
    inputs.iter().map(|tensor| tensor.take_rows(rows)).collect()
}

fn rows_differ(tensor: &Tensor) -> bool {
    let first = tensor.take_rows(&[0]);
    (1..ROWS).any(|row| tensor.take_rows(&[row]).data() != first.data())
}

fn same_bits(a: &[Tensor], b: &[Tensor]) -> bool {
    let bytes = |tensors: &[Tensor]| {
        let mut out = Vec::new();
        for tensor in tensors {
            tensor.data().put_bytes(0..tensor.data().len(), &mut out);
        }
        out
    };
    bytes(a) == bytes(b)
}

/// Equal shapes and values; floats within what another order of summation may change.
fn close(a: &Tensor, b: &Tensor, slack: f64) -> bool {
    if a.shape() != b.shape() {
        return false;
    }
    match (doubles(a.data()), doubles(b.data())) {
        (Some((a, tolerance)), Some((b, _))) => all_close(&a, &b, (tolerance * slack).min(MOST)),
        _ => a.data() == b.data(),
    }
}

/// Floats with the relative tolerance of their type; `None` for what must be equal.
fn doubles(data: &TensorData) -> Option<(Vec<f64>, f64)> {
    match data {
        TensorData::Float16(v) => Some((v.iter().map(|v| v.to_f64()).collect(), 1e-2)),
        TensorData::BFloat16(v) => Some((v.iter().map(|v| v.to_f64()).collect(), 5e-2)),
        TensorData::Float32(v) => Some((v.iter().map(|v| f64::from(*v)).collect(), 1e-4)),
        TensorData::Float64(v) => Some((v.clone(), 1e-9)),
        _ => None,
    }
}

/// Small values may differ by a fraction of the largest one: they may be differences of larger ones.
fn all_close(a: &[f64], b: &[f64], tolerance: f64) -> bool {
    let finite = b.iter().filter(|value| value.is_finite());
    let largest = finite.fold(0f64, |most, value| most.max(value.abs()));
    a.iter().zip(b).all(|(a, b)| {
        let both_nan = a.is_nan() && b.is_nan();
        let allowed = tolerance * a.abs().max(b.abs()).max(1e-2 * largest);
        both_nan || a == b || (a - b).abs() <= allowed
    })
}

//! Whether a text gets the same numbers in company, bit for bit.
//!
//! The proof that the graph keeps rows apart is not enough: padding changes the inputs, and matrices of other sizes may
//! be computed by other kernels. So made-up texts are run, and until every bit was found equal, texts run alone. The trial
//! is made in steps behind the answers to the first requests, so it costs no time at start.

use std::sync::{Arc, Mutex, OnceLock};

use score::Tokenized;

/// Lengths in tokens that are tried.
const LENGTHS: [usize; 9] = [2, 5, 8, 13, 20, 32, 64, 128, 256];
/// By how much the texts of a run are shorter than its longest one: some are as long as it, and no text has more padding in a
/// real run than the most of these. Seven, so that those that are also run alone have different ones.
const SHORTER: [usize; 7] = [0, 36, 18, 0, 3, 9, 1];
/// How many texts of a run are also run alone.
const ALONE: usize = 6;

/// What is known so far. All sessions of a model share it.
#[derive(Debug)]
pub(crate) struct Company {
    found: Arc<OnceLock<bool>>,
    /// Runs to try, the next one last.
    steps: Mutex<Vec<Vec<usize>>>,
}

impl Company {
    /// Nothing is known of a model whose texts have at most `max_tokens` tokens and whose runs have at most `budget`.
    pub(crate) fn new(max_tokens: usize, budget: usize) -> Self {
        let fitting = |length: &&usize| **length <= max_tokens && 2 * **length <= budget;
        let lengths = LENGTHS.iter().filter(fitting);
        let run = |length: &usize| {
            let shorter = SHORTER.iter().cycle().take(budget / length);
            let texts = shorter.map(|less| length.saturating_sub(*less).max(1));
            texts.collect()
        };
        let mut steps: Vec<Vec<usize>> = lengths.map(run).collect();
        steps.reverse();
        let new = Self {
            found: Arc::default(),
            steps: Mutex::new(steps),
        };
        new.end_if_done();
        new
    }

    /// Texts always run alone.
    pub(crate) fn never() -> Self {
        let new = Self::new(0, 0);
        new.settle(false);
        new
    }

    /// Whether texts may share a run.
    pub(crate) fn is_allowed(&self) -> bool {
        self.found.get() == Some(&true)
    }

    /// What was found, once it is: whether every bit was equal.
    pub(crate) fn found(&self) -> Arc<OnceLock<bool>> {
        self.found.clone()
    }

    fn settle(&self, equal: bool) {
        // The first verdict counts.
        let _ = self.found.set(equal);
    }

    fn end_if_done(&self) {
        let steps = self.steps.lock();
        // Without a single step nothing was seen.
        if self.found.get().is_none() && steps.is_ok_and(|steps| steps.is_empty()) {
            self.settle(false);
        }
    }

    /// Makes the next step, if there is one: `embed` runs texts together and gives the numbers of each.
    pub(crate) fn step<E>(
        &self,
        highest_id: u32,
        mut embed: impl FnMut(&[&Tokenized]) -> Result<Vec<Vec<f32>>, E>,
    ) {
        if self.found.get().is_some() {
            return;
        }
        // Only one session at a time; the others go on with their work.
        let Ok(mut steps) = self.steps.try_lock() else {
            return;
        };
        let Some(lengths) = steps.pop() else {
            return;
        };
        match same_in_company(&lengths, highest_id, &mut embed) {
            Ok(true) if steps.is_empty() => self.settle(true),
            Ok(true) => {}
            Ok(false) | Err(_) => self.settle(false),
        }
    }
}

fn same_in_company<E>(
    lengths: &[usize],
    highest_id: u32,
    embed: &mut impl FnMut(&[&Tokenized]) -> Result<Vec<Vec<f32>>, E>,
) -> Result<bool, E> {
    let texts: Vec<Tokenized> = lengths
        .iter()
        .enumerate()
        .map(|(row, length)| made_up(row, *length, highest_id))
        .collect();
    let together = embed(&texts.iter().collect::<Vec<_>>())?;
    let apart = texts.len().div_ceil(ALONE);
    for (text, vector) in texts.iter().zip(&together).step_by(apart) {
        let alone = embed(&[text])?;
        let bits = |vector: &[f32]| {
            vector
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<u32>>()
        };
        if alone.first().map(|alone| bits(alone)) != Some(bits(vector)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A text of made-up tokens.
fn made_up(row: usize, length: usize, highest_id: u32) -> Tokenized {
    let mut state = (row * 7919 + length) as u64;
    let ids = std::iter::repeat_with(|| {
        // Knuth's MMIX generator: any ids will do, as long as they are the same everywhere.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % (u64::from(highest_id) + 1)) as u32
    });
    Tokenized {
        ids: ids.take(length).collect(),
        types: vec![0; length],
        cut: false,
        skipped: 0,
        spans: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Embedded = Result<Vec<Vec<f32>>, ()>;

    fn try_out(company: &Company, embed: impl Fn(&[&Tokenized]) -> Embedded) -> Option<bool> {
        for _ in 0..20 {
            company.step(1000, &embed);
        }
        company.found().get().copied()
    }

    fn sum(text: &Tokenized) -> f32 {
        text.ids.iter().map(|id| *id as f32).sum()
    }

    #[test]
    fn one_other_bit_in_company_is_enough_to_run_alone() {
        let company = Company::new(256, 128);
        let equal = |texts: &[&Tokenized]| Ok(texts.iter().map(|text| vec![sum(text)]).collect());
        assert!(!company.is_allowed());
        assert_eq!(try_out(&company, equal), Some(true));
        assert!(company.is_allowed());
        let last_bit = |texts: &[&Tokenized]| {
            let other = texts.len() == 2;
            let vector = |text: &&Tokenized| {
                vec![if other {
                    sum(text).next_up()
                } else {
                    sum(text)
                }]
            };
            Ok(texts.iter().map(vector).collect())
        };
        assert_eq!(try_out(&Company::new(256, 128), last_bit), Some(false));
        assert_eq!(try_out(&Company::new(256, 128), |_| Err(())), Some(false));
    }

    #[test]
    fn what_cannot_be_tried_runs_alone() {
        for company in [Company::new(1, 128), Company::new(256, 3), Company::never()] {
            assert_eq!(company.found().get(), Some(&false));
        }
        assert_eq!(Company::new(256, 128).steps.lock().unwrap().len(), 7);
    }
}

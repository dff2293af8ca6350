//! Scoring with a memory: what is known is not computed again, and what another request computes is waited for.

use std::time::Instant;

use bytes::Bytes;
use tracing::field::Empty;
use tracing::{Instrument, info_span};

use super::{Scored, Scorer};
use crate::cache::{Arrival, JointLookUp, Landing, Lead, LookUp, Tiers, UnitKey, fits};
use crate::cost::{Decision, LookedUp};
use crate::error::ScoreError;
use crate::request::{CacheOutcome, CacheUse, Timings};
use crate::rows::Units;
use crate::signature::Arranged;
use crate::tensor::Tensor;

/// The units of a request with what is known of them so far.
pub(super) struct Recall {
    pub(super) units: Units,
    /// Where results are remembered.
    pub(super) tiers: Tiers,
    /// For each unit, its payload.
    pub(super) found: Vec<Option<Bytes>>,
    /// For each unit, whether this request computed it.
    pub(super) computed: Vec<bool>,
    pub(super) timings: Timings,
}

impl Recall {
    /// Nothing is known of them yet. `start` is when their keys began to be made.
    pub(super) fn nothing(units: Units, tiers: Tiers, start: Instant) -> Self {
        let count = units.keys.len();
        Self {
            units,
            tiers,
            found: vec![None; count],
            computed: vec![false; count],
            timings: Timings {
                cache: start.elapsed(),
                ..Timings::default()
            },
        }
    }

    pub(super) fn missing(&self) -> Vec<usize> {
        let units = 0..self.found.len();
        units.filter(|unit| self.found[*unit].is_none()).collect()
    }

    pub(super) fn outcome(&self) -> CacheOutcome {
        CacheOutcome::Asked {
            hits: self.units.count_rows(|unit| !self.computed[unit]),
            rows: self.units.rows(),
        }
    }
}

/// Missing units, by who computes them.
#[derive(Default)]
pub(super) struct Shares<'a> {
    /// Units others may wait for, and the way to tell them.
    pub(super) lead: Option<(Lead<'a>, Vec<usize>)>,
    /// Units to compute here.
    pub(super) mine: Vec<usize>,
    /// Units that another request computes.
    pub(super) others: Vec<(usize, Landing)>,
}

impl Scorer {
    /// Looks up units, as decided, and learns what that cost; those of a caller who wants a fresh result are not looked up.
    /// `start` is when their keys began to be made.
    pub(super) async fn recall(
        &self,
        cache: CacheUse,
        units: Units,
        tiers: Tiers,
        decision: &Decision,
        start: Instant,
        joint: Option<&JointLookUp>,
    ) -> Recall {
        if cache != CacheUse::Normal {
            return Recall::nothing(units, tiers, start);
        }
        let span = info_span!(
            "cache look-up",
            score.keys = units.keys.len(),
            score.near = Empty,
            score.found = Empty
        );
        let (outputs, is_row) = (&self.stored, !units.are_whole());
        let fits = |payload: &[u8]| fits(payload, outputs, is_row);
        let looking = self.cache.look_up(&units.keys, tiers, joint, fits);
        let answer = looking.instrument(span.clone()).await;
        if !span.is_disabled() {
            span.record(
                "score.near",
                answer.near.iter().filter(|near| **near).count(),
            );
            span.record("score.found", answer.found.iter().flatten().count());
        }
        drop(span);
        let mut recall = Recall::nothing(units, tiers, start);
        self.learn(decision, &recall, &answer);
        recall.found = answer.found;
        recall
    }

    fn learn(&self, decision: &Decision, recall: &Recall, answer: &LookUp) {
        let row = |row: usize| {
            let unit = recall.units.of_row(row);
            (answer.near[unit], answer.found[unit].is_some())
        };
        let remote = answer.remote.unwrap_or_default();
        let outcome = LookedUp {
            rows: recall.units.rows(),
            units: recall.units.keys.len(),
            near: answer.near.iter().filter(|near| **near).count(),
            found: answer.found.iter().flatten().count(),
            local: recall.timings.cache.saturating_sub(remote),
            remote: answer.remote,
            row: &row,
        };
        self.costs.looked_up(decision, &outcome);
    }

    /// Scores a request whose units are remembered. `sharing`: what others compute is waited for.
    pub(super) async fn score_units(
        &self,
        inputs: Arranged,
        mut recall: Recall,
        mut sharing: bool,
    ) -> Result<Scored, ScoreError> {
        let mut missing = recall.missing();
        while !missing.is_empty() {
            let shares = self.share(&mut recall, missing, sharing);
            if recall.units.are_whole() && !shares.mine.is_empty()
                || shares.mine.len() == recall.units.rows()
            {
                // All is new and no two rows are the same, or all are one unit: the run's outputs are the answer.
                return self.compute_all_new(inputs, recall, shares.lead).await;
            }
            if !shares.mine.is_empty() {
                let computed = self.compute_some(&inputs, &mut recall, &shares.mine).await;
                if !matches!(computed, Ok(true)) {
                    fail(shares.lead);
                    computed?;
                    return self.compute_together(inputs, recall).await;
                }
            }
            land(shares.lead, &recall.found);
            if !shares.others.is_empty() {
                sharing &= arrived(shares.others, &mut recall).await;
            }
            missing = recall.missing();
        }
        match recall.units.join(&self.stored, &recall.found) {
            Some(outputs) => Ok(Scored {
                outputs,
                cache: recall.outcome(),
                timings: recall.timings,
            }),
            None => self.compute_together(inputs, recall).await,
        }
    }

    /// Finds out which of the missing units another request is already computing.
    pub(super) fn share(
        &self,
        recall: &mut Recall,
        missing: Vec<usize>,
        sharing: bool,
    ) -> Shares<'_> {
        if !sharing {
            return Shares {
                mine: missing,
                ..Shares::default()
            };
        }
        let keys: Vec<UnitKey> = missing.iter().map(|u| recall.units.keys[*u]).collect();
        let (lead, landings) = self.cache.board(&keys);
        let mut shares = Shares::default();
        let mut led = Vec::with_capacity(missing.len());
        for (unit, landing) in missing.into_iter().zip(landings) {
            if let Some(landing) = landing {
                shares.others.push((unit, landing));
                continue;
            }
            led.push(unit);
            // It may have landed since it was looked up.
            recall.found[unit] = self.cache.at_hand(&recall.units.keys[unit]);
            if recall.found[unit].is_none() {
                shares.mine.push(unit);
            }
        }
        self.cache.stats().shared.inc_by(shares.others.len() as u64);
        shares.lead = Some((lead, led));
        shares
    }

    async fn compute_all_new(
        &self,
        inputs: Arranged,
        mut recall: Recall,
        lead: Option<(Lead<'_>, Vec<usize>)>,
    ) -> Result<Scored, ScoreError> {
        let ran = match self.run(inputs, recall.units.rows()).await {
            Ok(ran) => ran,
            Err(error) => {
                fail(lead);
                return Err(error);
            }
        };
        let all: Vec<usize> = (0..recall.found.len()).collect();
        self.remember(&mut recall, &all, &ran.outputs);
        land(lead, &recall.found);
        Ok(Scored {
            cache: recall.outcome(),
            timings: recall.timings.and(&ran),
            outputs: ran.outputs,
        })
    }

    /// Computes the given units; `false` if the outputs cannot be told apart.
    async fn compute_some(
        &self,
        inputs: &Arranged,
        recall: &mut Recall,
        wanted: &[usize],
    ) -> Result<bool, ScoreError> {
        let some = recall.units.take(inputs, wanted);
        let ran = self.run(some, wanted.len()).await?;
        recall.timings = recall.timings.and(&ran);
        Ok(self.remember(recall, wanted, &ran.outputs))
    }

    /// For parts that do not fit each other: the whole request in one run.
    async fn compute_together(
        &self,
        inputs: Arranged,
        mut recall: Recall,
    ) -> Result<Scored, ScoreError> {
        self.stats.recomputed.inc();
        let ran = self.run(inputs, recall.units.rows()).await?;
        recall.computed.fill(true);
        if recall.units.are_whole() {
            self.remember(&mut recall, &[0], &ran.outputs);
        }
        Ok(Scored {
            cache: recall.outcome(),
            timings: recall.timings.and(&ran),
            outputs: ran.outputs,
        })
    }

    /// Remembers what a run gave for the given units; `false` if the outputs cannot be told apart.
    fn remember(&self, recall: &mut Recall, computed: &[usize], outputs: &[Tensor]) -> bool {
        for unit in computed {
            recall.computed[*unit] = true;
        }
        let start = Instant::now();
        let Some(payloads) = recall.units.payloads(outputs, computed.len()) else {
            return false;
        };
        let mut entries = Vec::with_capacity(computed.len());
        for (unit, payload) in computed.iter().zip(payloads) {
            entries.push((recall.units.keys[*unit], payload.clone()));
            recall.found[*unit] = Some(payload);
        }
        let ttl = self.metadata.options.ttl;
        self.cache.remember(entries, ttl, recall.tiers);
        self.costs.stored(computed.len(), start.elapsed());
        true
    }
}

pub(super) fn land(lead: Option<(Lead<'_>, Vec<usize>)>, found: &[Option<Bytes>]) {
    if let Some((lead, units)) = lead {
        lead.land(units.iter().map(|unit| found[*unit].clone()));
    }
}

pub(super) fn fail(lead: Option<(Lead<'_>, Vec<usize>)>) {
    if let Some((lead, _)) = lead {
        lead.fail();
    }
}

/// Waits for what others compute. `false` if one of them failed: what is still missing is then computed without waiting
/// for anybody else.
pub(super) async fn arrived(others: Vec<(usize, Landing)>, recall: &mut Recall) -> bool {
    let start = Instant::now();
    let mut all_well = true;
    let waiting = async {
        for (unit, landing) in others {
            match landing.arrival().await {
                Arrival::Payload(payload) => recall.found[unit] = Some(payload),
                Arrival::Abandoned => {}
                Arrival::Failed => all_well = false,
            }
        }
    };
    waiting.instrument(info_span!("shared wait")).await;
    recall.timings.queue += start.elapsed();
    all_well
}

//! Units in work: what one request computes, others wait for instead of computing it too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use super::key::MemoKey;

/// The units that are being computed anywhere in this process.
#[derive(Debug, Default)]
pub(super) struct Flights {
    flying: Mutex<HashMap<MemoKey, Landing>>,
}

/// How a flight ended.
#[derive(Debug, Clone)]
enum Outcome {
    /// The payloads of its units, in their order; `None` for one that has none.
    Landed(Arc<[Option<Bytes>]>),
    /// There are none, and the next one to try would probably not have any either.
    Failed,
}

/// What a request that joined an in-flight computation gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The unit's payload.
    Payload(Bytes),
    /// The leader failed: compute the unit without joining another computation.
    Failed,
    /// The leader was cancelled: another request has to become the leader.
    Abandoned,
}

/// A unit that another request is computing.
#[derive(Debug, Clone)]
pub(crate) struct Landing {
    outcome: watch::Receiver<Option<Outcome>>,
    position: usize,
}

impl Landing {
    /// Waits for the unit. The caller limits the time.
    pub(crate) async fn arrival(mut self) -> Arrival {
        let outcome = match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(Outcome::Landed(payloads)) => match payloads.get(self.position) {
                Some(Some(payload)) => Arrival::Payload(payload.clone()),
                _ => Arrival::Failed,
            },
            Some(Outcome::Failed) => Arrival::Failed,
            None => Arrival::Abandoned,
        }
    }
}

/// The duty to compute some units. Others wait for them until this is dropped.
#[derive(Debug)]
pub(crate) struct Lead<'a> {
    flights: &'a Flights,
    keys: Vec<MemoKey>,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Lead<'_> {
    /// Hands the payloads, in the order of the keys, to all joined requests. The payloads must have been stored before:
    /// from here on this computation cannot be joined any more.
    pub(crate) fn land(mut self, payloads: impl Iterator<Item = Option<Bytes>>) {
        self.clear();
        if self.outcome.receiver_count() > 0 {
            self.outcome
                .send_replace(Some(Outcome::Landed(payloads.collect())));
        }
    }

    /// Tells all who wait that there will be no result.
    pub(crate) fn fail(mut self) {
        self.clear();
        self.outcome.send_replace(Some(Outcome::Failed));
    }

    fn clear(&mut self) {
        if self.keys.is_empty() {
            return;
        }
        let mut flying = self.flights.lock();
        for key in self.keys.drain(..) {
            flying.remove(&key);
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Before the sender is dropped: a request that notices the drop must find the keys free.
        self.clear();
    }
}

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<MemoKey, Landing>> {
        self.flying.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Becomes the leader of those of `keys`, all different, that are not being computed. For each key, in order: `None` if
    /// the caller computes it now, else where its result will arrive.
    pub(super) fn board(&self, keys: &[MemoKey]) -> (Lead<'_>, Vec<Option<Landing>>) {
        let (outcome, receiver) = watch::channel(None);
        let mut mine = Vec::new();
        let mut flying = self.lock();
        let landings = keys.iter().map(|key| match flying.entry(*key) {
            Entry::Occupied(taken) => Some(taken.get().clone()),
            Entry::Vacant(free) => {
                free.insert(Landing {
                    outcome: receiver.clone(),
                    position: mine.len(),
                });
                mine.push(*key);
                None
            }
        });
        let landings = landings.collect();
        drop(flying);
        let lead = Lead {
            flights: self,
            keys: mine,
            outcome,
        };
        (lead, landings)
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::{KeyMaker, ModelDigest};
    use super::*;
    use crate::tensor::{Tensor, TensorData};

    fn keys(rows: &[u8]) -> Vec<MemoKey> {
        let inputs = [Tensor::new(vec![rows.len()], TensorData::Uint8(rows.to_vec())).unwrap()];
        let model = ModelDigest::new(&blake3::hash(b"m"), "1");
        KeyMaker::for_rows(model, &inputs).rows(&inputs, rows.len())
    }

    fn landing(landings: Vec<Option<Landing>>, position: usize) -> Landing {
        landings.into_iter().nth(position).flatten().unwrap()
    }

    #[tokio::test]
    async fn whoever_comes_later_gets_what_the_first_one_computed() {
        let flights = Flights::default();
        let (first, mine) = flights.board(&keys(&[1, 2]));
        assert!(mine.iter().all(Option::is_none));
        let (second, landings) = flights.board(&keys(&[3, 2]));
        assert!(landings[0].is_none());
        let waiting = tokio::spawn(landing(landings, 1).arrival());
        first.land(["one", "two"].map(|text| Some(text.into())).into_iter());
        assert_eq!(waiting.await.unwrap(), Arrival::Payload("two".into()));
        second.land([None].into_iter());
        assert!(flights.lock().is_empty());
    }

    #[tokio::test]
    async fn nobody_is_stranded_by_a_leader_that_fails_or_goes() {
        let flights = Flights::default();
        let (first, _) = flights.board(&keys(&[1]));
        let (_, landings) = flights.board(&keys(&[1]));
        first.fail();
        assert_eq!(landing(landings, 0).arrival().await, Arrival::Failed);

        let (second, _) = flights.board(&keys(&[1]));
        let (_, landings) = flights.board(&keys(&[1]));
        drop(second);
        assert_eq!(landing(landings, 0).arrival().await, Arrival::Abandoned);
        let (_third, landings) = flights.board(&keys(&[1]));
        assert!(landings[0].is_none(), "another request becomes the leader");
    }
}

//! In-flight computations: requests join the computation of a unit that another request has begun.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::key::UnitKey;

/// The units that are being computed anywhere in this process.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// Locked while the keys of one request are looked up or removed, never across an await.
    flying: Mutex<HashMap<UnitKey, Landing>>,
}

/// How a flight ended.
#[derive(Debug, Clone)]
enum Outcome {
    /// The payloads of its units, in their order; `None` for one that has none.
    Landed(Arc<[Option<Bytes>]>),
    /// There are none, and the next one to try would probably not have any either.
    Failed,
}

/// What a request that waits for a unit gets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The unit's payload.
    Payload(Bytes),
    /// The request that computed it failed: compute it without waiting for another one.
    Failed,
    /// The request that computed it was dropped: another one has to take the lead.
    Abandoned,
}

/// A unit that another request computes.
#[derive(Debug, Clone)]
pub(crate) struct Landing {
    outcome: watch::Receiver<Option<Outcome>>,
    position: usize,
}

impl Landing {
    /// Waits for the unit. The caller bounds the time.
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
    keys: Vec<UnitKey>,
    outcome: watch::Sender<Option<Outcome>>,
}

impl Lead<'_> {
    /// Hands the payloads, in the order of the keys, to all who wait. They must have been remembered before: from here
    /// on no request finds this flight.
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
        let mut flying = self.flights.flying.lock();
        for key in self.keys.drain(..) {
            flying.remove(&key);
        }
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        // Before the sender goes: a request that hears of that must find the keys free.
        self.clear();
    }
}

impl Flights {
    /// Takes the lead for those of `keys`, all different, that no request computes. For each key, in order: `None` if it is
    /// the caller's now, else where it will land.
    pub(super) fn board(&self, keys: &[UnitKey]) -> (Lead<'_>, Vec<Option<Landing>>) {
        let (outcome, receiver) = watch::channel(None);
        let mut mine = Vec::new();
        let mut flying = self.flying.lock();
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

    fn keys(rows: &[u8]) -> Vec<UnitKey> {
        let inputs = [Tensor::new(vec![rows.len()], TensorData::Uint8(rows.to_vec())).unwrap()];
        let model = ModelDigest::new(&blake3::hash(b"m"), "1");
        KeyMaker::for_rows(model, &inputs).rows(&inputs, rows.len())
    }

    fn landing(landings: Vec<Option<Landing>>, position: usize) -> Landing {
        landings.into_iter().nth(position).flatten().unwrap()
    }

    #[tokio::test]
    async fn later_requests_get_what_the_first_one_computed() {
        let flights = Flights::default();
        let (first, mine) = flights.board(&keys(&[1, 2]));
        assert!(mine.iter().all(Option::is_none));
        let (second, landings) = flights.board(&keys(&[3, 2]));
        assert!(landings[0].is_none());
        let waiting = tokio::spawn(landing(landings, 1).arrival());
        first.land(["one", "two"].map(|text| Some(text.into())).into_iter());
        assert_eq!(waiting.await.unwrap(), Arrival::Payload("two".into()));
        second.land([None].into_iter());
        assert!(flights.flying.lock().is_empty());
    }

    #[tokio::test]
    async fn no_request_is_stranded_by_a_leader_that_fails_or_goes() {
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
        assert!(landings[0].is_none(), "another request takes the lead");
    }
}

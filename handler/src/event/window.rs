//! How many messages of a batch are in work at once.
//!
//! As many as make full runs, as long as their bodies fit: what one body may take, all in work may take together. Their
//! look-ups leave together too. Where the model is slow, fewer: no run may last so long that the time for the batch ends
//! before any of its results are there.

use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{Instrument, debug, warn};

use super::delivery::Delivery;
use super::payloads::Payload;
use super::{Answered, Held, Outcome, Settled, Work};
use crate::blocking;
use crate::problem::Problem;
use crate::scoring;

/// Messages in work while it is not known what their model costs.
const FIRST_WINDOW: usize = 4;
/// The least that fast models get.
const MIN_WINDOW: usize = 32;
/// Between two warnings of the same kind.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// When it was last said that batches take too long. The lock makes one of several batches say it.
#[derive(Debug, Default)]
pub(crate) struct Warned(Mutex<Option<Instant>>);

impl Warned {
    fn may_again(&self) -> bool {
        let mut last = self.0.lock();
        let now = Instant::now();
        let may = last.is_none_or(|last| now - last >= WARNING_PAUSE);
        if may {
            *last = Some(now);
        }
        may
    }
}

/// What the messages of a batch cost that their model was run for.
#[derive(Debug, Default)]
struct Measured {
    computed: u32,
    /// Until the last of them was there.
    took: Duration,
}

/// How far a batch is.
struct Progress {
    start: Instant,
    /// Bytes of the messages that have no result yet.
    left: usize,
    /// Bytes of those that are in work.
    in_work: usize,
    outcomes: Vec<Option<Outcome>>,
    measured: Measured,
}

impl Progress {
    fn new(messages: usize, bytes: usize) -> Self {
        let mut outcomes = Vec::new();
        outcomes.resize_with(messages, || None);
        Self {
            start: Instant::now(),
            left: bytes,
            in_work: 0,
            outcomes,
            measured: Measured::default(),
        }
    }

    /// A message of so many bytes has come to its end.
    fn end(&mut self, index: usize, bytes: usize, outcome: Outcome) {
        self.in_work -= bytes;
        // What is refused takes its body along.
        if let (_, Ok(Settled::Scored(_))) = &outcome {
            self.left -= bytes;
        }
        if outcome.0.computed {
            self.measured.computed += 1;
            self.measured.took = self.start.elapsed();
        }
        if let Some(settled) = self.outcomes.get_mut(index) {
            *settled = Some(outcome);
        }
    }
}

impl Work<'_> {
    /// Scores or refuses all messages of a call, and answers it.
    pub(super) async fn settle_all(
        &self,
        items: Vec<(Delivery, Payload)>,
        bytes: usize,
        mut held: Held,
    ) -> Result<Answered, Problem> {
        let settings = &self.events.settings;
        let time = match self.trigger.many {
            true => settings.message_batch_timeout,
            false => settings.message_timeout,
        };
        let (count, deadline) = (items.len(), held.since + time);
        let mut progress = Progress::new(count, bytes);
        let mut waiting = items.into_iter().enumerate().peekable();
        let mut running = FuturesUnordered::new();
        let mut last_window = 0;
        loop {
            let window = waiting
                .peek()
                .map_or(0, |(_, (delivery, _))| self.window(delivery, deadline));
            if self.trigger.many && window > 0 && window != last_window {
                debug!(
                    id = self.host.id,
                    messages = count,
                    window,
                    "messages in work at once"
                );
                last_window = window;
            }
            let fits = |running: usize, in_work: usize, bytes: usize| {
                running == 0 || running < window && in_work + bytes <= settings.max_body_bytes
            };
            while let Some((place, (delivery, payload))) = waiting
                .next_if(|(_, (_, payload))| fits(running.len(), progress.in_work, payload.len()))
            {
                let (span, bytes) = (self.span_of_one(&delivery), payload.len());
                progress.in_work += bytes;
                let index = self.trigger.many.then_some(place);
                let settling = self.settle(index, delivery, payload, deadline);
                let settling = settling.instrument(span);
                running.push(settling.map(move |outcome| (place, bytes, outcome)));
            }
            let Some((place, bytes, outcome)) = running.next().await else {
                break;
            };
            progress.end(place, bytes, outcome);
            if let Some(room) = &mut held.room {
                room.shrink(progress.left);
            }
        }
        if self.trigger.many {
            self.warn_of_slowness(&progress.measured, count, time);
        }
        let outcomes = progress.outcomes.into_iter().flatten().collect();
        blocking::apart(bytes, || self.finish(outcomes))
    }

    /// How many messages may be in work now, as far as the model of the next one is known.
    fn window(&self, next: &Delivery, deadline: Instant) -> usize {
        let settings = &self.events.settings;
        // Half of the permits stay for requests.
        let full = (2 * settings.max_batch_rows)
            .min(settings.max_requests / 2)
            .max(MIN_WINDOW);
        let models = self.admission.models.now().ok();
        let scorer = models
            .as_ref()
            .and_then(|models| models.get(next.model.as_deref()).ok());
        let Some(row) = scorer.map(|scorer| scorer.costs().row) else {
            return full;
        };
        let Some(row) = row else {
            return FIRST_WINDOW;
        };
        let time = deadline.saturating_duration_since(Instant::now());
        let slowest = time.as_secs_f64() / 2.0 / row.max(1e-9);
        (slowest as usize).clamp(1, full)
    }

    /// Says what to change where a batch cannot be done in time.
    fn warn_of_slowness(&self, measured: &Measured, count: usize, time: Duration) {
        if measured.computed == 0 {
            return;
        }
        let each = measured.took / measured.computed;
        let all = each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
        if all <= time || !self.events.warned.may_again() {
            return;
        }
        let fits = (time.as_secs_f64() / each.as_secs_f64()) as usize;
        warn!(
            id = self.host.id,
            function = self.host.function,
            messages = count,
            ms_each = scoring::millis(each),
            "a batch takes longer than SCORE_MESSAGE_BATCH_TIMEOUT ({time:?}) and is delivered several times: set \
             \"cardinality\": \"one\" in {}/function.json, or a maxMessageBatchSize of {} or less in host.json",
            self.host.function,
            fits.max(1)
        );
    }

    /// Keeps what was computed for the next delivery of a batch that fails.
    pub(super) fn keep(&self, outcomes: Vec<Outcome>) -> Vec<Outcome> {
        let keep = |(about, settled): Outcome| match (about.kept_as, settled) {
            (Some(key), Ok(Settled::Scored(document))) => {
                self.events.kept.put(key, document);
                (about, Ok(Settled::Scored(String::new())))
            }
            (_, settled) => (about, settled),
        };
        outcomes.into_iter().map(keep).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn warnings_come_once_a_minute() {
        let warned = Warned::default();
        assert!(warned.may_again() && !warned.may_again());
        tokio::time::advance(WARNING_PAUSE).await;
        assert!(warned.may_again() && !warned.may_again());
    }
}

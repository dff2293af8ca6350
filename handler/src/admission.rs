//! The one way to a model, for requests and messages alike.
//!
//! A [`Visit`] begins with what asks for a model. It finds the model, takes a permit and has the body scored; at its end it
//! tells the model's times, the current span and the metrics how that went. Nothing else takes permits.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use score::{Backoff, Scorer};
use tokio::sync::SemaphorePermit;
use tokio::time::{sleep, timeout_at};
use tracing::{Span, debug, error};
use wire::text_api::{Take, TextRequest, Write};

use crate::counters::Counters;
use crate::limits::{Charge, Decoding, Given, Permits};
use crate::models::{Models, NoModel, Registry, Wanted};
use crate::problem::Problem;
use crate::scoring::{self, Call, Scored, Settings};

/// What all requests and messages share on their way to a model.
pub(crate) struct Admission {
    pub(crate) models: Registry,
    pub(crate) permits: Permits,
    pub(crate) decoding: Decoding,
    pub(crate) counters: Counters,
    pub(crate) scoring: Settings,
}

/// What happens to work for which no permit is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// It is refused at once: its caller reads that, and may try again.
    Refuse,
    /// It waits: the host would bring it back at once, and give up after a few deliveries.
    Wait,
}

/// One request or message: what asks for it, which model answers, and since when.
pub(crate) struct Visit<'a> {
    admission: &'a Admission,
    /// The name of its function, for metrics.
    function: &'a str,
    /// `None` for a request that is not to be scored.
    wanted: Option<Wanted<'a>>,
    since: Instant,
    found: Option<Found>,
}

/// The model that answers, and the models that it is one of.
struct Found {
    models: Arc<Models>,
    scorer: Arc<Scorer>,
}

impl Found {
    fn new(models: Arc<Models>, wanted: Option<Wanted<'_>>) -> Result<Self, NoModel> {
        let scorer = models.find(wanted.unwrap_or_default())?.clone();
        Ok(Self { models, scorer })
    }
}

/// The pauses between two attempts.
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));

impl<'a> Visit<'a> {
    /// Of a function; what came at `since`.
    pub(crate) fn new(
        admission: &'a Admission,
        function: &'a str,
        wanted: Option<Wanted<'a>>,
        since: Instant,
    ) -> Self {
        Self {
            admission,
            function,
            wanted,
            since,
            found: None,
        }
    }

    /// Finds the model if models are loaded, so that one that is not there is told before the body is sent for. While models
    /// load, the body comes first.
    ///
    /// # Errors
    /// If models are loaded, and this one is not among them.
    pub(crate) fn find_early(&mut self) -> Result<(), NoModel> {
        if let Ok(models) = self.admission.models.now() {
            self.found = Some(Found::new(models, self.wanted)?);
        }
        Ok(())
    }

    /// Scores the body, with a permit that is held until then.
    ///
    /// # Errors
    /// [`Problem`] says whether the body, the load or this program is at fault.
    pub(crate) async fn score(
        &mut self,
        when_full: WhenFull,
        call: Call<'_>,
        body: Given<'_>,
    ) -> Result<Scored, Problem> {
        let Admission {
            scoring: settings,
            decoding,
            ..
        } = self.admission;
        let (_permit, found) = self.admit(when_full, call).await?;
        let features = found.models.features();
        scoring::score((settings, decoding), features, &found.scorer, call, body).await
    }

    /// Reads the body of a request for texts, and the memory that it takes.
    ///
    /// # Errors
    /// [`Problem`] says what is wrong with the body.
    pub(crate) async fn read_texts(
        &self,
        take: &'static Take,
        call: Call<'_>,
        body: Given<'_>,
    ) -> Result<(TextRequest, Charge), Problem> {
        let Admission {
            scoring: settings,
            decoding,
            ..
        } = self.admission;
        scoring::read_texts((settings, decoding), take, call, body).await
    }

    /// Finds the model that the path names, else the body, if it is for what the route makes of texts, and how that is
    /// written; without a name the usual one ([`Models::for_tasks`]).
    ///
    /// # Errors
    /// If there is no such model, or it is for another task.
    pub(crate) async fn find_texts(
        &mut self,
        take: &'static Take,
        (in_path, in_body): (Option<&str>, Option<&str>),
    ) -> Result<(Arc<Scorer>, &'static Write), Problem> {
        let models = self.admission.models.when_loaded().await?;
        let in_body = in_body.filter(|name| take.names_model || models.has(name));
        let scorer = models
            .for_tasks(in_path.or(in_body), &take.tasks())?
            .clone();
        let text = scorer.metadata().text.as_ref();
        let write = text.and_then(|text| take.write_for(text.task));
        self.found = Some(Found {
            models,
            scorer: scorer.clone(),
        });
        Ok((scorer, write.ok_or_else(Problem::internal)?))
    }

    /// A permit to work with a model that [`Visit::find_texts`] has found.
    ///
    /// # Errors
    /// If no permit is free.
    pub(crate) async fn permit(&mut self, call: Call<'_>) -> Result<SemaphorePermit<'a>, Problem> {
        let admitted = self.admit(WhenFull::Refuse, call).await;
        admitted.map(|(permit, _)| permit)
    }

    /// As [`Visit::score`], tried again until the deadline as long as trying again may help.
    ///
    /// # Errors
    /// As [`Visit::score`].
    pub(crate) async fn score_until(
        &mut self,
        deadline: tokio::time::Instant,
        call: Call<'_>,
        body: &Bytes,
    ) -> Result<Scored, Problem> {
        let mut pauses = PAUSES;
        loop {
            let attempt = timeout_at(
                deadline,
                self.score(WhenFull::Wait, call, Given::Shared(body.clone())),
            );
            let problem = match attempt.await {
                Ok(Err(problem)) if problem.is_temporary() => problem,
                Ok(outcome) => return outcome,
                Err(_) => return Err(Problem::busy("the message was not scored in time")),
            };
            let now = tokio::time::Instant::now();
            let next = now + pauses.next_pause_spread(0.5);
            if next >= deadline {
                return Err(problem);
            }
            let (id, index, code) = (call.id, call.index, problem.code.as_str());
            debug!(
                id,
                index,
                code,
                pause_ms = scoring::millis(next - now),
                "tried again after a pause"
            );
            sleep(next - now).await;
        }
    }

    /// A permit and the model. What is refused where no permit is free waits for models with its permit, so that their
    /// number is bounded while models load; what waits for a permit waits for models first, so that it takes none from those
    /// that could use it.
    async fn admit(
        &mut self,
        when_full: WhenFull,
        call: Call<'_>,
    ) -> Result<(SemaphorePermit<'a>, &Found), Problem> {
        let Admission {
            models, permits, ..
        } = self.admission;
        let (id, index) = (call.id, call.index);
        let free = match when_full {
            WhenFull::Refuse => Some(permits.take_free().inspect_err(|_| {
                debug!(id, in_use = permits.in_use(), "no permit is free");
            })?),
            WhenFull::Wait => None,
        };
        let found = match self.found.take() {
            Some(found) => found,
            None => Found::new(models.when_loaded().await?, self.wanted)?,
        };
        let found = self.found.insert(found);
        let permit = match free {
            Some(permit) => permit,
            None => match permits.take_free() {
                Ok(permit) => permit,
                Err(_) => {
                    debug!(id, index, "waits for a permit");
                    permits.take().await?
                }
            },
        };
        Ok((permit, found))
    }

    /// The end of what was to be scored. Not for a request whose client went away: none of its times is one of the model's.
    pub(crate) fn end<T>(&mut self, outcome: &Result<T, Problem>) {
        if let Err(problem) = outcome {
            Span::current().record("error.type", problem.code.as_str());
        }
        // What was refused before the model was looked up counts as the model's too.
        if self.found.is_none() && self.wanted.is_some() {
            let models = self.admission.models.now();
            self.found = models
                .and_then(|models| Found::new(models, self.wanted))
                .ok();
        }
        if let Some(found) = &self.found {
            let (stats, took) = (found.scorer.stats(), self.took());
            stats.requests.observe(took);
            if outcome.is_err() {
                stats.refused.observe(took);
            }
        }
    }

    /// Counts it, once its status is known.
    pub(crate) fn count(&self, status: u16) {
        let Admission { counters, .. } = self.admission;
        counters.count(self.function, self.model(), status);
    }

    /// The name of the model that answers, if that is known.
    pub(crate) fn model(&self) -> Option<&str> {
        let found = self.found.as_ref();
        found.map(|found| found.scorer.metadata().name.as_str())
    }

    /// When it came.
    pub(crate) fn since(&self) -> Instant {
        self.since
    }

    /// How long it has been in work.
    pub(crate) fn took(&self) -> Duration {
        self.since.elapsed()
    }
}

/// A panic is the failure of one request or message, like any other fault of ours: it is answered, counted and traced.
///
/// No `async fn`: that would hold `work` twice, and the future of every request is copied whole.
pub(crate) fn caught<T>(
    id: &str,
    work: impl Future<Output = Result<T, Problem>>,
) -> impl Future<Output = Result<T, Problem>> {
    let work = AssertUnwindSafe(work).catch_unwind();
    work.map(move |outcome| {
        outcome.unwrap_or_else(|_| {
            error!(id, "scoring panicked");
            Err(Problem::internal())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_fault_of_one_request_or_message() {
        let outcome = caught::<()>("i", async { panic!("injected") }).await;
        assert!(outcome.unwrap_err().is_internal());
        assert_eq!(caught("i", async { Ok(7) }).await.unwrap(), 7);
    }
}

//! One message or blob: its result, its refusal, or why its call fails.

use std::time::Duration;

use score::{Backoff, CacheOutcome, CacheUse};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::Span;
use wire::Declared;

use super::delivery::Delivery;
use super::payloads::Payload;
use super::{About, Outcome, Settled, Work, documents, kept};
use crate::problem::Problem;
use crate::protocol::Source;
use crate::scoring::{self, Call};

/// From this time on, a message of a batch has taken longer than it takes to keep its result.
const WORTH_KEEPING: Duration = Duration::from_millis(20);
const PAUSES: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));

/// A scored body, or one that was scored before.
struct Document {
    text: String,
    /// Whether the model was run for it now.
    computed: bool,
    /// Whether it was kept from an earlier delivery.
    recalled: bool,
}

impl Work<'_> {
    /// Scores or refuses one message or blob.
    pub(super) async fn settle(
        &self,
        index: Option<usize>,
        mut delivery: Delivery,
        payload: Payload,
        deadline: Instant,
    ) -> Outcome {
        let start = Instant::now();
        if delivery.origin.parent.is_none() {
            delivery.origin = self.host.origin.clone();
        }
        let mut kept_as = None;
        let (body, outcome) = match payload {
            Payload::Bytes(body) => {
                let scoring = self.recall_or_score(index, &delivery, &body, (start, deadline));
                let outcome = scoring::caught(self.host.id, scoring).await;
                // If this delivery fails too, it is kept again.
                let again = outcome.as_ref().is_ok_and(|document| document.recalled);
                let slow = outcome.is_ok() && start.elapsed() >= WORTH_KEEPING;
                if index.is_some() && (again || slow) {
                    kept_as = Some(self.key(&delivery, &body));
                }
                (Some(body), outcome)
            }
            Payload::NotBase64(text) => {
                let problem = Problem::bad_request("the body is not base64, as its binding says");
                (Some(text.into_bytes()), Err(problem))
            }
            Payload::Cut => (
                None,
                Err(Problem::too_large(self.app.config().max_body_bytes)),
            ),
        };
        let took = start.elapsed();
        let found = self.found(&delivery);
        if let Some((_, times)) = &found {
            times.observe(took);
        }
        let span = Span::current();
        if let Err(problem) = &outcome {
            span.record("error.type", problem.code);
            if problem.is_temporary() || problem.is_internal() {
                span.record("otel.status_code", "ERROR");
            }
        }
        let about = About {
            index,
            model: found.map(|(model, _)| model),
            ms: scoring::millis(took),
            computed: outcome.as_ref().is_ok_and(|document| document.computed),
            kept_as,
        };
        let outcome = outcome.map(|document| document.text);
        (about, self.settled(&delivery, body.as_deref(), outcome))
    }

    fn key(&self, delivery: &Delivery, body: &[u8]) -> kept::Key {
        scoring::apart(body.len(), || kept::key(self.host.function, delivery, body))
    }

    /// The result of an earlier delivery, whose batch failed, or a new one.
    async fn recall_or_score(
        &self,
        index: Option<usize>,
        delivery: &Delivery,
        body: &[u8],
        times: (Instant, Instant),
    ) -> Result<Document, Problem> {
        if index.is_some() && !self.app.kept.is_empty() {
            let kept = self.app.kept.take(&self.key(delivery, body));
            if let Some(text) = kept {
                return Ok(Document {
                    text,
                    computed: false,
                    recalled: true,
                });
            }
        }
        self.score(index, delivery, body, times).await
    }

    /// Whether it has a result, a refusal, or fails with its call.
    fn settled(
        &self,
        delivery: &Delivery,
        body: Option<&[u8]>,
        outcome: Result<String, Problem>,
    ) -> Result<Settled, Problem> {
        let span = Span::current();
        match outcome {
            Ok(document) => {
                span.record("score.outcome", "scored");
                Ok(Settled::Scored(document))
            }
            // What goes wrong every time must not take the rest of its batch to the dead letters with it.
            Err(problem)
                if problem.is_temporary()
                    && !(self.trigger.many && delivery.is_late(problem.is_for_time())) =>
            {
                Err(problem)
            }
            // Alone, it fails alone; others of its batch must not fail with it.
            Err(problem) if problem.is_internal() && !self.trigger.many => Err(problem),
            Err(problem) => {
                // It stays where it is, so that a copy would only take room.
                let limit = self.app.config().max_body_bytes;
                let is_blob = self.trigger.source == Source::Blob;
                let body = body.filter(|body| !is_blob || body.len() <= limit);
                self.reject(delivery, problem, body)
            }
        }
    }

    /// Scores one body. Waits for what may heal as long as there is time.
    async fn score(
        &self,
        index: Option<usize>,
        delivery: &Delivery,
        body: &[u8],
        (since, deadline): (Instant, Instant),
    ) -> Result<Document, Problem> {
        let limit = self.app.config().max_body_bytes;
        if body.len() > limit {
            return Err(Problem::too_large(limit));
        }
        let mut pauses = PAUSES;
        loop {
            let attempt = timeout_at(deadline, self.score_once(index, delivery, body, since));
            let problem = match attempt.await {
                Ok(Err(problem)) if problem.is_temporary() => problem,
                Ok(outcome) => return outcome,
                Err(_) => return Err(Problem::busy("the message was not scored in time")),
            };
            let next = Instant::now() + pauses.next_pause_spread(0.5);
            if next >= deadline {
                return Err(problem);
            }
            sleep(next - Instant::now()).await;
        }
    }

    async fn score_once(
        &self,
        index: Option<usize>,
        delivery: &Delivery,
        body: &[u8],
        since: Instant,
    ) -> Result<Document, Problem> {
        let models = self.app.models_when_loaded().await?;
        let scorer = models.get(delivery.model.as_deref())?;
        let place = self.app.places.acquire().await;
        let _place = place.map_err(|_| Problem::internal())?;
        let call = Call {
            id: self.host.id,
            index,
            since: since.into_std(),
            declared: Declared {
                content_type: delivery.content_type.as_deref(),
                wrapped: true,
                ..Declared::default()
            },
            accept: None,
            cache: CacheUse::Normal,
            json_only: true,
            joint: self.joint.as_ref(),
        };
        let scored = scoring::score(self.app, &models, scorer, call, body).await?;
        let model = &scorer.metadata().name;
        let text = documents::result(delivery, model, &scored).map_err(|_| Problem::internal())?;
        let computed = match scored.cache {
            CacheOutcome::Asked { hits, rows } => hits < rows,
            CacheOutcome::Bypass => true,
        };
        Ok(Document {
            text,
            computed,
            recalled: false,
        })
    }

    pub(super) fn reject(
        &self,
        delivery: &Delivery,
        problem: Problem,
        body: Option<&[u8]>,
    ) -> Result<Settled, Problem> {
        if self.trigger.rejected.is_none() || self.app.config().fail_invalid {
            return Err(problem);
        }
        let document = scoring::apart(body.map_or(0, <[u8]>::len), || {
            documents::rejected(delivery, &problem, body)
        });
        let document = document.map_err(|_| Problem::internal())?;
        Span::current().record("score.outcome", "rejected");
        // Without the message and the place: they may quote the body.
        let id = delivery.id.as_deref().unwrap_or("without id");
        let line = format!("rejected {id:?}: {}", problem.code);
        Ok(Settled::Rejected {
            document,
            line,
            status: problem.status,
        })
    }
}

//! One message or blob: its result, its refusal, or why its call fails.

use std::time::Duration;

use bytes::Bytes;
use score::{CacheOutcome, CacheUse};
use tokio::time::Instant;
use tracing::{Span, debug};
use wire::Declared;

use super::delivery::Delivery;
use super::payloads::Payload;
use super::{About, COPIES, Outcome, Settled, Work, documents, kept};
use crate::admission::{Visit, caught};
use crate::blocking;
use crate::limits::Charge;
use crate::models::Wanted;
use crate::problem::Problem;
use crate::protocol::Source;
use crate::scoring::{self, Call};

/// From this time on, a message of a batch has taken longer than it takes to keep its result.
const WORTH_KEEPING: Duration = Duration::from_millis(20);

/// A scored body, or one that was scored before.
struct Document {
    text: String,
    /// Whether the model was run for it now.
    computed: bool,
    /// Whether it was kept from an earlier delivery.
    recalled: bool,
    held: Charge,
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
        let mut visit = self.visit(&delivery, start);
        let mut kept_as = None;
        let (body, outcome) = match payload {
            Payload::Bytes(body) => {
                let scoring = self.recall_or_score(&mut visit, index, &delivery, &body, deadline);
                let outcome = caught(self.host.id, scoring).await;
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
                (Some(text.into_bytes().into()), Err(problem))
            }
            Payload::Cut => {
                let problem = Problem::too_large(self.events.settings.max_body_bytes);
                (None, Err(problem))
            }
        };
        visit.end(&outcome);
        if let Err(problem) = &outcome
            && (problem.is_temporary() || problem.is_internal())
        {
            Span::current().record("otel.status_code", "ERROR");
        }
        let (settled, held) = match outcome {
            Ok(document) => (Ok(document.text), Some((document.computed, document.held))),
            Err(problem) => (Err(problem), None),
        };
        let about = About {
            index,
            model: visit.model().map(str::to_owned),
            ms: scoring::millis(visit.took()),
            computed: held.as_ref().is_some_and(|(computed, _)| *computed),
            kept_as,
            held: held.map(|(_, held)| held),
        };
        (about, self.settled(&delivery, body.as_deref(), settled))
    }

    fn visit<'d>(&'d self, delivery: &'d Delivery, since: Instant) -> Visit<'d> {
        let wanted = Wanted {
            name: delivery.model.as_deref(),
            version: None,
        };
        let function = self.host.function;
        Visit::new(self.admission, function, Some(wanted), since.into_std())
    }

    fn key(&self, delivery: &Delivery, body: &[u8]) -> kept::Key {
        blocking::apart(body.len(), || kept::key(self.host.function, delivery, body))
    }

    /// The result of an earlier delivery, whose batch failed, or a new one.
    async fn recall_or_score(
        &self,
        visit: &mut Visit<'_>,
        index: Option<usize>,
        delivery: &Delivery,
        body: &Bytes,
        deadline: Instant,
    ) -> Result<Document, Problem> {
        if index.is_some() && !self.events.kept.is_empty() {
            let kept = self.events.kept.take(&self.key(delivery, body));
            if let Some(text) = kept {
                debug!(id = self.host.id, index, "result of an earlier delivery");
                let mut held = self.admission.decoding.charge();
                held.settle(text.len().saturating_mul(COPIES))?;
                return Ok(Document {
                    text,
                    held,
                    computed: false,
                    recalled: true,
                });
            }
        }
        let limit = self.events.settings.max_body_bytes;
        if body.len() > limit {
            return Err(Problem::too_large(limit));
        }
        let call = Call {
            id: self.host.id,
            index,
            since: visit.since(),
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
        let mut scored = visit.score_until(deadline, call, body).await?;
        let bytes = scored.answer.body.len();
        scored.held.reach(bytes.saturating_mul(1 + COPIES))?;
        let model = visit.model().unwrap_or_default();
        let reveal = self.events.settings.reveal;
        let text = documents::result(delivery, model, &scored, reveal);
        let text = text.map_err(|_| Problem::internal())?;
        scored.held.settle(text.len().saturating_mul(COPIES))?;
        let computed = match scored.cache {
            CacheOutcome::Asked { hits, rows } => hits < rows,
            CacheOutcome::Bypass => true,
        };
        Ok(Document {
            text,
            computed,
            recalled: false,
            held: scored.held,
        })
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
                let limit = self.events.settings.max_body_bytes;
                let is_blob = self.trigger.source == Source::Blob;
                let body = body.filter(|body| !is_blob || body.len() <= limit);
                self.reject(delivery, problem, body)
            }
        }
    }

    pub(super) fn reject(
        &self,
        delivery: &Delivery,
        problem: Problem,
        body: Option<&[u8]>,
    ) -> Result<Settled, Problem> {
        if self.trigger.rejected.is_none() || self.events.settings.fail_invalid {
            return Err(problem);
        }
        // Base64 of the body, in a document that is copied.
        let bytes = body.map_or(0, <[u8]>::len);
        let mut held = self.admission.decoding.charge();
        held.settle(bytes.saturating_mul(2 * COPIES))?;
        let document = blocking::apart(bytes, || documents::rejected(delivery, &problem, body));
        let document = document.map_err(|_| Problem::internal())?;
        held.settle(document.len().saturating_mul(COPIES))?;
        Span::current().record("score.outcome", "rejected");
        // Without the message and the place: they may quote the body.
        let id = delivery.id.as_deref().unwrap_or("without id");
        let line = format!("rejected {id:?}: {}", problem.code.as_str());
        Ok(Settled::Rejected {
            document,
            line,
            status: problem.status(),
            held,
        })
    }
}

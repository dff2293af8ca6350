//! How long a job waits for a session, and what a trace shows of that and of the run.

use std::time::Instant;

use tracing::field::Empty;
use tracing::{Span, info_span};

/// The wait of one job. The run may be made by another thread, for several jobs at once.
pub(super) struct Wait {
    pub(super) since: Instant,
    span: Span,
    /// What the job is a part of.
    request: Span,
}

impl Wait {
    pub(super) fn begin() -> Self {
        let span = info_span!("queue wait");
        let request = if span.is_disabled() {
            Span::none()
        } else {
            Span::current()
        };
        Self {
            since: Instant::now(),
            span,
            request,
        }
    }

    /// The wait is over and a run of so many rows begins; it lasts as long as the span that is returned.
    pub(super) fn end(&mut self, rows: usize) -> Span {
        self.span = Span::none();
        info_span!(
            parent: &self.request,
            "inference",
            score.rows = rows,
            otel.status_code = Empty,
            error.type = Empty,
        )
    }
}

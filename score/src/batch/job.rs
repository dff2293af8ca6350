//! One request's share of a run, from the queue to the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::wait::Wait;
use crate::error::ScoreError;
use crate::signature::Arranged;
use crate::tensor::Tensor;

/// The outputs of one job and where its time went.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) outputs: Vec<Tensor>,
    /// Rows of the run, those of other jobs included.
    pub(crate) rows: usize,
    pub(crate) queue: Duration,
    pub(crate) infer: Duration,
}

/// Inputs that wait for a session.
pub(super) struct Job {
    pub(super) inputs: Arranged,
    pub(super) rows: usize,
    pub(super) wait: Wait,
    pub(super) reply: oneshot::Sender<Result<Ran, ScoreError>>,
    /// The job's permits, one for each row; given back when the job is dropped, run or not.
    pub(super) place: Arc<OwnedSemaphorePermit>,
}

impl Job {
    /// Gives the permits back first: the caller who gets the answer may come again at once. And lets go of the request's span: if
    /// the process ends behind the answer, it would miss it.
    pub(super) fn answer(self, answer: Result<Ran, ScoreError>) {
        let Self {
            reply, place, wait, ..
        } = self;
        drop((place, wait));
        // Fails where the caller has gone.
        let _ = reply.send(answer);
    }
    /// Whether the two may share a run. Jobs with optional inputs keep to themselves: those inputs have no rows.
    pub(super) fn has_row_shapes_of(&self, other: &Self) -> bool {
        let (a, b) = (&self.inputs, &other.inputs);
        let mut pairs = a.tensors.iter().zip(&b.tensors);
        let optional = !a.given.is_empty() || !b.given.is_empty();
        !optional && pairs.all(|(a, b)| a.row_shape() == b.row_shape())
    }
}

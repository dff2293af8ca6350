//! The model on ONNX Runtime, run on the thread that asks.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use ort::environment::Environment;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::TensorRef;

use crate::request::{COLUMNS, Rows};

const TIMED: Duration = Duration::from_millis(200);

/// As many sessions as there are threads to run them.
pub(crate) struct Model {
    sessions: Vec<Mutex<Session>>,
    /// The output that is the answer.
    output: usize,
    /// What tells its remembered answers from another model's.
    pub(crate) digest: [u8; 32],
    _environment: Environment,
}

impl Model {
    pub(crate) fn load(library: &Path, file: &Path, sessions: usize) -> anyhow::Result<Self> {
        let builder = ort::init_from(library).map_err(|error| anyhow!("{error}"))?;
        let environment = builder.with_telemetry(false).build()?;
        let sessions = (0..sessions).map(|_| open_session(&environment, file));
        let sessions = sessions.collect::<ort::Result<Vec<_>>>()?;
        let outputs = sessions.first().map_or(&[][..], Session::outputs);
        let output = outputs
            .iter()
            .position(|output| {
                output.dtype().tensor_type() == Some(ort::value::TensorElementType::Int64)
            })
            .context("the model has no integer output")?;
        Ok(Self {
            sessions: sessions.into_iter().map(Mutex::new).collect(),
            output,
            digest: *blake3::hash(&std::fs::read(file)?).as_bytes(),
            _environment: environment,
        })
    }

    /// One run: a label for each row.
    pub(crate) fn run(&self, rows: &Rows) -> anyhow::Result<Vec<i64>> {
        let shape = [rows.values.len() / COLUMNS, COLUMNS];
        let input = TensorRef::from_array_view((shape, rows.values.as_slice()))?;
        let mut session = self.free_session();
        let outputs = session.run(ort::inputs![input])?;
        let (_, labels) = outputs[self.output].try_extract_tensor::<i64>()?;
        Ok(labels.to_vec())
    }

    /// There are as many as threads, so one is free, if not for long.
    fn free_session(&self) -> MutexGuard<'_, Session> {
        loop {
            if let Some(free) = self.sessions.iter().find_map(|s| s.try_lock().ok()) {
                return free;
            }
            if let Some(poisoned) = self.sessions.iter().find(|s| s.is_poisoned()) {
                return poisoned.lock().unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// The median of many runs one after another.
    pub(crate) fn seconds_of_one_run(&self) -> anyhow::Result<f64> {
        let rows = Rows {
            values: vec![0.5; COLUMNS],
        };
        let mut times = Vec::new();
        let start = Instant::now();
        while start.elapsed() < TIMED {
            let before = Instant::now();
            self.run(&rows)?;
            times.push(before.elapsed());
        }
        if times.is_empty() {
            bail!("no run was finished");
        }
        times.sort_unstable();
        Ok(times[times.len() / 2].as_secs_f64())
    }
}

fn open_session(environment: &Environment, file: &Path) -> ort::Result<Session> {
    Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .commit_from_file(file)
}

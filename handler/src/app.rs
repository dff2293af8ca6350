//! What all requests share, and the order in which it is made.
//!
//! Only [`crate::http`], which tells requests apart, is handed all of it; everything below gets the part that it needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::bail;
use score::Cache;
use tracing::warn;

use crate::admission::Admission;
#[cfg(feature = "blobs")]
use crate::blobs::Blobs;
use crate::config::Config;
use crate::counters::Counters;
use crate::event::Events;
use crate::limits::{BodyLimits, Decoding, Permits, body_limits, decoded_bytes};
use crate::models::{Registry, State, open_cache};
use crate::protocol::{Function, Trigger, read_functions, refuse_open};
use crate::scoring::Settings;

/// The state of the process. Shared by all requests.
pub(crate) struct App {
    pub(crate) config: Config,
    /// Whether the process was told to end.
    pub(crate) is_ending: AtomicBool,
    functions: Vec<Function>,
    /// Whether callers need one of the keys: with a host only if it asks for none itself.
    pub(crate) asks_key: bool,
    /// The way to the models, and what is counted on it.
    pub(crate) admission: Arc<Admission>,
    /// Room for bodies.
    pub(crate) bodies: BodyLimits,
    /// Results that are remembered.
    pub(crate) memo: Arc<Cache>,
    /// What calls with messages leave for later ones.
    pub(crate) events: Events,
    /// What calls about large blobs share, if there is a function for them.
    #[cfg(feature = "blobs")]
    pub(crate) blobs: Option<Blobs>,
}

impl App {
    /// Reads the function folders, connects the cache and starts loading models on a thread of its own. The second
    /// part ends when they are loaded.
    pub(crate) fn start(
        config: Config,
    ) -> anyhow::Result<(Arc<Self>, impl Future<Output = anyhow::Result<()>> + use<>)> {
        let functions = read_functions(&config.app_root)?;
        if config.fail_invalid {
            refuse_failing_batches(&functions)?;
        }
        #[cfg(not(feature = "blobs"))]
        if scores_large_blobs(&functions) {
            bail!(
                "this build does not score large blobs: build it with the feature `blobs`, or remove the function"
            );
        }
        let asks_key = asks_key(&config, &functions)?;
        let memo = Arc::new(open_cache(&config)?);
        let (models, loading) = Registry::start(&config, &memo)?;
        let admission = Admission {
            models,
            permits: Permits::new(config.max_requests),
            decoding: Decoding::new(decoded_bytes(&config)),
            counters: Counters::default(),
            scoring: Settings {
                limits: body_limits(&config),
                log_slow: config.log_slow,
            },
        };
        let admission = Arc::new(admission);
        let app = Self {
            #[cfg(feature = "blobs")]
            blobs: match scores_large_blobs(&functions) {
                true => Some(Blobs::new(&config, &admission, &memo)?),
                false => None,
            },
            is_ending: AtomicBool::new(false),
            functions,
            asks_key,
            admission,
            bodies: BodyLimits::new(config.max_waiting_bytes, config.timeout),
            memo,
            events: Events::new(&config),
            config,
        };
        Ok((Arc::new(app), loading))
    }

    /// Whether requests should be sent here.
    pub(crate) fn state(&self) -> State {
        match self.is_ending.load(Ordering::Relaxed) {
            true => State::Ending,
            false => self.admission.models.state(),
        }
    }

    /// The function of that name, as the host knows it.
    pub(crate) fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }
}

/// Whether there is a function for large blobs.
pub(crate) fn scores_large_blobs(functions: &[Function]) -> bool {
    let mut triggers = functions.iter().map(|function| &function.trigger);
    triggers.any(|trigger| matches!(trigger, Trigger::LargeBlob(_)))
}

/// Whether this program asks callers for a key.
///
/// # Errors
/// If under a host nothing would, and that is not what the settings say.
fn asks_key(config: &Config, functions: &[Function]) -> anyhow::Result<bool> {
    let has_keys = !config.api_keys.is_empty();
    if !config.hosted {
        return Ok(has_keys);
    }
    refuse_open(functions, config.means_open())?;
    let open = functions.iter().any(Function::is_open);
    if has_keys && !open {
        warn!(
            "SCORE_API_KEYS has no effect: the host asks for its own keys, since no authLevel is anonymous"
        );
    }
    Ok(has_keys && open)
}

/// One bad message must not fail the others of its batch, and a batch fails as a whole.
fn refuse_failing_batches(functions: &[Function]) -> anyhow::Result<()> {
    for Function { name, trigger } in functions {
        if matches!(trigger, Trigger::Event(event) if event.many) {
            bail!(
                "SCORE_ON_INVALID=\"fail\" does not go with \"cardinality\": \"many\" of function {name:?}: one bad message \
                 would fail all others of its batch. Set SCORE_ON_INVALID to \"reject\" (or leave it out), or set \
                 \"cardinality\": \"one\" in {name}/function.json"
            );
        }
    }
    Ok(())
}

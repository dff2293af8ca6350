//! The host's triggers at work: what arrives in queues and containers goes through the handler to the outputs.
//!
//! Dropping a [`Listener`] is the host's sudden end: nothing is given back, locks have to expire.
//!
//! - `service_bus`, `queue`, `blob`: one kind of trigger each

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::cloud::Cloud;
use super::host::FunctionsHost;
use super::host_config::{Function, HostConfig};
use super::invoke::{self, Transport};
use super::supervisor::Supervisor;
use super::triggers::Envelope;

mod blob;
mod queue;
mod service_bus;

/// Settings of bindings in which `%NAME%` stands for an app setting.
const RESOLVED: [&str; 4] = ["queueName", "topicName", "subscriptionName", "path"];

/// A failed message travels to the broker and back; by then the host knows whether its child has ended.
const ROUND_TRIP: Duration = Duration::from_millis(5);

/// All triggers of one host.
#[derive(Debug)]
pub struct Listener {
    shared: Arc<Shared>,
    not_indexed: Vec<String>,
    _pumps: JoinSet<()>,
}

/// What the pumps work with.
#[derive(Debug)]
struct Shared {
    host: Arc<FunctionsHost>,
    supervisor: Supervisor,
    cloud: Cloud,
    invocations: AtomicUsize,
    successes: AtomicUsize,
    failures: Mutex<Vec<String>>,
}

impl Listener {
    /// Starts the triggers of a host that is ready.
    pub fn start(host: FunctionsHost, cloud: &Cloud) -> Self {
        let host = Arc::new(host);
        let shared = Arc::new(Shared {
            supervisor: Supervisor::start(&host),
            host,
            cloud: cloud.clone(),
            invocations: AtomicUsize::new(0),
            successes: AtomicUsize::new(0),
            failures: Mutex::default(),
        });
        let (mut pumps, mut not_indexed) = (JoinSet::new(), Vec::new());
        for function in &shared.config().functions {
            if function.is_disabled {
                continue;
            }
            if let Err(reason) = check(shared.config(), function) {
                not_indexed.push(format!("{}: {reason}", function.name));
                continue;
            }
            let (shared, function) = (Arc::clone(&shared), Arc::new(function.clone()));
            match function.trigger().kind.as_str() {
                "serviceBusTrigger" => drop(pumps.spawn(service_bus::pump(shared, function))),
                "queueTrigger" => drop(pumps.spawn(queue::pump(shared, function))),
                "blobTrigger" => drop(pumps.spawn(blob::pump(shared, function))),
                _ => {}
            }
        }
        Self {
            shared,
            not_indexed,
            _pumps: pumps,
        }
    }

    /// The host itself, for HTTP requests and log lines.
    pub fn host(&self) -> &FunctionsHost {
        &self.shared.host
    }

    /// What keeps the child alive.
    pub fn supervisor(&self) -> &Supervisor {
        &self.shared.supervisor
    }

    /// How many envelopes were posted.
    pub fn invocations(&self) -> usize {
        self.shared.invocations.load(Ordering::SeqCst)
    }

    /// How many invocations succeeded with their outputs.
    pub fn succeeded(&self) -> usize {
        self.shared.successes.load(Ordering::SeqCst)
    }

    /// Why invocations failed, and locks that were lost, in order.
    pub fn failures(&self) -> Vec<String> {
        self.shared.failures().clone()
    }

    /// Functions that the host leaves out, with the reason.
    pub fn not_indexed(&self) -> &[String] {
        &self.not_indexed
    }
}

impl Shared {
    fn config(&self) -> &HostConfig {
        self.host.config()
    }

    /// One invocation with its outputs: it fails if any of it fails.
    async fn invoke(
        &self,
        function: &Function,
        envelope: Result<Envelope, String>,
        placeholders: &[(String, String)],
    ) -> Result<(), String> {
        let result = self.try_invoke(function, envelope, placeholders).await;
        match &result {
            Ok(()) => drop(self.successes.fetch_add(1, Ordering::SeqCst)),
            Err(reason) => {
                self.fail(function, reason);
                sleep(ROUND_TRIP).await;
                self.supervisor.look_at_child();
            }
        }
        result
    }

    async fn try_invoke(
        &self,
        function: &Function,
        envelope: Result<Envelope, String>,
        placeholders: &[(String, String)],
    ) -> Result<(), String> {
        let envelope = envelope?;
        self.supervisor.initialized().await?;
        self.invocations.fetch_add(1, Ordering::SeqCst);
        let transport = match self.host.is_core_tools() {
            true => Transport::ContentLength,
            false => Transport::Chunked,
        };
        let call = async {
            let outcome = self.host.invoke_with(&function.name, envelope, transport);
            let outcome = outcome.await;
            if matches!(&outcome, Err(reason) if reason.ends_with(invoke::HANGS)) {
                std::future::pending::<()>().await;
            }
            outcome
        };
        let outcome = match self.config().function_timeout {
            None => call.await?,
            Some(limit) => match timeout(limit, call).await {
                Ok(outcome) => outcome?,
                Err(_) => {
                    self.supervisor.kill_child();
                    return Err(format!("Timeout value of {limit:?} was exceeded"));
                }
            },
        };
        self.cloud
            .write(self.config(), function, &outcome, placeholders)
    }

    fn fail(&self, function: &Function, reason: &str) {
        let line = format!("{}: {reason}", function.name);
        self.failures().push(line);
    }

    fn failures(&self) -> std::sync::MutexGuard<'_, Vec<String>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(config: &HostConfig, function: &Function) -> Result<(), String> {
    for binding in &function.bindings {
        for setting in RESOLVED {
            config.resolve(binding.setting(setting))?;
        }
    }
    Ok(())
}

/// A binding's setting after [`check`].
fn resolved(config: &HostConfig, function: &Function, setting: &str) -> String {
    let text = function.trigger().setting(setting);
    config.resolve(text).expect("checked before")
}

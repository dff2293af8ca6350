//! Stand-ins for everything around the handler, shared by all tests.
//!
//! - [`app_root`]: the app folder as it lies after a deployment, in a temporary directory
//! - [`host`]: starts, watches, stops and restarts the handler as the Functions host does
//! - [`forward`]: a caller's HTTP request on its way through the host, in all three modes; [`received`] is what the host
//!   makes of it, [`throttle`] how many it takes
//! - [`recording`], [`recorder`]: what a real host was seen to send, and a handler that notes what it gets
//! - [`invoke`]: envelopes, and the host's verdict on their answers
//! - [`triggers`]: messages and blobs as the host puts them into an envelope
//! - [`broker`], [`storage_queue`], [`blob_store`]: Service Bus, storage queues and blobs in memory; [`cloud`]: all three
//! - [`listener`]: the host's triggers, from a queue or container through the handler to the outputs
//! - [`supervisor`]: restarts the handler after a crash as the host does
//! - [`functions`]: function folders for every kind of trigger
//! - [`encoding`], [`outputs`]: the host's value rules, in and out; [`newtonsoft`] and [`iso8601`] serve them
//! - [`host_options`]: modes, settings and other wishes for a start
//! - [`host_config`], [`routes`], [`headers`]: what the host reads from host.json, function.json, URLs and header lines
//! - [`process`]: the child process with its log lines, exit status and signals
//! - [`http1`], [`client`]: HTTP/1.1 by hand for odd cases, and a keep-alive client made of it
//! - [`answer`]: an HTTP answer as the caller sees it
//! - [`redis`], [`certificates`], [`resp`]: a private `redis-server`, its TLS files and a small client
//! - [`redis_cluster`]: six of them as a cluster, whose slots move and whose nodes die
//! - [`identity`]: the platform's identity endpoint, and Redis users whose passwords are its tokens
//! - [`fault_proxy`]: a TCP proxy that delays, resets, swallows, refuses or leads elsewhere
//! - [`service_bus`]; [`blob_storage`], [`queue_storage`]: a broker; [`azurite`], seen through the official SDKs, and the
//!   host's listeners
//! - [`otlp`]: a collector of traces, and what a test asks of a trace
//! - [`python`]: the processes of `tests/messaging`
//! - [`funcignore`]: which files a publish takes along
//! - [`port`], [`random`]: free loopback ports and unique ids
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

/// How long tests wait for an event. Only a test that fails takes so long: what is asserted is the event, not the time, so
/// that a busy machine makes the tests slower and nothing else.
pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

pub(crate) mod answer;
pub(crate) mod app_root;
pub(crate) mod azurite;
pub(crate) mod blob_storage;
pub(crate) mod blob_store;
pub(crate) mod broker;
pub(crate) mod certificates;
pub(crate) mod client;
pub(crate) mod cloud;
pub(crate) mod digits;
pub(crate) mod encoding;
pub(crate) mod fault_proxy;
pub(crate) mod forward;
pub(crate) mod funcignore;
pub(crate) mod functions;
pub(crate) mod headers;
pub(crate) mod host;
pub(crate) mod host_config;
pub(crate) mod host_options;
pub(crate) mod http1;
pub(crate) mod identity;
pub(crate) mod invoke;
pub(crate) mod iso8601;
pub(crate) mod listener;
pub(crate) mod newtonsoft;
pub(crate) mod otlp;
pub(crate) mod outputs;
pub(crate) mod port;
pub(crate) mod process;
pub(crate) mod python;
pub(crate) mod queue_storage;
pub(crate) mod random;
pub(crate) mod received;
pub(crate) mod recorder;
pub(crate) mod recording;
pub(crate) mod redis;
pub(crate) mod redis_cluster;
pub(crate) mod resp;
pub(crate) mod routes;
pub(crate) mod service_bus;
pub(crate) mod storage_queue;
pub(crate) mod supervisor;
pub(crate) mod throttle;
pub(crate) mod triggers;

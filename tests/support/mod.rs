//! What the handler's tests need beside the stand-in for the Functions host (the crate `functions-host`).
//!
//! - [`app_root`]: the app folder as it lies after a deployment, in a temporary directory
//! - [`in_process`]: the handler on a thread of the test's own process
//! - [`digits`]: the sample model's test digits
//! - [`redis`], [`certificates`], [`resp`]: a private `redis-server`, its TLS files and a small client
//! - [`redis_cluster`]: six of them as a cluster, whose slots move and whose nodes die
//! - [`identity`]: the platform's identity endpoint, and Redis users whose passwords are its tokens
//! - [`fault_proxy`]: a TCP proxy that delays, resets, swallows, refuses or leads elsewhere
//! - [`otlp`]: a collector of traces, and what a test asks of a trace
//! - [`funcignore`]: which files a publish takes along
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr
)]

pub(crate) mod app_root;
pub(crate) mod certificates;
pub(crate) mod digits;
pub(crate) mod fault_proxy;
pub(crate) mod funcignore;
pub(crate) mod identity;
pub(crate) mod in_process;
pub(crate) mod otlp;
pub(crate) mod redis;
pub(crate) mod redis_cluster;
pub(crate) mod resp;

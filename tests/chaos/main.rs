//! The built handler under load while everything around its Redis goes wrong: no request may fail, no answer may be
//! wrong, and none may be late.
//!
//! The suite is a list of faults ([`fault::Fault`]), each applied and lifted under the same load; adding one is an
//! entry in a list. Faults of another kind of Redis need a [`fault::Backend`] and one more [`fault::Suite::run`].
//! `CHAOS=long` (that is `make chaos`) gives each fault more time and judges more strictly.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failing expectation is what a test is for, and its measurements are what it is run for"
)]

mod clock_faults;
mod cluster_faults;
mod fault;
mod form;
mod load;
mod name_faults;
mod network_faults;
mod oracle;
mod pair;
mod report;
mod server_faults;
mod tls_faults;
mod value_faults;
mod zipf;

#[path = "../support/mod.rs"]
mod support;

use fault::Suite;
use form::Form;
use tokio::sync::Mutex;

/// One at a time: each measures.
static TURN: Mutex<()> = Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_redis_fails_or_delays_a_request() {
    let _turn = TURN.lock().await;
    let mut suite = Suite::start(Form::from_environment()).await;
    let mut plain = network_faults::list();
    plain.extend(server_faults::list());
    plain.extend(value_faults::list());
    suite.run(pair::Pair::start().await, plain).await;
    suite
        .run(tls_faults::Tls::start().await, tls_faults::list())
        .await;
    suite
        .run(name_faults::Named::start().await, name_faults::list())
        .await;
    suite
        .run(clock_faults::Clocked::start().await, clock_faults::list())
        .await;
    suite
        .run(
            cluster_faults::Cluster::start().await,
            cluster_faults::list(),
        )
        .await;
    suite.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_every_hit_and_miss_is_accounted_for() {
    let _turn = TURN.lock().await;
    zipf::without_faults(Form::from_environment()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_drawn_at_random_are_right_whatever_redis_does() {
    let _turn = TURN.lock().await;
    zipf::with_faults(pair::Pair::start().await, Form::from_environment()).await;
}

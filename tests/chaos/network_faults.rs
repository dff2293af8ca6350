//! What networks do.

use std::time::Duration;

use futures_util::future::{FutureExt, LocalBoxFuture};

use super::fault::Effect::Outage;
use super::fault::Fault;
use super::pair::Pair;

/// All of them, each lifted by letting everything pass again.
pub(crate) fn list() -> Vec<Fault<Pair>> {
    vec![
        Fault::new("200 ms delay", Outage, |p| delay(p, 200), pass),
        Fault::new("5 s delay", Outage, |p| delay(p, 5000), pass),
        Fault::new(
            "connections reset",
            Outage,
            |p| async move { p.proxy.reset() }.boxed_local(),
            pass,
        ),
        Fault::new(
            "connections refused",
            Outage,
            |p| async move { p.proxy.refuse() }.boxed_local(),
            pass,
        ),
        Fault::new(
            "half-open connections",
            Outage,
            |p| async move { p.proxy.black_hole() }.boxed_local(),
            pass,
        ),
    ]
}

fn delay(pair: &Pair, millis: u64) -> LocalBoxFuture<'_, ()> {
    async move { pair.proxy.delay(Duration::from_millis(millis)) }.boxed_local()
}

fn pass(pair: &Pair) -> LocalBoxFuture<'_, ()> {
    async move { pair.proxy.pass() }.boxed_local()
}

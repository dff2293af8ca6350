//! What networks do.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

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
            |p| async move { p.proxy.reset() }.boxed(),
            pass,
        ),
        Fault::new(
            "connections refused",
            Outage,
            |p| async move { p.proxy.refuse() }.boxed(),
            pass,
        ),
        Fault::new(
            "half-open connections",
            Outage,
            |p| async move { p.proxy.black_hole() }.boxed(),
            pass,
        ),
    ]
}

fn delay(pair: &Pair, millis: u64) -> BoxFuture<'_, ()> {
    async move { pair.proxy.delay(Duration::from_millis(millis)) }.boxed()
}

fn pass(pair: &Pair) -> BoxFuture<'_, ()> {
    async move { pair.proxy.pass() }.boxed()
}

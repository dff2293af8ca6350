//! What networks do.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, ready};

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
            |p| ready(p.proxy.reset()).boxed(),
            pass,
        ),
        Fault::new(
            "connections refused",
            Outage,
            |p| ready(p.proxy.refuse()).boxed(),
            pass,
        ),
        Fault::new(
            "half-open connections",
            Outage,
            |p| ready(p.proxy.black_hole()).boxed(),
            pass,
        ),
    ]
}

fn delay(pair: &Pair, millis: u64) -> BoxFuture<'_, ()> {
    ready(pair.proxy.delay(Duration::from_millis(millis))).boxed()
}

fn pass(pair: &Pair) -> BoxFuture<'_, ()> {
    ready(pair.proxy.pass()).boxed()
}

//! What the parts of a request cost one by one: `make bench-micro`, docs/performance.md.
#![allow(
    clippy::unwrap_used,
    reason = "a benchmark of what does not work may end"
)]

mod codec;
mod decode;
mod encode;
mod samples;
mod split;
// The same visitors as in the least that scoring can cost.
#[path = "../../limit/src/request.rs"]
mod visitors;

use std::time::Duration;

fn main() {
    divan::Divan::default()
        .min_time(Duration::from_millis(250))
        .config_with_args()
        .main();
}

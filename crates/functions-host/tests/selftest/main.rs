//! The stand-in tested by itself: this program also plays the handlers that the stand-in starts.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a failing expectation is what a test is for"
)]

mod host;
mod listener;
mod recordings;
mod storage;

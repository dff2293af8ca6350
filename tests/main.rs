//! Tests of the whole handler as the Functions host runs it.

mod support;
mod support_selftest;

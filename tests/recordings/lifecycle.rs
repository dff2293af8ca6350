//! Crashes and ends, compared with what a real host did.

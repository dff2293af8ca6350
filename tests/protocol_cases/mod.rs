//! Conformance with the protocol between host and handler, case by case; each test bears the ids of the cases it shows.

mod batches;
mod blobs;
mod envelopes;
mod journeys;
mod messages;
mod scoring_app;

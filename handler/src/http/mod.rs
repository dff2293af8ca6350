//! The host's door: every request comes in here, in the forwarded form or as an envelope, and leaves as one `Reply`.

mod body;
mod caller;
mod envelope;
mod head;
mod info;
mod openapi;
mod page;
mod reply;
mod request;
mod room;
mod route;
mod server;
mod timing;
mod upload;

pub(crate) use info::rows_document;
pub(crate) use room::{BodyLimits, Room};
pub(crate) use server::serve;

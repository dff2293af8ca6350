//! The boundary to the host: every request, forwarded or in an envelope, comes in here and leaves as one `Reply`.

mod body;
mod caller;
mod connection;
mod connections;
mod envelope;
mod guard;
mod head;
mod info;
mod metrics;
mod openapi;
mod pace;
mod page;
mod reply;
mod request;
mod route;
mod server;
mod share;
mod target;
mod texts;
mod timing;
mod unread;
mod upload;
mod workers;

pub(crate) use info::{rows_document, text_document};
pub(crate) use server::serve;
pub(crate) use workers::{Workers, runtime};

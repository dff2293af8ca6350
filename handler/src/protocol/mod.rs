//! The shapes of the Functions custom-handler protocol: what stands in function.json, what the host posts and what it
//! expects back. One decision is made here: a function.json that lets callers without a key reach other functions is
//! refused.

mod access;
mod batch;
mod function;
mod http_binding;
mod invocation;
mod list;
mod pieces;

pub(crate) use batch::BatchReader;
pub(crate) use function::{
    EventTrigger, Function, LargeBlobTrigger, Output, OutputForm, Source, Trigger, read_functions,
    refuse_open,
};
pub(crate) use http_binding::{HttpRequestData, HttpResponseData};
pub(crate) use invocation::{Answer, Invocation, InvocationResponse, NotAnInvocation};
pub(crate) use list::Item;

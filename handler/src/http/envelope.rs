//! The envelope form: the host posts `{"Data", "Metadata"}` to `/<FunctionName>`.

use std::collections::BTreeMap;
use std::sync::Arc;

use warp::http::Method;

use super::reply::{Problem, Reply};
use super::request::{self, Head};
use crate::app::App;
use crate::protocol::{
    Function, HttpRequestData, HttpResponseData, Invocation, InvocationResponse, Trigger,
};

/// Base64 adds a third and strings inside strings escape some characters twice; what carries a body within the limit
/// must pass.
const ENVELOPE_FACTOR: usize = 4;

/// The bytes an envelope may have.
pub(super) fn limit(app: &App) -> usize {
    app.config().max_body_bytes.saturating_mul(ENVELOPE_FACTOR)
}

/// Runs one invocation. The outer answer tells the host that the invocation went well; the caller's own status is
/// inside.
///
/// # Errors
/// Only if the envelope itself is not one.
pub(super) async fn invoke(
    app: &Arc<App>,
    function: &Function,
    request_id: &str,
    body: &[u8],
) -> Result<Reply, Problem> {
    let invocation: Invocation<'_> = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format!("not an invocation: {error}")))?;
    let Trigger::Http { request, response } = &function.trigger;
    let call = http_call(&invocation, request)?;
    let method = Method::from_bytes(call.method.as_bytes())
        .map_err(|_| Problem::bad_request(format!("Data.{request}.Method is not a method")))?;
    let header = |name: &str| call.header(name).map(str::to_owned);
    let mut head = Head::new(
        method,
        call.path().to_owned(),
        request_id.to_owned(),
        header,
    );
    head.text_only = true;
    let limit = app.config().max_body_bytes;
    let inner = call.body();
    let reply = request::answer(app, &head, || async move {
        if inner.len() > limit {
            Err(Problem::too_large(limit))
        } else {
            Ok(inner.into())
        }
    })
    .await;
    wrap(response, reply)
}

fn http_call(invocation: &Invocation<'_>, binding: &str) -> Result<HttpRequestData, Problem> {
    let missing = || {
        let present: Vec<&str> = invocation.data.keys().map(String::as_str).collect();
        Problem::bad_request(format!(
            "Data has no member {binding:?}; it has {present:?}"
        ))
    };
    let data = invocation.data.get(binding).ok_or_else(missing)?;
    serde_json::from_str(data.get())
        .map_err(|error| Problem::bad_request(format!("Data.{binding}: {error}")))
}

fn wrap(binding: &str, reply: Reply) -> Result<Reply, Problem> {
    let headers: BTreeMap<String, String> = reply
        .headers
        .iter()
        .filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())))
        .collect();
    let answer = HttpResponseData {
        status_code: reply.status.as_u16(),
        headers,
        // Everything this program answers is text.
        body: String::from_utf8_lossy(&reply.body).into_owned(),
    };
    let value = serde_json::to_value(answer).map_err(|_| Problem::internal())?;
    let envelope = InvocationResponse::with_output(binding, value);
    let body = serde_json::to_vec(&envelope).map_err(|_| Problem::internal())?;
    Ok(Reply::json(body))
}

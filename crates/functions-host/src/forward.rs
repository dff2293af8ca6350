//! A caller's HTTP request on its way through the host to the handler, and the answer on its way back.

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::answer::Answer;
use super::client::Request;
use super::headers;
use super::host::{FunctionsHost, Mode};
use super::host_config::Function;
use super::http1::{self, RawConnection};
use super::invoke::{self, Transport};
use super::outputs::OutputValue;
use super::random;
use super::received::Received;
use super::routes::{self, RouteValues};

impl FunctionsHost {
    /// Sends one HTTP request to the app, by the host's mode, and returns what the caller gets.
    ///
    /// `path_and_query` is the public one, `/api/score/iris?v=1`. `Host` and, for a body, `Content-Length` are added
    /// unless `headers` has them; with `Transfer-Encoding: chunked` among the headers the caller's upload has no length.
    /// Where the host itself answers, [`Answer::host_error`] says why. Dropping the future is a caller that goes away.
    pub async fn http(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        self.http_by(self.mode(), method, path_and_query, headers, body)
            .await
    }

    /// The same by another mode than the host's own.
    pub async fn http_by(
        &self,
        mode: Mode,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let received = Received::new(method, path_and_query, headers, body.as_ref());
        let received = received.traced(self.activity());
        let (function, values) = match self.admit(&received) {
            Ok(found) => found,
            Err(refusal) => return refusal,
        };
        let Some(_permit) = self.throttle().enter().await else {
            let mut busy = Answer::from_host(429, "maxOutstandingRequests are under way");
            busy.headers
                .push(("X-FUNCTION-SCALEOUT".to_owned(), "1".to_owned()));
            return busy;
        };
        let invocation_id = random::guid();
        let answered = match mode {
            Mode::Forwarded if function.is_forwardable() => {
                self.forward(&received, &invocation_id).await
            }
            Mode::Proxied if function.is_forwardable() => {
                self.proxy(&received, &invocation_id).await
            }
            Mode::Envelope { chunked: false } => {
                self.envelop(function, &values, &received, Transport::ContentLength)
                    .await
            }
            _ => {
                self.envelop(function, &values, &received, Transport::Chunked)
                    .await
            }
        };
        let answer = answered.unwrap_or_else(|error| Answer::from_host(500, error));
        match answer.invocation_id.is_empty() {
            true => Answer {
                invocation_id,
                ..answer
            },
            false => answer,
        }
    }

    /// A chunked upload through a proxying host: each piece goes on when the caller sends it, the end with the sender.
    ///
    /// # Errors
    ///
    /// If the connection to the handler fails.
    pub async fn upload(
        &self,
        path_and_query: &str,
        headers: &[(&str, &str)],
        mut pieces: mpsc::Receiver<Vec<u8>>,
    ) -> std::io::Result<Answer> {
        let chunked = [headers, &[("Transfer-Encoding", "chunked")]].concat();
        let received = Received::new("POST", path_and_query, &chunked, b"");
        let headers = received.proxied_headers(&random::guid(), self.port());
        let connection = RawConnection::open(self.port()).await?;
        let head = http1::head("POST", &received.proxied_target(), &headers);
        connection.send(&head).await?;
        while let Some(piece) = pieces.recv().await {
            connection.send(&http1::chunk(&piece)).await?;
        }
        connection.send(&http1::chunk(b"")).await?;
        Ok(connection.read_response(false).await?.answer)
    }

    /// The function that a request is for, or the host's own refusal.
    fn admit(&self, received: &Received<'_>) -> Result<(&Function, RouteValues), Answer> {
        let found = routes::find(self.config(), received.method, &received.path);
        let (function, values) = found
            .map_err(|status| Answer::from_host(status, "no function has this route and method"))?;
        let level = function.trigger().setting("authLevel");
        let is_open = level.eq_ignore_ascii_case("anonymous");
        match self.function_key() {
            Some(key) if !is_open && !received.shows(key) => {
                Err(Answer::from_host(401, "no key of this function"))
            }
            _ => Ok((function, values)),
        }
    }

    async fn forward(
        &self,
        received: &Received<'_>,
        invocation_id: &str,
    ) -> Result<Answer, String> {
        let headers = received.forwarded_headers(invocation_id)?;
        let request = Request {
            head: http1::head(received.method, &received.forwarded_target(), &headers),
            body: received.body.to_vec(),
        };
        // A task of its own: the handler is not told when the caller goes away.
        let client = self.client_handle();
        let sent = tokio::spawn(async move { client.send(&request).await });
        let sent = sent.await.map_err(|error| error.to_string())?;
        let mut answer = sent.map_err(|failure| failure.to_string())?;
        answer.headers = headers::answered(answer.headers)?;
        Ok(without_coding(answer))
    }

    async fn proxy(&self, received: &Received<'_>, invocation_id: &str) -> Result<Answer, String> {
        let headers = received.proxied_headers(invocation_id, self.port());
        let body = match received.headers.is_chunked() {
            true => http1::chunked_whole(received.body),
            false => received.body.to_vec(),
        };
        let head = http1::head(received.method, &received.proxied_target(), &headers);
        let sent = self
            .client()
            .send_persistently(&Request { head, body })
            .await;
        sent.map(without_coding)
            .map_err(|failure| failure.to_string())
    }

    async fn envelop(
        &self,
        function: &Function,
        values: &RouteValues,
        received: &Received<'_>,
        transport: Transport,
    ) -> Result<Answer, String> {
        let data = json!({ function.trigger().name.clone(): received.data(values) });
        let metadata: Value = received.metadata(function, values);
        let answer = self
            .post_envelope(&function.name, data, metadata, transport)
            .await?;
        let invocation_id = answer.invocation_id.clone();
        let made = invoke::judge(Some(function), answer).and_then(|outcome| {
            let mut written = outcome.outputs.into_values();
            let answer = written.find_map(|value| match value {
                OutputValue::Http(answer) => Some(answer),
                OutputValue::Messages(_) | OutputValue::Blob(_) | OutputValue::Unwritable(_) => {
                    None
                }
            });
            answer.ok_or_else(|| format!("{} has no http output", function.name))
        });
        let mut answer = made.unwrap_or_else(|error| Answer::from_host(500, error));
        if received.method == "HEAD" {
            answer.body.clear();
        }
        Ok(Answer {
            invocation_id,
            ..answer
        })
    }
}

/// The coding of a transfer ends at the host.
fn without_coding(mut answer: Answer) -> Answer {
    answer
        .headers
        .retain(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
    answer
}

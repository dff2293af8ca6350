//! A caller's HTTP request on its way through the host to the handler, and the answer on its way back.

use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::client::Request;
use super::encoding;
use super::headers::{self, Headers};
use super::host::{FunctionsHost, Mode};
use super::host_config::Function;
use super::invoke::{self, HOST_VERSION, HOST_VERSION_HEADER, INVOCATION_ID_HEADER, Transport};
use super::outputs::OutputValue;
use super::routes::{self, RouteValues};
use super::{http1, random};

/// The public name of the app unless the caller sends a `Host` header.
pub(crate) const PUBLIC_HOST: &str = "app.example";

/// A request as the host's web server received it.
struct Received<'a> {
    method: &'a str,
    path: &'a str,
    query: &'a str,
    headers: Headers,
    body: &'a [u8],
}

impl FunctionsHost {
    /// Sends one HTTP request to the app, by the host's mode, and returns what the caller gets.
    ///
    /// `path_and_query` is the public one, `/api/score/iris?v=1`. `Host` and, for a body, `Content-Length` are added
    /// unless `headers` has them; with `Transfer-Encoding: chunked` among the headers the caller's upload has no length.
    /// Where the host itself answers, [`Answer::host_error`] says why.
    pub(crate) async fn http(
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
    pub(crate) async fn http_by(
        &self,
        mode: Mode,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
        let received = Received::new(method, (path, query), headers, body.as_ref());
        let (function, values) = match routes::find(self.config(), method, path) {
            Ok(found) => found,
            Err(status) => {
                return Answer::from_host(status, "no function has this route and method");
            }
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

    async fn forward(
        &self,
        received: &Received<'_>,
        invocation_id: &str,
    ) -> Result<Answer, String> {
        let target = format!(
            "{}{}",
            routes::forwarded_path(received.path),
            routes::forwarded_query(received.query)
        );
        let head = http1::head(
            received.method,
            &target,
            &received.forwarded_headers(invocation_id)?,
        );
        let body = received.body.to_vec();
        let sent = self.client().send(&Request { head, body }).await;
        let mut answer = sent.map_err(|failure| failure.to_string())?;
        answer
            .headers
            .retain(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
        Ok(answer)
    }

    async fn proxy(&self, received: &Received<'_>, invocation_id: &str) -> Result<Answer, String> {
        let target = match received.query {
            "" => received.path.to_owned(),
            query => format!("{}?{query}", received.path),
        };
        let headers = received.proxied_headers(invocation_id, self.port());
        let is_chunked = headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding"));
        let body = match is_chunked {
            true => http1::chunked(received.body),
            false => received.body.to_vec(),
        };
        let head = http1::head(received.method, &target, &headers);
        let sent = self
            .client()
            .send_persistently(&Request { head, body })
            .await;
        let mut answer = sent.map_err(|failure| failure.to_string())?;
        answer
            .headers
            .retain(|(name, _)| !name.eq_ignore_ascii_case("transfer-encoding"));
        Ok(answer)
    }

    async fn envelop(
        &self,
        function: &Function,
        values: &RouteValues,
        received: &Received<'_>,
        transport: Transport,
    ) -> Result<Answer, String> {
        let data = json!({ function.trigger().name.clone(): received.data(values) });
        let metadata = received.metadata(&function.name, values);
        let answer = self
            .post_envelope(&function.name, data, metadata, transport)
            .await?;
        let invocation_id = answer.invocation_id.clone();
        let made = invoke::judge(Some(function), answer).and_then(|outcome| {
            let mut written = outcome.outputs.into_values();
            let answer = written.find_map(|value| match value {
                OutputValue::Http(answer) => Some(answer),
                OutputValue::Messages(_) | OutputValue::Blob(_) => None,
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

impl<'a> Received<'a> {
    fn new(
        method: &'a str,
        (path, query): (&'a str, &'a str),
        sent: &[(&str, &str)],
        body: &'a [u8],
    ) -> Self {
        let mut headers = Headers::default();
        for (name, value) in sent {
            headers.append(name, value);
        }
        if headers.get("host").is_none() {
            headers.append("Host", PUBLIC_HOST);
        }
        if !body.is_empty() && headers.get("content-length").is_none() && !headers.is_chunked() {
            headers.append("Content-Length", &body.len().to_string());
        }
        if headers.get("traceparent").is_none() {
            headers.append("traceparent", &random::traceparent());
        }
        Self {
            method,
            path,
            query: query.split('#').next().unwrap_or_default(),
            headers,
            body,
        }
    }

    /// What a forwarding host sends on.
    fn forwarded_headers(&self, invocation_id: &str) -> Result<Vec<(String, String)>, String> {
        if self.headers.is_chunked() {
            return Err("a chunked upload cannot be forwarded".to_owned());
        }
        let mut headers = self.headers.without_content();
        headers.append(INVOCATION_ID_HEADER, invocation_id);
        headers.append(HOST_VERSION_HEADER, HOST_VERSION);
        headers.append(
            "User-Agent",
            &format!("Azure-Functions-Host/{HOST_VERSION}"),
        );
        if !self.body.is_empty() {
            headers.append("Content-Length", &self.body.len().to_string());
            if let Some(content_type) = self.headers.get("content-type") {
                headers::check_media_type(&content_type)?;
                headers.append("Content-Type", &content_type);
            }
        }
        Ok(headers.joined())
    }

    /// What a proxying host sends on; a body goes in chunks, as for a caller who does not know its length.
    fn proxied_headers(&self, invocation_id: &str, port: u16) -> Vec<(String, String)> {
        let mut headers = self.headers.clone();
        let public_host = headers.get("host").unwrap_or_default();
        headers.set("Host", &format!("127.0.0.1:{port}"));
        headers.set(INVOCATION_ID_HEADER, invocation_id);
        headers.set(HOST_VERSION_HEADER, HOST_VERSION);
        headers.set("x-ms-invocation-id", invocation_id);
        headers.set("X-Forwarded-For", "127.0.0.1");
        headers.set("X-Forwarded-Proto", "https");
        headers.set("X-Forwarded-Host", &public_host);
        if !self.body.is_empty() {
            headers.remove("Content-Length");
            headers.set("Transfer-Encoding", "chunked");
        }
        headers.joined()
    }

    /// The entry of the HTTP trigger in `Data`.
    fn data(&self, values: &RouteValues) -> Value {
        let public_host = self.headers.get("host").unwrap_or_default();
        let question_mark = if self.query.is_empty() { "" } else { "?" };
        let mut request = json!({
            "Url": format!("https://{public_host}{}{question_mark}{}", self.path, self.query),
            "Method": self.method,
            "Query": self.query_object(),
            "Headers": self.headers.arrays(),
            "Params": values,
            "Identities": [{"AuthenticationType": null, "IsAuthenticated": false, "Claims": []}],
        });
        if let Some(body) = self.body_text() {
            request["Body"] = body.into();
        }
        request
    }

    fn metadata(&self, function: &str, values: &RouteValues) -> Value {
        let mut metadata = Map::new();
        metadata.insert("Query".to_owned(), self.query_object());
        let headers = self.headers.canonical().joined().into_iter();
        metadata.insert(
            "Headers".to_owned(),
            headers
                .map(|(name, value)| (name, value.into()))
                .collect::<Map<_, _>>()
                .into(),
        );
        if let Some(body) = self.body_text().filter(|_| !self.is_binary()) {
            encoding::leak_properties(&body, &mut metadata);
        }
        for (key, value) in routes::query(self.query) {
            if !key.eq_ignore_ascii_case("code") {
                metadata.insert(key, encoding::twice(&value.into()));
            }
        }
        for (name, value) in values {
            if let Some(value) = value {
                metadata.insert(name.clone(), encoding::twice(&value.as_str().into()));
            }
        }
        encoding::drop_triggers(&mut metadata);
        metadata.insert("sys".to_owned(), encoding::sys(function));
        metadata.into()
    }

    fn query_object(&self) -> Value {
        let entries = routes::query(self.query).into_iter();
        entries
            .map(|(key, value)| (key, value.into()))
            .collect::<Map<_, _>>()
            .into()
    }

    /// Absent without a length; base64 for the two binary kinds; else text, which destroys other binary bodies.
    fn body_text(&self) -> Option<String> {
        if self.body.is_empty() || self.headers.is_chunked() {
            return None;
        }
        Some(match self.is_binary() {
            true => encoding::base64(self.body),
            false => String::from_utf8_lossy(self.body).into_owned(),
        })
    }

    fn is_binary(&self) -> bool {
        let content_type = self
            .headers
            .get("content-type")
            .unwrap_or_default()
            .to_ascii_lowercase();
        content_type.starts_with("application/octet-stream")
            || content_type.starts_with("multipart/")
    }
}

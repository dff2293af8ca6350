//! A caller's HTTP request as the host's web server received it, and what each way of passing it on makes of it.

use serde_json::{Map, Value, json};

use super::encoding;
use super::headers::{self, Headers};
use super::host_config::Function;
use super::invoke::{HOST_VERSION, HOST_VERSION_HEADER, INVOCATION_ID_HEADER};
use super::routes::{self, RouteValues};

/// The public name of the app unless the caller sends a `Host` header.
pub const PUBLIC_HOST: &str = "app.example";
/// A collection of more headers than this forgets their order when one is replaced.
const ORDERED_HEADERS: usize = 64;
/// The caller whom a function key has let in.
const IDENTITY: &str = r#"{"AuthenticationType":"WebJobsAuthLevel","IsAuthenticated":true,"Actor":null,"BootstrapContext":null,"Claims":[{"Issuer":"LOCAL AUTHORITY","OriginalIssuer":"LOCAL AUTHORITY","Properties":{},"Type":"http://schemas.microsoft.com/2017/07/functions/claims/authlevel","Value":"Function","ValueType":"http://www.w3.org/2001/XMLSchema#string"},{"Issuer":"LOCAL AUTHORITY","OriginalIssuer":"LOCAL AUTHORITY","Properties":{},"Type":"http://schemas.microsoft.com/2017/07/functions/claims/invoke","Value":"true","ValueType":"http://www.w3.org/2001/XMLSchema#string"},{"Issuer":"LOCAL AUTHORITY","OriginalIssuer":"LOCAL AUTHORITY","Properties":{},"Type":"http://schemas.microsoft.com/2017/07/functions/claims/keyid","Value":"default","ValueType":"http://www.w3.org/2001/XMLSchema#string"}],"Label":null,"Name":null,"NameClaimType":"http://schemas.xmlsoap.org/ws/2005/05/identity/claims/name","RoleClaimType":"http://schemas.microsoft.com/ws/2008/06/identity/claims/role"}"#;

/// A request as the host's web server received it.
pub struct Received<'a> {
    /// As the caller wrote it.
    pub method: &'a str,
    /// Decoded once.
    pub path: String,
    raw_path: &'a str,
    /// Behind the question mark, still encoded.
    pub query: &'a str,
    /// With those that the web server adds.
    pub headers: Headers,
    /// Without the coding of its transfer.
    pub body: &'a [u8],
}

impl<'a> Received<'a> {
    /// From what the caller sent. `Host` and, for a body, `Content-Length` are added unless `sent` has them.
    pub fn new(
        method: &'a str,
        path_and_query: &'a str,
        sent: &[(&str, &str)],
        body: &'a [u8],
    ) -> Self {
        let (path, query) = path_and_query
            .split_once('?')
            .unwrap_or((path_and_query, ""));
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
        Self {
            method,
            path: routes::received_path(path),
            raw_path: path,
            query: query.split('#').next().unwrap_or_default(),
            headers: headers.as_received(),
            body,
        }
    }

    /// The same with the host's own `traceparent`, unless the caller sent one.
    pub fn traced(mut self, activity: Option<String>) -> Self {
        if let Some(activity) = activity
            && self.headers.get("traceparent").is_none()
        {
            self.headers.append("traceparent", &activity);
            self.headers = self.headers.as_received();
        }
        self
    }

    /// Whether the caller showed this function key.
    pub fn shows(&self, key: &str) -> bool {
        let codes = routes::query(self.query);
        let mut codes = codes.iter().filter(|(name, _)| name == "code");
        self.headers.get("x-functions-key").as_deref() == Some(key)
            || codes.any(|(_, value)| value == key)
    }

    /// Path and query as a forwarding host prints them.
    pub fn forwarded_target(&self) -> String {
        routes::forwarded_path(&self.path) + &routes::forwarded_query(self.query)
    }

    /// Path and query as a proxying host prints them.
    pub fn proxied_target(&self) -> String {
        let path = routes::proxied_path(&self.path);
        match self.query {
            "" => path,
            query => format!("{path}?{query}"),
        }
    }

    /// What a forwarding host sends on.
    ///
    /// # Errors
    ///
    /// Why it cannot: the caller gets a 500.
    pub fn forwarded_headers(&self, invocation_id: &str) -> Result<Vec<(String, String)>, String> {
        if self.headers.is_chunked() {
            return Err("a chunked upload cannot be forwarded".to_owned());
        }
        let mut headers = self.headers.without_content();
        headers.append(HOST_VERSION_HEADER, HOST_VERSION);
        headers.append(INVOCATION_ID_HEADER, invocation_id);
        headers.append(
            "User-Agent",
            &format!("Azure-Functions-Host/{HOST_VERSION}"),
        );
        if let Some(length) = self.headers.get("content-length") {
            headers.append("Content-Length", &length);
        }
        if let Some(content_type) = self.headers.get("content-type")
            && !self.body.is_empty()
        {
            headers.append("Content-Type", &headers::media_type(&content_type)?);
        }
        let headers = headers.joined();
        match headers.iter().find(|(_, value)| !value.is_ascii()) {
            Some((name, _)) => Err(format!("header {name} is not ASCII")),
            None => Ok(headers),
        }
    }

    /// What a proxying host sends on.
    pub fn proxied_headers(&self, invocation_id: &str, port: u16) -> Vec<(String, String)> {
        let mut headers = self.headers.proxied();
        let content = headers.content();
        headers = headers.without_content();
        headers.remove("Host");
        headers.set(HOST_VERSION_HEADER, HOST_VERSION);
        headers.set(INVOCATION_ID_HEADER, invocation_id);
        headers.set("x-ms-invocation-id", invocation_id);
        match headers.len() > ORDERED_HEADERS {
            true => headers.prepend("X-Forwarded-For", "127.0.0.1"),
            false => headers.append("X-Forwarded-For", "127.0.0.1"),
        }
        let public_host = self.headers.get("host").unwrap_or_default();
        headers.append("X-Forwarded-Host", &public_host);
        headers.append("X-Forwarded-Proto", "http");
        if self.headers.is_chunked() {
            headers.append("Transfer-Encoding", "chunked");
        }
        headers.extend(content);
        headers.prepend("Host", &format!("127.0.0.1:{port}"));
        headers.joined()
    }

    /// The entry of the HTTP trigger in `Data`.
    pub fn data(&self, values: &RouteValues) -> Value {
        let public_host = self.headers.get("host").unwrap_or_default();
        let question_mark = if self.query.is_empty() { "" } else { "?" };
        let (path, query) = (self.raw_path, self.query);
        let identity: Value = serde_json::from_str(IDENTITY).expect("a constant");
        let mut request = json!({
            "Url": format!("http://{public_host}{path}{question_mark}{query}"),
            "Method": self.method,
            "Query": joined(&routes::query(query)),
            "Headers": self.headers.arrays(),
            "Params": values,
            "Identities": [identity],
        });
        if let Some(body) = self.body_text() {
            request["Body"] = body.into();
        }
        request
    }

    /// The trigger's metadata: of a parameter that came several times the last value only.
    pub fn metadata(&self, function: &Function, values: &RouteValues) -> Value {
        let mut metadata = Map::new();
        if let Some(body) = self.body_text().filter(|_| !self.is_binary()) {
            encoding::leak_properties(&body, &mut metadata);
        }
        let last = routes::last_values(self.query);
        for (key, value) in &last {
            if !key.eq_ignore_ascii_case("code") {
                metadata.insert(key.clone(), encoding::twice(&value.as_str().into()));
            }
        }
        for (name, value) in values {
            if let Some(value) = value {
                metadata.insert(name.clone(), encoding::twice(&value.as_str().into()));
            }
        }
        metadata.insert("Query".to_owned(), joined(&last));
        metadata.insert("Headers".to_owned(), self.headers.texts());
        encoding::drop_triggers(&mut metadata);
        metadata.insert("sys".to_owned(), encoding::sys(&function.name));
        metadata.into()
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

fn joined(entries: &[(String, String)]) -> Value {
    let entries = entries.iter();
    entries
        .map(|(key, value)| (key.clone(), value.as_str().into()))
        .collect::<Map<_, _>>()
        .into()
}

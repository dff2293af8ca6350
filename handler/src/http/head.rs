//! What a request says beside its body: its headers, and what its query adds to them.

use std::time::Instant;

use percent_encoding::percent_decode_str;
use score::CacheUse;
use tracing::{Level, span_enabled};
use warp::http::{HeaderMap, HeaderName, Method, header};
use wire::Declared;

use super::route::Paths;
use crate::problem::Problem;
use crate::scoring::Call;
use crate::telemetry::traces::Origin;

/// The header that carries the host's invocation id.
const INVOCATION_ID: HeaderName = HeaderName::from_static("x-azure-functions-invocationid");
/// Where JSON ends and binary tensors begin.
pub(super) const JSON_BYTES: HeaderName =
    HeaderName::from_static("inference-header-content-length");
const SHAPE: HeaderName = HeaderName::from_static("x-shape");
const DATATYPE: HeaderName = HeaderName::from_static("x-datatype");

/// What the handlers need of a request beside its body.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    /// The public path, without query.
    pub(super) path: String,
    content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    json_bytes: Option<usize>,
    shape: Option<String>,
    datatype: Option<String>,
    pub(super) accept: Option<String>,
    cache: CacheUse,
    pub(super) request_id: String,
    pub(super) received: Instant,
    /// The trace it is a part of, if that matters.
    pub(super) origin: Origin,
    /// Whether the answer has to be JSON, since it travels in an envelope.
    pub(super) json_only: bool,
    /// Whether it is an envelope of the host.
    pub(super) is_envelope: bool,
    /// Where paths lie.
    pub(super) paths: Paths,
    /// Whether the address has a key.
    pub(super) has_code: bool,
    /// Whether the address asks for everything there is to tell, by `?all`.
    pub(super) wants_all: bool,
}

impl Head {
    /// For a request in the forwarded form.
    pub(super) fn forwarded(method: Method, target: (&str, &str), headers: &HeaderMap) -> Self {
        let text = |name: HeaderName| headers.get(name)?.to_str().ok().map(str::to_owned);
        let mut head = Self::new(method, target, request_id(headers), text);
        if headers.contains_key(header::CONTENT_ENCODING) {
            // Lines of the same name are one list, RFC 9110 section 5.3.
            let lines = headers.get_all(header::CONTENT_ENCODING).iter();
            let lines: Vec<_> = lines
                .map(|line| String::from_utf8_lossy(line.as_bytes()))
                .collect();
            head.content_encoding = Some(lines.join(", "));
        }
        head
    }

    /// From path and query, and a look-up of headers.
    pub(super) fn new(
        method: Method,
        (path, query): (&str, &str),
        request_id: String,
        get: impl Fn(HeaderName) -> Option<String>,
    ) -> Self {
        let content_type = get(header::CONTENT_TYPE);
        let raw = content_type.as_deref().is_some_and(wire::is_raw);
        // Only raw bytes do not say this themselves.
        let named = |name: HeaderName, parameter: &str| {
            let given = raw.then(|| get(name).or_else(|| query_value(query, parameter)));
            given.flatten()
        };
        Self {
            shape: named(SHAPE, "shape"),
            datatype: named(DATATYPE, "datatype"),
            method,
            path: path.to_owned(),
            content_type,
            content_encoding: get(header::CONTENT_ENCODING),
            json_bytes: get(JSON_BYTES).and_then(|n| n.parse().ok()),
            accept: get(header::ACCEPT),
            cache: cache_use(get(header::CACHE_CONTROL).as_deref()),
            request_id,
            received: Instant::now(),
            origin: if span_enabled!(Level::INFO) {
                Origin::new(|name| get(HeaderName::from_bytes(name.as_bytes()).ok()?))
            } else {
                Origin::default()
            },
            json_only: false,
            is_envelope: false,
            paths: Paths::BelowPrefix,
            wants_all: !query.is_empty()
                && query
                    .split('&')
                    .any(|pair| pair == "all" || pair.starts_with("all=")),
            has_code: !query.is_empty() && query.contains("code="),
        }
    }

    /// What the headers say about the body and its answer.
    pub(super) fn call(&self) -> Call<'_> {
        Call {
            id: &self.request_id,
            index: None,
            since: self.received,
            declared: Declared {
                content_type: self.content_type.as_deref(),
                content_encoding: self.content_encoding.as_deref(),
                json_bytes: self.json_bytes,
                shape: self.shape.as_deref(),
                datatype: self.datatype.as_deref(),
                wrapped: false,
                by_row: false,
                table: None,
            },
            accept: self.accept.as_deref(),
            cache: self.cache,
            json_only: self.json_only,
            joint: None,
        }
    }
}

/// The value of a query parameter.
pub(super) fn query_value(query: &str, name: &str) -> Option<String> {
    if query.is_empty() {
        return None;
    }
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let value = percent_decode_str(value).decode_utf8().ok()?;
    Some(value.into_owned())
}

/// The host appends its own id to one that the client made up, so the last one counts.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get_all(INVOCATION_ID)
        .iter()
        .next_back()
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.rsplit(',').next())
        .map(str::trim)
        .filter(|id| !id.is_empty() && id.len() <= 128)
        .map_or_else(made_up_id, str::to_owned)
}

/// Of a request that did not come through a host. It only has to tell requests apart, so no system call is made for it.
fn made_up_id() -> String {
    let random = fastrand::u128(..).to_ne_bytes();
    let id = uuid::Builder::from_random_bytes(random).into_uuid();
    // Without the detour through `format!`.
    let mut text = uuid::Uuid::encode_buffer();
    id.hyphenated().encode_lower(&mut text).to_owned()
}

/// `Cache-Control` of a request, RFC 9111 section 5.2.1.
fn cache_use(cache_control: Option<&str>) -> CacheUse {
    let Some(cache_control) = cache_control else {
        return CacheUse::Normal;
    };
    let directives = cache_control.to_ascii_lowercase();
    let has = |name: &str| directives.split(',').any(|part| part.trim() == name);
    if has("no-store") {
        CacheUse::Bypass
    } else if has("no-cache") {
        CacheUse::Refresh
    } else {
        CacheUse::Normal
    }
}

/// Other codings would be taken for the data themselves. RFC 9110 sections 8.4.1.3 and 8.4.1.
pub(super) fn check_coding(coding: Option<&str>) -> Result<(), Problem> {
    let Some(coding) = coding else {
        return Ok(());
    };
    let known = |name: &str| {
        let all = ["identity", "gzip", "x-gzip"];
        all.iter().any(|one| name.eq_ignore_ascii_case(one))
    };
    // Empty elements of a list are none, RFC 9110 section 5.6.1.2.
    let mut names = coding
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty());
    match (names.next(), names.next()) {
        (None, _) => Ok(()),
        (Some(name), None) if known(name) => Ok(()),
        _ => Err(Problem::unknown_coding(coding)),
    }
}

#[cfg(test)]
mod tests {
    use warp::http::HeaderValue;

    use super::*;

    #[test]
    fn the_hosts_invocation_id_is_the_last_one() {
        let mut headers = HeaderMap::new();
        headers.append(INVOCATION_ID, HeaderValue::from_static("fake"));
        headers.append(INVOCATION_ID, HeaderValue::from_static("real"));
        assert_eq!(request_id(&headers), "real");
        headers.clear();
        headers.append(INVOCATION_ID, HeaderValue::from_static("fake, real"));
        assert_eq!(request_id(&headers), "real");
        headers.clear();
        assert_eq!(request_id(&headers).len(), 36);
    }

    #[test]
    fn raw_tensors_are_described_by_headers_or_the_query() {
        let named =
            |content_type: &'static str, headers: &[(&'static str, &'static str)], query| {
                let mut map = HeaderMap::new();
                map.insert("content-type", HeaderValue::from_static(content_type));
                for (name, value) in headers {
                    map.insert(*name, HeaderValue::from_static(value));
                }
                let head = Head::forwarded(Method::POST, ("/api/score", query), &map);
                (head.shape, head.datatype)
            };
        let owned = |text: &str| Some(text.to_owned());
        let octets = "application/octet-stream";
        let both = [("x-shape", "1,784"), ("x-datatype", "FP32")];
        assert_eq!(named(octets, &both, ""), (owned("1,784"), owned("FP32")));
        let query = "code=a%3D%3D&shape=1%2C784&datatype=float64";
        assert_eq!(
            named(octets, &[], query),
            (owned("1,784"), owned("float64"))
        );
        assert_eq!(
            named(octets, &both[..1], query),
            (owned("1,784"), owned("float64"))
        );
        assert_eq!(named(octets, &[], "code=1"), (None, None));
        assert_eq!(named("application/json", &both, query), (None, None));
    }

    #[test]
    fn one_coding_of_a_body_is_taken_and_lines_of_it_are_a_list() {
        let coding = |lines: &[&'static str]| {
            let mut map = HeaderMap::new();
            for line in lines {
                map.append("content-encoding", HeaderValue::from_static(line));
            }
            let head = Head::forwarded(Method::POST, ("/api/score", ""), &map);
            check_coding(head.content_encoding.as_deref())
        };
        for taken in [
            &[][..],
            &[""],
            &["gzip"],
            &["gzip, "],
            &["GZIP "],
            &["x-gzip"],
            &["identity"],
        ] {
            assert!(coding(taken).is_ok(), "{taken:?}");
        }
        for refused in [
            &["br"][..],
            &["gzip, gzip"],
            &["gzip", "gzip"],
            &["identity, gzip"],
            &["deflate"],
            &["zstd"],
            &["compress"],
            &["aws-chunked"],
            &["gzip;q=1.0"],
            &["utf-8"],
        ] {
            let problem = coding(refused).unwrap_err();
            assert_eq!(problem.status(), 415, "{refused:?}");
            assert!(problem.message.contains("gzip or identity"), "{problem:?}");
            assert_eq!(problem.accept_encoding, Some("gzip, identity"));
        }
    }

    #[test]
    fn reads_cache_control() {
        assert_eq!(cache_use(None), CacheUse::Normal);
        assert_eq!(cache_use(Some("max-age=0, No-Cache")), CacheUse::Refresh);
        assert_eq!(cache_use(Some("no-cache, no-store")), CacheUse::Bypass);
    }
}

//! Which requests are the host's own: its probe and the envelopes of functions.
//!
//! A forwarding host decodes paths after it has chosen the function, so that a caller with any function key can reach
//! every path here, `/score_queue` by `/api/score/..%5C..%5Cscore_queue`. What it forwards has the caller's `Host`; a
//! proxying host writes its own, but adds `X-Forwarded-` headers. Both were seen; neither ever forwards a chunked body.

use std::net::{IpAddr, SocketAddr};

use warp::http::uri::Authority;
use warp::http::{HeaderMap, Method, header};

use crate::config::Envelopes;

/// What the requests of the host look like.
#[derive(Debug, Clone, Copy)]
pub(super) struct HostRule {
    port: u16,
    hosted: bool,
    envelopes: Envelopes,
}

impl HostRule {
    /// For a program that listens there.
    pub(super) fn new(listen: SocketAddr, hosted: bool, envelopes: Envelopes) -> Self {
        Self {
            port: listen.port(),
            hosted,
            envelopes,
        }
    }

    /// Whether this may be the host's probe. Without a host, every load balancer may ask.
    pub(super) fn takes_probe(&self, headers: &HeaderMap) -> bool {
        !self.hosted || self.is_direct(headers)
    }

    /// Whether this may be an envelope.
    ///
    /// # Errors
    /// Why it is not the host's.
    pub(super) fn check_envelope(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Result<(), &'static str> {
        match self.envelopes {
            Envelopes::Refused => return Err("envelopes are switched off"),
            Envelopes::Chunked if !is_chunked(headers) => return Err("its body is not chunked"),
            Envelopes::Chunked | Envelopes::AnyLength => {}
        }
        if *method != Method::POST {
            return Err("its method is not POST");
        }
        match self.is_direct(headers) {
            true => Ok(()),
            false => Err("its Host header is not this address, or a proxy has passed it on"),
        }
    }

    /// Whether it was sent to this very address, and passed on by no proxy.
    fn is_direct(&self, headers: &HeaderMap) -> bool {
        let forwarded = |name: &str| name.starts_with("x-forwarded-") || name == "forwarded";
        let mut hosts = headers.get_all(header::HOST).iter();
        let (Some(host), None) = (hosts.next(), hosts.next()) else {
            return false;
        };
        let own = host.to_str().is_ok_and(|host| self.is_own(host));
        own && !headers.keys().any(|name| forwarded(name.as_str()))
    }

    fn is_own(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        let name = authority.host();
        let address = name.trim_start_matches('[').trim_end_matches(']');
        let loopback = name.eq_ignore_ascii_case("localhost")
            || address
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback());
        // Clients leave out port 80.
        loopback && authority.port_u16().unwrap_or(80) == self.port && !host.contains('@')
    }
}

/// hyper takes no request that has both a length and chunks as a chunked one without complaint, so both are looked at.
fn is_chunked(headers: &HeaderMap) -> bool {
    let coding = headers.get(header::TRANSFER_ENCODING);
    let chunked = coding.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"chunked"));
    chunked && !headers.contains_key(header::CONTENT_LENGTH)
}

#[cfg(test)]
mod tests {
    use warp::http::{HeaderName, HeaderValue};

    use super::*;

    const CHUNKED: (&str, &str) = ("transfer-encoding", "chunked");

    fn map(headers: &[(&str, &str)]) -> HeaderMap {
        let pairs = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            map.append(name, value);
        }
        map
    }

    fn rule(envelopes: Envelopes) -> HostRule {
        HostRule::new(([127, 0, 0, 1], 4711).into(), true, envelopes)
    }

    fn taken(envelopes: Envelopes, headers: &[(&str, &str)]) -> bool {
        rule(envelopes)
            .check_envelope(&Method::POST, &map(headers))
            .is_ok()
    }

    #[test]
    fn an_envelope_comes_straight_to_the_own_loopback_address() {
        for host in [
            "127.0.0.1:4711",
            "localhost:4711",
            "LOCALHOST:4711",
            "[::1]:4711",
        ] {
            let direct = [("host", host), CHUNKED];
            assert!(taken(Envelopes::Chunked, &direct), "{host}");
            assert!(!taken(Envelopes::Refused, &direct), "{host}");
        }
        for host in [
            "app.example",
            "app.example:4711",
            "127.0.0.1",
            "127.0.0.1:4712",
            "127.0.0.1:04711x",
            "127.0.0.1.app.example:4711",
            "localhost.app.example:4711",
            "user@127.0.0.1:4711",
            "127.0.0.1:4711, app.example",
            "2130706433:4711",
            "[::1:4711",
            "",
        ] {
            let other = [("host", host), CHUNKED];
            assert!(!taken(Envelopes::AnyLength, &other), "{host}");
        }
        let own = ("host", "127.0.0.1:4711");
        assert!(!taken(Envelopes::Chunked, &[CHUNKED]));
        assert!(!taken(Envelopes::Chunked, &[own, own, CHUNKED]));
        for name in ["x-forwarded-for", "x-forwarded-host", "forwarded"] {
            assert!(!taken(Envelopes::Chunked, &[own, CHUNKED, (name, "")]));
        }
        let get = rule(Envelopes::Chunked).check_envelope(&Method::GET, &map(&[own, CHUNKED]));
        assert_eq!(get, Err("its method is not POST"));
    }

    #[test]
    fn only_a_chunked_body_is_an_envelope_unless_the_core_tools_run() {
        let own = ("host", "127.0.0.1:4711");
        let length = ("content-length", "2");
        for headers in [
            &[own][..],
            &[own, length],
            &[own, length, CHUNKED],
            &[own, ("transfer-encoding", "gzip, chunked")],
        ] {
            assert!(!taken(Envelopes::Chunked, headers), "{headers:?}");
            assert!(taken(Envelopes::AnyLength, headers), "{headers:?}");
        }
    }

    #[test]
    fn a_probe_is_the_hosts_own_where_there_is_one() {
        let own = map(&[("host", "127.0.0.1:4711")]);
        let forwarded = map(&[("host", "app.example")]);
        let hosted = rule(Envelopes::Chunked);
        assert!(hosted.takes_probe(&own) && !hosted.takes_probe(&forwarded));
        let alone = HostRule::new(([0, 0, 0, 0], 4711).into(), false, Envelopes::Refused);
        assert!(alone.takes_probe(&own) && alone.takes_probe(&forwarded));
    }
}

//! The variables that OpenTelemetry's specification names, as far as they decide whether and how traces are exported.
//! The SDK itself reads the others: resource, sampler, headers, limits of the queue.

use std::time::Duration;

use hyper::Uri;

use super::environment::Environment;
use super::setting::Typed;
use super::table;

/// How traces are exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSettings {
    /// How long one request to the collector may take.
    pub timeout: Duration,
    /// Whether the variables give this service a name.
    pub is_named: bool,
    /// Whether the collector has to show a certificate.
    pub is_https: bool,
}

const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// The settings, or `None` if nothing is exported; what was ignored goes to `remarks`, by the name of its variable and
/// never with its value, which may hold a secret. As the specification says, a mistake here does not keep the program from
/// starting: the host reads the same variables, and may understand more of them.
pub(super) fn read(environment: &Environment, remarks: &mut Vec<String>) -> Option<TraceSettings> {
    let text = |row: &Typed<Option<String>>| environment.find(&row.setting).map(|(_, text)| text);
    let is = |row, word: &str| text(row).is_some_and(|value| value.eq_ignore_ascii_case(word));
    let (name, _) = environment.find(&table::OTLP_ENDPOINT.setting)?;
    if is(&table::OTEL_SDK_DISABLED, "true") || is(&table::OTEL_TRACES_EXPORTER, "none") {
        return None;
    }
    // As the exporter reads it, so that an address which it does not take is found here.
    let endpoint = environment.raw(name)?;
    let path = match name == table::OTLP_ENDPOINT.setting.name {
        true => "",
        false => "/v1/traces",
    };
    let Some(is_https) = is_https(&format!("{endpoint}{path}")) else {
        remarks.push(format!(
            "traces are not exported: {name} is not an http or https URL"
        ));
        return None;
    };
    if let Some((name, protocol)) = environment.find(&table::OTLP_PROTOCOL.setting)
        && protocol != "http/protobuf"
    {
        remarks.push(format!(
            "traces are not exported: {name} is not http/protobuf, the only protocol that the handler speaks"
        ));
        return None;
    }
    if let Some((name, _)) = environment.find(&table::OTEL_TRACES_SAMPLER.setting)
        && !environment
            .raw(name)
            .is_some_and(|sampler| SAMPLERS.contains(&sampler))
    {
        let remark = "OTEL_TRACES_SAMPLER names no known sampler: parentbased_always_on is used";
        remarks.push(remark.to_owned());
    }
    let timeout = text(&table::OTLP_TIMEOUT).and_then(|millis| millis.parse().ok());
    let attributes = text(&table::OTEL_RESOURCE_ATTRIBUTES).unwrap_or_default();
    Some(TraceSettings {
        timeout: Duration::from_millis(timeout.unwrap_or(10_000)),
        is_named: text(&table::OTEL_SERVICE_NAME).is_some()
            || attributes
                .split(',')
                .any(|pair| pair.trim().starts_with("service.name=")),
        is_https,
    })
}

/// Whether this is the address of a collector behind TLS; `None` if it is no address.
fn is_https(endpoint: &str) -> Option<bool> {
    let uri: Uri = endpoint.parse().ok()?;
    let host = uri.host().unwrap_or_default();
    match uri.scheme_str() {
        Some("http") if !host.is_empty() => Some(false),
        Some("https") if !host.is_empty() => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> (Option<TraceSettings>, Vec<String>) {
        let environment = variables.iter().copied().collect();
        let mut remarks = Vec::new();
        (read(&environment, &mut remarks), remarks)
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    #[test]
    fn an_endpoint_switches_traces_on_unless_something_switches_them_off() {
        assert_eq!(settings(&[]), (None, vec![]));
        let (on, remarks) = settings(&[ENDPOINT]);
        assert_eq!(on.unwrap().timeout, Duration::from_secs(10));
        assert!(remarks.is_empty());
        for off in [
            ("OTEL_SDK_DISABLED", "True"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert_eq!(settings(&[ENDPOINT, off]), (None, vec![]));
        }
    }

    #[test]
    fn what_is_for_traces_wins() {
        let (on, _) = settings(&[
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces/v1"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "250"),
            ("OTEL_RESOURCE_ATTRIBUTES", "a=1, service.name=scores"),
        ]);
        let expected = TraceSettings {
            timeout: Duration::from_millis(250),
            is_named: true,
            is_https: true,
        };
        assert_eq!(on, Some(expected));
    }

    #[test]
    fn mistakes_are_remarks_without_secrets() {
        for wrong in [
            "collector?key=s3cret",
            "http://user:s3cret@ho st:4318",
            "http://[s3cret",
            "https://:s3cret",
            "grpc://s3cret:4317",
        ] {
            let (off, remarks) = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", wrong)]);
            assert_eq!((off, remarks.len()), (None, 1), "{wrong}");
            assert!(remarks[0].contains("OTEL_EXPORTER_OTLP_ENDPOINT"));
            assert!(!remarks[0].contains("s3cret"), "{remarks:?}");
        }
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc-s3cret");
        let (off, remarks) = settings(&[ENDPOINT, grpc]);
        assert_eq!((off, remarks.len()), (None, 1));
        assert!(!remarks[0].contains("s3cret"), "{remarks:?}");
        let (on, remarks) = settings(&[ENDPOINT, ("OTEL_TRACES_SAMPLER", "s3cret")]);
        assert_eq!((on.is_some(), remarks.len()), (true, 1));
        assert!(!remarks[0].contains("s3cret"), "{remarks:?}");
    }

    #[test]
    fn certificates_are_wanted_of_https_alone() {
        for (endpoint, is_https) in [
            ("http://collector:4318", false),
            ("HTTP://collector", false),
            ("https://collector/otlp/", true),
            ("https://user:key@[::1]:4318?key=1", true),
        ] {
            let (on, _) = settings(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
            assert_eq!(on.unwrap().is_https, is_https, "{endpoint}");
        }
    }
}

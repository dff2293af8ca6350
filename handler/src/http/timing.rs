//! The header `Server-Timing`, which every answer with scores has: written into one buffer, without `format!`, which would
//! be a twentieth of the work on a row that is found in the process.

use std::time::Duration;

use warp::http::HeaderValue;

/// Long enough for six steps of an hour each.
const USUAL_BYTES: usize = 160;

/// Names and milliseconds of steps: `decode;dur=0.05, cache;dur=1.2`.
pub(super) fn server_timing(
    steps: impl Iterator<Item = (&'static str, Duration)>,
) -> Option<HeaderValue> {
    let mut text = Vec::with_capacity(USUAL_BYTES);
    for (name, time) in steps {
        if !text.is_empty() {
            text.extend_from_slice(b", ");
        }
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b";dur=");
        write_millis(&mut text, time);
    }
    HeaderValue::from_bytes(&text).ok()
}

/// Thousandths are as much as a clock tells; zeros at the end are left out.
fn write_millis(text: &mut Vec<u8>, time: Duration) {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let (millis, rest) = (micros / 1000, micros % 1000);
    text.extend_from_slice(itoa::Buffer::new().format(millis).as_bytes());
    if rest == 0 {
        return;
    }
    let digit = |divisor: u64| b'0' + (rest / divisor % 10) as u8;
    let decimals = [b'.', digit(100), digit(10), digit(1)];
    let zeros = decimals.iter().rev().take_while(|byte| **byte == b'0');
    text.extend_from_slice(&decimals[..decimals.len() - zeros.count()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_written_as_a_float_would_be() {
        for micros in [
            0,
            1,
            9,
            10,
            99,
            100,
            120,
            999,
            1000,
            1001,
            1010,
            1100,
            20_500,
            3_600_000_000,
        ] {
            let mut text = Vec::new();
            write_millis(&mut text, Duration::from_micros(micros));
            let expected = (micros as f64 / 1e3).to_string();
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        }
    }

    #[test]
    fn the_header_names_each_step() {
        let steps = [
            ("decode", Duration::from_nanos(50_700)),
            ("infer", Duration::ZERO),
            ("encode", Duration::from_millis(12)),
        ];
        let value = server_timing(steps.into_iter()).unwrap();
        assert_eq!(value, "decode;dur=0.05, infer;dur=0, encode;dur=12");
        assert!(server_timing([("cache", Duration::MAX)].into_iter()).is_some());
    }
}

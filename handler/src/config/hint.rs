//! What to write instead of a value that is not taken, for mistakes that people make.

use std::time::Duration;

use super::reader::is_quoted;
use super::setting::{Kind, Setting};

/// Text to put behind "expected ...", if it is clear what was meant.
pub(super) fn hint(setting: &Setting, text: &str) -> Option<String> {
    if is_quoted(text) {
        let hint =
            "remove the quotes, which are part of the value here (docker --env-file keeps them)";
        return Some(hint.to_owned());
    }
    match setting.kind {
        Kind::Number { unit, .. } => number(unit, text),
        Kind::Time | Kind::TimeOrZero => time(text),
        Kind::Words(words) if words().contains(&"on") => switch(text),
        Kind::Text(_) if text.eq_ignore_ascii_case("localhost") => write("127.0.0.1"),
        Kind::Words(_) | Kind::Text(_) | Kind::Port => None,
    }
}

fn write(value: impl std::fmt::Display) -> Option<String> {
    Some(format!("write {value}"))
}

/// `1_000`, `1,000`, and for bytes `32MB` or `32 MiB`.
fn number(unit: &str, text: &str) -> Option<String> {
    let plain = text.replace(['_', ',', ' '], "").to_ascii_lowercase();
    let end = plain.find(|c: char| !c.is_ascii_digit());
    let (digits, suffix) = plain.split_at(end.unwrap_or(plain.len()));
    let factor: u64 = match suffix {
        "" => 1,
        _ if unit != "bytes" => return None,
        "b" => 1,
        "kb" => 1000,
        "mb" => 1000_u64.pow(2),
        "gb" => 1000_u64.pow(3),
        "k" | "ki" | "kib" => 1 << 10,
        "m" | "mi" | "mib" => 1 << 20,
        "g" | "gi" | "gib" => 1 << 30,
        _ => return None,
    };
    let number = digits.parse::<u64>().ok()?.checked_mul(factor)?;
    (number > 0).then(|| write(number))?
}

/// `60`, `0.5s`, `30S`, `4M`.
fn time(text: &str) -> Option<String> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Zero is refused for itself, not for its missing unit.
        let number: u64 = text.parse().ok().filter(|number| *number > 0)?;
        return write(format!("{number}ms, {number}s or {number}m"));
    }
    let plain = text.replace(',', ".").to_ascii_lowercase();
    let unit = plain.find(|c: char| c.is_ascii_alphabetic())?;
    let (number, unit) = plain.split_at(unit);
    let number: f64 = number.trim().parse().ok()?;
    let unit = humantime::parse_duration(&format!("1{unit}")).ok()?;
    let meant = Duration::try_from_secs_f64(unit.as_secs_f64() * number).ok()?;
    // Below a millisecond it is what floating point adds.
    let meant = Duration::from_millis(u64::try_from(meant.as_millis()).ok()?);
    (!meant.is_zero()).then(|| write(humantime::format_duration(meant)))?
}

fn switch(text: &str) -> Option<String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "1" | "enabled" => write("on"),
        "false" | "no" | "0" | "disabled" => write("off"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn what_was_meant_is_told_where_it_is_clear() {
        let rows = &table::MAX_ROWS.setting;
        let bytes = &table::MAX_BODY_BYTES.setting;
        let port = &table::PORT.setting;
        let timeout = &table::TIMEOUT.setting;
        let page = &table::PAGE.setting;
        for (setting, text, expected) in [
            (rows, "\"64\"", Some("remove the quotes")),
            (timeout, "'60s'", Some("remove the quotes")),
            (rows, "10_000", Some("write 10000")),
            (rows, "10,000", Some("write 10000")),
            (rows, "10k", None),
            (rows, "-1", None),
            (rows, "0", None),
            (rows, "many", None),
            (rows, "99999999999999999999", None),
            (bytes, "32MB", Some("write 32000000")),
            (bytes, "32 MiB", Some("write 33554432")),
            (bytes, "64Mi", Some("write 67108864")),
            (bytes, "1g", Some("write 1073741824")),
            (bytes, "18446744073709551615k", None),
            (bytes, "1e6", None),
            (port, "http", None),
            (timeout, "60", Some("write 60ms, 60s or 60m")),
            (timeout, "0.5s", Some("write 500ms")),
            (timeout, "1,5 h", Some("write 1h 30m")),
            (timeout, "30S", Some("write 30s")),
            (timeout, "4M", Some("write 4m")),
            (timeout, "0", None),
            (timeout, "-5s", None),
            (timeout, "soon", None),
            (page, "true", Some("write on")),
            (page, "NO", Some("write off")),
            (page, "perhaps", None),
            (&table::BIND.setting, "localhost", Some("write 127.0.0.1")),
        ] {
            let hint = hint(setting, text);
            match expected {
                Some(expected) => assert!(
                    hint.as_deref()
                        .is_some_and(|hint| hint.starts_with(expected)),
                    "{text}: {hint:?}"
                ),
                None => assert_eq!(hint, None, "{text}"),
            }
        }
    }
}

//! What to write instead of a value that is not taken, for mistakes that people make.

use std::time::Duration;

use super::reader::is_quoted;
use super::setting::{Kind, Setting};

/// Text to put behind "expected ...", if it is clear what was meant.
pub(super) fn hint(setting: &Setting, variable: &str, text: &str) -> Option<String> {
    if is_quoted(text) {
        let hint = "remove the quotes, which are part of the value here (docker --env-file and Kubernetes keep them)";
        return Some(hint.to_owned());
    }
    match setting.kind {
        Kind::Number { unit, .. } => number(unit, text),
        Kind::Port => port(variable, text),
        Kind::Time | Kind::TimeOrZero => time(text),
        Kind::Words(words) if words().contains(&"on") => switch(text),
        Kind::Words(_) | Kind::Text(_) => None,
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

fn port(variable: &str, text: &str) -> Option<String> {
    if !text.starts_with("tcp://") {
        return None;
    }
    let service = variable.strip_suffix("_PORT")?.to_ascii_lowercase();
    Some(format!(
        "Kubernetes sets this for a service named {service}: set enableServiceLinks: false in the pod, or set {variable} \
         there"
    ))
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

//! Dates inside JSON strings, read and printed as Newtonsoft.Json does on a machine whose zone is UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::encoding::Instant;

/// A date-time found in a JSON string.
#[derive(Clone, Debug, PartialEq)]
pub struct DateTime {
    /// Seconds since 1970 of the wall time as written.
    seconds: i64,
    /// Tenths of microseconds.
    ticks: u32,
    zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Zone {
    None,
    Utc,
    /// Seconds east of Greenwich.
    Offset(i64),
}

/// The date-time that `text` is, if all of it is one.
pub fn parse(text: &str) -> Option<DateTime> {
    if !text.is_ascii() || !(19..=40).contains(&text.len()) {
        return None;
    }
    let form = |from: usize, mark: u8| text.as_bytes()[from] == mark;
    if !(form(4, b'-') && form(7, b'-') && form(10, b'T') && form(13, b':') && form(16, b':')) {
        return None;
    }
    let year = number(&text[0..4], 1..=9999)?;
    let month = number(&text[5..7], 1..=12)?;
    let day = number(&text[8..10], 1..=days_in(year, month))?;
    let hour = number(&text[11..13], 0..=23)?;
    let minute = number(&text[14..16], 0..=59)?;
    let second = number(&text[17..19], 0..=59)?;
    let (ticks, rest) = fraction(&text[19..])?;
    Some(DateTime {
        seconds: days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second,
        ticks,
        zone: zone(rest)?,
    })
}

/// The present in UTC, `2026-03-01T10:00:06.1234567Z`.
pub fn now() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let whole = civil_text(since.as_secs() as i64);
    format!("{whole}{}Z", fraction_text(since.subsec_nanos() / 100))
}

/// Seconds since 1970 as the host writes a `DateTime`: whole seconds, no zone.
pub fn whole_seconds(seconds: i64) -> String {
    civil_text(seconds)
}

/// The same with what there is of a fraction.
pub fn full(at: Instant) -> String {
    civil_text(at.seconds) + &fraction_text(at.ticks)
}

fn fraction_text(ticks: u32) -> String {
    match ticks {
        0 => String::new(),
        ticks => format!(".{ticks:07}").trim_end_matches('0').to_owned(),
    }
}

impl DateTime {
    /// As it is printed inside JSON: fraction without trailing zeros, offsets turned into local time.
    pub fn json_text(&self) -> String {
        let fraction = fraction_text(self.ticks);
        let suffix = match self.zone {
            Zone::None => "",
            Zone::Utc => "Z",
            Zone::Offset(_) => "+00:00",
        };
        format!("{}{fraction}{suffix}", civil_text(self.local_seconds()))
    }

    /// As plain text conversion prints it: `03/01/2026 10:00:05`.
    pub fn culture_text(&self) -> String {
        let iso = civil_text(self.local_seconds());
        format!(
            "{}/{}/{} {}",
            &iso[5..7],
            &iso[8..10],
            &iso[0..4],
            &iso[11..]
        )
    }

    fn local_seconds(&self) -> i64 {
        match self.zone {
            Zone::Offset(east) => self.seconds - east,
            Zone::None | Zone::Utc => self.seconds,
        }
    }
}

fn number(digits: &str, range: std::ops::RangeInclusive<i64>) -> Option<i64> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|value| range.contains(value))
}

fn fraction(text: &str) -> Option<(u32, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return None;
    }
    let seven: String = rest[..count]
        .chars()
        .chain("0000000".chars())
        .take(7)
        .collect();
    Some((seven.parse().ok()?, &rest[count..]))
}

fn zone(text: &str) -> Option<Zone> {
    let (sign, offset) = match text.as_bytes().first() {
        None => return Some(Zone::None),
        Some(b'Z') if text.len() == 1 => return Some(Zone::Utc),
        Some(b'+') => (1, &text[1..]),
        Some(b'-') => (-1, &text[1..]),
        Some(_) => return None,
    };
    let (hours, minutes) = match offset.len() {
        2 => (offset, "00"),
        4 => offset.split_at(2),
        5 => offset.split_once(':')?,
        _ => return None,
    };
    if hours.len() != 2 {
        return None;
    }
    let seconds = number(hours, 0..=14)? * 3600 + number(minutes, 0..=59)? * 60;
    Some(Zone::Offset(sign * seconds))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar; years begin in March so that leap days come last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse of [`days_since_1970`], with the time of day.
fn civil_text(seconds: i64) -> String {
    let days = seconds.div_euclid(86_400) + 719_468;
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = days.div_euclid(146_097) * 400 + year_of_era + i64::from(month <= 2);
    let time = seconds.rem_euclid(86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}",
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_full_date_times_only() {
        for text in [
            "2026-03-01T10:00:05",
            "2026-03-01T10:00:05Z",
            "2026-03-01T10:00:05.1234567Z",
            "2026-03-01T10:00:05+02:00",
            "2024-02-29T23:59:59-0130",
        ] {
            assert!(parse(text).is_some(), "{text}");
        }
        for text in [
            "2026-03-01",
            "2026-03-01 10:00:05",
            "2026-03-01T10:00",
            "2026-13-01T10:00:05Z",
            "2026-02-29T10:00:05Z",
            "2026-03-01T10:00:05.Z",
            "2026-03-01T10:00:05 and more",
            " 2026-03-01T10:00:05Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn prints_dates_differently_from_how_they_came() {
        let at = parse("2026-03-01T10:00:05.500Z").unwrap();
        assert_eq!(at.json_text(), "2026-03-01T10:00:05.5Z");
        assert_eq!(at.culture_text(), "03/01/2026 10:00:05");
        let east = parse("2026-03-01T01:30:00+02:00").unwrap();
        assert_eq!(east.json_text(), "2026-02-28T23:30:00+00:00");
        assert_eq!(east.culture_text(), "02/28/2026 23:30:00");
    }

    #[test]
    fn calendar_goes_both_ways() {
        assert_eq!(days_since_1970(1970, 1, 1), 0);
        assert_eq!(days_since_1970(2000, 3, 1), 11_017);
        for day in (-800_000..800_000).step_by(997) {
            let text = civil_text(day * 86_400);
            let part = |range: std::ops::Range<usize>| text[range].parse::<i64>();
            if let (Ok(year), Ok(month), Ok(date)) = (part(0..4), part(5..7), part(8..10)) {
                assert_eq!(days_since_1970(year, month, date), day, "{text}");
            }
        }
        assert!(parse(&now()).is_some());
    }
}

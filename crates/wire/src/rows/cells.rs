//! Cells of a table as tokens of JSON, so that one reader decides what fits an element type. No digit is lost on the way.

use std::borrow::Cow;

use score::ElementType;

/// How numbers are written in a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Notation {
    /// Whether a comma may stand for the decimal point. It does where semicolons separate, as in much of Europe.
    pub(crate) decimal_comma: bool,
}

impl Notation {
    /// The cell as a token of JSON for a column of that type: a number, a truth value, or else a string, so that no cell can
    /// break out of its place. Texts stay as they are, blanks included.
    pub(crate) fn token(self, cell: &str, ty: ElementType) -> Cow<'_, str> {
        let text = |text: &str| Cow::Owned(serde_json::Value::from(text).to_string());
        let plain = cell.trim();
        match ty {
            ElementType::String => text(cell),
            ElementType::Bool => match plain {
                "true" | "True" | "TRUE" => Cow::Borrowed("true"),
                "false" | "False" | "FALSE" => Cow::Borrowed("false"),
                other => text(other),
            },
            _ => match self.number(plain) {
                Some(number) => number,
                None => special(plain).map_or_else(|| text(plain), Cow::Borrowed),
            },
        }
    }

    /// Whether the cell is a number, a truth value or one of the words for special numbers.
    pub(crate) fn is_value(self, cell: &str) -> bool {
        let cell = cell.trim();
        let word = cell.eq_ignore_ascii_case("true") || cell.eq_ignore_ascii_case("false");
        word || special(cell).is_some() || self.number(cell).is_some()
    }

    /// Whether the cell is a value, or looks like a number that is written otherwise: such a cell names no column.
    pub(crate) fn is_like_value(self, cell: &str) -> bool {
        let cell = cell.trim();
        let unsigned = cell.strip_prefix(['+', '-']).unwrap_or(cell);
        let marks = [',', '.', ';', '\'', '%', ' ', '\t', '\u{a0}'];
        let mut number = unsigned
            .chars()
            .all(|c| c.is_ascii_digit() || marks.contains(&c));
        number &= unsigned.contains(|c: char| c.is_ascii_digit());
        number || self.is_value(cell)
    }

    /// A number as JSON writes it: all digits are kept, but a plus sign, zeros in front and a lone point are not JSON's.
    fn number(self, cell: &str) -> Option<Cow<'_, str>> {
        let unsigned = cell.strip_prefix(['+', '-']).unwrap_or(cell);
        let (mantissa, exponent) = match split(unsigned, |byte| matches!(byte, b'e' | b'E')) {
            Some((mantissa, exponent)) => (mantissa, Some(exponent)),
            None => (unsigned, None),
        };
        let (whole, decimals) = match split(mantissa, |byte| byte == b'.') {
            None if self.decimal_comma => {
                split(mantissa, |byte| byte == b',').unwrap_or((mantissa, ""))
            }
            parts => parts.unwrap_or((mantissa, "")),
        };
        let power = exponent.map(|power| power.strip_prefix(['+', '-']).unwrap_or(power));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let empty = whole.is_empty() && decimals.is_empty();
        if empty || !digits(whole) || !digits(decimals) {
            return None;
        }
        if power.is_some_and(|power| power.is_empty() || !digits(power)) {
            return None;
        }
        let zeros = whole.bytes().take_while(|byte| *byte == b'0').count();
        let significant = &whole[zeros.min(whole.len().saturating_sub(1))..];
        let as_written = significant.len() == whole.len()
            && !whole.is_empty()
            && !cell.starts_with('+')
            && !mantissa.contains(',')
            && (!decimals.is_empty() || !mantissa.ends_with('.'));
        if as_written {
            return Some(Cow::Borrowed(cell));
        }
        let mut number = String::with_capacity(cell.len() + 1);
        number.push_str(if cell.starts_with('-') { "-" } else { "" });
        number.push_str(if whole.is_empty() { "0" } else { significant });
        if !decimals.is_empty() {
            number.push('.');
            number.push_str(decimals);
        }
        if let Some(exponent) = exponent {
            number.push('e');
            number.push_str(exponent);
        }
        Some(Cow::Owned(number))
    }
}

/// What stands before and behind the first of some bytes of ASCII. For cells, which are short, it takes a third of the time
/// that a search of the standard library does.
fn split(text: &str, at: impl Fn(u8) -> bool) -> Option<(&str, &str)> {
    let at = text.bytes().position(at)?;
    Some((&text[..at], &text[at + 1..]))
}

/// The words for special numbers in any spelling, as strings of JSON.
fn special(cell: &str) -> Option<&'static str> {
    let word = cell.strip_prefix(['+', '-']).unwrap_or(cell);
    let is = |name: &str| word.eq_ignore_ascii_case(name);
    if is("nan") {
        Some("\"NaN\"")
    } else if is("inf") || is("infinity") {
        Some(if cell.starts_with('-') {
            "\"-Infinity\""
        } else {
            "\"Infinity\""
        })
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POINTS: Notation = Notation {
        decimal_comma: false,
    };
    const COMMAS: Notation = Notation {
        decimal_comma: true,
    };

    #[test]
    fn numbers_keep_their_digits() {
        for (cell, token) in [
            ("0012345678901234567", "12345678901234567"),
            ("-0012345678901234567", "-12345678901234567"),
            ("+12345678901234567", "12345678901234567"),
            ("12345678901234567.", "12345678901234567"),
            ("09223372036854775807", "9223372036854775807"),
            ("00", "0"),
            ("-0", "-0"),
            (".5", "0.5"),
            ("-.5E+3", "-0.5e+3"),
            ("1.e3", "1e3"),
            ("1.50", "1.50"),
            ("1e400", "1e400"),
            (" 7 ", "7"),
            ("-INF", "\"-Infinity\""),
            ("nan", "\"NaN\""),
        ] {
            assert_eq!(POINTS.token(cell, ElementType::Int64), token, "{cell}");
        }
        for word in [
            "", ".", "-", "+", "e5", "1e", "1e+", "1_000", "0x10", "1 2", "--1", "1,5", "１２",
            "1.2.3",
        ] {
            assert!(
                POINTS.token(word, ElementType::Int64).starts_with('"'),
                "{word}"
            );
        }
    }

    #[test]
    fn commas_are_decimal_where_semicolons_separate() {
        for (cell, token) in [
            ("1,5", "1.5"),
            ("-,5", "-0.5"),
            ("1.5", "1.5"),
            ("1,", "1"),
            ("1,5e3", "1.5e3"),
        ] {
            assert_eq!(COMMAS.token(cell, ElementType::Float32), token, "{cell}");
        }
        for word in ["1.234,5", "1,234.5", "1,2,3", ","] {
            assert!(
                COMMAS.token(word, ElementType::Float32).starts_with('"'),
                "{word}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_number_becomes_one_of_json_with_the_same_value(
            cell in "[+-]?(0{0,3}[0-9]{1,20})?(\\.[0-9]{0,20})?([eE][+-]?[0-9]{1,3})?",
        ) {
            let token = POINTS.token(&cell, ElementType::Float64);
            match cell.parse::<f64>() {
                Ok(value) => {
                    prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&token).is_ok());
                    prop_assert_eq!(token.parse::<f64>().unwrap().to_bits(), value.to_bits());
                }
                Err(_) => prop_assert!(token.starts_with('"'), "{}", token),
            }
        }

        #[test]
        fn any_cell_is_one_token(cell in "\\PC{0,12}", comma in any::<bool>()) {
            for ty in ElementType::ALL {
                let notation = Notation { decimal_comma: comma };
                let token = notation.token(&cell, ty);
                prop_assert!(serde_json::from_str::<&serde_json::value::RawValue>(&token).is_ok());
            }
        }
    }
}

//! One element of a tensor as JSON, exactly: nothing is wrapped, cut or rounded twice.

use std::borrow::Cow;

use half::{bf16, f16};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize, Serializer};

use crate::json::base64;
use crate::json::number::Number;
use crate::json::scanner::Scanner;

/// An element type as JSON carries it.
pub(crate) trait Element: Sized + 'static {
    /// Whether its plain form is a number.
    const IS_NUMBER: bool = true;
    /// Whether [`Element::parse`] takes objects too.
    const IN_OBJECTS: bool = false;
    /// The value that represents a missing one, if the type has such a value.
    const NAN: Option<Self> = None;

    /// The element that a number stands for; `None` if it does not fit the type.
    fn of_number(number: &Number<'_>) -> Option<Self>;

    /// Reads the plain form of the element; anything unusual is left to [`Element::parse`].
    #[inline(always)]
    fn scan(scanner: &mut Scanner<'_>) -> Option<Self> {
        Self::of_number(&scanner.number()?)
    }

    /// Reads one JSON token, which may be of any kind but array and object.
    ///
    /// # Errors
    /// What was expected and what was found.
    fn parse(token: &str) -> Result<Self, String>;

    /// The element as it is written in answers.
    fn json(&self) -> impl Serialize + '_;
}

/// Integers: whole numbers in range. A number with a fraction part of zero (`5.0`) is whole; beyond 2^53 it must be
/// written without point and exponent, since only then is it certain which integer is meant.
macro_rules! integer {
    ($($ty:ident $name:literal),*) => {$(
        impl Element for $ty {
            #[inline(always)]
            fn of_number(number: &Number<'_>) -> Option<Self> {
                number.integer()
            }
            fn parse(token: &str) -> Result<Self, String> {
                let text = unquoted(token);
                if let Ok(value) = text.parse() {
                    return Ok(value);
                }
                let wrong = || unfit(token, concat!("a whole number for ", $name));
                let whole = whole(&text).ok_or_else(wrong)?;
                <$ty>::try_from(whole).map_err(|_| {
                    let (min, max) = (<$ty>::MIN, <$ty>::MAX);
                    format!("{}, which is out of range ({min} to {max})", wrong())
                })
            }
            fn json(&self) -> impl Serialize + '_ {
                *self
            }
        }
    )*};
}
integer!(
    i8 "int8", i16 "int16", i32 "int32", i64 "int64", u8 "uint8", u16 "uint16", u32 "uint32", u64 "uint64"
);

impl Element for f32 {
    const NAN: Option<Self> = Some(Self::NAN);
    #[inline(always)]
    fn of_number(number: &Number<'_>) -> Option<Self> {
        number.single()
    }
    fn parse(token: &str) -> Result<Self, String> {
        if let Some(special) = special(token) {
            return Ok(special as f32);
        }
        let text = unquoted(token);
        let value = if is_number(&text) {
            text.parse::<f32>().ok()
        } else {
            None
        };
        finite(value, token, "float32")
    }
    fn json(&self) -> impl Serialize + '_ {
        Float(*self)
    }
}

impl Element for f64 {
    const NAN: Option<Self> = Some(Self::NAN);
    #[inline(always)]
    fn of_number(number: &Number<'_>) -> Option<Self> {
        number.double()
    }
    fn parse(token: &str) -> Result<Self, String> {
        if let Some(special) = special(token) {
            return Ok(special);
        }
        finite(number(&unquoted(token)), token, "float64")
    }
    fn json(&self) -> impl Serialize + '_ {
        Double(*self)
    }
}

macro_rules! half_float {
    ($($ty:ident $name:literal),*) => {$(
        impl Element for $ty {
            const NAN: Option<Self> = Some(Self::NAN);
            fn of_number(number: &Number<'_>) -> Option<Self> {
                let value = <$ty>::from_f32(rounded_to_odd(number.double()?));
                value.is_finite().then_some(value)
            }
            fn parse(token: &str) -> Result<Self, String> {
                if let Some(special) = special(token) {
                    return Ok(<$ty>::from_f64(special));
                }
                let value = number(&unquoted(token));
                let value = value.map(|value| <$ty>::from_f32(rounded_to_odd(value)));
                finite(value, token, $name)
            }
            fn json(&self) -> impl Serialize + '_ {
                Float(self.to_f32())
            }
        }
    )*};
}
half_float!(f16 "float16", bf16 "bfloat16");

impl Element for bool {
    const IS_NUMBER: bool = false;
    fn of_number(_: &Number<'_>) -> Option<Self> {
        None
    }
    fn scan(scanner: &mut Scanner<'_>) -> Option<Self> {
        scanner.value()
    }
    fn parse(token: &str) -> Result<Self, String> {
        match token {
            "true" | "\"true\"" => Ok(true),
            "false" | "\"false\"" => Ok(false),
            _ => Err(unfit(token, "true or false")),
        }
    }
    fn json(&self) -> impl Serialize + '_ {
        *self
    }
}

impl Element for String {
    const IS_NUMBER: bool = false;
    const IN_OBJECTS: bool = true;
    fn of_number(_: &Number<'_>) -> Option<Self> {
        None
    }
    fn scan(scanner: &mut Scanner<'_>) -> Option<Self> {
        scanner.value()
    }
    fn parse(token: &str) -> Result<Self, String> {
        if !token.starts_with('{') {
            return serde_json::from_str(token).map_err(|_| unfit(token, "a string"));
        }
        let bytes = encoded(token)
            .ok_or_else(|| unfit(token, "a string or {\"b64\": \"...\"} with base64"))?;
        String::from_utf8(bytes).map_err(|_| unfit(token, "base64 of UTF-8"))
    }
    fn json(&self) -> impl Serialize + '_ {
        self.as_str()
    }
}

/// `{"b64": "..."}`, the form in which TensorFlow Serving accepts bytes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoded<'a> {
    #[serde(borrow)]
    b64: Cow<'a, str>,
}

/// The bytes of `{"b64": "..."}`; `None` for any other object.
fn encoded(object: &str) -> Option<Vec<u8>> {
    let Encoded { b64 } = serde_json::from_str(object).ok()?;
    base64::decode(b64.as_bytes())
}

/// The single nearest to the double toward zero, with its last bit set if the two differ: rounding it further then gives
/// what rounding the double would give. (`half` ignores half of the bits of a double when it rounds one.)
pub(crate) fn rounded_to_odd(value: f64) -> f32 {
    let single = value as f32;
    let off = f64::from(single).abs() - value.abs();
    let bits = single.to_bits();
    // Infinity less itself is no number.
    if off == 0.0 || !value.is_finite() {
        single
    } else {
        f32::from_bits((bits - u32::from(off > 0.0)) | 1)
    }
}

/// The text of a string that is exactly one JSON number, because some serializers write numbers as strings; any other
/// token unchanged.
fn unquoted(token: &str) -> Cow<'_, str> {
    if !token.starts_with('"') {
        return Cow::Borrowed(token);
    }
    match serde_json::from_str::<String>(token) {
        Ok(text) if is_json_number(&text) => Cow::Owned(text),
        _ => Cow::Borrowed(token),
    }
}

/// Whether the text is a number by the grammar of JSON, without white space around it.
fn is_json_number(text: &str) -> bool {
    is_number(text)
        && text.ends_with(|c: char| c.is_ascii_digit())
        && serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The whole number that a JSON token stands for; `None` if it is not whole, or may not be the number that was meant: from
/// 2^53 on, a point or an exponent shows that the number was a double on its way here.
fn whole(token: &str) -> Option<i128> {
    const MAX_EXACT: i128 = 1 << 53;
    if !is_number(token) {
        return None;
    }
    if let Ok(value) = token.parse::<i128>() {
        return Some(value);
    }
    let digits_alone = token
        .trim_start_matches('-')
        .bytes()
        .all(|b| b.is_ascii_digit());
    if digits_alone {
        return Some(if token.starts_with('-') {
            i128::MIN
        } else {
            i128::MAX
        });
    }
    // A double of that size is the number itself, or rounded to a whole one from a fraction, which its digits show.
    let value = token
        .parse::<f64>()
        .ok()
        .filter(|value| value.abs() < MAX_EXACT as f64)?;
    (value.fract() == 0.0 && has_no_fraction(token)).then_some(value as i128)
}

/// Whether all digits behind the decimal point are zeros, wherever the exponent puts it.
fn has_no_fraction(token: &str) -> bool {
    let (mantissa, exponent) = token.split_once(['e', 'E']).unwrap_or((token, "0"));
    let (whole, decimals) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole
        .trim_start_matches('-')
        .bytes()
        .chain(decimals.bytes());
    let zeros = digits.rev().take_while(|digit| *digit == b'0').count();
    let digits = whole.trim_start_matches('-').len() + decimals.len();
    let behind = exponent
        .parse::<i64>()
        .map(|power| decimals.len() as i64 - power);
    // An exponent beyond 64 bits belongs to zero, or to a number that is nowhere near a whole one.
    zeros == digits || behind.is_ok_and(|behind| zeros as i64 >= behind)
}

fn is_number(token: &str) -> bool {
    token.starts_with(|c: char| c == '-' || c.is_ascii_digit())
}

fn number(token: &str) -> Option<f64> {
    is_number(token).then(|| token.parse().ok()).flatten()
}

/// JSON has no literals for these values, so they are written as strings.
fn special(token: &str) -> Option<f64> {
    match token {
        "\"NaN\"" => Some(f64::NAN),
        "\"Infinity\"" => Some(f64::INFINITY),
        "\"-Infinity\"" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

fn finite<F: Copy + Into<f64>>(value: Option<F>, token: &str, ty: &str) -> Result<F, String> {
    let wrong = || unfit(token, &format!("a number for {ty}"));
    match value {
        Some(value) if Into::<f64>::into(value).is_finite() => Ok(value),
        Some(_) => Err(format!("{}, which is out of range", wrong())),
        None => Err(wrong()),
    }
}

fn unfit(token: &str, expected: &str) -> String {
    let shown: String = token.chars().take(40).collect();
    let dots = if shown.len() < token.len() { "..." } else { "" };
    let hint = flattened(token);
    format!("expected {expected}, got {shown}{dots}{hint}")
}

/// A float as JSON: with as many digits as give it back, and numbers that JSON does not have as words.
pub struct Float(pub f32);

impl Serialize for Float {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f32(self.0)
        } else {
            serializer.serialize_str(special_name(self.0.into()))
        }
    }
}

/// The same for a double.
pub struct Double(pub f64);

impl Serialize for Double {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_finite() {
            serializer.serialize_f64(self.0)
        } else {
            serializer.serialize_str(special_name(self.0))
        }
    }
}

fn special_name(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

/// Evaluates an expression with `$t` standing for the element's Rust type. It gives a shape and a vector (in an `Option`
/// or `Result`), which come back as a shape and typed data.
macro_rules! with_element_type {
    ($ty:expr, $t:ident => $read:expr) => {
        with_element_type!(@each $ty, $t => $read;
            Bool bool, Int8 i8, Int16 i16, Int32 i32, Int64 i64,
            Uint8 u8, Uint16 u16, Uint32 u32, Uint64 u64,
            Float16 half::f16, BFloat16 half::bf16, Float32 f32, Float64 f64, String String)
    };
    (@each $ty:expr, $t:ident => $read:expr; $($variant:ident $rust:ty),*) => {
        match $ty {
            $(score::ElementType::$variant => {
                type $t = $rust;
                $read.map(|(shape, elements)| (shape, score::TensorData::$variant(elements)))
            })*
        }
    };
}
pub(crate) use with_element_type;

/// The end of an error text for a string that holds several numbers where one is expected.
pub(crate) fn flattened(token: &str) -> &'static str {
    let numbers = token.trim_matches('"').split(' ');
    let several = token.starts_with('"') && token.contains(' ');
    if several && numbers.take(4).all(|part| part.parse::<f64>().is_ok()) {
        "; PowerShell's ConvertTo-Json writes lists so beyond its depth: add -Depth 10"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Unwatched;

    #[test]
    fn integers_are_exact_or_refused() {
        assert_eq!(i64::parse("9007199254740993"), Ok(9_007_199_254_740_993));
        assert_eq!(u64::parse("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(u8::parse("5.0"), Ok(5));
        assert_eq!(i32::parse("1e3"), Ok(1000));
        for bad in ["300", "-1", "1.5", "true", "null", "1e400"] {
            assert!(u8::parse(bad).is_err(), "{bad}");
            let quoted = format!("\"{bad}\"");
            assert!(u8::parse(&quoted).is_err(), "{quoted}");
        }
        assert_eq!(
            i64::parse("9007199254740993.0").unwrap_err(),
            "expected a whole number for int64, got 9007199254740993.0"
        );
    }

    #[test]
    fn a_string_is_a_number_if_it_holds_exactly_one() {
        assert_eq!(
            i64::parse("\"-9007199254740993\""),
            Ok(-9_007_199_254_740_993)
        );
        assert_eq!(u8::parse("\"5.0\""), Ok(5));
        assert_eq!(i32::parse("\"1e3\""), Ok(1000));
        assert_eq!(f32::parse("\"1.5\""), Ok(1.5));
        assert_eq!(f64::parse(r#""1E\u002B20""#), Ok(1e20));
        assert_eq!(f16::parse("\"-0.5\""), Ok(f16::from_f32(-0.5)));
        assert_eq!(bool::parse("\"true\""), Ok(true));
        for bad in [
            "", " 1", "1 ", "+1", ".5", "5.", "01", "1,5", "0x10", "1_000", "1e", "--1", "NAN",
            "inf", "[1]",
        ] {
            let quoted = format!("\"{bad}\"");
            assert!(f64::parse(&quoted).is_err(), "{quoted}");
            assert!(i64::parse(&quoted).is_err(), "{quoted}");
        }
        assert!(f32::parse("\"1e39\"").is_err() && f16::parse("\"70000\"").is_err());
        assert!(bool::parse("\"True\"").is_err() && bool::parse("\"1\"").is_err());
        assert_eq!(String::parse("\"1.5\""), Ok("1.5".into()));
    }

    #[test]
    fn text_is_rounded_to_float32_once() {
        // Halfway between two floats plus a little: a double on the way drops the little and rounds to even.
        let token = "1.00000017881393432617187499";
        let once = f32::parse(token).unwrap();
        assert_eq!(once.to_bits(), token.parse::<f32>().unwrap().to_bits());
        let read: f32 = f32::scan(&mut Scanner::new(token.as_bytes(), &Unwatched)).unwrap();
        assert_eq!(read.to_bits(), once.to_bits());
        assert_ne!(
            read.to_bits(),
            (token.parse::<f64>().unwrap() as f32).to_bits()
        );
    }

    #[test]
    fn floats_out_of_range_are_refused_and_special_ones_are_strings() {
        assert!(f32::parse("1e39").is_err());
        assert!(f64::parse("1e400").is_err());
        assert!(f16::parse("70000").is_err());
        assert!(f32::parse("NaN").is_err());
        assert!(f32::parse("\"NaN\"").unwrap().is_nan());
        assert_eq!(f64::parse("\"-Infinity\""), Ok(f64::NEG_INFINITY));
        assert!(f32::scan(&mut Scanner::new(b"1e39", &Unwatched)).is_none());
        let text = serde_json::to_string(&[f32::NAN.json(), f32::NEG_INFINITY.json()]).unwrap();
        assert_eq!(text, r#"["NaN","-Infinity"]"#);
    }

    #[test]
    fn strings_keep_every_character() {
        assert_eq!(
            String::parse(r#""\ud83e\uddc0 \u2028\"""#),
            Ok("🧀 \u{2028}\"".into())
        );
        assert!(String::parse("5").is_err());
    }

    #[test]
    fn lists_that_powershell_has_flattened_are_told() {
        assert!(flattened(r#""1 2.5 -3""#).contains("-Depth"));
        for other in [r#""1""#, r#""a b""#, r#"" ""#, "null", "1"] {
            assert_eq!(flattened(other), "", "{other}");
        }
    }
}

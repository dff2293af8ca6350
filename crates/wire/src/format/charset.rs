//! Text in other encodings than UTF-8, and text that begins with a byte order mark.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::{FORMATS, essence, is_raw};
use crate::body::{Declared, PayloadError, invalid};
use crate::watch::Watch;

/// The bytes in UTF-8 that one byte of another encoding becomes, at most.
const GROWTH: usize = 3;

/// The value of a parameter of a content type, RFC 9110 section 5.6.6.
pub(crate) fn parameter<'a>(content_type: &'a str, name: &str) -> Option<&'a str> {
    let parameters = content_type.split(';').skip(1);
    let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
    let (_, value) = pairs.find(|(key, _)| key.trim().eq_ignore_ascii_case(name))?;
    Some(value.trim().trim_matches('"'))
}

/// The body in UTF-8 without a byte order mark, if it is text. A mark counts more than the declared charset, as on the web.
///
/// # Errors
/// 415 for a charset that is not known, 400 for bytes that are not text in it.
pub(crate) fn to_utf8<'a>(
    body: &'a [u8],
    declared: Declared<'_>,
    watch: &dyn Watch,
) -> Result<Cow<'a, [u8]>, PayloadError> {
    let content_type = declared.content_type.unwrap_or_default();
    if is_raw(content_type) {
        return Ok(Cow::Borrowed(body));
    }
    let said = parameter(content_type, "charset").filter(|label| !label.is_empty());
    // The form that most senders use.
    let plain = matches!(body, [b'{', second, ..] if *second != 0);
    if plain && said.is_none_or(|label| label.eq_ignore_ascii_case("utf-8")) {
        return Ok(Cow::Borrowed(body));
    }
    if declared.json_bytes.is_some() || !is_text(content_type, body) {
        return Ok(Cow::Borrowed(body));
    }
    let said = said.map(encoding).transpose()?;
    if body.starts_with(&[0xff, 0xfe, 0, 0]) || body.starts_with(&[0, 0, 0xfe, 0xff]) {
        return Err(unknown("utf-32"));
    }
    let (encoding, start) = match Encoding::for_bom(body) {
        Some(found) => found,
        None => (without_mark(body, said), 0),
    };
    let text = body.get(start..).unwrap_or_default();
    if encoding == UTF_8 {
        return Ok(Cow::Borrowed(text));
    }
    if !watch.take(text.len().saturating_mul(GROWTH)) {
        return Err(PayloadError::Stopped);
    }
    match encoding.decode_without_bom_handling_and_without_replacement(text) {
        Some(Cow::Borrowed(text)) => Ok(Cow::Borrowed(text.as_bytes())),
        Some(Cow::Owned(text)) => Ok(Cow::Owned(text.into_bytes())),
        None => {
            let name = encoding.name();
            let message =
                format!("the body is not valid {name}, as its first bytes or its charset say");
            Err(invalid(&message).into())
        }
    }
}

fn is_text(content_type: &str, body: &[u8]) -> bool {
    let essence = essence(content_type);
    let picture = essence.starts_with("image/");
    let mut binary = FORMATS.iter().filter(|format| !format.is_text);
    !picture
        && !binary.any(|format| format.has_type(&essence) || (format.recognises)(body, &essence))
}

fn without_mark(body: &[u8], said: Option<&'static Encoding>) -> &'static Encoding {
    match (body, said) {
        (_, Some(said)) if said != UTF_16LE && said != UTF_16BE && said != UTF_8 => said,
        ([0, ..], _) if is_utf16(body, u16::from_be_bytes) => UTF_16BE,
        ([_, 0, ..], _) if is_utf16(body, u16::from_le_bytes) => UTF_16LE,
        // A JSON object begins differently in UTF-16, so a charset that says UTF-16 is wrong.
        ([b'{', ..], _) => UTF_8,
        (_, said) => said.unwrap_or(UTF_8),
    }
}

/// Texts that are read here begin with a character of ASCII and hold no NUL; raw elements seldom look like that.
fn is_utf16(body: &[u8], unit: fn([u8; 2]) -> u16) -> bool {
    let (pairs, rest) = body.as_chunks::<2>();
    let mut units = pairs.iter().map(|pair| unit(*pair));
    let first = units.next().unwrap_or_default();
    let first = u8::try_from(first).is_ok_and(|c| c.is_ascii_graphic() || c.is_ascii_whitespace());
    first && rest.is_empty() && units.all(|unit| unit != 0)
}

fn encoding(label: &str) -> Result<&'static Encoding, PayloadError> {
    // On the web these mean windows-1252; who says so here means what UTF-8 begins with.
    if ["us-ascii", "ascii"]
        .iter()
        .any(|ascii| label.eq_ignore_ascii_case(ascii))
    {
        return Ok(UTF_8);
    }
    Encoding::for_label_no_replacement(label.as_bytes()).ok_or_else(|| unknown(label))
}

fn unknown(label: &str) -> PayloadError {
    let label: String = label.chars().take(60).collect();
    PayloadError::UnsupportedType(format!(
        "charset {label:?} is not read; send utf-8, utf-16, iso-8859-1, windows-1252 or another encoding of the web \
         (the WHATWG's Encoding Standard)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::Unwatched;

    fn read(content_type: &str, body: &[u8]) -> Result<String, String> {
        let declared = Declared {
            content_type: Some(content_type),
            ..Declared::default()
        };
        match to_utf8(body, declared, &Unwatched) {
            Ok(text) => Ok(String::from_utf8_lossy(&text).into_owned()),
            Err(PayloadError::UnsupportedType(message)) => Err(format!("415 {message}")),
            Err(other) => Err(format!("{other:?}")),
        }
    }

    fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn marks_and_charsets_tell_the_encoding() {
        let text = "{\"data\":[\"é\"]}";
        let (le, be) = (utf16(text, u16::to_le_bytes), utf16(text, u16::to_be_bytes));
        let marked = |mark: &[u8], text: &[u8]| [mark, text].concat();
        let json = "application/json";
        for (content_type, body) in [
            (json, text.as_bytes().to_vec()),
            (
                "application/json; charset=\"UTF-8\"",
                text.as_bytes().to_vec(),
            ),
            (
                "application/json;charset=us-ascii",
                text.as_bytes().to_vec(),
            ),
            (json, marked(b"\xef\xbb\xbf", text.as_bytes())),
            ("", marked(b"\xef\xbb\xbf", text.as_bytes())),
            (
                "text/csv; charset=utf-16",
                marked(b"\xef\xbb\xbf", text.as_bytes()),
            ),
            (json, marked(b"\xff\xfe", &le)),
            (json, marked(b"\xfe\xff", &be)),
            ("application/json; charset=utf-8", marked(b"\xff\xfe", &le)),
            ("application/json; charset=utf-16", le.clone()),
            ("application/json; charset=utf-16", be.clone()),
            ("application/json; charset=utf-16", text.as_bytes().to_vec()),
            ("application/json; charset=utf-16be", be.clone()),
            (json, le.clone()),
            (json, be.clone()),
            (
                "application/json; charset=ISO-8859-1",
                b"{\"data\":[\"\xe9\"]}".to_vec(),
            ),
        ] {
            assert_eq!(
                read(content_type, &body).as_deref(),
                Ok(text),
                "{content_type} {body:?}"
            );
        }
        assert_eq!(
            read("text/csv; charset=windows-1252", b"\x80,1").as_deref(),
            Ok("€,1")
        );
        assert_eq!(
            read("text/csv; charset=shift_jis", b"\x93\xfa").as_deref(),
            Ok("日")
        );
    }

    #[test]
    fn what_is_not_known_or_not_valid_is_refused() {
        for (content_type, body, expected) in [
            (
                "application/json; charset=klingon",
                &b"{}"[..],
                "415 charset \"klingon\" is not read",
            ),
            ("application/json; charset=utf-32", b"{}", "utf-16"),
            (
                "application/json",
                b"\xff\xfe\0\0{\0\0\0",
                "415 charset \"utf-32\"",
            ),
            ("application/json; charset=iso-2022-kr", b"{}", "415"),
            (
                "application/json",
                b"\xff\xfe{\0\0\xd8",
                "not valid UTF-16LE",
            ),
        ] {
            let refusal = read(content_type, body).unwrap_err();
            assert!(refusal.contains(expected), "{content_type}: {refusal}");
        }
    }

    /// They stay as they are, so that the advice describes the bytes that were sent.
    #[test]
    fn raw_elements_without_their_type_stay_as_they_are() {
        let floats: Vec<u8> = [f32::from_bits(0x3f80_0031), 0.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let integers: Vec<u8> = [49i32, 50].iter().flat_map(|v| v.to_le_bytes()).collect();
        for body in [floats, integers, vec![0, 7, 0, 8], b"1\x002".to_vec()] {
            let read = to_utf8(&body, Declared::default(), &Unwatched).unwrap();
            assert_eq!(&*read, &body[..]);
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        for content_type in ["application/octet-stream", "image/png", "application/x-npy"] {
            let body = b"\xef\xbb\xbf\x01";
            let declared = Declared {
                content_type: Some(content_type),
                ..Declared::default()
            };
            assert_eq!(&*to_utf8(body, declared, &Unwatched).unwrap(), body);
        }
    }
}

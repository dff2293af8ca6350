//! What .NET's data contract serializer makes of a text or of bytes, as old clients of Service Bus send them: XML, or its
//! binary form.
//!
//! Source: [MC-NBFX], ".NET Binary Format: XML Data Structure", section 2.2.

const NAMESPACE: &str = "http://schemas.microsoft.com/2003/10/Serialization/";
/// The start of the namespaces of objects with members, which are recognised but not read.
const ANY_NAMESPACE: &str = "http://schemas.";

const SHORT_ELEMENT: u8 = 0x40;
const SHORT_XMLNS: u8 = 0x08;
const END_ELEMENT: u8 = 0x01;

/// Whether the body begins like such a document, or like that of an object with members.
pub(super) fn looks_like_it(body: &[u8]) -> bool {
    let binary = |body| {
        let (name, rest) = short_element(body)?;
        let (namespace, _) = xmlns(rest)?;
        Some(!name.is_empty() && namespace.starts_with(ANY_NAMESPACE.as_bytes()))
    };
    let start = &body[..body.len().min(200)];
    let in_xml = || contains(start, NAMESPACE) || contains(start, "schemas.datacontract.org");
    binary(body).unwrap_or(false) || (body.starts_with(b"<") && in_xml())
}

fn contains(text: &[u8], part: &str) -> bool {
    text.windows(part.len())
        .any(|window| window == part.as_bytes())
}

/// The text or the bytes of `<string>` or `<base64Binary>` in binary form.
pub(super) fn from_binary(body: &[u8]) -> Option<Vec<u8>> {
    let (name, rest) = short_element(body)?;
    let (namespace, mut rest) = xmlns(rest)?;
    if namespace != NAMESPACE.as_bytes() {
        return None;
    }
    // The lowest record types of texts in UTF-8 and of bytes. Texts in UTF-16 are not read; they get the advice.
    let least = match name {
        b"string" => 0x98,
        b"base64Binary" => 0x9e,
        _ => return None,
    };
    let mut content = Vec::new();
    loop {
        let (&record, after) = rest.split_first()?;
        if record == END_ELEMENT {
            return after.is_empty().then_some(content);
        }
        // Lengths of one, two and four bytes; the odd record type of each pair also ends the element.
        let kind = record.checked_sub(least).filter(|kind| *kind < 6)?;
        let (length, after) = length(after, 1 << (kind / 2))?;
        let (part, after) = after.split_at_checked(length)?;
        content.extend_from_slice(part);
        if kind % 2 == 1 {
            return after.is_empty().then_some(content);
        }
        rest = after;
    }
}

fn length(bytes: &[u8], width: usize) -> Option<(usize, &[u8])> {
    let (length, rest) = bytes.split_at_checked(width)?;
    let mut wide = [0; 8];
    wide[..width].copy_from_slice(length);
    Some((usize::try_from(u64::from_le_bytes(wide)).ok()?, rest))
}

/// An element without a prefix: its name.
fn short_element(body: &[u8]) -> Option<(&[u8], &[u8])> {
    short_string(body.strip_prefix(&[SHORT_ELEMENT])?)
}

/// Its namespace.
fn xmlns(rest: &[u8]) -> Option<(&[u8], &[u8])> {
    short_string(rest.strip_prefix(&[SHORT_XMLNS])?)
}

/// A string whose length takes one byte: names and addresses are short.
fn short_string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    if length >= 0x80 {
        return None;
    }
    rest.split_at_checked(usize::from(length))
}

/// The text of `<string xmlns="...">` as XML.
pub(super) fn from_xml(body: &[u8]) -> Option<Vec<u8>> {
    let mut text = std::str::from_utf8(body).ok()?;
    if text.starts_with("<?xml") {
        text = text.split_once("?>")?.1.trim_start();
    }
    let inner = text.strip_prefix("<string xmlns=\"")?;
    let inner = inner.strip_prefix(NAMESPACE)?.strip_prefix("\">")?;
    let inner = inner.trim_end().strip_suffix("</string>")?;
    unescaped(inner).map(String::into_bytes)
}

/// The text of XML without elements.
fn unescaped(xml: &str) -> Option<String> {
    let mut parts = xml.split('&');
    let mut text = parts.next()?.to_owned();
    for part in parts {
        let (entity, rest) = part.split_once(';')?;
        text.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            "#xD" => '\r',
            _ => return None,
        });
        text.push_str(rest);
    }
    // A comment, or an element: there is more than one way to read it.
    (!xml.contains('<')).then_some(text)
}

//! The format of a body, by its first bytes and its declared content type.

pub(crate) mod charset;
pub(crate) mod csv;
pub(crate) mod gzip;
pub(crate) mod npy;
pub(crate) mod raw;

use score::{ElementType, ModelSignature, quoted};

use crate::body::Declared;
use crate::body::PayloadError;
use crate::body::invalid;
use crate::picture;

pub(crate) const NPY_MAGIC: &[u8] = b"\x93NUMPY";
/// The first bytes of zip archives, and so of .xlsx files.
pub(crate) const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// The first bytes of compound files, and so of .xls files.
pub(crate) const XLS_MAGIC: &[u8] = b"\xd0\xcf\x11\xe0";

/// Whether a body may unpack to much more than its size: pictures and compressed bodies.
pub(crate) fn is_packed(body: &[u8]) -> bool {
    body.starts_with(gzip::MAGIC) || picture::begins_like_one(body)
}

/// Whether a content type says that a body is the bytes of a tensor.
pub fn is_raw(content_type: &str) -> bool {
    content_type.starts_with("application/octet-stream")
}

/// The format of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Raw,
    Npy,
    Table(csv::Form),
    Picture,
}

impl Format {
    /// Many clients do not say or do not know what they send. So where the first bytes leave no doubt, they count more
    /// than the declared type.
    pub(crate) fn of(body: &[u8], declared: Declared<'_>) -> Result<Self, PayloadError> {
        let content_type = declared.content_type.unwrap_or("application/json");
        let essence = content_type.split(';').next().unwrap_or_default();
        let essence = essence.trim().to_ascii_lowercase();
        if declared.json_bytes.is_some() {
            return Ok(Self::Json);
        }
        // Raw tensors may begin with any bytes.
        if essence == "application/octet-stream" && !body.starts_with(NPY_MAGIC) {
            return Ok(Self::Raw);
        }
        if body.starts_with(NPY_MAGIC) {
            return Ok(Self::Npy);
        }
        if picture::begins_like_one(body) {
            return Ok(Self::Picture);
        }
        if let Some(form) = csv::Form::of(&essence, content_type)? {
            let workbook = [ZIP_MAGIC, XLS_MAGIC]
                .iter()
                .any(|magic| body.starts_with(magic));
            return match workbook {
                true => Err(PayloadError::UnsupportedType(format!(
                    "content type {}: expected a table as text",
                    quoted(content_type)
                ))),
                false => Ok(Self::Table(form)),
            };
        }
        match essence.as_str() {
            "application/x-npy" => return Ok(Self::Npy),
            "image/png" | "image/jpeg" | "image/webp" => return Ok(Self::Picture),
            _ => {}
        }
        let text = essence.ends_with("json")
            || matches!(
                essence.as_str(),
                "text/plain" | "application/x-www-form-urlencoded"
            );
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        match first {
            None => Err(invalid("the body is empty; expected a JSON object").into()),
            Some(b'{') => Ok(Self::Json),
            Some(_) if text => Ok(Self::Json),
            Some(_) => Err(PayloadError::UnsupportedType(format!(
                "content type {} is not understood; send application/json, text/csv, text/tab-separated-values, \
                 application/octet-stream, application/x-npy, image/png, image/jpeg or image/webp",
                quoted(content_type)
            ))),
        }
    }
}

/// Bodies whose elements are counted before they are read; smaller ones cost little, whatever is in them.
const COUNTED_BYTES: usize = 256 << 10;

/// What the elements of a body take at most: there are no more of them than there are separators between them. Pictures and
/// the strings themselves are not counted: the latter are in the body too.
pub(crate) fn element_bytes(
    body: &[u8],
    declared: Declared<'_>,
    signature: &ModelSignature,
) -> usize {
    if body.len() < COUNTED_BYTES {
        return 0;
    }
    let count = |separators: &[u8]| {
        let seen = separators.iter().map(|separator| {
            let blocks = body.chunks(128);
            let seen = blocks.map(|block| block.iter().filter(|byte| *byte == separator).count());
            seen.sum::<usize>()
        });
        seen.sum::<usize>() + 1
    };
    let specs = signature.inputs.iter().chain(&signature.optional);
    let size = |ty: ElementType| ty.size().unwrap_or(size_of::<String>());
    let size = specs.map(|spec| size(spec.element_type)).max().unwrap_or(0);
    let (elements, beside) = match Format::of(body, declared) {
        Ok(Format::Picture) => (0, 0),
        Ok(Format::Raw | Format::Npy) => (0, body.len()),
        Ok(Format::Table(_)) => (count(b",;\t\n\r"), 0),
        Ok(Format::Json) | Err(_) => {
            let binary = declared
                .json_bytes
                .map_or(0, |length| body.len().saturating_sub(length));
            // Each binary string has its length in front, in four bytes.
            (count(b",") + binary / 4, binary)
        }
    };
    elements.saturating_mul(size).saturating_add(beside)
}

//! The formats of bodies that are not JSON. Each is one file with its rows of [`FORMATS`]; what is accepted, the OpenAPI
//! document and docs/requests.md are derived from that table.

pub(crate) mod charset;
pub(crate) mod csv;
pub(crate) mod gzip;
pub(crate) mod image;
pub(crate) mod npy;
pub(crate) mod raw;

use std::borrow::Cow;

use score::{
    ElementType, InferenceResponse, ModelMetadata, ModelSignature, NamedTensor, ScoreError, quoted,
};

use crate::accept;
use crate::body::{Bounds, Declared, Encoded, PayloadError, invalid};

pub(crate) const NPY_MAGIC: &[u8] = b"\x93NUMPY";
/// The first bytes of zip archives, and so of .xlsx files.
pub(crate) const ZIP_MAGIC: &[u8] = b"PK\x03\x04";
/// The first bytes of compound files, and so of .xls files.
pub(crate) const XLS_MAGIC: &[u8] = b"\xd0\xcf\x11\xe0";

/// Reads a body of one format.
pub(crate) type Reader = fn(&Contents<'_>) -> Result<Read, PayloadError>;

/// One format: how it is told from others, read, answered and described.
pub struct Format {
    /// What a body of it is, for the documentation, in Markdown.
    pub body: &'static str,
    /// The answer to such a body, in Markdown.
    pub answer: &'static str,
    /// Its content types, the usual one first.
    pub content_types: &'static [&'static str],
    /// The word of `Content-Encoding`, for a format that any other body may be packed in.
    pub coding: Option<&'static str>,
    /// Other content types that senders use for it.
    pub(crate) aliases: &'static [&'static str],
    /// Whether it is text, which may be in any charset.
    pub(crate) is_text: bool,
    /// Whether a small body may unpack to a large one.
    pub(crate) is_packed: bool,
    /// What the elements of a body take beside its bytes.
    pub(crate) elements: Elements,
    /// Whether a body is of this format, also if its sender declares another type; that type in lower case is the second value.
    pub(crate) recognises: fn(&[u8], &str) -> bool,
    /// Reads the body. `None` for a coding, which [`gzip::unpack`] takes off before.
    pub(crate) read: Option<Reader>,
    /// How results are answered in this format, where `Accept` asks for it.
    pub(crate) writing: Option<Writing>,
    /// What a body is for a model, for the OpenAPI document. `None` for models that take none of this format.
    pub(crate) described: fn(&ModelMetadata) -> Option<String>,
    /// A body for the page, in which `$table` stands for rows as lines of cells.
    pub sample: Option<&'static str>,
}

/// What bounds the memory that the elements of a body take.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Elements {
    /// There are no more of them than there are of these bytes between them.
    Separated(&'static [u8]),
    /// They have as many bytes as the body.
    AsInBody,
    /// They are taken into account while they are unpacked.
    Unpacked,
}

/// How results are written in a format.
pub(crate) struct Writing {
    /// Writes the outputs with these numbers.
    pub(crate) write:
        fn(&[usize], &ModelMetadata, &InferenceResponse) -> Result<Encoded, ScoreError>,
    /// What an answer is, for the OpenAPI document. `None` for models that have none of this format.
    pub(crate) described: fn(&ModelMetadata) -> Option<&'static str>,
}

/// A body of a known format.
pub(crate) struct Contents<'a> {
    pub(crate) body: &'a [u8],
    pub(crate) declared: Declared<'a>,
    pub(crate) metadata: &'a ModelMetadata,
    pub(crate) bounds: Bounds<'a>,
}

/// What has been read of a body.
pub(crate) struct Read {
    pub(crate) inputs: Vec<NamedTensor>,
    /// Whether columns were taken by position, because the model has no names to compare theirs with.
    pub(crate) by_position: bool,
}

impl From<Vec<NamedTensor>> for Read {
    fn from(inputs: Vec<NamedTensor>) -> Self {
        Self {
            inputs,
            by_position: false,
        }
    }
}

/// All formats beside JSON, in the order in which they are documented. The first one that recognises a body reads it.
pub static FORMATS: &[&Format] = &[
    &csv::CSV,
    &csv::TSV,
    &raw::OCTETS,
    &npy::NPY,
    &image::PICTURE,
    &gzip::GZIP,
];

/// Whether a body may unpack to much more than its size: pictures and compressed bodies.
pub(crate) fn is_packed(body: &[u8]) -> bool {
    let mut packed = FORMATS.iter().filter(|format| format.is_packed);
    packed.any(|format| (format.recognises)(body, ""))
}

/// Whether a content type says that a body is the bytes of a tensor.
pub fn is_raw(content_type: &str) -> bool {
    content_type.starts_with(raw::CONTENT_TYPE)
}

impl Format {
    /// The format of a body; `None` for JSON.
    ///
    /// Many clients do not say or do not know what they send. So where the first bytes leave no doubt, they count more
    /// than the declared type.
    pub(crate) fn of(
        body: &[u8],
        declared: Declared<'_>,
    ) -> Result<Option<&'static Self>, PayloadError> {
        if declared.json_bytes.is_some() {
            return Ok(None);
        }
        let content_type = declared.content_type.unwrap_or("application/json");
        let essence = essence(content_type);
        let read = || FORMATS.iter().filter(|format| format.read.is_some());
        let format = read()
            .find(|format| (format.recognises)(body, &essence))
            .or_else(|| read().find(|format| format.has_type(&essence)));
        if format.is_some() {
            return Ok(format.copied());
        }
        let text = essence.ends_with("json")
            || matches!(
                &*essence,
                "text/plain" | "application/x-www-form-urlencoded"
            );
        let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
        match first {
            None => Err(invalid("the body is empty; expected a JSON object").into()),
            Some(b'{') => Ok(None),
            Some(_) if text => Ok(None),
            Some(_) => Err(PayloadError::UnsupportedType(format!(
                "content type {} is not understood; send {}",
                quoted(content_type),
                accepted()
            ))),
        }
    }

    /// Whether a content type in lower case, without parameters, is one of this format's.
    pub(crate) fn has_type(&self, essence: &str) -> bool {
        self.content_types.contains(&essence) || self.aliases.contains(&essence)
    }

    /// What a body is for a model; `None` for models that take none of this format.
    pub fn described(&self, metadata: &ModelMetadata) -> Option<String> {
        (self.described)(metadata)
    }

    /// What an answer of a model in this format is; `None` if there is none.
    pub fn answer_described(&self, metadata: &ModelMetadata) -> Option<&'static str> {
        self.writing
            .as_ref()
            .and_then(|writing| (writing.described)(metadata))
    }

    /// Its row in the documentation's table of request formats.
    pub fn documentation(&self) -> String {
        let types = self.content_types.iter().map(|ty| format!("`{ty}`"));
        let coding = self
            .coding
            .map(|word| format!("`Content-Encoding: {word}`"));
        let names: Vec<String> = types.chain(coding).collect();
        format!("| {}: {} | {} |", names.join(", "), self.body, self.answer)
    }
}

/// How to write the answer in another format than JSON, if `accept` names one and does not prefer JSON.
pub(crate) fn accepted_writing(accept: &str) -> Option<&'static Writing> {
    let wanted = |format: &&&Format| {
        let usual = format.content_types.first();
        let weight = usual.map_or(0.0, |usual| accept::weight_if_named(accept, usual));
        weight > 0.0 && weight >= accept::weight(accept, "application/json")
    };
    let mut written = FORMATS.iter().filter(|format| format.writing.is_some());
    written.find(wanted)?.writing.as_ref()
}

/// A content type in lower case, without its parameters.
pub(crate) fn essence(content_type: &str) -> Cow<'_, str> {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    match essence.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => Cow::Owned(essence.to_ascii_lowercase()),
        false => Cow::Borrowed(essence),
    }
}

/// The content types that are read, for an error text.
fn accepted() -> String {
    let mut types = vec!["application/json"];
    types.extend(FORMATS.iter().flat_map(|format| format.content_types));
    let last = types.pop().unwrap_or_default();
    format!("{} or {last}", types.join(", "))
}

/// Bodies whose elements are counted before they are read; smaller ones cost little in any case.
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
    let format = Format::of(body, declared).unwrap_or_default();
    let (elements, beside) = match format.map(|format| format.elements) {
        Some(Elements::Unpacked) => (0, 0),
        Some(Elements::AsInBody) => (0, body.len()),
        Some(Elements::Separated(separators)) => (count(separators), 0),
        None => {
            let binary = declared
                .json_bytes
                .map_or(0, |length| body.len().saturating_sub(length));
            // Each binary string has its length in front, in four bytes.
            (count(b",") + binary / 4, binary)
        }
    };
    elements.saturating_mul(size).saturating_add(beside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_the_table_of_formats() {
        let text = include_str!("../../../docs/requests.md");
        let mut at = 0;
        for row in FORMATS.iter().map(|format| format.documentation()) {
            let Some(found) = text[at..].find(&row) else {
                panic!(
                    "docs/requests.md, request formats: write this row, in the order of FORMATS:\n{row}"
                );
            };
            at += found;
        }
    }

    #[test]
    fn an_unknown_content_type_is_answered_with_all_that_are_read() {
        let declared = Declared {
            content_type: Some("application/x-what"),
            ..Declared::default()
        };
        let Err(PayloadError::UnsupportedType(text)) = Format::of(b"x", declared) else {
            panic!("a type that no format has");
        };
        assert_eq!(
            text,
            "content type \"application/x-what\" is not understood; send application/json, text/csv, \
             text/tab-separated-values, application/octet-stream, application/x-npy, image/png, image/jpeg or image/webp"
        );
    }

    #[test]
    fn the_first_bytes_count_more_than_the_type_except_that_of_raw_bytes() {
        let png = b"\x89PNG\r\n\x1a\n";
        let of = |body: &[u8], content_type| {
            let declared = Declared {
                content_type: Some(content_type),
                ..Declared::default()
            };
            Format::of(body, declared)
                .unwrap()
                .map(|format| format.body)
        };
        assert_eq!(
            of(NPY_MAGIC, "application/octet-stream"),
            Some(npy::NPY.body)
        );
        assert_eq!(of(NPY_MAGIC, "text/csv"), Some(npy::NPY.body));
        assert_eq!(of(png, "application/octet-stream"), Some(raw::OCTETS.body));
        assert_eq!(of(png, "application/x-npy"), Some(image::PICTURE.body));
        assert_eq!(of(b"x", "Image/PNG; q=1"), Some(image::PICTURE.body));
        assert_eq!(of(b"1,2", "application/vnd.ms-excel"), Some(csv::CSV.body));
        assert_eq!(of(b"[1]", "application/json"), None);
        assert_eq!(of(b" {}", "application/x-what"), None);
    }
}

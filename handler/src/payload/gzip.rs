//! Bodies that are compressed with gzip, whether their headers say so or not: a forwarding host drops Content-Encoding.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use score::ModelSignature;

use super::{Declared, NPY_MAGIC, PayloadError, invalid, is_raw, raw};

/// How every gzip body begins.
pub(super) const MAGIC: &[u8] = &[0x1f, 0x8b];
/// The same with the one method of compression there is.
const MAGIC_AND_DEFLATE: &[u8] = &[0x1f, 0x8b, 8];

/// Unpacks a gzip body; `None` if it is not packed.
///
/// # Errors
/// If it is packed by all signs and cannot be unpacked, or is too large then.
pub(super) fn inflate(
    body: &[u8],
    declared: Declared<'_>,
    signature: &ModelSignature,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, PayloadError> {
    if !body.starts_with(MAGIC) {
        return Ok(None);
    }
    let coding = declared.content_encoding.unwrap_or_default().trim();
    let says = |word: &str| coding.eq_ignore_ascii_case(word);
    if says("identity") {
        return Ok(None);
    }
    // With a JSON part in front, no raw tensor can begin like this.
    let any_bytes = declared.content_type.is_some_and(is_raw) && declared.json_bytes.is_none();
    if any_bytes && !says("gzip") && !says("x-gzip") {
        return guess(body, declared, signature, max_bytes);
    }
    unpack(body, max_bytes)
        .map_err(|error| invalid(&format!("the body is not valid gzip: {error}")))?
        .map_or(Err(PayloadError::TooLarge), |inflated| Ok(Some(inflated)))
}

/// A tensor may begin with the same bytes by chance. It is not one if the whole body unpacks, which its checksum and
/// length prove, and what comes out suits the model.
fn guess(
    body: &[u8],
    declared: Declared<'_>,
    signature: &ModelSignature,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>, PayloadError> {
    if !body.starts_with(MAGIC_AND_DEFLATE) {
        return Ok(None);
    }
    let suits = |bytes: &[u8]| raw::suits(bytes.len(), declared, signature);
    match unpack(body, max_bytes) {
        Ok(Some(inflated)) if inflated.starts_with(NPY_MAGIC) || suits(&inflated) => {
            Ok(Some(inflated))
        }
        Ok(None) if !suits(body) => Err(PayloadError::TooLarge),
        _ => Ok(None),
    }
}

/// The bytes of all members; `None` if they are too many. Checksums and lengths are compared on the way.
fn unpack(body: &[u8], max_bytes: usize) -> std::io::Result<Option<Vec<u8>>> {
    let mut inflated = Vec::new();
    let mut reader = MultiGzDecoder::new(body).take(max_bytes as u64 + 1);
    reader.read_to_end(&mut inflated)?;
    Ok((inflated.len() <= max_bytes).then_some(inflated))
}

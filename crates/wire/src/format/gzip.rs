//! Bodies that are compressed with gzip, whether their headers say so or not: a forwarding host drops Content-Encoding.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use score::ModelSignature;

use super::{Elements, Format, NPY_MAGIC, is_raw, raw};
use crate::body::{Declared, PayloadError, invalid};
use crate::watch::Watch;

/// `Content-Encoding: gzip`
pub(crate) static GZIP: Format = Format {
    body: "any of these bodies, [compressed](#compressed-bodies), also without the header",
    answer: "the answer to the body in it",
    content_types: &[],
    coding: Some("gzip"),
    aliases: &[],
    is_text: false,
    is_packed: true,
    elements: Elements::Unpacked,
    recognises: |body, _| body.starts_with(MAGIC),
    read: None,
    writing: None,
    described: |_| None,
    sample: None,
};

/// The first bytes of every gzip body.
pub(crate) const MAGIC: &[u8] = &[0x1f, 0x8b];
/// The first bytes, with the only method of compression that gzip defines.
const MAGIC_AND_DEFLATE: &[u8] = &[0x1f, 0x8b, 8];

/// The bytes that are unpacked at a time: as many as are there, within these bounds.
const PIECE_BYTES: [usize; 2] = [64 << 10, 1 << 20];

/// What came of unpacking a body.
#[derive(Debug)]
pub(crate) enum Unpacked {
    /// It is not compressed with gzip.
    Plain,
    /// The bytes of all its members, or why it is not valid gzip.
    Whole(io::Result<Vec<u8>>),
    /// It has more bytes than were asked for.
    More,
}

/// Unpacks a gzip body to at most so many bytes, and takes memory for it as it grows. Checksums and lengths are compared while
/// reading.
pub(crate) fn unpack(
    body: &[u8],
    declared: Declared<'_>,
    max_bytes: usize,
    watch: &dyn Watch,
) -> Unpacked {
    if !body.starts_with(MAGIC) || says(declared, "identity") {
        return Unpacked::Plain;
    }
    let (mut inflated, mut reader) = (Vec::new(), MultiGzDecoder::new(body));
    let [least, most] = PIECE_BYTES;
    loop {
        let piece = inflated.len().clamp(least, most);
        if watch.is_over() || !watch.take(piece) {
            return Unpacked::Whole(Err(io::ErrorKind::OutOfMemory.into()));
        }
        match reader
            .by_ref()
            .take(piece as u64)
            .read_to_end(&mut inflated)
        {
            Err(error) => return Unpacked::Whole(Err(error)),
            Ok(_) if inflated.len() > max_bytes => return Unpacked::More,
            Ok(read) if read < piece => {
                watch.give_back(piece - read);
                return Unpacked::Whole(Ok(inflated));
            }
            Ok(_) => {}
        }
    }
}

fn says(declared: Declared<'_>, word: &str) -> bool {
    let coding = declared.content_encoding.unwrap_or_default();
    // Commas are empty elements of a list.
    let coding = coding.trim_matches([' ', '\t', ',']);
    coding.eq_ignore_ascii_case(word)
}

/// The bytes to read instead of a gzip body; `None` if it is to be read as it is.
///
/// A tensor may begin with the same bytes by chance. It is not one if the whole body unpacks, which its checksum and
/// length prove, and what comes out suits the model.
///
/// # Errors
/// If the body is certainly gzip but cannot be unpacked, or is too large once unpacked.
pub(crate) fn inflated(
    body: &[u8],
    unpacked: Unpacked,
    declared: Declared<'_>,
    signature: &ModelSignature,
) -> Result<Option<Vec<u8>>, PayloadError> {
    // With a JSON part in front, no raw tensor can begin like this.
    let any_bytes = declared.content_type.is_some_and(is_raw) && declared.json_bytes.is_none();
    let certain = !any_bytes || says(declared, "gzip") || says(declared, "x-gzip");
    let suits = |bytes: &[u8]| raw::suits(bytes.len(), declared, signature);
    match unpacked {
        Unpacked::Whole(Ok(bytes)) if certain || bytes.starts_with(NPY_MAGIC) || suits(&bytes) => {
            Ok(Some(bytes))
        }
        Unpacked::Whole(Err(error)) if certain => {
            Err(invalid(&format!("the body is not valid gzip: {error}")).into())
        }
        Unpacked::More if certain || !suits(body) => Err(PayloadError::TooLarge),
        _ => Ok(None),
    }
}

/// The end of an error text for a raw body that does not fit and may have been meant as gzip.
pub(crate) fn advice(body: &[u8]) -> &'static str {
    match body.starts_with(MAGIC_AND_DEFLATE) {
        true => {
            "; it begins like gzip, but does not unpack to bytes that fit: send it whole, and with Content-Encoding: gzip \
             for the reason"
        }
        false => "",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder};
    use score::{ElementType, TensorSpec};

    use super::*;
    use crate::samples::spec;
    use crate::watch::Unwatched;
    use crate::watch::tests::Budget;

    const MAX_BYTES: usize = 1 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn takes(input: TensorSpec) -> ModelSignature {
        ModelSignature::of_tensors(vec![input.clone()], vec![input])
    }

    fn floats() -> ModelSignature {
        takes(spec("x", ElementType::Float32, &[-1, 4]))
    }

    fn octets(coding: Option<&'static str>) -> Declared<'static> {
        Declared {
            content_type: Some("application/octet-stream"),
            content_encoding: coding,
            ..Declared::default()
        }
    }

    fn inflate(
        body: &[u8],
        declared: Declared<'_>,
        signature: &ModelSignature,
        max_bytes: usize,
    ) -> Result<Option<Vec<u8>>, PayloadError> {
        let unpacked = unpack(body, declared, max_bytes, &Unwatched);
        inflated(body, unpacked, declared, signature)
    }

    /// What an unlabelled body turns into.
    fn guessed(body: &[u8], signature: &ModelSignature) -> Option<Vec<u8>> {
        inflate(body, octets(None), signature, MAX_BYTES).unwrap()
    }

    #[test]
    fn an_unlabelled_tensor_is_unpacked_if_all_of_it_is_gzip_and_fits() {
        let tensor = [7; 64];
        let packed = gzip(&tensor);
        assert_eq!(guessed(&packed, &floats()).unwrap(), tensor);
        // As `cat a.gz b.gz` and block-wise compressors write it.
        let members = [gzip(&tensor), gzip(&tensor)].concat();
        assert_eq!(guessed(&members, &floats()).unwrap().len(), 128);
        // As `gzip FILE` writes it, with a name and a time.
        let named = flate2::GzBuilder::new().filename("rows.bin").mtime(1);
        let mut named = named.write(Vec::new(), Compression::fast());
        named.write_all(&tensor).unwrap();
        assert_eq!(
            guessed(&named.finish().unwrap(), &floats()).unwrap(),
            tensor
        );
        let npy = [b"\x93NUMPY", &[1; 33][..]].concat();
        assert_eq!(guessed(&gzip(&npy), &floats()).unwrap(), npy);
        let named_shape = Declared {
            shape: Some("2,8"),
            ..octets(None)
        };
        let free = takes(spec("x", ElementType::Float32, &[-1, -1]));
        let read = |declared| inflate(&packed, declared, &free, MAX_BYTES).unwrap();
        assert_eq!(read(named_shape).unwrap(), tensor);
        assert_eq!(read(octets(None)), None);
    }

    #[test]
    fn a_tensor_that_only_begins_like_gzip_stays_as_it_is() {
        let bytes = takes(spec("x", ElementType::Uint8, &[-1]));
        let packed = gzip(&[7; 64]);
        let end = packed.len();
        let mut wrong_checksum = packed.clone();
        wrong_checksum[end - 8] ^= 1;
        let mut wrong_length = packed.clone();
        wrong_length[end - 4] ^= 1;
        let mut reserved_flags = packed.clone();
        reserved_flags[3] = 0xe0;
        let mut other_method = packed.clone();
        other_method[2] = 9;
        let mut raw_deflate = vec![0x1f, 0x8b];
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&[7; 64]).unwrap();
        raw_deflate.extend(encoder.finish().unwrap());
        for body in [
            &packed[..end - 1],
            &packed[..10],
            &[0x1f, 0x8b, 8],
            &[0x1f, 0x8b],
            &[&packed[..], b"more"].concat(),
            &[&packed[..], &[0; 4]].concat(),
            &wrong_checksum,
            &wrong_length,
            &reserved_flags,
            &other_method,
            &raw_deflate,
        ] {
            assert_eq!(guessed(body, &bytes), None, "{body:x?}");
        }
        assert!(guessed(&packed, &bytes).is_some());
        // What comes out has to be whole rows.
        assert_eq!(guessed(&gzip(&[7; 63]), &floats()), None);
        assert_eq!(guessed(&gzip(b""), &floats()), None);
        let identity = inflate(&packed, octets(Some("Identity ")), &bytes, MAX_BYTES);
        assert_eq!(identity.unwrap(), None);
    }

    #[test]
    fn all_members_of_a_body_are_unpacked_to_a_limit() {
        let zeros = gzip(&vec![0; 2 * MAX_BYTES]);
        let members = [&zeros[..], &gzip(&[7; 64])].concat();
        let unpacked = |most| unpack(&members, octets(None), most, &Unwatched);
        assert!(matches!(unpacked(2 * MAX_BYTES + 63), Unpacked::More));
        let whole = unpacked(2 * MAX_BYTES + 64);
        assert!(matches!(whole, Unpacked::Whole(Ok(bytes)) if bytes.len() == 2 * MAX_BYTES + 64));
        let identity = unpack(&members, octets(Some("identity")), MAX_BYTES, &Unwatched);
        assert!(matches!(identity, Unpacked::Plain));
    }

    #[test]
    fn memory_is_taken_while_a_body_is_unpacked() {
        let bomb = gzip(&vec![0; 16 * MAX_BYTES]);
        let watch = Budget::of(4 * MAX_BYTES);
        let unpacked = unpack(&bomb, octets(None), usize::MAX, &watch);
        assert!(matches!(unpacked, Unpacked::Whole(Err(_))) && watch.is_over());
        let watch = Budget::of(4 * MAX_BYTES);
        unpack(
            &gzip(&vec![0; 3 * MAX_BYTES]),
            octets(None),
            usize::MAX,
            &watch,
        );
        assert_eq!(watch.left(), MAX_BYTES);
    }

    #[test]
    fn a_label_is_believed_and_a_bomb_is_bounded() {
        let broken = &gzip(&[7; 64])[..20];
        for coding in ["gzip", " GZIP", "x-gzip", "gzip,"] {
            let declared = octets(Some(coding));
            let refused = inflate(broken, declared, &floats(), MAX_BYTES);
            assert!(matches!(refused, Err(PayloadError::Invalid(_))), "{coding}");
            // What it holds is looked at later.
            let odd = inflate(&gzip(&[7; 3]), declared, &floats(), MAX_BYTES);
            assert_eq!(odd.unwrap().unwrap(), [7; 3]);
        }
        let bomb = gzip(&vec![0; 2 * MAX_BYTES]);
        let refused = inflate(&bomb, octets(None), &floats(), MAX_BYTES);
        assert!(!bomb.len().is_multiple_of(16));
        assert!(matches!(refused, Err(PayloadError::TooLarge)));
        // As bytes it fits as it is.
        let bytes = takes(spec("x", ElementType::Uint8, &[-1]));
        assert_eq!(guessed(&bomb, &bytes), None);
    }
}

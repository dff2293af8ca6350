//! What the first bytes of a file tell of it.

/// Files that are not text, and what to do with them. Longer tables, such as those of `libmagic`, also find pictures and
/// programs in texts that begin with their few letters.
const KINDS: [(&[u8], &str); 9] = [
    (b"\x1f\x8b", "it is packed by gzip; unpack it"),
    (b"\x28\xb5\x2f\xfd", "it is packed by zstd; unpack it"),
    (b"\xfd7zXZ\0", "it is packed by xz; unpack it"),
    (b"BZh91AY", "it is packed by bzip2; unpack it"),
    (
        b"PK\x03\x04",
        "it is a zip file, as workbooks are; unpack it, or save it as CSV",
    ),
    (
        b"\xd0\xcf\x11\xe0",
        "it is a workbook of Excel; save it as CSV",
    ),
    (b"PAR1", "it is a Parquet file, and its name says otherwise"),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
];
const UTF_16: &str = "it is UTF-16; save it as UTF-8";

/// Why a file that begins with these bytes has no lines of text in UTF-8.
pub(crate) fn unlike_text(start: &[u8]) -> Option<&'static str> {
    let kind = KINDS.iter().find(|(magic, _)| start.starts_with(magic));
    let has_nul = || start.iter().take(4).any(|byte| *byte == 0);
    match kind {
        Some((_, what)) => Some(what),
        None if has_nul() => {
            Some("it begins with NUL bytes, as UTF-16 and UTF-32 have them; save it as UTF-8")
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_from_what_is_packed_or_of_another_width() {
        for text in [
            "",
            "P",
            "PK,id\n",
            "PAR,b\n",
            "BZ,h\n",
            "\u{feff}a,b\n",
            "[1]\n",
        ] {
            assert_eq!(unlike_text(text.as_bytes()), None, "{text}");
        }
        for (start, word) in [
            (&b"\x1f\x8b\x08\0"[..], "gzip"),
            (b"PK\x03\x04", "zip"),
            (b"a\0,\0b\0", "UTF-16"),
            (b"\0\0\0a", "UTF-32"),
            (b"\xff\xfe\0\0a\0\0\0", "UTF-16"),
        ] {
            assert!(unlike_text(start).unwrap().contains(word), "{start:?}");
        }
    }
}

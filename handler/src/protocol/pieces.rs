//! JSON that comes in pieces: a string without its escapes, and a value whose end is to be found.

use memchr::memchr2;

/// What was read of one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read {
    /// Bytes of the piece.
    pub(super) bytes: usize,
    /// Whether the string or value ended with them.
    pub(super) ended: bool,
}

/// Reads one string after its opening quote.
#[derive(Debug, Default)]
pub(super) struct Unescape {
    at: Escape,
    /// The first half of a surrogate pair.
    high: Option<u16>,
}

#[derive(Debug, Default, Clone, Copy)]
enum Escape {
    #[default]
    Plain,
    Backslash,
    Hex {
        digits: u8,
        value: u16,
    },
}

/// An escape that JSON does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadEscape;

impl Unescape {
    /// Reads up to the closing quote, or to the end of the piece. What the string says goes to `out`, in parts.
    pub(super) fn feed<E: From<BadEscape>>(
        &mut self,
        piece: &[u8],
        mut out: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Read, E> {
        let mut at = 0;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            match self.at {
                Escape::Plain => {
                    let run = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                    if run > 0 {
                        self.end_pair(&mut out)?;
                        out(&rest[..run])?;
                    }
                    at += run;
                    match rest.get(run) {
                        Some(b'"') => {
                            self.end_pair(&mut out)?;
                            return Ok(Read {
                                bytes: at + 1,
                                ended: true,
                            });
                        }
                        Some(_) => {
                            self.at = Escape::Backslash;
                            at += 1;
                        }
                        None => {}
                    }
                }
                Escape::Backslash => {
                    self.escaped(rest[0], &mut out)?;
                    at += 1;
                }
                Escape::Hex { digits, value } => {
                    let digit = char::from(rest[0]).to_digit(16).ok_or(BadEscape)?;
                    // Four digits at most, so that nothing is lost.
                    let value = value << 4 | digit as u16;
                    self.at = Escape::Hex {
                        digits: digits + 1,
                        value,
                    };
                    if digits == 3 {
                        self.at = Escape::Plain;
                        self.unit(value, &mut out)?;
                    }
                    at += 1;
                }
            }
        }
        Ok(Read {
            bytes: at,
            ended: false,
        })
    }

    fn escaped<E: From<BadEscape>>(
        &mut self,
        letter: u8,
        out: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let meant = match letter {
            b'u' => {
                self.at = Escape::Hex {
                    digits: 0,
                    value: 0,
                };
                return Ok(());
            }
            b'"' | b'\\' | b'/' => letter,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return Err(BadEscape.into()),
        };
        self.end_pair(out)?;
        self.at = Escape::Plain;
        out(&[meant])
    }

    /// One unit of UTF-16. Half a pair alone is what the host itself writes for such: U+FFFD.
    fn unit<E>(
        &mut self,
        unit: u16,
        out: &mut impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut letters = [0; 4];
        if let Some(high) = self.high.take() {
            if let Some(Ok(letter)) = char::decode_utf16([high, unit]).next() {
                return out(letter.encode_utf8(&mut letters).as_bytes());
            }
            out("\u{fffd}".as_bytes())?;
        }
        if (0xd800..0xdc00).contains(&unit) {
            self.high = Some(unit);
            return Ok(());
        }
        let letter = char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER);
        out(letter.encode_utf8(&mut letters).as_bytes())
    }

    /// What came is no second half.
    fn end_pair<E>(&mut self, out: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match self.high.take() {
            Some(_) => out("\u{fffd}".as_bytes()),
            None => Ok(()),
        }
    }
}

/// Finds the end of one value; whether it is JSON in between is not looked at.
#[derive(Debug, Default)]
pub(super) struct Skip {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Skip {
    /// Reads up to the end of the value. A number or a word ends before what follows it.
    pub(super) fn feed(&mut self, piece: &[u8]) -> Read {
        let mut at = 0;
        while let Some(&byte) = piece.get(at) {
            if self.in_string {
                let rest = &piece[at..];
                if std::mem::take(&mut self.escaped) {
                    at += 1;
                    continue;
                }
                let run = memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
                at += run;
                match rest.get(run) {
                    Some(b'"') => self.in_string = false,
                    Some(_) => self.escaped = true,
                    None => break,
                }
                at += 1;
                if !self.in_string && self.depth == 0 {
                    return Read {
                        bytes: at,
                        ended: true,
                    };
                }
                continue;
            }
            match byte {
                b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t' if self.depth == 0 => {
                    return Read {
                        bytes: at,
                        ended: true,
                    };
                }
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Read {
                            bytes: at + 1,
                            ended: true,
                        };
                    }
                }
                _ => {}
            }
            at += 1;
        }
        Read {
            bytes: at,
            ended: false,
        }
    }
}

/// Whether it may stand anywhere between values.
pub(super) fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a string says, read in pieces of so many bytes, and what comes behind it.
    fn unescaped(json: &[u8], size: usize) -> Result<(Vec<u8>, usize), BadEscape> {
        let (mut reader, mut text, mut read) = (Unescape::default(), Vec::new(), 1);
        for piece in json[1..].chunks(size) {
            let here = reader.feed(piece, |part| {
                text.extend_from_slice(part);
                Ok::<_, BadEscape>(())
            })?;
            read += here.bytes;
            if here.ended {
                return Ok((text, read));
            }
        }
        panic!("no end");
    }

    #[test]
    fn halves_of_pairs_become_what_the_host_writes_for_them() {
        for (json, expected) in [
            (r#""\ud83d\ude00""#, "\u{1f600}"),
            (r#""\ud83d""#, "\u{fffd}"),
            (r#""\ude00x""#, "\u{fffd}x"),
            (r#""\ud83d\ud83d\ude00""#, "\u{fffd}\u{1f600}"),
            (r#""\ud83d\n\u0041\/""#, "\u{fffd}\nA/"),
        ] {
            for size in [1, 3, 100] {
                let (text, _) = unescaped(json.as_bytes(), size).unwrap();
                assert_eq!(String::from_utf8(text).unwrap(), expected, "{json}");
            }
        }
        assert_eq!(unescaped(br#""\x""#, 9), Err(BadEscape));
        assert_eq!(unescaped(br#""\u12g4""#, 2), Err(BadEscape));
    }

    #[test]
    fn values_end_where_they_end() {
        for (json, end) in [
            (r#"{"a":"}\"]","b":[{}]},"#, 21),
            ("12.5e3,", 6),
            ("null}", 4),
            (r#""a\\","#, 5),
            ("[[],[1]] ", 8),
        ] {
            for size in [1, 2, 100] {
                let (mut skip, mut read) = (Skip::default(), 0);
                for piece in json.as_bytes().chunks(size) {
                    let here = skip.feed(piece);
                    read += here.bytes;
                    if here.ended {
                        break;
                    }
                }
                assert_eq!(read, end, "{json} by {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn strings_are_read_as_serde_reads_them(text: String, size in 1_usize..9) {
            let json = serde_json::to_string(&text).unwrap();
            let (read, bytes) = unescaped(json.as_bytes(), size).unwrap();
            prop_assert_eq!(read, text.as_bytes());
            prop_assert_eq!(bytes, json.len());
        }
    }
}

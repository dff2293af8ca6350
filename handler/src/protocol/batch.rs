//! The envelope of many messages, read as it comes.
//!
//! The host sends `{"Data":{"messages":"[\"base64..\",\"..\"]"},"Metadata":{..}}`: the list is JSON text inside a string;
//! some hosts send it as it is, and tools may send one message in its place. Each message is handed on as soon as it has ended, so that no more than one is held here.

use super::NotAnInvocation;
use super::list::{Item, List, NoList};
use super::pieces::{BadEscape, Read, Skip, Unescape, is_blank};

/// Longer names are none that matter here.
const MAX_NAME_BYTES: usize = 1024;
/// Names of other members that an error quotes.
const MAX_PRESENT: usize = 8;

/// Reads one envelope.
#[derive(Debug)]
pub(crate) struct BatchReader {
    binding: String,
    max_metadata: usize,
    at: At,
    /// Whether the members are those of `Data`.
    in_data: bool,
    name: Vec<u8>,
    unescape: Unescape,
    skip: Skip,
    list: List,
    metadata: Option<Vec<u8>>,
    has_data: bool,
    /// Names in `Data` that are not the binding's.
    present: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Start,
    NameOrEnd,
    NameStart,
    Name,
    Colon,
    Value,
    Skip,
    Metadata,
    ListInString,
    PlainList,
    Next,
    End,
}

impl BatchReader {
    /// For the value of a binding. Of one message no more than `max_item` bytes of text are read, and of all metadata no
    /// more than `max_metadata`.
    pub(crate) fn new(binding: &str, max_item: usize, max_metadata: usize) -> Self {
        Self {
            binding: binding.to_owned(),
            max_metadata,
            at: At::Start,
            in_data: false,
            name: Vec::new(),
            unescape: Unescape::default(),
            skip: Skip::default(),
            list: List::new(max_item),
            metadata: None,
            has_data: false,
            present: Vec::new(),
        }
    }

    /// Bytes that it holds of what has not ended.
    pub(crate) fn held(&self) -> usize {
        self.list.text.len() + self.metadata.as_ref().map_or(0, Vec::len)
    }

    /// Reads on, and hands over the messages that end in this piece.
    ///
    /// # Errors
    /// If it is no envelope with a list of messages.
    pub(crate) fn feed(
        &mut self,
        mut piece: &[u8],
        mut take: impl FnMut(Item<'_>),
    ) -> Result<(), NotAnInvocation> {
        while let Some(&byte) = piece.first() {
            let used = match self.at {
                At::Name => self.read_name(piece)?,
                At::Skip | At::Metadata => self.skip(piece)?,
                At::ListInString => {
                    let list = &mut self.list;
                    let read = self
                        .unescape
                        .feed(piece, |text| list.whole(text, &mut take));
                    let read = read.map_err(|error| self.bad_list(error))?;
                    if read.ended {
                        let ended = self.list.end_of_text(&mut take);
                        ended.map_err(|error| self.bad_list(error))?;
                    }
                    self.ended(read)
                }
                At::PlainList => {
                    let read = self.list.feed(piece, &mut take);
                    self.ended(read.map_err(|error| self.bad_list(error))?)
                }
                _ if is_blank(byte) => 1,
                _ => self.step(byte)?,
            };
            piece = piece.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// The JSON of `Metadata`, once all has come.
    ///
    /// # Errors
    /// If the envelope has not ended, or has no such binding.
    pub(crate) fn finish(self) -> Result<Vec<u8>, NotAnInvocation> {
        if self.at != At::End {
            return Err(NotAnInvocation::malformed("it ended early"));
        }
        if !self.has_data {
            return Err(NotAnInvocation::NoSuchBinding {
                binding: self.binding,
                present: self.present,
            });
        }
        Ok(self.metadata.unwrap_or_default())
    }

    /// One byte between names and values; how many of it are used.
    fn step(&mut self, byte: u8) -> Result<usize, NotAnInvocation> {
        match (self.at, byte) {
            (At::Start, b'{') => self.at = At::NameOrEnd,
            (At::NameOrEnd | At::NameStart, b'"') => {
                self.name.clear();
                self.unescape = Unescape::default();
                self.at = At::Name;
            }
            (At::Colon, b':') => self.at = At::Value,
            (At::Next, b',') => self.at = At::NameStart,
            (At::NameOrEnd | At::Next, b'}') => {
                self.at = if self.in_data { At::Next } else { At::End };
                self.in_data = false;
            }
            (At::Value, b',' | b'}' | b']') => {
                return Err(NotAnInvocation::malformed("a value is missing"));
            }
            (At::Value, _) => return self.value(byte),
            (at, _) => {
                return Err(NotAnInvocation::malformed(format!(
                    "{:?} stands where {} is expected",
                    char::from(byte),
                    at.expected()
                )));
            }
        }
        Ok(1)
    }

    fn read_name(&mut self, piece: &[u8]) -> Result<usize, NotAnInvocation> {
        let name = &mut self.name;
        let read = self.unescape.feed(piece, |text| {
            name.extend_from_slice(&text[..text.len().min(MAX_NAME_BYTES - name.len())]);
            Ok::<_, BadEscape>(())
        });
        let read =
            read.map_err(|BadEscape| NotAnInvocation::malformed("a name is not a string"))?;
        if read.ended {
            self.at = At::Colon;
        }
        Ok(read.bytes)
    }

    /// The first byte of a member's value.
    fn value(&mut self, byte: u8) -> Result<usize, NotAnInvocation> {
        self.skip = Skip::default();
        self.at = At::Skip;
        if self.in_data && self.name == self.binding.as_bytes() {
            if std::mem::replace(&mut self.has_data, true) {
                return Err(NotAnInvocation::malformed("the messages come twice"));
            }
            self.unescape = Unescape::default();
            let used = match byte {
                b'"' => {
                    self.at = At::ListInString;
                    1
                }
                b'[' => {
                    self.at = At::PlainList;
                    0
                }
                b'{' => {
                    self.list.expect_object();
                    self.at = At::PlainList;
                    0
                }
                _ => return Err(self.bad_list(NoList)),
            };
            return Ok(used);
        }
        if self.in_data && self.present.len() < MAX_PRESENT {
            let name = String::from_utf8_lossy(&self.name).into_owned();
            self.present.push(name);
        }
        if !self.in_data && self.name == b"Data" && byte == b'{' {
            self.in_data = true;
            self.at = At::NameOrEnd;
            return Ok(1);
        }
        if !self.in_data && self.name == b"Metadata" {
            self.metadata = Some(Vec::new());
            self.at = At::Metadata;
        }
        Ok(0)
    }

    fn skip(&mut self, piece: &[u8]) -> Result<usize, NotAnInvocation> {
        let read = self.skip.feed(piece);
        if self.at == At::Metadata
            && let Some(metadata) = &mut self.metadata
        {
            if metadata.len() + read.bytes > self.max_metadata {
                return Err(NotAnInvocation::TooMuchMetadata(self.max_metadata));
            }
            metadata.extend_from_slice(&piece[..read.bytes]);
        }
        Ok(self.ended(read))
    }

    fn ended(&mut self, read: Read) -> usize {
        if read.ended {
            self.at = At::Next;
        }
        read.bytes
    }

    fn bad_list(&self, _: NoList) -> NotAnInvocation {
        NotAnInvocation::NoList(self.binding.clone())
    }
}

impl At {
    fn expected(self) -> &'static str {
        match self {
            Self::Start => "an object",
            Self::NameOrEnd | Self::NameStart => "a name",
            Self::Colon => "a colon",
            Self::Next => "a comma",
            _ => "the end",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The messages, cut ones as `None`, and the metadata of an envelope that comes in pieces of so many bytes.
    type Found = Result<(Vec<Option<String>>, String), NotAnInvocation>;

    fn read(envelope: &str, size: usize) -> Found {
        let mut reader = BatchReader::new("msgs", 40, 60);
        let mut items = Vec::new();
        for piece in envelope.as_bytes().chunks(size) {
            reader.feed(piece, |item| {
                let text = String::from_utf8_lossy(item.text).into_owned();
                items.push((!item.is_cut).then_some(text));
            })?;
            assert!(reader.held() <= 100);
        }
        let metadata = reader.finish()?;
        Ok((items, String::from_utf8_lossy(&metadata).into_owned()))
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| Some((*text).to_owned())).collect()
    }

    #[test]
    fn messages_are_found_however_the_envelope_is_cut_and_written() {
        let metadata = r#"{"a":"]}\"","b":[1,{}]}"#;
        for (envelope, expected) in [
            (
                r#"{"Data":{"msgs":"[\"AP8i\",\"\"]"},"Metadata":<m>}"#,
                some(&["AP8i", ""]),
            ),
            (
                r#" { "Data" : { "other" : {"x":"}"} , "msgs" : " [ \"a\\n\\\\\\\"b\" , {\"y\": [2]} ] " , "n":null } , "Metadata" : <m> , "RetryContext":{"a":1} } "#,
                some(&["a\n\\\"b", r#"{"y": [2]}"#]),
            ),
            (
                r#"{"Metadata":<m>,"Data":{"msgs":["a",1.5,true,"\ud83d\ude00"]}}"#,
                some(&["a", "1.5", "true", "\u{1f600}"]),
            ),
            (r#"{"Data":{"msgs":"[]"},"Metadata":<m>}"#, vec![]),
            (r#"{"Data":{"msgs":[]},"Metadata":<m>}"#, vec![]),
            (
                r#"{"Data":{"msgs":"[\"012345678901234567890123456789012345678901\",\"b\"]"},"Metadata":<m>}"#,
                vec![None, Some("b".to_owned())],
            ),
            (
                r#"{"Data":{"msgs":"AP8i"},"Metadata":<m>}"#,
                some(&["AP8i"]),
            ),
            (
                r#"{"Data":{"msgs":"{\"a\":[1,\"b\"]}"},"Metadata":<m>}"#,
                some(&[r#"{"a":[1,"b"]}"#]),
            ),
            (
                r#"{"Data":{"msgs": {"a":["}"]} },"Metadata":<m>}"#,
                some(&[r#"{"a":["}"]}"#]),
            ),
            (
                r#"{"Data":{"msgs":"012345678901234567890123456789012345678901"},"Metadata":<m>}"#,
                vec![None],
            ),
        ] {
            let envelope = envelope.replace("<m>", metadata);
            for size in [1, 2, 3, 7, 1000] {
                let (items, found) = read(&envelope, size).unwrap();
                assert_eq!(items, expected, "{envelope} by {size}");
                assert_eq!(found, metadata);
            }
        }
        let (items, metadata) = read(r#"{"Data":{"msgs":"[1]"}}"#, 9).unwrap();
        assert_eq!((items, metadata.as_str()), (some(&["1"]), ""));
    }

    #[test]
    fn what_is_no_envelope_of_messages_is_refused_wherever_it_breaks() {
        for (envelope, part) in [
            ("", "early"),
            ("[]", "an object is expected"),
            (r#"{"Data":{"msgs":"[\"a\""#, "early"),
            (
                r#"{"Data":{"msgs":"[\"a\""}}"#,
                "Data.msgs: expected a list",
            ),
            (
                r#"{"Data":{"msgs":"[\"a\"] x"}}"#,
                "Data.msgs: expected a list",
            ),
            (r#"{"Data":{"msgs":7}}"#, "Data.msgs: expected a list"),
            (r#"{"Data":{"msgs":" "}}"#, "Data.msgs: expected a list"),
            (r#"{"Data":{"msgs":null}}"#, "Data.msgs: expected a list"),
            (r#"{"Data":{"msgs":"[\"a\" \"b\"]"}}"#, "expected a list"),
            (r#"{"Data":{"msgs":"[\"a\",]"}}"#, "expected a list"),
            (r#"{"Data":{"msgs":"[\"\\x\"]"}}"#, "expected a list"),
            (r#"{"Data":{"msgs":[],"msgs":[]}}"#, "twice"),
            (r#"{"Data":{"a":1,"b":2}}"#, r#""msgs"; it has ["a", "b"]"#),
            (r#"{"Data":{}}"#, "no member"),
            (r#"{"Data":7}"#, "no member"),
            (r#"{"Data":}"#, "missing"),
            (r#"{"Data":{"msgs":[]}} x"#, "the end is expected"),
            (r#"{"Data" {}}"#, "a colon is expected"),
            (
                &format!(r#"{{"Metadata":"{}"}}"#, "x".repeat(100)),
                "metadata of the messages is larger than 60 bytes",
            ),
        ] {
            for size in [1, 1000] {
                let error = read(envelope, size).unwrap_err().to_string();
                assert!(error.contains(part), "{envelope}: {error}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_arrive_as_they_were_sent(texts: Vec<String>, size in 1_usize..50, plain: bool) {
            let list = serde_json::to_string(&texts).unwrap();
            let value = if plain { list } else { serde_json::to_string(&list).unwrap() };
            let envelope = format!(r#"{{"Data":{{"msgs":{value}}},"Metadata":{{}}}}"#);
            let mut reader = BatchReader::new("msgs", 1 << 20, 1 << 20);
            let mut found = Vec::new();
            for piece in envelope.as_bytes().chunks(size) {
                reader.feed(piece, |item| found.push(item.text.to_vec())).unwrap();
            }
            prop_assert_eq!(reader.finish().unwrap(), b"{}");
            let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            prop_assert_eq!(found, texts);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, text in r#"[\[\]{}:,"\\DatamsgsM 0-9]{0,60}"#) {
            for input in [&bytes[..], text.as_bytes()] {
                let mut reader = BatchReader::new("msgs", 100, 100);
                let _ = input.chunks(3).try_for_each(|piece| reader.feed(piece, |_| ()));
                let _ = reader.finish();
            }
        }
    }
}

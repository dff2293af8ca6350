//! The list of messages in an envelope, read as it comes.
//!
//! Where a function takes many messages and the envelope holds one that is no list, this one is the whole list: tools that
//! call a function by hand send such envelopes.

use super::pieces::{BadEscape, Read, Skip, Unescape, is_blank};

/// A longer buffer is given back when its message has ended.
const MAX_SPARE_BYTES: usize = 1 << 20;

/// One message as it stands in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Item<'a> {
    /// What its string says, or the JSON of a value that is no string.
    pub(crate) text: &'a [u8],
    /// Whether it is a string.
    pub(crate) is_string: bool,
    /// Whether it had more bytes than are read of one; then there is no text.
    pub(crate) is_cut: bool,
    /// Whether it stands where the list is expected.
    pub(crate) is_alone: bool,
}

/// Takes messages as they end.
pub(super) type Take<'a> = &'a mut dyn FnMut(Item<'_>);

/// It is no list of messages.
#[derive(Debug)]
pub(super) struct NoList;

impl From<BadEscape> for NoList {
    fn from(_: BadEscape) -> Self {
        Self
    }
}

/// The list of messages.
#[derive(Debug)]
pub(super) struct List {
    max_item: usize,
    pub(super) at: InList,
    unescape: Unescape,
    skip: Skip,
    /// Of the message that has not ended.
    pub(super) text: Vec<u8>,
    is_cut: bool,
    is_alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InList {
    Start,
    ItemOrEnd,
    Item,
    Text,
    Value,
    /// The text of a message that stands where the list is expected.
    Alone,
    Next,
    End,
}

impl List {
    pub(super) fn new(max_item: usize) -> Self {
        Self {
            max_item,
            at: InList::Start,
            unescape: Unescape::default(),
            skip: Skip::default(),
            text: Vec::new(),
            is_cut: false,
            is_alone: false,
        }
    }

    /// What comes is an object, and the only message.
    pub(super) fn expect_object(&mut self) {
        self.is_alone = true;
        self.skip = Skip::default();
        self.at = InList::Value;
    }

    /// A part of a text that holds the list, or one message, and nothing else.
    pub(super) fn whole(&mut self, text: &[u8], take: Take<'_>) -> Result<(), NoList> {
        let first = text.iter().find(|byte| !is_blank(**byte));
        if self.at == InList::Start && first.is_some_and(|byte| *byte != b'[') {
            self.is_alone = true;
            self.at = InList::Alone;
        }
        if self.at == InList::Alone {
            keep(&mut self.text, &mut self.is_cut, text, self.max_item);
            return Ok(());
        }
        let read = self.feed(text, take)?;
        let rest = text.get(read.bytes..).unwrap_or_default();
        match rest.iter().all(|byte| is_blank(*byte)) {
            true => Ok(()),
            false => Err(NoList),
        }
    }

    /// The text of [`List::whole`] has ended.
    pub(super) fn end_of_text(&mut self, take: Take<'_>) -> Result<(), NoList> {
        match self.at {
            InList::End => Ok(()),
            InList::Alone => {
                self.item_ended(true, take);
                Ok(())
            }
            _ => Err(NoList),
        }
    }

    /// Reads up to the end of the list.
    pub(super) fn feed(&mut self, piece: &[u8], take: Take<'_>) -> Result<Read, NoList> {
        let mut at = 0;
        while let Some(rest) = piece.get(at..).filter(|rest| !rest.is_empty()) {
            match (self.at, rest[0]) {
                (InList::End, _) => break,
                (InList::Text, _) => {
                    let (text, cut) = (&mut self.text, &mut self.is_cut);
                    let read = self.unescape.feed(rest, |part| {
                        keep(text, cut, part, self.max_item);
                        Ok::<_, NoList>(())
                    })?;
                    at += self.item_read(read, true, take);
                }
                (InList::Value, _) => {
                    let read = self.skip.feed(rest);
                    let part = &rest[..read.bytes];
                    keep(&mut self.text, &mut self.is_cut, part, self.max_item);
                    at += self.item_read(read, false, take);
                }
                (_, byte) => {
                    at += self.step(byte)?;
                    if self.at == InList::End {
                        return Ok(Read {
                            bytes: at,
                            ended: true,
                        });
                    }
                }
            }
        }
        Ok(Read {
            bytes: at,
            ended: self.at == InList::End,
        })
    }

    /// One byte between messages; how many of it are used.
    fn step(&mut self, byte: u8) -> Result<usize, NoList> {
        match (self.at, byte) {
            _ if is_blank(byte) => {}
            (InList::Start, b'[') => self.at = InList::ItemOrEnd,
            (InList::ItemOrEnd | InList::Next, b']') => self.at = InList::End,
            (InList::Next, b',') => self.at = InList::Item,
            (InList::ItemOrEnd | InList::Item, b'"') => {
                self.unescape = Unescape::default();
                self.at = InList::Text;
            }
            (InList::Start | InList::Alone | InList::Next, _) | (_, b',' | b']' | b'}') => {
                return Err(NoList);
            }
            _ => {
                self.skip = Skip::default();
                self.at = InList::Value;
                return Ok(0);
            }
        }
        Ok(1)
    }

    fn item_read(&mut self, read: Read, is_string: bool, take: Take<'_>) -> usize {
        if read.ended {
            self.item_ended(is_string, take);
        }
        read.bytes
    }

    fn item_ended(&mut self, is_string: bool, take: Take<'_>) {
        self.at = match self.is_alone {
            true => InList::End,
            false => InList::Next,
        };
        take(Item {
            text: &self.text,
            is_string,
            is_cut: std::mem::take(&mut self.is_cut),
            is_alone: self.is_alone,
        });
        if self.text.capacity() > MAX_SPARE_BYTES {
            self.text = Vec::new();
        }
        self.text.clear();
    }
}

fn keep(text: &mut Vec<u8>, is_cut: &mut bool, part: &[u8], most: usize) {
    *is_cut = *is_cut || text.len() + part.len() > most;
    if *is_cut {
        // Given back, not only emptied.
        *text = Vec::new();
    } else {
        text.extend_from_slice(part);
    }
}

//! JSON text read in one pass, guided by what a model expects.
//!
//! Bodies are mostly numbers, and reading numbers is most of the work of a hit. So numbers are read here, and arrays of plain
//! numbers by [`super::number_array`]; everything else is left to `serde_json`, value by value. For a whole body `serde_json`
//! takes 1.1 to 2.5 times as long and `sonic-rs` 1.3 to 2.1 times (docs/performance.md), and `sonic-rs` rounds to single
//! precision by way of double. The forced inlining keeps the position in registers.
//! Anything unusual or wrong gives `None`: [`super::diagnose`] then reads the text again and reports the mistake.

use serde::Deserialize;

use crate::json::number::Number;
use crate::watch::Watch;

/// Bytes between two looks at whether the reading is over: some tens of microseconds.
const WATCHED_BYTES: usize = 64 << 10;

/// A position in JSON text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
    watch: &'a dyn Watch,
    /// Where the watch is to be looked at next.
    look_at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8], watch: &'a dyn Watch) -> Self {
        Self {
            text,
            at: 0,
            watch,
            look_at: WATCHED_BYTES,
        }
    }

    /// Called at distances that are small beside [`WATCHED_BYTES`]: `None` if the reading is over. Small bodies end before
    /// the first look.
    #[inline(always)]
    pub(crate) fn go_on(&mut self, at: usize) -> Option<()> {
        if at < self.look_at {
            return Some(());
        }
        self.look(at)
    }

    #[cold]
    fn look(&mut self, at: usize) -> Option<()> {
        self.look_at = at + WATCHED_BYTES;
        (!self.watch.is_over()).then_some(())
    }

    /// Whether only white space is left.
    pub(crate) fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Reads an object, member by member: `member` is given the name and has to read the value.
    pub(crate) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.list(b'{', b'}', |scanner| {
            // Only a name without escapes can be borrowed from the text.
            let name = scanner.value::<&str>()?;
            scanner.take(b':')?;
            member(scanner, name)
        })
    }

    /// Reads an array, item by item.
    #[inline(always)]
    pub(crate) fn items(&mut self, item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list(b'[', b']', item)
    }

    /// Reads a value of any kind.
    pub(crate) fn value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let rest = self.text.get(self.at..)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }

    #[inline(always)]
    fn list(
        &mut self,
        open: u8,
        close: u8,
        mut item: impl FnMut(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.take(open)?;
        if self.peek()? == close {
            self.at += 1;
            return Some(());
        }
        loop {
            item(self)?;
            let next = self.peek()?;
            self.at += 1;
            if next == close {
                return Some(());
            }
            if next != b',' {
                return None;
            }
        }
    }

    /// A number, by the grammar of JSON.
    #[inline(always)]
    pub(crate) fn number(&mut self) -> Option<Number<'a>> {
        self.peek()?;
        let start = self.at;
        let negative = self.byte() == b'-';
        self.at += usize::from(negative);
        let first = self.at;
        let mut digits = self.digits(0);
        let mut count = self.at - first;
        if count == 0 || (count > 1 && self.text[first] == b'0') {
            return None;
        }
        let (mut whole, mut exponent) = (true, 0);
        if self.byte() == b'.' {
            self.at += 1;
            let point = self.at;
            digits = self.digits(digits);
            let decimals = self.at - point;
            if decimals == 0 {
                return None;
            }
            whole = false;
            count += decimals;
            exponent = -i32::try_from(decimals).ok()?;
        }
        if self.byte() | 0x20 == b'e' {
            whole = false;
            let power;
            (power, *self) = self.exponent()?;
            exponent = exponent.checked_add(power)?;
        }
        Some(Number {
            token: &self.text[start..self.at],
            negative,
            // 19 digits always fit.
            digits: (count <= 19).then_some(digits),
            exponent,
            whole,
        })
    }

    /// The exponent that begins here, and where it ends.
    #[cold]
    fn exponent(mut self) -> Option<(i32, Self)> {
        self.at += 1;
        let negative = self.byte() == b'-';
        self.at += usize::from(negative || self.byte() == b'+');
        let first = self.at;
        let digits = self.digits(0);
        // No client sends a longer exponent.
        if !(1..=8).contains(&(self.at - first)) {
            return None;
        }
        let exponent = i32::try_from(digits).ok()?;
        Some((if negative { -exponent } else { exponent }, self))
    }

    /// Appends further digits to those read before. The value is meaningless if there are more than 19 in all.
    #[inline(always)]
    fn digits(&mut self, before: u64) -> u64 {
        let mut value = before;
        loop {
            let digit = self.byte().wrapping_sub(b'0');
            if digit > 9 {
                return value;
            }
            value = value.wrapping_mul(10).wrapping_add(digit.into());
            self.at += 1;
        }
    }

    /// The byte here; behind the end 0, which never occurs in JSON.
    #[inline(always)]
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Goes to the next byte that is not white space.
    #[inline(always)]
    pub(crate) fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline(always)]
    pub(super) fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        found.then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::element::Element;
    use crate::watch::Unwatched;

    #[test]
    fn members_items_and_values_are_read_in_place() {
        let mut scanner = Scanner::new(br#" { "a" : [ 1 , 2 ] , "b" : {"c": "]"} } "#, &Unwatched);
        let mut seen = Vec::new();
        scanner.members(|scanner, name| match name {
            "a" => scanner.items(|scanner| {
                seen.push(u8::scan(scanner)?.to_string());
                Some(())
            }),
            _ => {
                seen.push(scanner.value::<serde_json::Value>()?.to_string());
                Some(())
            }
        });
        assert_eq!(seen, ["1", "2", r#"{"c":"]"}"#]);
        assert!(scanner.is_done());
        for text in [
            "{",
            "{}}",
            "{\"a\"}",
            "{\"a\":1,}",
            "{,}",
            "{\"a\\u0041\":1}",
        ] {
            let mut scanner = Scanner::new(text.as_bytes(), &Unwatched);
            let read = scanner.members(|scanner, _| u8::scan(scanner).map(|_| ()));
            assert!(read.is_none() || !scanner.is_done(), "{text}");
        }
    }
}

//! JSON text read in one pass, guided by what a model expects.
//!
//! Bodies are mostly numbers, and reading those is most of the work of a hit, so plain numbers are read here; everything
//! else is left to `serde_json`, value by value. Whatever is unusual or wrong gives `None`: [`super::careful`] then reads
//! the text again and finds the words for it. docs/performance.md compares this with `serde_json` and `sonic-rs`.

use std::str;

use score::{Shape, TensorSpec};
use serde::Deserialize;

use super::element::Element;

/// How many levels of arrays are expected and how many elements at first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    rank: usize,
    elements: usize,
}

impl Plan {
    pub(super) fn new(rank: usize, elements: usize) -> Self {
        Self { rank, elements }
    }

    /// The shape of an input, with room for one row.
    pub(super) fn for_input(spec: &TensorSpec) -> Self {
        let lengths = spec.signed_shape();
        let fixed = lengths.iter().filter_map(|n| usize::try_from(*n).ok());
        Self::new(lengths.len(), fixed.fold(1, usize::saturating_mul))
    }
}

/// A place in JSON text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Whether only white space is left.
    pub(super) fn is_done(&mut self) -> bool {
        self.peek().is_none()
    }

    /// Reads an object, member by member: `member` is given the name and has to read the value.
    pub(super) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self, &'a str) -> Option<()>,
    ) -> Option<()> {
        self.list(b'{', b'}', |scanner| {
            // Without escapes, as only then it can be lent.
            let name = scanner.value::<&str>()?;
            scanner.take(b':')?;
            member(scanner, name)
        })
    }

    /// Reads an array, item by item.
    pub(super) fn items(&mut self, item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.list(b'[', b']', item)
    }

    /// Reads a value of any kind.
    pub(super) fn value<T: Deserialize<'a>>(&mut self) -> Option<T> {
        let rest = self.text.get(self.at..)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }

    /// Reads nested arrays, as deep as planned: their shape and their elements.
    pub(super) fn nested<T: Element>(&mut self, plan: Plan) -> Option<(Shape, Vec<T>)> {
        // Every element is at least two characters long.
        let most = (self.text.len() - self.at) / 2;
        let mut elements = Vec::with_capacity(plan.elements.min(most));
        let mut lengths = vec![None; plan.rank];
        self.level(&mut elements, &mut lengths)?;
        // An axis below an empty array has no length yet.
        let shape = lengths.into_iter().collect::<Option<Shape>>()?;
        Some((shape, elements))
    }

    fn level<T: Element>(
        &mut self,
        elements: &mut Vec<T>,
        lengths: &mut [Option<usize>],
    ) -> Option<()> {
        let Some((length, deeper)) = lengths.split_first_mut() else {
            elements.push(T::scan(self)?);
            return Some(());
        };
        let (start, mut count) = (self.at, 0);
        if deeper.is_empty() {
            self.items(|scanner| {
                elements.push(T::scan(scanner)?);
                count += 1;
                Some(())
            })?;
        } else {
            self.items(|scanner| {
                scanner.level(elements, deeper)?;
                count += 1;
                if count == 1 {
                    scanner.make_room(elements, start);
                }
                Some(())
            })?;
        }
        (*length.get_or_insert(count) == count).then_some(())
    }

    /// The rest is likely to be like the first item, which began at `start`.
    fn make_room<T>(&self, elements: &mut Vec<T>, start: usize) {
        let (read, left) = (self.at - start, self.text.len() - self.at);
        let likely = left.saturating_mul(elements.len()) / read.max(1);
        elements.reserve(likely.min(left / 2));
    }

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
    #[inline]
    pub(super) fn number(&mut self) -> Option<Number<'a>> {
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
            exponent = exponent.checked_add(self.exponent()?)?;
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

    fn exponent(&mut self) -> Option<i32> {
        self.at += 1;
        let negative = self.byte() == b'-';
        self.at += usize::from(negative || self.byte() == b'+');
        let first = self.at;
        let digits = self.digits(0);
        // Longer ones mean no number anybody sends.
        if !(1..=8).contains(&(self.at - first)) {
            return None;
        }
        let exponent = i32::try_from(digits).ok()?;
        Some(if negative { -exponent } else { exponent })
    }

    /// Reads digits behind those read before. The value is of no use if there were more than 19 in all.
    #[inline]
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

    /// The byte here; 0, which stands nowhere in JSON, behind the end.
    #[inline]
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// Goes to the next byte that is not white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        found.then_some(())
    }
}

/// A number as it is written: `digits` times ten to the power of `exponent`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    token: &'a [u8],
    negative: bool,
    /// `None` if there are too many.
    digits: Option<u64>,
    exponent: i32,
    /// Without point and exponent.
    whole: bool,
}

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// Integers up to here are exact as doubles.
const MAX_EXACT: u64 = 1 << 53;

impl Number<'_> {
    /// The whole number it is written as.
    #[inline]
    pub(super) fn integer<T: TryFrom<u64> + TryFrom<i64>>(&self) -> Option<T> {
        let digits = self.digits.filter(|_| self.whole)?;
        if self.negative {
            T::try_from(i64::try_from(digits).ok()?.checked_neg()?).ok()
        } else {
            T::try_from(digits).ok()
        }
    }

    /// The nearest double.
    pub(super) fn double(&self) -> Option<f64> {
        match self.digits {
            // Both are exact, so the one operation rounds once.
            Some(digits) if digits <= MAX_EXACT => self.scaled(digits),
            _ => None,
        }
        .or_else(|| self.parse())
        .filter(|value| value.is_finite())
    }

    /// The nearest single: the text is rounded once.
    #[inline]
    pub(super) fn single(&self) -> Option<f32> {
        let by_double = self.digits.and_then(|digits| {
            // At most two units in the last place off. Only next to the middle between two singles could that matter.
            let value = self.scaled(digits)?;
            let beside_middle = (value.to_bits() & ((1 << 29) - 1)).abs_diff(1 << 28);
            let normal = (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&value.abs());
            (digits == 0 || (normal && beside_middle > 4)).then_some(value as f32)
        });
        by_double
            .or_else(|| self.parse())
            .filter(|value| value.is_finite())
    }

    #[inline]
    fn scaled(&self, digits: u64) -> Option<f64> {
        let power = *POWERS.get(self.exponent.unsigned_abs() as usize)?;
        let value = if self.exponent < 0 {
            digits as f64 / power
        } else {
            digits as f64 * power
        };
        Some(if self.negative { -value } else { value })
    }

    #[cold]
    fn parse<T: str::FromStr>(&self) -> Option<T> {
        str::from_utf8(self.token).ok()?.parse().ok()
    }
}

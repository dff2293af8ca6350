//! JSON text read in one pass, guided by what a model expects.
//!
//! Bodies are mostly numbers, and reading those is most of the work of a hit, so numbers are read here, arrays of plain ones
//! by [`super::number_array`]; everything else is left to `serde_json`, value by value. `serde_json` takes 1.1 to 2.5 times as
//! long for a whole body, `sonic-rs` 1.3 to 2.1 times (docs/performance.md), and rounds to single precision by way of double.
//! The forced inlining keeps the position in registers. Anything unusual or wrong gives `None`: [`super::diagnose`] then reads the text again and finds the words.

use std::str;

use score::{Shape, TensorSpec};
use serde::Deserialize;

use crate::json::element::Element;
use crate::json::number_array;

/// How many levels of arrays are expected and how many elements at first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// `None`: as many as there are brackets in front of the first element.
    rank: Option<usize>,
    elements: usize,
}

/// Levels that are read here where the model does not say how many; deeper ones are left to the careful path.
const MAX_UNDECLARED_RANK: usize = 8;

impl Plan {
    pub(crate) fn new(rank: usize, elements: usize) -> Self {
        Self {
            rank: Some(rank),
            elements,
        }
    }

    /// The shape of an input, with room for one row.
    pub(crate) fn for_input(spec: &TensorSpec) -> Self {
        let lengths = spec.signed_shape();
        let fixed = lengths.iter().filter_map(|n| usize::try_from(*n).ok());
        Self {
            rank: spec.shape.as_ref().map(Vec::len),
            elements: fixed.fold(1, usize::saturating_mul),
        }
    }
}

/// A place in JSON text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scanner<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
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
            // Without escapes, as only then it can be lent.
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

    /// Reads nested arrays, as deep as planned: their shape and their elements.
    pub(crate) fn nested<T: Element>(&mut self, plan: Plan) -> Option<(Shape, Vec<T>)> {
        // Every element is at least two characters long.
        let most = (self.text.len() - self.at) / 2;
        let mut elements = Vec::with_capacity(plan.elements.min(most));
        let rank = plan.rank.or_else(|| self.depth())?;
        let mut lengths = vec![None; rank];
        self.level(&mut elements, &mut lengths)?;
        // An axis below an empty array has no length yet.
        let shape = lengths.into_iter().collect::<Option<Shape>>()?;
        Some((shape, elements))
    }

    /// How many arrays begin here, one in the other; `None` if they are more than are read here.
    #[cold]
    fn depth(mut self) -> Option<usize> {
        let mut depth = 0;
        while self.take(b'[').is_some() {
            depth += 1;
            if depth > MAX_UNDECLARED_RANK {
                return None;
            }
        }
        Some(depth)
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
        let (start, before, mut count) = (self.at, elements.len(), 0);
        if deeper.is_empty() {
            self.innermost(elements)?;
            count = elements.len() - before;
        } else {
            self.items(|scanner| {
                scanner.level(elements, deeper)?;
                count += 1;
                if count == 1 {
                    scanner.make_room(elements, start, before);
                }
                Some(())
            })?;
        }
        (*length.get_or_insert(count) == count).then_some(())
    }

    fn innermost<T: Element>(&mut self, elements: &mut Vec<T>) -> Option<()> {
        // A copy, which stays in registers.
        let mut scanner = *self;
        if T::IS_NUMBER && scanner.take(b'[').is_some() && scanner.peek()? != b']' {
            number_array::read(&mut scanner, elements)?;
            *self = scanner;
        } else {
            self.items(|scanner| {
                elements.push(T::scan(scanner)?);
                Some(())
            })?;
        }
        Some(())
    }

    /// The rest is likely to be like the first item, which began at `start` with `before` elements before it.
    fn make_room<T>(&self, elements: &mut Vec<T>, start: usize, before: usize) {
        let (read, left) = (self.at - start, self.text.len() - self.at);
        let likely = left.saturating_mul(elements.len() - before) / read.max(1);
        elements.reserve(likely.min(left / 2));
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
        // Longer ones mean no number anybody sends.
        if !(1..=8).contains(&(self.at - first)) {
            return None;
        }
        let exponent = i32::try_from(digits).ok()?;
        Some((if negative { -exponent } else { exponent }, self))
    }

    /// Reads digits behind those read before. The value is of no use if there were more than 19 in all.
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

    /// The byte here; 0, which stands nowhere in JSON, behind the end.
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
    fn take(&mut self, byte: u8) -> Option<()> {
        let found = self.peek()? == byte;
        self.at += usize::from(found);
        found.then_some(())
    }
}

/// A number as it is written: `digits` times ten to the power of `exponent`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number<'a> {
    pub(crate) token: &'a [u8],
    pub(crate) negative: bool,
    /// `None` if there are too many.
    pub(crate) digits: Option<u64>,
    pub(crate) exponent: i32,
    /// Without point and exponent.
    pub(crate) whole: bool,
}

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];
/// The powers of ten that a single holds exactly.
const SINGLE_POWERS: [f32; 11] = [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10];
/// Integers below are exact as singles.
const MAX_EXACT_SINGLE: u64 = 1 << 24;
/// Integers up to here are exact as doubles.
const MAX_EXACT: u64 = 1 << 53;

impl Number<'_> {
    /// A number of one digit.
    #[inline(always)]
    pub(crate) fn digit(value: u8) -> Self {
        Self {
            token: b"",
            negative: false,
            digits: Some(value.into()),
            exponent: 0,
            whole: true,
        }
    }

    /// The whole number it is written as.
    #[inline(always)]
    pub(crate) fn integer<T: TryFrom<u64> + TryFrom<i64>>(&self) -> Option<T> {
        let digits = self.digits.filter(|_| self.whole)?;
        if self.negative {
            T::try_from(i64::try_from(digits).ok()?.checked_neg()?).ok()
        } else {
            T::try_from(digits).ok()
        }
    }

    /// The nearest double.
    pub(crate) fn double(&self) -> Option<f64> {
        match self.digits {
            // Both are exact, so the one operation rounds once.
            Some(digits) if digits <= MAX_EXACT => self.scaled(digits),
            _ => None,
        }
        .or_else(|| self.parse())
        .filter(|value| value.is_finite())
    }

    /// The nearest single: the text is rounded once.
    #[inline(always)]
    pub(crate) fn single(&self) -> Option<f32> {
        if let Some(value) = self.exact_single() {
            return Some(value);
        }
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

    /// The same of few digits with few decimals: both they and the power of ten are exact, so the division rounds once.
    #[inline(always)]
    fn exact_single(&self) -> Option<f32> {
        let digits = self.digits.filter(|digits| *digits < MAX_EXACT_SINGLE)?;
        let decimals = usize::try_from(-self.exponent).ok()?;
        let value = digits as i32 as f32 / SINGLE_POWERS.get(decimals)?;
        Some(if self.negative { -value } else { value })
    }

    #[inline(always)]
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn single(token: &str) -> Option<f32> {
        let mut scanner = Scanner::new(token.as_bytes());
        let value = f32::scan(&mut scanner)?;
        scanner.is_done().then_some(value)
    }

    #[test]
    fn takes_the_numbers_of_json_and_no_others() {
        for token in [
            "0", "-0", "10", "0.5", "-12.50", "1e3", "1E+3", "2.5e-7", "0e99",
        ] {
            assert_eq!(single(token), token.parse().ok(), "{token}");
        }
        let wrong = [
            "",
            "-",
            "+1",
            "01",
            "-01",
            ".5",
            "1.",
            "1.e3",
            "1e",
            "1e+",
            "0x1",
            "1_0",
            "--1",
            "NaN",
            "1e39",
            "1e99999999999",
            "1 2",
        ];
        for token in wrong {
            assert_eq!(single(token), None, "{token}");
        }
    }

    #[test]
    fn what_lies_between_two_singles_is_rounded_to_the_nearest_even_one() {
        // Exactly in the middle, next to it, at the ends of the range, with more digits than fit.
        let tokens = [
            "16777217",
            "16777219",
            "1.00000005960464477539",
            "1.000000059604644775390626",
            "3.4028235e38",
            "3.40282356e38",
            "1.1754943e-38",
            "1e-45",
            "7e-46",
            "0.1",
            "123456789012345678901234567890",
        ];
        for token in tokens {
            let bits = token.parse::<f32>().ok().map(f32::to_bits);
            assert_eq!(single(token).map(f32::to_bits), bits, "{token}");
        }
    }

    proptest! {
        #[test]
        fn rounds_as_the_standard_library_does(
            digits in "[1-9][0-9]{0,24}",
            decimals in proptest::option::of("[0-9]{1,24}"),
            exponent in proptest::option::of(-50i32..50),
        ) {
            let mut token = digits;
            if let Some(decimals) = decimals {
                token += &format!(".{decimals}");
            }
            if let Some(exponent) = exponent {
                token += &format!("e{exponent}");
            }
            let right = token.parse::<f32>().ok().filter(|value| value.is_finite());
            prop_assert_eq!(single(&token).map(f32::to_bits), right.map(f32::to_bits));
            let double = f64::scan(&mut Scanner::new(token.as_bytes()));
            prop_assert_eq!(double.map(f64::to_bits), token.parse::<f64>().ok().map(f64::to_bits));
        }

        #[test]
        fn halfway_cases_are_rounded_once(bits in 0x0080_0000u32..0x7f00_0000, off in -2i64..=2) {
            // A double exactly between two singles or a few steps beside it, written in full.
            let middle = f64::from(f32::from_bits(bits)).to_bits() + (1 << 28);
            let token = format!("{}", f64::from_bits(middle.wrapping_add_signed(off)));
            let right = token.parse::<f32>().ok().map(f32::to_bits);
            prop_assert_eq!(single(&token).map(f32::to_bits), right);
        }
    }

    #[test]
    fn members_items_and_values_are_read_in_place() {
        let mut scanner = Scanner::new(br#" { "a" : [ 1 , 2 ] , "b" : {"c": "]"} } "#);
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
            let mut scanner = Scanner::new(text.as_bytes());
            let read = scanner.members(|scanner, _| u8::scan(scanner).map(|_| ()));
            assert!(read.is_none() || !scanner.is_done(), "{text}");
        }
    }

    #[test]
    fn arrays_must_be_as_deep_and_as_even_as_planned() {
        let nested = |text: &str, rank| {
            let mut scanner = Scanner::new(text.as_bytes());
            let read = scanner.nested::<i64>(Plan::new(rank, 1));
            read.filter(|_| scanner.is_done())
        };
        assert_eq!(
            nested(" [ [1, 2],\n[3,4] ]", 2),
            Some((vec![2, 2], vec![1, 2, 3, 4]))
        );
        assert_eq!(nested("7", 0), Some((vec![], vec![7])));
        assert_eq!(nested("[]", 1), Some((vec![0], vec![])));
        for (text, rank) in [
            ("[[1,2],[3]]", 2),
            ("[[1,2],3]", 2),
            ("[1]", 2),
            ("[[1]]", 1),
            ("[]", 2),
            ("[1,]", 1),
            ("[,1]", 1),
            ("[1 2]", 1),
            ("[1", 1),
            ("[1]]", 1),
            ("[1.5]", 1),
            ("[9223372036854775808]", 1),
        ] {
            assert_eq!(nested(text, rank), None, "{text}");
        }
    }
}

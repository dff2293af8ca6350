//! A number of JSON as it is written, and the nearest value of each element type.

use std::str;

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
    use crate::json::element::Element;
    use crate::json::scanner::Scanner;
    use crate::watch::Unwatched;

    fn single(token: &str) -> Option<f32> {
        let mut scanner = Scanner::new(token.as_bytes(), &Unwatched);
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
            let double = f64::scan(&mut Scanner::new(token.as_bytes(), &Unwatched));
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
}

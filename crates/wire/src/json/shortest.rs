//! Numbers of type float32 as text: the shortest decimal that reads as the same number, of those the nearest.
//!
//! Answers have thousands of numbers between 1e-5 and 1, since vectors are normalised. Those are printed here without
//! branches, in less than half of the time of `zmij`, which prints all others in the same form (docs/performance.md).
//!
//! The method is that of Schubfach (Raffaello Giulietti, "The Schubfach way to render doubles", 2020): a power of ten
//! makes the distance between neighbouring float32 at least 1 and less than 10. So there is an integer among those that
//! read as the number, and at most one multiple of ten, which is shorter. The products are rounded; where that could
//! change a digit, `zmij` decides.

/// The exponent, as it is stored, of the smallest numbers that are printed here: 2^-16.
const FIRST: u32 = 111;
/// Bits behind the point of products.
const POINT: u32 = 36;
const ONE: u64 = 1 << POINT;
const TEN: u64 = 10 << POINT;
/// No product is wrong by more: of at most half a bit for each of 2^24 steps, and one for rounding their halves.
const ERROR: u64 = 1 << 24;

/// What all numbers of one exponent have in common.
#[derive(Clone, Copy)]
struct Scale {
    /// The distance between two of them, times the power of ten.
    step: u64,
    /// Bits in front of the nine digits of a number without sign: `0.` and zeros.
    shift: u32,
}

/// Of the exponents from [`FIRST`] to that of the numbers below 1.
const SCALES: [Scale; 16] = scales();

/// Behind which the digits are put; of numbers without and with a sign.
const FRONT: [u128; 2] = [
    u128::from_le_bytes(*b"0.00000000000000"),
    u128::from_le_bytes(*b"-0.0000000000000"),
];

const fn scales() -> [Scale; 16] {
    let mut all = [Scale { step: 0, shift: 0 }; 16];
    let mut at = 0;
    while at < all.len() {
        // The distance is 2^-bits.
        let bits = 150 - FIRST - at as u32;
        let (mut power, mut digits) = (100_000_000u128, 8);
        while power >> bits == 0 {
            power *= 10;
            digits += 1;
        }
        all[at] = Scale {
            step: ((((power << (POINT + 1)) >> bits) + 1) >> 1) as u64,
            // With eight digits, the first of nine is a zero, in the place of the point.
            shift: (digits - 7) * 8,
        };
        at += 1;
    }
    all
}

/// Writes a number as JSON has it; `null` for those that it has not.
#[inline]
pub(crate) fn write(number: f32, out: &mut Vec<u8>) {
    if let Some((text, length)) = printed(number) {
        // Sixteen bytes always, since a copy of known length takes one instruction.
        let end = out.len() + length;
        out.extend_from_slice(&text.to_le_bytes());
        out.truncate(end);
    } else if number.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// The text of a number and its length; `None` for numbers that are not printed here.
#[inline]
fn printed(number: f32) -> Option<(u128, usize)> {
    let bits = number.to_bits();
    let exponent = (bits >> 23) & 0xFF;
    let Scale { step, shift } = *SCALES.get(exponent.wrapping_sub(FIRST) as usize)?;
    let fraction = bits & 0x7F_FFFF;
    let value = u64::from(fraction | 0x80_0000) * step;
    // All that lies less than half a step away reads as the number.
    let highest = value + step / 2;
    // Of the multiples of ten, the last one below: divided by ten.
    let tens = ((highest >> POINT) * 0xCCCC_CCCD) >> 35;
    let above = highest - tens * TEN;
    let is_near = above.wrapping_sub(ERROR) < step - 2 * ERROR;
    let is_far = above.wrapping_sub(step + ERROR) < TEN - step - 2 * ERROR;
    let rounded = value + ONE / 2;
    let is_between = ((rounded + ERROR) & (ONE - 1)) < 2 * ERROR;
    // The neighbour below a power of two is nearer than the one above.
    if !(is_near | (is_far & !is_between)) | (fraction == 0) {
        return None;
    }
    let has_last = u64::from(is_near).wrapping_sub(1);
    let last = (rounded >> POINT).wrapping_sub(tens * 10) & has_last;
    let others = eight_digits(tens);
    let negative = bits >> 31;
    let shift = (shift + 8 * negative) & 127;
    let digits = u128::from(others) | (u128::from(last) << 64);
    let text = FRONT[negative as usize] | (digits << shift);
    let zeros = (others.leading_zeros() / 8 + 1) & !(has_last as u32);
    Some((text, (shift / 8 + 9 - zeros) as usize))
}

/// The digits of a number below 100,000,000, the first one in the lowest byte.
#[inline]
fn eight_digits(number: u64) -> u64 {
    // Each step parts all numbers so far in two, side by side in the word, by multiplying instead of dividing.
    let high = (number * 109_951_163) >> 40;
    let fours = (number << 32) - high * ((10_000 << 32) - 1);
    let high = ((fours * 10_486) >> 20) & 0x7F_0000_007F;
    let twos = (fours << 16) - high * ((100 << 16) - 1);
    let high = ((twos * 103) >> 10) & 0x000F_000F_000F_000F;
    (twos << 8) - high * ((10 << 8) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_usual(number: f32) {
        let mut out = Vec::new();
        write(number, &mut out);
        let usual = serde_json::to_vec(&number).unwrap();
        assert_eq!(out, usual, "{number:e}");
    }

    /// Every number whose bits are in this range, or some of them, with both signs.
    fn assert_all_usual(bits: impl Iterator<Item = u32>) {
        for bits in bits {
            assert_usual(f32::from_bits(bits));
            assert_usual(f32::from_bits(bits | 1 << 31));
        }
    }

    #[test]
    fn numbers_are_written_as_by_the_usual_writer() {
        let ends = [
            0,
            1e-5f32.to_bits(),
            FIRST << 23,
            1f32.to_bits(),
            u32::MAX >> 1,
        ];
        assert_all_usual(
            ends.iter()
                .flat_map(|end| end.saturating_sub(300)..end + 300),
        );
        // Few binary digits, many decimal ones: the products end with halves and zeros.
        let few = (FIRST - 2..129)
            .flat_map(|exponent| (0..512).map(move |top| exponent << 23 | top << 14));
        assert_all_usual(few);
        // Those that people write.
        for thousandth in 0..20_000u16 {
            assert_usual(f32::from(thousandth) / 1e3);
            assert_usual(f32::from(thousandth) / 1e4);
        }
        assert_all_usual((0..1f32.to_bits() + 99_999).step_by(99_991));
        assert_all_usual((FIRST << 23..1f32.to_bits()).step_by(1_009));
    }

    #[test]
    #[ignore = "takes minutes: every number that is printed here"]
    fn every_number_is_written_as_by_the_usual_writer() {
        assert_all_usual(FIRST << 23..1f32.to_bits());
    }

    #[test]
    fn hardly_any_number_needs_the_other_writer() {
        let numbers = (FIRST << 23..1f32.to_bits()).step_by(1_009);
        let (all, printed) = numbers.fold((0, 0), |(all, here), bits| {
            (
                all + 1,
                here + usize::from(printed(f32::from_bits(bits)).is_some()),
            )
        });
        assert!(all - printed < all / 500, "{printed} of {all}");
    }
}

//! An array of plain numbers, 64 bytes of text at a time.
//!
//! Where numbers end is found first, for all of a block at once. So the processor can read several of them side by side:
//! digit by digit, each number would have to wait for the end of the one before it. docs/performance.md has the gain.

use wide::u8x16;

use crate::json::element::Element;
use crate::json::number::Number;
use crate::json::scanner::Scanner;

/// Bytes looked at together: one bit for each.
const BLOCK: usize = 64;
/// What makes a digit its value.
const ZEROS: u64 = 0x3030_3030_3030_3030;
/// The highest bit of each byte.
const HIGH: u64 = 0x8080_8080_8080_8080;
/// What a point is among values of digits.
const POINT: u64 = (b'.' ^ b'0') as u64;
/// A token may be that long and must end that far into the text, so that eight bytes at a time can be read back from its
/// end. Numbers that Python writes of a float32 are shorter.
const MOST: usize = 24;

/// Reads the numbers of an array, from behind its opening bracket to behind the closing one. `None` if something else is
/// in it, or nothing.
#[inline(always)]
pub(crate) fn read<T: Element>(scanner: &mut Scanner<'_>, elements: &mut Vec<T>) -> Option<()> {
    let text = scanner.text;
    let mut start = scanner.at;
    loop {
        let block = start;
        scanner.go_on(block)?;
        let mut ends = ends(text.get(block..)?)?;
        loop {
            let offset = start - block;
            if (ends >> offset) & 0xff == 0b1010_1010
                && let Some(digits) = four_digits(text, start)
            {
                for digit in digits {
                    elements.push(T::of_number(&Number::digit(digit))?);
                }
                ends &= !(0xff << offset);
                start += 8;
            } else {
                let end = block + ends.trailing_zeros() as usize;
                let number = if ends == 0 {
                    None
                } else {
                    plain(text, start, end)
                };
                ends &= ends.wrapping_sub(1);
                let (element, end) = match number {
                    Some(number) => (T::of_number(&number)?, end),
                    None => unusual(scanner, start)?,
                };
                elements.push(element);
                start = end + 1;
                if text[end] == b']' {
                    scanner.at = start;
                    return Some(());
                }
            }
            if ends == 0 {
                break;
            }
        }
    }
}

/// Four numbers of one digit, as pictures, counts and categories have many; each has a comma behind it.
#[inline(always)]
fn four_digits(text: &[u8], start: usize) -> Option<[u8; 4]> {
    const LIKE_THIS: u64 = u64::from_le_bytes(*b"0,0,0,0,");
    const COMMAS: u64 = 0xff00_ff00_ff00_ff00;
    let bytes = text.get(start..)?.first_chunk()?;
    let values = u64::from_le_bytes(*bytes) ^ LIKE_THIS;
    let [first, _, second, _, third, _, fourth, _] = values.to_le_bytes();
    (no_digits(values) | values & COMMAS == 0).then_some([first, second, third, fourth])
}

/// A number with an exponent, with white space around it, at the very beginning of the text or with very many digits; and
/// where the end of the item is.
#[cold]
fn unusual<T: Element>(scanner: &mut Scanner<'_>, start: usize) -> Option<(T, usize)> {
    scanner.at = start;
    let element = T::scan(scanner)?;
    let end = scanner.peek()?;
    matches!(end, b',' | b']').then_some((element, scanner.at))
}

/// Which bytes of the first block of `text` end an item: a bit for each, the first one lowest.
#[inline(always)]
fn ends(text: &[u8]) -> Option<u64> {
    let mut padded = [0; BLOCK];
    let block = match text.first_chunk() {
        Some(block) => block,
        None if text.is_empty() => return None,
        None => {
            padded[..text.len()].copy_from_slice(text);
            &padded
        }
    };
    let (comma, bracket) = (u8x16::splat(b','), u8x16::splat(b']'));
    let mut bits = 0;
    for (index, bytes) in block.as_chunks::<16>().0.iter().enumerate() {
        let bytes = u8x16::new(*bytes);
        let found = bytes.simd_eq(comma) | bytes.simd_eq(bracket);
        bits |= u64::from(found.to_bitmask()) << (16 * index);
    }
    Some(bits)
}

/// The number between `start` and `end`, if it is written as usual: digits, perhaps a point between them, a minus sign or
/// a blank before them.
#[inline(always)]
fn plain(text: &[u8], mut start: usize, end: usize) -> Option<Number<'_>> {
    // As Python writes it behind a comma.
    start += usize::from(text[start] == b' ');
    let negative = text[start] == b'-';
    let first = start + usize::from(negative);
    let length = end.wrapping_sub(first);
    if length.wrapping_sub(1) >= MOST || end < MOST {
        return None;
    }
    let (digits, decimals) = if length <= 8 {
        short(text, length, end)?
    } else {
        long(text, first, end)?
    };
    Some(Number {
        token: &text[start..end],
        negative,
        digits: Some(digits),
        exponent: -(decimals as i32),
        whole: decimals == 0,
    })
}

/// The digits of a number of up to eight characters, and how many of them are decimals. Without branches, since lengths
/// and points are hard to foresee.
#[inline(always)]
fn short(text: &[u8], length: usize, end: usize) -> Option<(u64, usize)> {
    let begin = 8 - length;
    let values = values(text, end)? & (u64::MAX << (8 * begin));
    let others = no_digits(values);
    let point = others.trailing_zeros() as usize / 8;
    let (at_point, has_point) = (others >> 7, others != 0);
    let first_is_zero = (values >> (8 * begin)) & 0xff == 0;
    let wrong = (others & others.wrapping_sub(1) != 0)
        | (values & (at_point * 0xff) != at_point * POINT)
        | (point <= begin)
        | (point == 7)
        | (first_is_zero & (point > begin + 1));
    if wrong {
        return None;
    }
    // What is before the point moves up to what is behind it.
    let behind = values & !(others << 1).wrapping_sub(1);
    let before = (values & at_point.wrapping_sub(1)) << (8 * u32::from(has_point));
    Some((eight(behind | before), 7_usize.saturating_sub(point)))
}

/// The same of a longer one, which must have a point behind at most seven digits, and digits that fit.
#[inline(always)]
fn long(text: &[u8], first: usize, end: usize) -> Option<(u64, usize)> {
    let values = values(text, first + 8)?;
    let others = no_digits(values);
    let wholes = others.trailing_zeros() as usize / 8;
    if !(1..8).contains(&wholes) || text[first + wholes] != b'.' {
        return None;
    }
    let first_is_zero = values & 0xff == 0;
    let decimals = end - first - wholes - 1;
    if first_is_zero && wholes > 1 {
        return None;
    }
    let mut digits = eight(values << (8 * (8 - wholes)));
    // Any nineteen digits fit.
    let room = if decimals > 16 {
        let count = decimals - 16;
        digits = digits * POWERS[count] + last(text, end - 16, count)?;
        1_000
    } else if decimals > 8 {
        let count = decimals - 8;
        digits = digits * POWERS[count] + last(text, end - 8, count)?;
        100_000_000_000
    } else {
        digits = digits * POWERS[decimals] + last(text, end, decimals)?;
        return Some((digits, decimals));
    };
    if digits >= room {
        return None;
    }
    if decimals > 16 {
        digits = digits * POWERS[8] + last(text, end - 8, 8)?;
    }
    digits = digits * POWERS[8] + last(text, end, 8)?;
    Some((digits, decimals))
}

/// The powers of ten of up to eight digits.
const POWERS: [u64; 9] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
];

/// The value of the last `count` digits, one to eight, before `end`.
#[inline(always)]
fn last(text: &[u8], end: usize, count: usize) -> Option<u64> {
    let values = values(text, end)? & (u64::MAX << (8 * (8 - count)));
    (no_digits(values) == 0).then(|| eight(values))
}

/// The eight bytes before `end`, the first one lowest; digits as their values.
#[inline(always)]
fn values(text: &[u8], end: usize) -> Option<u64> {
    let bytes = text.get(..end)?.last_chunk()?;
    Some(u64::from_le_bytes(*bytes) ^ ZEROS)
}

/// The highest bit of each byte that is not the value of a digit.
#[inline(always)]
fn no_digits(values: u64) -> u64 {
    // What is above 9 runs over into the highest bit, and never out of its byte.
    (((values & !HIGH) + (0x80 - 10) * (HIGH >> 7)) | values) & HIGH
}

/// The number with these eight digits; the first digit, the most significant one, is in the lowest byte.
#[inline(always)]
fn eight(values: u64) -> u64 {
    const EVERY_FOURTH: u64 = 0xff | 0xff << 32;
    let pairs = values.wrapping_mul(10).wrapping_add(values >> 8);
    let first = (pairs & EVERY_FOURTH).wrapping_mul(100 | 1_000_000 << 32);
    let second = ((pairs >> 16) & EVERY_FOURTH).wrapping_mul(1 | 10_000 << 32);
    first.wrapping_add(second) >> 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::json::nested::Plan;
    use crate::watch::Unwatched;

    /// What becomes of items, read as an array of one axis.
    fn read_all<T: Element>(items: &[String]) -> Option<Vec<T>> {
        let text = format!("[{}]", items.join(","));
        let mut scanner = Scanner::new(text.as_bytes(), &Unwatched);
        let (shape, elements) = scanner.nested(Plan::new(1, 1))?;
        let whole = scanner.is_done() && shape == [elements.len()];
        whole.then_some(elements)
    }

    /// The same, item by item, as the standard library reads numbers and `serde_json` knows JSON.
    fn right<T: std::str::FromStr>(items: &[String], is_finite: fn(&T) -> bool) -> Option<Vec<T>> {
        let read = |item: &String| {
            let token = item.trim_matches(' ');
            serde_json::from_str::<&serde_json::value::RawValue>(token).ok()?;
            token.parse().ok().filter(is_finite)
        };
        items.iter().map(read).collect()
    }

    fn check(items: &[String]) -> Result<(), TestCaseError> {
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let singles = right(items, |value: &f32| value.is_finite()).map(bits);
        prop_assert_eq!(read_all(items).map(bits), singles, "{:?}", items);
        let bits = |values: Vec<f64>| values.into_iter().map(f64::to_bits).collect::<Vec<_>>();
        let doubles = right(items, |value: &f64| value.is_finite()).map(bits);
        prop_assert_eq!(read_all(items).map(bits), doubles, "{:?}", items);
        let integers = right(items, |_: &i64| true);
        prop_assert_eq!(read_all::<i64>(items), integers, "{:?}", items);
        Ok(())
    }

    /// One item among others, so that it lies anywhere in a block.
    fn among(item: &str, before: usize, behind: usize) -> Vec<String> {
        let mut items = vec!["0.25".to_owned(); before];
        items.push(item.to_owned());
        items.resize(before + 1 + behind, "7".to_owned());
        items
    }

    #[test]
    fn reads_every_number_of_few_characters_and_nothing_else() {
        // All texts of up to four of these, at the end of a block, at its beginning, and where nothing is behind them.
        let characters = ["0", "1", "9", ".", "-", " ", "e", "/", ":"];
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            let longer = texts
                .iter()
                .flat_map(|text| characters.map(|more| format!("{text}{more}")));
            texts = longer.chain([String::new()]).collect();
        }
        for text in &texts {
            for (before, behind) in [(8, 0), (11, 9), (12, 30), (13, 1)] {
                check(&among(text, before, behind)).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn reads_numbers_as_the_standard_library_does(
            items in prop::collection::vec(
                "( ?)(-?)(0|[1-9][0-9]{0,9})(\\.[0-9]{1,24})?(e-?[0-9]{1,2})?( ?)", 1..40,
            ),
        ) {
            check(&items)?;
        }

        #[test]
        fn reads_what_python_writes_of_single_floats(bits in prop::collection::vec(any::<u32>(), 1..40)) {
            let values = bits.into_iter().map(f32::from_bits).filter(|value| value.is_finite());
            let items: Vec<String> = values.map(|value| format!(" {}", f64::from(value))).collect();
            prop_assume!(!items.is_empty());
            check(&items)?;
        }

        #[test]
        fn refuses_whatever_is_no_number(item in "[-+0-9.eE \\]\\[a\u{e9}\"]{0,26}", before in 0_usize..20) {
            check(&among(&item, before, 3))?;
        }
    }

    #[test]
    fn an_array_that_does_not_end_is_refused_wherever_it_breaks_off() {
        let text = format!("[{}]", vec!["0.125"; 30].join(","));
        for end in 0..text.len() {
            let mut scanner = Scanner::new(&text.as_bytes()[..end], &Unwatched);
            assert!(scanner.nested::<f32>(Plan::new(1, 30)).is_none(), "{end}");
        }
        let mut scanner = Scanner::new(text.as_bytes(), &Unwatched);
        let (shape, values) = scanner.nested::<f32>(Plan::new(1, 30)).unwrap();
        assert_eq!((shape, values), (vec![30], vec![0.125; 30]));
    }
}

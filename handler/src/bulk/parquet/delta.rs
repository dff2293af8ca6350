//! Texts that are written as differences (`DELTA_LENGTH_BYTE_ARRAY`, `DELTA_BYTE_ARRAY`), as plain ones. The crate's decoder
//! takes memory for as many texts, and for as long ones, as a page says to have.
//!
//! Source: Apache Parquet, "Encodings": delta encoding, delta-length byte array, delta strings.

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::column::page::Page;
use parquet::errors::{ParquetError, Result};
use parquet::schema::types::ColumnDescriptor;

/// The page with its texts in the encoding `PLAIN`, if these take no more bytes than `most`.
///
/// # Errors
/// If the page is damaged, or its texts take more.
pub(super) fn plain(
    mut page: Page,
    from: Encoding,
    column: &ColumnDescriptor,
    most: usize,
) -> Result<Page> {
    let levels = levels(&page, column);
    let (Page::DataPage {
        buf,
        num_values,
        encoding,
        ..
    }
    | Page::DataPageV2 {
        buf,
        num_values,
        encoding,
        ..
    }) = &mut page
    else {
        return Err(damaged());
    };
    let levels = levels.filter(|levels| *levels <= buf.len());
    let (before, values) = buf.split_at(levels.ok_or_else(damaged)?);
    let mut bytes = before.to_vec();
    let written = texts(values, from, *num_values as usize, most, &mut bytes);
    written.ok_or_else(damaged)?;
    *buf = Bytes::from(bytes);
    *encoding = Encoding::PLAIN;
    Ok(page)
}

fn damaged() -> ParquetError {
    ParquetError::General("a page of texts is damaged, or too large".to_owned())
}

/// The bytes of the levels in front of the values.
fn levels(page: &Page, column: &ColumnDescriptor) -> Option<usize> {
    match page {
        Page::DataPageV2 {
            def_levels_byte_len,
            rep_levels_byte_len,
            ..
        } => Some(*def_levels_byte_len as usize + *rep_levels_byte_len as usize),
        Page::DataPage { buf, .. } => {
            let mut end = 0_usize;
            for max in [column.max_rep_level(), column.max_def_level()] {
                if max > 0 {
                    let length = buf.get(end..)?.first_chunk()?;
                    end += 4 + u32::from_le_bytes(*length) as usize;
                }
            }
            Some(end)
        }
        Page::DictionaryPage { .. } => None,
    }
}

/// Appends the texts to `plain`, each behind its length.
fn texts(
    data: &[u8],
    from: Encoding,
    count: usize,
    most: usize,
    plain: &mut Vec<u8>,
) -> Option<()> {
    let mut at = 0;
    let prefixes = match from {
        Encoding::DELTA_BYTE_ARRAY => Some(numbers(data, &mut at, count)?),
        _ => None,
    };
    let lengths = numbers(data, &mut at, count)?;
    if prefixes
        .as_ref()
        .is_some_and(|prefixes| prefixes.len() != lengths.len())
    {
        return None;
    }
    let prefix_of = |row: usize| {
        prefixes
            .as_ref()
            .map_or(0, |prefixes| prefixes[row] as usize)
    };
    let whole = |(row, length): (usize, &u32)| 4 + prefix_of(row) + *length as usize;
    let all = lengths.iter().enumerate().map(whole).sum::<usize>();
    if plain.len() + all > most {
        return None;
    }
    plain.reserve_exact(all);
    let mut last = 0..0;
    for (row, length) in lengths.iter().enumerate() {
        let prefix = prefix_of(row);
        let rest = data.get(at..)?.get(..*length as usize)?;
        if prefix > last.len() {
            return None;
        }
        plain.extend(u32::try_from(prefix + rest.len()).ok()?.to_le_bytes());
        let begin = plain.len();
        plain.extend_from_within(last.start..last.start + prefix);
        plain.extend(rest);
        last = begin..plain.len();
        at += rest.len();
    }
    Some(())
}

/// Numbers from 0 on in `DELTA_BINARY_PACKED`, at most so many; `at` is where they begin, and then where they end.
fn numbers(data: &[u8], at: &mut usize, most: usize) -> Option<Vec<u32>> {
    let [block, parts] = [varint(data, at)?, varint(data, at)?];
    let (count, first) = (varint(data, at)?, zigzag(varint(data, at)?));
    let each = block.checked_div(parts)?;
    if count > most as u64 || each == 0 || each % 8 != 0 || each > u64::from(u32::MAX) {
        return None;
    }
    let (count, each) = (count as usize, each as usize);
    let mut found = Vec::new();
    let mut last = first;
    if count > 0 {
        found.push(u32::try_from(last).ok()?);
    }
    while found.len() < count {
        let least = zigzag(varint(data, at)?);
        let widths = data.get(*at..)?.get(..usize::try_from(parts).ok()?)?;
        *at += widths.len();
        for width in widths.iter().map(|width| usize::from(*width)) {
            // What stands behind the last number has no bytes.
            if found.len() == count {
                break;
            }
            let packed = data.get(*at..)?.get(..each.checked_mul(width)? / 8)?;
            *at += packed.len();
            for index in 0..each.min(count - found.len()) {
                last = last
                    .wrapping_add(least)
                    .wrapping_add(bits(packed, index * width, width)?);
                found.push(u32::try_from(last).ok()?);
            }
        }
    }
    Some(found)
}

/// `width` bits, at most 32, from the bit `begin` on; the lowest come first.
fn bits(packed: &[u8], begin: usize, width: usize) -> Option<i64> {
    if width > 32 {
        return None;
    }
    let mut bytes = [0; 8];
    let rest = packed.get(begin / 8..)?;
    let taken = rest.len().min(8);
    bytes[..taken].copy_from_slice(&rest[..taken]);
    let found = u64::from_le_bytes(bytes) >> (begin % 8) & ((1 << width) - 1);
    i64::try_from(found).ok()
}

/// A number of seven bits in each byte, the lowest first.
fn varint(data: &[u8], at: &mut usize) -> Option<u64> {
    let mut found = 0;
    for shift in (0..63).step_by(7) {
        let byte = *data.get(*at)?;
        *at += 1;
        found |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(found);
        }
    }
    None
}

fn zigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the format's description: 7, 5, 3, 1, 2, 3, 4, 5 in a block of 128.
    #[test]
    fn numbers_of_the_description() {
        let mut data = vec![0x80, 1, 4, 8, 14, 3, 2, 0, 0, 0];
        // Differences -2, -2, -2, 1, 1, 1, 1 above the least, -2, in two bits each.
        data.extend([0b11_00_00_00, 0b00_11_11_11, 0, 0, 0, 0, 0, 0, 9]);
        let mut at = 0;
        assert_eq!(
            numbers(&data, &mut at, 8),
            Some(vec![7, 5, 3, 1, 2, 3, 4, 5])
        );
        assert_eq!(data[at..], [9]);
        assert_eq!(numbers(&data, &mut 0, 7), None);
        for end in 0..data.len() - 1 {
            assert_eq!(numbers(&data[..end], &mut 0, 8), None, "{end}");
        }
    }

    #[test]
    fn prefixes_longer_than_the_text_before_and_texts_beyond_the_bound_are_refused() {
        // Two numbers, without a block of differences where both are the same.
        let pair = |first: u8, least: u8| vec![0x80, 1, 4, 2, 2 * first, least, 0, 0, 0, 0];
        let data =
            |prefixes: Vec<u8>, lengths: Vec<u8>| [prefixes, lengths, b"abcd".to_vec()].concat();
        let read = |data: &[u8], most| {
            let mut plain = Vec::new();
            texts(data, Encoding::DELTA_BYTE_ARRAY, 2, most, &mut plain).map(|()| plain)
        };
        // Prefixes 0 and 2, suffixes of 2 each.
        let good = data(pair(0, 4), pair(2, 0));
        let expected = [&[2, 0, 0, 0][..], b"ab", &[4, 0, 0, 0], b"abcd"].concat();
        assert_eq!(read(&good, 14), Some(expected));
        assert_eq!(read(&good, 13), None);
        assert_eq!(read(&data(pair(0, 6), pair(2, 0)), 99), None);
        assert_eq!(read(&data(pair(0, 0), pair(3, 0)), 99), None);
    }
}

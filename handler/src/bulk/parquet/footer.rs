//! What stands at the end of a file, before the crate reads it: it follows a schema as deep as the file says, until the stack
//! ends, and keeps many times the bytes of what it reads.
//!
//! Source: Apache Parquet, "File format" and parquet.thrift; Apache Thrift, "Compact protocol encoding".

use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

use super::pages::Source;

/// Bytes of a footer: those of 100,000 columns in all row groups have about 10 MiB.
const MAX_BYTES: usize = 32 << 20;
/// How deep columns may lie in others.
const MAX_DEPTH: usize = 64;

/// The type of a field in Thrift's compact protocol.
mod kind {
    pub(super) const STOP: u8 = 0;
    pub(super) const I32: u8 = 5;
    pub(super) const TEXT: u8 = 8;
    pub(super) const LIST: u8 = 9;
    pub(super) const STRUCT: u8 = 12;
}

/// Checks the footer of a file, as far as the schema in it. The crate does not look at the types of fields, so a schema whose
/// fields have others than the format's is damaged: the crate could read another one.
///
/// # Errors
/// If it is larger or deeper than is read, or damaged.
pub(super) fn check(source: &Source) -> Result<()> {
    let Some(end) = source.len().checked_sub(8) else {
        return Ok(());
    };
    let tail = source.get_bytes(end, 8)?;
    let Some(length) = tail.first_chunk().map(|length| u32::from_le_bytes(*length)) else {
        return Ok(());
    };
    let length = length as usize;
    if length > MAX_BYTES {
        return Err(ParquetError::General(format!(
            "its footer has {length} bytes, and at most {MAX_BYTES} are read; write it with larger row groups"
        )));
    }
    let Some(begin) = end.checked_sub(length as u64) else {
        return Ok(());
    };
    let footer = source.get_bytes(begin, length)?;
    match is_shallow(&mut &footer[..]) {
        Some(true) => Ok(()),
        Some(false) => Err(ParquetError::General(format!(
            "its columns lie more than {MAX_DEPTH} deep in others"
        ))),
        None => Err(ParquetError::General("its footer is damaged".to_owned())),
    }
}

/// Whether the schema is not too deep; `None` if the bytes are no footer.
fn is_shallow(footer: &mut &[u8]) -> Option<bool> {
    let mut last = 0;
    loop {
        match field(footer, &mut last)? {
            (_, kind::STOP) => return Some(true),
            (2, kind::LIST) => {
                // For each group that is open, the columns of it that are still to come.
                let mut open: Vec<u64> = Vec::new();
                let (count, of) = list(footer)?;
                (of == kind::STRUCT).then_some(())?;
                for _ in 0..count {
                    let children = children(footer)?;
                    while open.last() == Some(&0) {
                        open.pop();
                    }
                    if let Some(left) = open.last_mut() {
                        *left -= 1;
                    }
                    open.push(children);
                    if open.len() > MAX_DEPTH {
                        return Some(false);
                    }
                }
            }
            (2, _) => return None,
            (_, kind) => skip(footer, kind, MAX_DEPTH)?,
        }
    }
}

/// The number of children that an element of the schema says to have.
fn children(footer: &mut &[u8]) -> Option<u64> {
    let (mut last, mut children) = (0, 0);
    loop {
        match field(footer, &mut last)? {
            (_, kind::STOP) => return Some(children),
            (5, kind::I32) => {
                let number = varint(footer)?;
                // Zigzag: those below zero are odd.
                let fits = number % 2 == 0 && number <= u64::from(u32::MAX);
                children = fits.then_some(number / 2)?;
            }
            (1..=3 | 6..=9, kind @ kind::I32)
            | (4, kind @ kind::TEXT)
            | (10, kind @ kind::STRUCT)
            | (11.., kind) => skip(footer, kind, MAX_DEPTH)?,
            _ => return None,
        }
    }
}

/// The number and the type of the next field.
fn field(footer: &mut &[u8], last: &mut i64) -> Option<(i64, u8)> {
    let head = byte(footer)?;
    if head == kind::STOP {
        return Some((0, kind::STOP));
    }
    *last = match head >> 4 {
        0 => {
            let number = varint(footer)?;
            (number >> 1) as i64 ^ -((number & 1) as i64)
        }
        more => last.checked_add(more.into())?,
    };
    let is_number = (1..=i64::from(i16::MAX)).contains(last);
    is_number.then_some((*last, head & 0x0f))
}

/// The number of elements of a list, and their type.
fn list(footer: &mut &[u8]) -> Option<(u64, u8)> {
    let head = byte(footer)?;
    let count = match head >> 4 {
        15 => varint(footer)?,
        count => count.into(),
    };
    Some((count, head & 0x0f))
}

fn skip(footer: &mut &[u8], kind: u8, depth: usize) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    match kind {
        // Truth values stand in the type.
        1 | 2 => {}
        3 => drop(byte(footer)?),
        4..=6 => drop(varint(footer)?),
        7 => *footer = footer.get(8..)?,
        8 => {
            let length = usize::try_from(varint(footer)?).ok()?;
            *footer = footer.get(length..)?;
        }
        kind::LIST | 10 => {
            let (count, of) = list(footer)?;
            for _ in 0..count {
                // In lists truth values take a byte.
                skip(footer, if of <= 2 { 3 } else { of }, depth)?;
            }
        }
        kind::STRUCT => {
            let mut last = 0;
            loop {
                match field(footer, &mut last)? {
                    (_, kind::STOP) => break,
                    (_, kind) => skip(footer, kind, depth)?,
                }
            }
        }
        // Parquet has no maps in its footer.
        _ => return None,
    }
    Some(())
}

fn byte(footer: &mut &[u8]) -> Option<u8> {
    let (first, rest) = footer.split_first()?;
    *footer = rest;
    Some(*first)
}

fn varint(footer: &mut &[u8]) -> Option<u64> {
    let mut found = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(footer)?;
        found |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(found);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A footer with that many groups in one another: version, then elements with a name and one child each.
    fn nested(depth: usize) -> Vec<u8> {
        let mut footer = vec![0x15, 2, 0x19, 0xfc];
        let mut count = depth;
        while count >= 0x80 {
            footer.push(count as u8 | 0x80);
            count >>= 7;
        }
        footer.push(count as u8);
        for _ in 0..depth {
            footer.extend([0x48, 1, b'a', 0x15, 2, 0]);
        }
        footer.push(0);
        footer
    }

    fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
        let mut rest = bytes;
        let mut replaced = Vec::new();
        while let Some((first, behind)) = rest.split_first() {
            match rest.strip_prefix(from) {
                Some(behind) => {
                    replaced.extend(to);
                    rest = behind;
                }
                None => {
                    replaced.push(*first);
                    rest = behind;
                }
            }
        }
        replaced
    }

    #[test]
    fn columns_lie_only_so_deep_in_others() {
        assert_eq!(is_shallow(&mut &nested(MAX_DEPTH)[..]), Some(true));
        assert_eq!(is_shallow(&mut &nested(MAX_DEPTH + 1)[..]), Some(false));
        assert_eq!(is_shallow(&mut &nested(1_000_000)[..]), Some(false));
        let footer = nested(20);
        for end in 0..footer.len() {
            assert_eq!(is_shallow(&mut &footer[..end]), None, "{end}");
        }
        // Children as another integer, elements in a set, and a field whose number is only that of children once it is cut.
        let deep = nested(5000);
        for (from, to) in [
            (&[0x15, 2, 0][..], &[0x16, 2, 0][..]),
            (&[0x15, 2, 0], &[0x14, 2, 0]),
            (&[0x19, 0xfc], &[0x1a, 0xfc]),
            (&[0x15, 2, 0], &[0x05, 0x8a, 0x80, 0x08, 2, 0]),
        ] {
            let footer = replaced(&deep, from, to);
            assert_eq!(is_shallow(&mut &footer[..]), None, "{to:x?}");
        }
    }
}

//! Digests of many rows at once.
//!
//! BLAKE3 works on several chunks of 1,024 bytes side by side, but a row has only a few of them. Here the same chunk of many
//! rows is digested at once, then the same pair of nodes above them, and so on: the results are those of
//! [`blake3::keyed_hash`], row by row, in a quarter of the time or less (docs/performance.md).
//!
//! The crate shows its parallel core for benchmarks and promises nothing for it; so its version is pinned, and the tests
//! compare every length of a tree.

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_root};
use blake3::platform::{Platform, words_from_le_bytes_32};
use blake3::{BLOCK_LEN, CHUNK_LEN, Hasher, IncrementCounter, KEY_LEN, OUT_LEN};

/// Below, nothing is gained.
const FEWEST_ROWS: usize = 8;
/// A row of so many chunks keeps the processor busy by itself.
const MOST_CHUNKS: usize = 16;

// Domain flags of the specification, section 2.1.
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 1 << 1;
const PARENT: u8 = 1 << 2;
const KEYED: u8 = 1 << 4;

/// The keyed digests of all rows of `length` bytes, which is not 0, in `bytes`.
pub(super) fn of_rows(key: &[u8; KEY_LEN], bytes: &[u8], length: usize) -> Vec<[u8; OUT_LEN]> {
    let rows: Vec<&[u8]> = bytes.chunks_exact(length).collect();
    let chunks = length.div_ceil(CHUNK_LEN);
    if (2..=MOST_CHUNKS).contains(&chunks)
        && rows.len() >= FEWEST_ROWS
        && let Some(digests) = side_by_side(key, &rows)
    {
        return digests;
    }
    let rows = rows.iter();
    rows.map(|row| *blake3::keyed_hash(key, row).as_bytes())
        .collect()
}

/// Rows of the same length. `None` if that is not more than one chunk.
fn side_by_side(key: &[u8; KEY_LEN], rows: &[&[u8]]) -> Option<Vec<[u8; OUT_LEN]>> {
    let mut nodes = leaves(key, rows);
    while nodes.len() > 2 {
        nodes = parents(key, &nodes);
    }
    let [left, right] = &nodes[..] else {
        return None;
    };
    let root = |(left, right)| *merge_subtrees_root(left, right, Mode::KeyedHash(key)).as_bytes();
    Some(left.iter().zip(right).map(root).collect())
}

/// For each chunk of a row, the chaining values of all rows.
fn leaves(key: &[u8; KEY_LEN], rows: &[&[u8]]) -> Vec<Vec<ChainingValue>> {
    let whole: Vec<&[[u8; CHUNK_LEN]]> = rows.iter().map(|row| row.as_chunks().0).collect();
    let flags = (CHUNK_START, CHUNK_END);
    let count = whole.first().map_or(0, |chunks| chunks.len());
    let mut nodes: Vec<_> = (0..count)
        .map(|chunk| {
            let same: Vec<&[u8; CHUNK_LEN]> = whole.iter().map(|chunks| &chunks[chunk]).collect();
            many(key, &same, chunk as u64, KEYED, flags)
        })
        .collect();
    let offset = count * CHUNK_LEN;
    if rows.iter().any(|row| row.len() > offset) {
        // Shorter chunks have no way to be done side by side.
        let last = rows.iter().map(|row| {
            let mut hasher = Hasher::new_keyed(key);
            hasher.set_input_offset(offset as u64);
            hasher.update(&row[offset..]).finalize_non_root()
        });
        nodes.push(last.collect());
    }
    nodes
}

/// The level above: two nodes become one, and one without a partner goes up as it is.
fn parents(key: &[u8; KEY_LEN], nodes: &[Vec<ChainingValue>]) -> Vec<Vec<ChainingValue>> {
    let pairs = nodes.chunks(2).map(|pair| match pair {
        [left, right] => {
            let blocks: Vec<[u8; BLOCK_LEN]> = left.iter().zip(right).map(block).collect();
            let blocks: Vec<&[u8; BLOCK_LEN]> = blocks.iter().collect();
            many(key, &blocks, 0, KEYED | PARENT, (0, 0))
        }
        alone => alone.concat(),
    });
    pairs.collect()
}

fn block((left, right): (&ChainingValue, &ChainingValue)) -> [u8; BLOCK_LEN] {
    let mut block = [0; BLOCK_LEN];
    block[..OUT_LEN].copy_from_slice(left);
    block[OUT_LEN..].copy_from_slice(right);
    block
}

/// The chaining values of inputs that are the chunk of this number, or nodes of the tree. `ends` are the flags of the first
/// and of the last block.
fn many<const N: usize>(
    key: &[u8; KEY_LEN],
    inputs: &[&[u8; N]],
    number: u64,
    flags: u8,
    (start, end): (u8, u8),
) -> Vec<ChainingValue> {
    let mut out = vec![[0; OUT_LEN]; inputs.len()];
    let key = words_from_le_bytes_32(key);
    Platform::detect().hash_many(
        inputs,
        &key,
        number,
        IncrementCounter::No,
        flags,
        start,
        end,
        out.as_flattened_mut(),
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_one_row_after_another() {
        let key = *blake3::hash(b"key").as_bytes();
        let mut bytes = vec![0; 20 * CHUNK_LEN * 40];
        Hasher::new().finalize_xof().fill(&mut bytes);
        let ends = [0, 1, 4, 63, 64, 65, 128, 1023];
        let lengths = (0..19).flat_map(|chunks| ends.map(|end| chunks * CHUNK_LEN + end));
        for length in lengths.skip(1) {
            for rows in [1, 7, 8, 9, 16, 33] {
                let bytes = &bytes[..rows * length];
                let right: Vec<[u8; OUT_LEN]> = bytes
                    .chunks_exact(length)
                    .map(|row| *blake3::keyed_hash(&key, row).as_bytes())
                    .collect();
                let digests = of_rows(&key, bytes, length);
                assert_eq!(digests, right, "{rows} rows of {length} bytes");
            }
        }
    }
}

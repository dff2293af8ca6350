//! Keyed digests of several inputs at once, each under a key of its own.
//!
//! BLAKE3 compresses block after block, and each compression waits for the one before it, so that a processor is half idle.
//! Here four inputs are compressed side by side, one in each lane of a vector: the results are those of
//! [`blake3::keyed_hash`], in less than half of the time (docs/performance.md). The crate does the same only for inputs that
//! have one key. A node of the tree above the chunks is one block, so it is computed in a lane, too.

use std::array;
use std::slice::ChunksExact;

use blake3::{BLOCK_LEN, CHUNK_LEN, KEY_LEN, OUT_LEN};
use bytemuck::{must_cast, must_cast_slice};
use wide::u32x4;

/// Compressions side by side: a vector that every x86-64 processor has.
const LANES: usize = 4;
/// An input of more chunks has enough of them to be compressed side by side by the crate.
const MOST_CHUNKS: usize = 4;

// Domain flags of the specification, section 2.1.
const CHUNK_START: u32 = 1;
const CHUNK_END: u32 = 1 << 1;
const PARENT: u32 = 1 << 2;
const ROOT: u32 = 1 << 3;
const KEYED: u32 = 1 << 4;

/// The initial value of the specification, section 2.2.
const INITIAL: [u32; 4] = [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A];
/// In which order each round takes the words of a block.
const ORDERS: [[usize; 16]; 7] = orders();

/// A chaining value, a key or a digest.
type Words = [u32; 8];

/// One chunk or node to be compressed.
struct Work<'a> {
    key: Words,
    bytes: &'a [u8],
    /// The place of the chunk in its input.
    number: u32,
    /// Flags of all blocks, and those of the first and of the last one on top.
    flags: u32,
    first: u32,
    last: u32,
}

impl Work<'_> {
    fn blocks(&self) -> usize {
        self.bytes.len().div_ceil(BLOCK_LEN).max(1)
    }
}

/// The nodes of one input's tree on one level.
#[derive(Clone)]
struct Level {
    key: Words,
    nodes: [Words; MOST_CHUNKS],
    count: usize,
}

/// The keyed digest of each input.
pub(super) fn keyed_hashes(inputs: &[(&[u8; KEY_LEN], &[u8])]) -> Vec<[u8; OUT_LEN]> {
    let is_long = |(_, bytes): &(_, &[u8])| bytes.len() > MOST_CHUNKS * CHUNK_LEN;
    if inputs.len() < 2 || inputs.iter().any(is_long) {
        let digests = inputs
            .iter()
            .map(|(key, bytes)| blake3::keyed_hash(key, bytes));
        return digests.map(|digest| *digest.as_bytes()).collect();
    }
    let mut levels = chunks(inputs);
    while levels.iter().any(|level| level.count > 1) {
        levels = above(&levels);
    }
    levels
        .iter()
        .map(|level| must_cast(level.nodes[0]))
        .collect()
}

fn chunks(inputs: &[(&[u8; KEY_LEN], &[u8])]) -> Vec<Level> {
    let mut all = Vec::with_capacity(inputs.len() * 2);
    for (key, bytes) in inputs {
        // An input without bytes has one empty chunk.
        let starts = (0..bytes.len().max(1)).step_by(CHUNK_LEN);
        all.extend(starts.enumerate().map(|(number, start)| Work {
            key: must_cast(**key),
            bytes: &bytes[start..bytes.len().min(start + CHUNK_LEN)],
            number: number as u32,
            flags: KEYED,
            first: CHUNK_START,
            last: CHUNK_END | root(bytes.len() <= CHUNK_LEN),
        }));
    }
    let mut values = side_by_side(&all).into_iter();
    let levels = inputs.iter().map(|(key, bytes)| {
        let count = bytes.len().div_ceil(CHUNK_LEN).max(1);
        Level::new(must_cast(**key), values.by_ref().take(count))
    });
    levels.collect()
}

/// The next level of each tree: two nodes become one, and one without a partner goes up as it is.
fn above(levels: &[Level]) -> Vec<Level> {
    let mut all = Vec::with_capacity(levels.len());
    for level in levels {
        all.extend(level.pairs().map(|pair| Work {
            key: level.key,
            bytes: must_cast_slice(pair),
            number: 0,
            flags: KEYED | PARENT | root(level.count == 2),
            first: 0,
            last: 0,
        }));
    }
    let mut values = side_by_side(&all).into_iter();
    let levels = levels.iter().map(|level| {
        let alone = level.pairs().remainder().iter().copied();
        let parents = values.by_ref().take(level.count / 2);
        Level::new(level.key, parents.chain(alone))
    });
    levels.collect()
}

impl Level {
    fn new(key: Words, values: impl Iterator<Item = Words>) -> Self {
        let mut level = Self {
            key,
            nodes: Default::default(),
            count: 0,
        };
        for (node, value) in level.nodes.iter_mut().zip(values) {
            *node = value;
            level.count += 1;
        }
        level
    }

    fn pairs(&self) -> ChunksExact<'_, Words> {
        self.nodes[..self.count].chunks_exact(2)
    }
}

fn root(is_root: bool) -> u32 {
    match is_root {
        true => ROOT,
        false => 0,
    }
}

/// The chaining value of each piece of work.
fn side_by_side(all: &[Work<'_>]) -> Vec<Words> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    // Those of one length share their lanes, so that none waits for another.
    order.sort_by_key(|index| all[*index].bytes.len());
    let mut values = vec![[0; 8]; all.len()];
    for group in order.chunks(LANES) {
        // A lane without work repeats that of the last one.
        let work = |lane: usize| &all[group[lane.min(group.len() - 1)]];
        let found = compress_all(array::from_fn(work));
        for (index, value) in group.iter().zip(found) {
            values[*index] = value;
        }
    }
    values
}

/// All blocks of one piece of work in each lane.
fn compress_all(work: [&Work<'_>; LANES]) -> [Words; LANES] {
    let lanes = |word: &dyn Fn(&Work<'_>) -> u32| u32x4::new(work.map(word));
    let mut values: [u32x4; 8] = array::from_fn(|word| lanes(&|work| work.key[word]));
    let blocks = work.map(Work::blocks);
    let number = lanes(&|work| work.number);
    let mut done = [[0; 8]; LANES];
    for block in 0..blocks.into_iter().max().unwrap_or(0) {
        let mut lengths = [0; LANES];
        let mut flags = [0; LANES];
        let mut bytes = [[0; BLOCK_LEN]; LANES];
        for (lane, work) in work.iter().enumerate() {
            let rest = work.bytes.get(block * BLOCK_LEN..).unwrap_or_default();
            let length = rest.len().min(BLOCK_LEN);
            match rest.first_chunk() {
                Some(whole) => bytes[lane] = *whole,
                None => bytes[lane][..length].copy_from_slice(&rest[..length]),
            }
            lengths[lane] = length as u32;
            flags[lane] = work.flags
                | if block == 0 { work.first } else { 0 }
                | if block + 1 == blocks[lane] {
                    work.last
                } else {
                    0
                };
        }
        let last = [number, u32x4::ZERO, u32x4::new(lengths), u32x4::new(flags)];
        compress(&mut values, &words_of(bytes), last);
        for lane in (0..LANES).filter(|lane| blocks[*lane] == block + 1) {
            done[lane] = values.map(|value| value.to_array()[lane]);
        }
    }
    done
}

/// The words of one block in each lane; numbers lie in memory as the specification has them: little-endian.
fn words_of(bytes: [[u8; BLOCK_LEN]; LANES]) -> [u32x4; 16] {
    let rows: [[u32x4; 4]; LANES] = must_cast(bytes);
    let quarters = array::from_fn(|quarter| u32x4::transpose(rows.map(|row| row[quarter])));
    must_cast::<[[u32x4; LANES]; 4], _>(quarters)
}

/// Section 2.2 of the specification, in each lane. `last` are the last four words of the state.
fn compress(values: &mut [u32x4; 8], words: &[u32x4; 16], last: [u32x4; 4]) {
    let [v0, v1, v2, v3, v4, v5, v6, v7] = *values;
    let [i0, i1, i2, i3] = INITIAL.map(u32x4::splat);
    let [l0, l1, l2, l3] = last;
    let mut v = [
        v0, v1, v2, v3, v4, v5, v6, v7, i0, i1, i2, i3, l0, l1, l2, l3,
    ];
    for order in &ORDERS {
        let word = |at: usize| (words[order[at]], words[order[at + 1]]);
        mix(&mut v, [0, 4, 8, 12], word(0));
        mix(&mut v, [1, 5, 9, 13], word(2));
        mix(&mut v, [2, 6, 10, 14], word(4));
        mix(&mut v, [3, 7, 11, 15], word(6));
        mix(&mut v, [0, 5, 10, 15], word(8));
        mix(&mut v, [1, 6, 11, 12], word(10));
        mix(&mut v, [2, 7, 8, 13], word(12));
        mix(&mut v, [3, 4, 9, 14], word(14));
    }
    *values = array::from_fn(|word| v[word] ^ v[word + 8]);
}

#[inline(always)]
fn mix(v: &mut [u32x4; 16], [a, b, c, d]: [usize; 4], (x, y): (u32x4, u32x4)) {
    v[a] = v[a] + v[b] + x;
    v[d] = rotate::<16>(v[d] ^ v[a]);
    v[c] += v[d];
    v[b] = rotate::<12>(v[b] ^ v[c]);
    v[a] = v[a] + v[b] + y;
    v[d] = rotate::<8>(v[d] ^ v[a]);
    v[c] += v[d];
    v[b] = rotate::<7>(v[b] ^ v[c]);
}

#[inline(always)]
fn rotate<const BITS: i32>(words: u32x4) -> u32x4 {
    (words >> BITS) | (words << (32 - BITS))
}

const fn orders() -> [[usize; 16]; 7] {
    const NEXT: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    let mut orders = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]; 7];
    let mut round = 1;
    while round < orders.len() {
        let mut at = 0;
        while at < NEXT.len() {
            orders[round][at] = orders[round - 1][NEXT[at]];
            at += 1;
        }
        round += 1;
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_right(lengths: &[usize]) {
        let mut bytes = vec![0; lengths.iter().sum::<usize>() + lengths.len() * KEY_LEN];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        let mut rest = &bytes[..];
        let inputs: Vec<(&[u8; KEY_LEN], &[u8])> = lengths
            .iter()
            .map(|length| {
                let (key, after) = rest.split_first_chunk().unwrap();
                let (input, after) = after.split_at(*length);
                rest = after;
                (key, input)
            })
            .collect();
        let right = inputs
            .iter()
            .map(|(key, input)| *blake3::keyed_hash(key, input).as_bytes());
        assert_eq!(
            keyed_hashes(&inputs),
            right.collect::<Vec<_>>(),
            "{lengths:?}"
        );
    }

    #[test]
    fn digests_are_those_of_one_input_after_another() {
        let ends = [0, 1, 3, 4, 63, 64, 65, 127, 128, 539, 1023];
        let lengths = (0..6).flat_map(|chunks| ends.map(|end| chunks * CHUNK_LEN + end));
        for length in lengths.clone() {
            for inputs in [0, 1, 2, 3, 4, 5, 16] {
                assert_right(&vec![length; inputs]);
            }
        }
        // All lengths together, and each of them beside one that is unlike it.
        let short: Vec<usize> = lengths.filter(|length| *length <= 4 * CHUNK_LEN).collect();
        assert_right(&short);
        for pair in short.windows(5) {
            assert_right(&[pair[4], pair[0], pair[2], pair[0]]);
        }
    }
}

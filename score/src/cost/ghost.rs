//! What would have been found if everything were remembered: fingerprints of rows and requests, without their results.

use std::hash::{BuildHasher, Hash, Hasher};

use foldhash::quality::RandomState;

use crate::tensor::{Tensor, TensorData};

/// One row of so many is followed, chosen by its content, so that a followed row is followed each time it comes.
const ROWS_PER_FOLLOWED: u64 = 16;
const SETS: usize = 1 << 14;
const WAYS: usize = 8;
/// The low bits of a slot are its marks, the others a part of the fingerprint.
const MARK_BITS: u32 = 2;

/// What has been done with something seen before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Marks(u32);

impl Marks {
    /// It was put into the in-process tier.
    pub(super) const LOCAL: Self = Self(1);
    /// It was put into the shared store too.
    pub(super) const ALL: Self = Self(3);

    pub(super) fn has(self, marks: Self) -> bool {
        self.0 & marks.0 == marks.0
    }
}

/// The fingerprints of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The rows that are followed, each with its fingerprint.
    pub(super) rows: Vec<(usize, u64)>,
    /// That of the whole request, if it has several rows.
    pub(super) request: Option<u64>,
}

/// Makes fingerprints. They need not withstand anybody: all that a false one costs is time.
#[derive(Debug, Default)]
pub(super) struct Fingerprints {
    seed: RandomState,
}

impl Fingerprints {
    /// Of single rows where `rows` is given, else of the inputs as they are.
    pub(super) fn of(&self, inputs: &[Tensor], rows: Option<usize>) -> Sight {
        let prints = (0..rows.unwrap_or(1)).map(|row| {
            let mut hasher = self.seed.build_hasher();
            for input in inputs {
                let range = match rows {
                    Some(_) => input.row_range(row),
                    None => 0..input.data().len(),
                };
                match (input.data().plain_bytes(range.clone()), input.data()) {
                    (Some(bytes), _) => hasher.write(bytes),
                    (None, TensorData::String(texts)) => texts[range].hash(&mut hasher),
                    // All others are plain.
                    (None, _) => {}
                }
            }
            hasher.finish()
        });
        Sight::new(prints, &self.seed)
    }
}

impl Sight {
    /// Takes the fingerprints of all rows.
    pub(super) fn new(rows: impl ExactSizeIterator<Item = u64>, seed: &RandomState) -> Self {
        let several = rows.len() > 1;
        let mut whole = seed.build_hasher();
        let mut followed = Vec::new();
        for (row, print) in rows.enumerate() {
            if several {
                whole.write_u64(print);
            }
            if print.is_multiple_of(ROWS_PER_FOLLOWED) {
                followed.push((row, print));
            }
        }
        Self {
            rows: followed,
            request: several.then(|| whole.finish()),
        }
    }
}

/// The last fingerprints seen, about a hundred thousand of them in half a megabyte: enough for the followed ones of more
/// than a million rows.
#[derive(Debug)]
pub(super) struct Ghost {
    sets: Vec<[u32; WAYS]>,
}

impl Default for Ghost {
    fn default() -> Self {
        Self {
            sets: vec![[0; WAYS]; SETS],
        }
    }
}

impl Ghost {
    fn place(&mut self, print: u64) -> (&mut [u32; WAYS], u32) {
        // The lowest bits of followed rows are all the same.
        let set = (print >> 4) as usize % SETS;
        let tag = (print >> 32) as u32 & !Marks::ALL.0;
        (&mut self.sets[set], tag)
    }

    /// Notes that it was seen. Its marks, if it was seen before.
    pub(super) fn see(&mut self, print: u64) -> Option<Marks> {
        let (set, tag) = self.place(print);
        let place = set.iter().position(|slot| is_tagged(*slot, tag));
        let slot = place.map_or(tag, |place| set[place]);
        // The latest first; the one not seen for longest falls out.
        set[..=place.unwrap_or(WAYS - 1)].rotate_right(1);
        set[0] = slot;
        place.map(|_| Marks(slot & Marks::ALL.0))
    }

    /// Adds marks to what was seen.
    pub(super) fn mark(&mut self, print: u64, marks: Marks) {
        let (set, tag) = self.place(print);
        if let Some(slot) = set.iter_mut().find(|slot| is_tagged(**slot, tag)) {
            *slot |= marks.0;
        }
    }
}

fn is_tagged(slot: u32, tag: u32) -> bool {
    slot >> MARK_BITS == tag >> MARK_BITS
}

/// Something followed: the row, its fingerprint, its marks if it was seen before.
pub(super) type Followed = (usize, u64, Option<Marks>);

/// What the ghost says of a request.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(super) rows: Vec<Followed>,
    pub(super) request: Option<Followed>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> [Tensor; 1] {
        [Tensor::new(
            vec![values.len() / 2, 2],
            TensorData::Float32(values.to_vec()),
        )
        .unwrap()]
    }

    fn texts(values: &[&str]) -> [Tensor; 1] {
        let data = values.iter().map(|text| (*text).to_owned()).collect();
        [Tensor::new(vec![1, values.len()], TensorData::String(data)).unwrap()]
    }

    #[test]
    fn one_row_of_sixteen_is_followed_wherever_it_stands() {
        let prints = Fingerprints::default();
        let values: Vec<f32> = (0..20_000).map(|value| value as f32).collect();
        let all = prints.of(&floats(&values), Some(10_000));
        assert!((500..750).contains(&all.rows.len()), "{}", all.rows.len());
        let (row, print) = all.rows[7];
        let alone = prints.of(&floats(&values[2 * row..2 * row + 2]), Some(1));
        assert_eq!((alone.rows, alone.request), (vec![(0, print)], None));
    }

    #[test]
    fn requests_and_texts_are_told_apart() {
        let prints = Fingerprints::default();
        let request = |values: &[f32]| prints.of(&floats(values), Some(2)).request;
        assert_eq!(request(&[1., 2., 3., 4.]), request(&[1., 2., 3., 4.]));
        assert_ne!(request(&[1., 2., 3., 4.]), request(&[3., 4., 1., 2.]));
        let followed = (0..100).find_map(|number| {
            let (ab, text) = (format!("ab{number}"), format!("c{number}"));
            let one = prints.of(&texts(&[&ab, &text]), None);
            let other = prints.of(&texts(&["a", &format!("{}{text}", &ab[1..])]), None);
            (!one.rows.is_empty()).then_some(one != other)
        });
        assert_eq!(followed, Some(true));
    }

    #[test]
    fn sees_again_and_keeps_marks_until_much_else_has_come() {
        let mut ghost = Ghost::default();
        assert_eq!(ghost.see(1 << 40), None);
        assert_eq!(ghost.see(1 << 40), Some(Marks::default()));
        ghost.mark(1 << 40, Marks::LOCAL);
        let marks = ghost.see(1 << 40).unwrap();
        assert!(marks.has(Marks::LOCAL) && !marks.has(Marks::ALL));
        let mut rng = fastrand::Rng::with_seed(1);
        (0..50_000).for_each(|_| _ = ghost.see(rng.u64(..)));
        assert_eq!(ghost.see(1 << 40), Some(Marks::LOCAL));
        (0..1_000_000).for_each(|_| _ = ghost.see(rng.u64(..)));
        assert_eq!(ghost.see(1 << 40), None);
    }
}

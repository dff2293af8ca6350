//! The fast path: nested arrays of plain values are read in one pass, straight into the typed buffer.

use score::{ElementType, Shape, Tensor, TensorSpec};

use crate::json::element::{Element, with_element_type};
use crate::json::number_array;
use crate::json::scanner::Scanner;
use crate::watch::Watch;

/// How many levels of arrays are expected and how many elements at first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// `None`: as many as there are brackets in front of the first element.
    rank: Option<usize>,
    elements: usize,
}

/// Levels that the fast path reads if the model does not say how many; deeper arrays are left to the careful path.
const MAX_UNDECLARED_RANK: usize = 8;

impl Plan {
    pub(crate) fn new(rank: usize, elements: usize) -> Self {
        Self {
            rank: Some(rank),
            elements,
        }
    }

    /// The shape of an input, with capacity for one row.
    pub(crate) fn for_input(spec: &TensorSpec) -> Self {
        let lengths = spec.signed_shape();
        let fixed = lengths.iter().filter_map(|n| usize::try_from(*n).ok());
        Self {
            rank: spec.shape.as_ref().map(Vec::len),
            elements: fixed.fold(1, usize::saturating_mul),
        }
    }
}

/// The tensor in a piece of JSON text with exactly as many levels of arrays as planned. `None` if the careful path
/// has to read it, or the reading is over.
pub(crate) fn read_array(
    text: &str,
    ty: ElementType,
    plan: Plan,
    watch: &dyn Watch,
) -> Option<Tensor> {
    let mut scanner = Scanner::new(text.as_bytes(), watch);
    read_nested(&mut scanner, ty, plan).filter(|_| scanner.is_done())
}

/// The tensor that begins here.
pub(crate) fn read_nested(
    scanner: &mut Scanner<'_>,
    ty: ElementType,
    plan: Plan,
) -> Option<Tensor> {
    let (shape, data) = with_element_type!(ty, T => scanner.nested::<T>(plan))?;
    Tensor::new(shape, data).ok()
}

impl Scanner<'_> {
    /// Reads nested arrays, as deep as planned: their shape and their elements.
    pub(super) fn nested<T: Element>(&mut self, plan: Plan) -> Option<(Shape, Vec<T>)> {
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

    /// How many arrays begin here, each inside the one before; `None` if there are more than the fast path reads.
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
                scanner.go_on(scanner.at)?;
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
}

#[cfg(test)]
mod tests {
    use score::ElementType;

    use super::*;
    use crate::watch::Unwatched;
    use crate::watch::tests::Looks;

    #[test]
    fn a_long_text_is_not_read_to_its_end_once_that_is_over() {
        let rows = |row: &str, count: usize| format!("[{}{row}]", format!("{row},").repeat(count));
        let texts = [
            (ElementType::Float32, rows("[0.25,1,1e3]", 20_000), 2),
            (ElementType::Float32, rows("12.5", 50_000), 1),
            (ElementType::String, rows("\"a\"", 50_000), 1),
        ];
        for (ty, text, rank) in texts {
            let read = |text: &str, watch: &Looks| read_array(text, ty, Plan::new(rank, 1), watch);
            let watch = Looks::default();
            assert_eq!(read(&text, &watch), None);
            assert_eq!(watch.count(), 2);
            // One look is behind it, and the next one is further away than its end.
            let (short, _) = text.split_at(100_000);
            let end = short.rfind(if rank == 2 { "]," } else { "," }).unwrap();
            let short = format!("{}]", &short[..end + rank - 1]);
            let watch = Looks::default();
            assert!(read(&short, &watch).is_some());
            assert_eq!(watch.count(), 1);
        }
    }

    #[test]
    fn arrays_must_be_as_deep_and_as_even_as_planned() {
        let nested = |text: &str, rank| {
            let mut scanner = Scanner::new(text.as_bytes(), &Unwatched);
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

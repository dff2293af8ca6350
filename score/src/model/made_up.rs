//! Made-up rows to try a model with.

use super::graph::{Known, KnownValues};
use crate::signature::{Dim, TensorSpec};
use crate::tensor::{ElementType, Shape, Tensor, TensorData, element_count};

/// The row that is far from the others.
pub(super) const OUTLIER: usize = 7;
/// Elements that all made-up inputs may have together.
const MAX_ELEMENTS: usize = 1 << 24;

/// How made-up rows are to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// All values lie close together.
    Alike,
    /// Positive and negative, small and large, and one row far out; whole numbers reach further from row to row.
    FarApart,
    /// Values over the whole range.
    Wide,
    /// The values of a row are all the same, and another one in each row.
    Flat,
    /// The ends of the range beside what lies next to zero.
    Extreme,
}

impl Kind {
    pub(super) const ALL: [Self; 5] = [
        Self::Alike,
        Self::FarApart,
        Self::Wide,
        Self::Flat,
        Self::Extreme,
    ];
}

/// What rows to make.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan<'a> {
    pub(super) kind: Kind,
    pub(super) rows: usize,
    /// The length of axes that are free, apart from the first one.
    pub(super) free_axis: usize,
    /// The shape of inputs that declare none.
    pub(super) undeclared: &'a [usize],
    /// For each input, the whole number that its elements stay below.
    pub(super) limits: &'a [u64],
    /// What the model compares columns with.
    pub(super) known: &'a Known,
}

/// One tensor for each input; `None` if they would take too much room.
pub(super) fn make(specs: &[TensorSpec], plan: Plan<'_>) -> Option<Vec<Tensor>> {
    let shapes: Vec<Shape> = specs.iter().map(|spec| shape_of(spec, plan)).collect();
    let mut counts = shapes.iter().map(|shape| element_count(shape));
    let total = counts.try_fold(0usize, |sum, count| sum.checked_add(count?));
    if total.is_none_or(|total| total > MAX_ELEMENTS) {
        return None;
    }
    let mut random = fastrand::Rng::with_seed(42);
    let mut limits = plan.limits.iter();
    let pairs = specs.iter().zip(shapes).enumerate();
    pairs
        .map(|(input, (spec, shape))| {
            let limit = limits.next().copied().unwrap_or(SMALL);
            let maker = Maker { plan, input, limit };
            maker.tensor(spec.element_type, shape, &mut random)
        })
        .collect()
}

/// Whole numbers that are indices into a table of unknown size are tried up to here first.
pub(super) const SMALL: u64 = 3;

/// The whole number below which the elements of a type lie, of an input that is no index into a known table.
pub(super) fn limit_of(ty: ElementType) -> u64 {
    match ty {
        ElementType::Uint8 => 1 << 8,
        ElementType::Int8 => 1 << 7,
        _ => 1 << 10,
    }
}

fn shape_of(spec: &TensorSpec, plan: Plan<'_>) -> Shape {
    let Some(dims) = &spec.shape else {
        return plan.undeclared.to_vec();
    };
    let axes = dims.iter().enumerate();
    axes.map(|(axis, dim)| match (axis, dim) {
        (0, Dim::Dynamic(_)) => plan.rows,
        (_, Dim::Fixed(n)) => *n,
        (_, Dim::Dynamic(_)) => plan.free_axis,
    })
    .collect()
}

struct Maker<'a> {
    plan: Plan<'a>,
    input: usize,
    limit: u64,
}

/// One element of a tensor.
#[derive(Clone, Copy)]
struct Cell<'a> {
    row: usize,
    known: Option<&'a KnownValues>,
}

impl<'a> Maker<'a> {
    fn tensor(&self, ty: ElementType, shape: Shape, random: &mut fastrand::Rng) -> Option<Tensor> {
        let count = element_count(&shape)?;
        let width = (count / shape.first().copied().unwrap_or(1).max(1)).max(1);
        let cell = |index: usize| Cell {
            row: index / width,
            known: self.plan.known.of(self.input, index % width),
        };
        let floats = |random: &mut fastrand::Rng| -> Vec<f64> {
            (0..count)
                .map(|index| self.float(cell(index), random))
                .collect()
        };
        macro_rules! whole {
            ($ty:ty) => {
                (0..count)
                    .map(|index| self.whole(cell(index), random) as $ty)
                    .collect::<Vec<$ty>>()
                    .into()
            };
        }
        let data: TensorData = match ty {
            ElementType::Bool => (0..count).map(|_| random.bool()).collect::<Vec<_>>().into(),
            ElementType::Int8 => whole!(i8),
            ElementType::Int16 => whole!(i16),
            ElementType::Int32 => whole!(i32),
            ElementType::Int64 => whole!(i64),
            ElementType::Uint8 => whole!(u8),
            ElementType::Uint16 => whole!(u16),
            ElementType::Uint32 => whole!(u32),
            ElementType::Uint64 => whole!(u64),
            ElementType::Float16 => {
                let values = floats(random).into_iter().map(half::f16::from_f64);
                values.collect::<Vec<_>>().into()
            }
            ElementType::BFloat16 => {
                let values = floats(random).into_iter().map(half::bf16::from_f64);
                values.collect::<Vec<_>>().into()
            }
            ElementType::Float32 => {
                let values = floats(random).into_iter().map(|value| value as f32);
                values.collect::<Vec<_>>().into()
            }
            ElementType::Float64 => floats(random).into(),
            ElementType::String => (0..count)
                .map(|index| self.text(cell(index), random))
                .collect::<Vec<_>>()
                .into(),
        };
        Tensor::new(shape, data).ok()
    }

    /// One of the known values. Where values are to reach far, others come among them, for models that take those too.
    fn known<T>(&self, row: usize, all: &'a [T], random: &mut fastrand::Rng) -> Option<&'a T> {
        match self.plan.kind {
            _ if all.is_empty() => None,
            Kind::Wide | Kind::Extreme if random.bool() => None,
            Kind::Flat => all.get(row % all.len()),
            _ => all.get(random.usize(..all.len())),
        }
    }

    fn float(&self, cell: Cell<'a>, random: &mut fastrand::Rng) -> f64 {
        let (row, numbers) = (cell.row, cell.known.map(|known| &known.numbers[..]));
        if let Some(number) = numbers.and_then(|all| self.known(row, all, random)) {
            return *number;
        }
        match self.plan.kind {
            Kind::Alike => random.f64(),
            Kind::FarApart if row == OUTLIER => 1000.0 * (1.0 + random.f64()),
            Kind::FarApart => (random.f64() - 0.5) * [0.1, 1.0, 10.0][row % 3],
            Kind::Wide => (random.f64() - 0.5) * 2000.0,
            Kind::Flat => row as f64 - 3.0,
            Kind::Extreme => [-1e4, -1.0, 0.0, 1.0, 1e4][random.usize(0..5)],
        }
    }

    fn whole(&self, cell: Cell<'a>, random: &mut fastrand::Rng) -> i64 {
        let (row, numbers) = (cell.row, cell.known.map(|known| &known.numbers[..]));
        if let Some(number) = numbers.and_then(|all| self.known(row, all, random)) {
            return *number as i64;
        }
        let limit = self.limit.max(1);
        let made_up = match self.plan.kind {
            Kind::Alike => random.u64(0..SMALL.min(limit)),
            Kind::FarApart => {
                let rows = self.plan.rows.max(1) as u64;
                random.u64(0..(limit * (row as u64 + 1) / rows).clamp(1, limit))
            }
            Kind::Wide => random.u64(0..limit),
            Kind::Flat => row as u64 * limit / self.plan.rows.max(1) as u64,
            Kind::Extreme => [0, 1.min(limit - 1), limit - 1][random.usize(0..3)],
        };
        made_up as i64
    }

    fn text(&self, cell: Cell<'a>, random: &mut fastrand::Rng) -> String {
        let row = cell.row;
        if let Some(known) = cell.known {
            if let Some(text) = self.known(row, &known.texts, random) {
                return text.clone();
            }
            // Texts of many lengths: the shorter ones may be filled up.
            let words = (0..1 + row % 9).map_while(|_| self.known(row, &known.words, random));
            let words: Vec<&str> = words.map(String::as_str).collect();
            if !words.is_empty() {
                return words.join(" ");
            }
        }
        let mut word =
            |letters: usize| -> String { (0..letters).map(|_| random.lowercase()).collect() };
        match self.plan.kind {
            Kind::Alike => word(1),
            Kind::FarApart => word(row + 1),
            Kind::Wide => format!("{} {} {}", word(2), word(5), word(9)),
            Kind::Flat => "a".repeat(row + 1),
            Kind::Extreme => [String::new(), word(200)][row % 2].clone(),
        }
    }
}

//! Owned row-major tensors, cut and stacked along axis 0.

mod element;

pub use element::{ElementType, TensorData};

/// The lengths of all axes, in elements, outermost first. A scalar has none.
pub type Shape = Vec<usize>;

/// The number of elements a shape holds; `None` if the product overflows.
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

/// A shape and its data do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("shape {shape:?} does not hold {elements} elements")]
pub struct ShapeMismatch {
    shape: Shape,
    elements: usize,
}

/// An owned tensor: a shape and exactly as many elements as it asks for, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: TensorData,
}

/// A tensor with the name of the model's input or output it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// The name in the model.
    pub name: String,
    /// The values.
    pub tensor: Tensor,
}

impl Tensor {
    /// Puts shape and data together.
    ///
    /// # Errors
    /// If the product of the shape overflows or is not the number of elements.
    pub fn new(shape: Shape, data: TensorData) -> Result<Self, ShapeMismatch> {
        if element_count(&shape) == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(ShapeMismatch {
                elements: data.len(),
                shape,
            })
        }
    }

    /// Changes the values of a tensor of floats, which are doubles meanwhile. Those of other types stay.
    pub(crate) fn change_floats(&mut self, change: impl FnOnce(&mut [f64])) {
        macro_rules! through_doubles {
            ($values:expr, $widen:expr, $narrow:expr) => {{
                let mut doubles: Vec<f64> = $values.iter().map($widen).collect();
                change(&mut doubles);
                let narrowed = doubles.into_iter().map($narrow);
                $values
                    .iter_mut()
                    .zip(narrowed)
                    .for_each(|(old, new)| *old = new);
            }};
        }
        match &mut self.data {
            TensorData::Float16(v) => through_doubles!(v, |v| v.to_f64(), half::f16::from_f64),
            TensorData::BFloat16(v) => through_doubles!(v, |v| v.to_f64(), half::bf16::from_f64),
            TensorData::Float32(v) => through_doubles!(v, |v| f64::from(*v), |v| v as f32),
            TensorData::Float64(v) => change(v),
            _ => {}
        }
    }

    /// The same elements in another shape.
    ///
    /// # Errors
    /// The tensor as it was, if the shape does not hold its elements.
    pub fn reshaped(self, shape: Shape) -> Result<Self, Self> {
        if element_count(&shape) == Some(self.data.len()) {
            Ok(Self { shape, ..self })
        } else {
            Err(self)
        }
    }

    /// The lengths of all axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Takes the tensor apart.
    pub fn into_parts(self) -> (Shape, TensorData) {
        (self.shape, self.data)
    }

    /// The type of the elements.
    pub fn element_type(&self) -> ElementType {
        self.data.element_type()
    }

    /// The length of axis 0; `None` for a scalar.
    pub fn rows(&self) -> Option<usize> {
        self.shape.first().copied()
    }

    /// The shape of one row: every axis but axis 0.
    pub fn row_shape(&self) -> &[usize] {
        self.shape.get(1..).unwrap_or(&[])
    }

    /// A tensor of one row without axis 0; `None` for one of more rows.
    pub(crate) fn into_row(mut self) -> Option<Self> {
        if self.rows() != Some(1) {
            return None;
        }
        self.shape.remove(0);
        Some(self)
    }

    /// Where row `row` lies in [`Tensor::data`].
    pub(crate) fn row_range(&self, row: usize) -> std::ops::Range<usize> {
        let width = self.row_width();
        row * width..(row + 1) * width
    }

    /// Elements in one row. Without rows it may be anything, as there is nothing to find.
    fn row_width(&self) -> usize {
        self.data.len() / self.rows().unwrap_or(1).max(1)
    }

    /// The given rows, in the given order, as a new tensor.
    pub(crate) fn take_rows(&self, rows: &[usize]) -> Self {
        let mut data =
            TensorData::with_capacity(self.element_type(), rows.len() * self.row_width());
        for row in rows {
            data.extend_from(&self.data, self.row_range(*row));
        }
        let mut shape = self.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first = rows.len();
        }
        Self { shape, data }
    }

    /// Stacks tensors along axis 0; `None` unless all agree in element type and row shape.
    pub fn stack<'a>(parts: impl IntoIterator<Item = &'a Self> + Clone) -> Option<Self> {
        let first = parts.clone().into_iter().next()?;
        let rows = parts
            .clone()
            .into_iter()
            .try_fold(0, |n, part| Some(n + part.rows()?))?;
        let mut data = TensorData::with_capacity(first.element_type(), rows * first.row_width());
        for part in parts {
            let fits = part.row_shape() == first.row_shape()
                && data.extend_from(&part.data, 0..part.data.len());
            if !fits {
                return None;
            }
        }
        let mut shape = first.shape.clone();
        shape[0] = rows;
        Some(Self { shape, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, values: &[f32]) -> Tensor {
        Tensor::new(
            vec![rows, values.len() / rows],
            TensorData::Float32(values.to_vec()),
        )
        .unwrap()
    }

    #[test]
    fn a_shape_must_hold_exactly_its_elements() {
        assert!(Tensor::new(vec![2, 2], TensorData::Int64(vec![1, 2, 3])).is_err());
        assert!(Tensor::new(vec![usize::MAX, 2], TensorData::Int64(vec![])).is_err());
        assert!(Tensor::new(vec![], TensorData::Int64(vec![1])).is_ok());
        assert!(Tensor::new(vec![0, 784], TensorData::Float32(vec![])).is_ok());
    }

    #[test]
    fn takes_rows_in_the_asked_order() {
        let t = matrix(3, &[1., 2., 3., 4., 5., 6.]);
        assert_eq!(t.take_rows(&[2, 0]), matrix(2, &[5., 6., 1., 2.]));
    }

    #[test]
    fn stacks_only_what_fits() {
        let a = matrix(1, &[1., 2.]);
        let b = matrix(2, &[3., 4., 5., 6.]);
        assert_eq!(
            Tensor::stack([&a, &b]),
            Some(matrix(3, &[1., 2., 3., 4., 5., 6.]))
        );
        assert_eq!(Tensor::stack([&a, &matrix(1, &[1., 2., 3.])]), None);
        let ints = Tensor::new(vec![1, 2], TensorData::Int64(vec![1, 2])).unwrap();
        assert_eq!(Tensor::stack([&a, &ints]), None);
    }
}

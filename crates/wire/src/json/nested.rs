//! The common case in one pass: nested arrays of plain values straight into the typed buffer.

use score::{ElementType, Tensor};

use crate::json::element::with_element_type;
use crate::json::scanner::{Plan, Scanner};

/// The tensor in a piece of JSON text with exactly as many levels of arrays as planned. `None` if the careful path has to
/// look.
pub(crate) fn read_array(text: &str, ty: ElementType, plan: Plan) -> Option<Tensor> {
    let mut scanner = Scanner::new(text.as_bytes());
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

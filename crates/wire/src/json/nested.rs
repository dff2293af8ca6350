//! The common case in one pass: nested arrays of plain values straight into the typed buffer.

use score::{ElementType, Tensor, TensorSpec};
use serde::de::IgnoredAny;

use crate::json::element::with_element_type;
use crate::json::scanner::{Plan, Scanner};

/// The members that hold rows as nested arrays.
pub(crate) const ROW_MEMBERS: [&str; 2] = ["data", "instances"];

/// The members of the other dialects.
const OTHER_MEMBERS: [&str; 4] = ["inputs", "Inputs", "input_data", "keys"];

/// The tensor in the one of [`ROW_MEMBERS`] that a body has, for the model's one input, with that member's name. `None`
/// if the careful path has to look.
pub(crate) fn read_body(body: &[u8], spec: &TensorSpec) -> Option<(&'static str, Tensor)> {
    let plan = Plan::for_input(spec);
    let mut found = None;
    let mut scanner = Scanner::new(body);
    scanner.members(|scanner, name| {
        if let Some(member) = ROW_MEMBERS.into_iter().find(|member| *member == name) {
            let tensor = read_nested(scanner, spec.element_type, plan)?;
            let twice = found.replace((member, tensor)).is_some();
            return (!twice).then_some(());
        }
        // Of another dialect there is no point in reading all here.
        let other = OTHER_MEMBERS.contains(&name);
        let skipped = (!other).then(|| scanner.value::<IgnoredAny>()).flatten();
        skipped.map(|_| ())
    })?;
    found.filter(|_| scanner.is_done())
}

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

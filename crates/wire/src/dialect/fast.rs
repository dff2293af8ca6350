//! The fast path for bodies with rows, in one pass: nested arrays for the model's one input.

use score::{Tensor, TensorSpec};
use serde::de::IgnoredAny;

use super::{Dialect, azure_ml, members, tensorflow_serving};
use crate::json::nested::Plan;
use crate::json::nested::read_nested;
use crate::json::scanner::Scanner;
use crate::watch::Watch;

/// The dialect whose member holds rows alone, by that member.
fn of_rows(member: &str) -> Option<&'static Dialect> {
    match member {
        "data" => Some(&azure_ml::DATA),
        "instances" => Some(&tensorflow_serving::INSTANCES),
        _ => None,
    }
}

/// The tensor in a body that holds nested arrays for the model's one input, and its dialect. `None` if the careful
/// path has to read it, or the reading is over.
pub(crate) fn read(
    body: &[u8],
    spec: &TensorSpec,
    watch: &dyn Watch,
) -> Option<(&'static Dialect, Tensor)> {
    let plan = Plan::for_input(spec);
    let mut found = None;
    let mut scanner = Scanner::new(body, watch);
    scanner.members(|scanner, name| {
        if let Some(dialect) = of_rows(name) {
            let tensor = read_nested(scanner, spec.element_type, plan)?;
            let twice = found.replace((dialect, tensor)).is_some();
            return (!twice).then_some(());
        }
        // Other dialects and options need the careful path, so nothing more is read here.
        let second_pass = members::holds_inputs(name) || azure_ml::DATA.options.contains(&name);
        let skipped = (!second_pass)
            .then(|| scanner.value::<IgnoredAny>())
            .flatten();
        skipped.map(|_| ())
    })?;
    found.filter(|_| scanner.is_done())
}

//! The fast path of the Open Inference Protocol, in one pass: flat data that comes after its name, shape and datatype.

use score::{ModelSignature, NamedTensor, Shape, element_count};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::MAX_AXES;
use crate::dialect::members;
use crate::json::bounded::AtMost;
use crate::json::nested::Plan;
use crate::json::nested::read_nested;
use crate::json::scanner::Scanner;
use crate::rows::tabular::as_column;
use crate::watch::Watch;

/// A request whose tensors are read; the rest is still text.
#[derive(Default)]
pub(crate) struct Body<'a> {
    pub(crate) inputs: Vec<NamedTensor>,
    pub(crate) id: Option<&'a RawValue>,
    pub(crate) outputs: Option<&'a RawValue>,
    pub(crate) parameters: Option<&'a RawValue>,
}

/// Reads a body; `None` if the careful path has to read it, or the reading is over.
pub(crate) fn read<'a>(
    body: &'a [u8],
    signature: &ModelSignature,
    watch: &'a dyn Watch,
) -> Option<Body<'a>> {
    let mut read = Body::default();
    let mut inputs = None;
    let mut scanner = Scanner::new(body, watch);
    scanner.members(|scanner, name| {
        let text = match name {
            "inputs" => {
                let twice = inputs.replace(read_inputs(scanner, signature)?).is_some();
                return (!twice).then_some(());
            }
            "id" => &mut read.id,
            "outputs" => &mut read.outputs,
            "parameters" => &mut read.parameters,
            other if members::holds_inputs(other) => return None,
            _ => return scanner.value::<IgnoredAny>().map(|_| ()),
        };
        let twice = text.replace(scanner.value()?).is_some();
        (!twice).then_some(())
    })?;
    read.inputs = inputs?;
    scanner.is_done().then_some(read)
}

fn read_inputs(scanner: &mut Scanner<'_>, signature: &ModelSignature) -> Option<Vec<NamedTensor>> {
    let mut inputs = Vec::new();
    scanner.items(|scanner| {
        inputs.push(read_input(scanner, signature)?);
        Some(())
    })?;
    Some(inputs)
}

fn read_input(scanner: &mut Scanner<'_>, signature: &ModelSignature) -> Option<NamedTensor> {
    let (mut spec, mut shape, mut datatype, mut tensor) = (None, None::<Shape>, false, None);
    scanner.members(|scanner, name| {
        match (name, spec) {
            ("name", None) => spec = Some(signature.input(scanner.value()?)?),
            ("shape", _) if shape.is_none() => {
                let AtMost::<_, MAX_AXES>(axes) = scanner.value()?;
                shape = Some(axes);
            }
            ("datatype", Some(spec)) if !datatype => {
                datatype = true;
                (scanner.value::<&str>()? == spec.element_type.datatype()).then_some(())?;
            }
            ("data", Some(spec)) if datatype && tensor.is_none() => {
                let shape = shape.clone()?;
                let plan = Plan::new(1, element_count(&shape)?);
                let flat = read_nested(scanner, spec.element_type, plan)?;
                tensor = Some(as_column(flat.reshaped(shape).ok()?, spec));
            }
            _ => return None,
        }
        Some(())
    })?;
    let (spec, tensor) = spec.zip(tensor)?;
    Some(NamedTensor {
        name: spec.name.clone(),
        tensor,
    })
}

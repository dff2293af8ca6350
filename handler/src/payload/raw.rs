//! Bodies that are the bytes of one tensor: `application/octet-stream`.

use score::{Dim, ModelSignature, NamedTensor, ScoreError, Shape, Tensor, TensorData, TensorSpec};

const TARGET: &str = "body";

/// Reads little-endian elements of the model's one input. At most one axis may be free: its length follows from the
/// number of bytes.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the bytes do not make up whole rows, or the model is not of that kind.
pub(super) fn read(
    body: &[u8],
    signature: &ModelSignature,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let spec = only_input(signature)?;
    let (shape, count) = shape(spec, body.len())?;
    let data = TensorData::from_le_bytes(spec.element_type, count, body);
    let tensor = data.and_then(|data| Tensor::new(shape, data).ok());
    let tensor = tensor.ok_or_else(|| {
        let message = format!("input {:?}: the bytes are no {spec}", spec.name);
        ScoreError::invalid(TARGET, message)
    })?;
    let name = spec.name.clone();
    Ok(vec![NamedTensor { name, tensor }])
}

/// The input that a body without names stands for.
pub(super) fn only_input(signature: &ModelSignature) -> Result<&TensorSpec, ScoreError> {
    match &signature.inputs[..] {
        [spec] => Ok(spec),
        specs => Err(ScoreError::invalid(
            TARGET,
            format!(
                "a body without names needs a model with one input; this one has {}: {}",
                specs.len(),
                signature.describe_inputs()
            ),
        )),
    }
}

fn shape(spec: &TensorSpec, bytes: usize) -> Result<(Shape, usize), ScoreError> {
    let wrong = |why: String| {
        ScoreError::invalid(TARGET, format!("input {:?} is {spec}: {why}", spec.name))
    };
    let size = spec
        .element_type
        .size()
        .ok_or_else(|| wrong("strings cannot be sent as raw bytes".to_owned()))?;
    let fixed = spec.shape.iter().filter_map(|dim| match dim {
        Dim::Fixed(n) => Some(*n),
        Dim::Dynamic(_) => None,
    });
    let unit = fixed.fold(size, usize::saturating_mul);
    let is_free = |dim: &&Dim| matches!(dim, Dim::Dynamic(_));
    let free = spec.shape.iter().filter(is_free).count();
    let whole = unit > 0 && bytes.is_multiple_of(unit);
    let length = match free {
        0 if bytes == unit => 1,
        1 if whole => bytes / unit,
        0 => return Err(wrong(format!("expected {unit} bytes, got {bytes}"))),
        1 => {
            return Err(wrong(format!(
                "expected a multiple of {unit} bytes, got {bytes}"
            )));
        }
        _ => {
            let why = "raw bytes do not tell the lengths of several free axes; send npy or JSON";
            return Err(wrong(why.to_owned()));
        }
    };
    let axes = spec.shape.iter();
    let shape = axes.map(|dim| match dim {
        Dim::Fixed(n) => *n,
        Dim::Dynamic(_) => length,
    });
    Ok((shape.collect(), bytes / size))
}

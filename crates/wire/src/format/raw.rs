//! Bodies that are the bytes of one tensor: `application/octet-stream`.

use score::{
    Dim, ElementType, ModelSignature, NamedTensor, ScoreError, Shape, Tensor, TensorData,
    TensorSpec, element_count,
};

use serde::de::IgnoredAny;

use super::{Elements, Format, NPY_MAGIC, gzip};
use crate::body::{Declared, amended, only_input};
use crate::convert;
use crate::watch::Watch;

/// `application/octet-stream`
pub(crate) static OCTETS: Format = Format {
    body: "the little-endian bytes of the one input, see [raw bytes](#raw-bytes)",
    answer: "the bare result",
    content_types: &[CONTENT_TYPE],
    coding: None,
    aliases: &[],
    is_text: false,
    is_packed: false,
    elements: Elements::AsInBody,
    // Tensors may begin with any bytes, but numpy's files are told by theirs.
    recognises: |body, essence| essence == CONTENT_TYPE && !body.starts_with(NPY_MAGIC),
    read: Some(|contents| {
        let signature = &contents.metadata.signature;
        let (declared, watch) = (contents.declared, contents.bounds.watch);
        let read = read(contents.body, declared, signature, watch);
        let inputs = read.map_err(|error| {
            amended(error, || {
                [advice(contents.body), gzip::advice(contents.body)].concat()
            })
        });
        Ok(inputs?.into())
    }),
    writing: None,
    described: |metadata| {
        let spec = only_input(&metadata.signature).ok()?;
        tells_shape(spec).then(|| format!("The little-endian bytes of {spec}."))
    },
    sample: None,
};

/// The content type of raw bytes.
pub(crate) const CONTENT_TYPE: &str = "application/octet-stream";
const TARGET: &str = "body";

/// The most characters of a header that an error quotes.
const MAX_QUOTED: usize = 200;

/// Reads little-endian elements of the model's one input, or of the type that the sender names, which are converted then. At
/// most one axis may be free, and its length follows from the number of bytes, unless the sender names the shape.
///
/// # Errors
/// [`ScoreError::InvalidInput`] if the bytes do not make up whole rows or are not what the sender says, or the model is
/// not of that kind.
pub(crate) fn read(
    body: &[u8],
    declared: Declared<'_>,
    signature: &ModelSignature,
    watch: &dyn Watch,
) -> Result<Vec<NamedTensor>, ScoreError> {
    let spec = only_input(signature)?;
    let ty = match declared.datatype {
        Some(name) => named_type(spec, name)?,
        None => spec.element_type,
    };
    let size = element_size(spec, ty)?;
    let (shape, count) = match declared.shape {
        Some(text) => named_shape(spec, text, body.len(), ty)?,
        None => shape(spec, body.len(), size)?,
    };
    let not_these = || {
        let message = format!("input {:?}: the bytes are no {spec}", spec.name);
        ScoreError::invalid(TARGET, message)
    };
    let data = TensorData::from_le_bytes(ty, count, body).ok_or_else(not_these)?;
    let data = convert::converted(data, spec, TARGET, watch)?;
    let tensor = Tensor::new(shape, data).map_err(|_| not_these())?;
    if declared.shape.is_some() {
        spec.check(&tensor, TARGET)?;
    }
    let name = spec.name.clone();
    Ok(vec![NamedTensor { name, tensor }])
}

/// Whether the number of bytes tells the shape.
fn tells_shape(spec: &TensorSpec) -> bool {
    let free = spec
        .dims()
        .iter()
        .filter(|dim| matches!(dim, Dim::Dynamic(_)));
    spec.shape.is_some() && spec.element_type.size().is_some() && free.count() <= 1
}

/// Whether this number of bytes makes up whole rows of the model's one input.
pub(crate) fn fits(bytes: usize, signature: &ModelSignature) -> Option<&TensorSpec> {
    let spec = only_input(signature).ok()?;
    let (_, count) = shape(spec, bytes, spec.element_type.size()?).ok()?;
    (count > 0).then_some(spec)
}

/// Whether so many bytes are a tensor of the model's one input, of the shape that the sender names or any it may have.
pub(crate) fn suits(bytes: usize, declared: Declared<'_>, signature: &ModelSignature) -> bool {
    let Ok(spec) = only_input(signature) else {
        return false;
    };
    let named = declared
        .datatype
        .and_then(|name| named_type(spec, name).ok());
    let ty = named.unwrap_or(spec.element_type);
    match (declared.shape, ty.size()) {
        (Some(text), _) => named_shape(spec, text, bytes, ty).is_ok(),
        (None, Some(size)) => shape(spec, bytes, size).is_ok_and(|(_, count)| count > 0),
        (None, None) => false,
    }
}

/// The type that a sender names: the input's own, or one of numbers that can become the input's.
fn named_type(spec: &TensorSpec, name: &str) -> Result<ElementType, ScoreError> {
    let own = spec.element_type;
    let known = |ty: &ElementType| {
        let names = [ty.datatype(), ty.as_str()];
        names
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name.trim()))
    };
    match ElementType::ALL.into_iter().find(known) {
        Some(named) if convert::converts(named, own) => Ok(named),
        Some(named) => {
            let advice = convert::advice_for_numbers(spec);
            let why = format!("the named datatype is {named}; send the elements as {own}{advice}");
            Err(wrong(spec, &why))
        }
        None => {
            let name: String = name.chars().take(MAX_QUOTED).collect();
            let expected = own.datatype();
            let why = format!("datatype {name:?} is not known; expected {expected} or {own}");
            Err(wrong(spec, &why))
        }
    }
}

/// The shape that a sender names, such as `1,784` or `[1, 784]`, and the number of elements it has.
fn named_shape(
    spec: &TensorSpec,
    text: &str,
    bytes: usize,
    ty: ElementType,
) -> Result<(Shape, usize), ScoreError> {
    let size = element_size(spec, ty)?;
    let shown: String = text.chars().take(MAX_QUOTED).collect();
    let lengths = text.trim().trim_start_matches(['[', '(']);
    let lengths = lengths.trim_end_matches([']', ')', ',']);
    let lengths = lengths.split(',');
    let shape: Option<Shape> = lengths.map(|part| part.trim().parse().ok()).collect();
    let sized = shape.and_then(|shape| Some((element_count(&shape)?, shape)));
    let (count, shape) = sized.ok_or_else(|| {
        let why = format!("shape {shown:?} is not a list of lengths such as 1,784");
        wrong(spec, &why)
    })?;
    let expected = count.saturating_mul(size);
    if bytes == expected {
        return Ok((shape, count));
    }
    let each = match bytes.checked_div(count) {
        Some(each) if each > 0 && bytes.is_multiple_of(count) => {
            format!(", which is {each} bytes an element where {ty} has {size}")
        }
        _ => String::new(),
    };
    let why = format!("the named shape {shown:?} takes {expected} bytes, got {bytes}{each}");
    Err(wrong(spec, &why))
}

fn wrong(spec: &TensorSpec, why: &str) -> ScoreError {
    ScoreError::invalid(TARGET, format!("input {:?} is {spec}: {why}", spec.name))
}

fn element_size(spec: &TensorSpec, ty: ElementType) -> Result<usize, ScoreError> {
    let size = ty.size();
    size.ok_or_else(|| wrong(spec, "strings cannot be sent as raw bytes"))
}

/// The shape of so many bytes, of which each element takes `size`.
fn shape(spec: &TensorSpec, bytes: usize, size: usize) -> Result<(Shape, usize), ScoreError> {
    let Some(dims) = &spec.shape else {
        let why = "raw bytes do not tell a shape that the model does not declare; name it in the header X-Shape, or send npy \
                   or JSON";
        return Err(wrong(spec, why));
    };
    let fixed = dims.iter().filter_map(|dim| match dim {
        Dim::Fixed(n) => Some(*n),
        Dim::Dynamic(_) => None,
    });
    let unit = fixed.fold(size, usize::saturating_mul);
    let is_free = |dim: &&Dim| matches!(dim, Dim::Dynamic(_));
    let free = dims.iter().filter(is_free).count();
    let whole = unit > 0 && bytes.is_multiple_of(unit);
    let length = match free {
        0 if bytes == unit => 1,
        1 if whole => bytes / unit,
        0 => return Err(wrong(spec, &format!("expected {unit} bytes, got {bytes}"))),
        1 => {
            let why = format!("expected a multiple of {unit} bytes, got {bytes}");
            return Err(wrong(spec, &why));
        }
        _ => {
            let why = "raw bytes do not tell the lengths of several free axes; name the shape in the header X-Shape, or \
                       send npy or JSON";
            return Err(wrong(spec, why));
        }
    };
    let shape = dims.iter().map(|dim| match dim {
        Dim::Fixed(n) => *n,
        Dim::Dynamic(_) => length,
    });
    Ok((shape.collect(), bytes / size))
}

/// The end of an error text for a body that was declared as raw elements and cannot be read as such.
fn advice(body: &[u8]) -> &'static str {
    let object = body.trim_ascii_start().starts_with(b"{");
    if object && serde_json::from_slice::<IgnoredAny>(body).is_ok() {
        "; it is a JSON object: send it with Content-Type: application/json"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;

    #[test]
    fn raw_bytes_need_one_free_axis_at_most_and_elements_of_one_size() {
        let tells =
            |element_type, shape: &[i64]| tells_shape(&samples::spec("x", element_type, shape));
        assert!(tells(ElementType::Float32, &[-1, 3]));
        assert!(tells(ElementType::Bool, &[]));
        assert!(!tells(ElementType::Float32, &[-1, -1]));
        assert!(!tells(ElementType::String, &[-1]));
        assert!(!tells_shape(&samples::undeclared(
            "x",
            ElementType::Float32
        )));
    }
}

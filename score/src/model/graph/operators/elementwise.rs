//! Operators that compute each place from the same places of their inputs, which are stretched to a common shape.

use super::{Call, Out, Outs, Stop};
use crate::model::graph::value::{Flow, Length, Value};

const OPERATORS: &[&str] = &[
    "Abs",
    "Acos",
    "Acosh",
    "Add",
    "And",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitShift",
    "BitwiseAnd",
    "BitwiseNot",
    "BitwiseOr",
    "BitwiseXor",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "DequantizeLinear",
    "Div",
    "Elu",
    "Equal",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "Greater",
    "GreaterOrEqual",
    "HardSigmoid",
    "HardSwish",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "Max",
    "Mean",
    "Min",
    "Mish",
    "Mod",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "PRelu",
    "Pow",
    "QuantizeLinear",
    "Reciprocal",
    "RegexFullMatch",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "StringConcat",
    "Sub",
    "Sum",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
    "Where",
    "Xor",
    "com.microsoft.BiasGelu",
    "com.microsoft.FastGelu",
    "com.microsoft.Gelu",
    "com.microsoft.QLinearAdd",
    "com.microsoft.QLinearLeakyRelu",
    "com.microsoft.QLinearMul",
    "com.microsoft.QLinearSigmoid",
    "com.microsoft.QuickGelu",
    "com.microsoft.DequantizeLinear",
    "com.microsoft.QuantizeLinear",
    "ai.onnx.ml.Binarizer",
    "ai.onnx.ml.CategoryMapper",
    "ai.onnx.ml.LabelEncoder",
];

/// Operators whose elements stay what they are, apart from their type.
const CONVERSIONS: &[&str] = &["Cast", "CastLike", "Identity"];

pub(super) fn rule(call: &Call<'_>) -> Option<Outs> {
    let operator = call.operator;
    if CONVERSIONS.contains(&operator) {
        return Some(convert(call));
    }
    match operator {
        "Dropout" => return Some(dropout(call)),
        "DynamicQuantizeLinear" => return Some(dynamic_quantize(call)),
        "StringNormalizer" => return Some(string_normalizer(call)),
        _ => {}
    }
    OPERATORS.contains(&operator).then(|| {
        let inputs: Vec<&Value> = call.inputs.iter().flatten().copied().collect();
        let (rows, dims) = broadcast(&inputs)?;
        Ok(vec![Out::new(rows, dims)])
    })
}

/// ONNX's numbers for the element types that lengths are computed in.
const INT32: i64 = 6;
const INT64: i64 = 7;

fn convert(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let fits = |number: &Length| match number {
        Length::Known(number) => i32::try_from(*number).is_ok(),
        _ => true,
    };
    // Other types wrap numbers, round them, or make truth values of them.
    let keeps = match (call.operator, call.int("to", 0)) {
        ("Identity", _) | ("Cast", INT64) => true,
        ("Cast", INT32) => value.numbers.iter().flatten().all(fits),
        _ => false,
    };
    Ok(vec![Out {
        numbers: value.numbers.clone().filter(|_| keeps),
        ..Out::new(rows, value.dims.clone()).same_elements()
    }])
}

/// The common shape of values, aligned at their last axes, and the axis that the rows lie on in it.
pub(super) fn broadcast(values: &[&Value]) -> Result<(Option<usize>, Vec<Length>), Stop> {
    // How many rows there are is no part of any row.
    let is_count = |value: &&Value| value.flow == Flow::Count;
    let has_rows = values.iter().any(|value| value.rows_axis().is_some());
    if has_rows && values.iter().any(is_count) {
        return Err(Stop::Unclear);
    }
    let dims: Option<Vec<&Vec<Length>>> = values.iter().map(|v| v.dims.as_ref()).collect();
    let dims = dims.ok_or(Stop::Unclear)?;
    let rank = dims.iter().map(|dims| dims.len()).max().unwrap_or(0);
    let mut rows = None;
    for (value, dims) in values.iter().zip(&dims) {
        let Some(axis) = value.rows_axis() else {
            continue;
        };
        let axis = axis + rank - dims.len();
        // Rows along two axes: every place takes from two of them.
        if *rows.get_or_insert(axis) != axis {
            return Err(Stop::Mixes);
        }
    }
    let shape: Vec<Length> = (0..rank)
        .map(|axis| {
            let here = dims.iter().filter_map(|dims| {
                let before = rank - dims.len();
                axis.checked_sub(before).map(|axis| dims[axis])
            });
            here.fold(Length::Known(1), wider)
        })
        .collect();
    let Some(axis) = rows else {
        return Ok((None, shape));
    };
    for (value, dims) in values.iter().zip(&dims) {
        let here = (axis + dims.len()).checked_sub(rank).map(|axis| dims[axis]);
        let fits = match value.rows_axis() {
            Some(_) => here.is_some_and(Length::is_rows),
            None => matches!(here, None | Some(Length::Known(1))),
        };
        if !fits {
            return Err(Stop::Unclear);
        }
    }
    Ok((Some(axis), shape))
}

fn wider(a: Length, b: Length) -> Length {
    match (a, b) {
        (Length::Known(1), other) | (other, Length::Known(1)) => other,
        (a, b) if a == b => a,
        // One of them is 1, or they are equal.
        (rows, _) | (_, rows) if rows.is_rows() => rows,
        (Length::Unclear, _) | (_, Length::Unclear) => Length::Unclear,
        (Length::Known(n), _) | (_, Length::Known(n)) => Length::Known(n),
        (Length::Free, _) | (_, Length::Free) => Length::Free,
        _ => Length::Settled,
    }
}

/// It does nothing, unless the model was exported for training.
fn dropout(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let trains = match call.input(2) {
        None => false,
        Some(mode) => mode.known_numbers().is_none_or(|mode| mode != [0]),
    };
    if trains {
        return Err(Stop::Mixes);
    }
    let out = Out::new(rows, value.dims.clone());
    Ok(vec![out.clone().same_elements(), out])
}

/// Quantized values, and the scale and the zero point of all of them.
fn dynamic_quantize(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let scalar = || Out::new(None, vec![]);
    Ok(vec![Out::new(rows, value.dims.clone()), scalar(), scalar()])
}

/// With words to leave out, texts move up.
fn string_normalizer(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let removes = call
        .attribute("stopwords")
        .is_some_and(|a| !a.texts.is_empty());
    if removes && rows.is_some() {
        return Err(Stop::Mixes);
    }
    Ok(vec![Out::new(rows, value.dims.clone())])
}

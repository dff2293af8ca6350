//! Products, convolutions, recurrences and attention: operators that sum along some axes and keep others.

use super::elementwise::broadcast;
use super::{Call, Out, Outs, Stop};
use crate::model::graph::value::{Flow, Length, Value};

/// Operators on `[row, channel, ...]` that keep the first axis, with parameters from the second input on.
const IMAGES: &[&str] = &[
    "AveragePool",
    "BatchNormalization",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "DepthToSpace",
    "GlobalAveragePool",
    "GlobalLpPool",
    "GlobalMaxPool",
    "GroupNormalization",
    "InstanceNormalization",
    "LRN",
    "LpPool",
    "MaxPool",
    "QLinearConv",
    "Resize",
    "SpaceToDepth",
    "Upsample",
    "com.microsoft.FusedConv",
    "com.microsoft.NhwcFusedConv",
    "com.microsoft.NhwcMaxPool",
    "com.microsoft.QLinearAveragePool",
    "com.microsoft.QLinearConv",
    "com.microsoft.QLinearGlobalAveragePool",
];

pub(super) fn rule(call: &Call<'_>) -> Option<Outs> {
    let operator = call.operator;
    if IMAGES.contains(&operator) {
        return Some(image(call));
    }
    Some(match operator {
        "MatMul" | "MatMulInteger" => product_of(call, 0, 1, (false, false)),
        "QLinearMatMul" => product_of(call, 0, 3, (false, false)),
        "com.microsoft.DynamicQuantizeMatMul"
        | "com.microsoft.MatMulIntegerToFloat"
        | "com.microsoft.MatMulInteger16" => product_of(call, 0, 1, (false, false)),
        "com.microsoft.FusedMatMul" => {
            let turned = |name| call.int(name, 0) != 0;
            match turned("transBatchA") || turned("transBatchB") {
                true => Err(Stop::Unclear),
                false => product_of(call, 0, 1, (turned("transA"), turned("transB"))),
            }
        }
        "com.microsoft.MatMulNBits" => packed_product(call),
        "Gemm" | "com.microsoft.FusedGemm" | "com.microsoft.QGemm" => gemm(call),
        "Einsum" => einsum(call),
        "LSTM" | "GRU" | "RNN" | "com.microsoft.DynamicQuantizeLSTM" => recurrence(call),
        "Attention"
        | "com.microsoft.Attention"
        | "com.microsoft.EmbedLayerNormalization"
        | "com.microsoft.MultiHeadAttention"
        | "com.microsoft.QAttention"
        | "com.microsoft.QOrderedAttention" => first_axis_of_all(call),
        _ => return None,
    })
}

fn image(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let counts_in_batch = call.int("training_mode", 0) != 0 || call.node.outputs.len() > 1;
    if call.operator == "BatchNormalization" && counts_in_batch {
        return Err(Stop::Mixes);
    }
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    match rows {
        None | Some(0) => parameters_are_fixed(call)?,
        // Channels are summed, and places look at their neighbours.
        Some(_) => return Err(Stop::Mixes),
    }
    let mut dims = dims.clone();
    for length in dims.iter_mut().skip(1) {
        *length = length.changed();
    }
    let mut outs = vec![Out::new(rows, dims)];
    if call.operator == "MaxPool" && rows.is_none() {
        outs.push(Out::default());
    }
    // The second output of MaxPool counts places from the first row on.
    match call.operator == "MaxPool" && call.node.outputs.len() > 1 && rows.is_some() {
        true => Err(Stop::Mixes),
        false => Ok(outs),
    }
}

/// The sizes that a picture is brought to may begin with the number of rows, which stays what it is.
fn parameters_are_fixed(call: &Call<'_>) -> Result<(), Stop> {
    let sizes = call.input(3).and_then(|sizes| sizes.numbers.as_deref());
    match (call.operator, sizes) {
        ("Resize", Some([Length::Rows, rest @ ..])) if !rest.iter().any(|n| n.counts_rows()) => {
            Ok(())
        }
        _ => call.fixed_from(1),
    }
}

/// A product of matrices, the last two axes, of stacks of them, all axes before.
fn product_of(call: &Call<'_>, left: usize, right: usize, turned: (bool, bool)) -> Outs {
    let (left, right) = (call.needed(left)?, call.needed(right)?);
    for value in call.inputs.iter().flatten() {
        let is_factor = std::ptr::eq(*value, left) || std::ptr::eq(*value, right);
        // Scales and zero points hold for all rows; an addend is the same for all.
        if value.flow == Flow::Count || (!is_factor && value.rows_axis().is_some()) {
            return Err(Stop::Unclear);
        }
    }
    let a = Factor::of(left, turned.0, false)?;
    let b = Factor::of(right, turned.1, true)?;
    // Rows that are summed, and rows against rows.
    if a.rows_in_sum || b.rows_in_sum || (a.rows_in_matrix && b.value.rows_axis().is_some()) {
        return Err(Stop::Mixes);
    }
    if b.rows_in_matrix && a.value.rows_axis().is_some() {
        return Err(Stop::Mixes);
    }
    let (rows, mut dims) = broadcast(&[&a.stack, &b.stack])?;
    let before = dims.len();
    dims.extend(a.kept);
    let rows = match (rows, a.rows_in_matrix, b.rows_in_matrix) {
        (rows, false, false) => rows,
        (_, true, _) => Some(before),
        (_, _, true) => Some(dims.len()),
    };
    dims.extend(b.kept);
    Ok(vec![Out::new(rows, dims)])
}

/// One factor of a product: the stack it is a part of, and the axis of its matrix that is not summed.
struct Factor<'a> {
    value: &'a Value,
    stack: Value,
    kept: Option<Length>,
    rows_in_matrix: bool,
    rows_in_sum: bool,
}

impl<'a> Factor<'a> {
    fn of(value: &'a Value, turned: bool, is_right: bool) -> Result<Self, Stop> {
        let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
        let rank = dims.len();
        // The left one keeps the rows of its matrix, the right one the columns.
        let (kept, summed) = match (rank, is_right != turned) {
            (0, _) => return Err(Stop::Unclear),
            (1, _) => (None, 0),
            (_, true) => (Some(rank - 1), rank - 2),
            (_, false) => (Some(rank - 2), rank - 1),
        };
        let rows = value.rows_axis();
        let in_matrix = rows.is_some() && rows == kept;
        let in_sum = rows == Some(summed);
        let stack_dims = dims.get(..rank.saturating_sub(2)).unwrap_or_default();
        let flow = match in_matrix || in_sum {
            true => Flow::Constant,
            false => value.flow.clone(),
        };
        let stack = Value::new(flow, Some(stack_dims.to_vec()));
        Ok(Self {
            kept: kept.map(|axis| dims[axis]),
            value,
            stack,
            rows_in_matrix: in_matrix,
            rows_in_sum: in_sum,
        })
    }
}

/// The right factor is packed; the last axis of the left one is summed.
fn packed_product(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    call.fixed_from(1)?;
    let mut dims = value.dims.clone().ok_or(Stop::Unclear)?;
    let last = dims.len().checked_sub(1).ok_or(Stop::Unclear)?;
    if rows == Some(last) {
        return Err(Stop::Mixes);
    }
    dims[last] = Length::Known(call.int("N", 0));
    Ok(vec![Out::new(rows, dims)])
}

fn gemm(call: &Call<'_>) -> Outs {
    let right = if call.operator == "com.microsoft.QGemm" {
        3
    } else {
        1
    };
    let turned = (call.int("transA", 0) != 0, call.int("transB", 0) != 0);
    let addend = if right == 3 { 6 } else { 2 };
    let mut plain = call.inputs.clone();
    let added = match plain.get_mut(addend) {
        Some(slot) => slot.take(),
        None => None,
    };
    let product = Call {
        inputs: plain,
        ..call.clone()
    };
    let outs = product_of(&product, 0, right, turned)?;
    let (Some(added), Some(out)) = (added, outs.first()) else {
        return Ok(outs);
    };
    let sum = Value::new(
        match out.rows {
            Some(axis) => Flow::Rows(axis, None),
            None => Flow::Constant,
        },
        out.dims.clone(),
    );
    let (rows, dims) = broadcast(&[&sum, added])?;
    Ok(vec![Out::new(rows, dims)])
}

fn einsum(call: &Call<'_>) -> Outs {
    let equation = call.text("equation").ok_or(Stop::Unclear)?;
    let equation: Vec<u8> = equation
        .iter()
        .filter(|b| !b.is_ascii_whitespace())
        .copied()
        .collect();
    let equation = String::from_utf8(equation).map_err(|_| Stop::Unclear)?;
    let (terms, output) = equation.split_once("->").ok_or(Stop::Unclear)?;
    if equation.contains('.') {
        return Err(Stop::Unclear);
    }
    let mut letter = None;
    let mut others = String::new();
    let mut lengths: Vec<(char, Length)> = Vec::new();
    for (index, term) in terms.split(',').enumerate() {
        let value = call.needed(index)?;
        let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
        if dims.len() != term.chars().count() {
            return Err(Stop::Unclear);
        }
        lengths.extend(term.chars().zip(dims.iter().copied()));
        match value.rows_axis() {
            Some(axis) => {
                let here = term.chars().nth(axis).ok_or(Stop::Unclear)?;
                // A row against other rows, or a diagonal.
                if *letter.get_or_insert(here) != here || term.matches(here).count() != 1 {
                    return Err(Stop::Mixes);
                }
            }
            None => others.push_str(term),
        }
    }
    let dims = output
        .chars()
        .map(|c| lengths.iter().find(|(l, _)| *l == c).map(|(_, n)| *n));
    let dims: Option<Vec<Length>> = dims.collect();
    let Some(letter) = letter else {
        return Ok(vec![Out::new(None, dims)]);
    };
    if others.contains(letter) {
        return Err(Stop::Unclear);
    }
    match output.find(letter) {
        Some(axis) => Ok(vec![Out::new(Some(axis), dims)]),
        None => Err(Stop::Mixes),
    }
}

/// `X` is `[step, row, ...]`, or `[row, step, ...]` with layout 1.
fn recurrence(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let rows_first = call.int("layout", 0) != 0;
    let wanted = usize::from(!rows_first);
    match rows {
        Some(axis) if axis != wanted => return Err(Stop::Mixes),
        _ => {}
    }
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let [first, second, _] = dims[..] else {
        return Err(Stop::Unclear);
    };
    for (index, input) in call.inputs.iter().enumerate().skip(1) {
        let Some(input) = input else { continue };
        // 4: lengths of the sequences; 5 and 6: what they begin with; all others are weights.
        let allowed = match index {
            4 => Some(0),
            5 | 6 => Some(if rows_first { 0 } else { 1 }),
            _ => None,
        };
        match (input.rows_axis(), &input.flow) {
            (Some(axis), _) if Some(axis) == allowed => {}
            (None, Flow::Constant) => {}
            (None, Flow::Scale(_)) => {}
            _ => return Err(Stop::Unclear),
        }
    }
    let (steps, count) = if rows_first {
        (second, first)
    } else {
        (first, second)
    };
    let directions = match call.text("direction") {
        Some(b"bidirectional") => 2,
        _ => 1,
    };
    let (directions, hidden) = (
        Length::Known(directions),
        Length::Known(call.int("hidden_size", 0)),
    );
    let has_rows = rows.is_some();
    let (all, last) = match rows_first {
        true => (
            Out::new(
                has_rows.then_some(0),
                vec![count, steps, directions, hidden],
            ),
            Out::new(has_rows.then_some(0), vec![count, directions, hidden]),
        ),
        false => (
            Out::new(
                has_rows.then_some(2),
                vec![steps, directions, count, hidden],
            ),
            Out::new(has_rows.then_some(1), vec![directions, count, hidden]),
        ),
    };
    Ok(vec![all, last.clone(), last])
}

/// Operators of transformers whose inputs and outputs have the rows on their first axis; weights are constants.
fn first_axis_of_all(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let one_place = |v: &Value| {
        v.dims
            .as_ref()
            .is_some_and(|dims| dims.first() == Some(&Length::Rows))
    };
    let fits = |v: &&Value| match v.rows_axis() {
        Some(axis) => axis == 0 && one_place(v),
        None => v.flow != Flow::Count,
    };
    if !call.inputs.iter().flatten().all(fits) {
        return Err(Stop::Unclear);
    }
    let rows = rows.ok_or(Stop::Unclear)?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let out = match call.operator {
        "com.microsoft.EmbedLayerNormalization" => {
            let table = call
                .needed(2)?
                .dims
                .as_ref()
                .and_then(|dims| dims.last())
                .copied();
            let mut dims = dims.clone();
            dims.push(table.unwrap_or(Length::Settled));
            vec![
                Out::new(Some(rows), dims.clone()),
                Out::new(Some(rows), vec![dims[0]]),
                Out::new(Some(rows), dims),
            ]
        }
        _ => {
            let mut dims = dims.clone();
            for length in dims.iter_mut().skip(1) {
                *length = length.changed();
            }
            vec![Out::new(Some(rows), dims)]
        }
    };
    Ok(out)
}

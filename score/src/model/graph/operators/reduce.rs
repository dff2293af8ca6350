//! Operators that take many places along an axis together. Along the rows they mix them.

use super::{Call, Out, Outs, Stop, axis_of};
use crate::model::graph::value::Length;

pub(super) fn rule(call: &Call<'_>) -> Option<Outs> {
    Some(match call.operator {
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax"
        | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => {
            reduce(call)
        }
        "ArgMax" | "ArgMin" => one_axis(call),
        "Softmax" | "LogSoftmax" | "Hardmax" => softmax(call),
        "LayerNormalization" | "RMSNormalization" | "SimplifiedLayerNormalization" => {
            normalized_from(call, call.int("axis", -1), 1)
        }
        "com.microsoft.SkipLayerNormalization"
        | "com.microsoft.SkipSimplifiedLayerNormalization" => skip_normalization(call),
        "LpNormalization" => along(call, call.int("axis", -1)),
        "MeanVarianceNormalization" => mean_variance(call),
        "CumSum" => match call
            .input(1)
            .and_then(|axis| axis.known_numbers())
            .as_deref()
        {
            Some([axis]) => along(call, *axis),
            _ => Err(Stop::Unclear),
        },
        "TopK" => top_k(call),
        _ => return None,
    })
}

/// The axes are an attribute or, in later versions, the second input.
fn reduce(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let named = match call.input(1) {
        Some(axes) => Some(axes.known_numbers().ok_or(Stop::Unclear)?),
        None => call.ints("axes").map(<[i64]>::to_vec),
    };
    let named = named.filter(|axes| !axes.is_empty());
    let axes: Vec<usize> = match named {
        Some(axes) => {
            let axes = axes.into_iter().map(|axis| axis_of(axis, dims.len()));
            axes.collect::<Result<_, _>>()?
        }
        None if call.int("noop_with_empty_axes", 0) != 0 => vec![],
        None => (0..dims.len()).collect(),
    };
    without(rows, dims, &axes, call.int("keepdims", 1) != 0)
}

fn one_axis(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let axis = axis_of(call.int("axis", 0), dims.len())?;
    without(rows, dims, &[axis], call.int("keepdims", 1) != 0)
}

/// The shape without the given axes, or with 1 in their places.
fn without(rows: Option<usize>, dims: &[Length], axes: &[usize], keep: bool) -> Outs {
    if rows.is_some_and(|rows| axes.contains(&rows)) {
        return Err(Stop::Mixes);
    }
    let shift = |rows: usize| match keep {
        true => rows,
        false => rows - axes.iter().filter(|axis| **axis < rows).count(),
    };
    let dims =
        dims.iter()
            .enumerate()
            .filter_map(|(axis, length)| match (axes.contains(&axis), keep) {
                (false, _) => Some(*length),
                (true, true) => Some(Length::Known(1)),
                (true, false) => None,
            });
    Ok(vec![Out::new(rows.map(shift), dims.collect::<Vec<_>>())])
}

/// Before version 13 all axes from the given one on were taken together.
fn softmax(call: &Call<'_>) -> Outs {
    match call.opset {
        13.. => along(call, call.int("axis", -1)),
        _ => normalized_from(call, call.int("axis", 1), 0),
    }
}

/// One axis is taken together, and the shape stays.
fn along(call: &Call<'_>, axis: i64) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    match rows {
        Some(rows) if rows == axis_of(axis, dims.len())? => Err(Stop::Mixes),
        _ => Ok(vec![Out::new(rows, dims.clone())]),
    }
}

/// All axes from the given one on are taken together; inputs from that one on are weights.
fn normalized_from(call: &Call<'_>, axis: i64, weights: usize) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let axis = axis_of(axis, dims.len())?;
    call.fixed_from(weights.max(1))?;
    if rows.is_some_and(|rows| rows >= axis) {
        return Err(Stop::Mixes);
    }
    let mut means = dims.clone();
    means[axis..].fill(Length::Known(1));
    let out = Out::new(rows, means);
    Ok(vec![Out::new(rows, dims.clone()), out.clone(), out])
}

/// Two tensors of one shape are added and normalized along the last axis. The fourth output is their sum.
fn skip_normalization(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let skip = call.needed(1)?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    call.fixed_from(2)?;
    let last = dims.len().checked_sub(1).ok_or(Stop::Unclear)?;
    if skip.rows_axis() != rows || skip.rank() != Some(dims.len()) {
        return Err(Stop::Unclear);
    }
    if rows == Some(last) {
        return Err(Stop::Mixes);
    }
    let mut means = dims.clone();
    means[last] = Length::Known(1);
    let (out, mean) = (Out::new(rows, dims.clone()), Out::new(rows, means));
    Ok(vec![out.clone(), mean.clone(), mean, out])
}

fn mean_variance(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    // The first axis among them.
    let axes = call.ints("axes").unwrap_or(&[0, 2, 3]).iter();
    let axes = axes.map(|axis| axis_of(*axis, dims.len()));
    let axes = axes.collect::<Result<Vec<_>, _>>()?;
    match rows {
        Some(rows) if axes.contains(&rows) => Err(Stop::Mixes),
        _ => Ok(vec![Out::new(rows, dims.clone())]),
    }
}

fn top_k(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    call.fixed_from(1)?;
    let mut dims = value.dims.clone().ok_or(Stop::Unclear)?;
    let axis = axis_of(call.int("axis", -1), dims.len())?;
    if rows == Some(axis) {
        return Err(Stop::Mixes);
    }
    let count = call.input(1).and_then(|k| k.only_number());
    dims[axis] = count.unwrap_or(Length::Settled);
    let out = Out::new(rows, dims);
    Ok(vec![out.clone(), out])
}

//! Operators that pick elements by position or by value.

use super::{Call, Out, Outs, Stop, axis_of};
use crate::model::graph::value::{Flow, Length, Value};

pub(super) fn rule(call: &Call<'_>) -> Option<Outs> {
    Some(match call.operator {
        "Gather" => gather(call),
        "GatherElements" => gather_elements(call),
        "GatherND" => gather_nd(call),
        "ScatterElements" => scatter_elements(call),
        "Slice" => slice(call),
        "OneHot" => one_hot(call),
        "Compress" => compress(call),
        // What they find in all rows comes out as one list.
        "NonZero" | "Unique" | "NonMaxSuppression" => mixes_rows(call),
        _ => return None,
    })
}

fn mixes_rows(call: &Call<'_>) -> Outs {
    let has_rows = call
        .inputs
        .iter()
        .flatten()
        .any(|value| value.rows_axis().is_some());
    Err(if has_rows { Stop::Mixes } else { Stop::Unclear })
}

fn gather(call: &Call<'_>) -> Outs {
    let (data, rows) = call.first()?;
    let indices = call.needed(1)?;
    let dims = data.dims.as_ref().ok_or(Stop::Unclear)?;
    let picked = indices.dims.as_ref().ok_or(Stop::Unclear)?;
    let axis = axis_of(call.int("axis", 0), dims.len())?;
    if data.flow == Flow::Count || indices.flow == Flow::Count {
        return Err(Stop::Unclear);
    }
    let place = match (rows, indices.rows_axis()) {
        (None, None) => None,
        (None, Some(rows)) => Some(axis + rows),
        // Some rows are picked from all.
        (Some(rows), None) if rows == axis => return Err(Stop::Mixes),
        (Some(rows), None) if rows < axis => Some(rows),
        (Some(rows), None) => Some(rows - 1 + picked.len()),
        (Some(_), Some(_)) => return Err(Stop::Unclear),
    };
    let mut shape = dims[..axis].to_vec();
    shape.extend(picked);
    shape.extend(&dims[axis + 1..]);
    Ok(vec![Out::new(place, shape)])
}

/// How many entries the table has that these indices go into.
pub(in crate::model::graph) fn table_size(call: &Call<'_>) -> Option<(usize, usize)> {
    let (table, indices, axis) = match call.operator {
        "Gather" => (call.input(0)?, call.input(1)?, call.int("axis", 0)),
        "com.microsoft.EmbedLayerNormalization" => (call.input(2)?, call.input(0)?, 0),
        _ => return None,
    };
    let dims = table.dims.as_ref()?;
    match dims.get(axis_of(axis, dims.len()).ok()?)? {
        Length::Known(size) if table.flow == Flow::Constant => {
            Some((indices.origin?, usize::try_from(*size).ok()?))
        }
        _ => None,
    }
}

/// Every place of the indices picks along one axis, at its own place along all others.
fn gather_elements(call: &Call<'_>) -> Outs {
    let (data, rows) = call.first()?;
    let indices = call.needed(1)?;
    let dims = indices.dims.clone().ok_or(Stop::Unclear)?;
    let axis = axis_of(call.int("axis", 0), dims.len())?;
    if rows != indices.rows_axis() || data.rank() != Some(dims.len()) {
        return Err(Stop::Unclear);
    }
    one_place_per_row([data, indices])?;
    match rows {
        Some(rows) if rows == axis => Err(Stop::Mixes),
        _ => Ok(vec![Out::new(rows, dims)]),
    }
}

/// Where the runtime takes tensors of different lengths, the places of a row must be the same in all of them.
fn one_place_per_row<const N: usize>(values: [&Value; N]) -> Result<(), Stop> {
    let one = |value: &Value| match (value.rows_axis(), &value.dims) {
        (None, _) => true,
        (Some(axis), Some(dims)) => dims.get(axis) == Some(&Length::Rows),
        (Some(_), None) => false,
    };
    match values.into_iter().all(one) {
        true => Ok(()),
        false => Err(Stop::Unclear),
    }
}

/// With the rows among the batch axes, every row picks from itself.
fn gather_nd(call: &Call<'_>) -> Outs {
    let (data, rows) = call.first()?;
    let indices = call.needed(1)?;
    let batch = usize::try_from(call.int("batch_dims", 0)).map_err(|_| Stop::Unclear)?;
    let (dims, picked) = (data.dims.as_ref(), indices.dims.as_ref());
    let (dims, picked) = (dims.ok_or(Stop::Unclear)?, picked.ok_or(Stop::Unclear)?);
    let last = picked.len().checked_sub(1).ok_or(Stop::Unclear)?;
    let place = match (rows, indices.rows_axis()) {
        (None, None) => None,
        (Some(rows), Some(other)) if rows == other && rows < batch => Some(rows),
        (None, Some(rows)) if batch == 0 && rows < last => Some(rows),
        _ => return Err(Stop::Unclear),
    };
    let Length::Known(depth) = picked[last] else {
        return Err(Stop::Unclear);
    };
    let depth = usize::try_from(depth).map_err(|_| Stop::Unclear)?;
    let mut shape = picked[..last].to_vec();
    shape.extend(dims.get(batch + depth..).ok_or(Stop::Unclear)?);
    Ok(vec![Out::new(place, shape)])
}

fn scatter_elements(call: &Call<'_>) -> Outs {
    let (data, rows) = call.first()?;
    let dims = data.dims.clone().ok_or(Stop::Unclear)?;
    let axis = axis_of(call.int("axis", 0), dims.len())?;
    let (indices, updates) = (call.needed(1)?, call.needed(2)?);
    if indices.rows_axis() != rows || updates.rows_axis() != rows {
        return Err(Stop::Unclear);
    }
    one_place_per_row([data, indices, updates])?;
    match rows {
        Some(rows) if rows == axis => Err(Stop::Mixes),
        _ => Ok(vec![Out::new(rows, dims)]),
    }
}

fn slice(call: &Call<'_>) -> Outs {
    let (data, rows) = call.first()?;
    let mut shape = data.dims.clone().ok_or(Stop::Unclear)?;
    if data.flow == Flow::Count {
        return Err(Stop::Unclear);
    }
    let list = |index: usize, name: &str| -> Result<Option<Vec<Length>>, Stop> {
        match call.input(index) {
            Some(value) => value.numbers.clone().map(Some).ok_or(Stop::Unclear),
            None => Ok(call
                .ints(name)
                .map(|ints| ints.iter().map(|n| Length::Known(*n)).collect())),
        }
    };
    let starts = list(1, "starts")?.ok_or(Stop::Unclear)?;
    let ends = list(2, "ends")?.ok_or(Stop::Unclear)?;
    let steps = list(4, "steps")?.unwrap_or_else(|| vec![Length::Known(1); starts.len()]);
    let axes = match list(3, "axes")? {
        Some(axes) => axes,
        None => (0..starts.len() as i64).map(Length::Known).collect(),
    };
    if [ends.len(), steps.len(), axes.len()]
        .iter()
        .any(|n| *n != starts.len())
    {
        return Err(Stop::Unclear);
    }
    for (place, axis) in axes.iter().enumerate() {
        let Length::Known(axis) = axis else {
            return Err(Stop::Unclear);
        };
        let axis = axis_of(*axis, shape.len())?;
        let (start, end, step) = (starts[place], ends[place], steps[place]);
        if rows == Some(axis) {
            // The number of rows is the end only where each row has one place.
            let part = end == Length::Rows && shape[axis] != Length::Rows;
            if part || !is_whole(start, end, step) {
                return Err(Stop::Mixes);
            }
            continue;
        }
        if start.counts_rows() || end.counts_rows() {
            return Err(Stop::Unclear);
        }
        shape[axis] = match (start, end, step) {
            _ if is_whole(start, end, step) => shape[axis],
            (_, Length::Free, _) | (Length::Free, _, _) => Length::Free,
            (Length::Known(start), Length::Known(end), Length::Known(1)) => match shape[axis] {
                Length::Known(length) => Length::Known(part_of(length, start, end)),
                length => length.changed(),
            },
            _ => shape[axis].changed(),
        };
    }
    let out = Out::new(rows, shape);
    Ok(vec![match data.origin.is_some() {
        true => out.same_elements(),
        false => out,
    }])
}

/// How many places of an axis lie between two of them.
fn part_of(length: i64, start: i64, end: i64) -> i64 {
    let place = |n: i64| (if n < 0 { n.saturating_add(length) } else { n }).clamp(0, length.max(0));
    (place(end) - place(start)).max(0)
}

/// From the first place to the last, one by one.
fn is_whole(start: Length, end: Length, step: Length) -> bool {
    let all = match end {
        // Exporters write various large numbers for the end: no request has so many rows.
        Length::Known(end) => end >= 1 << 28,
        end => end == Length::Rows,
    };
    start == Length::Known(0) && step == Length::Known(1) && all
}

/// A new axis tells which number stood in each place.
fn one_hot(call: &Call<'_>) -> Outs {
    let (indices, rows) = call.first()?;
    call.fixed_from(1)?;
    let mut shape = indices.dims.clone().ok_or(Stop::Unclear)?;
    let axis = axis_of(call.int("axis", -1), shape.len() + 1)?;
    let depth = call.input(1).and_then(|depth| depth.only_number());
    shape.insert(axis, depth.unwrap_or(Length::Settled));
    let place = rows.map(|rows| rows + usize::from(axis <= rows));
    Ok(vec![Out::new(place, shape)])
}

/// Places along an axis are kept or dropped, in all rows alike.
fn compress(call: &Call<'_>) -> Outs {
    let (data, rows) = call.first()?;
    let condition = call.needed(1)?;
    let mut shape = data.dims.clone().ok_or(Stop::Unclear)?;
    let Some(named) = call.attribute("axis") else {
        return mixes_rows(call);
    };
    let axis = axis_of(named.int, shape.len())?;
    // A condition that has the rows drops some of them.
    if rows == Some(axis) || condition.rows_axis().is_some() {
        return Err(Stop::Mixes);
    }
    call.fixed_from(1)?;
    shape[axis] = shape[axis].changed();
    Ok(vec![Out::new(rows, shape)])
}

//! Operators that move elements: the rows go along, or they lose their places.

use super::{Call, Out, Outs, Stop, axis_of};
use crate::model::graph::value::{Flow, Length, MAX_AXES, product};

pub(super) fn rule(call: &Call<'_>) -> Option<Outs> {
    Some(match call.operator {
        "Reshape" => reshape(call),
        "Flatten" => flatten(call),
        "Transpose" => transpose(call),
        "Squeeze" => squeeze(call),
        "Unsqueeze" => unsqueeze(call),
        "Expand" => expand(call),
        "Tile" => tile(call),
        "Concat" => concat(call),
        "Split" => split(call),
        "Pad" => pad(call),
        "Trilu" => trilu(call),
        _ => return None,
    })
}

fn reshape(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let target = match call.input(1) {
        Some(shape) => shape.numbers.clone().ok_or(Stop::Unclear)?,
        None => {
            let shape = call.ints("shape").ok_or(Stop::Unclear)?.iter();
            shape.map(|n| Length::Known(*n)).collect()
        }
    };
    let Some(axis) = rows else {
        let counts = target.iter().any(|n| n.counts_rows());
        return match counts || value.flow == Flow::Count {
            true => Err(Stop::Unclear),
            false => Ok(vec![Out::new(
                None,
                constant_shape(value.dims.as_deref(), &target),
            )]),
        };
    };
    let before = value.dims.as_deref().ok_or(Stop::Unclear)?;
    let copies_zero = call.int("allowzero", 0) == 0;
    let target: Vec<Length> = target
        .into_iter()
        .enumerate()
        .map(|(place, length)| match length {
            Length::Known(0) if copies_zero => before.get(place).copied().unwrap_or(length),
            length => length,
        })
        .collect();
    let (axis, dims) = reshaped(before, axis, &target)?;
    Ok(vec![Out::new(Some(axis), dims).same_elements()])
}

fn constant_shape(before: Option<&[Length]>, target: &[Length]) -> Vec<Length> {
    let places = target.iter().enumerate();
    let lengths = places.map(|(place, length)| match length {
        Length::Known(0) => before
            .and_then(|b| b.get(place))
            .copied()
            .unwrap_or(Length::Free),
        Length::Known(n) if *n < 0 => match (before.map(product), known_rest(target)) {
            (Some(Length::Known(all)), Some(rest)) if rest > 0 => Length::Known(all / rest),
            (Some(Length::Settled | Length::Known(_)), Some(_)) => Length::Settled,
            _ => Length::Free,
        },
        length => *length,
    });
    lengths.collect()
}

/// The product of all but the length to be found.
fn known_rest(target: &[Length]) -> Option<i64> {
    let rest = target
        .iter()
        .filter(|n| !matches!(n, Length::Known(n) if *n < 0));
    match product(&rest.copied().collect::<Vec<_>>()) {
        Length::Known(n) => Some(n),
        _ => None,
    }
}

/// Where the rows are after a reshape, and the new shape. Elements keep their order, so rows stay apart if what is in front
/// of them stays as it is, and the new axis has a whole number of places for each.
fn reshaped(
    before: &[Length],
    axis: usize,
    target: &[Length],
) -> Result<(usize, Vec<Length>), Stop> {
    let ones = |lengths: &[Length]| {
        lengths
            .iter()
            .take_while(|n| **n == Length::Known(1))
            .count()
    };
    // Axes of length 1 in front hold nothing apart; all others must stay.
    let in_front: &[Length] = before.get(ones(before).min(axis)..axis).unwrap_or_default();
    let skipped = ones(target);
    let start = match in_front.is_empty() {
        true => skipped,
        false => skipped.min(ones(before)),
    };
    let place = start + in_front.len();
    let stays = target.get(start..place) == Some(in_front);
    let settled = in_front.iter().all(|n| matches!(n, Length::Known(_)));
    if !stays || !settled {
        return Err(Stop::Unclear);
    }
    let here = *target.get(place).ok_or(Stop::Unclear)?;
    let (inside, rest) = (&before[axis + 1..], &target[place + 1..]);
    let mut dims = target.to_vec();
    match here {
        Length::Known(-1) => dims[place] = found_length(before[axis], inside, rest)?,
        here if here.is_rows() => {}
        _ => return Err(Stop::Unclear),
    }
    for (offset, length) in rest.iter().enumerate() {
        if *length == Length::Known(-1) {
            let others: Vec<Length> = rest
                .iter()
                .copied()
                .filter(|n| *n != Length::Known(-1))
                .collect();
            dims[place + 1 + offset] = match (product(inside), product(&others)) {
                (Length::Known(all), Length::Known(others)) if others > 0 && all % others == 0 => {
                    Length::Known(all / others)
                }
                (Length::Free, _) | (_, Length::Free) => Length::Free,
                _ => Length::Settled,
            };
        } else if length.counts_rows() {
            return Err(Stop::Unclear);
        }
    }
    Ok((place, dims))
}

/// The length of the rows' axis where it is left to be found: what a row holds over what is behind the axis.
fn found_length(rows: Length, inside: &[Length], rest: &[Length]) -> Result<Length, Stop> {
    if rest.iter().any(|n| n.counts_rows()) {
        return Err(Stop::Unclear);
    }
    if inside == rest {
        return Ok(rows);
    }
    let inside_all = match rows {
        Length::RowsMultiple { free: true } => Length::Free,
        // So many places for each row, times what is in each of them.
        Length::RowsMultiple { free: false } => product(inside).times(Length::Settled),
        _ => product(inside),
    };
    match (inside_all, product(rest)) {
        (Length::Known(all), Length::Known(rest)) if rest > 0 && all % rest == 0 => {
            Ok(rows.times(Length::Known(all / rest)))
        }
        (Length::Known(_), Length::Known(_)) => Err(Stop::Mixes),
        // The size of a row never changes, and a run of one row shows that it is a multiple.
        (Length::Known(_) | Length::Settled, Length::Known(_) | Length::Settled) => {
            Ok(rows.times(Length::Settled))
        }
        // Whole axes at the end stay.
        _ if inside.ends_with(rest) && rest.iter().all(|n| matches!(n, Length::Known(_))) => {
            Ok(Length::RowsMultiple { free: true })
        }
        _ => Err(Stop::Unclear),
    }
}

fn flatten(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let rank = dims.len() as i64;
    let axis = call.int("axis", 1);
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis });
    let axis = axis
        .ok()
        .filter(|axis| *axis <= dims.len())
        .ok_or(Stop::Unclear)?;
    let (front, back) = dims.split_at(axis);
    let shape = vec![product(front), product(back)];
    let Some(rows) = rows else {
        return Ok(vec![Out::new(None, shape)]);
    };
    let leads = |dims: &[Length]| dims.iter().all(|n| *n == Length::Known(1));
    let place = match rows.checked_sub(axis) {
        None => (leads(&front[..rows]), 0),
        Some(behind) => (leads(&back[..behind]), 1),
    };
    match place {
        (true, place) => Ok(vec![Out::new(Some(place), shape).same_elements()]),
        (false, _) => Err(Stop::Unclear),
    }
}

fn transpose(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let order: Vec<usize> = match call.ints("perm") {
        Some(order) if !order.is_empty() => {
            let order = order.iter().map(|axis| axis_of(*axis, dims.len()));
            order.collect::<Result<_, _>>()?
        }
        _ => (0..dims.len()).rev().collect(),
    };
    if order.len() != dims.len() {
        return Err(Stop::Unclear);
    }
    let place = |rows: usize| order.iter().position(|axis| *axis == rows);
    let shape: Vec<Length> = order.iter().map(|axis| dims[*axis]).collect();
    Ok(vec![Out::new(rows.and_then(place), shape).same_elements()])
}

/// The axes are an attribute or, from version 13 on, the second input.
fn named_axes(call: &Call<'_>) -> Result<Option<Vec<i64>>, Stop> {
    let axes = match call.input(1) {
        Some(axes) => Some(axes.known_numbers().ok_or(Stop::Unclear)?),
        None => call.ints("axes").map(<[i64]>::to_vec),
    };
    match axes.as_ref().is_some_and(|axes| axes.len() > MAX_AXES) {
        true => Err(Stop::Unclear),
        false => Ok(axes),
    }
}

fn squeeze(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    // Without names every axis of length 1 goes, also that of a single row.
    let axes = named_axes(call)?.ok_or(Stop::Unclear)?;
    let axes = axes.into_iter().map(|axis| axis_of(axis, dims.len()));
    let axes = axes.collect::<Result<Vec<_>, _>>()?;
    if rows.is_some_and(|rows| axes.contains(&rows)) {
        return Err(Stop::Unclear);
    }
    let shift = |rows: usize| rows - axes.iter().filter(|axis| **axis < rows).count();
    let left = dims
        .iter()
        .enumerate()
        .filter(|(axis, _)| !axes.contains(axis));
    let shape: Vec<Length> = left.map(|(_, length)| *length).collect();
    Ok(vec![Out::new(rows.map(shift), shape).same_elements()])
}

fn unsqueeze(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let axes = named_axes(call)?.ok_or(Stop::Unclear)?;
    let rank = dims.len() + axes.len();
    let axes = axes.into_iter().map(|axis| axis_of(axis, rank));
    let axes = axes.collect::<Result<Vec<_>, _>>()?;
    let mut old = dims.iter().copied().enumerate();
    let mut place = None;
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        if axes.contains(&axis) {
            shape.push(Length::Known(1));
            continue;
        }
        let (from, length) = old.next().ok_or(Stop::Unclear)?;
        if Some(from) == rows {
            place = Some(axis);
        }
        shape.push(length);
    }
    Ok(vec![Out::new(place, shape).same_elements()])
}

/// A value stretched to a shape. One that has no rows gets them where the shape counts them.
fn expand(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let target = call.needed(1)?.numbers.clone().ok_or(Stop::Unclear)?;
    let rank = dims.len().max(target.len());
    let at = |lengths: &[Length], axis: usize| {
        let place = (axis + lengths.len()).checked_sub(rank);
        place.map_or(Length::Known(1), |place| lengths[place])
    };
    let mut place = rows.map(|rows| rows + rank - dims.len());
    let mut shape = Vec::with_capacity(rank);
    for axis in 0..rank {
        let (mine, wanted) = (at(dims, axis), at(&target, axis));
        if Some(axis) == place {
            if !(mine.is_rows() && (wanted == Length::Known(1) || wanted.is_rows())) {
                return Err(Stop::Unclear);
            }
            shape.push(mine);
            continue;
        }
        if wanted.counts_rows() {
            // One place for each row, all alike.
            if mine != Length::Known(1) || !wanted.is_rows() || place.is_some() {
                return Err(Stop::Unclear);
            }
            place = Some(axis);
        }
        shape.push(if wanted == Length::Known(1) {
            mine
        } else {
            wanted
        });
    }
    if value.flow == Flow::Count {
        return Err(Stop::Unclear);
    }
    Ok(vec![Out::new(place, shape)])
}

fn tile(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let repeats = call.needed(1)?.numbers.clone().ok_or(Stop::Unclear)?;
    if repeats.len() != dims.len() || value.flow == Flow::Count {
        return Err(Stop::Unclear);
    }
    let mut place = rows;
    for (axis, count) in repeats.iter().enumerate() {
        match (Some(axis) == rows, count) {
            (true, Length::Known(1)) => {}
            (true, _) => return Err(Stop::Unclear),
            (false, count)
                if count.is_rows() && place.is_none() && dims[axis] == Length::Known(1) =>
            {
                place = Some(axis);
            }
            (false, count) if count.counts_rows() => return Err(Stop::Unclear),
            _ => {}
        }
    }
    let shape: Vec<Length> = dims
        .iter()
        .zip(&repeats)
        .map(|(d, n)| d.times(*n))
        .collect();
    Ok(vec![Out::new(place, shape)])
}

fn concat(call: &Call<'_>) -> Outs {
    let (first, _) = call.first()?;
    let rank = first.rank().ok_or(Stop::Unclear)?;
    let axis = axis_of(call.int("axis", 1), rank)?;
    let mut shape = first.dims.clone().ok_or(Stop::Unclear)?;
    let rows = call
        .inputs
        .iter()
        .flatten()
        .find_map(|value| value.rows_axis());
    for value in call.inputs.iter().flatten() {
        // What has no rows has as many places as there are rows only by chance.
        let fits = value.rank() == Some(rank) && value.rows_axis() == rows;
        if !fits || value.flow == Flow::Count {
            return Err(Stop::Unclear);
        }
    }
    if rows == Some(axis) {
        return Err(Stop::Mixes);
    }
    let along = call
        .inputs
        .iter()
        .flatten()
        .filter_map(|v| v.dims.as_ref().map(|d| d[axis]));
    let sum = |a: Length, b: Length| a.with(b, i64::checked_add);
    shape[axis] = along.reduce(sum).unwrap_or(Length::Settled);
    Ok(vec![Out::new(rows, shape)])
}

fn split(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    call.fixed_from(1)?;
    let mut shape = value.dims.clone().ok_or(Stop::Unclear)?;
    let axis = axis_of(call.int("axis", 0), shape.len())?;
    if rows == Some(axis) {
        return Err(Stop::Mixes);
    }
    let sizes = call.input(1).and_then(|sizes| sizes.known_numbers());
    let sizes = sizes.or_else(|| call.ints("split").map(<[i64]>::to_vec));
    let before = shape[axis];
    let outs = (0..call.node.outputs.len()).map(|place| {
        let size = sizes.as_ref().and_then(|sizes| sizes.get(place));
        shape[axis] = size.map_or(before.changed(), |n| Length::Known(*n));
        Out::new(rows, shape.clone())
    });
    Ok(outs.collect())
}

/// Nothing may be added before or behind the rows.
fn pad(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let mut shape = value.dims.clone().ok_or(Stop::Unclear)?;
    call.fixed_from(1)?;
    let pads = match call.input(1) {
        Some(pads) => pads.known_numbers(),
        None => call.ints("pads").map(<[i64]>::to_vec),
    };
    let pads = pads
        .filter(|pads| pads.len() == 2 * shape.len())
        .ok_or(Stop::Unclear)?;
    if call.input(3).is_some() {
        return Err(Stop::Unclear);
    }
    let rank = shape.len();
    if rows.is_some_and(|rows| pads[rows] != 0 || pads[rows + rank] != 0) {
        return Err(Stop::Unclear);
    }
    for (axis, length) in shape.iter_mut().enumerate() {
        *length = length.with(
            Length::Known(pads[axis].saturating_add(pads[axis + rank])),
            i64::checked_add,
        );
        if rows == Some(axis) {
            *length = value
                .dims
                .as_ref()
                .map_or(Length::Unclear, |dims| dims[axis]);
        }
    }
    Ok(vec![Out::new(rows, shape)])
}

/// A triangle of the last two axes.
fn trilu(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    call.fixed_from(1)?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    match rows {
        Some(rows) if rows + 2 >= dims.len() => Err(Stop::Mixes),
        _ => Ok(vec![Out::new(rows, dims.clone())]),
    }
}

//! Operators on lengths, which exporters use to compute the shapes that other operators are given.

use super::{Call, Out, Outs, Stop};
use crate::model::graph::value::{Length, Value, product};

/// Longer lists are no shapes.
const MAX_NUMBERS: usize = 64;

pub(super) fn rule(call: &Call<'_>) -> Option<Outs> {
    let operator = call.operator;
    if matches!(operator, "Shape" | "Size") {
        return Some(measure(call));
    }
    if matches!(operator, "ConstantOfShape") {
        return Some(constant_of_shape(call));
    }
    // Anything other than a short list of numbers is left to the other rules.
    let all_numbers = !call.inputs.is_empty()
        && call
            .inputs
            .iter()
            .flatten()
            .all(|value| value.numbers.is_some());
    if !all_numbers {
        return None;
    }
    let (numbers, is_scalar) = computed(call)?;
    let fits = numbers.len() <= MAX_NUMBERS;
    fits.then(|| {
        let value = Value::of_numbers(numbers, is_scalar);
        Ok(vec![Out {
            numbers: value.numbers,
            ..Out::new(None, value.dims)
        }])
    })
}

fn measure(call: &Call<'_>) -> Outs {
    let (value, _) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let (numbers, is_scalar) = if call.operator == "Size" {
        (vec![product(dims)], true)
    } else {
        let rank = dims.len() as i64;
        let place = |n: i64| (if n < 0 { n + rank } else { n }).clamp(0, rank) as usize;
        let (start, end) = (place(call.int("start", 0)), place(call.int("end", rank)));
        (dims.get(start..end).unwrap_or_default().to_vec(), false)
    };
    let value = Value::of_numbers(numbers, is_scalar);
    Ok(vec![Out {
        numbers: value.numbers,
        ..Out::new(None, value.dims)
    }])
}

/// A tensor whose elements are all the same has rows wherever its shape has them.
fn constant_of_shape(call: &Call<'_>) -> Outs {
    let (shape, _) = call.first()?;
    let dims = shape.numbers.clone().ok_or(Stop::Unclear)?;
    let mut counting = dims.iter().enumerate().filter(|(_, n)| n.counts_rows());
    let rows = match (counting.next(), counting.next()) {
        (None, _) => None,
        (Some((axis, length)), None) if length.is_rows() => Some(axis),
        _ => return Err(Stop::Unclear),
    };
    let filled = call.attribute("value").and_then(|a| a.tensor.as_ref());
    let number = filled
        .and_then(|tensor| tensor.numbers())
        .and_then(|n| n.first().copied());
    let numbers = match (number, &dims[..]) {
        (Some(number), [Length::Known(count)]) if (0..=MAX_NUMBERS as i64).contains(count) => {
            Some(vec![Length::Known(number); *count as usize])
        }
        _ => None,
    };
    Ok(vec![Out {
        numbers,
        ..Out::new(rows, dims)
    }])
}

/// The numbers that come out, and whether they are a scalar; `None` if the operator does not compute with numbers.
fn computed(call: &Call<'_>) -> Option<(Vec<Length>, bool)> {
    let list = |index: usize| call.input(index)?.numbers.as_deref();
    let first = list(0)?;
    let is_scalar = call.input(0)?.is_scalar();
    Some(match call.operator {
        "Concat" => {
            let lists = call.inputs.iter().flatten();
            (
                lists.filter_map(|v| v.numbers.clone()).flatten().collect(),
                false,
            )
        }
        "Gather" => {
            let picked = call.input(1)?;
            let indices = picked.known_numbers()?.into_iter();
            let count = first.len() as i64;
            let at = |n: i64| first.get(usize::try_from(if n < 0 { n + count } else { n }).ok()?);
            let numbers: Option<Vec<Length>> = indices.map(|n| at(n).copied()).collect();
            (numbers?, picked.is_scalar())
        }
        "Unsqueeze" if is_scalar => (first.to_vec(), false),
        "Squeeze" if first.len() == 1 => (first.to_vec(), true),
        "Reshape" => match list(1)? {
            [] => (first.to_vec(), true),
            [_] => (first.to_vec(), false),
            _ => return None,
        },
        "Slice" => (slice(call, first)?, false),
        "Where" => {
            let (yes, no) = (list(1)?, list(2)?);
            let scalar = is_scalar && call.input(1)?.is_scalar() && call.input(2)?.is_scalar();
            let chosen = |condition: Length, yes: Length, no: Length| match condition {
                Length::Known(0) => no,
                Length::Known(_) => yes,
                _ if yes == no => yes,
                _ => yes.with(no, |_, _| None).with(condition, |_, _| None),
            };
            let pairs = stretched(yes, no)?;
            let both = stretched(
                first,
                &(0..pairs.len() as i64)
                    .map(Length::Known)
                    .collect::<Vec<_>>(),
            )?;
            let numbers = both.iter().enumerate().map(|(place, (condition, _))| {
                let (yes, no) = pairs[place.min(pairs.len() - 1)];
                chosen(*condition, yes, no)
            });
            (numbers.collect(), scalar)
        }
        operator => {
            let two = call.input(1)?;
            let compute = arithmetic(operator)?;
            let pairs = stretched(first, list(1)?)?;
            let numbers = pairs.into_iter().map(|(a, b)| compute(a, b)).collect();
            (numbers, is_scalar && two.is_scalar())
        }
    })
}

fn arithmetic(operator: &str) -> Option<fn(Length, Length) -> Length> {
    Some(match operator {
        "Mul" => Length::times,
        "Add" => |a, b| match (a, b) {
            (Length::Known(0), other) | (other, Length::Known(0)) => other,
            (a, b) => a.with(b, i64::checked_add),
        },
        "Sub" => |a, b| match b {
            Length::Known(0) => a,
            b => a.with(b, i64::checked_sub),
        },
        "Div" => |a, b| match b {
            Length::Known(1) => a,
            b => a.with(b, i64::checked_div),
        },
        "Max" => |a, b| a.with(b, |a, b| Some(a.max(b))),
        "Min" => |a, b| a.with(b, |a, b| Some(a.min(b))),
        // A count of rows is never negative; other numbers may be, since they may be differences.
        "Equal" => |a, b| match (a, b) {
            (Length::Known(n), other) | (other, Length::Known(n)) if n < 0 && other.is_rows() => {
                Length::Known(0)
            }
            (a, b) => a.with(b, |a, b| Some(i64::from(a == b))),
        },
        _ => return None,
    })
}

/// Pairs of two lists, of which one may have a single element for all of the other.
fn stretched(a: &[Length], b: &[Length]) -> Option<Vec<(Length, Length)>> {
    let count = match (a.len(), b.len()) {
        (a, b) if a == b => a,
        (1, b) => b,
        (a, 1) => a,
        _ => return None,
    };
    let at = |list: &[Length], place: usize| list[place.min(list.len() - 1)];
    Some(
        (0..count)
            .map(|place| (at(a, place), at(b, place)))
            .collect(),
    )
}

fn slice(call: &Call<'_>, list: &[Length]) -> Option<Vec<Length>> {
    let known = |index: usize, name: &str| match call.input(index) {
        Some(value) => value.known_numbers(),
        None => call.ints(name).map(<[i64]>::to_vec),
    };
    let (starts, ends) = (known(1, "starts")?, known(2, "ends")?);
    let steps = known(4, "steps").unwrap_or_else(|| vec![1]);
    let ([start], [end], [1]) = (&starts[..], &ends[..], &steps[..]) else {
        return None;
    };
    let count = list.len() as i64;
    let place = |n: i64| (if n < 0 { n + count } else { n }).clamp(0, count) as usize;
    Some(list.get(place(*start)..place(*end))?.to_vec())
}

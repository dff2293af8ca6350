//! ONNX's machine-learning operators: most take a matrix of rows and features, and a list of features for a single row.

use super::{Call, Out, Outs, Stop};
use crate::model::graph::value::{Flow, Length, product};

pub(super) fn rule(call: &Call<'_>) -> Option<Outs> {
    Some(match call.operator {
        "TfIdfVectorizer" => matrix(call, &[2]),
        "ai.onnx.ml.LinearClassifier"
        | "ai.onnx.ml.SVMClassifier"
        | "ai.onnx.ml.TreeEnsembleClassifier" => matrix(call, &[1, 2]),
        "ai.onnx.ml.Imputer"
        | "ai.onnx.ml.LinearRegressor"
        | "ai.onnx.ml.Normalizer"
        | "ai.onnx.ml.SVMRegressor"
        | "ai.onnx.ml.Scaler"
        | "ai.onnx.ml.TreeEnsemble"
        | "ai.onnx.ml.TreeEnsembleRegressor" => matrix(call, &[2]),
        "ai.onnx.ml.ArrayFeatureExtractor" => extract(call),
        "ai.onnx.ml.FeatureVectorizer" => vectorize(call),
        "ai.onnx.ml.OneHotEncoder" => one_hot(call),
        "ai.onnx.ml.ZipMap" => matrix(call, &[1]),
        _ => return None,
    })
}

/// Rows of features in, so many axes out of each output.
fn matrix(call: &Call<'_>, ranks: &[usize]) -> Outs {
    let (value, rows) = call.first()?;
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    let count = match (dims.len(), rows) {
        (2, Some(0)) => dims[0],
        // A list is one row: what lies along its only axis is taken together.
        (1 | 2, Some(_)) => return Err(Stop::Mixes),
        (_, Some(_)) => return Err(Stop::Unclear),
        (_, None) => return Err(Stop::Unclear),
    };
    let outs = ranks.iter().map(|rank| {
        let shape = [count, Length::Settled];
        Out::new(rows, shape[..*rank].to_vec())
    });
    Ok(outs.collect())
}

/// Picks features, the last axis.
fn extract(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let picked = call.needed(1)?;
    let mut shape = value.dims.clone().ok_or(Stop::Unclear)?;
    let last = shape.len().checked_sub(1).ok_or(Stop::Unclear)?;
    match (rows, picked.rows_axis()) {
        (Some(rows), None) if rows < last => {
            call.fixed_from(1)?;
            shape[last] = match picked.dims.as_deref() {
                Some([Length::Known(n)]) => Length::Known(*n),
                _ => Length::Settled,
            };
            Ok(vec![Out::new(Some(rows), shape)])
        }
        (Some(_), None) => Err(Stop::Mixes),
        // Entries of a list, such as labels by the number of their class.
        (None, Some(rows)) => {
            let dims = picked.dims.as_ref().ok_or(Stop::Unclear)?;
            let leads = dims[..rows].iter().all(|n| *n == Length::Known(1));
            let constant = value.flow == Flow::Constant;
            if !(leads && constant) {
                return Err(Stop::Unclear);
            }
            // A list counts as a matrix of one row.
            if shape.len() == 1 {
                shape.insert(0, Length::Known(1));
            }
            let last = shape.len() - 1;
            shape[last] = product(dims);
            Ok(vec![Out::new(Some(last), shape)])
        }
        _ => Err(Stop::Unclear),
    }
}

/// Columns side by side.
fn vectorize(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let fits = call
        .inputs
        .iter()
        .flatten()
        .all(|v| v.rank() == Some(2) && v.rows_axis() == Some(0));
    let dims = value.dims.as_ref().ok_or(Stop::Unclear)?;
    match fits {
        true => Ok(vec![Out::new(rows, vec![dims[0], Length::Settled])]),
        false => Err(Stop::Unclear),
    }
}

/// A new last axis.
fn one_hot(call: &Call<'_>) -> Outs {
    let (value, rows) = call.first()?;
    let mut shape = value.dims.clone().ok_or(Stop::Unclear)?;
    shape.push(Length::Settled);
    Ok(vec![Out::new(rows, shape)])
}

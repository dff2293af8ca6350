//! The method that a request names: `predict`, or `predict_proba` for the probabilities instead of the classes.
//!
//! Azure ML's automated models take it as `GlobalParameters.method` or, in their older scripts, as the member `method`;
//! MLflow's models as `params.method` or `params.predict_method`.

use std::borrow::Cow;

use score::{Activation, ModelMetadata, OutputForm, ScoreError};
use serde::Deserialize;

use super::Members;
use crate::context::shown;

/// The declared output that the method selects; `None` for the model's usual outputs.
///
/// # Errors
/// [`ScoreError::InvalidInput`] for a method that is not served, and if the model has no probabilities.
pub(super) fn output(
    members: &Members<'_>,
    metadata: &ModelMetadata,
) -> Result<Option<usize>, ScoreError> {
    let Some((target, method)) = named(members) else {
        return Ok(None);
    };
    match &*method {
        "predict" => Ok(None),
        "predict_proba" => match probabilities(metadata) {
            Some(output) => Ok(Some(output)),
            None => Err(ScoreError::invalid(
                target,
                without_probabilities(target, metadata),
            )),
        },
        other => {
            let other = shown(other);
            let message = format!(
                "{target}: method {other} is not served; expected predict or predict_proba"
            );
            Err(ScoreError::invalid(target, message))
        }
    }
}

#[derive(Deserialize)]
struct Parameters<'a> {
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    predict_method: Option<Cow<'a, str>>,
}

/// The method, and the member that names it. Parameters in any other form are for other servers and are ignored.
fn named<'a>(members: &Members<'a>) -> Option<(&'static str, Cow<'a, str>)> {
    if let Some(value) = members.get("method") {
        let method = serde_json::from_str(value.get()).ok()?;
        return Some(("method", method));
    }
    for member in ["GlobalParameters", "params"] {
        let value = members.get(member);
        let read = |text| serde_json::from_str::<Parameters<'_>>(text).ok();
        let parameters = value.and_then(|value| read(value.get()));
        let method = parameters.and_then(|found| found.method.or(found.predict_method));
        if let Some(method) = method {
            return Some((member, method));
        }
    }
    None
}

/// The only output of numbers whose name mentions probabilities, or else the only one of which `model.toml` makes some, or else
/// the only output with a map for each row.
fn probabilities(metadata: &ModelMetadata) -> Option<usize> {
    let signature = &metadata.signature;
    let only = |fits: &dyn Fn(&str, OutputForm) -> bool| {
        let declared = signature.declared.iter().enumerate();
        let mut fitting = declared.filter(|(_, output)| fits(&output.name, output.form));
        let (index, _) = fitting.next()?;
        fitting.next().is_none().then_some(index)
    };
    let is_numbers = |form| match form {
        OutputForm::Tensor(index) => signature
            .outputs
            .get(index)
            .is_some_and(|spec| spec.element_type.is_float()),
        OutputForm::Maps { .. } => true,
        OutputForm::Sequence { .. } => false,
    };
    let speaks = |name: &str| name.to_ascii_lowercase().contains("prob");
    let becomes = |name: &str| {
        let options = metadata.options.output.get(name);
        let activation = options.and_then(|options| options.activation);
        matches!(activation, Some(Activation::Softmax | Activation::Sigmoid))
    };
    only(&|name, form| is_numbers(form) && speaks(name))
        .or_else(|| only(&|name, form| is_numbers(form) && becomes(name)))
        .or_else(|| only(&|_, form| matches!(form, OutputForm::Maps { .. })))
}

fn without_probabilities(target: &str, metadata: &ModelMetadata) -> String {
    let declared = metadata.signature.declared.iter();
    let names: Vec<String> = declared.map(|output| shown(&output.name)).collect();
    format!(
        "{target}: predict_proba needs an output of probabilities, and none of the model's outputs ({}) can be told to be \
         it; leave the method out, name the output \"probabilities\", or give it an activation in model.toml",
        names.join(", ")
    )
}

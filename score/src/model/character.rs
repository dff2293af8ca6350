//! What is known of a model beyond its signature: whether its rows are independent, and whether it always says the same.

use super::Model;
use super::graph::{Proof, Reading};
use super::made_up::Kind;
use super::probe::{CLOSE, Company, Probe, ROUGHLY, Tried};
use crate::signature::{ModelSignature, Rows};
use crate::tensor::Tensor;

/// What is known of a model beyond its signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Character {
    /// How rows are treated.
    pub rows: Rows,
    /// How that is known.
    pub evidence: Evidence,
    /// Why, in a sentence.
    pub rows_reason: String,
    /// The operator that decided, with the name of its node: `DynamicQuantizeLinear "quantize_3"`.
    pub operator: Option<String>,
    /// What speaks against that treatment, where `model.toml` overrules a proof.
    pub warning: Option<String>,
    /// Whether the same input gave the same output, bit for bit; `None` if that could not be found out. Results are
    /// remembered on their own account only if it is `Some(true)`: a model may roll dice.
    pub deterministic: Option<bool>,
}

/// How it is known how rows are to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// The operators of the graph, or the declared shapes, leave no choice.
    Proved,
    /// Made-up rows were run.
    Probed,
    /// `model.toml` says so.
    Declared,
    /// The code that runs the model takes care of it.
    Ensured,
}

impl Evidence {
    /// As metadata and `handler check` show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Proved => "proved from the graph",
            Self::Probed => "probed",
            Self::Declared => "model.toml",
            Self::Ensured => "ensured by how texts are run",
        }
    }
}

impl Character {
    fn new(rows: Rows, evidence: Evidence, rows_reason: impl Into<String>) -> Self {
        Self {
            rows,
            evidence,
            rows_reason: rows_reason.into(),
            operator: None,
            warning: None,
            deterministic: None,
        }
    }

    /// The character of a model whose `model.toml` says how to treat rows.
    pub(crate) fn declared(self, rows: Rows, proof: &Proof) -> Self {
        let against = match (rows, proof) {
            (Rows::Independent, Proof::Mixed(by) | Proof::Scaled(by)) => Some(by),
            (Rows::Independent, Proof::Unclear(_, scale)) => scale.as_ref(),
            _ => None,
        };
        let warning = against.map(|by| {
            format!(
                "model.toml says rows = \"independent\", but {by} lets the rows of a request change each other's results; \
                 take the line out, or say {:?}",
                self.rows.as_str()
            )
        });
        Self {
            warning,
            operator: against.map(ToString::to_string),
            deterministic: self.deterministic,
            ..Self::new(rows, Evidence::Declared, "model.toml says so")
        }
    }
}

/// Finds out how rows are to be treated: from the graph where that is a proof, else by trying made-up rows. The model is
/// run in any case, to see whether it always says the same. `samples` are rows that it takes, if there are any: one tensor
/// for each input.
pub(crate) fn examine(
    model: &mut dyn Model,
    signature: &ModelSignature,
    one_row_only: bool,
    reading: &Reading,
    samples: &[Tensor],
) -> Character {
    let mut probe = Probe::new(model, signature, reading, samples);
    let mut character = if one_row_only {
        alone(&mut probe, "axis 0 is 1 in every input and output", None)
    } else if !signature.has_dynamic_rows() {
        let mut specs = signature.inputs.iter().chain(&signature.outputs);
        let reason = match specs.any(|spec| spec.shape.is_none()) {
            true => "not every input and output has a declared shape",
            false => "axis 0 is not free in every input and output",
        };
        Character {
            deterministic: probe.rows_together(),
            ..Character::new(Rows::Together, Evidence::Proved, reason)
        }
    } else {
        by_graph(&mut probe, &reading.proof)
    };
    if let Some(by) = &reading.random {
        character.deterministic = Some(false);
        character.operator.get_or_insert_with(|| by.to_string());
    }
    character
}

/// How many values a row of each output has, as a trial run gives it; `None` if the model does not run on what is made up.
pub(crate) fn widths(
    model: &mut dyn Model,
    signature: &ModelSignature,
    reading: &Reading,
    samples: &[Tensor],
) -> Option<Vec<usize>> {
    let outputs = Probe::new(model, signature, reading, samples).outputs()?;
    let width = |output: &Tensor| output.row_shape().iter().product();
    Some(outputs.iter().map(width).collect())
}

fn by_graph(probe: &mut Probe<'_>, proof: &Proof) -> Character {
    match proof {
        Proof::Apart => apart(probe.company(&Kind::ALL[..1], ROUGHLY)),
        Proof::Scaled(by) => {
            let reason = format!(
                "{by} quantizes the rows of a run by one scale, and every other operator keeps rows apart"
            );
            alone(probe, &reason, Some(by.to_string()))
        }
        Proof::Mixed(by) => Character {
            operator: Some(by.to_string()),
            deterministic: probe.rows_together(),
            ..Character::new(
                Rows::Together,
                Evidence::Proved,
                format!("{by} brings rows together"),
            )
        },
        Proof::Unclear(by, Some(scale)) => {
            let hidden = by.as_ref().map_or_else(
                || "not every output has the rows on its first axis".to_owned(),
                |by| format!("what {by} does with rows is not known"),
            );
            Character {
                operator: Some(scale.to_string()),
                deterministic: probe.rows_together(),
                ..Character::new(
                    Rows::Together,
                    Evidence::Proved,
                    format!("{scale} quantizes the rows of a run by one scale, and {hidden}"),
                )
            }
        }
        Proof::Unclear(by, None) => Character {
            operator: by.as_ref().map(ToString::to_string),
            ..by_trial(probe.company(&Kind::ALL, CLOSE))
        },
    }
}

/// Every operator keeps rows apart. A run shows whether the model is deterministic, and it has the last word.
fn apart(tried: Tried) -> Character {
    let proved = match tried.same_in_company {
        Ok(()) | Err(Company::AllEqual) => Character::new(
            Rows::Independent,
            Evidence::Proved,
            "every operator keeps rows apart",
        ),
        // A proof may rest on a run of one row: lengths that are left to the runtime.
        Err(Company::Matters(reason) | Company::NotSeen(reason)) => {
            Character::new(Rows::Together, Evidence::Probed, reason)
        }
    };
    Character {
        deterministic: tried.deterministic,
        ..proved
    }
}

fn alone(probe: &mut Probe<'_>, reason: &str, operator: Option<String>) -> Character {
    let found = match probe.rows_alone() {
        Ok(true) => Character {
            deterministic: Some(true),
            ..Character::new(Rows::Alone, Evidence::Proved, reason)
        },
        Ok(false) => Character {
            deterministic: Some(false),
            ..Character::new(
                Rows::Together,
                Evidence::Probed,
                "the same row gave different results",
            )
        },
        Err(refusal) => Character::new(Rows::Together, Evidence::Probed, refusal),
    };
    Character { operator, ..found }
}

fn by_trial(tried: Tried) -> Character {
    let (rows, reason) = match tried.same_in_company {
        Ok(()) => (
            Rows::Independent,
            "made-up rows gave the same results together, alone and in another order".to_owned(),
        ),
        Err(Company::Matters(reason) | Company::NotSeen(reason)) => (Rows::Together, reason),
        Err(Company::AllEqual) => {
            let reason = "all made-up rows gave the same result";
            (Rows::Together, reason.to_owned())
        }
    };
    Character {
        deterministic: tried.deterministic,
        ..Character::new(rows, Evidence::Probed, reason)
    }
}

#[cfg(test)]
mod tests;

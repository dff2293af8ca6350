//! What is told about models.

use score::Scorer;
use serde_json::Value;
use wire::text_api::{ALL_TASKS, About, Operation, Served};

use crate::http::route::TextTarget;
use crate::models::Models;
use crate::problem::Problem;

/// What a route tells about models.
///
/// # Errors
/// If there is no such model, or models are still being loaded.
pub(in crate::http) fn tell(models: &Models, target: &TextTarget) -> Result<Value, Problem> {
    let Operation::Tell(tell) = &target.route.operation else {
        return Err(Problem::internal());
    };
    let name = target.model.as_deref();
    let scorers: Vec<&Scorer> = match tell.about {
        About::All => models.loaded().map(|(_, scorer)| scorer).collect(),
        About::Any => vec![models.get(name)?],
        About::Texts => vec![models.for_tasks(name, ALL_TASKS)?],
    };
    let served: Vec<Served<'_>> = scorers
        .into_iter()
        .map(|scorer| Served {
            metadata: scorer.metadata(),
            since: models.since(),
        })
        .collect();
    Ok(tell.write(&served))
}

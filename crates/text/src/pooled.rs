//! Whether an ONNX file that pools itself agrees with what its folder says of pooling.

use score::{LoadError, ModelFolder, RunError, Task, Tokenized};

use crate::config::wrong;
use crate::dense::Dense;
use crate::model::{Session, Values};

/// So far vectors point in the same direction that are pooled once in the file and once here, be it in bfloat16.
const ALIKE: f64 = 0.999;

/// Compares the pooling's config and the `dense` modules with the vectors of `width` numbers that the ONNX file gives.
///
/// # Errors
/// If they contradict each other, so that one of the two is of another model.
pub(crate) fn check(
    session: &mut Session,
    folder: &ModelFolder,
    dense: &[Dense],
    width: usize,
) -> Result<(), LoadError> {
    let shared = session.shared.clone();
    let (settings, graph) = (&shared.settings, &shared.graph);
    let stored = &settings.stored;
    let file = folder.folder.join("1_Pooling/config.json");
    if !graph.is_pooled || stored.task() != Task::Embedding {
        return Ok(());
    }
    let mut prompts = settings.prompts.values().chain([&stored.prompt]);
    if !stored.include_prompt && prompts.any(|prompt| !prompt.is_empty()) {
        let reason = "include_prompt: expected true, since the ONNX file pools the tokens of the prompt, too; export the model with \
                      the vectors of its tokens alone, or take its prompts away";
        return Err(wrong(&file, reason.to_owned()));
    }
    let Some(pooling) = &stored.pooling else {
        return Ok(());
    };
    let pooled = settings.width.map(|width| width * pooling.count());
    let promised = dense.last().map(Dense::outputs).or(pooled);
    if let Some(promised) = promised.filter(|promised| *promised != width) {
        let reason = format!(
            "the modules give vectors of {promised} numbers, and the ONNX file gives {width}: they do not belong together; export the \
             model once more, or correct the config of the pooling and modules.json"
        );
        return Err(wrong(&file, reason));
    }
    match directions(session, dense) {
        Ok(Some(cosine)) if cosine < ALIKE => {
            let reason = format!(
                "the pooling {pooling} of the ONNX file's vectors of tokens gives other vectors than its own pooling (their cosine is \
                 {cosine:.4}): they do not belong together; export the model once more, or set pooling in [text] of model.toml"
            );
            Err(wrong(&file, reason))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(wrong(&folder.file, error.to_string())),
    }
}

/// The cosine of the angle between the vector that the ONNX file gives and the one that its vectors of tokens give by the
/// folder's modules; `None` if it has no vectors of tokens that they fit.
fn directions(session: &mut Session, dense: &[Dense]) -> Result<Option<f64>, RunError> {
    let shared = session.shared.clone();
    let stored = &shared.settings.stored;
    let (Some(output), Some(pooling)) = (shared.graph.token_output, &stored.pooling) else {
        return Ok(None);
    };
    // Different tokens, since all ways of pooling give the same vector for a single one. The id 0 may be that of the filler,
    // which some files leave out by themselves.
    let highest = shared.highest_id;
    let mut lowest: Option<f64> = None;
    for ids in [[highest, 1, highest / 2], [highest / 2, highest, 1]] {
        let ids = ids.map(|id| id.clamp(highest.min(1), highest));
        let ids: Vec<u32> = ids.into_iter().take(stored.max_tokens).collect();
        let text = Tokenized {
            types: vec![0; ids.len()],
            cut: false,
            skipped: 0,
            spans: Vec::new(),
            ids,
        };
        let (outputs, slots) = session.outputs(&[&text])?;
        let values = |output: usize, is_pooled| {
            Values::of(outputs.get(output).cloned(), is_pooled, (1, slots))
        };
        let own = values(shared.graph.output, true)?.values;
        let tokens = values(output, false)?;
        let used = text.ids.len() * tokens.width;
        let mut vector = pooling.pool(&tokens.values[..used], tokens.width, 0);
        for layer in dense {
            if layer.inputs() != vector.len() {
                return Ok(None);
            }
            vector = layer.apply(&vector);
        }
        let cosine = cosine(&own, &vector);
        lowest = cosine.map(|cosine| lowest.map_or(cosine, |lowest| lowest.min(cosine)));
    }
    Ok(lowest)
}

/// The cosine of the angle between two vectors; `None` if they differ in length or have no direction.
fn cosine(one: &[f32], other: &[f32]) -> Option<f64> {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    let lengths = (dot(one, one) * dot(other, other)).sqrt();
    (one.len() == other.len() && lengths > 0.0).then(|| dot(one, other) / lengths)
}

//! The answer of `handler check`, for people and for programs.

use std::fmt::Write;

use score::{Character, ElementType, Evidence, ModelMetadata, Task, TextMetadata};
use serde_json::{Map, Value, json};
use wire::{picture_in_words, tensor_document};

use super::{CheckedModel, Loaded, Sampled};
use crate::http::{rows_document, text_document};

/// Longer requests and results are cut on the screen, not in JSON.
const MAX_SHOWN: usize = 120;

/// A paragraph per model.
pub(super) fn text(models: &[CheckedModel]) -> String {
    let mut text = String::new();
    for CheckedModel { name, loaded } in models {
        // Writing to a string cannot fail.
        let _ = match loaded {
            Err(reason) => writeln!(text, "{name}: PROBLEM: {reason}"),
            Ok(loaded) => describe(&mut text, loaded),
        };
    }
    text
}

fn describe(text: &mut String, loaded: &Loaded) -> std::fmt::Result {
    let metadata = &loaded.metadata;
    let (signature, character) = (&metadata.signature, &metadata.character);
    writeln!(
        text,
        "{} (version {}): loaded in {} ms",
        metadata.name,
        metadata.version,
        metadata.load_time.as_millis()
    )?;
    let outputs = signature.outputs.iter();
    let outputs: Vec<String> = outputs
        .map(|spec| format!("{:?} {spec}", spec.name))
        .collect();
    let deterministic = match character.deterministic {
        Some(true) => "yes",
        Some(false) => "no",
        None => "not known",
    };
    let rows = rows_in_words(character);
    let memoized = if metadata.memoize { "yes" } else { "no" };
    let pictures = picture_in_words(metadata).unwrap_or_default();
    let unused = metadata.hints.unused_samples.as_ref();
    let unused = unused.map_or_else(String::new, |reason| {
        format!("WARNING: it has no effect: {reason}")
    });
    let texts = metadata.text.as_ref().map(texts_in_words);
    let (request, result) = match &loaded.sample {
        None => ("none: a row is too wide".to_owned(), "none".to_owned()),
        Some((request, sampled)) => (request.to_string(), in_words(sampled)),
    };
    for (title, value) in [
        ("inputs", signature.describe_inputs()),
        ("outputs", outputs.join(", ")),
        ("rows", rows),
        ("deterministic", deterministic.to_owned()),
        ("memoize", memoized.to_owned()),
        ("options", metadata.options.origin.clone()),
        ("pictures", pictures),
        ("texts", texts.unwrap_or_default()),
        ("samples.json", unused),
        ("sample", shortened(&request)),
        ("result", shortened(&result)),
    ] {
        if !value.is_empty() {
            writeln!(text, "  {title:14} {value}")?;
        }
    }
    Ok(())
}

fn texts_in_words(text: &TextMetadata) -> String {
    let mut words = format!(
        "{}: {} tokens at most ({}), cut: {}",
        text.task.as_str(),
        text.max_tokens,
        text.tokenizer,
        text.truncate.as_str()
    );
    words.push_str(&task_in_words(text));
    if text.stored_as != ElementType::Float32 {
        words.push_str(&format!(", stored as {}", text.stored_as.as_str()));
    }
    if !text.prompt.is_empty() {
        words.push_str(&format!("; prompt {:?}", shortened(&text.prompt)));
    }
    words
}

/// What a text model answers.
fn task_in_words(text: &TextMetadata) -> String {
    let labels = || {
        let shown: Vec<&str> = text.labels.iter().take(9).map(String::as_str).collect();
        let more = if text.labels.len() > shown.len() {
            ", ..."
        } else {
            ""
        };
        format!("; {} labels: {}{more}", text.labels.len(), shown.join(", "))
    };
    let of = if text.pairs { "pairs" } else { "texts" };
    match text.task {
        Task::Embedding => {
            let mut words = format!("; pooling {}; {} dimensions", text.pooling, text.dimensions);
            if text.dimensions < text.max_dimensions {
                words.push_str(&format!(" of {}", text.max_dimensions));
            }
            if text.normalize {
                words.push_str(", normalized");
            }
            words
        }
        Task::Rerank => format!("; scores of pairs, activation {}", text.activation.as_str()),
        Task::Classify => {
            let activation = text.activation.as_str();
            format!("; scores of {of}, activation {activation}{}", labels())
        }
        Task::Tag => format!("; tags of tokens{}", labels()),
        Task::Sparse => "; sparse vectors".to_owned(),
    }
}

fn rows_in_words(character: &Character) -> String {
    let (rows, evidence) = (character.rows.as_str(), character.evidence.as_str());
    let said = match character.evidence {
        Evidence::Declared => format!("{rows} ({evidence})"),
        Evidence::Proved | Evidence::Probed | Evidence::Ensured => {
            format!("{rows} ({evidence}): {}", character.rows_reason)
        }
    };
    match &character.warning {
        None => said,
        Some(warning) => format!("{said}\n                 WARNING: {warning}"),
    }
}

fn in_words(sampled: &Sampled) -> String {
    match sampled {
        Sampled::Answer(answer) => answer.clone(),
        Sampled::Refused(reason) => format!("none: {reason}"),
        Sampled::Failed(reason) => format!("PROBLEM: {reason}"),
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}... ({} bytes)", &text[..end], text.len()),
    }
}

/// One JSON object.
pub(super) fn json(build: &str, models: &[CheckedModel], problems: &[String]) -> String {
    let models: Vec<Value> = models
        .iter()
        .map(|model| match &model.loaded {
            Err(reason) => json!({ "name": model.name, "problem": reason }),
            Ok(loaded) => document(loaded),
        })
        .collect();
    let document = json!({ "runtime": build, "models": models, "problems": problems });
    format!("{document:#}\n")
}

fn document(Loaded { metadata, sample }: &Loaded) -> Value {
    let ModelMetadata {
        signature,
        character,
        ..
    } = metadata;
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_owned(), value);
    let specs = |specs: &[score::TensorSpec]| specs.iter().map(tensor_document).collect::<Value>();
    put("name", json!(metadata.name));
    put("version", json!(metadata.version));
    put("digest", json!(metadata.digest.to_hex()));
    put("inputs", specs(&signature.inputs));
    put("optional_inputs", specs(&signature.optional));
    put("outputs", specs(&signature.outputs));
    put("rows", rows_document(character));
    put("deterministic", json!(character.deterministic));
    put("memoized", json!(metadata.memoize));
    put("options", json!(metadata.options.origin));
    if let Some(pictures) = picture_in_words(metadata) {
        put("pictures", json!(pictures));
    }
    if let Some(reason) = &metadata.hints.unused_samples {
        put("samples_unused", json!(reason));
    }
    if let Some(text) = &metadata.text {
        put("text", text_document(text));
    }
    put("load_ms", json!(metadata.load_time.as_secs_f64() * 1e3));
    if let Some((request, sampled)) = sample {
        put("sample_request", request.clone());
        let (name, value) = match sampled {
            // An answer is JSON for every model.
            Sampled::Answer(answer) => (
                "sample_result",
                serde_json::from_str(answer).unwrap_or(Value::Null),
            ),
            Sampled::Refused(reason) => ("sample_refused", json!(reason)),
            Sampled::Failed(reason) => ("problem", json!(reason)),
        };
        put(name, value);
    }
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use super::*;
    use score::{ElementType, ModelSignature};
    use wire::samples;

    fn checked(sample: Option<(Value, Sampled)>) -> CheckedModel {
        let x = samples::spec("x", ElementType::Float32, &[-1, 2]);
        let y = samples::spec("y", ElementType::Float32, &[-1]);
        let mut metadata = samples::metadata(ModelSignature::of_tensors(vec![x], vec![y]));
        metadata.options.origin = "model.toml".into();
        CheckedModel {
            name: "m".into(),
            loaded: Ok(Loaded { metadata, sample }),
        }
    }

    #[test]
    fn a_model_is_described_in_words() {
        let sample = Sampled::Answer("[1.0]".into());
        let model = checked(Some((json!({ "data": [[0, 0]] }), sample)));
        assert_eq!(model.problem(), None);
        let expected = "m (version 1): loaded in 0 ms\n  \
                        inputs         \"x\" float32 [?,2]\n  \
                        outputs        \"y\" float32 [?]\n  \
                        rows           independent (model.toml)\n  \
                        deterministic  yes\n  \
                        memoize        yes\n  \
                        options        model.toml\n  \
                        sample         {\"data\":[[0,0]]}\n  \
                        result         [1.0]\n";
        assert_eq!(text(&[model]), expected);
    }

    #[test]
    fn made_up_values_may_be_refused_but_nothing_may_fail() {
        let sampled = |sampled| checked(Some((json!({}), sampled)));
        let refused = sampled(Sampled::Refused("no".into()));
        let failed = sampled(Sampled::Failed("a bug".into()));
        assert_eq!(refused.problem(), None);
        assert_eq!(failed.problem().unwrap(), "model \"m\": a bug");
        let text = text(&[refused, failed, checked(None)]);
        assert!(text.contains("result         none: no\n"));
        assert!(text.contains("result         PROBLEM: a bug\n"));
        assert!(text.contains("sample         none: a row is too wide\n"));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "ä".repeat(MAX_SHOWN + 1);
        let cut = shortened(&text);
        assert!(cut.ends_with("... (242 bytes)"), "{cut}");
        assert_eq!(shortened("short"), "short");
    }
}

//! Reading `model.toml`: which keys there are, and what is said of a mistake.

use std::io;
use std::path::PathBuf;

use super::folder::{ModelOptions, refuse_senseless};
use super::options::INPUT_KEYS;
use super::output_options::OUTPUT_KEYS;
use super::small_file::read_small_file;
use crate::error::LoadError;

/// Longer ones are something else under that name.
const MAX_OPTIONS_BYTES: u64 = 1 << 20;

/// Reads the file.
///
/// # Errors
/// [`LoadError::Options`] names the line or the key.
pub(super) fn read_options(file: PathBuf) -> Result<ModelOptions, LoadError> {
    let failed = |reason: String| LoadError::Options {
        path: file.display().to_string(),
        reason,
    };
    let text = read_small_file(&file, MAX_OPTIONS_BYTES).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => failed("expected a text file of at most 1 MiB".to_owned()),
        _ => failed(error.to_string()),
    })?;
    let text = String::from_utf8(text);
    let text =
        text.map_err(|_| failed("expected UTF-8 text; save it in that encoding".to_owned()))?;
    let table = toml::from_str(&text);
    let table: toml::Table = table.map_err(|error| failed(one_line(&text, &error)))?;
    refuse_unknown_keys(&table).map_err(&failed)?;
    let options = toml::from_str(&text);
    let mut options: ModelOptions = options.map_err(|error| failed(one_line(&text, &error)))?;
    refuse_senseless(&options).map_err(&failed)?;
    options.file = Some(file);
    Ok(options)
}

const KEYS: [&str; 12] = [
    "outputs",
    "versions",
    "rows",
    "memoize",
    "labels",
    "max_rows",
    "ttl",
    "inputs",
    "output",
    "features",
    "custom_ops",
    "text",
];
const FEATURE_KEYS: [&str; 2] = ["prefix", "format"];

pub(super) fn refuse_unknown_keys(table: &toml::Table) -> Result<(), String> {
    refuse_unknown(table, &KEYS, "")?;
    if let Some(features) = table.get("features").and_then(toml::Value::as_table) {
        refuse_unknown(features, &FEATURE_KEYS, "features: ")?;
    }
    if let Some(options) = table.get("outputs").and_then(toml::Value::as_table) {
        let name = options.keys().next().map_or("<name>", String::as_str);
        return Err(format!(
            "outputs: expected a list of names, such as [\"label\"]; the options of one output are in [output.{name}]"
        ));
    }
    if table.get("output").is_some_and(|output| !output.is_table()) {
        return Err("output: expected tables such as [output.probabilities]; to choose outputs, say \"outputs\"".to_owned());
    }
    for (key, known) in [("inputs", &INPUT_KEYS[..]), ("output", &OUTPUT_KEYS)] {
        let named = table.get(key).and_then(toml::Value::as_table);
        for (name, options) in named.into_iter().flatten() {
            let place = format!("{key}.{name}: ");
            let none = toml::Table::new();
            refuse_unknown(options.as_table().unwrap_or(&none), known, &place)?;
        }
    }
    Ok(())
}

/// Refuses a table of `model.toml` with a key that is not known; `place` is what the error begins with.
///
/// # Errors
/// The text names the key and the nearest one that is known.
pub fn refuse_unknown(table: &toml::Table, known: &[&str], place: &str) -> Result<(), String> {
    let Some(key) = table.keys().find(|key| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let likeness = |known: &&&str| (strsim::jaro_winkler(known, key) * 1000.0) as u32;
    let nearest = known
        .iter()
        .max_by_key(likeness)
        .copied()
        .unwrap_or_default();
    Err(format!(
        "{place}unknown key {key:?}; did you mean {nearest:?}?"
    ))
}

/// The library's own text draws the place over several lines; a log has one line per event.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let line = text[..start.min(text.len())].matches('\n').count() + 1;
    format!("line {line}: {}", error.message())
}

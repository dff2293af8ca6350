//! The function folders of the app: `<name>/function.json`.
//!
//! Source: "Azure Functions custom handlers" and the function.json schema; the host names functions after their folders.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

/// A function the host may call by `POST /<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// The folder's name, in its own spelling.
    pub(crate) name: String,
    /// What sets it off.
    pub(crate) trigger: Trigger,
}

/// What sets a function off, with the names of the bindings that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// An HTTP request, answered through the output binding.
    Http {
        /// The member of `Data` that holds the request.
        request: String,
        /// The member of `Outputs` that holds the answer; `$return` stands for `ReturnValue`.
        response: String,
    },
}

#[derive(Deserialize)]
struct FunctionJson {
    bindings: Vec<Binding>,
}

#[derive(Deserialize)]
struct Binding {
    #[serde(rename = "type")]
    kind: String,
    direction: Option<String>,
    name: String,
}

/// Reads all function folders below the app root.
///
/// # Errors
/// If a function.json is malformed, or its trigger is of a type that is not served, by name.
pub(crate) fn read_functions(app_root: &Path) -> anyhow::Result<Vec<Function>> {
    let entries = fs::read_dir(app_root)
        .with_context(|| format!("the app root {} cannot be read", app_root.display()))?;
    let mut functions = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        let file = folder.join("function.json");
        if !file.is_file() {
            continue;
        }
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        functions.push(parse(&name, &text).with_context(|| file.display().to_string())?);
    }
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(functions)
}

fn parse(name: &str, text: &str) -> anyhow::Result<Function> {
    // Editors on Windows may put a byte-order mark first.
    let text = text.trim_start_matches('\u{feff}');
    let FunctionJson { bindings } = serde_json::from_str(text)?;
    let mut triggers = bindings
        .iter()
        .filter(|binding| binding.kind.to_ascii_lowercase().ends_with("trigger"));
    let (Some(trigger), None) = (triggers.next(), triggers.next()) else {
        bail!("a function needs exactly one trigger binding");
    };
    if !trigger.kind.eq_ignore_ascii_case("httpTrigger") {
        bail!(
            "trigger type {:?} is not served; httpTrigger is",
            trigger.kind
        );
    }
    let response = bindings.iter().find(|binding| {
        binding.kind.eq_ignore_ascii_case("http") && binding.direction.as_deref() == Some("out")
    });
    let Some(response) = response else {
        bail!("an httpTrigger needs an output binding of type http");
    };
    Ok(Function {
        name: name.to_owned(),
        trigger: Trigger::Http {
            request: trigger.name.clone(),
            response: response.name.clone(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_binding_names() {
        let text = r#"{"bindings":[
            {"type":"httpTrigger","direction":"in","name":"call","route":"score/{*path}"},
            {"type":"http","direction":"out","name":"$return"}]}"#;
        let function = parse("score-http", text).unwrap();
        let Trigger::Http { request, response } = function.trigger;
        assert_eq!((request.as_str(), response.as_str()), ("call", "$return"));
    }

    #[test]
    fn refuses_what_it_does_not_serve_by_name() {
        let refused = |text: &str| parse("f", text).unwrap_err().to_string();
        let timer = r#"{"bindings":[{"type":"timerTrigger","direction":"in","name":"t"}]}"#;
        assert!(refused(timer).contains("timerTrigger"));
        let mute = r#"{"bindings":[{"type":"httpTrigger","direction":"in","name":"r"}]}"#;
        assert!(refused(mute).contains("output binding"));
        assert!(refused(r#"{"bindings":[]}"#).contains("exactly one trigger"));
    }
}

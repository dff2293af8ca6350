//! What ONNX Runtime says of a model that it does not load, in words for those who have the model.

use std::path::Path;

use super::onnx::SettingNames;
use super::onnx_file::OnnxFile;

/// Domains whose operators ONNX Runtime itself has.
const OWN_DOMAINS: [&str; 5] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "com.microsoft",
    "ai.onnx.training",
];

/// Its text as a reason, with what to change where that is known.
pub(super) fn explain(text: &str, file: &Path, names: SettingNames) -> String {
    let text = text.lines().next().unwrap_or_default().trim();
    let known = ir_version(text, file, names)
        .or_else(|| opset(text, file, names))
        .or_else(|| custom_operator(text, names))
        .or_else(|| unknown_operator(text, file, names));
    if let Some(reason) = known {
        return reason;
    }
    if let Some((head, reason)) = text.split_once(" with error: ")
        && (head.contains("Failed to load library") || head.contains("Failed to get symbol"))
    {
        let reason = reason.split_once(": ").map_or(reason, |(_, reason)| reason);
        return format!(
            "the library that custom_ops names cannot be used: {reason}; expected one that exports RegisterCustomOps and \
             needs no program around it (those of Python packages need Python)"
        );
    }
    if text.contains("xternal data path") && text.contains("escapes") {
        // Without the runtime's own words: callers get to read this, and need not know where links lead.
        return "its external data is a link out of the model's folder, which ONNX Runtime does not follow from there; put \
                the file itself beside the model"
            .to_owned();
    }
    let reason = message(text);
    let remedy = if text.contains("locale") {
        // Text models ask the C library for a locale that slim systems lack; the runtime only says that it cannot have it.
        "install it, on Debian: apt-get install locales, then localedef -i en_US -f UTF-8 en_US.UTF-8"
    } else if text.contains("Could not find an implementation") {
        "models run on the CPU here, which has no such operator for these element types; convert them, for example from \
         float16 to float32"
    } else {
        return reason.to_owned();
    };
    format!("{reason}; {remedy}")
}

/// The message without the file, the place in the runtime's sources and the function's declaration before it.
pub(super) fn message(text: &str) -> &str {
    let text = match text.split_once("Status Message: ") {
        Some((_, message)) => message,
        None => text,
    };
    let text = match text.split_once(" failed:") {
        Some((head, rest)) if head.starts_with("Load model from ") => rest,
        _ => text,
    };
    match text.rsplit_once(") ") {
        Some((head, message)) if head.contains(".cc:") || head.contains(".h:") => message.trim(),
        _ => text.trim(),
    }
}

fn ir_version(text: &str, file: &Path, names: SettingNames) -> Option<String> {
    let (_, rest) = text.split_once("Unsupported model IR version: ")?;
    let (found, most) = rest.split_once(", max supported IR version: ")?;
    let opsets = opsets_of(file).map_or(String::new(), |opsets| format!(" (with {opsets})"));
    Some(format!(
        "the file is of ONNX IR version {found}{opsets}, and this ONNX Runtime takes versions up to {most}: save it again with an \
         older one (in Python: model.ir_version = {most} before onnx.save), or take a newer ONNX Runtime ({})",
        names.library
    ))
}

fn opset(text: &str, file: &Path, names: SettingNames) -> Option<String> {
    let (_, rest) = text.split_once("official support for domain ")?;
    let (domain, rest) = rest.split_once(" is till opset ")?;
    let most: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let opsets = opsets_of(file).unwrap_or_else(|| "a newer opset".to_owned());
    Some(format!(
        "the file needs {opsets}, and this ONNX Runtime takes {domain} up to opset {most}: export it with opset_version={most} or \
         less, convert it by onnx.version_converter, or take a newer ONNX Runtime ({})",
        names.library
    ))
}

/// `ai.onnx.contrib:BasicTokenizer(-1) is not a registered function/op`
fn custom_operator(text: &str, names: SettingNames) -> Option<String> {
    let (head, _) = text.split_once(" is not a registered function/op")?;
    let name = head.rsplit([' ', '\'']).next()?;
    let name = name.split_once('(').map_or(name, |(name, _)| name);
    let (domain, operator) = name.rsplit_once(':').unwrap_or(("", name));
    if OWN_DOMAINS.contains(&domain) {
        return None;
    }
    let library = match domain {
        "ai.onnx.contrib" | "com.microsoft.extensions" => {
            "libortextensions.so of onnxruntime-extensions"
        }
        _ => "the library that has it",
    };
    Some(format!(
        "the operator {operator} is of the domain {domain}, whose operators are custom: put {library} beside the model, name \
         it as custom_ops in model.toml and set {}",
        names.custom_ops
    ))
}

/// An operator of ONNX or of ONNX Runtime that this release does not know.
fn unknown_operator(text: &str, file: &Path, names: SettingNames) -> Option<String> {
    let unknown =
        text.contains("is not a registered function/op") || text.contains("No Op registered for ");
    let opsets = unknown.then(|| opsets_of(file)).flatten()?;
    Some(format!(
        "{}; the file asks for {opsets}: this ONNX Runtime has no such operator there; take a newer one ({}), or \
         export the model with another opset",
        message(text),
        names.library
    ))
}

fn opsets_of(file: &Path) -> Option<String> {
    let file = OnnxFile::read(file).ok()?;
    let opsets = file.opsets.iter().map(|(domain, version)| {
        let domain = if domain.is_empty() { "ai.onnx" } else { domain };
        format!("opset {version} of {domain}")
    });
    let opsets = opsets.take(4).collect::<Vec<_>>().join(", ");
    Some(opsets).filter(|opsets| !opsets.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: SettingNames = SettingNames {
        library: "RUNTIME_PATH",
        custom_ops: "CUSTOM_OPS=on",
    };

    #[test]
    fn known_reasons_come_with_a_remedy() {
        let cases = [
            (
                "Load model from a/model.onnx failed:/onnxruntime_src/core/graph/model.cc:181 onnxruntime::Model::Model(onnx::ModelProto&&, const \
                 onnxruntime::PathString&) Unsupported model IR version: 99, max supported IR version: 13",
                "IR version 99, and this ONNX Runtime takes versions up to 13",
            ),
            (
                "Load model from m failed:/onnxruntime_src/core/graph/model_load_utils.h:46 void f(const std::map<int, int>&, bool) ONNX Runtime only \
                 *guarantees* support for models stamped with official released onnx opset versions. Opset 99 is under \
                 development and support for this is limited. Current official support for domain ai.onnx is till opset 26.",
                "takes ai.onnx up to opset 26: export it with opset_version=26 or less",
            ),
            (
                "Load model from m failed:Fatal error: ai.onnx.contrib:BasicTokenizer(-1) is not a registered function/op",
                "the operator BasicTokenizer is of the domain ai.onnx.contrib",
            ),
            (
                "std::locale en_US: no such locale",
                "apt-get install locales",
            ),
        ];
        for (text, expected) in cases {
            let said = explain(text, Path::new("no such file"), NAMES);
            assert!(said.contains(expected), "{said}");
            assert!(!said.contains(".cc:") && !said.contains(".h:"), "{said}");
        }
    }

    #[test]
    fn other_texts_keep_their_message() {
        for (text, expected) in [
            (
                "Non-zero status code returned while running Gather node. Status Message: indices out of range",
                "indices out of range",
            ),
            (
                "Load model from m failed:/src/a.cc:9 void f(int) no good",
                "no good",
            ),
            ("no good (at all) today", "no good (at all) today"),
        ] {
            assert_eq!(message(text), expected);
        }
    }
}

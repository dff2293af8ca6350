//! The function folders of the app: `<name>/function.json`.
//!
//! Source: "Azure Functions custom handlers" and the function.json schema; the host names functions after their folders.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;

use super::access::{self, Access};

/// A function the host may call by `POST /<name>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// The folder's name, in its own spelling.
    pub(crate) name: String,
    /// What sets it off.
    pub(crate) trigger: Trigger,
}

impl Function {
    /// Whether callers without a key of the host's reach scores by it.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.trigger, Trigger::Http { is_open: true, .. })
    }
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
        /// Whether callers without a key of the host's reach scores by it.
        is_open: bool,
    },
    /// A message or a blob, answered through output bindings.
    Event(EventTrigger),
    /// A message of a storage queue that names a blob, which this program reads itself.
    LargeBlob(LargeBlobTrigger),
}

/// A message that names a blob, and where the rest of the work goes.
#[cfg_attr(
    not(feature = "blobs"),
    allow(dead_code, reason = "such an app is refused")
)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LargeBlobTrigger {
    /// The member of `Data` that holds the message.
    pub(crate) binding: String,
    /// Whether it travels as base64; else as text.
    pub(crate) binary: bool,
    /// The member of `Outputs` that takes a message for the next call: the binding called `next`.
    pub(crate) next: Output,
}

/// A message or a blob, and where results go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventTrigger {
    /// Where it comes from.
    pub(crate) source: Source,
    /// The member of `Data` that holds it.
    pub(crate) binding: String,
    /// Whether one call brings several.
    pub(crate) many: bool,
    /// Whether bodies travel as base64; else as text.
    pub(crate) binary: bool,
    /// Takes results.
    pub(crate) results: Output,
    /// Takes what cannot be scored; `None` if the broker is to keep it.
    pub(crate) rejected: Option<Output>,
}

/// What sends events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// A Service Bus queue, or a subscription to a topic.
    ServiceBus,
    /// A queue of a storage account.
    StorageQueue,
    /// A container of blobs.
    Blob,
}

impl Source {
    fn of(kind: &str) -> Option<Self> {
        match kind.to_ascii_lowercase().as_str() {
            "servicebustrigger" => Some(Self::ServiceBus),
            "queuetrigger" => Some(Self::StorageQueue),
            "blobtrigger" => Some(Self::Blob),
            _ => None,
        }
    }
}

/// An output binding for results or for what is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Output {
    /// The member of `Outputs`; `$return` stands for `ReturnValue`.
    pub(crate) binding: String,
    /// What the host makes of a value.
    pub(crate) form: OutputForm,
}

/// How a payload must be written so that the host passes on exactly its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputForm {
    /// Queues: a list of texts. The host would read a text outside a list as base64 wherever it can.
    Messages,
    /// A blob: base64.
    Blob,
    /// A blob with `dataType` binary: text, which the host then does not read as base64.
    TextBlob,
}

/// The output binding that makes a function one for large blobs.
const NEXT: &str = "next";

#[derive(Deserialize)]
struct FunctionJson {
    bindings: Vec<Binding>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Binding {
    #[serde(rename = "type")]
    kind: String,
    direction: Option<String>,
    name: String,
    data_type: Option<String>,
    cardinality: Option<String>,
    auth_level: Option<String>,
    route: Option<String>,
}

impl Binding {
    fn is_binary(&self) -> bool {
        is(self.data_type.as_deref(), "binary")
    }

    fn is_output(&self) -> bool {
        is(self.direction.as_deref(), "out")
    }

    fn output(&self) -> Option<Output> {
        let form = match self.kind.to_ascii_lowercase().as_str() {
            _ if !self.is_output() => return None,
            "servicebus" | "queue" => OutputForm::Messages,
            "blob" if self.is_binary() => OutputForm::TextBlob,
            "blob" => OutputForm::Blob,
            _ => return None,
        };
        Some(Output {
            binding: self.name.clone(),
            form,
        })
    }
}

fn is(value: Option<&str>, word: &str) -> bool {
    value.is_some_and(|value| value.eq_ignore_ascii_case(word))
}

/// Reads all function folders below the app root.
///
/// # Errors
/// If a function.json is malformed, or its trigger is of a type that is not served, by name; or if one of them lets callers
/// without a key reach the others.
pub(crate) fn read_functions(app_root: &Path) -> anyhow::Result<Vec<Function>> {
    let entries = fs::read_dir(app_root)
        .with_context(|| format!("the app root {} cannot be read", app_root.display()))?;
    let mut functions = Vec::new();
    let mut access = Vec::new();
    for entry in entries {
        let folder = entry?.path();
        let file = folder.join("function.json");
        if !file.is_file() {
            continue;
        }
        let text = fs::read_to_string(&file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let parsed = parse(&name, &text).with_context(|| file.display().to_string())?;
        functions.push(parsed.0);
        access.extend(parsed.1);
    }
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    access.sort_by(|a, b| a.function.cmp(&b.function));
    access::check(&access)?;
    Ok(functions)
}

/// Refuses functions by which anyone may score. `meant`: this program asks for keys of its own, or the settings say that none
/// are wanted.
///
/// # Errors
/// Names the function and the ways out.
pub(crate) fn refuse_open(functions: &[Function], meant: bool) -> anyhow::Result<()> {
    let open = functions.iter().find(|function| function.is_open());
    match open {
        Some(Function { name, .. }) if !meant => bail!(
            "{name}/function.json: authLevel is anonymous, so that anyone may score. Set authLevel to function; or set \
             SCORE_API_KEYS, and callers send one of those keys; or set SCORE_ALLOW_ANONYMOUS=on if that is meant"
        ),
        _ => Ok(()),
    }
}

/// The function, and who may call it if it is an HTTP function.
fn parse(name: &str, text: &str) -> anyhow::Result<(Function, Option<Access>)> {
    // Editors on Windows may put a byte-order mark first.
    let text = text.trim_start_matches('\u{feff}');
    let FunctionJson { bindings } = serde_json::from_str(text)?;
    let mut triggers = bindings
        .iter()
        .filter(|binding| binding.kind.to_ascii_lowercase().ends_with("trigger"));
    let (Some(trigger), None) = (triggers.next(), triggers.next()) else {
        bail!("a function needs exactly one trigger binding");
    };
    let is_http = trigger.kind.eq_ignore_ascii_case("httpTrigger");
    let access = is_http.then(|| Access {
        function: name.to_owned(),
        anonymous: is(trigger.auth_level.as_deref(), "anonymous"),
        route: trigger.route.clone().unwrap_or_else(|| name.to_owned()),
    });
    let trigger = if is_http {
        let is_open = access.as_ref().is_some_and(Access::opens_scores);
        http(trigger, &bindings, is_open)?
    } else if let Some(large) = large_blob(trigger, &bindings)? {
        Trigger::LargeBlob(large)
    } else if let Some(source) = Source::of(&trigger.kind) {
        Trigger::Event(event(source, trigger, &bindings)?)
    } else {
        bail!(
            "trigger type {:?} is not served; httpTrigger, serviceBusTrigger, queueTrigger and blobTrigger are",
            trigger.kind
        );
    };
    let name = name.to_owned();
    Ok((Function { name, trigger }, access))
}

fn http(trigger: &Binding, bindings: &[Binding], is_open: bool) -> anyhow::Result<Trigger> {
    let response = bindings
        .iter()
        .find(|binding| binding.kind.eq_ignore_ascii_case("http") && binding.is_output());
    let Some(response) = response else {
        bail!("an httpTrigger needs an output binding of type http");
    };
    Ok(Trigger::Http {
        request: trigger.name.clone(),
        response: response.name.clone(),
        is_open,
    })
}

/// A function with an output binding called `next`.
fn large_blob(trigger: &Binding, bindings: &[Binding]) -> anyhow::Result<Option<LargeBlobTrigger>> {
    let mut outputs = bindings.iter().filter_map(Binding::output);
    let Some(next) = outputs.find(|output| output.binding.eq_ignore_ascii_case(NEXT)) else {
        return Ok(None);
    };
    let is_queue = Source::of(&trigger.kind) == Some(Source::StorageQueue);
    if !is_queue || next.form != OutputForm::Messages {
        bail!(
            "an output binding called {:?} is for functions that score large blobs: it needs a queueTrigger, and has to be \
             of type queue",
            next.binding
        );
    }
    Ok(Some(LargeBlobTrigger {
        binding: trigger.name.clone(),
        binary: trigger.is_binary(),
        next,
    }))
}

/// The output binding `rejected` receives what is refused; the first other output receives results.
fn event(source: Source, trigger: &Binding, bindings: &[Binding]) -> anyhow::Result<EventTrigger> {
    let outputs = bindings.iter().filter_map(Binding::output);
    let (rejected, results): (Vec<_>, Vec<_>) =
        outputs.partition(|output| output.binding.eq_ignore_ascii_case("rejected"));
    let Some(results) = results.into_iter().next() else {
        bail!(
            "a {} needs an output binding for results, of type serviceBus, queue or blob",
            trigger.kind
        );
    };
    let event = EventTrigger {
        source,
        binding: trigger.name.clone(),
        many: source == Source::ServiceBus && is(trigger.cardinality.as_deref(), "many"),
        // Blobs come as base64, for any dataType.
        binary: source == Source::Blob || trigger.is_binary(),
        results,
        rejected: rejected.into_iter().next(),
    };
    if event.many {
        let outputs = [Some(&event.results), event.rejected.as_ref()];
        let into_blob = |output: &&Output| output.form != OutputForm::Messages;
        if let Some(blob) = outputs.into_iter().flatten().find(into_blob) {
            bail!(
                "cardinality many gives several results, which the blob output {:?} cannot take",
                blob.binding
            );
        }
        if event.rejected.is_none() {
            bail!(
                "cardinality many needs an output binding called \"rejected\": without it one bad message would fail \
                 all others of its batch"
            );
        }
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        parse("f", text).unwrap_err().to_string()
    }

    fn event_of(bindings: &str) -> EventTrigger {
        let (function, _) = parse("f", &format!(r#"{{"bindings":[{bindings}]}}"#)).unwrap();
        match function.trigger {
            Trigger::Event(event) => event,
            _ => panic!("an event"),
        }
    }

    #[test]
    fn learns_binding_names() {
        let text = r#"{"bindings":[
            {"type":"httpTrigger","direction":"in","name":"call","route":"score/{*path}"},
            {"type":"http","direction":"out","name":"$return"}]}"#;
        let (function, access) = parse("score_http", text).unwrap();
        // Without a level, the host asks for a function key.
        assert!(!access.unwrap().anonymous);
        let Trigger::Http {
            request, response, ..
        } = function.trigger
        else {
            panic!("an httpTrigger");
        };
        assert_eq!((request.as_str(), response.as_str()), ("call", "$return"));
    }

    #[test]
    fn finds_results_and_rejected_by_name_in_any_order() {
        let event = event_of(
            r#"{"type":"serviceBusTrigger","direction":"in","name":"msgs","cardinality":"Many","dataType":"binary"},
               {"type":"serviceBus","direction":"out","name":"rejected"},
               {"type":"queue","direction":"out","name":"answers"}"#,
        );
        assert_eq!(event.results.binding, "answers");
        assert_eq!(event.rejected.unwrap().binding, "rejected");
        assert!(event.many && event.binary);
    }

    #[test]
    fn blobs_are_binary_and_written_as_the_binding_needs_it() {
        let event = event_of(
            r#"{"type":"blobTrigger","direction":"in","name":"blob","path":"in/{name}","cardinality":"many"},
               {"type":"blob","direction":"out","name":"scored","path":"out/{name}"},
               {"type":"blob","direction":"out","name":"Rejected","path":"no/{name}","dataType":"binary"}"#,
        );
        assert!(event.binary && !event.many);
        assert_eq!(event.results.form, OutputForm::Blob);
        assert_eq!(event.rejected.unwrap().form, OutputForm::TextBlob);
    }

    #[test]
    fn an_output_called_next_makes_it_one_for_large_blobs() {
        let of = |trigger: &str, output: &str| {
            let text = format!(
                r#"{{"bindings":[{{"type":"{trigger}","direction":"in","name":"message","dataType":"binary"}},
                   {{"type":"{output}","direction":"out","name":"next"}}]}}"#
            );
            parse("f", &text).map(|(function, _)| function.trigger)
        };
        let Trigger::LargeBlob(large) = of("queueTrigger", "queue").unwrap() else {
            panic!("one for large blobs");
        };
        assert_eq!((large.binding.as_str(), large.binary), ("message", true));
        for (trigger, output) in [("blobTrigger", "queue"), ("queueTrigger", "blob")] {
            let refusal = of(trigger, output).unwrap_err().to_string();
            assert!(refusal.contains("it needs a queueTrigger"), "{refusal}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_serve_by_name() {
        let timer = r#"{"bindings":[{"type":"timerTrigger","direction":"in","name":"t"}]}"#;
        assert!(refused(timer).contains("timerTrigger"));
        let mute = r#"{"bindings":[{"type":"httpTrigger","direction":"in","name":"r"}]}"#;
        assert!(refused(mute).contains("output binding"));
        assert!(refused(r#"{"bindings":[]}"#).contains("exactly one trigger"));
    }

    #[test]
    fn refuses_functions_whose_results_would_be_lost() {
        let queue = r#"{"type":"queueTrigger","direction":"in","name":"m"}"#;
        let rejected = r#"{"type":"queue","direction":"out","name":"rejected"}"#;
        let nowhere = refused(&format!(r#"{{"bindings":[{queue},{rejected}]}}"#));
        assert!(nowhere.contains("queueTrigger needs an output binding for results"));

        let many =
            r#"{"type":"serviceBusTrigger","direction":"in","name":"m","cardinality":"many"}"#;
        let blob = r#"{"type":"blob","direction":"out","name":"results"}"#;
        let one_blob = refused(&format!(r#"{{"bindings":[{many},{blob},{rejected}]}}"#));
        assert!(one_blob.contains("\"results\" cannot take"), "{one_blob}");
        let results = r#"{"type":"queue","direction":"out","name":"results"}"#;
        let fragile = refused(&format!(r#"{{"bindings":[{many},{results}]}}"#));
        assert!(fragile.contains("called \"rejected\""), "{fragile}");
    }
}

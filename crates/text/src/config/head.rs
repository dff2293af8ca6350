//! What `config.json` says of the layer on top of the transformer.

use std::collections::BTreeMap;
use std::path::Path;

use score::LoadError;
use serde::Deserialize;

use super::{PromptConfig, read};

/// `config.json`: the head.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct HeadConfig {
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    num_labels: Option<usize>,
    #[serde(default)]
    id2label: Option<BTreeMap<String, Label>>,
    #[serde(default)]
    pub(crate) problem_type: Option<String>,
    #[serde(default)]
    sentence_transformers: Option<Saved>,
    #[serde(default)]
    sbert_ce_default_activation_function: Option<String>,
}

/// The name of a label; some folders have numbers.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Label {
    Name(String),
    Number(i64),
}

/// What sentence-transformers leaves of a `CrossEncoder`.
#[derive(Debug, Default, Deserialize)]
struct Saved {
    #[serde(default)]
    activation_fn: Option<String>,
}

/// That a model was saved as a `CrossEncoder`, so that it takes pairs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crosses<'a> {
    /// The name of the activation, such as `torch.nn.modules.activation.Sigmoid`.
    pub(crate) activation: Option<&'a str>,
    /// The file that says it.
    pub(crate) file: &'static str,
}

impl HeadConfig {
    pub(crate) fn read(folder: &Path) -> Result<Self, LoadError> {
        Ok(read(&folder.join("config.json"))?.unwrap_or_default())
    }

    /// The name of the architecture; empty if there is none.
    pub(crate) fn architecture(&self) -> &str {
        let first = self.architectures.as_ref().and_then(|names| names.first());
        first.map_or("", String::as_str)
    }

    /// How many labels there are, if the config says so.
    pub(crate) fn count(&self) -> Option<usize> {
        let named = self.id2label.as_ref().map(BTreeMap::len);
        named.or(self.num_labels)
    }

    /// The labels in the order of their numbers; `None` if there are none.
    ///
    /// # Errors
    /// If a number is missing.
    pub(crate) fn labels(&self) -> Result<Option<Vec<String>>, String> {
        let Some(labels) = self.id2label.as_ref().filter(|labels| !labels.is_empty()) else {
            let names = |count: usize| (0..count).map(|label| format!("LABEL_{label}")).collect();
            return Ok(self
                .num_labels
                .filter(|count| *count <= MAX_LABELS)
                .map(names));
        };
        if labels.len() > MAX_LABELS {
            let count = labels.len();
            return Err(format!(
                "id2label: {count} labels; at most {MAX_LABELS} are possible"
            ));
        }
        let place = |place: usize| match labels.get(&place.to_string()) {
            Some(Label::Name(name)) => Ok(name.clone()),
            Some(Label::Number(number)) => Ok(number.to_string()),
            None => Err(format!(
                "id2label: expected the numbers 0 to {} as keys; {place} is missing",
                labels.len() - 1
            )),
        };
        let labels = (0..labels.len()).map(place);
        labels.collect::<Result<_, String>>().map(Some)
    }

    /// Whether sentence-transformers saved it as a `CrossEncoder`: since version 5 the other config says so, before that this
    /// one names its activation.
    pub(crate) fn crosses<'a>(&'a self, sentence: &'a PromptConfig) -> Option<Crosses<'a>> {
        let saved = self.sentence_transformers.as_ref();
        let older = self.sbert_ce_default_activation_function.as_deref();
        let here = saved.and_then(|saved| saved.activation_fn.as_deref());
        if let Some(activation) = here.or(older) {
            return Some(Crosses {
                activation: Some(activation),
                file: "config.json",
            });
        }
        let crosses = sentence.model_type.as_deref() == Some("CrossEncoder");
        (crosses || saved.is_some()).then_some(Crosses {
            activation: sentence.activation_fn.as_deref(),
            file: "config_sentence_transformers.json",
        })
    }
}

/// Labels of a model.
const MAX_LABELS: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> HeadConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn labels_stand_in_the_order_of_their_numbers() {
        let many: Vec<String> = (0..11).map(|n| format!("\"{n}\":\"l{n}\"")).collect();
        let labels = |text: &str| parse(text).labels();
        let found = labels(&format!("{{\"id2label\":{{{}}}}}", many.join(","))).unwrap();
        assert_eq!(found.unwrap()[9..], ["l9", "l10"]);
        let numbers = labels(r#"{"id2label":{"0":0,"1":1}}"#).unwrap().unwrap();
        assert_eq!(numbers, ["0", "1"]);
        let counted = labels(r#"{"num_labels":2}"#).unwrap().unwrap();
        assert_eq!(counted, ["LABEL_0", "LABEL_1"]);
        assert_eq!(labels("{}").unwrap(), None);
        let gap = labels(r#"{"id2label":{"0":"a","2":"b"}}"#).unwrap_err();
        assert!(gap.contains("1 is missing"), "{gap}");
        assert!(labels(r#"{"id2label":{"1":"a"}}"#).is_err());
        // transformers writes nothing where it knows nothing.
        assert_eq!(
            labels(r#"{"id2label":null,"num_labels":null}"#).unwrap(),
            None
        );
    }

    #[test]
    fn cross_encoders_are_known_by_either_file() {
        let other = PromptConfig::default();
        let activation = |config: &str, sentence: &PromptConfig| {
            let config = parse(config);
            let crosses = config.crosses(sentence);
            crosses.map(|crosses| crosses.activation.map(str::to_owned))
        };
        let old = r#"{"sbert_ce_default_activation_function":"torch.nn.modules.linear.Identity"}"#;
        let identity = Some(Some("torch.nn.modules.linear.Identity".to_owned()));
        assert_eq!(activation(old, &other), identity);
        let newer = r#"{"sentence_transformers":{"activation_fn":"torch.nn.modules.linear.Identity","version":"4.1.0"}}"#;
        assert_eq!(activation(newer, &other), identity);
        let newest = PromptConfig {
            model_type: Some("CrossEncoder".to_owned()),
            activation_fn: Some("torch.nn.modules.linear.Identity".to_owned()),
            ..PromptConfig::default()
        };
        assert_eq!(activation("{}", &newest), identity);
        assert_eq!(activation("{}", &other), None);
    }
}

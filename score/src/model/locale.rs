//! Models that ask the C library for a locale that the system does not have.
//!
//! ONNX Runtime changes the case of texts (StringNormalizer) by the rules of a locale: of en_US.UTF-8 unless the node says
//! otherwise. Slim systems have no locale but C, POSIX and C.UTF-8. In the GNU C library C.UTF-8 has the same table of cases as
//! en_US.UTF-8, so it takes its place. Other locales may have other rules (in Turkish, I and i are no pair), so they are left.
//!
//! Source: the operator description of ONNX ("Operators.md", StringNormalizer).

use std::path::Path;
use std::{fs, io};

use prost::Message;

use super::external_data::{Fields, put_bytes, rewritten};
use super::onnx_proto::tags::{ATTRIBUTE, GRAPH, NODE, OPERATOR};
use super::onnx_proto::{Attribute, STRING_ATTRIBUTE};

/// The names that systems have for American English.
const USUAL: [&[u8]; 4] = [b"en_US.UTF-8", b"en_US.utf8", b"en_US", b"en-US"];

/// Whether the runtime refuses a model because a locale is missing.
pub(super) fn is_missing(refusal: &str) -> bool {
    refusal.contains("Failed to construct locale")
}

/// The model in the file, with C.UTF-8 in place of en_US.UTF-8. `None` if it asks for another locale.
///
/// # Errors
/// If the file cannot be read, or is no ONNX model.
pub(super) fn replaced(file: &Path) -> io::Result<Option<Vec<u8>>> {
    let content = fs::read(file)?;
    let mut count = 0;
    let model = rewritten(&content, GRAPH, |graph| {
        rewritten(graph, NODE, |node| {
            let new = with_plain_locale(node)?;
            count += usize::from(new.is_some());
            Ok(new.unwrap_or_else(|| node.to_vec()))
        })
    });
    let model = model.map_err(io::Error::other)?;
    Ok((count > 0).then_some(model))
}

/// The node with another locale, if it asks for the usual one.
fn with_plain_locale(node: &[u8]) -> Result<Option<Vec<u8>>, String> {
    let mut new = Vec::with_capacity(node.len() + 32);
    let mut normalizes = false;
    for field in Fields(node) {
        let field = field?;
        match (field.tag, field.content) {
            (OPERATOR, content) => normalizes = content == Some(b"StringNormalizer"),
            (ATTRIBUTE, Some(content)) => {
                let attribute = Attribute::decode(content).map_err(|error| error.to_string())?;
                match &*attribute.name == b"locale" {
                    true if !USUAL.contains(&&*attribute.text) => return Ok(None),
                    true => continue,
                    false => {}
                }
            }
            _ => {}
        }
        new.extend_from_slice(field.whole);
    }
    let plain = Attribute {
        name: "locale".into(),
        text: "C.UTF-8".into(),
        kind: STRING_ATTRIBUTE,
        ..Attribute::default()
    };
    put_bytes(ATTRIBUTE, &plain.encode_to_vec(), &mut new);
    Ok(normalizes.then_some(new))
}

#[cfg(test)]
mod tests {
    use super::super::onnx_proto::{Graph, Model, Node};
    use super::*;

    fn model(operator: &str, locale: Option<&str>) -> Model {
        let attribute = |name: &str, text: &str| Attribute {
            name: name.to_owned().into(),
            text: text.to_owned().into(),
            ..Attribute::default()
        };
        let mut attributes = vec![attribute("case_change_action", "LOWER")];
        attributes.extend(locale.map(|locale| attribute("locale", locale)));
        let node = Node {
            operator: operator.to_owned().into(),
            attributes,
            ..Node::default()
        };
        Model {
            ir_version: 8,
            graph: Some(Graph {
                nodes: vec![Node::default(), node],
                ..Graph::default()
            }),
            ..Model::default()
        }
    }

    fn locales(before: &Model) -> Option<Vec<String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), before.encode_to_vec()).unwrap();
        let after = Model::decode(&replaced(file.path()).unwrap()?[..]).unwrap();
        assert_eq!(after.ir_version, before.ir_version);
        let nodes = after.graph.unwrap().nodes;
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[1].attributes[0].text, "LOWER");
        let named = nodes[1].attributes.iter().filter(|a| a.name == "locale");
        let texts = named.map(|a| String::from_utf8(a.text.to_vec()).unwrap());
        Some(texts.collect())
    }

    #[test]
    fn the_usual_locale_is_replaced_and_no_other() {
        let plain = Some(vec!["C.UTF-8".to_owned()]);
        for usual in [None, Some("en_US.UTF-8"), Some("en-US")] {
            assert_eq!(locales(&model("StringNormalizer", usual)), plain);
        }
        assert_eq!(
            locales(&model("StringNormalizer", Some("tr_TR.UTF-8"))),
            None
        );
        assert_eq!(locales(&model("Tokenizer", None)), None);
    }

    #[test]
    fn what_is_no_model_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), [0x3a, 0x7f, 1]).unwrap();
        assert!(replaced(file.path()).is_err());
    }
}

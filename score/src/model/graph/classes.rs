//! The names of classes, in the order in which a classifier gives their scores.
//!
//! Source: the operator descriptions of ONNX ("Operators-ml.md": LinearClassifier, SVMClassifier, TreeEnsembleClassifier,
//! LabelEncoder).

use bytes::Bytes;

use super::super::onnx_proto::{Attribute, Model, Node, text};

/// More classes are no list that anyone reads.
const MAX_CLASSES: usize = 1 << 12;

/// What the model calls its classes; empty if it says nothing, or several things. Classes that are numbered from 0 have no names.
pub(super) fn of(model: &Model) -> Vec<String> {
    let nodes = || model.graph.iter().flat_map(|graph| &graph.nodes);
    let texts = only(nodes().filter_map(texts));
    match texts {
        Some(texts) => texts,
        // Where there are texts, numbers are those of steps before.
        None if nodes().any(|node| texts_of(node).is_some()) => Vec::new(),
        None => only(nodes().filter_map(numbers)).unwrap_or_default(),
    }
}

/// The list that all agree about.
fn only(mut lists: impl Iterator<Item = Vec<String>>) -> Option<Vec<String>> {
    let first = lists.next()?;
    lists.all(|list| list == first).then_some(first)
}

fn attribute<'n>(node: &'n Node, name: &str) -> Option<&'n Attribute> {
    let mut attributes = node.attributes.iter();
    attributes.find(|attribute| attribute.name == name)
}

fn is_classifier(node: &Node) -> bool {
    let operators = [
        "LinearClassifier",
        "SVMClassifier",
        "TreeEnsembleClassifier",
    ];
    node.domain == "ai.onnx.ml" && operators.iter().any(|name| node.operator == *name)
}

/// The attribute with names, if there are any.
fn texts_of(node: &Node) -> Option<&[Bytes]> {
    let name = match is_classifier(node) {
        true => "classlabels_strings",
        // What makes names of the numbers of classes.
        false if node.domain == "ai.onnx.ml" && node.operator == "LabelEncoder" => {
            attribute(node, "keys_int64s")?;
            "values_strings"
        }
        false => return None,
    };
    let texts = &attribute(node, name)?.texts[..];
    (!texts.is_empty() && texts.len() <= MAX_CLASSES).then_some(texts)
}

fn texts(node: &Node) -> Option<Vec<String>> {
    let texts = texts_of(node)?;
    let name = |at: usize| Some(text(texts.get(at)?).into_owned());
    match attribute(node, "keys_int64s") {
        None => (0..texts.len()).map(name).collect(),
        Some(keys) => {
            let place = |class: usize| keys.ints.iter().position(|key| *key == class as i64);
            let names = (0..texts.len()).map(|class| name(place(class)?));
            names.collect()
        }
    }
}

fn numbers(node: &Node) -> Option<Vec<String>> {
    let names = ["classlabels_int64s", "classlabels_ints"];
    let mut found = names.iter().filter_map(|name| attribute(node, name));
    let ints = &found.next().filter(|_| is_classifier(node))?.ints;
    let are_places = ints.iter().zip(0..).all(|(int, place)| *int == place);
    let tells = !are_places && ints.len() <= MAX_CLASSES;
    tells.then(|| ints.iter().map(i64::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::super::super::onnx_proto::Graph;
    use super::*;

    fn node(
        operator: &'static str,
        attributes: &[(&'static str, &[i64], &[&'static str])],
    ) -> Node {
        let attributes = attributes.iter().map(|(name, ints, texts)| Attribute {
            name: Bytes::from_static(name.as_bytes()),
            ints: ints.to_vec(),
            texts: texts
                .iter()
                .map(|text| Bytes::from_static(text.as_bytes()))
                .collect(),
            ..Attribute::default()
        });
        Node {
            operator: Bytes::from_static(operator.as_bytes()),
            domain: Bytes::from_static(b"ai.onnx.ml"),
            attributes: attributes.collect(),
            ..Node::default()
        }
    }

    fn classes(nodes: &[Node]) -> Vec<String> {
        let graph = Graph {
            nodes: nodes.to_vec(),
            ..Graph::default()
        };
        of(&Model {
            graph: Some(graph),
            ..Model::default()
        })
    }

    #[test]
    fn classes_have_the_names_that_the_graph_gives_them() {
        let none: &[i64] = &[];
        let trees = node(
            "TreeEnsembleClassifier",
            &[("classlabels_strings", none, &["cat", "dog"])],
        );
        assert_eq!(classes(std::slice::from_ref(&trees)), ["cat", "dog"]);
        let linear = node("LinearClassifier", &[("classlabels_ints", &[3, 5, 7], &[])]);
        assert_eq!(classes(std::slice::from_ref(&linear)), ["3", "5", "7"]);
        // A decoder behind a classifier of numbers, whose keys stand in any order.
        let numbered = node(
            "TreeEnsembleClassifier",
            &[("classlabels_int64s", &[0, 1], &[])],
        );
        let keys: (_, &[i64], &[&str]) = ("keys_int64s", &[1, 0], &[]);
        let decoder = node(
            "LabelEncoder",
            &[keys, ("values_strings", none, &["up", "down"])],
        );
        assert_eq!(
            classes(&[numbered.clone(), decoder.clone()]),
            ["down", "up"]
        );
        // The numbers of classes are no names, and two lists are one too many.
        let other = node(
            "SVMClassifier",
            &[("classlabels_strings", none, &["a", "b"])],
        );
        let encoder = node(
            "LabelEncoder",
            &[("keys_strings", none, &["x"]), ("values_int64s", &[0], &[])],
        );
        let gap = node(
            "LabelEncoder",
            &[
                ("keys_int64s", &[0, 2], &[]),
                ("values_strings", none, &["a", "b"]),
            ],
        );
        for nodes in [
            vec![],
            vec![numbered],
            vec![encoder],
            vec![trees, other],
            vec![linear, gap],
        ] {
            assert!(classes(&nodes).is_empty(), "{nodes:?}");
        }
    }
}

//! Which files an ONNX file keeps its tensors in. Only the members on the way to them are declared; all others are skipped.
//!
//! Source: onnx.proto3 of ONNX, "External Data".

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use prost::Message;

#[derive(Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "25")]
    functions: Vec<Function>,
}

#[derive(Message)]
struct Function {
    #[prost(message, repeated, tag = "7")]
    nodes: Vec<Node>,
}

#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(message, repeated, tag = "5")]
    initializers: Vec<Tensor>,
    #[prost(message, repeated, tag = "15")]
    sparse_initializers: Vec<SparseTensor>,
}

#[derive(Message)]
struct Node {
    #[prost(message, repeated, tag = "5")]
    attributes: Vec<Attribute>,
}

#[derive(Message)]
struct Attribute {
    #[prost(message, optional, tag = "5")]
    tensor: Option<Tensor>,
    #[prost(message, optional, tag = "6")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "10")]
    tensors: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    graphs: Vec<Graph>,
    #[prost(message, optional, tag = "22")]
    sparse_tensor: Option<SparseTensor>,
    #[prost(message, repeated, tag = "23")]
    sparse_tensors: Vec<SparseTensor>,
}

#[derive(Message)]
struct SparseTensor {
    #[prost(message, optional, tag = "1")]
    values: Option<Tensor>,
    #[prost(message, optional, tag = "2")]
    indices: Option<Tensor>,
}

#[derive(Message)]
struct Tensor {
    #[prost(message, repeated, tag = "13")]
    external_data: Vec<Entry>,
}

#[derive(Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

/// The files beside the model, relative to it.
///
/// # Errors
/// If it is not ONNX, or a file lies outside of the model's folder.
pub(super) fn locations(onnx: &[u8]) -> anyhow::Result<BTreeSet<PathBuf>> {
    let model = Model::decode(onnx).context("it is not an ONNX model")?;
    let graph = model.graph.context("it is not an ONNX model: no graph")?;
    let mut found = BTreeSet::new();
    graph.visit(&mut found);
    let nodes = model.functions.iter().flat_map(|function| &function.nodes);
    nodes.for_each(|node| node.visit(&mut found));
    let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    let inside = |path: &Path| path.components().all(plain);
    if let Some(path) = found.iter().find(|path| !inside(path)) {
        bail!(
            "its external data {} lies outside of its folder",
            path.display()
        );
    }
    Ok(found)
}

type Found = BTreeSet<PathBuf>;

impl Graph {
    fn visit(&self, found: &mut Found) {
        self.initializers.iter().for_each(|t| t.visit(found));
        self.sparse_initializers.iter().for_each(|t| t.visit(found));
        self.nodes.iter().for_each(|node| node.visit(found));
    }
}

impl Node {
    fn visit(&self, found: &mut Found) {
        for attribute in &self.attributes {
            let (tensors, graphs) = (&attribute.tensors, &attribute.graphs);
            tensors
                .iter()
                .chain(&attribute.tensor)
                .for_each(|t| t.visit(found));
            graphs
                .iter()
                .chain(&attribute.graph)
                .for_each(|g| g.visit(found));
            let sparse = attribute
                .sparse_tensors
                .iter()
                .chain(&attribute.sparse_tensor);
            sparse.for_each(|t| t.visit(found));
        }
    }
}

impl SparseTensor {
    fn visit(&self, found: &mut Found) {
        let both = self.values.iter().chain(&self.indices);
        both.for_each(|tensor| tensor.visit(found));
    }
}

impl Tensor {
    fn visit(&self, found: &mut Found) {
        let locations = self.external_data.iter().filter(|e| e.key == "location");
        found.extend(locations.map(|entry| PathBuf::from(&entry.value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(location: &str) -> Tensor {
        let entry = |key: &str, value: &str| Entry {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        Tensor {
            external_data: vec![entry("offset", "0"), entry("location", location)],
        }
    }

    fn graph(initializer: &str, nodes: Vec<Node>) -> Graph {
        Graph {
            nodes,
            initializers: vec![tensor(initializer)],
            sparse_initializers: vec![],
        }
    }

    fn node(inner: Graph) -> Node {
        let attribute = Attribute {
            graph: Some(inner),
            sparse_tensor: Some(SparseTensor {
                values: Some(tensor("sparse")),
                indices: None,
            }),
            ..Attribute::default()
        };
        Node {
            attributes: vec![attribute],
        }
    }

    #[test]
    fn tensors_are_found_wherever_they_hang() {
        let nodes = vec![node(graph("data/inner", vec![]))];
        let function = Function {
            nodes: vec![node(graph("in function", vec![]))],
        };
        let model = Model {
            graph: Some(graph("outer", nodes)),
            functions: vec![function],
        };
        let found = locations(&model.encode_to_vec()).unwrap();
        let expected = ["data/inner", "in function", "outer", "sparse"];
        assert_eq!(found, expected.map(PathBuf::from).into());
    }

    #[test]
    fn data_outside_of_the_folder_is_refused() {
        for path in ["../weights", "/weights", "data/../../weights"] {
            let model = Model {
                graph: Some(graph(path, vec![])),
                functions: vec![],
            };
            let refusal = locations(&model.encode_to_vec()).unwrap_err();
            assert!(refusal.to_string().contains(path), "{refusal}");
        }
    }
}

//! Which inputs and outputs an ONNX file declares without a shape, and whether its operators bear any number of axes.
//!
//! ONNX Runtime knows the shapes too, but `ort` hands out one without axes where none is declared, which is that of a
//! scalar.

use std::collections::BTreeSet;
use std::path::Path;

use super::file_buf;
use super::onnx_proto::{Model, Node, text};

/// Operators whose implementation in ONNX Runtime 1.24 to 1.31 ends the whole process when a tensor has another number of
/// axes than they need. Found by ONNX's own test cases, run with tensors of all ranks up to 6: see
/// tests/conformance/test_onnx_operators.py.
const UNCHECKED: [&str; 12] = [
    "AffineGrid",
    "Attention",
    "Concat",
    "Conv",
    "ConvInteger",
    "DFT",
    "Einsum",
    "GridSample",
    "QLinearConv",
    "ReverseSequence",
    "RotaryEmbedding",
    "STFT",
];

/// What a file does not say. Nothing if it cannot be read: then what the runtime says counts.
#[derive(Default)]
pub(super) struct Undeclared {
    /// The names of the inputs and outputs without a shape.
    pub(super) shapes_of: BTreeSet<String>,
    /// The first operator found that bears only a certain number of axes.
    pub(super) unchecked: Option<String>,
}

impl Undeclared {
    /// Reads the file without its weights, and none of its external data.
    pub(super) fn in_file(path: &Path) -> Self {
        let model = file_buf::decode(path).ok().and_then(Result::ok);
        Self::of(model.unwrap_or_default())
    }

    fn of(model: Model) -> Self {
        let graph = model.graph.unwrap_or_default();
        let functions = model.functions.iter().flat_map(|function| &function.nodes);
        let unchecked = graph.nodes.iter().chain(functions).find_map(unchecked);
        let all = graph.inputs.iter().chain(&graph.outputs);
        let without_shape = all.filter(|info| {
            let tensor = info.ty.as_ref().and_then(|ty| ty.tensor.as_ref());
            tensor.is_some_and(|tensor| tensor.shape.is_none())
        });
        Self {
            shapes_of: without_shape
                .map(|info| text(&info.name).into_owned())
                .collect(),
            unchecked: unchecked.map(str::to_owned),
        }
    }
}

/// The node's operator, or one in its own graphs. Their depth is bounded by that of messages in messages.
fn unchecked(node: &Node) -> Option<&'static str> {
    let own = UNCHECKED
        .iter()
        .find(|operator| node.operator == **operator);
    if own.is_some() {
        return own.copied();
    }
    let attributes = node.attributes.iter();
    let mut graphs =
        attributes.flat_map(|attribute| attribute.graphs.iter().chain(&attribute.graph));
    graphs.find_map(|graph| graph.nodes.iter().find_map(unchecked))
}

#[cfg(test)]
mod tests {
    use super::super::onnx_proto::{
        Attribute, Function, Graph, Shape, TensorType, Type, ValueInfo,
    };
    use super::*;

    fn info(name: &str, tensor: Option<TensorType>) -> ValueInfo {
        ValueInfo {
            name: name.to_owned().into(),
            ty: Some(Type { tensor }),
        }
    }

    #[test]
    fn a_scalar_has_a_shape_without_axes_and_others_have_none() {
        let scalar = || TensorType {
            shape: Some(Shape {}),
        };
        let model = Model {
            graph: Some(Graph {
                inputs: vec![
                    info("scalar", Some(scalar())),
                    info("x", Some(TensorType { shape: None })),
                    info("sequence", None),
                ],
                outputs: vec![
                    info("y", Some(TensorType { shape: None })),
                    info("z", Some(scalar())),
                ],
                ..Graph::default()
            }),
            ..Model::default()
        };
        let found = Undeclared::of(model);
        assert_eq!(found.shapes_of, ["x", "y"].map(str::to_owned).into());
        assert_eq!(found.unchecked, None);
    }

    #[test]
    fn an_operator_is_found_wherever_it_is() {
        let node = |operator: &str, graph: Option<Graph>| Node {
            operator: operator.to_owned().into(),
            attributes: vec![Attribute {
                graph,
                ..Attribute::default()
            }],
            ..Node::default()
        };
        let graph = |nodes| Graph {
            nodes,
            ..Graph::default()
        };
        let found = |nodes, functions| {
            let functions = vec![Function {
                nodes: functions,
                ..Function::default()
            }];
            let graph = Some(graph(nodes));
            Undeclared::of(Model {
                graph,
                functions,
                ..Model::default()
            })
            .unchecked
        };
        let conv = || node("Conv", None);
        assert_eq!(found(vec![node("Mul", None)], vec![]), None);
        assert_eq!(
            found(vec![node("Mul", None), conv()], vec![]).unwrap(),
            "Conv"
        );
        assert_eq!(found(vec![], vec![conv()]).unwrap(), "Conv");
        let inner = node(
            "If",
            Some(graph(vec![node("Loop", Some(graph(vec![conv()])))])),
        );
        assert_eq!(found(vec![inner], vec![]).unwrap(), "Conv");
    }

    #[test]
    fn what_is_not_onnx_names_nothing() {
        let folder = std::env::temp_dir().join(format!("score-declared-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for bytes in [&b""[..], b"\x08", b"not a model", &[0xff; 64]] {
            let file = folder.join("model.onnx");
            std::fs::write(&file, bytes).unwrap();
            assert!(Undeclared::in_file(&file).shapes_of.is_empty());
        }
        std::fs::remove_dir_all(&folder).unwrap();
        let nowhere = Undeclared::in_file(Path::new("/nowhere/model.onnx"));
        assert!(nowhere.shapes_of.is_empty());
    }
}

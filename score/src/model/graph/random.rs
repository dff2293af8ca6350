//! Operators that roll dice, wherever they stand in a model.

use super::super::onnx_proto::{Graph, Model, Node, text};
use super::operators::is_random;
use super::value::Cause;

/// The first of them, also one in a branch that is not taken.
pub(super) fn first_of(model: &Model) -> Option<Cause> {
    let functions = model.functions.iter().flat_map(|function| &function.nodes);
    let nodes = model.graph.iter().flat_map(|graph| &graph.nodes);
    nodes.chain(functions).find_map(in_node)
}

/// How deep graphs lie in each other is bounded by the decoder.
fn in_node(node: &Node) -> Option<Cause> {
    // The third input of Dropout says whether it drops anything.
    if is_random(&text(&node.operator)) || (node.operator == "Dropout" && node.inputs.len() > 2) {
        return Some(Cause::of(node));
    }
    let graphs = node.attributes.iter().filter_map(|a| a.graph.as_ref());
    graphs
        .flat_map(|graph: &Graph| &graph.nodes)
        .find_map(in_node)
}

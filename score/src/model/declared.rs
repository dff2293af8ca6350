//! Which inputs and outputs an ONNX file declares without a shape.
//!
//! ONNX Runtime knows it too, but `ort` hands out a shape without axes for them, which is that of a scalar. Only the
//! members on the way to the shapes are declared here; all others are skipped.
//!
//! Source: onnx.proto3 of ONNX.

use std::collections::BTreeSet;
use std::path::Path;

use prost::Message;

#[derive(Message)]
struct Model {
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
}

#[derive(Message)]
struct Graph {
    #[prost(message, repeated, tag = "11")]
    inputs: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    outputs: Vec<ValueInfo>,
}

#[derive(Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    ty: Option<Type>,
}

#[derive(Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Message)]
struct TensorType {
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Message)]
struct Shape {}

/// The largest file that ONNX Runtime itself can load: protobuf has no longer messages.
const MAX_BYTES: u64 = 1 << 31;

/// The names of the inputs and outputs without a shape. None if the file cannot be read: then what the runtime says
/// counts.
pub(super) fn names_without_shape(file: &Path) -> BTreeSet<String> {
    let fits = std::fs::metadata(file).is_ok_and(|metadata| metadata.len() <= MAX_BYTES);
    let bytes = fits.then(|| std::fs::read(file).ok()).flatten();
    bytes.map_or_else(BTreeSet::new, |bytes| names(&bytes))
}

fn names(onnx: &[u8]) -> BTreeSet<String> {
    let graph = Model::decode(onnx).ok().and_then(|model| model.graph);
    let graph = graph.unwrap_or_default();
    let all = graph.inputs.into_iter().chain(graph.outputs);
    let without_shape = all.filter(|info| {
        let tensor = info.ty.as_ref().and_then(|ty| ty.tensor.as_ref());
        tensor.is_some_and(|tensor| tensor.shape.is_none())
    });
    without_shape.map(|info| info.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, tensor: Option<TensorType>) -> ValueInfo {
        ValueInfo {
            name: name.to_owned(),
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
            }),
        };
        let found = names(&model.encode_to_vec());
        assert_eq!(found, ["x", "y"].map(str::to_owned).into());
    }

    #[test]
    fn what_is_not_onnx_names_nothing() {
        for bytes in [&b""[..], b"\x08", b"not a model", &[0xff; 64]] {
            assert!(names(bytes).is_empty());
        }
        assert!(names_without_shape(Path::new("/nowhere/model.onnx")).is_empty());
    }
}

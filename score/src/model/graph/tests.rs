//! Small graphs with a known verdict, written as their nodes.

mod known;
mod layers;
mod limits;
mod nested;

use super::super::onnx_proto::{Attribute, Function, Graph, Model, Node, Opset, Tensor, ValueInfo};
use super::*;
use crate::tensor::ElementType;
use bytes::Bytes;

/// A node: `y = Operator(a, b) axis=1 perm=1,0`.
fn node(text: &str) -> Node {
    let (outputs, rest) = text.split_once(" = ").unwrap();
    let (call, attributes) = rest.split_once(')').unwrap();
    let (operator, inputs) = call.split_once('(').unwrap();
    let names = |text: &str| -> Vec<Bytes> {
        let names = text
            .split(',')
            .map(|name| Bytes::from(name.trim().to_owned()));
        names
            .filter(|name| !text.is_empty() || !name.is_empty())
            .collect()
    };
    let (domain, operator) = operator.rsplit_once('.').unwrap_or(("", operator));
    Node {
        inputs: if inputs.is_empty() {
            vec![]
        } else {
            names(inputs)
        },
        outputs: names(outputs),
        operator: operator.to_owned().into(),
        domain: domain.to_owned().into(),
        attributes: attributes.split_whitespace().map(attribute).collect(),
        ..Node::default()
    }
}

fn attribute(text: &str) -> Attribute {
    let (name, value) = text.split_once('=').unwrap();
    let numbers: Vec<i64> = value.split(',').filter_map(|n| n.parse().ok()).collect();
    Attribute {
        name: name.to_owned().into(),
        int: numbers.first().copied().unwrap_or(0),
        text: value.replace('_', ",").replace('>', "->").into(),
        ints: numbers,
        ..Attribute::default()
    }
}

fn with_graph(node: Node, name: &str, graph: Graph) -> Node {
    let mut node = node;
    node.attributes.push(Attribute {
        name: name.to_owned().into(),
        graph: Some(graph),
        ..Attribute::default()
    });
    node
}

fn list(name: &str, numbers: &[i64]) -> Tensor {
    Tensor {
        dims: vec![numbers.len() as i64],
        ..scalar(name, numbers)
    }
}

fn scalar(name: &str, numbers: &[i64]) -> Tensor {
    Tensor {
        data_type: 7,
        int64_data: numbers.to_vec(),
        name: name.to_owned().into(),
        ..Tensor::default()
    }
}

fn weights(name: &str, dims: &[i64]) -> Tensor {
    Tensor {
        dims: dims.to_vec(),
        data_type: 1,
        name: name.to_owned().into(),
        ..Tensor::default()
    }
}

fn graph(inputs: &[&str], nodes: Vec<Node>, outputs: &[&str]) -> Graph {
    let declared = |names: &[&str]| {
        let names = names.iter();
        names
            .map(|n| ValueInfo {
                name: (*n).to_owned().into(),
                ty: None,
            })
            .collect()
    };
    Graph {
        nodes,
        inputs: declared(inputs),
        outputs: declared(outputs),
        ..Graph::default()
    }
}

/// What all the tests may use beside their input `x`.
fn constants() -> Vec<Tensor> {
    vec![
        weights("w4", &[4, 3]),
        weights("w8", &[8, 8]),
        weights("b", &[4]),
        weights("g8", &[8]),
        weights("table", &[200, 8]),
        weights("kernel", &[2, 1, 3, 3]),
        weights("lstm_w", &[1, 20, 3]),
        weights("lstm_r", &[1, 20, 5]),
        scalar("zero", &[0]),
        scalar("one", &[1]),
        list("ax0", &[0]),
        list("ax1", &[1]),
        list("minus", &[-1]),
        list("flat4", &[-1, 4]),
        list("flat2", &[-1, 2]),
        list("flat6", &[-1, 6]),
        list("six", &[6]),
        list("many", &[256]),
        scalar("third", &[-3]),
        list("heads", &[2, 4]),
        list("eight", &[8]),
        list("far", &[i64::MAX]),
        list("billion", &[1_000_000_000]),
        list("before", &[i64::MIN + 1]),
    ]
}

struct Case {
    shape: &'static [i64],
    ty: ElementType,
    opset: i64,
    nodes: Vec<Node>,
    functions: Vec<Function>,
    has_optional: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            shape: &[-1, 4],
            ty: ElementType::Float32,
            opset: 17,
            nodes: vec![],
            functions: vec![],
            has_optional: false,
        }
    }
}

impl Case {
    fn read(self) -> Reading {
        let mut graph = graph(&["x"], self.nodes, &["y"]);
        graph.initializers = constants();
        let model = Model {
            ir_version: 10,
            opsets: vec![Opset {
                domain: Bytes::new(),
                version: self.opset,
            }],
            graph: Some(graph),
            functions: self.functions,
        };
        let dims = self.shape.iter().map(|n| match usize::try_from(*n) {
            Ok(n) => Dim::Fixed(n),
            Err(_) => Dim::Dynamic(None),
        });
        let spec = TensorSpec {
            name: "x".into(),
            element_type: self.ty,
            shape: Some(dims.collect()),
        };
        Reading::of(&model, &[spec], self.has_optional)
    }
}

fn verdict(case: Case) -> String {
    match case.read().proof {
        Proof::Apart => "apart".to_owned(),
        Proof::Scaled(by) => format!("scaled by {by}"),
        Proof::Mixed(by) => format!("mixed by {by}"),
        Proof::Unclear(by, scale) => {
            let shown = |cause: Option<Cause>| cause.map_or("?".into(), |c| c.to_string());
            format!("unclear by {} scale {}", shown(by), shown(scale))
        }
    }
}

fn nodes(lines: &[&str]) -> Vec<Node> {
    lines.iter().map(|line| node(line)).collect()
}

fn of(shape: &'static [i64], lines: &[&str]) -> String {
    verdict(Case {
        shape,
        nodes: nodes(lines),
        ..Case::default()
    })
}

#[test]
fn rows_that_never_meet_are_apart() {
    for lines in [
        &["y = MatMul(x, w4)"][..],
        &["h = Gemm(x, w4)", "y = Relu(h)"],
        &["y = Add(x, b)"],
        &["y = Softmax(x) axis=-1"],
        &["y = CumSum(x, one)"],
        &["y = ReduceSum(x, ax1)"],
        &["v, y = TopK(x, one) axis=1"],
        &["a, b2 = Split(x) axis=1", "y = Concat(b2, a) axis=-1"],
        &[
            "t = Transpose(x)",
            "s = ReduceMax(t) axes=0 keepdims=0",
            "y = Unsqueeze(s, ax1)",
        ],
        &["y = Einsum(x, w4) equation=nk_km>nm"],
        &["y = Slice(x, ax0, far, ax0)"],
        &["y = Slice(x, ax0, billion, ax0)"],
        &[
            "q = QuantizeLinear(x, zero, zero)",
            "y = DequantizeLinear(q, zero, zero)",
        ],
        &[
            "l, p = ai.onnx.ml.TreeEnsembleClassifier(x)",
            "y = ai.onnx.ml.ZipMap(p)",
        ],
        &[
            "i = ArgMax(x) axis=1 keepdims=0",
            "n = ai.onnx.ml.ArrayFeatureExtractor(b, i)",
            "y = Reshape(n, minus)",
        ],
    ] {
        assert_eq!(of(&[-1, 4], lines), "apart", "{lines:?}");
    }
}

#[test]
fn operators_along_the_rows_mix_them() {
    for (by, lines) in [
        (
            "ReduceMean",
            &["m = ReduceMean(x) axes=0", "y = Sub(x, m)"][..],
        ),
        ("ReduceMax", &["m = ReduceMax(x)", "y = Div(x, m)"]),
        ("Softmax", &["y = Softmax(x) axis=0"]),
        ("CumSum", &["y = CumSum(x, zero)"]),
        ("ArgMax", &["a = ArgMax(x)", "y = Add(x, a)"]),
        ("TopK", &["y, i = TopK(x, one) axis=0"]),
        ("Slice", &["y = Slice(x, minus, before, ax0, minus)"]),
        ("Gather", &["y = Gather(x, ax0)"]),
        ("Concat", &["y = Concat(x, x) axis=0"]),
        ("NonZero", &["z = NonZero(x)", "y = Transpose(z)"]),
        ("Unique", &["y = Unique(x)"]),
        ("Compress", &["y = Compress(x, ax1) axis=0"]),
        (
            "MatMul",
            &["t = Transpose(x)", "p = MatMul(x, t)", "y = MatMul(p, x)"],
        ),
        (
            "Einsum",
            &[
                "p = Einsum(x, x) equation=nk_mk>nm",
                "y = ReduceSum(p, ax1)",
            ],
        ),
        (
            "RandomNormalLike",
            &["e = RandomNormalLike(x)", "y = Add(x, e)"],
        ),
        ("Dropout", &["y = Dropout(x, one, one)"]),
        (
            "BatchNormalization",
            &["y = BatchNormalization(x, b, b, b, b) training_mode=1"],
        ),
        (
            "ReduceMax",
            &["r = Reshape(x, minus)", "m = ReduceMax(r)", "y = Div(x, m)"],
        ),
    ] {
        assert_eq!(of(&[-1, 4], lines), format!("mixed by {by}"), "{lines:?}");
    }
}

#[test]
fn transposed_and_reshaped_rows_are_followed() {
    assert_eq!(
        of(
            &[-1, 4],
            &[
                "t = Transpose(x)",
                "s = Softmax(t) axis=1",
                "y = Transpose(s)"
            ]
        ),
        "mixed by Softmax"
    );
    assert_eq!(
        of(
            &[-1, 4],
            &[
                "t = Transpose(x)",
                "s = Softmax(t) axis=0",
                "y = Transpose(s)"
            ]
        ),
        "apart"
    );
    assert_eq!(
        of(
            &[-1, 4],
            &[
                "r = Reshape(x, flat2)",
                "s = Relu(r)",
                "y = Reshape(s, flat4)"
            ]
        ),
        "apart"
    );
    // Half a row, and half of the next.
    assert_eq!(of(&[-1, 3], &["y = Reshape(x, flat2)"]), "mixed by Reshape");
    // With three steps of four features a row holds no whole number of eights.
    assert_eq!(
        of(
            &[-1, -1, 4],
            &["c = Concat(minus, eight) axis=0", "y = Reshape(x, c)"]
        ),
        "unclear by Reshape scale ?"
    );
}

#[test]
fn one_scale_for_all_rows_leaves_each_alone() {
    for lines in [
        &[
            "q, s, z = DynamicQuantizeLinear(x)",
            "d = DequantizeLinear(q, s, z)",
            "y = MatMul(d, w4)",
        ][..],
        &[
            "q, s, z = DynamicQuantizeLinear(x)",
            "p = MatMulInteger(q, w4, z)",
            "c = Cast(p) to=1",
            "y = Mul(c, s)",
        ],
        &[
            "r = Reshape(x, minus)",
            "q, s, z = DynamicQuantizeLinear(r)",
            "d = DequantizeLinear(q, s, z)",
            "y = Reshape(d, flat4)",
        ],
    ] {
        assert_eq!(
            of(&[-1, 4], lines),
            "scaled by DynamicQuantizeLinear",
            "{lines:?}"
        );
    }
    let fused = ["y = com.microsoft.DynamicQuantizeMatMul(x, w4, zero)"];
    assert_eq!(of(&[-1, 4], &fused), "scaled by DynamicQuantizeMatMul");
    // A scale beside a real mixture, and beside what nothing is known of.
    let mixed = [
        "q, s, z = DynamicQuantizeLinear(x)",
        "d = DequantizeLinear(q, s, z)",
        "y = Softmax(d) axis=0",
    ];
    assert_eq!(of(&[-1, 4], &mixed), "mixed by Softmax");
    let hidden = [
        "q, s, z = DynamicQuantizeLinear(x)",
        "d = DequantizeLinear(q, s, z)",
        "y = my.Thing(d)",
    ];
    assert_eq!(
        of(&[-1, 4], &hidden),
        "unclear by Thing scale DynamicQuantizeLinear"
    );
    // The scale itself is an answer about all rows.
    assert_eq!(
        of(&[-1, 4], &["q, y, z = DynamicQuantizeLinear(x)"]),
        "mixed by DynamicQuantizeLinear"
    );
}

#[test]
fn the_number_of_rows_is_no_part_of_a_row() {
    let lines = [
        "s = Shape(x)",
        "n = Gather(s, zero)",
        "c = Cast(n) to=1",
        "y = Div(x, c)",
    ];
    assert_eq!(of(&[-1, 4], &lines), "unclear by Div scale ?");
    let width = [
        "s = Shape(x)",
        "n = Gather(s, one)",
        "c = Cast(n) to=1",
        "y = Div(x, c)",
    ];
    assert_eq!(of(&[-1, -1], &width), "apart");
}

#[test]
fn softmax_of_early_versions_takes_all_further_axes_together() {
    let verdict = |opset, axis| {
        let line = format!("y = Softmax(x) axis={axis}");
        verdict(Case {
            shape: &[-1, 2, 4],
            opset,
            nodes: nodes(&[&line]),
            ..Case::default()
        })
    };
    assert_eq!(
        (&*verdict(12, 1), &*verdict(12, 0)),
        ("apart", "mixed by Softmax")
    );
    assert_eq!(
        (&*verdict(13, 1), &*verdict(13, -3)),
        ("apart", "mixed by Softmax")
    );
}

#[test]
fn the_sizes_of_tables_are_known_from_what_is_looked_up_in_them() {
    let read = |lines: &[&str]| {
        let case = Case {
            shape: &[-1, 12],
            ty: ElementType::Int64,
            nodes: nodes(lines),
            ..Case::default()
        };
        case.read().table_sizes
    };
    assert_eq!(
        read(&["c = Cast(x) to=7", "y = Gather(table, c)"]),
        [Some(200)]
    );
    assert_eq!(read(&["c = Add(x, one)", "y = Gather(table, c)"]), [None]);
}

#[test]
fn dice_behind_an_optional_input_are_seen() {
    let read = |has_optional| {
        let case = Case {
            nodes: nodes(&["y = Dropout(x, one, zero)"]),
            has_optional,
            ..Case::default()
        };
        case.read().random
    };
    assert_eq!(
        (read(false), read(true)),
        (None, Some(Cause::new("Dropout", "")))
    );
}

//! What the graph compares columns with.

use super::*;
use crate::model::onnx_proto::Tensor;

fn compares(text: &str, name: &str, values: &[&str]) -> Node {
    let mut node = node(text);
    node.attributes.push(Attribute {
        name: name.to_owned().into(),
        texts: values.iter().map(|v| Bytes::from(v.to_string())).collect(),
        ..Attribute::default()
    });
    node
}

fn number(name: &str, value: i64) -> Tensor {
    Tensor {
        dims: vec![1],
        data_type: 7,
        int64_data: vec![value],
        name: name.to_owned().into(),
        ..Tensor::default()
    }
}

fn column(name: &str, width: usize) -> TensorSpec {
    TensorSpec {
        name: name.to_owned(),
        element_type: ElementType::String,
        shape: Some(vec![Dim::Dynamic(None), Dim::Fixed(width)]),
    }
}

fn read(inputs: &[TensorSpec], nodes: Vec<Node>, numbers: &[i64]) -> Reading {
    let initializers = numbers.iter().enumerate();
    let model = Model {
        graph: Some(Graph {
            nodes,
            initializers: initializers
                .map(|(place, value)| number(&format!("n{place}"), *value))
                .collect(),
            ..Graph::default()
        }),
        ..Model::default()
    };
    Reading::of(&model, inputs, false)
}

#[test]
fn categories_are_those_of_the_column_that_is_picked() {
    // As skl2onnx writes a ColumnTransformer: columns side by side, and each taken out again.
    let inputs = [column("sex", 1), column("ports", 2)];
    let nodes = vec![
        node("all = Concat(sex,ports) axis=1"),
        node("first = ai.onnx.ml.ArrayFeatureExtractor(all,n0)"),
        node("last = Gather(all,n1) axis=1"),
        compares(
            "a = ai.onnx.ml.OneHotEncoder(first)",
            "cats_strings",
            &["f", "m"],
        ),
        node("flat = Reshape(last,n1)"),
        compares(
            "b = ai.onnx.ml.LabelEncoder(flat)",
            "keys_strings",
            &["C", "Q"],
        ),
    ];
    let known = read(&inputs, nodes, &[0, 2]).known;
    assert_eq!(known.of(0, 0).unwrap().texts, ["f", "m"]);
    assert_eq!(known.of(1, 1).unwrap().texts, ["C", "Q"]);
    assert_eq!(known.of(1, 0), None);
}

#[test]
fn words_are_those_of_the_texts_that_are_taken_apart() {
    let nodes = vec![
        compares("low = StringNormalizer(text)", "stopwords", &["the"]),
        node("words = com.microsoft.Tokenizer(low)"),
        compares(
            "y = TfIdfVectorizer(words)",
            "pool_strings",
            &["good", "bad"],
        ),
    ];
    let known = read(&[column("text", 1)], nodes, &[]).known;
    let values = known.of(0, 0).unwrap();
    assert_eq!(values.words, ["the", "good", "bad"]);
    assert!(values.texts.is_empty());
}

#[test]
fn a_graph_with_endless_categories_has_an_end_here() {
    let many: Vec<String> = (0..20_000).map(|n| format!("category {n}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let encoder = |_| compares("y = ai.onnx.ml.OneHotEncoder(x)", "cats_strings", &many);
    let known = read(&[column("x", 256)], (0..20).map(encoder).collect(), &[]).known;
    let texts = (0..256).filter_map(|column| known.of(0, column));
    let bytes: usize = texts
        .flat_map(|values| &values.texts)
        .map(String::len)
        .sum();
    assert!(bytes <= 4 << 20);
    assert_eq!(known.of(0, 0).unwrap().texts.len(), 4000);
    let wide = read(&[column("x", 257)], vec![encoder(0)], &[]).known;
    assert!(wide.is_empty());
}

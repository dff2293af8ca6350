//! What clients of other servers send, as users of those servers reported it, and what they get here.

use score::{
    CacheOutcome, ElementType, InferenceResponse, ModelMetadata, ModelSignature, NamedTensor,
    OutputForm, OutputSpec, Tensor, TensorSpec, Timings,
};
use serde_json::{Value, json};

use super::DIALECTS;
use crate::samples::{metadata, spec};
use crate::{AnswerForm, Body, Declared, Decoded, Limits, PayloadError};

const LIMITS: Limits = Limits {
    max_bytes: 1 << 20,
    max_nesting: 8,
    max_rows: 100,
};
/// A picture of 8 x 8 pixels.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAGklEQVR4nGM8oaHBAAM+RlvgbCYGHGBwSgAAvjMCWnwCQ0YAAAAASUVORK5CYII=";

fn classifier(inputs: Vec<TensorSpec>) -> ModelMetadata {
    let outputs = vec![
        spec("label", ElementType::Int64, &[-1]),
        spec("probabilities", ElementType::Float32, &[-1, 2]),
    ];
    ModelMetadata {
        default_outputs: vec![0],
        ..metadata(ModelSignature::of_tensors(inputs, outputs))
    }
}

fn read(model: &ModelMetadata, body: &str) -> Result<Decoded, String> {
    match crate::decode(body.as_bytes(), Declared::default(), model, LIMITS) {
        Ok(Body::Rows(decoded)) => Ok(decoded),
        Ok(Body::Keys(_)) => Err("keys".to_owned()),
        Err(PayloadError::Invalid(error)) => Err(error.to_string()),
        Err(error) => Err(format!("{error:?}")),
    }
}

/// The inputs of a body, all as one list, and what it is answered with.
fn scored(model: &ModelMetadata, body: &str) -> (Vec<Tensor>, Value) {
    let decoded = read(model, body).unwrap();
    let inputs = decoded.inputs.into_iter().map(|input| input.tensor);
    (inputs.collect(), answer(model, &decoded.answer))
}

/// What is answered with the same scores of two rows.
fn answer(model: &ModelMetadata, form: &AnswerForm) -> Value {
    let named = |name: &str, tensor| NamedTensor {
        name: name.into(),
        tensor,
    };
    let labels = Tensor::new(vec![2], vec![1i64, 0].into()).unwrap();
    let shares = Tensor::new(vec![2, 2], vec![0.25f32, 0.75, 0.5, 0.5].into()).unwrap();
    let response = InferenceResponse {
        outputs: vec![named("label", labels), named("probabilities", shares)],
        rows: 2,
        cache: CacheOutcome::Bypass,
        timings: Timings::default(),
    };
    let answer = crate::encode(form, None, model, &response).unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

fn matrix() -> ModelMetadata {
    classifier(vec![spec("x", ElementType::Float32, &[-1, 2])])
}

fn floats(values: &[f32]) -> Vec<Tensor> {
    let shape = vec![values.len() / 2, 2];
    vec![Tensor::new(shape, values.to_vec().into()).unwrap()]
}

/// MLflow's server wraps the scores of every content type; a body of JSON is answered in its own dialect.
#[test]
fn on_the_route_of_mlflow_tables_are_answered_by_row() {
    let answered = |content_type, body: &[u8], by_row| {
        let declared = Declared {
            content_type: Some(content_type),
            by_row,
            ..Declared::default()
        };
        let body = crate::decode(body, declared, &matrix(), LIMITS).unwrap();
        answer(&matrix(), &body.rows().unwrap().answer)
    };
    let (labels, table) = (json!([1, 0]), b"a,b\n1,2\n3,4\n");
    assert_eq!(answered("text/csv", table, false), labels);
    let predictions = json!({ "predictions": labels });
    assert_eq!(answered("text/csv", table, true), predictions);
    assert_eq!(
        answered("application/json", b"{\"data\": [[1, 2], [3, 4]]}", true),
        labels
    );
}

#[test]
fn mlflow_and_tensorflow_serving_get_their_own_answers() {
    let (labels, both) = (json!([1, 0]), [1.0, 2.0, 3.0, 4.0]);
    let predictions = json!({ "predictions": labels });
    let outputs = json!({ "outputs": labels });
    let either = json!({ "outputs": labels, "predictions": labels });
    for (body, answer) in [
        (
            r#"{"dataframe_split": {"columns": [0, 1], "index": [5, 6], "data": [[1, 2], [3, 4]]}}"#,
            &predictions,
        ),
        (
            r#"{"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2], [3, 4]]}, "params": {}}"#,
            &predictions,
        ),
        (r#"{"dataframe_records": [[1, 2], [3, 4]]}"#, &predictions),
        (
            r#"{"inputs": [[1, 2], [3, 4]], "params": {"alpha": 0.1}}"#,
            &predictions,
        ),
        (
            r#"{"inputs": {"x": [[1, 2], [3, 4]]}, "params": {}}"#,
            &predictions,
        ),
        (
            r#"{"signature_name": "serving_default", "inputs": {"x": [[1, 2], [3, 4]]}}"#,
            &outputs,
        ),
        (
            r#"{"signature_name": "serving_default", "inputs": [[1, 2], [3, 4]]}"#,
            &outputs,
        ),
        (r#"{"inputs": {"x": [[1, 2], [3, 4]]}}"#, &either),
        (r#"{"inputs": [[1, 2], [3, 4]]}"#, &either),
        (r#"{"inputs": [{"x": [1, 2]}, {"x": [3, 4]}]}"#, &either),
    ] {
        let (inputs, answered) = scored(&matrix(), body);
        assert_eq!(inputs, floats(&both), "{body}");
        assert_eq!(answered, *answer, "{body}");
    }
}

#[test]
fn records_of_a_table_become_its_columns() {
    let age = spec("age", ElementType::Int64, &[-1, 1]);
    let sex = spec("sex", ElementType::String, &[-1]);
    let body = r#"{"dataframe_records": [{"sex": "m", "age": 22}, {"sex": "f", "age": 38}]}"#;
    let (inputs, _) = scored(&classifier(vec![age, sex]), body);
    let texts = vec!["m".to_owned(), "f".to_owned()];
    assert_eq!(
        inputs[0],
        Tensor::new(vec![2, 1], vec![22i64, 38].into()).unwrap()
    );
    assert_eq!(inputs[1], Tensor::new(vec![2], texts.into()).unwrap());
}

#[test]
fn predict_proba_answers_with_the_probabilities() {
    let shares = json!([[0.25, 0.75], [0.5, 0.5]]);
    for (body, answer) in [
        (
            r#"{"Inputs": {"data": [[1, 2]]}, "GlobalParameters": {"method": "predict_proba"}}"#,
            json!({ "Results": shares }),
        ),
        (
            r#"{"data": [[1, 2]], "method": "predict_proba"}"#,
            shares.clone(),
        ),
        (
            r#"{"input_data": [[1, 2]], "params": {"method": "predict_proba"}}"#,
            shares.clone(),
        ),
        (
            r#"{"inputs": [[1, 2]], "params": {"predict_method": "predict_proba"}}"#,
            json!({ "predictions": shares }),
        ),
        (r#"{"data": [[1, 2]], "method": "predict"}"#, json!([1, 0])),
        (
            r#"{"Inputs": {"data": [[1, 2]]}, "GlobalParameters": 1.0}"#,
            json!({ "Results": [1, 0] }),
        ),
    ] {
        assert_eq!(scored(&matrix(), body).1, answer, "{body}");
    }
    let mut plain = matrix();
    plain.signature = ModelSignature::of_tensors(
        plain.signature.inputs,
        vec![spec("price", ElementType::Float32, &[-1])],
    );
    let refused = read(&plain, r#"{"data": [[1, 2]], "method": "predict_proba"}"#).unwrap_err();
    assert!(
        refused.contains("\"price\"") && refused.contains("probabilities"),
        "{refused}"
    );
    let mut options = score::OutputOptions::default();
    options.activation = Some(score::Activation::Softmax);
    plain.options.output.insert("price".to_owned(), options);
    assert!(read(&plain, r#"{"data": [[1, 2]], "method": "predict_proba"}"#).is_ok());
    let refused = read(&plain, r#"{"data": [[1, 2]], "method": "forecast"}"#).unwrap_err();
    assert!(
        refused.contains("expected predict or predict_proba"),
        "{refused}"
    );
}

#[test]
fn pictures_as_base64_are_what_they_are_as_bodies() {
    let model = classifier(vec![spec("pixels", ElementType::Uint8, &[-1, 8, 8, 3])]);
    let picture = crate::json::base64::decode(PNG.as_bytes()).unwrap();
    let Ok(Body::Rows(decoded)) = crate::decode(&picture, Declared::default(), &model, LIMITS)
    else {
        panic!("a picture");
    };
    let one = decoded.inputs[0].tensor.clone();
    let two = Tensor::stack([&one, &one]).unwrap();
    let lines = format!("{}\\n{}\\n", &PNG[..76], &PNG[76..]);
    let url_safe = PNG.replace('+', "-").replace('/', "_");
    for (body, expected) in [
        (format!(r#"{{"instances": [{{"b64": "{PNG}"}}]}}"#), &one),
        (
            format!(
                r#"{{"instances": [{{"img_bytes": {{"b64": "{PNG}"}}}}, {{"img_bytes": {{"b64": "{PNG}"}}}}]}}"#
            ),
            &two,
        ),
        (
            format!(
                r#"{{"signature_name": "predict_images", "inputs": {{"images": {{"b64": "{PNG}"}}}}}}"#
            ),
            &one,
        ),
        (
            format!(r#"{{"inputs": {{"images": [{{"b64": "{url_safe}"}}]}}}}"#),
            &one,
        ),
        (
            format!(r#"{{"data": ["{PNG}", "data:image/png;base64,{PNG}"]}}"#),
            &two,
        ),
        (
            format!(
                r#"{{"input_data": {{"columns": ["image"], "index": [0, 1], "data": ["{lines}", "{lines}"]}}}}"#
            ),
            &two,
        ),
        (
            format!(r#"{{"input_data": {{"columns": ["image"], "data": [["{PNG}"]]}}}}"#),
            &one,
        ),
        (
            format!(r#"{{"dataframe_split": {{"columns": ["image"], "data": [["{PNG}"]]}}}}"#),
            &one,
        ),
        (
            format!(r#"{{"dataframe_records": [{{"image": "{PNG}"}}]}}"#),
            &one,
        ),
        (
            format!(
                r#"{{"inputs": [{{"name": "pixels", "shape": [2], "datatype": "BYTES", "data": ["{PNG}", "{PNG}"]}}]}}"#
            ),
            &two,
        ),
    ] {
        let (inputs, _) = scored(&model, &body);
        assert_eq!(inputs, std::slice::from_ref(expected), "{body}");
    }
    let refused = read(
        &model,
        r#"{"instances": [{"b64": "R0lGODlhAQABAAAAACw="}]}"#,
    )
    .unwrap_err();
    assert!(
        refused.contains("instances[0]: not a picture: it is image/gif"),
        "{refused}"
    );
    let refused = read(&model, r#"{"instances": [{"b64": "no base64!"}]}"#).unwrap_err();
    assert!(refused.contains("not base64"), "{refused}");
}

#[test]
fn pictures_in_a_binary_tensor_come_behind_their_lengths() {
    let model = classifier(vec![spec("pixels", ElementType::Uint8, &[-1, 8, 8, 3])]);
    let picture = crate::json::base64::decode(PNG.as_bytes()).unwrap();
    let length = u32::try_from(picture.len()).unwrap().to_le_bytes();
    let tensor = [&length[..], &picture, &length, &picture].concat();
    let size = tensor.len();
    let head = format!(
        r#"{{"inputs": [{{"name": "pixels", "shape": [2, 1], "datatype": "BYTES", "parameters": {{"binary_data_size": {size}}}}}]}}"#
    );
    let declared = Declared {
        json_bytes: Some(head.len()),
        ..Declared::default()
    };
    let read = |tensor: &[u8]| {
        let body = [head.as_bytes(), tensor].concat();
        crate::decode(&body, declared, &model, LIMITS).map(|body| body.rows().unwrap())
    };
    assert_eq!(
        read(&tensor).unwrap().inputs[0].tensor.shape(),
        [2, 8, 8, 3]
    );
    let mut longer = tensor.clone();
    longer[0] ^= 0x80;
    assert!(read(&longer).is_err());
}

#[test]
fn texts_as_base64_are_utf_8() {
    let model = classifier(vec![spec("text", ElementType::String, &[-1])]);
    for body in [
        r#"{"instances": [{"b64": "aGVsbG8="}, {"b64": "w6k"}]}"#,
        r#"{"instances": [{"text": {"b64": "aGVsbG8="}}, {"text": "é"}]}"#,
        r#"{"inputs": [{"b64": "aGVsbG8="}, "é"]}"#,
    ] {
        let (inputs, _) = scored(&model, body);
        let texts = vec!["hello".to_owned(), "é".to_owned()];
        assert_eq!(
            inputs,
            [Tensor::new(vec![2], texts.into()).unwrap()],
            "{body}"
        );
    }
    let refused = read(&model, r#"{"instances": [{"b64": "/w=="}]}"#).unwrap_err();
    assert!(refused.contains("base64 of UTF-8"), "{refused}");
}

#[test]
fn a_sequence_is_one_output_for_each_element() {
    let mut model = matrix();
    model.signature.outputs = vec![
        spec("parts", ElementType::Float32, &[-1]),
        spec("parts.shapes", ElementType::Int64, &[-1]),
    ];
    model.signature.declared = vec![OutputSpec {
        name: "parts".into(),
        form: OutputForm::Sequence {
            elements: 0,
            shapes: 1,
        },
    }];
    let body =
        r#"{"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}"#;
    let decoded = read(&model, body).unwrap();
    let elements = Tensor::new(vec![3], vec![1f32, 2.0, 3.0].into()).unwrap();
    let shapes = Tensor::new(vec![5], vec![2i64, 1, 2, 1, 1].into()).unwrap();
    let outputs = [("parts", elements), ("parts.shapes", shapes)];
    let response = InferenceResponse {
        outputs: outputs
            .map(|(name, tensor)| NamedTensor {
                name: name.into(),
                tensor,
            })
            .into(),
        rows: 1,
        cache: CacheOutcome::Bypass,
        timings: Timings::default(),
    };
    let answer = crate::encode(&decoded.answer, None, &model, &response).unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let expected = json!([
        { "name": "parts.0", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0] },
        { "name": "parts.1", "datatype": "FP32", "shape": [1], "data": [3.0] },
    ]);
    assert_eq!(answer["outputs"], expected);
}

#[test]
fn what_is_refused_is_told_the_forms_that_are_taken() {
    for body in [
        r#"{"of_no_dialect": [[1, 2]]}"#,
        r#"{"dataframe": {}}"#,
        "{}",
    ] {
        let refused = match read(&matrix(), body) {
            Ok(_) => panic!("a dialect takes {body}; write a member here that none has"),
            Err(refused) => refused,
        };
        for dialect in DIALECTS {
            assert!(
                refused.contains(&format!("{:?}", dialect.member)),
                "{refused}"
            );
        }
    }
    let refused = read(
        &matrix(),
        r#"{"dataframe_split": {"data": [[1]]}, "inputs": []}"#,
    )
    .unwrap_err();
    assert!(refused.contains("not both"), "{refused}");
}

#[test]
fn optional_inputs_count_among_the_inputs_of_the_protocol() {
    let mut model = matrix();
    let single = |name| spec(name, ElementType::Float32, &[1]);
    model.signature.optional = vec![single("scale"), single("offset")];
    // Data before its shape is left to the careful path.
    let inputs = |names: &[&str]| {
        let one = |name: &&str| match *name {
            "x" => json!({ "name": "x", "datatype": "FP32", "data": [1, 2], "shape": [1, 2] }),
            other => json!({ "name": other, "datatype": "FP32", "data": [3], "shape": [1] }),
        };
        json!({ "inputs": names.iter().map(one).collect::<Vec<_>>() }).to_string()
    };
    let all = read(&model, &inputs(&["x", "scale", "offset"])).unwrap();
    assert_eq!(all.inputs.len(), 3);
    let refused = read(&model, &inputs(&["x", "scale", "offset", "x", "x"])).unwrap_err();
    assert!(refused.contains("the 3 inputs"), "{refused}");
}

#[test]
fn the_documentation_has_the_table_of_dialects() {
    let text = include_str!("../../../../docs/requests.md");
    let mut at = 0;
    for row in DIALECTS.iter().map(|dialect| dialect.documentation()) {
        let Some(found) = text[at..].find(&row) else {
            panic!(
                "docs/requests.md, request formats: write this row, in the order of DIALECTS:\n{row}"
            );
        };
        at += found;
    }
}

#[test]
fn what_comes_back_with_an_answer_is_bounded_and_stays_as_it_is_written() {
    let ask = |members: &str| {
        let input = r#"{"name":"x","shape":[2,2],"datatype":"FP32","data":[1,2,3,4]}"#;
        format!(r#"{{"inputs":[{input}],{members}}}"#)
    };
    let text =
        ask("\"parameters\":{\"b\" : [1.50,\n \"x y\"],\"binary_data_output\":false,\"a\":{}}");
    let decoded = read(&matrix(), &text).unwrap();
    let response = InferenceResponse {
        outputs: Vec::new(),
        rows: 2,
        cache: CacheOutcome::Bypass,
        timings: Timings::default(),
    };
    let answer = crate::encode(&decoded.answer, None, &matrix(), &response).unwrap();
    let answer = String::from_utf8(answer.body).unwrap();
    let returned = r#""parameters":{"b":[1.50,"x y"],"a":{}},"#;
    assert!(answer.contains(returned), "{answer}");

    let zeros = vec!["0"; 40_000].join(",");
    for (member, value) in [
        ("parameters", format!("{{\"a\":[{zeros}]}}")),
        ("id", format!("\"{zeros}\"")),
    ] {
        let error = read(&matrix(), &ask(&format!("\"{member}\":{value}"))).unwrap_err();
        assert!(error.contains("send at most 65536"), "{error}");
    }
    let own = format!("\"parameters\":{{\"binary_data_output\":[{zeros}]}}");
    assert!(read(&matrix(), &ask(&own)).is_err());
}

#[test]
fn lists_of_names_axes_and_inputs_are_read_no_further_than_their_bounds() {
    let zeros = vec!["0"; 70_000].join(",");
    for (body, part) in [
        (
            format!(r#"{{"input_data":{{"data":[[1,2]],"columns":[{zeros}]}}}}"#),
            "input_data.columns: more than 65536 names",
        ),
        (
            format!(
                r#"{{"inputs":[{{"name":"x","datatype":"FP32","shape":[{zeros}],"data":[1,2]}}]}}"#
            ),
            "inputs[0]: more than 64 values",
        ),
        (
            format!(r#"{{"inputs":[{{"name":"x"}},{zeros}]}}"#),
            "inputs[0]: missing",
        ),
    ] {
        let error = read(&matrix(), &body).unwrap_err();
        assert!(error.contains(part) && error.len() < 400, "{error}");
    }
    let index = format!(r#"{{"input_data":{{"data":[[1,2]],"columns":[0,1],"index":[{zeros}]}}}}"#);
    assert_eq!(read(&matrix(), &index).unwrap().inputs.len(), 1);
}

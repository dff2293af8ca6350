//! Models of every kind: element types, shapes, sequences and maps, optional inputs, options, layouts.

use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::in_process;
use functions_host::host::FunctionsHost;

const JSON: (&str, &str) = ("content-type", "application/json");

fn model(name: &str) -> std::path::PathBuf {
    repository().join(format!("tests/data/models/{name}.onnx"))
}

async fn score(host: &FunctionsHost, name: &str, body: Value) -> (Value, String) {
    let path = format!("/api/score/{name}");
    let body = body.to_string();
    let answer = host.http("POST", &path, &[JSON], body.as_bytes()).await;
    let answer = answer.expect_status(200);
    (answer.json(), answer.header("x-cache").unwrap().to_owned())
}

async fn infer(host: &FunctionsHost, name: &str, input: Value) -> Value {
    let path = format!("/api/score/v2/models/{name}/infer");
    let body = json!({ "inputs": [input] }).to_string();
    let answer = host.http("POST", &path, &[JSON], body.as_bytes()).await;
    answer.expect_status(200).at("/outputs/0")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_element_type_comes_back_unchanged() {
    let cases = [
        ("float16", "FP16", json!([0.5, 65504.0])),
        ("bfloat16", "BF16", json!([0.5, -2.0])),
        ("float32", "FP32", json!([0.1, "NaN"])),
        ("float64", "FP64", json!([0.1, "-Infinity"])),
        ("int8", "INT8", json!([-128, 127])),
        ("int16", "INT16", json!([-32768, 32767])),
        ("int32", "INT32", json!([i32::MIN, i32::MAX])),
        (
            "int64",
            "INT64",
            json!([i64::MIN, 9_007_199_254_740_993_i64]),
        ),
        ("uint8", "UINT8", json!([0, 255])),
        ("uint16", "UINT16", json!([0, 65535])),
        ("uint32", "UINT32", json!([0, u32::MAX])),
        ("uint64", "UINT64", json!([0, u64::MAX])),
        ("bool", "BOOL", json!([true, false])),
        (
            "string",
            "BYTES",
            json!(["käse 🧀\u{2028}", "x".repeat(1 << 20)]),
        ),
    ];
    let app = AppRoot::new();
    for (ty, ..) in &cases {
        app.add_model(ty, model(&format!("identity_{ty}")), None);
    }
    let host = in_process::start(&app, []).await;
    for (ty, datatype, values) in cases {
        let (answer, cache) = score(&host, ty, json!({ "data": [values] })).await;
        assert_eq!((answer, cache.as_str()), (json!([values]), "MISS"), "{ty}");
        let input = json!({ "name": "x", "shape": [1, 2], "datatype": datatype, "data": values });
        let output = infer(&host, ty, input).await;
        assert_eq!(output["data"], values, "{ty}");
        assert_eq!(output["datatype"], datatype);
        let (_, cache) = score(&host, ty, json!({ "instances": [values] })).await;
        assert_eq!(cache, "HIT", "{ty}");
    }
}

/// What `quantized` makes of a row by itself: 256 steps from its smallest value, or 0, to its largest.
fn quantized_alone(row: [f32; 3]) -> [f32; 3] {
    let least = row.iter().fold(0f32, |least, v| least.min(*v));
    let most = row.iter().fold(0f32, |most, v| most.max(*v));
    let scale = (most - least) / 255.0;
    let zero = (-least / scale).round_ties_even().clamp(0.0, 255.0);
    row.map(|v| (((v / scale).round_ties_even() + zero).clamp(0.0, 255.0) - zero) * scale)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_share_a_scale_get_the_same_bits_in_any_company() {
    let app = AppRoot::new();
    app.add_model("quantized", model("quantized"), None);
    app.add_model("sure", model("quantized"), Some("rows = \"independent\""));
    let host = in_process::start(&app, []).await;
    let rows = document(&host, "quantized").await["rows"].clone();
    assert_eq!(rows["treated"], "alone");
    assert_eq!(rows["because"], "proved from the graph");
    assert_eq!(rows["operator"], "DynamicQuantizeLinear \"quantize\"");
    let declared = document(&host, "sure").await["rows"].clone();
    assert_eq!(
        (&declared["treated"], &declared["because"]),
        (&json!("independent"), &json!("model.toml"))
    );
    let warning = declared["warning"].as_str().unwrap();
    assert!(
        warning.contains("DynamicQuantizeLinear") && warning.contains("\"alone\""),
        "{warning}"
    );

    // The large one would leave the small ones no step of their own.
    let given = [[0.1, 0.3, 0.2], [1000.0, -5.0, 2.0], [0.02, 0.01, 0.0]];
    let expected: Vec<[f32; 3]> = given.map(quantized_alone).to_vec();
    let labels = json!([1, 0, 0]);
    let headers = [JSON, ("cache-control", "no-store")];
    let body = json!({ "data": given }).to_string();
    let fresh = host
        .http("POST", "/api/score/quantized", &headers, body.as_bytes())
        .await;
    let (kept, cache) = score(&host, "quantized", json!({ "data": given })).await;
    assert_eq!(cache, "MISS");
    for answer in [fresh.expect_status(200).json(), kept] {
        assert_eq!(answer["label"], labels);
        let y: Vec<[f32; 3]> = serde_json::from_value(answer["y"].clone()).unwrap();
        assert_eq!(y, expected);
    }
    for (row, expected) in given.into_iter().zip(&expected) {
        let (answer, cache) = score(&host, "quantized", json!({ "data": [row] })).await;
        assert_eq!(cache, "HIT", "{row:?}");
        let y: Vec<[f32; 3]> = serde_json::from_value(answer["y"].clone()).unwrap();
        assert_eq!(y, [*expected]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_for_one_row_takes_many() {
    let app = AppRoot::new();
    app.add_model("fixed", model("fixed"), None);
    let host = in_process::start(&app, []).await;
    let (answer, cache) = score(&host, "fixed", json!({ "data": [[1, 2, 3], [4, 5, 6]] })).await;
    assert_eq!(answer, json!([[2.0, 4.0, 6.0], [8.0, 10.0, 12.0]]));
    assert_eq!(cache, "MISS");
    let (answer, cache) = score(&host, "fixed", json!({ "data": [[4, 5, 6]] })).await;
    assert_eq!((answer, &*cache), (json!([[8.0, 10.0, 12.0]]), "HIT"));
    assert_eq!(
        document(&host, "fixed").await["inputs"][0]["shape"],
        json!([-1, 3])
    );
}

async fn document(host: &FunctionsHost, name: &str) -> Value {
    let path = format!("/api/score/{name}");
    host.http("GET", &path, &[], b"")
        .await
        .expect_status(200)
        .json()
}

#[tokio::test(flavor = "multi_thread")]
async fn zero_rows_scalars_and_nul() {
    let app = AppRoot::with_sample();
    app.add_model("scalar", model("scalar"), None);
    app.add_model("string", model("identity_string"), None);
    let host = in_process::start(&app, []).await;
    let empty = json!({ "name": "x", "shape": [0, 784], "datatype": "FP32", "data": [] });
    let output = infer(&host, "mnist", empty).await;
    assert_eq!(
        (&output["shape"], &output["data"]),
        (&json!([0]), &json!([]))
    );
    assert_eq!(
        score(&host, "scalar", json!({ "data": 3 })).await.0,
        json!(9.0)
    );
    let nul = json!({ "data": [["a", "b\0c"]] }).to_string();
    let refused = host
        .http("POST", "/api/score/string", &[JSON], nul.as_bytes())
        .await;
    assert!(refused.expect_status(400).text().contains("NUL"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_without_a_declared_shape_takes_any_rank_in_every_dialect() {
    let app = AppRoot::new();
    app.add_model("double", model("any_rank"), None);
    app.add_model("conv", model("any_rank_conv"), None);
    let host = in_process::start(&app, []).await;
    for (data, doubled) in [
        (json!(1.5), json!(3.0)),
        (json!([]), json!([])),
        (json!([1, 2]), json!([2.0, 4.0])),
        (json!([[1, 2]]), json!([[2.0, 4.0]])),
        (json!([[[1]], [[2]]]), json!([[[2.0]], [[4.0]]])),
    ] {
        let (answer, cache) = score(&host, "double", json!({ "data": data })).await;
        assert_eq!(
            (answer, cache.as_str()),
            (doubled.clone(), "MISS"),
            "{data}"
        );
        let by_name = json!({ "Inputs": { "x": data } });
        let (answer, cache) = score(&host, "double", by_name).await;
        assert_eq!(
            (&answer["Results"], cache.as_str()),
            (&doubled, "HIT"),
            "{data}"
        );
    }
    // The same values in another shape are another request.
    let cube = json!({ "name": "x", "shape": [2, 1, 1, 1], "datatype": "FP32", "data": [1, 2] });
    let output = infer(&host, "double", cube).await;
    assert_eq!(output["shape"], json!([2, 1, 1, 1]));
    assert_eq!(output["data"], json!([2.0, 4.0]));
    let post = async |name: &str, content_type, body: &[u8]| {
        let headers = [("content-type", content_type)];
        host.http("POST", &format!("/api/score/{name}"), &headers, body)
            .await
    };
    let table = post("double", "text/csv", b"1,2\n3,4\n").await;
    assert_eq!(
        table.expect_status(200).json(),
        json!([[2.0, 4.0], [6.0, 8.0]])
    );
    let raw = post("double", "application/octet-stream", &[0; 4]).await;
    assert!(raw.expect_status(400).text().contains("send npy or JSON"));
    let text = post("double", "application/json", br#"{"data":["a"]}"#).await;
    assert!(text.expect_status(400).text().contains("expected a number"));
    let axes = json!({ "inputs": [
        { "name": "x", "shape": vec![1; 65], "datatype": "FP32", "data": [1] }
    ]});
    let path = "v2/models/double/infer";
    let axes = post(path, "application/json", axes.to_string().as_bytes()).await;
    assert!(
        axes.expect_status(400)
            .text()
            .contains("more than 64 values")
    );

    let described = host.http("GET", "/api/score/double", &[], b"").await;
    let described = described.expect_status(200).json();
    assert_eq!(
        described["inputs"],
        json!([{ "name": "x", "datatype": "FP32", "shape": null }])
    );
    assert_eq!(described["outputs"][0]["shape"], json!(null));
    assert_eq!(described["rows"]["treated"], "together");
    assert_eq!(described["memoized"], true);
    let sample = described["sample_request"].clone();
    assert_eq!(score(&host, "double", sample).await.0, json!([[0.0]]));
    let protocol = host
        .http("GET", "/api/score/v2/models/double", &[], b"")
        .await;
    assert_eq!(
        protocol.expect_status(200).at("/inputs/0/shape"),
        json!([-1])
    );
    // A single request might end the process.
    let refused = post("conv", "application/json", br#"{"data":[1]}"#).await;
    let reason = refused.expect_status(503).text();
    assert!(reason.contains("operator Conv") && reason.contains("declare the input's shape"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_fits_a_column_in_the_protocol() {
    let app = AppRoot::new();
    app.add_model("mixed", model("mixed"), None);
    let host = in_process::start(&app, []).await;
    let tensor = |name: &str, datatype: &str, shape: Value, data: Value| json!({ "name": name, "datatype": datatype, "shape": shape, "data": data });
    let inputs = json!({ "inputs": [
        tensor("a", "FP32", json!([2, 2]), json!([1, 2, 3, 4])),
        tensor("b", "INT64", json!([2]), json!([10, -1])),
        tensor("c", "BYTES", json!([2]), json!(["x", "y"])),
        tensor("d", "BOOL", json!([2]), json!([true, true])),
        tensor("e", "FP64", json!([2, 2]), json!([1, 2, 3, 4])),
        tensor("f", "INT32", json!([2]), json!([1, 2])),
    ]});
    let path = "/api/score/v2/models/mixed/infer";
    let answer = host
        .http("POST", path, &[JSON], inputs.to_string().as_bytes())
        .await;
    let answer = answer.expect_status(200);
    assert_eq!(answer.at("/outputs/0/data"), json!([11.0, 12.0, 2.0, 3.0]));
    // The answer keeps the shape that the model gives.
    assert_eq!(answer.at("/outputs/5/shape"), json!([2, 1]));
    assert_eq!(answer.at("/outputs/5/data"), json!([11, 0]));
    let mut wide = inputs;
    wide["inputs"][4] = tensor("e", "FP64", json!([4]), json!([1, 2, 3, 4]));
    let refused = host
        .http("POST", path, &[JSON], wide.to_string().as_bytes())
        .await;
    let refused = refused.expect_status(400).text();
    assert!(
        refused.contains("expected float64 [?,2], got [4]"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn zipmap_answers_a_list_of_objects_and_is_cut_into_rows() {
    let app = AppRoot::new();
    app.add_model("iris", model("zipmap"), None);
    app.add_model(
        "only",
        model("zipmap"),
        Some("outputs = [\"output_probability\"]"),
    );
    let host = in_process::start(&app, []).await;
    let rows = json!([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]);
    let (answer, _) = score(&host, "iris", json!({ "data": rows })).await;
    assert_eq!(answer["output_label"], json!([0, 2]));
    let maps = answer["output_probability"].as_array().unwrap();
    for map in maps {
        let keys: Vec<_> = map.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["0", "1", "2"]);
        let sum: f64 = map
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_f64)
            .sum();
        assert!((sum - 1.0).abs() < 1e-5);
    }
    assert!(maps[1]["2"].as_f64() > maps[1]["0"].as_f64());
    let (second, cache) = score(&host, "iris", json!({ "data": [rows[1]] })).await;
    assert_eq!(cache, "HIT");
    assert_eq!(second["output_probability"][0], maps[1]);
    let (predictions, _) = score(&host, "iris", json!({ "instances": rows })).await;
    assert_eq!(
        predictions["predictions"][1],
        json!({ "output_label": 2, "output_probability": maps[1] })
    );
    assert_eq!(
        score(&host, "only", json!({ "data": rows })).await.0,
        json!(maps)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_answers_a_list_of_tensors() {
    let app = AppRoot::new();
    app.add_model("pieces", model("pieces"), Some("memoize = true"));
    let host = in_process::start(&app, []).await;
    for cached in ["MISS", "HIT"] {
        let (answer, cache) = score(&host, "pieces", json!({ "data": [1, 2, 3] })).await;
        assert_eq!(
            (answer, cache.as_str()),
            (json!([[1.0], [2.0, 3.0]]), cached)
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_with_a_value_of_their_own_may_be_given_or_left_out() {
    let app = AppRoot::new();
    app.add_model("optional", model("optional"), None);
    let host = in_process::start(&app, []).await;
    let score = async |body: Value| score(&host, "optional", body).await;
    let (answer, _) = score(json!({ "data": [1, 2] })).await;
    assert_eq!(answer, json!([10.0, 20.0]));
    let given = json!({ "data": { "x": [1, 2], "factor": [3] } });
    assert_eq!(
        score(given.clone()).await,
        (json!([3.0, 6.0]), "MISS".into())
    );
    assert_eq!(score(given).await.1, "HIT");
    assert_eq!(
        score(json!({ "data": [1, 2] })).await,
        (json!([10.0, 20.0]), "HIT".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn model_toml_names_classes_and_sets_limits() {
    let app = AppRoot::new();
    let options =
        "outputs = [\"output_label\"]\nlabels = [\"setosa\", \"versicolor\"]\nmax_rows = 2";
    app.add_model("iris", model("zipmap"), Some(options));
    let host = in_process::start(&app, []).await;
    let rows = json!([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]);
    let (answer, _) = score(&host, "iris", json!({ "data": rows })).await;
    assert_eq!(
        answer,
        json!(["setosa", "2"]),
        "a class without a name keeps its number"
    );
    let three = json!({ "data": [rows[0], rows[0], rows[0]] }).to_string();
    let refused = host
        .http("POST", "/api/score/iris", &[JSON], three.as_bytes())
        .await;
    assert!(refused.expect_status(400).text().contains("at most 2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn azure_mls_folders_are_found_and_the_highest_version_serves() {
    let app = AppRoot::with_sample();
    app.remove_model("mnist");
    let sample = std::fs::read(repository().join("models/mnist/model.onnx")).unwrap();
    app.write(
        "azureml/digits/9/model.onnx",
        "an older version, and a broken one",
    );
    app.write("azureml/digits/10/mnist.onnx", sample);
    let folder = app.path().join("azureml");
    let digits = Digits::load();
    for folder in [folder.clone(), folder.join("digits/10")] {
        let settings = [("AZUREML_MODEL_DIR", folder.to_str().unwrap())];
        let host = in_process::start(&app, settings).await;
        let document = host
            .http("GET", "/api/score/digits", &[], b"")
            .await
            .expect_status(200);
        assert_eq!(document.at("/version"), "10");
        let answer = host
            .http("POST", "/api/score", &[JSON], &digits.body([4]))
            .await;
        assert_eq!(answer.expect_status(200).at("/label"), digits.answer([4]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn models_without_inputs_with_external_data_and_over_a_sequence() {
    let app = AppRoot::new();
    app.add_model("constant", model("constant"), None);
    app.add_model("external", model("external"), None);
    app.write("models/external/model.weights", 7f32.to_le_bytes());
    app.add_model("attention", model("attention"), None);
    let host = in_process::start(&app, []).await;
    assert_eq!(
        score(&host, "constant", json!({ "data": {} })).await.0,
        json!([2.0])
    );
    assert_eq!(
        score(&host, "external", json!({ "data": [1, 2] })).await.0,
        json!([7.0, 14.0])
    );
    let document = host.http("GET", "/api/score/attention", &[], b"").await;
    assert_eq!(document.at("/rows/treated"), "together");
    assert_eq!(document.at("/deterministic"), true);

    // Other weights beside the same file are another model.
    let digest = host
        .http("GET", "/api/score/external", &[], b"")
        .await
        .at("/digest");
    app.write("models/external/model.weights", 8f32.to_le_bytes());
    let host = in_process::start(&app, []).await;
    assert_ne!(
        host.http("GET", "/api/score/external", &[], b"")
            .await
            .at("/digest"),
        digest
    );
    assert_eq!(
        score(&host, "external", json!({ "data": [1, 2] })).await.0,
        json!([8.0, 16.0])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_carried_is_refused_by_name() {
    let app = AppRoot::new();
    app.add_model("tiny", model("tiny_float"), None);
    app.add_model("affine", model("affine"), None);
    let host = in_process::start(&app, []).await;
    let answer = host
        .http("POST", "/api/score/tiny", &[JSON], br#"{"data":[1]}"#)
        .await;
    let text = answer.expect_status(503).text();
    assert!(
        text.contains(r#"output \"y\" is"#) && text.contains("which cannot be served"),
        "{text}"
    );
}

also_forwarded! {
    every_element_type_comes_back_unchanged,
    rows_that_share_a_scale_get_the_same_bits_in_any_company,
    a_model_for_one_row_takes_many,
    zero_rows_scalars_and_nul,
    an_input_without_a_declared_shape_takes_any_rank_in_every_dialect,
    a_list_fits_a_column_in_the_protocol,
    zipmap_answers_a_list_of_objects_and_is_cut_into_rows,
    a_sequence_answers_a_list_of_tensors,
    inputs_with_a_value_of_their_own_may_be_given_or_left_out,
    model_toml_names_classes_and_sets_limits,
    azure_mls_folders_are_found_and_the_highest_version_serves,
    models_without_inputs_with_external_data_and_over_a_sequence,
    what_cannot_be_carried_is_refused_by_name,
}

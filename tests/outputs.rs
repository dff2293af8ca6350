//! `[output.<name>]` of model.toml: activations, the best classes, labels. The model is y = 2x + 1.

use functions_host::host::FunctionsHost;
use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(host: &FunctionsHost, path: &str, body: &Value) -> (Value, String) {
    let body = body.to_string();
    let answer = host.http("POST", path, &[JSON], body.as_bytes()).await;
    let answer = answer.expect_status(200);
    let cache = answer.header("x-cache").unwrap_or_default().to_owned();
    (answer.json(), cache)
}

fn add(app: &AppRoot, name: &str, options: &str) {
    let affine = repository().join("tests/data/models/affine.onnx");
    app.add_model(name, affine, Some(options));
}

const TOP: &str =
    "[output.y]\nactivation = \"softmax\"\ntop_k = 2\nlabels = [\"cat\", \"dog\", \"owl\"]";

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_answers_with_what_model_toml_makes_of_the_models_output() {
    let app = AppRoot::new();
    add(&app, "raw", "");
    add(&app, "top", TOP);
    let host = in_process::start(&app, []).await;
    // y = [1, 3, 5]; scipy.special.softmax of it is [0.01587624, 0.11731043, 0.86681333].
    let row = json!([[0, 1, 2]]);
    let (answer, cache) = post(&host, "/api/score/raw", &json!({ "data": row })).await;
    assert_eq!((answer, cache.as_str()), (json!([[1.0, 3.0, 5.0]]), "MISS"));
    let best = json!([[
        { "label": "owl", "score": 0.866_813_36 },
        { "label": "dog", "score": 0.117_310_43 },
    ]]);
    // What is stored is the model's own output, so both models know the row.
    let (answer, cache) = post(&host, "/api/score/top", &json!({ "data": row })).await;
    assert_eq!((&answer, cache.as_str()), (&best, "HIT"));
    let (answer, _) = post(&host, "/api/score/top", &json!({ "instances": row })).await;
    assert_eq!(answer["predictions"], best);
    let (answer, _) = post(&host, "/api/score/raw", &json!({ "data": row })).await;
    assert_eq!(answer, json!([[1.0, 3.0, 5.0]]));
    // Tensors stay tensors.
    let input = json!({ "name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0, 1, 2] });
    let infer = "/api/score/v2/models/top/infer";
    let (answer, _) = post(&host, infer, &json!({ "inputs": [input] })).await;
    let softmax = json!([0.015_876_24, 0.117_310_43, 0.866_813_36]);
    assert_eq!(answer["outputs"][0]["data"], softmax);
    let asked = json!([{ "name": "y", "parameters": { "classification": 1 } }]);
    let body = json!({ "inputs": [input], "outputs": asked });
    let (answer, _) = post(&host, infer, &body).await;
    assert_eq!(answer["outputs"][0]["data"], json!(["0.866813:2:owl"]));
    let document = host.http("GET", "/api/score/top", &[], b"").await.json();
    let output = &document["outputs"][0];
    assert_eq!(
        (&output["activation"], &output["top_k"], &output["labels"]),
        (&json!("softmax"), &json!(2), &json!(["cat", "dog", "owl"]))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn labels_come_from_a_file_and_are_counted_when_the_model_is_loaded() {
    let app = AppRoot::new();
    add(
        &app,
        "named",
        "[output.y]\nactivation = \"sigmoid\"\nlabels = \"classes.txt\"",
    );
    add(&app, "few", "[output.y]\nlabels = [\"cat\", \"dog\"]");
    add(&app, "missing", "[output.y]\nlabels = \"classes.txt\"");
    add(&app, "misspelt", "[output.y]\nactivation = \"softmaks\"");
    add(&app, "plain", "");
    app.write("models/named/classes.txt", "cat\ndog\nowl\n");
    let host = in_process::start(&app, []).await;
    let row = json!({ "data": [[-0.5, 0, 1]] });
    let (answer, _) = post(&host, "/api/score/named", &row).await;
    let named = json!([{ "cat": 0.5, "dog": 0.731_058_6, "owl": 0.952_574_13 }]);
    assert_eq!(answer, named);
    let all = host.http("GET", "/api/score", &[], b"").await.json();
    let of = |name: &str| {
        let models = all["models"].as_array().unwrap().iter();
        let mut named = models.filter(|model| model["name"] == name);
        named.next().unwrap().clone()
    };
    // The file of labels is no part of what is stored.
    assert_eq!(of("named")["digest"], of("plain")["digest"]);
    for (name, reason) in [
        (
            "few",
            "output.y: labels: 2 names, and the output has 3 values in each row",
        ),
        (
            "missing",
            "output.y: labels: \"classes.txt\" beside model.onnx cannot be read",
        ),
        ("misspelt", "unknown variant `softmaks`"),
    ] {
        let error = of(name)["error"].as_str().unwrap().to_owned();
        assert!(error.contains(reason), "{name}: {error}");
    }
}

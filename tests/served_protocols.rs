//! The routes of TensorFlow Serving, KServe V1, MLflow and Triton, as their clients call them.

use serde_json::{Value, json};

use crate::guard::{OWN, ask, without_host};
use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;

const JSON: (&str, &str) = ("content-type", "application/json");
const ROWS: &str = r#"{"instances": [[1,2,3]]}"#;

/// Models with one input and with several, and one that cannot be loaded; `affine` answers `2x + 1`.
fn app() -> AppRoot {
    let app = AppRoot::new();
    for name in ["affine", "mixed", "optional"] {
        let file = repository().join(format!("tests/data/models/{name}.onnx"));
        app.add_model(name, file, None);
    }
    app.write("models/broken/model.onnx", "no model at all");
    app
}

pub(crate) async fn host() -> FunctionsHost {
    in_process::start(&app(), [("SCORE_DEFAULT_MODEL", "affine")]).await
}

async fn get(host: &FunctionsHost, path: &str) -> Answer {
    host.http("GET", &format!("/api/score/{path}"), &[], b"")
        .await
}

pub(crate) async fn post(host: &FunctionsHost, path: &str, body: &str) -> Answer {
    let path = format!("/api/score/{path}");
    host.http("POST", &path, &[JSON], body.as_bytes()).await
}

async fn invoke(host: &FunctionsHost, content_type: &str, body: &str) -> Answer {
    let headers = [("content-type", content_type)];
    host.http("POST", "/api/score/invocations", &headers, body.as_bytes())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn predict_takes_rows_and_columns_with_and_without_a_version() {
    let host = host().await;
    let predictions = json!({ "predictions": [[3.0, 5.0, 7.0]] });
    for path in [
        "v1/models/affine:predict",
        "v1/models/affine:predict/",
        "v1/models/affine%3Apredict",
        "v1/models/affine%3apredict",
        "v1/models/affine/versions/1:predict",
        "v1/models/affine/versions/1%3Apredict",
    ] {
        let answer = post(&host, path, ROWS).await.expect_status(200);
        assert_eq!(answer.json(), predictions, "{path}");
    }
    for (body, expected) in [
        (
            r#"{"signature_name": "serving_default", "instances": [[1,2,3]]}"#,
            predictions.clone(),
        ),
        (r#"{"instances": [{"x": [1,2,3]}]}"#, predictions),
        (
            r#"{"signature_name": "serving_default", "inputs": {"x": [[1,2,3]]}}"#,
            json!({ "outputs": [[3.0, 5.0, 7.0]] }),
        ),
    ] {
        let answer = post(&host, "v1/models/affine:predict", body).await;
        assert_eq!(answer.expect_status(200).json(), expected, "{body}");
    }
    let row = json!({ "a": [1, 2], "b": [3], "c": "é", "d": true, "e": [0, 0], "f": 4 });
    let body = json!({ "instances": [row] }).to_string();
    let answer = post(&host, "v1/models/mixed:predict", &body).await;
    let answer = answer.expect_status(200);
    assert_eq!(answer.at("/predictions/0/echo"), "é");
    assert_eq!(answer.at("/predictions/0/twice"), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_predict_refuses_is_told_in_its_form() {
    let host = host().await;
    for (path, body, status, told) in [
        (
            "v1/models/affine:predict",
            r#"{"instances": [[1,2]]}"#,
            400,
            "[1,2]",
        ),
        ("v1/models/affine:predict", "{}", 400, "instances"),
        ("v1/models/nothing:predict", ROWS, 404, "nothing"),
        (
            "v1/models/affine/versions/7:predict",
            ROWS,
            404,
            "no version",
        ),
        ("v1/models/broken:predict", ROWS, 503, "could not be loaded"),
        (
            "v1/models/affine:classify",
            r#"{"examples": [{"x": 1}]}"#,
            400,
            "to :predict instead",
        ),
        (
            "v1/models/affine/versions/1:regress",
            "{}",
            400,
            "to :predict instead",
        ),
        (
            "v1/models/affine:explain",
            ROWS,
            400,
            ":predict scores rows",
        ),
    ] {
        let answer = post(&host, path, body).await.expect_status(status);
        let error = answer.json();
        let text = error["error"].as_str().unwrap();
        assert!(text.contains(told), "{path}: {text}");
        assert_eq!(error.as_object().unwrap().len(), 1, "{path}");
    }
    for path in [
        "v1/models/affine:predict",
        "v1/models/affine/versions/1:predict",
    ] {
        let answer = get(&host, path).await.expect_status(405);
        assert_eq!(answer.header("allow"), Some("POST"));
        assert!(answer.json()["error"].is_string());
    }
    post(&host, "v1/models/affine:Predict", ROWS)
        .await
        .expect_status(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn states_and_signatures_are_tensorflow_servings() {
    let host = host().await;
    let model = get(&host, "v1/models/affine")
        .await
        .expect_status(200)
        .json();
    assert_eq!(
        (&model["name"], &model["ready"]),
        (&json!("affine"), &json!(true))
    );
    let status = get(&host, "v1/models/affine/versions/1")
        .await
        .expect_status(200);
    assert_eq!(
        status.json()["model_version_status"],
        model["model_version_status"]
    );
    assert_eq!(status.at("/model_version_status/0/state"), "AVAILABLE");
    get(&host, "v1/models/affine/versions/2")
        .await
        .expect_status(404);
    for path in [
        "v1/models/mixed/metadata",
        "v1/models/mixed/versions/1/metadata",
    ] {
        let told = get(&host, path).await.expect_status(200);
        assert_eq!(told.at("/model_spec/version"), "1");
        let signature = "/metadata/signature_def/signature_def/serving_default";
        assert_eq!(told.at(&format!("{signature}/inputs/c/dtype")), "DT_STRING");
        let shape = told.at(&format!("{signature}/inputs/a/tensor_shape"));
        let sizes = json!([{ "size": "-1", "name": "" }, { "size": "2", "name": "" }]);
        assert_eq!(
            (&shape["dim"], &shape["unknown_rank"]),
            (&sizes, &json!(false))
        );
        assert_eq!(
            told.at(&format!("{signature}/outputs/wide/dtype")),
            "DT_DOUBLE"
        );
    }
    get(&host, "v1/models/nothing/metadata")
        .await
        .expect_status(404);
}

/// Source: `InferenceRESTClient.is_server_live` and `is_model_ready` of kserve 0.21.
#[tokio::test(flavor = "multi_thread")]
async fn kserves_client_sees_below_its_address_whether_server_and_model_live() {
    let host = host().await;
    for path in ["", "/"] {
        let path = format!("/api/score{path}");
        let answer = host.http("GET", &path, &[], b"").await.expect_status(200);
        assert_eq!(answer.at("/status"), "alive");
        assert_eq!(answer.at("/name"), "affine");
    }
    let live = get(&host, "v2/health/live").await.expect_status(200);
    assert_eq!(live.at("/live"), true);
    let model = get(&host, "v1/models/affine").await.expect_status(200);
    assert_eq!(model.at("/ready"), true);
    assert_eq!(get(&host, "affine").await.json().get("status"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn mlflows_scoring_server() {
    let host = host().await;
    // Ends once models are loaded, which a ping does not wait for.
    get(&host, "v1/models").await.expect_status(200);
    for path in ["ping", "health"] {
        let answer = get(&host, path).await.expect_status(200);
        assert_eq!(answer.text(), "\n");
    }
    let version = get(&host, "version").await.expect_status(200);
    assert_eq!(version.text(), env!("CARGO_PKG_VERSION"));
    let predictions = json!([[3.0, 5.0, 7.0]]);
    for (kind, body) in [
        ("application/json", r#"{"inputs": [[1,2,3]]}"#),
        ("application/json", r#"{"instances": [[1,2,3]]}"#),
        (
            "application/json",
            r#"{"inputs": {"x": [[1,2,3]]}, "params": {}}"#,
        ),
        (
            "application/json; charset=utf-8",
            r#"{"dataframe_split": {"columns": ["a","b","c"], "data": [[1,2,3]]}}"#,
        ),
        (
            "application/json",
            r#"{"dataframe_records": [{"x": [1,2,3]}]}"#,
        ),
        ("text/csv", "a,b,c\n1,2,3\n"),
    ] {
        let answer = invoke(&host, kind, body).await.expect_status(200);
        assert_eq!(answer.at("/predictions"), predictions, "{body}");
    }
    for (kind, body, status, code) in [
        (
            "application/json",
            r#"{"inputs": [[1]]}"#,
            400,
            "BAD_REQUEST",
        ),
        ("application/json", "[[1,2,3]]", 400, "BAD_REQUEST"),
        ("application/x-what", "1", 415, "BAD_REQUEST"),
    ] {
        let answer = invoke(&host, kind, body).await.expect_status(status);
        assert_eq!(answer.at("/error_code"), code, "{body}");
        assert!(answer.json()["message"].is_string());
    }
    let undecided = in_process::start(&app(), []).await;
    let answer = post(&undecided, "invocations", r#"{"inputs": [[1,2,3]]}"#).await;
    let answer = answer.expect_status(404);
    assert_eq!(answer.at("/error_code"), "RESOURCE_DOES_NOT_EXIST");
}

#[tokio::test(flavor = "multi_thread")]
async fn tritons_configuration_statistics_and_index() {
    let host = host().await;
    let config = get(&host, "v2/models/affine/config")
        .await
        .expect_status(200)
        .json();
    assert_eq!(config["max_batch_size"], 10_000, "{config}");
    let tensor = json!({ "name": "x", "data_type": "TYPE_FP32", "dims": [3] });
    assert_eq!(config["input"], json!([tensor]));
    let optional = get(&host, "v2/models/optional/versions/1/config").await;
    let optional = optional.expect_status(200).json();
    assert_eq!(optional["max_batch_size"], 0, "{optional}");
    assert_eq!(optional["input"][1]["optional"], true);

    for body in [ROWS, ROWS, r#"{"instances": [[1]]}"#] {
        post(&host, "v1/models/affine:predict", body).await;
    }
    let stats = get(&host, "v2/models/affine/stats")
        .await
        .expect_status(200);
    let stats = stats.at("/model_stats/0");
    let count = |name: &str| stats["inference_stats"][name]["count"].clone();
    assert_eq!(
        (count("success"), count("fail")),
        (json!(2), json!(1)),
        "{stats}"
    );
    assert_eq!(stats["inference_count"], 2);
    assert!(stats["inference_stats"]["success"]["ns"].as_u64() > Some(0));
    let all = get(&host, "v2/models/stats")
        .await
        .expect_status(200)
        .json();
    assert_eq!(all["model_stats"].as_array().unwrap().len(), 3);
    let missing = get(&host, "v2/models/nothing/stats")
        .await
        .expect_status(404);
    assert!(missing.json()["error"].is_string());

    let index = post(&host, "v2/repository/index", "")
        .await
        .expect_status(200)
        .json();
    let states: Vec<(&Value, &Value)> = index
        .as_array()
        .unwrap()
        .iter()
        .map(|model| (&model["name"], &model["state"]))
        .collect();
    assert_eq!(states[1], (&json!("broken"), &json!("UNAVAILABLE")));
    assert_eq!(states.len(), 4);
    let ready = post(&host, "v2/repository/index", r#"{"ready": true}"#).await;
    assert_eq!(ready.expect_status(200).json().as_array().unwrap().len(), 3);
    post(&host, "v2/repository/index", "[")
        .await
        .expect_status(400);
    get(&host, "v2/repository/index").await.expect_status(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_host_all_are_at_the_root_too_and_probes_need_no_key() {
    let key = "key-of-the-tests-0123456789";
    let settings = [("SCORE_DEFAULT_MODEL", "affine"), ("SCORE_API_KEYS", key)];
    let host = in_process::start(&app(), without_host(settings)).await;
    let bearer = format!("Bearer {key}");
    let headers = [OWN, JSON, ("authorization", &bearer)];
    for (method, path, body) in [
        // The first one waits until models are loaded.
        ("POST", "v1/models/affine:predict", ROWS),
        ("POST", "invocations", ROWS),
        ("POST", "v2/repository/index", ""),
        ("GET", "v1/models/affine/versions/1", ""),
        ("GET", "v2/models/affine/config", ""),
        ("GET", "v2/models/stats", ""),
        ("GET", "version", ""),
        ("GET", "ping", ""),
    ] {
        for prefix in ["/", "/api/score/"] {
            let path = format!("{prefix}{path}");
            let answer = ask(&host, method, &path, &headers, body.as_bytes()).await;
            answer.expect_status(200);
            let open = path.ends_with("ping");
            let answer = ask(&host, method, &path, &[OWN, JSON], body.as_bytes()).await;
            answer.expect_status(if open { 200 } else { 401 });
        }
    }
}

/// One key for the same values, whichever way they come and of whichever type their sender had them.
/// A browser asks before it sends JSON or a key to a server of another origin.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_allowed_origins_may_call_every_route() {
    let key = "key-of-the-tests-0123456789";
    let origin = "https://app.example";
    let settings = [
        ("SCORE_DEFAULT_MODEL", "affine"),
        ("SCORE_API_KEYS", key),
        ("SCORE_CORS_ORIGINS", origin),
    ];
    let host = in_process::start(&app(), without_host(settings)).await;
    for (method, path, body) in [
        ("POST", "v1/models/affine:predict", ROWS),
        ("POST", "v1/models/affine%3Apredict", ROWS),
        ("POST", "v2/models/affine/infer", ROWS),
        ("POST", "invocations", ROWS),
        ("POST", "v2/repository/index", ""),
        ("GET", "v1/models/affine/versions/1", ""),
        ("GET", "v1/models/affine/metadata", ""),
        ("GET", "v2/models/affine/config", ""),
        ("GET", "v2/models/stats", ""),
        ("GET", "openapi.json?all", ""),
        ("GET", "ping", ""),
    ] {
        let path = format!("/{path}");
        let preflight = [
            OWN,
            ("Origin", origin),
            ("Access-Control-Request-Method", method),
            (
                "Access-Control-Request-Headers",
                "content-type,x-functions-key",
            ),
        ];
        let asked = ask(&host, "OPTIONS", &path, &preflight, b"").await;
        let asked = asked.expect_status(204);
        assert_eq!(
            asked.header("access-control-allow-origin"),
            Some(origin),
            "{path}"
        );
        let allowed = asked.header("access-control-allow-headers").unwrap();
        assert!(allowed.contains("x-functions-key"), "{path}: {allowed}");
        let headers = [OWN, JSON, ("Origin", origin), ("x-functions-key", key)];
        let answer = ask(&host, method, &path, &headers, body.as_bytes()).await;
        let answer = answer.expect_status(200);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some(origin),
            "{path}"
        );
    }
    for path in ["/ping", "/health", "/v2/health/ready"] {
        let answer = ask(&host, "HEAD", path, &[OWN], b"")
            .await
            .expect_status(200);
        assert!(answer.text().is_empty(), "{path}");
    }
}

/// What pandas writes with `orient="split"`, which MLflow 1 took as it is: columns count by their names.
#[tokio::test(flavor = "multi_thread")]
async fn columns_beside_data_count_by_name() {
    let app = app();
    let columns = "[inputs.x]\ncolumns = [\"a\", \"b\", \"c\"]\n";
    let file = repository().join("tests/data/models/affine.onnx");
    app.add_model("table", file, Some(columns));
    let host = in_process::start(&app, [("SCORE_DEFAULT_MODEL", "table")]).await;
    let split = json!({ "columns": ["c", "a", "b"], "index": [0], "data": [[3, 1, 2]] });
    for path in ["invocations", "table"] {
        let answer = post(&host, path, &split.to_string())
            .await
            .expect_status(200);
        assert_eq!(answer.json(), json!([[3.0, 5.0, 7.0]]), "{path}");
    }
    let of = |columns: Value, row: Value| json!({ "columns": columns, "data": [row] }).to_string();
    for (body, told) in [
        (of(json!(["c", "a", "x"]), json!([3, 1, 2])), "x"),
        (of(json!(["c", "a"]), json!([3, 1])), "b"),
        (of(json!(3), json!([3, 1])), "columns"),
    ] {
        let answer = post(&host, "table", &body).await.expect_status(400);
        assert!(answer.text().contains(told), "{body}: {}", answer.text());
    }
    // Names that a model has nothing to compare with.
    let answer = post(&host, "affine", &split.to_string())
        .await
        .expect_status(200);
    assert_eq!(answer.header("x-columns"), Some("by-position"));
    let none = json!({ "columns": null, "data": [[1, 2, 3]] }).to_string();
    let answer = post(&host, "affine", &none).await.expect_status(200);
    assert_eq!(answer.header("x-columns"), None);
}

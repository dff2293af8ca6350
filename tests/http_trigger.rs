//! Scoring over HTTP: the same answers in every form the host may choose.

use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::digits::Digits;
use crate::support::in_process;
use functions_host::host::{CORE_TOOLS, Mode};
use functions_host::http1;
use functions_host::invoke::Transport;

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn digits_get_the_labels_that_scikit_learn_gave() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    for row in 0..100 {
        let body = digits.body([row]);
        let answer = host.http("POST", "/api/score", &[JSON], &body).await;
        assert_eq!(answer.expect_status(200).json(), digits.answer([row]));
    }
    let answer = host
        .http("POST", "/api/score/mnist", &[JSON], &digits.body(0..100))
        .await
        .expect_status(200);
    assert_eq!(answer.json(), digits.answer(0..100));
    assert_eq!(answer.header("x-cache"), Some("HIT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn named_columns_are_put_in_order_or_their_order_is_told() {
    let file = repository().join("tests/data/models/affine.onnx");
    let app = AppRoot::new();
    app.add_model("plain", file.clone(), None);
    let columns = "[inputs.x]\ncolumns = [\"a\", \"b\", \"c\"]\n";
    app.add_model("named", file, Some(columns));
    let host = in_process::start(&app, []).await;
    let csv = ("text/csv", "c,b,a\n3,2,1\n");
    let split = r#"{"input_data":{"columns":["c","b","a"],"data":[[3,2,1]]}}"#;
    let json = ("application/json", split);
    for (path, told, expected) in [
        ("plain", Some("by-position"), json!([[7.0, 5.0, 3.0]])),
        ("named", None, json!([[3.0, 5.0, 7.0]])),
    ] {
        for (content_type, body) in [csv, json] {
            let path = format!("/api/score/{path}");
            let headers = [("content-type", content_type)];
            let answer = host.http("POST", &path, &headers, body.as_bytes()).await;
            assert_eq!(answer.json(), expected, "{path}");
            assert_eq!(answer.header("x-columns"), told, "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_form_of_the_request_gets_the_same_answer() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), [CORE_TOOLS]).await;
    for (number, mode) in Mode::ALL.into_iter().enumerate() {
        let body = digits.body(0..10);
        let answer = host
            .http_by(mode, "POST", "/api/score", &[JSON], &body)
            .await
            .expect_status(200);
        assert_eq!(answer.json(), digits.answer(0..10), "{mode:?}");
        let expected = if number == 0 { "MISS" } else { "HIT" };
        assert_eq!(answer.header("x-cache"), Some(expected), "{mode:?}");
        let content_type = answer.header("content-type");
        assert!(content_type.is_some_and(|found| found.starts_with("application/json")));
        assert!(answer.header("server-timing").is_some(), "{mode:?}");
        assert_eq!(
            answer.header("x-request-id"),
            Some(&*answer.invocation_id),
            "{mode:?}"
        );

        let refused = host
            .http_by(mode, "POST", "/api/score", &[JSON], br#"{"data":[[1]]}"#)
            .await
            .expect_status(400);
        assert_eq!(refused.at("/error/code"), "invalid_input", "{mode:?}");
        assert_eq!(
            refused.at("/error/message"),
            r#"input "x": expected float32 [?,784], got [1,1]"#
        );
        assert_eq!(refused.at("/error/target"), "data");
        assert_eq!(refused.at("/error/request_id"), refused.invocation_id);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_open_inference_protocol_gives_probabilities_and_shares_the_entries() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    host.http("POST", "/api/score", &[JSON], &digits.body(0..4))
        .await
        .expect_status(200);
    let answer = host
        .http(
            "POST",
            "/api/score/v2/models/mnist/infer",
            &[JSON],
            &digits.open_inference(0..4),
        )
        .await
        .expect_status(200);
    assert_eq!(answer.header("x-cache"), Some("HIT"));
    assert_eq!(answer.at("/model_name"), "mnist");
    assert_eq!(answer.at("/id"), "r-1");
    assert_eq!(answer.at("/outputs/0/name"), "probabilities");
    assert_eq!(answer.at("/outputs/0/datatype"), "FP32");
    assert_eq!(answer.at("/outputs/0/shape"), json!([4, 10]));
    assert_eq!(answer.at("/outputs/1/data"), digits.answer(0..4));
    let mut body: Value = serde_json::from_slice(&digits.open_inference(0..1)).unwrap();
    body["parameters"] = json!({ "binary_data_output": false, "tenant": "a" });
    let path = "/api/score/v2/models/mnist/infer";
    let passed_through = host
        .http("POST", path, &[JSON], body.to_string().as_bytes())
        .await;
    assert_eq!(passed_through.at("/parameters"), json!({ "tenant": "a" }));
    let got: Vec<f64> = serde_json::from_value(answer.at("/outputs/0/data")).unwrap();
    let expected = digits.probabilities[..4].concat();
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert!((got - expected).abs() < 1e-4, "{got} {expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_holds_a_sample_request_that_scores() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    for path in ["/api/score", "/api/score/mnist"] {
        let document = host
            .http("GET", path, &[], b"")
            .await
            .expect_status(200)
            .json();
        assert_eq!(document["inputs"][0]["datatype"], "FP32");
        assert_eq!(document["inputs"][0]["shape"], json!([-1, 784]));
        assert_eq!(document["rows"]["treated"], "independent");
        assert_eq!(document["memoized"], true);
        let sample = document["sample_request"].to_string();
        let answer = host.http("POST", path, &[JSON], sample.as_bytes()).await;
        assert_eq!(
            answer.expect_status(200).json().as_array().unwrap().len(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocols_health_and_metadata_paths_answer() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    // It waits for the models.
    let described = host.http("GET", "/api/score", &[], b"").await;
    described.expect_status(200);
    for (path, member) in [
        ("/api/score/v2/health/live", "live"),
        ("/api/score/v2/health/ready", "ready"),
        ("/api/score/v2/models/mnist/ready", "ready"),
    ] {
        let answer = host.http("GET", path, &[], b"").await.expect_status(200);
        assert_eq!(answer.json()[member], true, "{path}");
    }
    let answer = host
        .http("GET", "/api/score/v2/models/mnist", &[], b"")
        .await;
    let document = answer.expect_status(200).json();
    assert_eq!(document["platform"], "onnxruntime_onnx");
    assert_eq!(document["outputs"][1]["shape"], json!([-1, 10]));
    let unknown = host
        .http("GET", "/api/score/v2/models/nope", &[], b"")
        .await
        .expect_status(404);
    assert!(unknown.json()["error"].is_string(), "{}", unknown.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_control_of_the_request_is_obeyed() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let mut seen = Vec::new();
    for control in ["no-store", "", "", "no-cache", "no-store"] {
        let headers = [JSON, ("cache-control", control)];
        let headers = if control.is_empty() {
            &headers[..1]
        } else {
            &headers[..]
        };
        let answer = host
            .http("POST", "/api/score", headers, &digits.body([3]))
            .await;
        let answer = answer.expect_status(200);
        assert_eq!(answer.json(), digits.answer([3]));
        seen.push(answer.header("x-cache").unwrap().to_owned());
    }
    assert_eq!(seen, ["BYPASS", "MISS", "HIT", "MISS", "BYPASS"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_and_functions_that_are_not_served_are_named() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    // The host lets only GET and POST through to score_http; for a client that asks the handler itself the same rule holds.
    for (method, path, status) in [
        ("PUT", "/api/score", 405),
        ("OPTIONS", "/api/score", 405),
        ("POST", "/unknownFunction", 404),
        ("GET", "/score_http", 404),
        ("POST", "/SCORE-HTTP", 404),
    ] {
        let request = http1::head(method, path, &[("Host", "x"), ("Content-Length", "0")]);
        let answer = http1::exchange(host.port(), &[&request]).await.unwrap();
        let answer = answer.expect_status(status);
        assert!(answer.at("/error/message").is_string(), "{method} {path}");
        assert_eq!(
            answer.header("allow").is_some(),
            status == 405,
            "{method} {path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_envelopes_are_refused_and_unknown_members_ignored() {
    let host = in_process::start(&AppRoot::with_sample(), [CORE_TOOLS]).await;
    for body in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"data":{}}"#,
        r#"{"Data":null}"#,
        r#"{"Data":{}}"#,
        r#"{"Data":{"other":"x"}}"#,
        r#"{"Data":{"req":"x"}}"#,
        r#"{"Data":{"req":{"Url":"/","Method":"a b"}}}"#,
    ] {
        let answer = host.post_body("score_http", body.as_bytes(), Transport::Chunked);
        let answer = answer.await.unwrap().expect_status(400);
        assert_eq!(answer.at("/error/code"), "invalid_input", "{body}");
    }
    let digits = Digits::load();
    let call = json!({
        "Data": { "req": {
            "Url": "https://app.example/api/score?code=k", "Method": "POST", "Query": { "code": "k" },
            "Headers": { "Content-Type": ["application/json"] }, "Params": { "path": null },
            "Identities": [{}], "Body": String::from_utf8(digits.body([0])).unwrap(),
        }},
        "Metadata": { "sys": 1, "req": [], "x": "y".repeat(65536) },
        "More": [1, {}],
    });
    let metadata = call["Metadata"].clone();
    let data = call["Data"].clone();
    for transport in Transport::ALL {
        let outcome = host
            .invoke("score_http", data.clone(), metadata.clone(), transport)
            .await
            .unwrap();
        assert!(outcome.ignored.is_empty());
        let functions_host::outputs::OutputValue::Http(answer) = &outcome.outputs["res"] else {
            panic!("no http answer: {outcome:?}");
        };
        assert_eq!(answer.json(), digits.answer([0]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_shows_a_request_that_works() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let body = std::fs::read(repository().join("examples/mnist/seven.json")).unwrap();
    // As curl sends it without a content type for JSON.
    let form = ("content-type", "application/x-www-form-urlencoded");
    let answer = host.http("POST", "/api/score", &[form], &body).await;
    assert_eq!(answer.expect_status(200).body, b"[7]");
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_are_served_as_prometheus_text() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    for _ in 0..2 {
        host.http("POST", "/api/score", &[JSON], &digits.body(0..3))
            .await;
    }
    let text = host
        .http("GET", "/api/score/metrics", &[], b"")
        .await
        .text();
    for line in [
        r#"score_rows_total{model="mnist"} 6"#,
        r#"score_computed_rows_total{model="mnist"} 3"#,
        "score_cache_local_hits_total 3",
        "score_cache_misses_total 3",
        r#"score_requests_total{function="score",model="mnist",status="200"} 2"#,
    ] {
        assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_every_served_type_survives_exactly() {
    let app = AppRoot::new();
    let mixed = repository().join("tests/data/models/mixed.onnx");
    app.add_model("mixed", mixed, None);
    let host = in_process::start(&app, []).await;
    let body = json!({ "data": {
        "a": [[0.1, -0.0], [16777217, 1e-45]],
        "b": [[9007199254740993_i64], [-9223372036854775808_i64]],
        "c": ["käse 🧀\u{2028}\"", ""],
        "d": [true, false],
        "e": [[0.1, 1e300], [-2.5, 3]],
        "f": [1073741823, -1],
    }});
    let send = async || {
        let body = body.to_string();
        let answer = host
            .http("POST", "/api/score", &[JSON], body.as_bytes())
            .await;
        answer.expect_status(200)
    };
    let first = send().await;
    let value = first.json();
    assert_eq!(value["echo"], body["data"]["c"]);
    assert_eq!(value["both"], json!([true, false]));
    assert_eq!(
        value["next"],
        json!([[9007199254740994_i64], [-9223372036854775807_i64]])
    );
    assert_eq!(value["twice"], json!([2147483646, -2]));
    assert_eq!(value["wide"], json!([[0.05, 5e299], [-1.25, 1.5]]));
    let again = send().await;
    assert_eq!(again.header("x-cache"), Some("HIT"));
    assert_eq!(again.body, first.body);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_model_is_cut_into_rows_only_if_that_is_right() {
    let app = AppRoot::new();
    for name in ["affine", "centred", "random", "fixed"] {
        let file = repository().join(format!("tests/data/models/{name}.onnx"));
        app.add_model(name, file, None);
    }
    let host = in_process::start(&app, []).await;
    let verdict = async |name: &str| {
        let path = format!("/api/score/{name}");
        let document = host
            .http("GET", &path, &[], b"")
            .await
            .expect_status(200)
            .json();
        (
            document["rows"]["treated"].clone(),
            document["memoized"].clone(),
        )
    };
    assert_eq!(verdict("affine").await, (json!("independent"), json!(true)));
    assert_eq!(verdict("centred").await, (json!("together"), json!(true)));
    assert_eq!(verdict("fixed").await, (json!("alone"), json!(true)));
    assert_eq!(verdict("random").await, (json!("together"), json!(false)));

    let score = async |name: &str, rows: Value| {
        let (path, body) = (
            format!("/api/score/{name}"),
            json!({ "data": rows }).to_string(),
        );
        let answer = host.http("POST", &path, &[JSON], body.as_bytes()).await;
        let answer = answer.expect_status(200);
        (answer.json(), answer.header("x-cache").unwrap().to_owned())
    };
    let two = json!([[1, 2, 3], [3, 2, 1]]);
    assert_eq!(
        score("centred", two.clone()).await.0,
        json!([[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]])
    );
    assert_eq!(
        score("centred", json!([[1, 2, 3]])).await,
        (json!([[0.0, 0.0, 0.0]]), "MISS".into())
    );
    assert_eq!(score("centred", two).await.1, "HIT");
    let rolls = [
        score("random", json!([[0, 0, 0]])).await,
        score("random", json!([[0, 0, 0]])).await,
    ];
    assert_ne!(rolls[0].0, rolls[1].0, "dice are rolled again");
    assert_eq!(rolls[1].1, "BYPASS");
    let unnamed = host
        .http("POST", "/api/score", &[JSON], b"{}")
        .await
        .expect_status(404);
    assert!(
        unnamed.text().contains("affine, centred, fixed, random"),
        "{}",
        unnamed.text()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn early_answers_reach_senders_of_large_bodies() {
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let body = vec![b' '; 5_000_000];
    for (path, status) in [("/api/nope", 404), ("/api/score/metrics", 405)] {
        let length = body.len().to_string();
        let head = http1::head("POST", path, &[("Host", "x"), ("Content-Length", &length)]);
        let answer = http1::exchange(host.port(), &[&head, &body]).await.unwrap();
        answer.expect_status(status);
    }
}

also_forwarded! {
    digits_get_the_labels_that_scikit_learn_gave,
    the_open_inference_protocol_gives_probabilities_and_shares_the_entries,
    metadata_holds_a_sample_request_that_scores, the_protocols_health_and_metadata_paths_answer,
    cache_control_of_the_request_is_obeyed, the_readme_shows_a_request_that_works,
    figures_are_served_as_prometheus_text, a_value_of_every_served_type_survives_exactly,
    each_model_is_cut_into_rows_only_if_that_is_right,
}

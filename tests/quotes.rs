//! What callers send is quoted in errors, but only the start of it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;
use functions_host::answer::Answer;
use functions_host::host::FunctionsHost;

const JSON: &str = "application/json";
/// What an error may have at most: a few names of the caller's, each cut, and the words around them.
const LONGEST: usize = 2600;
/// Longer than any text that may be quoted, and recognised by its letter.
const LONG: usize = 6000;

fn long() -> String {
    "q".repeat(LONG)
}

async fn host() -> FunctionsHost {
    let app = AppRoot::new();
    let model = |name: &str| repository().join(format!("tests/data/models/{name}.onnx"));
    app.add_model("affine", model("affine"), None);
    let columns = "[inputs.x]\ncolumns = [\"a\", \"b\", \"c\"]\n";
    app.add_model("named", model("affine"), Some(columns));
    for name in [
        "mixed",
        "identity_string",
        "identity_int64",
        "identity_bool",
        "whole_picture",
        "zipmap",
    ] {
        app.add_model(name, model(name), None);
    }
    app.link_model("tiny", &repository().join("tests/data/text/tiny"));
    in_process::start(&app, [("SCORE_DEFAULT_MODEL", "affine")]).await
}

/// What of a refusal is longer than a person reads, in its body or its headers.
fn excess(answer: &Answer, what: &str) -> Option<String> {
    let text = answer.text();
    let shown: String = text.chars().take(300).collect();
    let long_header = answer.headers.iter().find(|(_, value)| value.len() > 1000);
    let fits = (400..500).contains(&answer.status)
        && !text.contains(&"q".repeat(201))
        && text.len() <= LONGEST
        && long_header.is_none();
    let bytes = text.len();
    (!fits).then(|| {
        format!(
            "{what}: {} with {bytes} bytes: {shown} {long_header:?}",
            answer.status
        )
    })
}

async fn post(
    host: &FunctionsHost,
    path: &str,
    ty: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let headers = [&[("content-type", ty)], more].concat();
    host.http("POST", path, &headers, body).await
}

/// Many long names.
fn many() -> Vec<String> {
    (0..500)
        .map(|n| format!("q{n}{}", "q".repeat(300)))
        .collect()
}

/// Bodies of Azure ML and MLflow with long texts in every place that an error may name, each for a path.
fn tables() -> Vec<(&'static str, Value)> {
    let q = long();
    let many = many();
    vec![
        ("", json!({ q.as_str(): [[1, 2, 3]] })),
        ("", json!({ "data": [[q, 2, 3]] })),
        ("", json!({ "data": { q.as_str(): [1] } })),
        ("", json!({ "data": [{ q.as_str(): 1 }] })),
        ("", json!({ "data": [[1, 2, 3]], "method": q })),
        (
            "",
            json!({ "Inputs": { q.as_str(): [[1, 2, 3]] }, "GlobalParameters": {} }),
        ),
        (
            "",
            json!({ "Inputs": { "data": [{ q.as_str(): 1 }] }, "GlobalParameters": { "method": q } }),
        ),
        (
            "",
            json!({ "Inputs": { "data": [[1, 2, 3]] }, "GlobalParameters": q }),
        ),
        (
            "",
            json!({ "input_data": { "columns": [q], "index": [q], "data": [[1, 2, 3]] } }),
        ),
        (
            "",
            json!({ "input_data": { "columns": many, "data": [[1, 2, 3]] } }),
        ),
        (
            "/named",
            json!({ "input_data": { "columns": many, "data": [many] } }),
        ),
        (
            "/named",
            json!({ "input_data": { "columns": ["a", "a", q], "data": [[1, 2, 3]] } }),
        ),
        (
            "/named",
            json!({ "data": [{ "a": 1, "b": 2, q.as_str(): 3 }] }),
        ),
        ("/named", json!({ "data": [{ "a": q, "b": 2, "c": 3 }] })),
        (
            "",
            json!({ "dataframe_split": { "columns": [q, q, q], "data": [[1, 2, q]] } }),
        ),
        ("", json!({ "dataframe_records": [{ q.as_str(): q }] })),
        ("", json!({ "inputs": { q.as_str(): [[1, 2, 3]] } })),
        ("", json!({ "inputs": [[1, 2, q]] })),
        (
            "",
            json!({ "inputs": [[1, 2, 3]], "params": { "method": q } }),
        ),
    ]
}

/// The same for TensorFlow Serving, keys, other models and texts.
fn others() -> Vec<(&'static str, Value)> {
    let q = long();
    let many = many();
    vec![
        ("", json!({ "instances": [{ q.as_str(): 1 }] })),
        ("", json!({ "instances": [[1, 2, { "b64": q }]] })),
        ("", json!({ "instances": [[1, 2, 3]], "signature_name": q })),
        ("", json!({ "keys": [q] })),
        ("", json!({ "keys": many })),
        ("", json!({ "keys": { q.as_str(): 1 } })),
        ("", json!({ "data": [[[[[[1]]]]]] })),
        ("", json!([q])),
        ("", json!(q)),
        ("", json!({ "a": q, "b": q })),
        ("/identity_int64", json!({ "data": [[q]] })),
        ("/identity_bool", json!({ "data": [[q]] })),
        ("/mixed", json!({ "data": [[q]] })),
        (
            "/mixed",
            json!({ "data": many.iter().map(|name| (name.clone(), json!([1]))).collect::<serde_json::Map<_, _>>() }),
        ),
        ("/whole_picture", json!({ "data": [q] })),
        ("/whole_picture", json!({ "instances": [{ "b64": q }] })),
        (
            "/whole_picture",
            json!({ "instances": [{ "b64": BASE64_STANDARD.encode(&q) }] }),
        ),
        ("/tiny", json!({ "data": [[1, 2]] })),
        ("/tiny", json!({ "data": [{ q.as_str(): q }] })),
        ("/v1/embeddings", json!({ "input": "a", "model": q })),
        (
            "/v1/embeddings",
            json!({ "input": "a", "model": "tiny", "encoding_format": q }),
        ),
        (
            "/v1/embeddings",
            json!({ "input": { q.as_str(): 1 }, "model": "tiny" }),
        ),
    ]
}

/// The same for the Open Inference Protocol.
fn protocol() -> Vec<(&'static str, Value)> {
    let q = long();
    let many = many();
    vec![
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": q, "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3] }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": q, "data": [1, 2, 3] }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": "x", "shape": vec![3; 5000], "datatype": "FP32", "data": [1, 2, 3] }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": "x", "shape": [1, q], "datatype": "FP32", "data": [1, 2, 3] }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, q] }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3] }], "outputs": [{ "name": q }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": "FP32", "parameters": { "binary_data_size": q } }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3] }], "outputs": [{ "name": "y", "parameters": { "classification": q } }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": "FP32", q.as_str(): 1 }] }),
        ),
        (
            "/v2/models/affine/infer",
            json!({ "inputs": many.iter().map(|name| json!({ "name": name, "shape": [1], "datatype": "FP32", "data": [1] })).collect::<Vec<_>>() }),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_quote_the_start_of_what_a_body_says() {
    let host = host().await;
    let mut wrong = Vec::new();
    for (path, body) in [tables(), others(), protocol()].concat() {
        let answer = post(
            &host,
            &format!("/api/score{path}"),
            JSON,
            &[],
            body.to_string().as_bytes(),
        )
        .await;
        let what: String = format!("{path} {body}").chars().take(120).collect();
        if answer.status != 200 {
            wrong.extend(excess(&answer, &what));
        }
    }
    let q = long();
    let digits = "9".repeat(LONG);
    for (what, path, body) in [
        ("an unquoted word", "", format!("{{\"data\":[[{q}]]}}")),
        (
            "a long number",
            "",
            format!("{{\"data\":[[1,2,1e{digits}]]}}"),
        ),
        (
            "a long whole number",
            "/identity_int64",
            format!("{{\"data\":[[{digits}]]}}"),
        ),
        ("an open text", "", format!("{{\"data\":[[\"{q}")),
        ("an odd escape", "", format!("{{\"{q}\\x\":1}}")),
        ("no JSON", "", q.clone()),
        (
            "words behind the end",
            "",
            format!("{{\"data\":[[1,2,3]]}}{q}"),
        ),
        (
            "a lone surrogate",
            "",
            format!("{{\"{q}\\ud800\":[[1,2,3]]}}"),
        ),
        (
            "control characters",
            "",
            "{\"q\\u001b[31m\\n\\u0000\":[[1,2,3]]}".to_owned(),
        ),
    ] {
        let answer = post(
            &host,
            &format!("/api/score{path}"),
            JSON,
            &[],
            body.as_bytes(),
        )
        .await;
        wrong.extend(excess(&answer, what));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_quote_the_start_of_what_heads_tables_and_files_say() {
    let host = host().await;
    let mut wrong = Vec::new();
    let q = long();
    for path in [
        format!("/{q}"),
        format!("/v2/models/{q}/infer"),
        format!("/v2/models/affine/versions/{q}/infer"),
        format!("/v2/{q}"),
        format!("/{q}/{q}"),
        format!("/affine?shape={q}&datatype={q}"),
    ] {
        let octets = "application/octet-stream";
        let answer = post(&host, &format!("/api/score{path}"), octets, &[], b"123").await;
        wrong.extend(excess(&answer, &path[..20]));
    }
    let octets = "application/octet-stream";
    let lengths = vec!["3"; 3000].join(",");
    for (ty, more, body) in [
        (format!("application/{q}"), vec![], "x".to_owned()),
        (
            format!("text/csv; charset={q}"),
            vec![],
            "a,b,c\n1,2,3\n".to_owned(),
        ),
        (
            format!("multipart/{q}; boundary={q}"),
            vec![],
            "x".to_owned(),
        ),
        (
            JSON.to_owned(),
            vec![("content-encoding", q.as_str())],
            "{}".to_owned(),
        ),
        (
            JSON.to_owned(),
            vec![("inference-header-content-length", q.as_str())],
            "{}".to_owned(),
        ),
        (
            octets.to_owned(),
            vec![("x-shape", q.as_str())],
            "123".to_owned(),
        ),
        (
            octets.to_owned(),
            vec![("x-shape", lengths.as_str())],
            "123".to_owned(),
        ),
        (
            octets.to_owned(),
            vec![("x-datatype", q.as_str())],
            "123".to_owned(),
        ),
        ("text/csv".to_owned(), vec![], format!("{q},{q},c\n1,2,3\n")),
        ("text/csv".to_owned(), vec![], format!("a,b,c\n1,2,{q}\n")),
        ("text/csv".to_owned(), vec![], format!("{q}\n\"{q}")),
        (
            "text/csv".to_owned(),
            vec![],
            vec![q.as_str(); 200].join(","),
        ),
        ("image/png".to_owned(), vec![], q.clone()),
        (
            "application/x-npy".to_owned(),
            vec![],
            format!("\u{1}NUMPY{q}"),
        ),
    ] {
        for path in ["", "/named", "/identity_string", "/mixed", "/tiny"] {
            let answer = post(
                &host,
                &format!("/api/score{path}"),
                &ty,
                &more,
                body.as_bytes(),
            )
            .await;
            if answer.status != 200 {
                wrong.extend(excess(
                    &answer,
                    &format!("{path} {}", &ty[..ty.len().min(40)]),
                ));
            }
        }
    }
    for descr in [
        format!("{{'descr':'{q}','fortran_order':False,'shape':(1,3)}}"),
        format!("{{'{q}':1}}"),
        q.clone(),
    ] {
        let mut npy = b"\x93NUMPY\x01\x00".to_vec();
        npy.extend(u16::try_from(descr.len()).unwrap().to_le_bytes());
        npy.extend(descr.as_bytes());
        let answer = post(&host, "/api/score", "application/x-npy", &[], &npy).await;
        wrong.extend(excess(&answer, "npy"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

//! Numbers of other types than the model's: converted where that is exact or right, refused with what to write otherwise.

use serde_json::json;

use crate::served_protocols::{host, post};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn numbers_of_other_types_are_the_same_entries() {
    let host = host().await;
    let values = [0.1f64, 1.0 / 3.0, -16_777_217.0];
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let json_of = |datatype: &str| json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": datatype, "data": values }] });
    let head = json!({ "inputs": [{
        "name": "x", "shape": [1, 3], "datatype": "FP64",
        "parameters": { "binary_data_size": bytes.len() },
    }] });
    let head = head.to_string();
    let binary = [head.as_bytes(), &bytes].concat();
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let header = format!(
        "{:<117}\n",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 3), }"
    );
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend([header.as_bytes(), &bytes].concat());
    let length = head.len().to_string();
    let mut expected = "MISS";
    for (headers, body) in [
        (
            vec![JSON],
            json!({ "data": [values] }).to_string().into_bytes(),
        ),
        (vec![JSON], json_of("FP32").to_string().into_bytes()),
        (vec![JSON], json_of("FP64").to_string().into_bytes()),
        (
            vec![
                ("content-type", "application/octet-stream"),
                ("inference-header-content-length", &length),
            ],
            binary,
        ),
        (vec![("content-type", "application/x-npy")], npy),
        (
            vec![
                ("content-type", "application/octet-stream"),
                ("x-datatype", "FP64"),
            ],
            bytes,
        ),
    ] {
        let answer = host.http("POST", "/api/score", &headers, &body).await;
        let answer = answer.expect_status(200);
        assert_eq!(answer.header("x-cache"), Some(expected), "{headers:?}");
        expected = "HIT";
    }
    for (datatype, data, told) in [
        ("INT64", json!([1, 2, 16_777_217]), "16777217, is not exact"),
        ("INT32", json!([1, 2, 3.5]), "int32"),
        ("FP64", json!([1, 2, 1e300]), "out of range"),
        (
            "BOOL",
            json!([true, true, true]),
            ".astype(\\\"float32\\\")",
        ),
        ("BYTES", json!(["1", "2", "3"]), ".astype(\\\"float32\\\")"),
    ] {
        let body = json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": datatype, "data": data }] });
        let answer = post(&host, "v2/models/affine/infer", &body.to_string()).await;
        let answer = answer.expect_status(400);
        assert!(
            answer.text().contains(told),
            "{datatype}: {}",
            answer.text()
        );
    }
    for (datatype, data) in [
        ("INT64", json!([1, 2, 16_777_216])),
        ("UINT8", json!([1, 2, 255])),
    ] {
        let body = json!({ "inputs": [{ "name": "x", "shape": [1, 3], "datatype": datatype, "data": data }] });
        let answer = post(&host, "v2/models/affine/infer", &body.to_string()).await;
        answer.expect_status(200);
    }
}

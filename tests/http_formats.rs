//! One request in every format of bodies and answers.

use serde_json::json;

use crate::support::app_root::AppRoot;
use crate::support::digits::Digits;
use crate::support::in_process;
use functions_host::host::{CORE_TOOLS, Mode};

#[tokio::test(flavor = "multi_thread")]
async fn the_same_digits_in_every_format_are_one_set_of_entries() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), []).await;
    let rows: Vec<Vec<f32>> = digits.rows[..2]
        .iter()
        .map(|row| serde_json::from_value(row.clone()).unwrap())
        .collect();
    let raw: Vec<u8> = rows
        .iter()
        .flatten()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let csv: String = rows
        .iter()
        .map(|row| row.iter().map(f32::to_string).collect::<Vec<_>>().join(",") + "\n")
        .collect();
    let rows_json = json!(digits.rows[..2]);
    let bodies: Vec<(&str, Vec<u8>, &str)> = vec![
        ("application/json", digits.body(0..2), ""),
        (
            "application/json",
            json!({ "instances": rows_json }).to_string().into(),
            "/predictions",
        ),
        (
            "application/json",
            json!({ "Inputs": { "data": rows_json }, "GlobalParameters": 1 })
                .to_string()
                .into(),
            "/Results",
        ),
        (
            "application/json",
            json!({ "input_data": { "columns": [], "index": [], "data": rows_json } })
                .to_string()
                .into(),
            "",
        ),
        (
            "application/json",
            json!({ "data": { "x": rows_json } }).to_string().into(),
            "",
        ),
        ("application/octet-stream", raw, ""),
        ("text/csv", csv.into_bytes(), ""),
    ];
    for (number, (content_type, body, pointer)) in bodies.into_iter().enumerate() {
        let headers = [("content-type", content_type)];
        for mode in Mode::ALL.into_iter().take(3) {
            let answer = host
                .http_by(mode, "POST", "/api/score", &headers, &body)
                .await;
            let answer = answer.expect_status(200);
            assert_eq!(
                answer.at(pointer),
                digits.answer(0..2),
                "{content_type} {pointer}"
            );
            let first = number == 0 && mode == Mode::Forwarded;
            let expected = if first { "MISS" } else { "HIT" };
            assert_eq!(
                answer.header("x-cache"),
                Some(expected),
                "{content_type} {pointer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drawn_seven_is_read_from_a_png_and_answered_as_npy_if_wanted() {
    let digits = Digits::load();
    let host = in_process::start(&AppRoot::with_sample(), [CORE_TOOLS]).await;
    let seven = (0..100).find(|row| digits.labels[*row] == 7).unwrap();
    let pixels: Vec<f32> = serde_json::from_value(digits.rows[seven].clone()).unwrap();
    let grey: Vec<u8> = pixels.iter().map(|v| (v * 255.0).round() as u8).collect();
    let mut png = Vec::new();
    image::GrayImage::from_raw(28, 28, grey)
        .unwrap()
        .write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png)
        .unwrap();
    let headers = [
        ("content-type", "image/png"),
        ("accept", "application/x-npy"),
    ];
    let answer = host.http("POST", "/api/score", &headers[..1], &png).await;
    assert_eq!(answer.expect_status(200).body, b"[7]");
    let answer = host
        .http("POST", "/api/score", &headers, &png)
        .await
        .expect_status(200);
    assert_eq!(answer.header("content-type"), Some("application/x-npy"));
    assert!(answer.body.starts_with(b"\x93NUMPY") && answer.body.ends_with(&7i64.to_le_bytes()));
    let envelope = Mode::Envelope { chunked: false };
    let npy = [
        ("content-type", "application/json"),
        ("accept", "application/x-npy"),
    ];
    let refused = host
        .http_by(envelope, "POST", "/api/score", &npy, &digits.body([0]))
        .await;
    assert!(refused.expect_status(400).text().contains("envelope"));
}

also_forwarded! {
    a_drawn_seven_is_read_from_a_png_and_answered_as_npy_if_wanted,
}

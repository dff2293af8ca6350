//! Pictures as requests: what `preprocessor_config.json` makes of them, and what is refused.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::support::app_root::{AppRoot, repository};
use crate::support::in_process;

const NPY: (&str, &str) = ("accept", "application/x-npy");
const PNG: (&str, &str) = ("content-type", "image/png");

fn pictures(name: &str) -> PathBuf {
    repository().join("tests/data/pictures").join(name)
}

fn model(name: &str) -> PathBuf {
    repository().join(format!("tests/data/models/{name}.onnx"))
}

/// Header and values of a numpy file of 32-bit floats.
fn floats(npy: &[u8]) -> (String, Vec<f32>) {
    let end = npy.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let header = String::from_utf8_lossy(&npy[10..end]).into_owned();
    let shape = header.split("shape").nth(1).unwrap();
    let values = npy[end..].chunks_exact(4);
    let values = values.map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    let shape = shape.chars().filter(|c| c.is_ascii_digit() || *c == ',');
    let shape: String = shape.collect();
    (shape.trim_end_matches(',').to_owned(), values.collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_prepared_as_hugging_face_prepares_them() {
    let app = AppRoot::with_sample();
    let names = ["vit", "clip", "deit", "convnext", "siglip", "padded"];
    for name in names {
        app.add_model(name, model("pixels"), None);
        let config = pictures(&format!("processors/{name}/preprocessor_config.json"));
        let config = fs::read_to_string(config).unwrap();
        app.write(&format!("models/{name}/preprocessor_config.json"), &config);
    }
    let host = in_process::start(&app, []).await;
    let photo = fs::read(pictures("photo.png")).unwrap();
    for name in names {
        let path = format!("/api/score/{name}");
        let answer = host.http("POST", &path, &[PNG, NPY], &photo).await;
        let found = floats(&answer.expect_status(200).body);
        let prepared = fs::read(pictures(&format!("processors/{name}/prepared.npy"))).unwrap();
        let expected = floats(&prepared);
        assert_eq!(found.0, expected.0, "{name}");
        let apart = found.1.iter().zip(&expected.1).map(|(a, b)| (a - b).abs());
        let apart = apart.fold(0.0, f32::max);
        // One shade, divided by the smallest deviation among them.
        assert!(apart < 1.0 / 255.0 / 0.26 + 1e-5, "{name}: {apart}");
    }
    let document = host.http("GET", "/api/score/clip", &[], b"").await;
    let document = document.expect_status(200).json();
    let picture = &document["picture"];
    assert_eq!(picture["shape"], json!([1, 3, 12, 12]));
    assert_eq!(picture["resize"], 14);
    assert_eq!(picture["resample"], "bicubic");
}

#[tokio::test(flavor = "multi_thread")]
async fn model_toml_overrules_and_what_is_not_offered_is_named() {
    let app = AppRoot::with_sample();
    let config = |name: &str, text: &str| {
        app.write(&format!("models/{name}/preprocessor_config.json"), text);
    };
    let toml = "[inputs.pixel_values]\nsize = [4, 2]\nscale = 1.0\nmean = 0.0\nstd = 1.0\n";
    app.add_model("said", model("pixels"), Some(toml));
    config(
        "said",
        r#"{"image_processor_type": "ViTImageProcessor", "size": {"longest_edge": 9}, "resample": 0,
            "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#,
    );
    app.add_model("flipped", model("pixels"), None);
    config(
        "flipped",
        r#"{"do_resize": true, "size": 8, "do_flip_channel_order": true}"#,
    );
    app.add_model("broken", model("pixels"), None);
    config("broken", "{");
    app.add_model("sound", model("pixels"), None);
    config("sound", r#"{"feature_size": 1, "sampling_rate": 16000}"#);
    app.add_model("whole", model("whole_picture"), None);
    let host = in_process::start(&app, []).await;
    let photo = fs::read(pictures("photo.png")).unwrap();
    let post = async |name: &str, body: &[u8]| {
        let path = format!("/api/score/{name}");
        host.http("POST", &path, &[PNG], body).await
    };
    let said = post("said", &photo).await.expect_status(200).json();
    assert_eq!(said[0].as_array().unwrap().len(), 3);
    assert_eq!(said[0][0].as_array().unwrap().len(), 2);
    assert_eq!(said[0][0][0].as_array().unwrap().len(), 4);
    let whole = |value: &serde_json::Value| value.as_f64().unwrap().fract() == 0.0;
    assert!(whole(&said[0][0][0][0]), "scale 1: {said}");
    for (name, words) in [
        ("flipped", "do_flip_channel_order"),
        ("broken", "preprocessor_config.json: EOF"),
    ] {
        let refused = post(name, &photo).await;
        let refused = refused.expect_status(400).text();
        assert!(refused.contains(words), "{refused}");
        let path = format!("/api/score/{name}");
        let tensor = br#"{"data": [[[[1.0]]]]}"#;
        let scored = host.http("POST", &path, &[], tensor).await;
        assert_eq!(scored.expect_status(200).body, b"[[[[1.0]]]]");
    }
    post("sound", &photo).await.expect_status(200);
    let whole = post("whole", &fs::read(pictures("turned6.webp")).unwrap()).await;
    let whole = whole.expect_status(200).json();
    assert_eq!(whole.as_array().unwrap().len(), 3);
}

also_forwarded! {
    pictures_are_prepared_as_hugging_face_prepares_them,
    model_toml_overrules_and_what_is_not_offered_is_named,
}

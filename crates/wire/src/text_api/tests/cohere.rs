//! Cohere's embeddings.

use super::*;

#[test]
fn recorded_requests_are_read_and_answered_in_both_versions() {
    let body = r#"{"texts":["hello","world"],"model":"minilm","input_type":"search_document"}"#;
    let plain = read("v1/embed", body).unwrap();
    assert_eq!(plain.texts, ["hello", "world"]);
    assert_eq!(plain.options.input_type.as_deref(), Some("search_document"));
    assert_eq!(
        written("v1/embed", &plain),
        r#"{"id":"r","response_type":"embeddings_floats","embeddings":[[0.1,-2.0],[1e-9,0.0]],"texts":["hello","world"],"meta":{"api_version":{"version":"1"},"billed_units":{"input_tokens":7}}}"#
    );
    let body = r#"{"model":"minilm","texts":["hello","world"],"input_type":"search_document","embedding_types":["float"]}"#;
    for (path, version) in [("v1/embed", 1), ("v2/embed", 2)] {
        let typed = read(path, body).unwrap();
        assert_eq!(
            written(path, &typed),
            format!(
                r#"{{"id":"r","response_type":"embeddings_by_type","embeddings":{{"float":[[0.1,-2.0],[1e-9,0.0]]}},"texts":["hello","world"],"meta":{{"api_version":{{"version":"{version}"}},"billed_units":{{"input_tokens":7}}}}}}"#
            )
        );
    }
    let body = r#"{"texts":["hello"],"model":"minilm","input_type":"classification","embedding_types":["int8","base64"],"output_dimension":256,"truncate":"END"}"#;
    let request = read("v2/embed", body).unwrap();
    let options = &request.options;
    assert_eq!(
        (options.dimensions, options.truncate),
        (Some(256), Some(true))
    );
    assert_eq!(options.truncation_side, Some(Side::Right));
}

#[test]
fn vectors_come_in_every_type_that_is_asked_for() {
    let body =
        r#"{"texts":["a"],"embedding_types":["ubinary","binary","uint8","int8","base64","int8"]}"#;
    let request = read("v2/embed", body).unwrap();
    let answer: Value = serde_json::from_str(&written("v2/embed", &request)).unwrap();
    let all = &answer["embeddings"];
    assert_eq!(all.as_object().unwrap().len(), 5);
    // The vectors are [0.1, -2.0] and [1e-9, 0.0].
    assert_eq!(all["int8"], serde_json::json!([[6, -127], [127, 0]]));
    assert_eq!(all["uint8"], serde_json::json!([[134, 1], [255, 128]]));
    // As numpy's `packbits(vector > 0)`.
    assert_eq!(all["ubinary"], serde_json::json!([[128], [128]]));
    assert_eq!(all["binary"], serde_json::json!([[0], [0]]));
    assert_eq!(all["base64"][0], "zczMPQAAAMA=");
}

#[test]
fn mistakes_name_their_member() {
    for (body, said) in [
        (r#"{"texts":[]}"#, "texts: texts: expected a text"),
        (r#"{}"#, "texts: texts: expected a text"),
        (
            r#"{"texts":["a"],"embedding_types":["float16"]}"#,
            r#"embedding_types: embedding_types: expected "float" or "int8""#,
        ),
        (
            r#"{"texts":["a"],"embedding_types":"float"}"#,
            "embedding_types: invalid type",
        ),
        (
            r#"{"images":["data:"]}"#,
            r#"images: images: the models take texts alone; send them as "texts""#,
        ),
        (
            r#"{"inputs":[{"content":[]}]}"#,
            "inputs: the models take texts alone",
        ),
        (
            r#"{"texts":["a"],"truncate":"MIDDLE"}"#,
            r#"truncate: expected "NONE""#,
        ),
        (
            r#"{"texts":["a"],"output_dimension":0}"#,
            "output_dimension: expected a number of 1",
        ),
    ] {
        let found = read("v2/embed", body).unwrap_err();
        assert!(found.contains(said), "{body}: {found}");
    }
    let nulls = r#"{"texts":["a"],"images":null,"inputs":null,"embedding_types":null,"truncate":null,"model":null}"#;
    assert!(read("v2/embed", nulls).is_ok());
}

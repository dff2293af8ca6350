mod cohere;
mod labels;
mod ranking;

use std::time::Duration;

use score::ScoreError;
use serde_json::Value;

use super::*;
use crate::PayloadError;
use crate::body::{Declared, Limits};
use crate::watch::Unwatched;

/// What a path takes, which must be texts.
fn take(path: &str) -> &'static Take {
    let segments: Vec<&str> = path.split('/').collect();
    let call = TextApi::find(&segments).unwrap();
    match &call.route.operation {
        Operation::Take(take) => take,
        Operation::Tell(_) => panic!("{path} takes no texts"),
    }
}

fn read(path: &str, body: &str) -> Result<TextRequest, String> {
    let limits = Limits {
        max_bytes: 1 << 20,
        max_nesting: 32,
        max_rows: 3,
    };
    let (body, declared) = (body.as_bytes(), Declared::default());
    let read = take(path).read(body, declared, limits, &Unwatched);
    read.map_err(|error| match error {
        TextError::Empty(ScoreError::InvalidInput { target, message })
        | TextError::Payload(PayloadError::Invalid(ScoreError::InvalidInput { target, message })) =>
        {
            format!("{}: {message}", target.unwrap_or_default())
        }
        other => format!("{other:?}"),
    })
}

/// What answers tell beside results, of two texts.
fn about(texts: &[String]) -> Answered<'_, ()> {
    Answered {
        results: (),
        model: "m",
        id: "r",
        texts,
        tokens: &[3, 4],
        truncated: &[false, true],
        refuses: false,
        took: Duration::from_micros(5),
    }
}

fn written(path: &str, request: &TextRequest) -> String {
    let vectors = Vectors {
        values: &[0.1, -2.0, 1e-9, 0.0],
        width: 2,
    };
    let [Write::Vectors(write), ..] = take(path).writes else {
        panic!("{path} answers no vectors");
    };
    let answered = about(&request.texts).with(vectors);
    String::from_utf8(write(request, &answered)).unwrap()
}

mod openai {
    use super::*;

    const PATH: &str = "v1/embeddings";

    #[test]
    fn what_clients_send_is_read() {
        let body =
            r#"{"input":"a","model":"m","encoding_format":"base64","user":null,"extra":[1]}"#;
        let one = read(PATH, body).unwrap();
        assert_eq!(
            (one.texts, one.model.as_deref()),
            (vec!["a".to_owned()], Some("m"))
        );
        assert_eq!(one.encoding, VectorEncoding::Base64);
        let body = r#"{"dimensions":8,"encoding_format":null,"input":["a","\u00e9"],"model":null,"inp\u0075t_type":"query"}"#;
        let many = read(PATH, body).unwrap();
        assert_eq!(many.texts, ["a", "é"]);
        assert_eq!((many.model, many.encoding), (None, VectorEncoding::Float));
        let options = many.options;
        assert_eq!(
            (options.dimensions, options.input_type.as_deref()),
            (Some(8), Some("query"))
        );
    }

    #[test]
    fn mistakes_name_their_member() {
        for (body, said) in [
            (
                r#"{"input":[1,2]}"#,
                "input: input: expected texts; found token ids",
            ),
            (r#"{"input":[[1,2]]}"#, "check_embedding_ctx_length=False"),
            (r#"{"input":[]}"#, "input: input: expected a text"),
            (r#"{"input":null}"#, "input: input: expected a text"),
            (r#"{}"#, "input: input: expected a text"),
            (
                r#"{"input":["a","b","c","d"]}"#,
                "input: input: more than 3 texts",
            ),
            (
                r#"{"input":"a","dimensions":0}"#,
                "dimensions: dimensions: expected a number of 1 or more",
            ),
            (
                r#"{"input":"a","dimensions":-1}"#,
                "dimensions: dimensions: expected",
            ),
            (
                r#"{"input":"a","encoding_format":"hex"}"#,
                r#"encoding_format: encoding_format: expected "float" or "base64"; found "hex""#,
            ),
            (
                r#"{"input":"a","model":7}"#,
                "model: model: expected the name",
            ),
            (
                r#"{"input":["a",null]}"#,
                "input: input: invalid type: null, expected a text in the list",
            ),
            (
                r#"{"input":5}"#,
                "input: input: invalid type: integer `5`, expected a text or a list of texts",
            ),
            ("no", ": the body is not valid JSON: expected"),
            ("[]", "an object such as"),
            (r#"{"input":"a"} x"#, "trailing characters"),
        ] {
            let found = read(PATH, body).unwrap_err();
            assert!(found.contains(said), "{body}: {found}");
        }
    }

    #[test]
    fn vectors_are_numbers_or_base64() {
        let mut request = TextRequest::default();
        assert_eq!(
            written(PATH, &request),
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2.0]},{"object":"embedding","index":1,"embedding":[1e-9,0.0]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
        request.encoding = VectorEncoding::Base64;
        let base64 = written(PATH, &request);
        assert!(base64.contains(r#""embedding":"zczMPQAAAMA=""#), "{base64}");
    }
}

mod tei {
    use super::*;

    #[test]
    fn what_clients_send_is_read() {
        let one = read("embed", r#"{"inputs":"hello"}"#).unwrap();
        assert_eq!(one.texts, ["hello"]);
        assert_eq!(one.options.normalize, Some(true));
        let body = r#"{"inputs":["hello","world"],"parameters":{"normalize":false,"parameters":{"inputs":"x"}},
            "truncate":true,"truncation_direction":"Left","prompt_name":"query","dimensions":null}"#;
        let many = read("minilm/embed", body).unwrap();
        assert_eq!(many.texts, ["hello", "world"]);
        let options = many.options;
        assert_eq!(
            (options.normalize, options.truncate),
            (Some(false), Some(true))
        );
        assert_eq!(options.truncation_side, Some(Side::Left));
        assert_eq!(options.prompt_name.as_deref(), Some("query"));
        let body =
            r#"{"inputs":{"source_sentence":"hello","sentences":["hi","bye"]},"parameters":null}"#;
        for path in ["embed", "similarity"] {
            let alike = read(path, body).unwrap();
            assert_eq!(alike.texts, ["hello", "hi", "bye"]);
            assert_eq!(written(path, &alike), "[0.049937617]");
        }
        assert_eq!(written("embed", &one), "[[0.1,-2.0],[1e-9,0.0]]");
    }

    #[test]
    fn mistakes_name_their_member() {
        for (path, body, said) in [
            ("embed", r#"{"inputs":[]}"#, "inputs: expected a text"),
            ("embed", r#"{}"#, "inputs: expected a text"),
            ("embed", r#"{"inputs":[[1]]}"#, "found token ids"),
            (
                "embed",
                r#"{"inputs":7}"#,
                "inputs: inputs: invalid type: integer",
            ),
            (
                "embed",
                r#"{"inputs":"a","truncation_direction":"up"}"#,
                r#"truncation_direction: expected "left" or "right"; found "up""#,
            ),
            (
                "embed",
                r#"{"inputs":"a","parameters":{"dimensions":0}}"#,
                "parameters: parameters: dimensions: expected a number of 1 or more",
            ),
            (
                "embed",
                r#"{"inputs":"a","parameters":[]}"#,
                "parameters: invalid type",
            ),
            ("similarity", r#"{"inputs":"a"}"#, "source_sentence"),
            (
                "similarity",
                r#"{"inputs":{"sentences":["a"]}}"#,
                "inputs: source_sentence: expected a text",
            ),
            (
                "similarity",
                r#"{"inputs":{"source_sentence":"a","sentences":[]}}"#,
                "inputs.sentences: expected a text",
            ),
        ] {
            let found = read(path, body).unwrap_err();
            assert!(found.contains(said), "{body}: {found}");
        }
    }
}

mod ollama {
    use super::*;

    #[test]
    fn what_clients_send_is_read() {
        let body = r#"{"model":"minilm:latest","input":["hello","world"],"options":null,"truncate":false,"dimensions":2,
            "keep_alive":"5m","CustomHeaders":{}}"#;
        let request = read("api/embed", body).unwrap();
        assert_eq!(request.texts, ["hello", "world"]);
        assert_eq!(request.model.as_deref(), Some("minilm"));
        assert_eq!(request.options.truncate, Some(false));
        assert_eq!(
            written("api/embed", &request),
            r#"{"model":"m","embeddings":[[0.1,-2.0],[1e-9,0.0]],"total_duration":5000,"load_duration":0,"prompt_eval_count":7}"#
        );
        let old = read("api/embeddings", r#"{"model":"minilm","prompt":"hello"}"#).unwrap();
        assert_eq!(old.texts, ["hello"]);
        let found = read("api/embed", r#"{"model":"minilm"}"#).unwrap_err();
        assert!(found.contains("input: expected a text"), "{found}");
    }
}

mod search_skill {
    use super::*;

    #[test]
    fn records_are_answered_each_for_itself() {
        let body = r#"{"values":[{"recordId":"a","data":{"text":"one","language":"en"}},{"recordId":"b","data":{"text":null}},
            {"data":{"text":"two"},"recordId":"c"}]}"#;
        let request = read("skill", body).unwrap();
        assert_eq!(request.texts, ["one", "two"]);
        let answer: Value = serde_json::from_str(&written("skill", &request)).unwrap();
        let cut = "the text is longer than the model takes; a part of it was cut off";
        let numbers = |a: f64, b: f64| serde_json::json!({ "vector": [a, b] });
        assert_eq!(
            answer["values"][1]["errors"][0]["message"],
            "data: expected a text as \"text\"; found none"
        );
        assert_eq!(answer["values"][1]["data"], serde_json::json!({}));
        assert_eq!(answer["values"][0]["data"], numbers(0.1, -2.0));
        assert_eq!(answer["values"][0]["warnings"], serde_json::json!([]));
        assert_eq!(answer["values"][2]["recordId"], "c");
        assert_eq!(answer["values"][2]["warnings"][0]["message"], cut);
        assert_eq!(answer["values"][2]["errors"], serde_json::json!([]));
    }

    #[test]
    fn a_text_of_another_kind_is_a_mistake_of_its_record() {
        for data in [
            r#"{"text":7}"#,
            r#"{"text":["a"]}"#,
            r#"{"text":{"a":[1]}}"#,
            r#"{"text":true}"#,
            r#"{"text":-1.5}"#,
            r#"{"txt":"a"}"#,
            "null",
            "{}",
        ] {
            let body = format!(
                r#"{{"values":[{{"recordId":"a","data":{data}}},{{"recordId":"b","data":{{"text":"b"}}}}]}}"#
            );
            let request = read("skill/minilm", &body).unwrap();
            assert_eq!(request.texts, ["b"], "{data}");
        }
        for (body, said) in [
            (
                r#"{"values":[]}"#,
                "values: values: expected a list of records",
            ),
            (r#"{}"#, "values: values: expected a list of records"),
            (r#"{"values":{}}"#, "values: values: invalid type: map"),
            (
                r#"{"values":[{"data":{"text":"a"}}]}"#,
                "record 0: \"recordId\" is missing",
            ),
            (
                r#"{"values":[{"recordId":7,"data":{"text":"a"}}]}"#,
                "values: values: invalid type: integer",
            ),
            (r#"{"values":["a"]}"#, "expected a record such as"),
        ] {
            let found = read("skill", body).unwrap_err();
            assert!(found.contains(said), "{body}: {found}");
        }
    }
}

#[test]
fn routes_are_found_by_their_segments() {
    let found = |path: &[&'static str]| TextApi::find(path).map(|call| (call.route.id, call.model));
    assert_eq!(found(&["embed"]), Some(("embed", None)));
    assert_eq!(found(&["minilm", "embed"]), Some(("embed", Some("minilm"))));
    assert_eq!(
        found(&["openai", "deployments", "m", "embeddings"]),
        Some(("deployment_embeddings", Some("m")))
    );
    assert_eq!(found(&["", "embed"]), None);
    assert_eq!(found(&["minilm"]), None);
}

#[test]
fn names_that_are_a_routes_path_are_told_with_it() {
    for name in [
        "embed",
        "skill",
        "v1",
        "openai",
        "api",
        "v2",
        "metrics",
        "openapi.json",
        "health",
        "ping",
        "version",
        "invocations",
        "pipeline",
        "info",
    ] {
        assert_eq!(path_taken(name).as_deref(), Some(name));
    }
    assert_eq!(path_taken("stats").as_deref(), Some("v2/models/stats"));
    for name in ["minilm", "{model}", "ready", "index", "models", "infer"] {
        assert_eq!(path_taken(name), None, "{name}");
    }
}

#[test]
fn names_of_routes_are_unique() {
    let routes = TEXT_APIS.iter().flat_map(|api| api.routes);
    let mut ids: Vec<&str> = routes.map(|route| route.id).collect();
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn the_documentation_has_the_routes_of_every_api() {
    let text = include_str!("../../../../docs/requests.md");
    for api in TEXT_APIS {
        let row = api.documentation();
        assert!(text.contains(&row), "docs/requests.md lacks the row\n{row}");
        let sections = include_str!("../../../../docs/text.md");
        assert!(sections.contains(&format!("(#{})", api.section)), "{api:?}");
    }
}

//! Classification and entities, in the forms of text-embeddings-inference, infinity, Hugging Face and Azure AI Search.

use score::{Activation, Aggregation, Entity};

use super::*;

/// What is answered for the scores of two labels for each text.
fn labelled(path: &str, request: &TextRequest, scores: &[f32]) -> String {
    let mut writes = take(path).writes.iter();
    let write = writes.find_map(|write| match write {
        Write::Labels(write) | Write::AnyLabels(write) => Some(write),
        _ => None,
    });
    let names = ["no".to_owned(), "yes".to_owned()];
    let labels = Labels {
        names: &names,
        scores,
    };
    let answered = about(&[]).with(labels);
    String::from_utf8(write.unwrap()(request, &answered)).unwrap()
}

fn tagged(path: &str, request: &TextRequest, entities: &[Vec<Entity>]) -> String {
    let mut writes = take(path).writes.iter();
    let write = writes.find_map(|write| match write {
        Write::Entities(write) => Some(write),
        _ => None,
    });
    let answered = about(&[]).with(entities);
    String::from_utf8(write.unwrap()(request, &answered)).unwrap()
}

const ONE: &str = r#"[{"label":"yes","score":0.75},{"label":"no","score":0.25}]"#;
const TWO: &str = r#"[[{"label":"yes","score":0.75},{"label":"no","score":0.25}],[{"label":"no","score":0.5},{"label":"yes","score":0.5}]]"#;

#[test]
fn predict_takes_texts_and_pairs_as_tei_does() {
    type Case = (
        &'static str,
        &'static [&'static str],
        &'static [&'static str],
        bool,
    );
    let cases: [Case; 5] = [
        (r#""a""#, &["a"], &[], true),
        (r#"["a"]"#, &["a"], &[], true),
        (r#"["a","b"]"#, &["b"], &["a"], true),
        (r#"[["a"],["b"]]"#, &["a", "b"], &[], false),
        (r#"[["a","b"],["c","d"]]"#, &["b", "d"], &["a", "c"], false),
    ];
    for (inputs, texts, queries, one) in cases {
        let body = format!(r#"{{"inputs":{inputs},"raw_scores":true}}"#);
        let request = read("predict", &body).unwrap();
        assert_eq!(request.texts, texts, "{inputs}");
        assert_eq!(request.queries, queries, "{inputs}");
        assert_eq!(request.results.activation, Some(Activation::None));
        let answer = match one {
            true => labelled("predict", &request, &[0.25, 0.75]),
            false => labelled("predict", &request, &[0.25, 0.75, 0.5, 0.5]),
        };
        assert_eq!(answer, if one { ONE } else { TWO }, "{inputs}");
    }
    for (inputs, said) in [
        (
            r#"["a","b","c"]"#,
            r#"send several texts as [["a"], ["b"]]"#,
        ),
        (r#"["a",["b"]]"#, r#"send several texts as [["a"], ["b"]]"#),
        (
            r#"[["a","b"],["c"]]"#,
            "expected single texts or pairs; found both",
        ),
        (r#"[["a","b","c"]]"#, "expected lists of one or two texts"),
        ("[[]]", "expected lists of one or two texts"),
        ("[[1,2]]", "inputs: invalid type: integer"),
        ("[]", "inputs: expected a text"),
        ("null", "inputs: expected a text"),
        ("7", "expected a text, a pair of texts, or a list of lists"),
        (r#"[["a"],["a"],["a"],["a"]]"#, "more than 3 texts"),
    ] {
        let found = read("predict", &format!(r#"{{"inputs":{inputs}}}"#)).unwrap_err();
        assert!(found.contains(said), "{inputs}: {found}");
    }
}

#[test]
fn pipelines_answer_a_list_for_each_text_also_for_a_single_one() {
    let path = "pipeline/text-classification";
    // As huggingface_hub sends it.
    let body = r#"{"inputs":"a","parameters":{"top_k":1,"function_to_apply":"sigmoid"}}"#;
    let request = read(path, body).unwrap();
    assert_eq!(request.results.activation, Some(Activation::Sigmoid));
    assert_eq!(
        labelled(path, &request, &[0.25, 0.75]),
        r#"[[{"label":"yes","score":0.75}]]"#
    );
    let request = read(path, r#"{"inputs":["a","b"],"parameters":{}}"#).unwrap();
    assert_eq!(labelled(path, &request, &[0.25, 0.75, 0.5, 0.5]), TWO);
    for (body, said) in [
        (
            r#"{"inputs":"a","parameters":{"function_to_apply":"tanh"}}"#,
            r#"function_to_apply: expected "sigmoid" or "softmax" or "none"; found "tanh""#,
        ),
        (
            r#"{"inputs":"a","top_k":0}"#,
            "top_k: expected a number of 1 or more",
        ),
        (r#"{"parameters":{}}"#, "inputs: expected a text"),
    ] {
        let found = read(path, body).unwrap_err();
        assert!(found.contains(said), "{body}: {found}");
    }
}

#[test]
fn pipelines_take_pairs_as_transformers_do() {
    let path = "pipeline/text-classification";
    for (inputs, texts, queries, form) in [
        // As Hugging Face documents it for cross-encoders, and as transformers takes single ones.
        (
            r#"[{"text":"a","text_pair":"b"},{"text":"c","text_pair":"d"}]"#,
            ["b", "d"].as_slice(),
            ["a", "c"].as_slice(),
            Form::Pairs,
        ),
        (
            r#"{"text":"a","text_pair":"b"}"#,
            &["b"],
            &["a"],
            Form::Pairs,
        ),
        (r#"[["a","b"]]"#, &["b"], &["a"], Form::Pairs),
        (r#"[["a"],["b"]]"#, &["a", "b"], &[], Form::List),
        (
            r#"[{"text":"a","text_pair":null,"id":7},"b"]"#,
            &["a", "b"],
            &[],
            Form::List,
        ),
        (r#"{"text":"a"}"#, &["a"], &[], Form::One),
    ] {
        let request = read(path, &format!(r#"{{"inputs":{inputs}}}"#)).unwrap();
        assert_eq!(request.texts, texts, "{inputs}");
        assert_eq!(request.queries, queries, "{inputs}");
        assert_eq!(request.form, form, "{inputs}");
    }
    let twice = "found texts in inputs and in texts, or twice";
    for (body, said) in [
        (
            r#"{"inputs":[{"text":"a","text_pair":"b"},{"text":"c","text_pair":7}]}"#,
            "inputs: inputs: item 1: text_pair: invalid type: integer `7`, expected a string",
        ),
        (
            r#"{"inputs":[{"text":"a","text_pair":"b"},"c"]}"#,
            "item 1 is a single text, item 0 is a pair",
        ),
        (
            r#"{"inputs":["c",["a","b"]]}"#,
            "item 0 is a single text, item 1 is a pair",
        ),
        (
            r#"{"inputs":[{"text_pair":"b"}]}"#,
            "inputs: item 0: text: expected a text; found none",
        ),
        (
            r#"{"inputs":{"text_pair":"b"}}"#,
            "text: expected a text beside text_pair; found none",
        ),
        (
            r#"{"inputs":{"query":"a","texts":["b"]}}"#,
            "expected an object with text (and text_pair), or with source_sentence and sentences; found neither",
        ),
        (
            r#"{"inputs":[["a","b","c"]]}"#,
            "item 0: expected lists of one or two texts",
        ),
        (r#"{"inputs":[[1,2]]}"#, "item 0: invalid type: integer"),
        (
            r#"{"inputs":{"source_sentence":"a","sentences":["b"],"text":"c"}}"#,
            "found text beside source_sentence",
        ),
        (
            r#"{"inputs":[["a","b"]],"query":"c"}"#,
            "query: found a query beside pairs in inputs",
        ),
        (
            r#"{"query":"c","inputs":[["a","b"]]}"#,
            "inputs: found pairs beside a query",
        ),
        (r#"{"inputs":"a","texts":["b"]}"#, twice),
        (r#"{"texts":["b"],"query":"c","inputs":["a"]}"#, twice),
        (r#"{"inputs":"a","parameters":{"inputs":"b"}}"#, twice),
    ] {
        let found = read(path, body).unwrap_err();
        assert!(found.contains(said), "{body}: {found}");
    }
}

#[test]
fn entities_of_a_single_text_have_no_list_around_them() {
    let path = "pipeline/token-classification/ner";
    let body = r#"{"inputs":"a","parameters":{"aggregation_strategy":"FIRST","ignore_labels":["O","B-MISC"],"stride":16}}"#;
    let request = read(path, body).unwrap();
    assert_eq!(request.results.aggregation, Some(Aggregation::First));
    let ignored = request.results.ignored.as_ref().unwrap();
    assert_eq!(ignored, &["O", "B-MISC"]);
    let entity = Entity {
        entity: None,
        entity_group: Some("PER".to_owned()),
        score: 0.5,
        index: None,
        word: "Ann".to_owned(),
        start: 0,
        end: 3,
    };
    let one = r#"[{"entity_group":"PER","score":0.5,"word":"Ann","start":0,"end":3}]"#;
    let entities = [vec![entity]];
    assert_eq!(tagged(path, &request, &entities), one);
    let request = read(
        path,
        r#"{"inputs":["a"],"parameters":{"ignore_labels":[]}}"#,
    )
    .unwrap();
    assert_eq!(request.results.ignored, Some(Vec::new()));
    assert_eq!(tagged(path, &request, &entities), format!("[{one}]"));
    for (body, said) in [
        (
            r#"{"inputs":"a","parameters":{"aggregation_strategy":"mean"}}"#,
            r#"aggregation_strategy: expected "none" or "simple" or "first" or "average" or "max"; found "mean""#,
        ),
        (
            r#"{"inputs":"a","parameters":{"ignore_labels":"O"}}"#,
            "ignore_labels: invalid type",
        ),
    ] {
        let found = read(path, body).unwrap_err();
        assert!(found.contains(said), "{body}: {found}");
    }
}

#[test]
fn infinitys_clients_get_labels_with_usage() {
    // As infinity_client sends it.
    let body = r#"{"input":["a"],"model":"default/not-specified","raw_scores":false}"#;
    let request = read("classify", body).unwrap();
    assert_eq!(
        (request.model.as_deref(), request.results.activation),
        (None, None)
    );
    assert_eq!(
        labelled("classify", &request, &[0.25, 0.75]),
        format!(
            r#"{{"object":"classify","id":"r","model":"m","data":[{ONE}],"usage":{{"prompt_tokens":7,"total_tokens":7}}}}"#
        )
    );
    let found = read("classify", r#"{"input":[]}"#).unwrap_err();
    assert!(found.contains("input: expected a text"), "{found}");
}

#[test]
fn records_get_their_labels_or_entities() {
    let body =
        r#"{"values":[{"recordId":"a","data":{"text":7}},{"recordId":"b","data":{"text":"b"}}]}"#;
    let request = read("skill", body).unwrap();
    let answer: Value = serde_json::from_str(&labelled("skill", &request, &[0.25, 0.75])).unwrap();
    let (first, second) = (&answer["values"][0], &answer["values"][1]);
    assert_eq!(first["data"], serde_json::json!({}));
    assert!(first["errors"][0]["message"].is_string());
    assert_eq!(second["data"]["label"], "yes");
    assert_eq!(second["data"]["score"], 0.75);
    assert_eq!(second["data"]["labels"][1]["label"], "no");
    let twice = format!(
        "{{\"values\":[{{\"recordId\":\"z\",\"data\":{{\"text\":\"z\"}}}}],{}",
        &body[1..]
    );
    assert_eq!(read("skill", &twice).unwrap(), request);
    let answer: Value = serde_json::from_str(&tagged("skill", &request, &[Vec::new()])).unwrap();
    assert_eq!(
        answer["values"][1]["data"],
        serde_json::json!({ "entities": [] })
    );
}

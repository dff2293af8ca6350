//! Ranking, in the forms of text-embeddings-inference, infinity, Cohere, Jina and vLLM.

use super::*;

/// What is answered for logits that are the scores.
fn ranked(path: &str, request: &TextRequest, logits: &[f32]) -> String {
    let activation = score::Activation::None;
    activated(path, request, Ranks { logits, activation })
}

fn activated(path: &str, request: &TextRequest, ranks: Ranks<'_>) -> String {
    let [Write::Ranks(write)] = take(path).writes else {
        panic!("{path} ranks nothing");
    };
    let answered = about(&request.texts).with(ranks);
    String::from_utf8(write(request, &answered)).unwrap()
}

#[test]
fn the_highest_score_comes_first_and_ties_stay_in_order() {
    let body = r#"{"query":"q","texts":["a","b","c"]}"#;
    for path in ["rerank", "reranker/rerank"] {
        let request = read(path, body).unwrap();
        assert_eq!(request.queries, ["q"]);
        assert!(!request.repeats_texts);
        let plain = TextRequest {
            texts: Vec::new(),
            ..request
        };
        assert_eq!(
            ranked(path, &plain, &[0.25, 0.5, 0.25]),
            r#"[{"index":1,"score":0.5},{"index":0,"score":0.25},{"index":2,"score":0.25}]"#
        );
        // Both zeros are one score.
        assert_eq!(
            ranked(path, &plain, &[-0.0, 0.0]),
            r#"[{"index":0,"score":-0.0},{"index":1,"score":0.0}]"#
        );
    }
}

#[test]
fn texts_whose_scores_round_to_one_stay_apart() {
    let request = read("rerank", r#"{"query":"q","texts":["a","b"]}"#).unwrap();
    let plain = TextRequest {
        texts: Vec::new(),
        ..request
    };
    let ranks = Ranks {
        logits: &[18.0, 21.0],
        activation: score::Activation::Sigmoid,
    };
    assert_eq!(
        activated("rerank", &plain, ranks),
        r#"[{"index":1,"score":1.0},{"index":0,"score":1.0}]"#
    );
}

#[test]
fn teis_clients_may_have_texts_repeated_and_scores_left_raw() {
    // As `rerankers` sends it: `model` is the name of the server, `top_n` the number of texts.
    let body = r#"{"model":"text-embeddings-inference","query":"q","texts":["a","\"b\""],"top_n":2,"return_text":true}"#;
    let request = read("rerank", body).unwrap();
    assert_eq!(
        (request.model.as_deref(), request.repeats_texts),
        (None, true)
    );
    assert_eq!(
        ranked("rerank", &request, &[0.5, 0.75]),
        r#"[{"index":1,"text":"\"b\"","score":0.75},{"index":0,"text":"a","score":0.5}]"#
    );
    let body = r#"{"query":"","texts":["a"],"raw_scores":true,"truncate":true,"truncation_direction":"Left","return_text":null}"#;
    let request = read("rerank", body).unwrap();
    assert_eq!(request.results.activation, Some(score::Activation::None));
    assert_eq!(request.options.truncation_side, Some(Side::Left));
}

#[test]
fn documents_on_teis_path_are_answered_as_infinity_answers_them() {
    // As infinity_client sends it: the name of the model is its default.
    let body = r#"{"query":"q","documents":["a","b"],"return_documents":true,"raw_scores":false,"model":"default/not-specified","top_n":1}"#;
    let request = read("rerank", body).unwrap();
    assert_eq!(request.model, None);
    assert_eq!(
        ranked("rerank", &request, &[0.5, 0.75]),
        r#"{"object":"rerank","id":"r","model":"m","results":[{"index":1,"relevance_score":0.75,"document":"b"}],"usage":{"prompt_tokens":7,"total_tokens":7}}"#
    );
    let body = r#"{"query":"q","documents":["a"],"model":"reranker"}"#;
    let named = read("rerank", body).unwrap();
    assert_eq!(named.model.as_deref(), Some("reranker"));
}

#[test]
fn recorded_requests_of_coheres_clients_are_read() {
    for (path, body, top) in [
        (
            "v1/rerank",
            r#"{"model":"reranker","query":"q","documents":["a","b","c"],"top_n":2}"#,
            Some(2),
        ),
        (
            "v1/rerank",
            r#"{"model":"reranker","query":"q","documents":["a","b"],"top_n":3,"max_chunks_per_doc":null}"#,
            Some(3),
        ),
        (
            "v2/rerank",
            r#"{"model":"reranker","query":"q","documents":["a","b","c"],"top_n":2,"max_tokens_per_doc":512}"#,
            Some(2),
        ),
        (
            "v1/rerank",
            r#"{"model":"reranker","query":"q","documents":[{"text":"a"},{"text":"b"}],"return_documents":true}"#,
            None,
        ),
    ] {
        let request = read(path, body).unwrap();
        assert_eq!(request.texts[..2], ["a", "b"], "{body}");
        assert_eq!(request.queries, ["q"]);
        assert_eq!(
            (request.model.as_deref(), request.results.top),
            (Some("reranker"), top)
        );
    }
}

#[test]
fn coheres_answers_have_units_and_usage() {
    let body = r#"{"query":"q","documents":[{"text":"a"},"b"],"return_documents":true,"top_n":9}"#;
    let request = read("v1/rerank", body).unwrap();
    assert_eq!(
        ranked("v1/rerank", &request, &[0.5, 0.75]),
        r#"{"object":"rerank","id":"r","model":"m","results":[{"index":1,"relevance_score":0.75,"document":{"text":"b"}},{"index":0,"relevance_score":0.5,"document":{"text":"a"}}],"usage":{"prompt_tokens":7,"total_tokens":7},"meta":{"api_version":{"version":"1"},"billed_units":{"search_units":1},"tokens":{"input_tokens":7}}}"#
    );
    let second = ranked("v2/rerank", &request, &[0.5]);
    assert!(second.contains(r#""version":"2""#), "{second}");
}

/// What people's programs send to servers of their own, as they report it, and how many texts that is.
const STRANGERS: &[(&str, &str, usize)] = &[
    // Dify and RAGFlow: null where nothing is set; the number of documents as `top_n`.
    (
        "v1/rerank",
        r#"{"model":"m","query":"q","documents":["a","b"],"top_n":null,"return_documents":true}"#,
        2,
    ),
    // Objects with other members, of any kind.
    (
        "v1/rerank",
        r#"{"query":"q","documents":[{"id":7,"text":"a","meta":{"page":[1,{"text":"x"}]}},{"title":null,"text":"b"}]}"#,
        2,
    ),
    // Voyage's clients say `top_k` and `truncation`.
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a","b"],"top_k":1,"truncation":true,"return_documents":false}"#,
        2,
    ),
    // vLLM takes a single document that is no list.
    (
        "v1/rerank",
        r#"{"query":"q","documents":"a","truncate_prompt_tokens":-1}"#,
        1,
    ),
    // Cohere's older clients name the only field.
    (
        "v1/rerank",
        r#"{"query":"q","documents":[{"text":"a"}],"rank_fields":["text"],"max_chunks_per_doc":10}"#,
        1,
    ),
    // SiliconFlow's example, and Xinference's with truth values as texts.
    (
        "v1/rerank",
        r#"{"model":"m","query":"Apple","documents":["apple","banana"],"top_n":4,"return_documents":false,"max_chunks_per_doc":1024,"overlap_tokens":80}"#,
        2,
    ),
    (
        "v1/rerank",
        r#"{"query":"q","return_documents":"true","return_len":"True","documents":["a","b"]}"#,
        2,
    ),
    // A gateway that sends one body to servers of every kind.
    (
        "rerank",
        r#"{"query":"q","documents":["a"],"texts":["a"],"return_documents":true,"return_text":true,"top_n":1}"#,
        1,
    ),
    // Haystack, to text-embeddings-inference.
    (
        "rerank",
        r#"{"query":"q","texts":["a","b"],"raw_scores":false,"truncation_direction":"Right"}"#,
        2,
    ),
    // The same document twice, and empty ones.
    (
        "v2/rerank",
        r#"{"query":"q","documents":["a","a",""],"priority":0}"#,
        3,
    ),
    // LlamaIndex and AnythingLLM.
    (
        "rerank",
        r#"{"query":"q","texts":["a\nb"],"truncate":null,"raw_scores":null}"#,
        1,
    ),
    // LiteLLM, to infinity.
    (
        "rerank",
        r#"{"model":"rerank","query":"q","documents":["a"],"top_n":null,"rank_fields":null}"#,
        1,
    ),
    // An empty list of documents behind a full one: the last member counts.
    (
        "v2/rerank",
        r#"{"documents":[],"query":"q","documents":["a"]}"#,
        1,
    ),
    // A query with quotes, line breaks and an emoji.
    (
        "v2/rerank",
        r#"{"query":"\"q\"\n\ud83e\uddc0","documents":["\u4f60\u597d"]}"#,
        1,
    ),
];

#[test]
fn requests_of_strangers_are_read() {
    for (path, body, texts) in STRANGERS {
        let request = read(path, body).unwrap_or_else(|told| panic!("{body}: {told}"));
        assert_eq!(request.texts.len(), *texts, "{body}");
    }
}

/// Requests that are refused, and a part of what is said.
const MISTAKES: &[(&str, &str, &str)] = &[
    (
        "v1/rerank",
        r#"{"query":"q","documents":[]}"#,
        "documents: documents: expected a text",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":null}"#,
        "documents: expected a text",
    ),
    (
        "v1/rerank",
        r#"{"query":"q"}"#,
        "documents: expected a text",
    ),
    (
        "v1/rerank",
        r#"{"documents":["a"]}"#,
        "query: query: expected a text; found none",
    ),
    (
        "v1/rerank",
        r#"{"query":null,"documents":["a"]}"#,
        "query: expected a text; found none",
    ),
    (
        "v1/rerank",
        r#"{"query":"","documents":["a"]}"#,
        "query: expected a text; found an empty one",
    ),
    (
        "v1/rerank",
        r#"{"query":7,"documents":["a"]}"#,
        "query: query: expected a text; invalid type",
    ),
    (
        "v1/rerank",
        r#"{"query":["q"],"documents":["a"]}"#,
        "query: expected a text; invalid type",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":[7]}"#,
        "documents: invalid type: integer `7`, expected a text, or an object",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a",null]}"#,
        "documents: invalid type: null",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":[["a"]]}"#,
        "documents: invalid type: sequence",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a",{"title":"b"}]}"#,
        "document 1 is an object without a text as \"text\"",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":[{"text":null}]}"#,
        "document 0 is an object without a text",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":[{"text":7}]}"#,
        "documents: invalid type: integer `7`, expected a string",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":{"text":"a"}}"#,
        "documents: invalid type: map, expected a list of texts",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a","b","c","d"]}"#,
        "more than 3 documents",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a"],"top_n":0}"#,
        "top_n: top_n: expected a number of 1 or more; found 0",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a"],"top_n":-1}"#,
        "top_n: expected a number of 1 or more",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a"],"top_n":"3"}"#,
        "top_n: expected a number of 1 or more",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a"],"return_documents":"yes"}"#,
        "return_documents: expected true or false",
    ),
    (
        "v1/rerank",
        r#"{"query":"q","documents":["a"],"rank_fields":["title"]}"#,
        "rank_fields: documents are ranked by their \"text\" alone",
    ),
    (
        "v2/rerank",
        r#"{"query":"q","documents":["a"],"max_tokens_per_doc":0}"#,
        "max_tokens_per_doc: expected a number of 1 or more",
    ),
    (
        "rerank",
        r#"{"query":"q","texts":[]}"#,
        "texts: texts: expected a text",
    ),
    (
        "rerank",
        r#"{"texts":["a"]}"#,
        "query: query: expected a text; found none",
    ),
    (
        "rerank",
        r#"{"query":"q","texts":[{"text":"a"}]}"#,
        "texts: invalid type: map",
    ),
    (
        "rerank",
        r#"{"query":"q","documents":[]}"#,
        "documents: documents: expected a text",
    ),
    ("rerank", "[]", "an object such as"),
];

#[test]
fn mistakes_name_their_member() {
    for (path, body, said) in MISTAKES {
        let found = read(path, body).unwrap_err();
        assert!(found.contains(said), "{body}: {found}");
    }
}

use super::*;
use crate::{PayloadError, unpack};

/// The route of a path, which must take texts.
fn embed(path: &str) -> &'static Embed {
    let segments: Vec<&str> = path.split('/').collect();
    let call = TextApi::find(&segments).unwrap();
    match &call.route.operation {
        Operation::Embed(embed) => embed,
    }
}

fn read(path: &str, body: &str) -> Result<TextRequest, String> {
    let limits = Limits {
        max_bytes: 1 << 20,
        max_nesting: 32,
        max_rows: 3,
    };
    let (body, declared) = (body.as_bytes(), Declared::default());
    let unpacked = unpack(body, declared, limits.max_bytes);
    let read = embed(path).read(body, unpacked, declared, limits);
    read.map_err(|error| match error {
        TextError::Empty(ScoreError::InvalidInput { target, message })
        | TextError::Payload(PayloadError::Invalid(ScoreError::InvalidInput { target, message })) =>
        {
            format!("{}: {message}", target.unwrap_or_default())
        }
        other => format!("{other:?}"),
    })
}

fn written(path: &str, request: &TextRequest) -> String {
    let embedded = Embedded {
        model: "m",
        values: &[0.1, -2.0, 1e-9, 0.0],
        width: 2,
        tokens: &[3, 4],
        truncated: &[false, true],
        refuses: false,
        took: Duration::from_micros(5),
    };
    String::from_utf8(embed(path).write(request, &embedded)).unwrap()
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

//! The embeddings of OpenAI's API: texts in, vectors and a count of tokens out.
//!
//! Source: "Embeddings" in OpenAI's API reference, and what its clients send: they ask for base64 unless told otherwise, and
//! read floats where `encoding_format` is absent.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use score::{ModelSignature, ScoreError, Tensor, TensorData};
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::body::{Declared, Limits, PayloadError};
use crate::format::gzip;
use crate::watch::Unwatched;

/// Characters of a request that a message quotes.
const MAX_QUOTED: usize = 200;

/// A request for embeddings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmbeddingsRequest {
    /// The texts.
    pub texts: Vec<String>,
    /// The model it names.
    pub model: Option<String>,
    /// How vectors are to be written.
    pub encoding: VectorEncoding,
    /// How many numbers of each vector are wanted.
    pub dimensions: Option<usize>,
}

/// How a vector is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VectorEncoding {
    /// An array of numbers.
    Float,
    /// Little-endian float32 as base64.
    Base64,
}

/// Reads a request. Members that are not known pass, as do members that are null.
///
/// # Errors
/// [`PayloadError`] names the member, what was found and what was expected.
pub fn read_embeddings(
    body: &[u8],
    declared: Declared<'_>,
    limits: Limits,
) -> Result<EmbeddingsRequest, PayloadError> {
    let signature = ModelSignature::default();
    let unpacked = gzip::unpack(body, declared, limits.max_bytes, &Unwatched);
    let inflated = gzip::inflated(body, unpacked, declared, &signature)?;
    let body = inflated.as_deref().unwrap_or(body);
    let mut reader = serde_json::Deserializer::from_slice(body);
    let members = Members { limits };
    let read = members
        .deserialize(&mut reader)
        .and_then(|read| reader.end().map(|()| read));
    let read = read.map_err(|error| {
        let text: String = error.to_string().chars().take(2 * MAX_QUOTED).collect();
        // A mistake in a member is told with the member's name.
        let members = ["input", "model", "encoding_format", "dimensions"];
        let in_member = |name: &&str| {
            text.strip_prefix(*name)
                .is_some_and(|rest| rest.starts_with(':'))
        };
        ScoreError::InvalidInput {
            target: members.into_iter().find(in_member).map(str::to_owned),
            message: match error.is_syntax() || error.is_eof() {
                true => format!("the body is not valid JSON: {text}"),
                false => text,
            },
        }
    })?;
    if read.texts.is_empty() {
        return Err(ScoreError::invalid(
            "input",
            "input: expected a text or a list of texts; found none",
        )
        .into());
    }
    Ok(read)
}

/// Writes the answer: `vectors` is a matrix, `tokens` how many the texts have together.
pub fn write_embeddings(
    model: &str,
    vectors: &Tensor,
    tokens: i64,
    encoding: VectorEncoding,
) -> Vec<u8> {
    let (width, values) = match (vectors.row_shape(), vectors.data()) {
        ([width], TensorData::Float32(values)) => (*width, values.as_slice()),
        _ => (0, &[][..]),
    };
    let mut out = Vec::with_capacity(values.len() * 12 + 256);
    out.extend(br#"{"object":"list","data":["#);
    for (index, vector) in values.chunks_exact(width.max(1)).enumerate() {
        let comma = if index == 0 { "" } else { "," };
        out.extend(
            format!(r#"{comma}{{"object":"embedding","index":{index},"embedding":"#).bytes(),
        );
        match encoding {
            VectorEncoding::Float => {
                // Writing to a vector cannot fail; what is not finite is null.
                let _ = serde_json::to_writer(&mut out, vector);
            }
            VectorEncoding::Base64 => {
                let bytes: Vec<u8> = vector
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect();
                out.push(b'"');
                out.extend(BASE64_STANDARD.encode(bytes).bytes());
                out.push(b'"');
            }
        }
        out.push(b'}');
    }
    out.extend(br#"],"model":"#);
    let _ = serde_json::to_writer(&mut out, model);
    out.extend(
        format!(r#","usage":{{"prompt_tokens":{tokens},"total_tokens":{tokens}}}}}"#).bytes(),
    );
    out
}

/// Reads the members of a request.
struct Members {
    limits: Limits,
}

impl<'de> DeserializeSeed<'de> for Members {
    type Value = EmbeddingsRequest;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = EmbeddingsRequest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object such as {\"input\": [\"a text\"], \"model\": \"name\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut read = EmbeddingsRequest {
            texts: Vec::new(),
            model: None,
            encoding: VectorEncoding::Float,
            dimensions: None,
        };
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "input" => {
                    let texts = map.next_value_seed(Texts(self.limits));
                    read.texts = texts.map_err(|error| {
                        let text = error.to_string();
                        let text = text.strip_prefix("input: ").unwrap_or(&text);
                        de::Error::custom(format!("input: {text}"))
                    })?;
                }
                "model" => read.model = member(&mut map, "model", "the name of a model")?,
                "encoding_format" => {
                    let format: Option<String> =
                        member(&mut map, "encoding_format", "\"float\" or \"base64\"")?;
                    read.encoding = match format.as_deref() {
                        None | Some("float") => VectorEncoding::Float,
                        Some("base64") => VectorEncoding::Base64,
                        Some(other) => {
                            let other: String = other.chars().take(MAX_QUOTED).collect();
                            return Err(de::Error::custom(format!(
                                "encoding_format: expected \"float\" or \"base64\"; found {other:?}"
                            )));
                        }
                    };
                }
                "dimensions" => {
                    let found: Option<usize> =
                        member(&mut map, "dimensions", "a number of 1 or more")?;
                    if found == Some(0) {
                        return Err(de::Error::custom(
                            "dimensions: expected a number of 1 or more; found 0",
                        ));
                    }
                    read.dimensions = found;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(read)
    }
}

/// A member that may be null.
fn member<'de, A: MapAccess<'de>, T: Deserialize<'de>>(
    map: &mut A,
    name: &str,
    expected: &str,
) -> Result<Option<T>, A::Error> {
    let value = map.next_value();
    value.map_err(|error| de::Error::custom(format!("{name}: expected {expected}; {error}")))
}

/// Reads a text or a list of texts.
struct Texts(Limits);

impl<'de> DeserializeSeed<'de> for Texts {
    type Value = Vec<String>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Texts {
    type Value = Vec<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(vec![text.to_owned()])
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        let most = self.0.max_rows;
        while let Some(Text(text)) = seq.next_element()? {
            if texts.len() == most {
                let message =
                    format!("input: more than {most} texts in one request (SCORE_MAX_ROWS)");
                return Err(de::Error::custom(message));
            }
            texts.push(text);
        }
        Ok(texts)
    }
}

/// One text of a list. Clients that tokenize send numbers, of a tokenizer that is not the model's.
struct Text(String);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        const TOKENS: &str = "input: expected texts; found token ids, which are of another tokenizer than this model's; let the \
                              client send text (LangChain: check_embedding_ctx_length=False)";
        impl<'de> Visitor<'de> for One {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in the list")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E: de::Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
                Err(E::custom(TOKENS))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
                Err(E::custom(TOKENS))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Text, A::Error> {
                Err(de::Error::custom(TOKENS))
            }
        }
        deserializer.deserialize_any(One)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<EmbeddingsRequest, String> {
        let limits = Limits {
            max_bytes: 1 << 20,
            max_nesting: 32,
            max_rows: 3,
        };
        let read = read_embeddings(body.as_bytes(), Declared::default(), limits);
        read.map_err(|error| match error {
            PayloadError::Invalid(ScoreError::InvalidInput { target, message }) => {
                format!("{}: {message}", target.unwrap_or_default())
            }
            other => format!("{other:?}"),
        })
    }

    #[test]
    fn what_clients_send_is_read() {
        let one =
            read(r#"{"input":"a","model":"m","encoding_format":"base64","user":null,"extra":[1]}"#)
                .unwrap();
        assert_eq!(
            (one.texts, one.model.as_deref()),
            (vec!["a".to_owned()], Some("m"))
        );
        assert_eq!(one.encoding, VectorEncoding::Base64);
        let many =
            read(r#"{"dimensions":8,"encoding_format":null,"input":["a","\u00e9"],"model":null}"#)
                .unwrap();
        assert_eq!(
            (many.texts, many.dimensions),
            (vec!["a".to_owned(), "é".to_owned()], Some(8))
        );
        assert_eq!((many.model, many.encoding), (None, VectorEncoding::Float));
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
                "encoding_format: encoding_format: expected \"float\"",
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
            let found = read(body).unwrap_err();
            assert!(found.contains(said), "{body}: {found}");
        }
    }

    #[test]
    fn vectors_are_numbers_or_base64() {
        let vectors =
            Tensor::new(vec![2, 2], TensorData::Float32(vec![0.1, -2.0, 1e-9, 0.0])).unwrap();
        let text =
            |encoding| String::from_utf8(write_embeddings("m", &vectors, 7, encoding)).unwrap();
        assert_eq!(
            text(VectorEncoding::Float),
            r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2.0]},{"object":"embedding","index":1,"embedding":[1e-9,0.0]}],"model":"m","usage":{"prompt_tokens":7,"total_tokens":7}}"#
        );
        let base64 = text(VectorEncoding::Base64);
        assert!(base64.contains(r#""embedding":"zczMPQAAAMA=""#), "{base64}");
    }
}

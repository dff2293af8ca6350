//! The routes that answer tokens instead of vectors of texts.

use std::fmt;

use score::{Tensor, TensorData, Token};
use serde::Deserializer;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::super::read::{Member, Members, more_than, read};
use super::super::vectors::array;
use super::super::{Operation, Take, TextError, TextRequest, VectorEncoding, Write};
use crate::body::Limits;
use crate::schema::open;

/// Token ids of one request.
const MAX_IDS: usize = 1 << 20;

pub(super) const EMBED_ALL: Operation = Operation::Take(Take {
    sample: r#"{"inputs": ["The ferry leaves at noon."]}"#,
    names_model: false,
    budget: None,
    read: super::embed::read_texts,
    writes: &[Write::TokenVectors(write_matrices)],
    request_schema: super::embed::embed_schema,
    answer_schema: || {
        let vector = list(json!({ "type": "number" }));
        list(list(vector))
    },
});

pub(super) const TOKENIZE: Operation = Operation::Take(Take {
    sample: r#"{"inputs": ["The ferry leaves at noon."]}"#,
    names_model: false,
    budget: None,
    read: super::embed::read_texts,
    writes: &[Write::Tokens(write_tokens)],
    request_schema: || {
        let text = || json!({ "type": "string" });
        let members = [
            ("inputs", json!({ "anyOf": [text(), list(text())] })),
            ("add_special_tokens", json!({ "type": ["boolean", "null"] })),
            ("prompt_name", json!({ "type": ["string", "null"] })),
        ];
        open(members, 1)
    },
    answer_schema: || {
        let position = || json!({ "type": ["integer", "null"], "minimum": 0 });
        let members = [
            ("id", json!({ "type": "integer", "minimum": 0 })),
            ("text", json!({ "type": "string" })),
            ("special", json!({ "type": "boolean" })),
            ("start", position()),
            ("stop", position()),
        ];
        list(list(open(members, 5)))
    },
});

pub(super) const DECODE: Operation = Operation::Take(Take {
    sample: r#"{"ids": [[1, 2]]}"#,
    names_model: false,
    budget: None,
    read: read_ids,
    writes: &[Write::Texts(|texts| {
        serde_json::to_vec(texts).unwrap_or_default()
    })],
    request_schema: || {
        let ids = || list(json!({ "type": "integer", "minimum": 0 }));
        let members = [
            ("ids", json!({ "anyOf": [list(ids()), ids()] })),
            (
                "skip_special_tokens",
                json!({ "type": ["boolean", "null"] }),
            ),
        ];
        open(members, 1)
    },
    answer_schema: || list(json!({ "type": "string" })),
});

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn read_ids(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let request = read::<Decode>(body, limits)?;
    match request.ids.is_empty() {
        true => Err(TextError::Empty(score::ScoreError::invalid(
            "ids",
            "ids: expected a list of token ids, or a list of such lists; found none",
        ))),
        false => Ok(request),
    }
}

struct Decode;

impl Members for Decode {
    const EXPECTED: &'static str = r#"an object such as {"ids": [[101, 102]]}"#;
    const NAMES: &'static [&'static str] = &["ids", "skip_special_tokens"];

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        match member.name {
            "ids" => {
                let most = member.limits.max_rows;
                request.ids = member.seeded(Ids { most })?;
            }
            "skip_special_tokens" => request.special = member.flag()?.map(|skip| !skip),
            _ => member.skip()?,
        }
        Ok(())
    }
}

/// Reads a list of ids, or a list of such lists.
struct Ids {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Ids {
    type Value = Vec<Vec<u32>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Ids {
    type Value = Vec<Vec<u32>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of token ids, or a list of such lists")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (mut lists, mut flat, mut left) = (Vec::new(), Vec::new(), MAX_IDS);
        while let Some(item) = seq.next_element_seed(Item { most: left })? {
            match item {
                Given::Id(id) => flat.push(id),
                Given::List(ids) => {
                    left -= ids.len();
                    lists.push(ids);
                }
            }
            if flat.len() > left {
                return Err(too_many());
            }
            if lists.len() > self.most {
                let most = self.most;
                return Err(more_than(most, "lists"));
            }
        }
        match (lists.is_empty(), flat.is_empty()) {
            (_, true) => Ok(lists),
            (true, false) => Ok(vec![flat]),
            (false, false) => Err(de::Error::custom(
                "expected ids or lists of ids; found both",
            )),
        }
    }
}

fn too_many<E: de::Error>() -> E {
    E::custom(format_args!("more than {MAX_IDS} token ids in one request"))
}

enum Given {
    Id(u32),
    List(Vec<u32>),
}

/// Reads one id or one list of at most so many ids.
struct Item {
    most: usize,
}

impl<'de> DeserializeSeed<'de> for Item {
    type Value = Given;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Given, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Item {
    type Value = Given;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token id or a list of token ids")
    }

    fn visit_u64<E: de::Error>(self, id: u64) -> Result<Given, E> {
        let id = u32::try_from(id);
        id.map(Given::Id)
            .map_err(|_| E::custom("a token id is larger than any vocabulary"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Given, A::Error> {
        let mut ids = Vec::new();
        while let Some(id) = seq.next_element()? {
            if ids.len() == self.most {
                return Err(too_many());
            }
            ids.push(id);
        }
        Ok(Given::List(ids))
    }
}

fn write_matrices(texts: &[Tensor]) -> Vec<u8> {
    let numbers: usize = texts.iter().map(|tensor| tensor.data().len()).sum();
    let mut out = Vec::with_capacity(VectorEncoding::Float.bytes(numbers));
    array(texts, &mut out, |tensor, out| {
        let (width, values) = match (tensor.row_shape(), tensor.data()) {
            ([width], TensorData::Float32(values)) => (*width, values.as_slice()),
            _ => (0, &[][..]),
        };
        array(values.chunks_exact(width.max(1)), out, |vector, out| {
            VectorEncoding::Float.write(vector, out);
        });
    });
    out
}

fn write_tokens(texts: &[Vec<Token>]) -> Vec<u8> {
    let mut out = Vec::new();
    array(texts, &mut out, |tokens, out| {
        array(tokens, out, |token, out| {
            let at = (!token.special).then_some(token.at);
            let document = json!({
                "id": token.id,
                "text": token.text,
                "special": token.special,
                "start": at.map(|(start, _)| start),
                "stop": at.map(|(_, stop)| stop),
            });
            // Writing to a vector cannot fail.
            let _ = serde_json::to_writer(out, &document);
        });
    });
    out
}

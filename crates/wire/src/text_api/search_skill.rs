//! Azure AI Search: a custom skill, and a vectorizer of queries.
//!
//! Source: "Custom Web API skill" and "Custom Web API vectorizer" in the service's documentation. A request has records, each
//! with an id and data; the answer has as many, each with data, errors and warnings. An error of a record fails its
//! document, while a 503 is asked again.

use std::fmt;
use std::time::Duration;

use score::Entity;
use serde::de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::hugging_face::entities_schema;
use super::read::{Member, Members, more_than, read, wrong};
use super::tei::labels_schema;
use super::vectors::{array, text};
use super::{
    Answered, End, Form, Labels, Operation, Take, TextApi, TextError, TextRequest, TextRoute,
    VectorEncoding, Vectors, Write,
};
use crate::body::Limits;
use crate::error_form;
use crate::schema::open;

/// A skill waits 30 seconds for its answer, unless its definition says otherwise.
const BUDGET: Duration = Duration::from_secs(25);
/// Characters of a record's id.
const MAX_ID: usize = 200;

/// The custom skill and vectorizer.
pub(super) static SEARCH_SKILL: TextApi = TextApi {
    name: "Azure AI Search",
    section: "azure-ai-search",
    purpose: "a custom skill and a vectorizer",
    errors: &error_form::OWN,
    guest: false,
    routes: &[TextRoute {
        path: &["skill"],
        named: Some(End::Back),
        id: "skill",
        summary: "Vectors, labels or entities of records, as a custom skill or vectorizer of Azure AI Search",
        operation: SKILL,
    }],
};

const SKILL: Operation = Operation::Take(Take {
    sample: r#"{"values": [{"recordId": "1", "data": {"text": "The ferry leaves at noon."}}]}"#,
    names_model: false,
    budget: Some(BUDGET),
    read: read_records,
    writes: &[
        Write::Vectors(write_vectors),
        Write::Labels(write_labels),
        Write::Entities(write_entities),
    ],
    request_schema,
    answer_schema,
});

/// One record of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The id under which its answer is expected.
    id: String,
    /// What is wrong with its data, if there is no text in it.
    mistake: Option<&'static str>,
}

fn read_records(body: &[u8], limits: Limits) -> Result<TextRequest, TextError> {
    let request = read::<Request>(body, limits)?;
    match &request.form {
        Form::Records(records) if !records.is_empty() => Ok(request),
        _ => Err(TextError::Empty(score::ScoreError::invalid(
            "values",
            "values: expected a list of records; found none",
        ))),
    }
}

struct Request;

impl Members for Request {
    const EXPECTED: &'static str =
        r#"an object such as {"values": [{"recordId": "1", "data": {"text": "a text"}}]}"#;
    const NAMES: &'static [&'static str] = &["values", "model"];

    fn defaults(request: &mut TextRequest) {
        // A record whose text is too long has an error of its own; the others are answered.
        request.options.truncate = Some(true);
    }

    fn take<'de, A: MapAccess<'de>>(
        member: Member<'_, A>,
        request: &mut TextRequest,
    ) -> Result<(), A::Error> {
        match member.name {
            "values" => {
                // Of a member that is there twice, the last one counts.
                request.texts.clear();
                let records = Records {
                    most: member.limits.max_rows,
                    texts: &mut request.texts,
                };
                request.form = Form::Records(member.seeded(records)?);
            }
            "model" => request.model = member.model()?,
            _ => member.skip()?,
        }
        Ok(())
    }
}

/// Reads records; their texts go to `texts`.
struct Records<'t> {
    most: usize,
    texts: &'t mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Records<'_> {
    type Value = Vec<Record>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Records<'_> {
    type Value = Vec<Record>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut records = Vec::new();
        while let Some(Item { id, data }) = seq.next_element()? {
            let most = self.most;
            if records.len() == most {
                return Err(more_than(most, "records"));
            }
            let id = id.ok_or_else(|| {
                let index = records.len();
                wrong(&format!("record {index}"), "\"recordId\" is missing")
            })?;
            let mistake = match data {
                Data::Text(text) => {
                    self.texts.push(text);
                    None
                }
                Data::Mistake(mistake) => Some(mistake),
            };
            records.push(Record { id, mistake });
        }
        Ok(records)
    }
}

/// A record as it comes.
struct Item {
    id: Option<String>,
    data: Data,
}

/// The text in a record's data, or why there is none.
enum Data {
    Text(String),
    Mistake(&'static str),
}

const NO_DATA: &str = "\"data\" is missing; expected an object with a text as \"text\"";
const NO_TEXT: &str = "data: expected a text as \"text\"; found none";
const NOT_TEXT: &str = "data: expected a text as \"text\"; found a value of another kind";

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Item;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a record such as {\"recordId\": \"1\", \"data\": {\"text\": \"a text\"}}",
                )
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item, A::Error> {
                let mut item = Item {
                    id: None,
                    data: Data::Mistake(NO_DATA),
                };
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "recordId" => {
                            let id: Option<String> = map.next_value()?;
                            if id.as_ref().is_some_and(|id| id.len() > MAX_ID) {
                                let message = format!("recordId: longer than {MAX_ID} bytes");
                                return Err(de::Error::custom(message));
                            }
                            item.id = id;
                        }
                        "data" => item.data = map.next_value()?,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(item)
            }
        }
        deserializer.deserialize_map(Members)
    }
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object such as {\"text\": \"a text\"}")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Data, E> {
                Ok(Data::Mistake(NO_DATA))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
                let mut data = Data::Mistake(NO_TEXT);
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "text" => data = map.next_value::<Text>()?.0,
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(data)
            }
        }
        deserializer.deserialize_any(Members)
    }
}

/// A text; a value of any other kind is a mistake of its record alone.
struct Text(Data);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        const OTHER: Text = Text(Data::Mistake(NOT_TEXT));
        impl<'de> Visitor<'de> for Any {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Data::Text(text.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
                Ok(Text(Data::Mistake(NO_TEXT)))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Text, E> {
                Ok(OTHER)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
                Ok(OTHER)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
                Ok(OTHER)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Text, E> {
                Ok(OTHER)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Text, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(OTHER)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(OTHER)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

fn write_vectors(request: &TextRequest, answered: &Answered<'_, Vectors<'_>>) -> Vec<u8> {
    let vectors = answered.results.each();
    write_records(request, answered, vectors, |vector, out| {
        out.extend(br#""vector":"#);
        VectorEncoding::Float.write(vector, out);
    })
}

fn write_labels(request: &TextRequest, answered: &Answered<'_, Labels<'_>>) -> Vec<u8> {
    let labels = answered.results.best(None);
    write_records(request, answered, labels, |labels, out| {
        // Writing to a vector cannot fail, here and below.
        if let Some(best) = labels.first() {
            out.extend(br#""label":"#);
            text(best.label, out);
            out.extend(br#","score":"#);
            let _ = serde_json::to_writer(&mut *out, &best.score);
            out.extend(br#","labels":"#);
            let _ = serde_json::to_writer(out, &labels);
        }
    })
}

fn write_entities(request: &TextRequest, answered: &Answered<'_, &[Vec<Entity>]>) -> Vec<u8> {
    write_records(request, answered, answered.results, |entities, out| {
        out.extend(br#""entities":"#);
        let _ = serde_json::to_writer(out, entities);
    })
}

/// Records with the results of those that have a text; `write` writes the members of a result.
fn write_records<R, T>(
    request: &TextRequest,
    answered: &Answered<'_, R>,
    results: impl IntoIterator<Item = T>,
    write: impl Fn(T, &mut Vec<u8>),
) -> Vec<u8> {
    let Form::Records(records) = &request.form else {
        return Vec::new();
    };
    let mut out = Vec::with_capacity(records.len() * 96 + 16);
    let mut results = results.into_iter().zip(answered.truncated);
    out.extend(br#"{"values":"#);
    array(records, &mut out, |record, out| {
        let result = match record.mistake {
            Some(_) => None,
            None => results.next(),
        };
        out.extend(br#"{"recordId":"#);
        text(&record.id, out);
        let (result, error, warning) = match (record.mistake, result) {
            (None, Some((_, true))) if answered.refuses => {
                (None, Some("the text is longer than the model takes"), None)
            }
            (None, Some((result, cut))) => {
                let warning = "the text is longer than the model takes; a part of it was cut off";
                (Some(result), None, cut.then_some(warning))
            }
            (mistake, _) => (None, mistake.or(Some("there is no result")), None),
        };
        out.extend(br#","data":{"#);
        if let Some(result) = result {
            write(result, out);
        }
        out.extend(br#"},"errors":"#);
        array(error, out, message);
        out.extend(br#","warnings":"#);
        array(warning, out, message);
        out.push(b'}');
    });
    out.push(b'}');
    out
}

fn message(message: &str, out: &mut Vec<u8>) {
    out.extend(br#"{"message":"#);
    text(message, out);
    out.push(b'}');
}

fn request_schema() -> Value {
    let text = || json!({ "type": "string" });
    let record = [("recordId", text()), ("data", open([("text", text())], 1))];
    let records = json!({ "type": "array", "items": open(record, 2), "minItems": 1 });
    open([("values", records)], 1)
}

fn answer_schema() -> Value {
    let text = || json!({ "type": "string" });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let messages = || list(open([("message", text())], 1));
    let data = [
        ("vector", list(json!({ "type": "number" }))),
        ("label", text()),
        ("score", json!({ "type": "number" })),
        ("labels", labels_schema()),
        ("entities", entities_schema()),
    ];
    let record = [
        ("recordId", text()),
        ("data", open(data, 0)),
        ("errors", messages()),
        ("warnings", messages()),
    ];
    open([("values", list(open(record, 4)))], 1)
}

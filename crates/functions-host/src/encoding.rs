//! How the host writes values into an envelope's `Data` and `Metadata`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::iso8601;

/// A point in time as the host holds it.
#[derive(Clone, Copy, Debug)]
pub struct Instant {
    /// Since 1970.
    pub seconds: i64,
    /// Tenths of microseconds.
    pub ticks: u32,
}

/// A value as the host holds it.
#[derive(Clone, Debug)]
pub enum HostValue {
    /// `byte[]`.
    Bytes(Vec<u8>),
    /// `DateTime` in UTC.
    DateTime(Instant),
    /// `DateTimeOffset` in UTC.
    DateTimeOffset(Instant),
    /// An object or dictionary.
    Object(Map<String, Value>),
    /// A string, and also a `Uri` or `Guid`.
    Text(String),
    /// An integer of any width.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// An array of anything but bytes.
    Array(Vec<Value>),
    /// Nothing.
    Null,
}

/// The value as an entry of `Data`.
pub fn data_value(value: &HostValue) -> Value {
    metadata_value(value).unwrap_or_else(|| "null".into())
}

/// The value as an entry of `Metadata`; none if it is left out.
pub fn metadata_value(value: &HostValue) -> Option<Value> {
    Some(match value {
        HostValue::Bytes(bytes) => base64(bytes).into(),
        HostValue::DateTime(at) => iso8601::whole_seconds(at.seconds).into(),
        HostValue::DateTimeOffset(at) => (iso8601::whole_seconds(at.seconds) + "+00:00").into(),
        HostValue::Object(members) => members.clone().into(),
        HostValue::Text(text) => twice(&text.as_str().into()),
        HostValue::Integer(number) => twice(&(*number).into()),
        HostValue::Double(number) => twice(&(*number).into()),
        HostValue::Bool(truth) => twice(&(*truth).into()),
        HostValue::Array(items) => twice(&items.clone().into()),
        HostValue::Null => return None,
    })
}

/// The value as an element of an array, in which dates keep their fractions.
pub fn element(value: HostValue) -> Value {
    match value {
        HostValue::Text(text) => text.into(),
        HostValue::Integer(number) => number.into(),
        HostValue::Object(members) => members.into(),
        HostValue::DateTime(at) => iso8601::full(at).into(),
        HostValue::DateTimeOffset(at) => (iso8601::full(at) + "+00:00").into(),
        HostValue::Null => Value::Null,
        other => data_value(&other),
    }
}

/// Standard base64 with padding.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// JSON text inside a JSON string.
pub fn twice(value: &Value) -> Value {
    value.to_string().into()
}

/// Writes the top-level properties of a JSON object into binding data: arrays and nulls are left out, objects stay
/// objects, scalars become text, and names that are there already, in any case, are overwritten.
pub fn leak_properties(body: &str, metadata: &mut Map<String, Value>) {
    let Ok(Value::Object(properties)) = serde_json::from_str::<Value>(body) else {
        return;
    };
    for (name, value) in properties {
        let leaked = match value {
            Value::Array(_) | Value::Null => continue,
            Value::Object(_) => value,
            Value::Bool(truth) => twice(&(if truth { "True" } else { "False" }).into()),
            Value::Number(number) => twice(&super::newtonsoft::number_text(&number).into()),
            Value::String(text) => match iso8601::parse(&text) {
                Some(date) => twice(&date.culture_text().into()),
                None => twice(&text.into()),
            },
        };
        let found = metadata
            .keys()
            .find(|key| key.eq_ignore_ascii_case(&name))
            .cloned();
        metadata.insert(found.unwrap_or(name), leaked);
    }
}

/// Leaves out what the host leaves out: members whose name ends with "trigger".
pub fn drop_triggers(metadata: &mut Map<String, Value>) {
    metadata.retain(|name, _| !name.to_ascii_lowercase().ends_with("trigger"));
}

/// The `sys` member of every envelope's metadata.
pub fn sys(function: &str) -> Value {
    serde_json::json!({
        "MethodName": function,
        "UtcNow": iso8601::now(),
        "RandGuid": super::random::guid(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn written(value: HostValue) -> Value {
        let data = data_value(&value);
        assert_eq!(metadata_value(&value), Some(data.clone()));
        data
    }

    #[test]
    fn bytes_are_base64() {
        assert_eq!(written(HostValue::Bytes(vec![1, 2, 3])), json!("AQID"));
    }

    #[test]
    fn dates_have_whole_seconds() {
        let at = Instant {
            seconds: 1_772_359_205,
            ticks: 8_620_000,
        };
        assert_eq!(
            written(HostValue::DateTime(at)),
            json!("2026-03-01T10:00:05")
        );
        assert_eq!(
            written(HostValue::DateTimeOffset(at)),
            json!("2026-03-01T10:00:05+00:00")
        );
        assert_eq!(
            element(HostValue::DateTime(at)),
            "2026-03-01T10:00:05.862",
            "except in arrays"
        );
    }

    #[test]
    fn objects_stay_objects() {
        let members = json!({"tenant": "a"});
        assert_eq!(
            written(HostValue::Object(members.as_object().unwrap().clone())),
            members
        );
    }

    #[test]
    fn text_is_encoded_twice() {
        assert_eq!(written(HostValue::Text("m-1".to_owned())), json!("\"m-1\""));
        let uri = "https://acct.example/incoming/a.json";
        assert_eq!(
            written(HostValue::Text(uri.to_owned())),
            json!(format!("\"{uri}\""))
        );
    }

    #[test]
    fn scalars_and_arrays_are_json_inside_a_string() {
        assert_eq!(written(HostValue::Integer(1)), json!("1"));
        assert_eq!(written(HostValue::Bool(true)), json!("true"));
        assert_eq!(written(HostValue::Double(0.5)), json!("0.5"));
        assert_eq!(
            written(HostValue::Array(vec![json!(1), json!(2)])),
            json!("[1,2]")
        );
        assert_eq!(
            written(HostValue::Array(vec![json!("m-1"), Value::Null])),
            json!("[\"m-1\",null]")
        );
    }

    #[test]
    fn null_is_text_in_data_and_absent_in_metadata() {
        assert_eq!(data_value(&HostValue::Null), json!("null"));
        assert_eq!(metadata_value(&HostValue::Null), None);
    }

    #[test]
    fn body_properties_overwrite_metadata() {
        let mut metadata = json!({"DeliveryCount": "1", "MessageId": "\"m\""})
            .as_object()
            .unwrap()
            .clone();
        leak_properties(
            r#"{"deliverycount":99,"id":"r","on":true,"o":{"a":1},"x":[1],"n":null,"at":"2026-03-01T10:00:05Z"}"#,
            &mut metadata,
        );
        let expected = json!({
            "DeliveryCount": "\"99\"", "MessageId": "\"m\"", "id": "\"r\"", "on": "\"True\"", "o": {"a": 1},
            "at": "\"03/01/2026 10:00:05\"",
        });
        assert_eq!(Value::Object(metadata), expected);
    }

    #[test]
    fn members_named_after_triggers_are_dropped() {
        let mut metadata = json!({"BlobTrigger": "\"a\"", "Uri": "\"b\"", "mytrigger": 1})
            .as_object()
            .unwrap()
            .clone();
        drop_triggers(&mut metadata);
        assert_eq!(Value::Object(metadata), json!({"Uri": "\"b\""}));
    }
}

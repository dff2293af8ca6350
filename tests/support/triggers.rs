//! Service Bus messages and blobs as the host puts them into an envelope.

use serde_json::{Map, Value, json};

use super::encoding::{self, HostValue, base64, data_value, metadata_value};
use super::host_config::{Binding, Function};
use super::storage_queue::QueueMessage;

/// 2026-03-01T10:00:05 UTC.
const ENQUEUED: i64 = 1_772_359_205;
/// 9999-12-31T23:59:59 UTC.
const NEVER: i64 = 253_402_300_799;

/// A message of a Service Bus queue or subscription, as received.
#[derive(Clone, Debug)]
pub(crate) struct ServiceBusMessage {
    /// The exact body.
    pub(crate) body: Vec<u8>,
    /// Unique unless the sender chose it.
    pub(crate) message_id: String,
    /// Set by the sender to tie an answer to a request.
    pub(crate) correlation_id: Option<String>,
    /// Set by the sender.
    pub(crate) content_type: Option<String>,
    /// Messages of one session are kept in order.
    pub(crate) session_id: Option<String>,
    /// Given by the broker.
    pub(crate) sequence_number: i64,
    /// 1 at the first delivery.
    pub(crate) delivery_count: i64,
    /// Set by the sender.
    pub(crate) application_properties: Map<String, Value>,
}

/// A blob that appeared in a watched container.
#[derive(Clone, Debug)]
pub(crate) struct BlobEvent {
    /// The exact content.
    pub(crate) body: Vec<u8>,
    /// Percent-encoded address.
    pub(crate) uri: String,
    /// Values of the path's `{placeholders}`.
    pub(crate) placeholders: Vec<(String, String)>,
    /// The blob's properties, opaque to the handler.
    pub(crate) properties: Value,
    /// User metadata.
    pub(crate) metadata: Value,
}

/// `Data` and `Metadata` of one envelope.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    /// Values of the input bindings.
    pub(crate) data: Value,
    /// The trigger's binding data.
    pub(crate) metadata: Value,
}

impl ServiceBusMessage {
    /// A message delivered for the first time.
    pub(crate) fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            message_id: super::random::guid(),
            correlation_id: None,
            content_type: None,
            session_id: None,
            sequence_number: 42,
            delivery_count: 1,
            application_properties: Map::new(),
        }
    }

    /// The same message with another id.
    pub(crate) fn with_id(self, message_id: &str) -> Self {
        Self {
            message_id: message_id.to_owned(),
            ..self
        }
    }

    /// The same message in a session.
    pub(crate) fn in_session(self, session_id: &str) -> Self {
        Self {
            session_id: Some(session_id.to_owned()),
            ..self
        }
    }

    /// The same message with an application property.
    pub(crate) fn with_property(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.application_properties
            .insert(name.to_owned(), value.into());
        self
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn properties(&self) -> Vec<(&'static str, HostValue)> {
        let text = |value: &Option<String>| value.clone().map_or(HostValue::Null, HostValue::Text);
        vec![
            ("DeliveryCount", HostValue::Integer(self.delivery_count)),
            ("LockToken", HostValue::Text(super::random::guid())),
            ("ExpiresAtUtc", HostValue::DateTime(NEVER)),
            ("ExpiresAt", HostValue::DateTimeOffset(NEVER)),
            ("EnqueuedTimeUtc", HostValue::DateTime(ENQUEUED)),
            ("EnqueuedTime", HostValue::DateTimeOffset(ENQUEUED)),
            ("MessageId", HostValue::Text(self.message_id.clone())),
            ("SequenceNumber", HostValue::Integer(self.sequence_number)),
            ("SessionId", text(&self.session_id)),
            ("CorrelationId", text(&self.correlation_id)),
            ("ContentType", text(&self.content_type)),
            (
                "ApplicationProperties",
                HostValue::Object(self.application_properties.clone()),
            ),
            (
                "UserProperties",
                HostValue::Object(self.application_properties.clone()),
            ),
        ]
    }
}

impl BlobEvent {
    /// A blob `incoming/<name>`; `name` is also the path's placeholder.
    pub(crate) fn new(name: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            uri: format!(
                "https://acct.blob.core.windows.net/incoming/{}",
                name.replace(' ', "%20")
            ),
            placeholders: vec![("name".to_owned(), name.to_owned())],
            properties: json!({
                "ContentLength": body.len(),
                "ContentType": "application/octet-stream",
                "LastModified": "2026-03-01T10:00:05+00:00",
            }),
            metadata: json!({}),
            body,
        }
    }
}

/// The envelope of a function with cardinality one.
pub(crate) fn single(function: &Function, message: &ServiceBusMessage) -> Envelope {
    let trigger = function.trigger();
    let mut metadata = Map::new();
    for (name, value) in message.properties() {
        metadata.extend(metadata_value(&value).map(|value| (name.to_owned(), value)));
    }
    for name in [
        "MessageReceiver",
        "MessageActions",
        "ReceiveActions",
        "Client",
    ] {
        metadata.insert(name.to_owned(), json!({}));
    }
    let body = if trigger.is_binary() {
        HostValue::Bytes(message.body.clone())
    } else {
        encoding::leak_properties(&message.text(), &mut metadata);
        HostValue::Text(message.text())
    };
    envelope(function, data_value(&body), metadata)
}

/// The envelope of a function with cardinality many.
///
/// # Errors
///
/// The host's own failure: without a `dataType` every body must be JSON.
pub(crate) fn batch(
    function: &Function,
    messages: &[ServiceBusMessage],
) -> Result<Envelope, String> {
    let trigger = function.trigger();
    let bodies: Result<Vec<Value>, String> = messages
        .iter()
        .map(|message| element(trigger, message))
        .collect();
    let mut metadata = Map::new();
    let mut arrays: Vec<(String, Vec<Value>)> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        for (name, value) in message.properties() {
            let name = format!("{name}Array");
            if index == 0 {
                arrays.push((name.clone(), Vec::new()));
            }
            let array = arrays.iter_mut().find(|(found, _)| *found == name);
            array
                .expect("made for the first message")
                .1
                .push(plain(value));
        }
    }
    for (name, values) in arrays {
        metadata.insert(name, data_value(&HostValue::Array(values)));
    }
    Ok(envelope(
        function,
        data_value(&HostValue::Array(bodies?)),
        metadata,
    ))
}

/// The envelope of a storage queue's function.
pub(crate) fn queue(function: &Function, message: &QueueMessage) -> Envelope {
    let properties = [
        ("DequeueCount", HostValue::Integer(message.dequeue_count)),
        ("ExpirationTime", HostValue::DateTimeOffset(NEVER)),
        ("Id", HostValue::Text(message.id.clone())),
        ("InsertionTime", HostValue::DateTimeOffset(ENQUEUED)),
        ("NextVisibleTime", HostValue::DateTimeOffset(ENQUEUED)),
        ("PopReceipt", HostValue::Text(message.pop_receipt.clone())),
        ("QueueTrigger", HostValue::Text(message.text())),
    ];
    let mut metadata = Map::new();
    for (name, value) in properties {
        metadata.extend(metadata_value(&value).map(|value| (name.to_owned(), value)));
    }
    let body = if function.trigger().is_binary() {
        HostValue::Bytes(message.body.clone())
    } else {
        encoding::leak_properties(&message.text(), &mut metadata);
        HostValue::Text(message.text())
    };
    envelope(function, data_value(&body), metadata)
}

/// The envelope of a blob trigger; its `dataType` changes nothing.
pub(crate) fn blob(function: &Function, event: &BlobEvent) -> Envelope {
    let text = |value: &str| data_value(&HostValue::Text(value.to_owned()));
    let mut metadata = Map::new();
    metadata.insert("BlobTrigger".to_owned(), text("left out on the way"));
    metadata.insert("Uri".to_owned(), text(&event.uri));
    metadata.insert("Properties".to_owned(), event.properties.clone());
    metadata.insert("Metadata".to_owned(), event.metadata.clone());
    for (name, value) in &event.placeholders {
        metadata.insert(name.clone(), text(value));
    }
    envelope(function, base64(&event.body).into(), metadata)
}

fn envelope(function: &Function, data: Value, mut metadata: Map<String, Value>) -> Envelope {
    encoding::drop_triggers(&mut metadata);
    metadata.insert("sys".to_owned(), encoding::sys(&function.name));
    Envelope {
        data: json!({ function.trigger().name.clone(): data }),
        metadata: metadata.into(),
    }
}

/// One body as an element of a batch.
fn element(trigger: &Binding, message: &ServiceBusMessage) -> Result<Value, String> {
    if trigger.is_binary() {
        return Ok(base64(&message.body).into());
    }
    if trigger.setting("dataType").eq_ignore_ascii_case("string") {
        return Ok(message.text().into());
    }
    serde_json::from_str(&message.text()).map_err(|_| {
        "Binding parameters to complex objects (such as 'Object') uses JSON serialization"
            .to_owned()
    })
}

/// A value as an element of an array in metadata.
fn plain(value: HostValue) -> Value {
    match value {
        HostValue::Text(text) => text.into(),
        HostValue::Integer(number) => number.into(),
        HostValue::Object(members) => members.into(),
        HostValue::Null => Value::Null,
        other => data_value(&other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(data_type: Option<&str>, cardinality: &str) -> Function {
        let mut trigger = json!({"type": "serviceBusTrigger", "direction": "in", "name": "msg", "cardinality": cardinality});
        if let Some(data_type) = data_type {
            trigger["dataType"] = data_type.into();
        }
        Function {
            name: "scoreMessage".to_owned(),
            bindings: vec![Binding::new(trigger)],
        }
    }

    const BODY: &str = r#"{"id":"r-1","x":[0.5,1.5]}"#;

    #[test]
    fn a_single_text_is_encoded_twice_and_leaks() {
        for data_type in [None, Some("string")] {
            let sent = single(&function(data_type, "one"), &ServiceBusMessage::new(BODY));
            assert_eq!(sent.data["msg"], r#""{\"id\":\"r-1\",\"x\":[0.5,1.5]}""#);
            assert_eq!(sent.metadata["id"], "\"r-1\"");
            assert_eq!(sent.metadata["DeliveryCount"], "1");
            assert_eq!(sent.metadata["ExpiresAtUtc"], "9999-12-31T23:59:59");
            assert_eq!(sent.metadata["EnqueuedTime"], "2026-03-01T10:00:05+00:00");
            assert_eq!(sent.metadata["sys"]["MethodName"], "scoreMessage");
        }
    }

    #[test]
    fn a_single_binary_is_base64_and_does_not_leak() {
        let sent = single(
            &function(Some("binary"), "one"),
            &ServiceBusMessage::new(BODY),
        );
        assert_eq!(sent.data["msg"], "eyJpZCI6InItMSIsIngiOlswLjUsMS41XX0=");
        assert_eq!(sent.metadata.get("id"), None);
        assert_eq!(sent.metadata.get("CorrelationId"), None);
    }

    #[test]
    fn batches_are_arrays_in_strings() {
        let messages = [BODY, "plain text"].map(|body| ServiceBusMessage::new(body).with_id("m"));
        let text = batch(&function(Some("string"), "many"), &messages).unwrap();
        assert_eq!(
            text.data["msg"],
            r#"["{\"id\":\"r-1\",\"x\":[0.5,1.5]}","plain text"]"#
        );
        assert_eq!(text.metadata["DeliveryCountArray"], "[1,1]");
        assert_eq!(text.metadata["MessageIdArray"], r#"["m","m"]"#);
        assert_eq!(text.metadata["CorrelationIdArray"], "[null,null]");
        let binary = batch(&function(Some("binary"), "many"), &messages).unwrap();
        assert_eq!(
            binary.data["msg"],
            r#"["eyJpZCI6InItMSIsIngiOlswLjUsMS41XX0=","cGxhaW4gdGV4dA=="]"#
        );
    }

    #[test]
    fn batches_without_a_data_type_must_be_json() {
        let json = [ServiceBusMessage::new(BODY)];
        let sent = batch(&function(None, "many"), &json).unwrap();
        assert_eq!(sent.data["msg"], format!("[{BODY}]"));
        assert!(batch(&function(None, "many"), &[ServiceBusMessage::new("plain")]).is_err());
    }

    #[test]
    fn storage_messages_are_encoded_twice_without_their_trigger() {
        let sent = queue(&function(None, "one"), &QueueMessage::new(BODY));
        assert_eq!(sent.data["msg"], r#""{\"id\":\"r-1\",\"x\":[0.5,1.5]}""#);
        assert_eq!(sent.metadata["DequeueCount"], "1");
        assert_eq!(
            sent.metadata["Id"], "\"r-1\"",
            "the body's id overwrites it"
        );
        assert_eq!(sent.metadata.get("QueueTrigger"), None);
        let binary = queue(
            &function(Some("binary"), "one"),
            &QueueMessage::new([1, 2, 3]),
        );
        assert_eq!(binary.data["msg"], "AQID");
    }

    #[test]
    fn blobs_are_base64_without_their_path() {
        let sent = blob(
            &function(Some("string"), "one"),
            &BlobEvent::new("a b.json", [1, 2, 3]),
        );
        assert_eq!(sent.data["msg"], "AQID");
        assert_eq!(
            sent.metadata["Uri"],
            "\"https://acct.blob.core.windows.net/incoming/a%20b.json\""
        );
        assert_eq!(sent.metadata["name"], "\"a b.json\"");
        assert_eq!(sent.metadata.get("BlobTrigger"), None);
    }
}

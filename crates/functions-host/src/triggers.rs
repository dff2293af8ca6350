//! Service Bus messages and blobs as the host puts them into an envelope.

use serde_json::{Map, Value, json};

use super::encoding::{self, HostValue, Instant, base64, data_value, metadata_value};
use super::host_config::{Binding, Function};
use super::storage_queue::QueueMessage;

/// 2026-03-01T10:00:05 UTC and a fraction.
const ENQUEUED: Instant = Instant {
    seconds: 1_772_359_205,
    ticks: 8_620_000,
};
/// 9999-12-31T23:59:59 UTC and a fraction.
const NEVER: Instant = Instant {
    seconds: 253_402_300_799,
    ticks: 9_999_999,
};

/// Where the blobs lie: the emulator's account.
pub const ACCOUNT: &str = "http://127.0.0.1:10000/devstoreaccount1";

/// What the host tells of a blob; null stands for what differs from blob to blob, and for what is null.
const BLOB_PROPERTIES: &str = r#"{"LastModified":null,"CreatedOn":null,"Metadata":{},"ObjectReplicationDestinationPolicyId":null,"ObjectReplicationSourceProperties":null,"BlobType":0,"CopyCompletedOn":"0001-01-01T00:00:00+00:00","CopyStatusDescription":null,"CopyId":null,"CopyProgress":null,"CopySource":null,"CopyStatus":0,"BlobCopyStatus":null,"IsIncrementalCopy":false,"DestinationSnapshot":null,"LeaseDuration":0,"LeaseState":0,"LeaseStatus":1,"ContentLength":null,"ContentType":null,"ETag":{},"ContentHash":"AAAAAAAAAAAAAAAAAAAAAA==","ContentEncoding":null,"ContentDisposition":null,"ContentLanguage":null,"CacheControl":null,"BlobSequenceNumber":0,"AcceptRanges":"bytes","BlobCommittedBlockCount":0,"IsServerEncrypted":true,"EncryptionKeySha256":null,"EncryptionScope":null,"AccessTier":"Hot","AccessTierInferred":true,"ArchiveStatus":null,"AccessTierChangedOn":null,"SmartAccessTier":null,"VersionId":null,"IsLatestVersion":false,"TagCount":0,"ExpiresOn":"0001-01-01T00:00:00+00:00","IsSealed":false,"RehydratePriority":null,"LastAccessed":"0001-01-01T00:00:00+00:00","ImmutabilityPolicy":{"ExpiresOn":null,"PolicyMode":null},"HasLegalHold":false}"#;

/// A message of a Service Bus queue or subscription, as received.
#[derive(Clone, Debug)]
pub struct ServiceBusMessage {
    /// The exact body.
    pub body: Vec<u8>,
    /// Unique unless the sender chose it.
    pub message_id: String,
    /// Set by the sender to tie an answer to a request.
    pub correlation_id: Option<String>,
    /// Set by the sender.
    pub content_type: Option<String>,
    /// Set by the sender.
    pub subject: Option<String>,
    /// Messages of one session are kept in order.
    pub session_id: Option<String>,
    /// Given by the broker.
    pub sequence_number: i64,
    /// 1 at the first delivery.
    pub delivery_count: i64,
    /// Set by the sender.
    pub application_properties: Map<String, Value>,
}

/// A blob that appeared in a watched container.
#[derive(Clone, Debug)]
pub struct BlobEvent {
    /// The exact content.
    pub body: Vec<u8>,
    /// Percent-encoded address.
    pub uri: String,
    /// Values of the path's `{placeholders}`.
    pub placeholders: Vec<(String, String)>,
    /// The blob's properties, opaque to the handler.
    pub properties: Value,
    /// User metadata.
    pub metadata: Value,
}

/// `Data` and `Metadata` of one envelope.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// Values of the input bindings.
    pub data: Value,
    /// The trigger's binding data.
    pub metadata: Value,
}

impl ServiceBusMessage {
    /// A message delivered for the first time.
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        Self {
            body: body.into(),
            message_id: super::random::guid(),
            correlation_id: None,
            content_type: None,
            subject: None,
            session_id: None,
            sequence_number: 42,
            delivery_count: 1,
            application_properties: Map::new(),
        }
    }

    /// The same message with another id.
    pub fn with_id(self, message_id: &str) -> Self {
        Self {
            message_id: message_id.to_owned(),
            ..self
        }
    }

    /// The same message in a session.
    pub fn in_session(self, session_id: &str) -> Self {
        Self {
            session_id: Some(session_id.to_owned()),
            ..self
        }
    }

    /// The same message with an application property.
    pub fn with_property(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.application_properties
            .insert(name.to_owned(), value.into());
        self
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// In the order in which the host lists them.
    fn properties(&self) -> Vec<(&'static str, HostValue)> {
        let text = |value: &Option<String>| value.clone().map_or(HostValue::Null, HostValue::Text);
        let application = || HostValue::Object(self.application_properties.clone());
        vec![
            ("DeliveryCount", HostValue::Integer(self.delivery_count)),
            ("DeadLetterSource", HostValue::Null),
            ("LockToken", HostValue::Text(super::random::guid())),
            ("ExpiresAtUtc", HostValue::DateTime(NEVER)),
            ("ExpiresAt", HostValue::DateTimeOffset(NEVER)),
            ("EnqueuedTimeUtc", HostValue::DateTime(ENQUEUED)),
            ("EnqueuedTime", HostValue::DateTimeOffset(ENQUEUED)),
            ("MessageId", HostValue::Text(self.message_id.clone())),
            ("ContentType", text(&self.content_type)),
            ("ReplyTo", HostValue::Null),
            ("SequenceNumber", HostValue::Integer(self.sequence_number)),
            ("To", HostValue::Null),
            ("Subject", text(&self.subject)),
            ("Label", text(&self.subject)),
            ("CorrelationId", text(&self.correlation_id)),
            ("ApplicationProperties", application()),
            ("UserProperties", application()),
            ("SessionId", text(&self.session_id)),
            ("ReplyToSessionId", HostValue::Null),
            ("PartitionKey", HostValue::Null),
            ("TransactionPartitionKey", HostValue::Null),
        ]
    }
}

impl BlobEvent {
    /// A blob `incoming/<name>`; `name` is also the path's placeholder.
    pub fn new(name: &str, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self {
            uri: format!("{ACCOUNT}/incoming/{}", name.replace(' ', "%20")),
            placeholders: vec![("name".to_owned(), name.to_owned())],
            properties: blob_properties(&body, "application/octet-stream"),
            metadata: json!({}),
            body,
        }
    }
}

/// The envelope of a function with cardinality one.
pub fn single(function: &Function, message: &ServiceBusMessage) -> Envelope {
    let mut metadata = clients();
    for (name, value) in message.properties() {
        metadata.extend(metadata_value(&value).map(|value| (name.to_owned(), value)));
    }
    if function.trigger().is_binary() {
        let body = HostValue::Bytes(message.body.clone());
        return envelope(function, data_value(&body), metadata, "");
    }
    let text = message.text();
    let body = HostValue::Text(text.clone());
    envelope(function, data_value(&body), metadata, &text)
}

/// The envelope of a function with cardinality many.
///
/// # Errors
///
/// The host's own failure: without a `dataType` every body must be JSON.
pub fn batch(function: &Function, messages: &[ServiceBusMessage]) -> Result<Envelope, String> {
    let trigger = function.trigger();
    let bodies: Result<Vec<Value>, String> = messages
        .iter()
        .map(|message| element(trigger, message))
        .collect();
    let mut metadata = clients();
    let mut arrays: Vec<(String, Vec<Value>)> = Vec::new();
    for message in messages {
        for (index, (name, value)) in message.properties().into_iter().enumerate() {
            if arrays.len() <= index {
                arrays.push((format!("{name}Array"), Vec::new()));
            }
            arrays[index].1.push(encoding::element(value));
        }
    }
    for (name, values) in arrays {
        metadata.insert(name, data_value(&HostValue::Array(values)));
    }
    let bodies = data_value(&HostValue::Array(bodies?));
    Ok(envelope(function, bodies, metadata, ""))
}

/// What is left in metadata of the objects that a .NET function could be given.
fn clients() -> Map<String, Value> {
    let objects = [
        "MessageReceiver",
        "MessageSession",
        "MessageActions",
        "SessionActions",
        "ReceiveActions",
    ];
    let mut metadata: Map<String, Value> = objects
        .into_iter()
        .map(|name| (name.to_owned(), json!({})))
        .collect();
    let client = json!({
        "FullyQualifiedNamespace": "127.0.0.1",
        "IsClosed": false,
        "TransportType": 0,
        "Identifier": format!("127.0.0.1-{}", super::random::guid()),
    });
    metadata.insert("Client".to_owned(), client);
    metadata
}

/// The envelope of a storage queue's function.
///
/// # Errors
///
/// The host's own failure: unless `dataType` is binary a body must be UTF-8.
pub fn queue(function: &Function, message: &QueueMessage) -> Result<Envelope, String> {
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
    if function.trigger().is_binary() {
        let body = HostValue::Bytes(message.body.clone());
        return Ok(envelope(function, data_value(&body), metadata, ""));
    }
    let text = String::from_utf8(message.body.clone())
        .map_err(|error| format!("Exception binding parameter: {error}"))?;
    let body = data_value(&HostValue::Text(text.clone()));
    Ok(envelope(function, body, metadata, &text))
}

/// The envelope of a blob trigger; its `dataType` changes nothing.
pub fn blob(function: &Function, event: &BlobEvent) -> Envelope {
    let text = |value: &str| data_value(&HostValue::Text(value.to_owned()));
    let mut metadata = Map::new();
    metadata.insert("BlobTrigger".to_owned(), text("left out on the way"));
    metadata.insert("Uri".to_owned(), text(&event.uri));
    metadata.insert("Properties".to_owned(), event.properties.clone());
    metadata.insert("Metadata".to_owned(), event.metadata.clone());
    for (name, value) in &event.placeholders {
        metadata.insert(name.clone(), text(value));
    }
    envelope(function, base64(&event.body).into(), metadata, "")
}

/// The properties of a blob as its storage client prints them; of the hash only the form is right.
pub fn blob_properties(content: &[u8], content_type: &str) -> Value {
    let mut properties: Value = serde_json::from_str(BLOB_PROPERTIES).expect("a constant");
    properties["ContentLength"] = content.len().into();
    properties["ContentType"] = content_type.into();
    let written = data_value(&HostValue::DateTimeOffset(ENQUEUED));
    for name in ["LastModified", "CreatedOn", "AccessTierChangedOn"] {
        properties[name] = written.clone();
    }
    properties
}

/// `leaking` is a body whose properties get into metadata, behind all else unless they overwrite something.
fn envelope(
    function: &Function,
    data: Value,
    mut metadata: Map<String, Value>,
    leaking: &str,
) -> Envelope {
    metadata.insert("sys".to_owned(), encoding::sys(&function.name));
    encoding::leak_properties(leaking, &mut metadata);
    encoding::drop_triggers(&mut metadata);
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
            is_disabled: false,
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
        let sent = queue(&function(None, "one"), &QueueMessage::new(BODY)).unwrap();
        assert_eq!(sent.data["msg"], r#""{\"id\":\"r-1\",\"x\":[0.5,1.5]}""#);
        assert_eq!(sent.metadata["DequeueCount"], "1");
        assert_eq!(
            sent.metadata["Id"], "\"r-1\"",
            "the body's id overwrites it"
        );
        assert_eq!(sent.metadata.get("QueueTrigger"), None);
        let binary = queue(
            &function(Some("binary"), "one"),
            &QueueMessage::new([1, 2, 255]),
        );
        assert_eq!(binary.unwrap().data["msg"], "AQL/");
        assert!(queue(&function(None, "one"), &QueueMessage::new([255])).is_err());
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
            "\"http://127.0.0.1:10000/devstoreaccount1/incoming/a%20b.json\""
        );
        assert_eq!(sent.metadata["name"], "\"a b.json\"");
        assert_eq!(sent.metadata.get("BlobTrigger"), None);
    }
}

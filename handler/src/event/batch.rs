//! Many messages of one call: taken out of the envelope as they come, held until their metadata has come too.

use super::delivery::{Delivery, Metadata};
use super::delivery_of_one;
use super::members::Members;
use super::payloads::{self, Payload};
use crate::protocol::{BatchReader, EventTrigger, NotAnInvocation};

/// Strings inside strings escape some characters twice, and base64 adds a third. What is larger than a body may be, but
/// not by that much, is read, so that it can be refused with its body.
const TEXT_FACTOR: usize = 4;
const BASE64_FACTOR: usize = 2;
/// What each message costs beside its bytes.
const ITEM_BYTES: usize = 64;
// Bounds what a list of empty messages takes.
const _: () = assert!(ITEM_BYTES >= size_of::<Payload>());

/// Messages of one call. Each costs about a kilobyte until it is answered, however small it is; Azure's triggers bring
/// a thousand unless they are told otherwise.
const MAX_MESSAGES: usize = 1 << 16;

/// The messages of one call.
#[derive(Debug)]
pub(crate) struct Batch {
    payloads: Vec<Payload>,
    metadata: Vec<u8>,
    /// Whether one message stood where the list is expected; then its metadata is that of one message too.
    is_one: bool,
}

/// A batch that is being read.
#[derive(Debug)]
pub(crate) struct BatchIntake {
    reader: BatchReader,
    is_binary: bool,
    payloads: Vec<Payload>,
    bytes: usize,
    is_one: bool,
}

impl BatchIntake {
    /// For the messages of a function; `max_body_bytes` is what each may have.
    pub(crate) fn new(trigger: &EventTrigger, max_body_bytes: usize) -> Self {
        let factor = match trigger.binary {
            true => BASE64_FACTOR,
            false => TEXT_FACTOR,
        };
        let max_item = max_body_bytes.saturating_mul(factor);
        Self {
            reader: BatchReader::new(&trigger.binding, max_item, max_body_bytes.max(1 << 20)),
            is_binary: trigger.binary,
            payloads: Vec::new(),
            bytes: 0,
            is_one: false,
        }
    }

    /// Bytes that it holds.
    pub(crate) fn held(&self) -> usize {
        self.bytes + self.reader.held()
    }

    /// Reads the next piece of the envelope.
    ///
    /// # Errors
    /// If it is no envelope of a batch, or one of too many messages.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), NotAnInvocation> {
        let (payloads, bytes, is_binary) = (&mut self.payloads, &mut self.bytes, self.is_binary);
        let is_one = &mut self.is_one;
        let mut is_full = false;
        self.reader.feed(piece, |item| {
            if payloads.len() == MAX_MESSAGES {
                is_full = true;
                return;
            }
            *is_one = item.is_alone;
            let payload = payloads::of_item(item, is_binary);
            *bytes += payload.len() + ITEM_BYTES;
            payloads.push(payload);
        })?;
        match is_full {
            true => Err(NotAnInvocation::TooManyMessages(MAX_MESSAGES)),
            false => Ok(()),
        }
    }

    /// The batch, once all has come.
    ///
    /// # Errors
    /// If the envelope has not ended.
    pub(crate) fn finish(self) -> Result<Batch, NotAnInvocation> {
        Ok(Batch {
            metadata: self.reader.finish()?,
            payloads: self.payloads,
            is_one: self.is_one,
        })
    }
}

impl Batch {
    /// Bytes of all messages.
    pub(crate) fn bytes(&self) -> usize {
        self.payloads.iter().map(Payload::len).sum()
    }

    /// Each message with what is known about it.
    pub(super) fn into_items(self, trigger: &EventTrigger) -> Vec<(Delivery, Payload)> {
        let members = Members::read(&self.metadata);
        if self.is_one {
            let one = self.payloads.into_iter();
            return one
                .map(|payload| (delivery_of_one(trigger, &members, &payload), payload))
                .collect();
        }
        let metadata = Metadata::new(&members);
        let deliveries = metadata.of_batch(trigger.source, self.payloads.len());
        deliveries.into_iter().zip(self.payloads).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Output, OutputForm, Source};

    fn envelope(messages: usize) -> String {
        let list = vec![r#""""#; messages].join(",");
        format!(r#"{{"Data":{{"msgs":[{list}]}},"Metadata":{{}}}}"#)
    }

    fn intake() -> BatchIntake {
        let output = Output {
            binding: "result".to_owned(),
            form: OutputForm::Messages,
        };
        let trigger = EventTrigger {
            source: Source::ServiceBus,
            binding: "msgs".to_owned(),
            many: true,
            binary: true,
            results: output,
            rejected: None,
        };
        BatchIntake::new(&trigger, 1 << 20)
    }

    #[test]
    fn a_call_brings_so_many_messages_and_no_more() {
        let mut fits = intake();
        fits.feed(envelope(MAX_MESSAGES).as_bytes()).unwrap();
        assert_eq!(fits.finish().unwrap().payloads.len(), MAX_MESSAGES);
        let mut full = intake();
        let refusal = full.feed(envelope(MAX_MESSAGES + 1).as_bytes());
        let told = refusal.unwrap_err().to_string();
        assert!(told.contains("maxMessageBatchSize"), "{told}");
    }
}

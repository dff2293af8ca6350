//! What Service Bus keeps of one queue or subscription. The time comes from outside, so every rule can be tested at once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::triggers::ServiceBusMessage;

/// How a queue or subscription was created.
#[derive(Clone, Copy, Debug)]
pub struct EntityOptions {
    /// How long a received message, or an accepted session, belongs to its receiver.
    pub lock_duration: Duration,
    /// After so many deliveries a message that is not completed becomes a dead letter.
    pub max_delivery_count: i64,
    /// Messages are received session by session.
    pub has_sessions: bool,
    /// Larger bodies are refused; 256 KiB in the standard tier.
    pub max_message_bytes: usize,
}

impl Default for EntityOptions {
    fn default() -> Self {
        Self {
            lock_duration: Duration::from_secs(30),
            max_delivery_count: 10,
            has_sessions: false,
            max_message_bytes: 256 * 1024,
        }
    }
}

impl EntityOptions {
    /// Another lock duration.
    pub fn lock_duration(self, lock_duration: Duration) -> Self {
        Self {
            lock_duration,
            ..self
        }
    }

    /// Another limit of deliveries.
    pub fn max_delivery_count(self, max_delivery_count: i64) -> Self {
        Self {
            max_delivery_count,
            ..self
        }
    }

    /// With sessions.
    pub fn sessions(self) -> Self {
        Self {
            has_sessions: true,
            ..self
        }
    }
}

/// Names one lock of a message or session; never given twice.
pub type LockToken = u64;

/// A message in the hands of a receiver.
#[derive(Clone, Debug)]
pub struct Received {
    /// With its delivery count so far, this one included.
    pub message: ServiceBusMessage,
    /// For settling it.
    pub lock: LockToken,
}

/// A session in the hands of a receiver.
#[derive(Clone, Debug)]
pub struct Session {
    /// The sender's name for it.
    pub id: String,
    /// For renewing and releasing it.
    pub lock: LockToken,
}

/// A message that is not delivered any more.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// With the deliveries it had.
    pub message: ServiceBusMessage,
    /// `MaxDeliveryCountExceeded`.
    pub reason: String,
}

/// What has happened to the messages of one entity.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters {
    /// Accepted from senders.
    pub sent: u64,
    /// Handed to receivers, redeliveries included.
    pub delivered: u64,
    /// Done with.
    pub completed: u64,
    /// Given back by their receivers.
    pub abandoned: u64,
    /// Taken back from their receivers.
    pub expired: u64,
    /// Renewals of locks.
    pub renewed: u64,
    /// Attempts to settle or renew with a lock that was gone.
    pub lock_lost: u64,
}

/// The lock was lost: it expired, or the message is settled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LockLost;

/// A queue or subscription.
#[derive(Debug)]
pub(super) struct Entity {
    options: EntityOptions,
    /// By sequence number: what comes back takes its old place.
    waiting: BTreeMap<i64, ServiceBusMessage>,
    locked: HashMap<LockToken, Locked>,
    sessions: HashMap<String, (LockToken, Instant)>,
    dead: Vec<DeadLetter>,
    last_lock: LockToken,
    counters: Counters,
}

#[derive(Debug)]
struct Locked {
    message: ServiceBusMessage,
    until: Instant,
}

impl Entity {
    /// An empty one.
    pub(super) fn new(options: EntityOptions) -> Self {
        Self {
            options,
            waiting: BTreeMap::new(),
            locked: HashMap::new(),
            sessions: HashMap::new(),
            dead: Vec::new(),
            last_lock: 0,
            counters: Counters::default(),
        }
    }

    /// Takes a message of a sender; its delivery count starts at the beginning.
    ///
    /// # Errors
    ///
    /// Why the broker refuses it.
    pub(super) fn send(
        &mut self,
        message: ServiceBusMessage,
        sequence_number: i64,
    ) -> Result<(), String> {
        let size = message.body.len();
        if size > self.options.max_message_bytes {
            let limit = self.options.max_message_bytes;
            return Err(format!(
                "MessageSizeExceeded: {size} bytes, limit {limit} bytes"
            ));
        }
        if self.options.has_sessions && message.session_id.is_none() {
            return Err("a session id is needed".to_owned());
        }
        self.counters.sent += 1;
        let message = ServiceBusMessage {
            sequence_number,
            delivery_count: 0,
            ..message
        };
        self.waiting.insert(sequence_number, message);
        Ok(())
    }

    /// Locks up to `max` messages, oldest first; none from an entity with sessions.
    pub(super) fn receive(&mut self, max: usize, now: Instant) -> Vec<Received> {
        self.expire(now);
        if self.options.has_sessions {
            return Vec::new();
        }
        let chosen: Vec<i64> = self.waiting.keys().take(max).copied().collect();
        self.lock(&chosen, now)
    }

    /// Locks the unlocked session with the oldest message.
    pub(super) fn accept_session(&mut self, now: Instant) -> Option<Session> {
        self.expire(now);
        let mut ids = self
            .waiting
            .values()
            .filter_map(|message| message.session_id.clone());
        let id = ids.find(|id| !self.sessions.contains_key(id))?;
        let lock = self.next_lock();
        let until = now + self.options.lock_duration;
        self.sessions.insert(id.clone(), (lock, until));
        Some(Session { id, lock })
    }

    /// Locks up to `max` messages of a session, oldest first, and none beyond one that is being worked on.
    pub(super) fn receive_in(
        &mut self,
        session: &Session,
        max: usize,
        now: Instant,
    ) -> Result<Vec<Received>, LockLost> {
        self.expire(now);
        self.check_session(session)?;
        let is_of = |message: &ServiceBusMessage| message.session_id.as_ref() == Some(&session.id);
        if self.locked.values().any(|locked| is_of(&locked.message)) {
            return Ok(Vec::new());
        }
        let of_session = self.waiting.iter().filter(|(_, message)| is_of(message));
        let chosen: Vec<i64> = of_session.map(|(number, _)| *number).take(max).collect();
        Ok(self.lock(&chosen, now))
    }

    /// Ends a message.
    pub(super) fn complete(&mut self, lock: LockToken, now: Instant) -> Result<(), LockLost> {
        self.take_locked(lock, now)?;
        self.counters.completed += 1;
        Ok(())
    }

    /// Makes a message available again at once, or a dead letter if it was delivered often enough.
    pub(super) fn abandon(&mut self, lock: LockToken, now: Instant) -> Result<(), LockLost> {
        let message = self.take_locked(lock, now)?;
        self.counters.abandoned += 1;
        self.put_back(message);
        Ok(())
    }

    /// Renews a message's lock.
    pub(super) fn renew(&mut self, lock: LockToken, now: Instant) -> Result<(), LockLost> {
        self.expire(now);
        let until = now + self.options.lock_duration;
        let renewed = self
            .locked
            .get_mut(&lock)
            .map(|locked| locked.until = until);
        self.count_renewal(renewed)
    }

    /// Renews a session's lock.
    pub(super) fn renew_session(
        &mut self,
        session: &Session,
        now: Instant,
    ) -> Result<(), LockLost> {
        self.expire(now);
        let until = now + self.options.lock_duration;
        let renewed = self
            .check_session(session)
            .ok()
            .map(|()| {
                self.sessions
                    .insert(session.id.clone(), (session.lock, until))
            })
            .map(|_| ());
        self.count_renewal(renewed)
    }

    /// Gives a session to others.
    pub(super) fn release_session(&mut self, session: &Session) {
        if self.check_session(session).is_ok() {
            self.free_session(&session.id);
        }
    }

    /// When the next lock expires.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        let messages = self.locked.values().map(|locked| locked.until);
        let sessions = self.sessions.values().map(|(_, until)| *until);
        match self.options.has_sessions {
            true => sessions.min(),
            false => messages.min(),
        }
    }

    /// What waits for a receiver, oldest first.
    pub(super) fn waiting(&mut self, now: Instant) -> Vec<ServiceBusMessage> {
        self.expire(now);
        self.waiting.values().cloned().collect()
    }

    /// What receivers hold.
    pub(super) fn locked(&mut self, now: Instant) -> Vec<ServiceBusMessage> {
        self.expire(now);
        let held = self.locked.values();
        held.map(|locked| locked.message.clone()).collect()
    }

    /// The dead letters, oldest first.
    pub(super) fn dead_letters(&mut self, now: Instant) -> Vec<DeadLetter> {
        self.expire(now);
        self.dead.clone()
    }

    /// What has happened so far.
    pub(super) fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// How long a lock lasts.
    pub(super) fn lock_duration(&self) -> Duration {
        self.options.lock_duration
    }

    fn lock(&mut self, chosen: &[i64], now: Instant) -> Vec<Received> {
        let until = now + self.options.lock_duration;
        let mut received = Vec::with_capacity(chosen.len());
        for number in chosen {
            let Some(mut message) = self.waiting.remove(number) else {
                continue;
            };
            message.delivery_count += 1;
            self.counters.delivered += 1;
            let lock = self.next_lock();
            received.push(Received {
                message: message.clone(),
                lock,
            });
            self.locked.insert(lock, Locked { message, until });
        }
        received
    }

    fn expire(&mut self, now: Instant) {
        if self.options.has_sessions {
            // the messages of a session are held by the session's lock
            let ended: Vec<String> = self
                .sessions
                .iter()
                .filter(|(_, (_, until))| *until <= now)
                .map(|(id, _)| id.clone())
                .collect();
            ended.iter().for_each(|id| self.free_session(id));
            return;
        }
        let late = self.locked.iter().filter(|(_, held)| held.until <= now);
        let late: Vec<LockToken> = late.map(|(lock, _)| *lock).collect();
        late.into_iter().for_each(|lock| self.take_back(lock));
    }

    fn free_session(&mut self, id: &str) {
        self.sessions.remove(id);
        let of_session = |held: &Locked| {
            held.message
                .session_id
                .as_deref()
                .is_some_and(|of| of == id)
        };
        let held = self.locked.iter().filter(|(_, held)| of_session(held));
        let held: Vec<LockToken> = held.map(|(lock, _)| *lock).collect();
        held.into_iter().for_each(|lock| self.take_back(lock));
    }

    fn take_back(&mut self, lock: LockToken) {
        if let Some(held) = self.locked.remove(&lock) {
            self.counters.expired += 1;
            self.put_back(held.message);
        }
    }

    fn put_back(&mut self, message: ServiceBusMessage) {
        if message.delivery_count < self.options.max_delivery_count {
            self.waiting.insert(message.sequence_number, message);
        } else {
            self.dead.push(DeadLetter {
                message,
                reason: "MaxDeliveryCountExceeded".to_owned(),
            });
        }
    }

    fn take_locked(
        &mut self,
        lock: LockToken,
        now: Instant,
    ) -> Result<ServiceBusMessage, LockLost> {
        self.expire(now);
        let held = self.locked.remove(&lock);
        if held.is_none() {
            self.counters.lock_lost += 1;
        }
        held.map(|held| held.message).ok_or(LockLost)
    }

    fn check_session(&self, session: &Session) -> Result<(), LockLost> {
        match self.sessions.get(&session.id) {
            Some((lock, _)) if *lock == session.lock => Ok(()),
            _ => Err(LockLost),
        }
    }

    fn count_renewal(&mut self, renewed: Option<()>) -> Result<(), LockLost> {
        match renewed {
            Some(()) => self.counters.renewed += 1,
            None => self.counters.lock_lost += 1,
        }
        renewed.ok_or(LockLost)
    }

    fn next_lock(&mut self) -> LockToken {
        self.last_lock += 1;
        self.last_lock
    }
}

#[cfg(test)]
#[path = "entity_tests.rs"]
mod tests;

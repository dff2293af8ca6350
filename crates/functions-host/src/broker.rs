//! A Service Bus namespace in memory: named queues, and topics with subscriptions, received with peek-lock.
//!
//! - `entity`: the rules of one queue or subscription

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use self::entity::Entity;
pub use self::entity::{
    Counters, DeadLetter, EntityOptions, LockLost, LockToken, Received, Session,
};
use super::triggers::ServiceBusMessage;

mod entity;

/// A namespace; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Broker(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    namespace: Mutex<Namespace>,
    /// Told after each change that may give a receiver something.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Namespace {
    entities: BTreeMap<String, Entity>,
    /// Subscriptions of each topic, as names of entities.
    topics: BTreeMap<String, Vec<String>>,
    last_sequence: i64,
    /// Sends that fail, by queue or topic.
    refused: BTreeMap<String, usize>,
}

/// The name under which a subscription is received.
pub fn subscription_path(topic: &str, subscription: &str) -> String {
    format!("{topic}/subscriptions/{subscription}")
}

impl Broker {
    /// A new queue.
    pub fn create_queue(&self, name: &str, options: EntityOptions) {
        let created = Entity::new(options);
        let old = self.namespace().entities.insert(name.to_owned(), created);
        assert!(old.is_none(), "queue {name} exists");
    }

    /// A new topic with its subscriptions.
    pub fn create_topic(&self, name: &str, subscriptions: &[&str], options: EntityOptions) {
        let paths: Vec<String> = subscriptions
            .iter()
            .map(|subscription| subscription_path(name, subscription))
            .collect();
        for path in &paths {
            self.create_queue(path, options);
        }
        self.namespace().topics.insert(name.to_owned(), paths);
    }

    /// Sends a message to a queue, or to all subscriptions of a topic.
    ///
    /// # Errors
    ///
    /// Why the broker refuses it.
    pub fn send(&self, to: &str, message: ServiceBusMessage) -> Result<(), String> {
        let mut namespace = self.namespace();
        if let Some(left) = namespace.refused.get_mut(to).filter(|left| **left > 0) {
            *left -= 1;
            return Err(format!("{to}: ServiceBusy"));
        }
        let targets = match namespace.topics.get(to) {
            Some(subscriptions) => subscriptions.clone(),
            None => vec![to.to_owned()],
        };
        for target in targets {
            namespace.last_sequence += 1;
            let sequence_number = namespace.last_sequence;
            let entity = namespace.entities.get_mut(&target);
            let entity = entity.ok_or_else(|| format!("{to}: MessagingEntityNotFound"))?;
            entity.send(message.clone(), sequence_number)?;
        }
        drop(namespace);
        self.0.changed.notify_waiters();
        Ok(())
    }

    /// Refuses the next `count` sends to a queue or topic.
    pub fn refuse_sends(&self, to: &str, count: usize) {
        self.namespace().refused.insert(to.to_owned(), count);
    }

    /// Up to `max` messages as soon as there is one; nothing if none came within `wait`.
    pub async fn receive(&self, from: &str, max: usize, wait: Duration) -> Vec<Received> {
        let taken = self.wait_for(from, wait, |entity, now| {
            let received = entity.receive(max, now);
            (!received.is_empty()).then_some(received)
        });
        taken.await.unwrap_or_default()
    }

    /// An unlocked session, as soon as there is one.
    pub async fn accept_session(&self, from: &str, wait: Duration) -> Option<Session> {
        self.wait_for(from, wait, |entity, now| entity.accept_session(now))
            .await
    }

    /// Up to `max` messages of a held session as soon as there is one; nothing if none came within `wait`.
    ///
    /// # Errors
    ///
    /// If the session is not held any more.
    pub async fn receive_in(
        &self,
        from: &str,
        session: &Session,
        max: usize,
        wait: Duration,
    ) -> Result<Vec<Received>, LockLost> {
        let taken = self.wait_for(from, wait, |entity, now| {
            match entity.receive_in(session, max, now) {
                Ok(received) if received.is_empty() => None,
                other => Some(other),
            }
        });
        taken.await.unwrap_or(Ok(Vec::new()))
    }

    /// Ends a message.
    ///
    /// # Errors
    ///
    /// If the lock is lost: the message comes again, or came already.
    pub fn complete(&self, from: &str, lock: LockToken) -> Result<(), LockLost> {
        self.settle(from, |entity, now| entity.complete(lock, now))
    }

    /// Gives a message back; it is available at once.
    ///
    /// # Errors
    ///
    /// If the lock is lost.
    pub fn abandon(&self, from: &str, lock: LockToken) -> Result<(), LockLost> {
        self.settle(from, |entity, now| entity.abandon(lock, now))
    }

    /// Renews a message's lock.
    ///
    /// # Errors
    ///
    /// If the lock is lost.
    pub fn renew(&self, from: &str, lock: LockToken) -> Result<(), LockLost> {
        self.with(from, |entity, now| entity.renew(lock, now))
    }

    /// Renews a session's lock.
    ///
    /// # Errors
    ///
    /// If the lock is lost.
    pub fn renew_session(&self, from: &str, session: &Session) -> Result<(), LockLost> {
        self.with(from, |entity, now| entity.renew_session(session, now))
    }

    /// Gives a session to others.
    pub fn release_session(&self, from: &str, session: &Session) {
        self.with(from, |entity, _| entity.release_session(session));
        self.0.changed.notify_waiters();
    }

    /// How long a lock lasts.
    pub fn lock_duration(&self, of: &str) -> Duration {
        self.with(of, |entity, _| entity.lock_duration())
    }

    /// What waits for a receiver, oldest first.
    pub fn waiting(&self, name: &str) -> Vec<ServiceBusMessage> {
        self.with(name, Entity::waiting)
    }

    /// What receivers hold.
    pub fn locked(&self, name: &str) -> Vec<ServiceBusMessage> {
        self.with(name, Entity::locked)
    }

    /// The dead letters, oldest first.
    pub fn dead_letters(&self, name: &str) -> Vec<DeadLetter> {
        self.with(name, Entity::dead_letters)
    }

    /// What has happened so far.
    pub fn counters(&self, name: &str) -> Counters {
        self.with(name, |entity, _| entity.counters())
    }

    /// Waits until no message waits or is locked; dead letters may remain.
    ///
    /// # Panics
    ///
    /// If that takes longer than `limit`.
    pub async fn wait_until_empty(&self, name: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let left = (self.waiting(name).len(), self.locked(name).len());
            if left == (0, 0) {
                return;
            }
            let now = Instant::now();
            assert!(
                now < deadline,
                "{name}: {} waiting and {} locked after {limit:?}; {:?}",
                left.0,
                left.1,
                self.counters(name)
            );
            sleep_until(now + Duration::from_millis(20)).await;
        }
    }

    async fn wait_for<T>(
        &self,
        name: &str,
        wait: Duration,
        mut take: impl FnMut(&mut Entity, Instant) -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + wait;
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (taken, expiry) = self.with(name, |entity, now| {
                let taken = take(entity, now);
                (taken, entity.next_expiry())
            });
            if taken.is_some() || Instant::now() >= deadline {
                return taken;
            }
            let wake = expiry.map_or(deadline, |expiry| expiry.min(deadline));
            tokio::select! {
                () = changed => {}
                () = sleep_until(wake) => {}
            }
        }
    }

    fn settle<T>(&self, name: &str, act: impl FnOnce(&mut Entity, Instant) -> T) -> T {
        let result = self.with(name, act);
        self.0.changed.notify_waiters();
        result
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&mut Entity, Instant) -> T) -> T {
        let mut namespace = self.namespace();
        let entity = namespace.entities.get_mut(name);
        let entity = entity.unwrap_or_else(|| panic!("no queue or subscription {name}"));
        act(entity, Instant::now())
    }

    fn namespace(&self) -> MutexGuard<'_, Namespace> {
        self.0
            .namespace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Duration = Duration::from_secs(30);
    const LONG: Duration = Duration::from_secs(600);

    fn broker() -> Broker {
        let broker = Broker::default();
        broker.create_queue("q", EntityOptions::default());
        broker.create_queue("s", EntityOptions::default().sessions());
        broker
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_wakes_for_a_new_message_and_gives_up_in_time() {
        let broker = broker();
        let start = Instant::now();
        assert!(broker.receive("q", 1, LOCK).await.is_empty());
        assert_eq!(start.elapsed(), LOCK);
        let sender = broker.clone();
        tokio::spawn(async move { sender.send("q", ServiceBusMessage::new("a")) });
        assert_eq!(broker.receive("q", 1, LONG).await.len(), 1);
        assert_eq!(start.elapsed(), LOCK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_wakes_for_an_expired_lock_and_an_abandoned_message() {
        let broker = broker();
        broker.send("q", ServiceBusMessage::new("a")).unwrap();
        let start = Instant::now();
        broker.receive("q", 1, LONG).await;
        let held = broker.receive("q", 1, LONG).await.remove(0);
        assert_eq!((start.elapsed(), held.message.delivery_count), (LOCK, 2));
        let other = broker.clone();
        tokio::spawn(async move { other.abandon("q", held.lock) });
        assert_eq!(broker.receive("q", 1, LONG).await.len(), 1);
        assert_eq!(start.elapsed(), LOCK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_waited_for() {
        let broker = broker();
        let message = || ServiceBusMessage::new("a").in_session("one");
        broker.send("s", message()).unwrap();
        let session = broker.accept_session("s", LONG).await.unwrap();
        assert!(broker.accept_session("s", LOCK / 2).await.is_none());
        let held = broker.receive_in("s", &session, 1, LONG).await.unwrap();
        broker.complete("s", held[0].lock).unwrap();
        broker.send("s", message()).unwrap();
        let held = broker.receive_in("s", &session, 1, LONG).await.unwrap();
        assert_eq!(held.len(), 1);
        let lost = broker.receive_in("s", &session, 1, LONG).await;
        assert_eq!(lost.unwrap_err(), LockLost);
    }

    #[tokio::test]
    async fn each_subscription_of_a_topic_gets_its_own_copy() {
        let broker = broker();
        broker.create_topic("t", &["one", "two"], EntityOptions::default());
        broker.send("t", ServiceBusMessage::new("a")).unwrap();
        let one = subscription_path("t", "one");
        let held = broker.receive(&one, 9, LOCK).await;
        broker.complete(&one, held[0].lock).unwrap();
        assert_eq!(held.len(), 1);
        assert!(broker.waiting(&one).is_empty());
        assert_eq!(broker.waiting("t/subscriptions/two").len(), 1);
        assert!(broker.waiting("q").is_empty());
    }

    #[test]
    fn sends_fail_when_told_to_and_without_a_queue() {
        let broker = broker();
        let send = |to: &str| broker.send(to, ServiceBusMessage::new("a"));
        assert!(send("none").unwrap_err().contains("EntityNotFound"));
        broker.refuse_sends("q", 2);
        assert!(send("q").is_err() && send("q").is_err() && send("q").is_ok());
        assert_eq!(broker.waiting("q").len(), 1);
    }
}

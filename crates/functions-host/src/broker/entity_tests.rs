//! Every rule of a queue, with the clock moved by hand.

use super::*;

const LOCK: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

fn entity(options: EntityOptions, bodies: &[&str]) -> Entity {
    let mut entity = Entity::new(options);
    for (number, body) in (1..).zip(bodies) {
        entity.send(ServiceBusMessage::new(*body), number).unwrap();
    }
    entity
}

fn texts<'a>(messages: impl IntoIterator<Item = &'a ServiceBusMessage>) -> Vec<String> {
    messages
        .into_iter()
        .map(|message| String::from_utf8(message.body.clone()).unwrap())
        .collect()
}

fn bodies(received: &[Received]) -> Vec<String> {
    texts(received.iter().map(|received| &received.message))
}

#[test]
fn a_received_message_is_hidden_until_its_lock_expires_then_counted_up() {
    let start = Instant::now();
    let mut queue = entity(EntityOptions::default(), &["a"]);
    let first = queue.receive(1, start).remove(0);
    assert_eq!(first.message.delivery_count, 1);
    assert!(queue.receive(1, start + LOCK - SECOND).is_empty());
    assert_eq!(queue.locked(start).len(), 1);
    assert_eq!(queue.next_expiry(), Some(start + LOCK));
    let second = queue.receive(1, start + LOCK).remove(0);
    assert_eq!(second.message.delivery_count, 2);
    assert_eq!(queue.complete(first.lock, start + LOCK), Err(LockLost));
    assert_eq!(queue.complete(second.lock, start + LOCK), Ok(()));
    assert_eq!(queue.complete(second.lock, start + LOCK), Err(LockLost));
    assert!(queue.receive(1, start + 9 * LOCK).is_empty());
    let expected = Counters {
        sent: 1,
        delivered: 2,
        completed: 1,
        expired: 1,
        lock_lost: 2,
        ..Counters::default()
    };
    assert_eq!(queue.counters(), expected);
}

#[test]
fn a_renewed_lock_lasts_longer_and_a_lost_one_cannot_be_renewed() {
    let start = Instant::now();
    let mut queue = entity(EntityOptions::default(), &["a"]);
    let held = queue.receive(1, start).remove(0);
    assert_eq!(queue.renew(held.lock, start + LOCK - SECOND), Ok(()));
    assert!(queue.receive(1, start + LOCK + SECOND).is_empty());
    assert_eq!(queue.renew(held.lock, start + 2 * LOCK), Err(LockLost));
    assert_eq!(queue.counters().renewed, 1);
}

#[test]
fn an_abandoned_message_is_back_at_once_in_its_old_place() {
    let now = Instant::now();
    let mut queue = entity(EntityOptions::default(), &["a", "b", "c"]);
    let taken = queue.receive(2, now);
    assert_eq!(bodies(&taken), ["a", "b"]);
    queue.abandon(taken[0].lock, now).unwrap();
    let again = queue.receive(5, now);
    assert_eq!(bodies(&again), ["a", "c"]);
    assert_eq!(again[0].message.delivery_count, 2);
}

#[test]
fn too_many_deliveries_make_a_dead_letter_with_the_reason() {
    let mut now = Instant::now();
    let mut queue = entity(EntityOptions::default().max_delivery_count(3), &["a", "b"]);
    for delivery in 1..=3 {
        let taken = queue.receive(2, now);
        assert_eq!(taken[0].message.delivery_count, delivery);
        assert!(queue.dead_letters(now).is_empty());
        // one given back, one taken back: both count
        queue.abandon(taken[0].lock, now).unwrap();
        now += LOCK;
    }
    let dead = queue.dead_letters(now);
    assert_eq!(texts(dead.iter().map(|dead| &dead.message)), ["a", "b"]);
    assert_eq!(dead[0].reason, "MaxDeliveryCountExceeded");
    assert_eq!(dead[0].message.delivery_count, 3);
    assert!(queue.receive(1, now).is_empty());
    assert!(queue.waiting(now).is_empty() && queue.locked(now).is_empty());
}

#[test]
fn a_batch_has_no_more_than_asked_for_and_what_is_there() {
    let now = Instant::now();
    let mut queue = entity(EntityOptions::default(), &["a", "b", "c"]);
    assert_eq!(queue.receive(2, now).len(), 2);
    assert_eq!(queue.receive(2, now).len(), 1);
}

#[test]
fn the_same_message_id_twice_is_two_messages() {
    let now = Instant::now();
    let mut queue = Entity::new(EntityOptions::default());
    for number in 1..=2 {
        let message = ServiceBusMessage::new("a").with_id("m-1");
        queue.send(message, number).unwrap();
    }
    let both = queue.receive(9, now);
    assert_eq!(both.len(), 2);
    assert_eq!(both[0].message.message_id, both[1].message.message_id);
    assert_ne!(
        both[0].message.sequence_number,
        both[1].message.sequence_number
    );
}

#[test]
fn large_messages_and_messages_without_a_session_are_refused() {
    let mut queue = Entity::new(EntityOptions::default());
    let large = ServiceBusMessage::new(vec![0; 256 * 1024 + 1]);
    let error = queue.send(large, 1).unwrap_err();
    assert!(error.contains("MessageSizeExceeded"), "{error}");
    let mut queue = Entity::new(EntityOptions::default().sessions());
    assert!(queue.send(ServiceBusMessage::new("a"), 1).is_err());
    assert_eq!(queue.counters().sent, 0);
}

fn sessions(bodies: &[(&str, &str)]) -> Entity {
    let mut entity = Entity::new(EntityOptions::default().sessions());
    for (number, (session, body)) in (1..).zip(bodies) {
        let message = ServiceBusMessage::new(*body).in_session(session);
        entity.send(message, number).unwrap();
    }
    entity
}

#[test]
fn a_session_has_one_holder_and_keeps_its_order() {
    let now = Instant::now();
    let mut queue = sessions(&[("s", "a"), ("t", "x"), ("s", "b")]);
    assert!(queue.receive(1, now).is_empty());
    let (first, second) = (queue.accept_session(now), queue.accept_session(now));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!((first.id.as_str(), second.id.as_str()), ("s", "t"));
    assert!(queue.accept_session(now).is_none());

    let taken = queue.receive_in(&first, 1, now).unwrap();
    assert_eq!(bodies(&taken), ["a"]);
    assert!(queue.receive_in(&first, 1, now).unwrap().is_empty());
    queue.abandon(taken[0].lock, now).unwrap();
    let again = queue.receive_in(&first, 1, now).unwrap();
    assert_eq!(bodies(&again), ["a"], "a failed message blocks its session");
    queue.complete(again[0].lock, now).unwrap();
    assert_eq!(bodies(&queue.receive_in(&first, 1, now).unwrap()), ["b"]);
}

#[test]
fn an_expired_session_takes_its_messages_back() {
    let start = Instant::now();
    let mut queue = sessions(&[("s", "a"), ("s", "b")]);
    let session = queue.accept_session(start).unwrap();
    let taken = queue.receive_in(&session, 1, start).unwrap();
    queue.renew_session(&session, start + SECOND).unwrap();
    assert_eq!(queue.next_expiry(), Some(start + SECOND + LOCK));
    assert_eq!(queue.locked(start + LOCK).len(), 1);
    let late = start + SECOND + LOCK;
    assert_eq!(queue.complete(taken[0].lock, late), Err(LockLost));
    assert_eq!(
        queue.receive_in(&session, 1, late).unwrap_err(),
        LockLost,
        "the session is not locked"
    );
    assert_eq!(queue.renew_session(&session, late), Err(LockLost));
    let other = queue.accept_session(late).unwrap();
    let again = queue.receive_in(&other, 2, late).unwrap();
    assert_eq!(bodies(&again), ["a", "b"]);
    assert_eq!(again[0].message.delivery_count, 2);
    queue.release_session(&session);
    assert_eq!(queue.locked(late).len(), 2, "not the holder any more");
    queue.release_session(&other);
    assert_eq!(queue.waiting(late).len(), 2);
}

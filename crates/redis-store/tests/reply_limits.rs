//! The bounds of the patched parser of replies (`vendor/redis-protocol`): what is beyond them is refused as soon as it is
//! announced, in both versions of the protocol, and what Redis really sends is not.

use redis_protocol::{resp2, resp3};

/// Whether a reply, or its beginning, is refused by the parsers of both versions.
fn is_refused(reply: &[u8]) -> bool {
    let second = resp2::decode::decode_range(reply).is_err();
    let third = resp3::decode::streaming::decode_range(reply).is_err();
    assert_eq!(second, third, "{:?}", reply.escape_ascii().to_string());
    second
}

fn nested(levels: usize) -> Vec<u8> {
    let mut reply = b"*1\r\n".repeat(levels);
    reply.extend_from_slice(b":1\r\n");
    reply
}

#[test]
fn arrays_inside_each_other() {
    assert!(!is_refused(&nested(8)));
    for levels in [9, 1_000, 100_000] {
        assert!(is_refused(&nested(levels)), "{levels}");
    }
}

#[test]
fn announced_lengths() {
    let most = 16 << 20;
    assert!(!is_refused(format!("${most}\r\nbegins").as_bytes()));
    assert!(!is_refused(b"*65536\r\n"));
    for beyond in [
        format!("${}\r\n", most + 1),
        "$314572800\r\n".to_owned(),
        "$9223372036854775807\r\n".to_owned(),
        "$18446744073709551615\r\n".to_owned(),
        "*65537\r\n".to_owned(),
        "*2147483648\r\n".to_owned(),
        "*2\r\n*40000\r\n".to_owned() + &":1\r\n".repeat(40_000) + "*40000\r\n",
        "$?\r\n".to_owned(),
        "*?\r\n".to_owned(),
        "$x\r\n".to_owned(),
    ] {
        assert!(is_refused(beyond.as_bytes()), "{:.20}", beyond);
    }
}

#[test]
fn kinds_of_the_third_version_that_the_second_falls_back_to() {
    let refused = |reply: &[u8]| resp3::decode::streaming::decode_range(reply).is_err();
    for kind in ["*1", "~1", ">1", "|0", "%1"] {
        let head = format!("{kind}\r\n");
        assert!(refused(head.repeat(1_000).as_bytes()), "{kind}");
    }
    for announced in [
        "!999999999",
        "=999999999",
        ";999999999",
        "%32769",
        "|32768",
        ">65537",
    ] {
        assert!(
            refused(format!("{announced}\r\n").as_bytes()),
            "{announced}"
        );
    }
    assert!(!refused(b"%1\r\n+server\r\n+redis\r\n"));
}

#[test]
fn a_reply_and_a_line_as_a_whole() {
    let value = vec![b'x'; 8 << 20];
    let mut reply = b"*5\r\n".to_vec();
    for _ in 0..5 {
        reply.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
        reply.extend_from_slice(&value);
        reply.extend_from_slice(b"\r\n");
    }
    assert!(is_refused(&reply));
    let mut line = vec![b'+'];
    line.resize(64 << 10, b'x');
    assert!(!is_refused(&line));
    line.resize(70 << 10, b'x');
    assert!(is_refused(&line));
}

#[test]
fn what_redis_sends_comes_through_at_every_cut() {
    let reply = b"*3\r\n*2\r\n:0\r\n$-1\r\n*-1\r\n$5\r\na\r\nbc\r\n";
    for cut in 0..reply.len() {
        assert_eq!(resp2::decode::decode_range(&reply[..cut]).unwrap(), None);
    }
    let (_, length) = resp2::decode::decode_range(reply).unwrap().unwrap();
    assert_eq!(length, reply.len());
}

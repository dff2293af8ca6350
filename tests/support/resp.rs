//! A small Redis client for plain connections: one command, one reply.

use std::io::{Error, ErrorKind, Result};
use std::net::Ipv4Addr;

use tokio::net::TcpStream;

/// A reply in the second version of the Redis protocol.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RespValue {
    /// `+OK`.
    Simple(String),
    /// `-ERR ...`.
    Error(String),
    /// `:1`.
    Integer(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// Several replies.
    Array(Vec<RespValue>),
    /// Nothing there.
    Nil,
}

impl RespValue {
    /// The integer.
    ///
    /// # Panics
    ///
    /// If it is something else.
    pub(crate) fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            other => panic!("not an integer: {other:?}"),
        }
    }

    /// The bytes, if there is a value.
    ///
    /// # Panics
    ///
    /// If it is no string.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Bulk(bytes) => Some(bytes),
            Self::Nil => None,
            other => panic!("not a string: {other:?}"),
        }
    }

    /// A string's text.
    ///
    /// # Panics
    ///
    /// If it is no string.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Simple(text) => text.clone(),
            other => String::from_utf8_lossy(other.bytes().unwrap_or_default()).into_owned(),
        }
    }

    /// The elements.
    ///
    /// # Panics
    ///
    /// If it is no array.
    pub(crate) fn elements(&self) -> &[RespValue] {
        match self {
            Self::Array(elements) => elements,
            other => panic!("not an array: {other:?}"),
        }
    }
}

/// Sends commands on a new connection, all at once, and reads their replies.
///
/// # Errors
///
/// If the connection cannot be made or ends, or the replies make no sense.
pub(crate) async fn pipeline(port: u16, commands: &[&[&[u8]]]) -> Result<Vec<RespValue>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let request: Vec<u8> = commands
        .iter()
        .flat_map(|command| encode(command))
        .collect();
    let mut rest = request.as_slice();
    let mut received = Vec::new();
    let mut replies = Vec::new();
    let mut position = 0;
    let mut buffer = vec![0; 64 * 1024];
    while replies.len() < commands.len() {
        if rest.is_empty() {
            stream.readable().await?;
        } else {
            stream
                .ready(tokio::io::Interest::READABLE | tokio::io::Interest::WRITABLE)
                .await?;
        }
        match stream.try_write(rest) {
            Ok(count) => rest = &rest[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => received.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        while let Some((reply, length)) = parse(&received[position..])? {
            replies.push(reply);
            position += length;
        }
    }
    Ok(replies)
}

/// A command as it goes over the wire.
pub(crate) fn encode(arguments: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", arguments.len()).into_bytes();
    for argument in arguments {
        bytes.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
        bytes.extend_from_slice(argument);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The first reply in `bytes` and its length, if it is complete.
///
/// # Errors
///
/// If it is no reply.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(RespValue, usize)>> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return Ok(None);
    };
    let malformed = || Error::new(ErrorKind::InvalidData, "not a Redis reply");
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| malformed())?;
    let (kind, text) = line.split_at_checked(1).ok_or_else(malformed)?;
    let number = || text.parse::<i64>().map_err(|_| malformed());
    let start = end + 2;
    match kind {
        "+" => Ok(Some((RespValue::Simple(text.to_owned()), start))),
        "-" => Ok(Some((RespValue::Error(text.to_owned()), start))),
        ":" => Ok(Some((RespValue::Integer(number()?), start))),
        "$" | "*" if number()? < 0 => Ok(Some((RespValue::Nil, start))),
        "$" => {
            let length = number()? as usize;
            let content = bytes
                .get(start..start + length)
                .filter(|_| bytes.len() >= start + length + 2);
            Ok(content.map(|content| (RespValue::Bulk(content.to_vec()), start + length + 2)))
        }
        "*" => parse_elements(bytes, start, number()?),
        _ => Err(malformed()),
    }
}

fn parse_elements(bytes: &[u8], start: usize, count: i64) -> Result<Option<(RespValue, usize)>> {
    let mut elements = Vec::new();
    let mut position = start;
    for _ in 0..count {
        let Some((element, length)) = parse(&bytes[position..])? else {
            return Ok(None);
        };
        elements.push(element);
        position += length;
    }
    Ok(Some((RespValue::Array(elements), position)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_when_complete() {
        let reply = b"*4\r\n+OK\r\n:-7\r\n$3\r\na\r\n\r\n$-1\r\n";
        for end in 0..reply.len() {
            assert_eq!(parse(&reply[..end]).unwrap(), None, "{end}");
        }
        let (value, length) = parse(reply).unwrap().unwrap();
        assert_eq!(length, reply.len());
        let elements = value.elements();
        assert_eq!(
            (elements[0].text().as_str(), elements[1].integer()),
            ("OK", -7)
        );
        assert_eq!(
            (elements[2].bytes(), elements[3].bytes()),
            (Some(b"a\r\n".as_slice()), None)
        );
        assert!(parse(b"?\r\n").is_err());
    }

    #[test]
    fn commands_are_arrays_of_strings() {
        assert_eq!(encode(&[b"GET", b"a"]), b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n");
    }
}

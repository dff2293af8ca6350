//! Bounds on what a server may send as one reply.
//!
//! The decoders recurse for nested frames and wait for whatever length is announced. This walks over the headers of a
//! reply first, without recursion or allocation, and refuses what goes beyond the bounds as soon as it is announced.

use crate::error::{RedisProtocolError, RedisProtocolErrorKind};
use core::str;

/// Arrays (and maps, sets, attributes) inside each other.
const MAX_DEPTH: usize = 8;
/// Elements of a reply, those of nested arrays included.
const MAX_ELEMENTS: usize = 65_536;
/// Bytes of one bulk string.
const MAX_STRING_BYTES: usize = 16 << 20;
/// Bytes of a reply as a whole.
const MAX_REPLY_BYTES: usize = 20 << 20;
/// Bytes up to the end of a line: simple strings, errors, numbers, lengths.
const MAX_LINE_BYTES: usize = 64 << 10;

/// Refuses the reply at the start of `buf`, which may be incomplete, if it goes beyond a bound.
pub(crate) fn check(buf: &[u8]) -> Result<(), RedisProtocolError> {
  walk(buf).map_err(|reason| RedisProtocolError::new(RedisProtocolErrorKind::DecodeError, reason))
}

fn walk(buf: &[u8]) -> Result<(), &'static str> {
  // For each open array, how many of its elements are still to come.
  let mut open = [0_usize; MAX_DEPTH];
  let (mut depth, mut elements, mut at) = (0, 0, 0);
  loop {
    let Some((kind, rest)) = buf.get(at..).and_then(<[u8]>::split_first) else {
      return Ok(());
    };
    let Some(line) = line_of(rest)? else {
      return Ok(());
    };
    at += 1 + line.len() + 2;
    let children = match kind {
      b'*' | b'~' | b'>' => length(line, MAX_ELEMENTS, TOO_MANY)?.unwrap_or(0),
      b'%' => 2 * length(line, MAX_ELEMENTS, TOO_MANY)?.unwrap_or(0),
      // The frame that the attributes belong to follows them.
      b'|' => 2 * length(line, MAX_ELEMENTS, TOO_MANY)?.unwrap_or(0) + 1,
      b'$' | b'!' | b'=' | b';' => {
        let string = length(line, MAX_STRING_BYTES, "A string of the reply has more than 16 MiB.")?;
        at += string.map_or(0, |bytes| bytes + 2);
        0
      },
      _ => 0,
    };
    if at > MAX_REPLY_BYTES {
      return Err("The reply has more than 20 MiB.");
    }
    if children == 0 {
      while depth > 0 {
        open[depth - 1] -= 1;
        if open[depth - 1] > 0 {
          break;
        }
        depth -= 1;
      }
      if depth == 0 {
        return Ok(());
      }
      continue;
    }
    elements += children;
    if elements > MAX_ELEMENTS {
      return Err(TOO_MANY);
    }
    match open.get_mut(depth) {
      Some(level) => *level = children,
      None => return Err("The reply has arrays in more than 8 levels."),
    }
    depth += 1;
  }
}

const TOO_MANY: &str = "The reply has more than 65,536 elements.";

/// The line at the start of `rest` without its end; `None` if it is incomplete.
fn line_of(rest: &[u8]) -> Result<Option<&[u8]>, &'static str> {
  let start = &rest[..rest.len().min(MAX_LINE_BYTES + 2)];
  match start.windows(2).position(|pair| pair == b"\r\n") {
    Some(end) => Ok(Some(&start[..end])),
    None if rest.len() > MAX_LINE_BYTES + 2 => Err("A line of the reply has more than 64 KiB."),
    None => Ok(None),
  }
}

/// The announced length; `None` for what is not there.
fn length(line: &[u8], max: usize, too_large: &'static str) -> Result<Option<usize>, &'static str> {
  if line == b"?" {
    // Redis never sends one, and its end is not known before it comes.
    return Err("The reply is a stream without a length.");
  }
  let number: Option<i64> = str::from_utf8(line).ok().and_then(|text| text.parse().ok());
  match number {
    Some(number) if number < 0 => Ok(None),
    Some(number) if number as u64 > max as u64 => Err(too_large),
    Some(number) => Ok(Some(number as usize)),
    None => Err("A length in the reply is no number."),
  }
}

//! A limit on the frames that clients send, enforced on their headers.
//!
//! The decoder of actix-http compares the size of a frame with its limit only once the whole frame is in
//! memory, so that a client could announce a terabyte and send it. This looks at the headers first.

use actix_web::{
    FromRequest as _, HttpRequest,
    dev::{self, Payload},
    error::PayloadError,
    web,
};
use actix_ws::ProtocolError;
use bytes::Bytes;
use futures_util::{FutureExt as _, Stream, StreamExt as _, future};
use std::pin::Pin;

/// Longest frame header: two bytes, a 64-bit length, the mask (RFC 6455 §5.2).
const MAX_HEADER: usize = 14;

/// Follows the frames through bytes in any split.
#[derive(Debug, Default)]
struct Headers {
    /// The bytes of an unfinished header.
    head: Vec<u8>,
    /// Bytes of payload still to come.
    payload: u64,
}

impl Headers {
    /// Takes bytes; false when a frame announces more than `limit` bytes.
    fn take(&mut self, mut bytes: &[u8], limit: u64) -> bool {
        while !bytes.is_empty() {
            let skipped = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((first, rest)) = bytes.split_first() else { return true };
            self.head.push(*first);
            bytes = rest;
            if let Some(length) = announced(&self.head) {
                if length > limit {
                    return false;
                }
                self.payload = length;
                self.head.clear();
            }
        }
        true
    }
}

/// Length of the payload, once the header is whole.
fn announced(head: &[u8]) -> Option<u64> {
    let second = *head.get(1)?;
    let extended = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    debug_assert!(head.len() <= MAX_HEADER);
    if head.len() < 2 + extended + mask {
        return None;
    }
    let number = head[2..2 + extended].iter().fold(0, |sum: u64, byte| sum << 8 | u64::from(*byte));
    Some(if extended == 0 { u64::from(second & 0x7f) } else { number })
}

/// The same bytes, which end with [`PayloadError::Overflow`] before a frame of more than `limit` bytes.
#[must_use]
pub fn limited(request: &HttpRequest, payload: web::Payload, limit: u64) -> web::Payload {
    let mut headers = Headers::default();
    let checked = payload.scan(false, move |over, bytes: Result<Bytes, PayloadError>| {
        if *over {
            return future::ready(None);
        }
        future::ready(Some(match bytes {
            Ok(bytes) if !headers.take(&bytes, limit) => {
                *over = true;
                Err(PayloadError::Overflow)
            }
            other => other,
        }))
    });
    let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> = Box::pin(checked);
    let mut stream: dev::Payload = Payload::Stream { payload: stream };
    // There is no other way to make one; it takes the stream over at once and cannot fail.
    let made = web::Payload::from_request(request, &mut stream).now_or_never();
    made.and_then(Result::ok).expect("a payload is extracted without waiting or failing")
}

/// Whether the socket ended because of [`limited`].
#[must_use]
pub fn is_over(error: &ProtocolError) -> bool {
    match error {
        ProtocolError::Overflow => true,
        ProtocolError::Io(e) => {
            e.get_ref().and_then(|e| e.downcast_ref()).is_some_and(|e| matches!(e, PayloadError::Overflow))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u64, extended: u8) -> Vec<u8> {
        let mut frame = vec![0x81];
        match extended {
            0 => frame.push(0x80 | u8::try_from(length).unwrap()),
            2 => {
                frame.push(0xfe);
                frame.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(0xff);
                frame.extend(length.to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame
    }

    #[test]
    fn frames_are_followed_through_any_split() {
        let mut bytes = Vec::new();
        for (length, extended) in [(0, 0), (125, 0), (126, 2), (1000, 2), (0, 2), (1000, 8), (7, 0)] {
            bytes.extend(frame(length, extended));
            bytes.extend(vec![0xff; usize::try_from(length).unwrap()]);
        }
        for size in [1, 2, 3, 7, 64, bytes.len()] {
            let mut headers = Headers::default();
            assert!(bytes.chunks(size).all(|chunk| headers.take(chunk, 1000)), "in pieces of {size}");
            assert!(headers.head.is_empty() && headers.payload == 0);
        }
    }

    #[test]
    fn a_large_frame_is_refused_at_its_header() {
        for (length, extended) in [(1001, 2), (1001, 8), (u64::MAX, 8), (1 << 40, 8)] {
            let mut headers = Headers::default();
            assert!(headers.take(&frame(5, 0), 1000) && headers.take(b"12345", 1000));
            assert!(!headers.take(&frame(length, extended), 1000), "{length}");
        }
    }
}

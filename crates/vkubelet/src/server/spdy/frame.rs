//! Frames of SPDY/3.1 (section 2.2): eight bytes of head, then at most 2^24 bytes, of which far fewer are taken here.

use std::collections::HashMap;

use super::Nonsense;
use super::headers::{self, Reader};

/// The largest frame that is taken; callers send pieces of 32 KiB.
const LARGEST: usize = 1 << 20;
const HEAD: usize = 8;
const FIN: u8 = 1;
const OPEN: u16 = 1;
const REPLY: u16 = 2;
const RESET: u16 = 3;
const PING: u16 = 6;
const GO_AWAY: u16 = 7;
const REFUSED: u32 = 3;

/// What a caller sends.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    Open {
        stream: u32,
        is_last: bool,
        headers: HashMap<String, String>,
    },
    Data {
        stream: u32,
        is_last: bool,
        bytes: Vec<u8>,
    },
    Reset {
        stream: u32,
    },
    Ping {
        id: u32,
    },
    GoAway,
    /// Settings and the like.
    Other,
}

/// Puts frames together from pieces.
pub struct Decoder {
    unread: Vec<u8>,
    headers: Reader,
}

impl Decoder {
    pub fn new() -> Self {
        Decoder { unread: Vec::new(), headers: Reader::new() }
    }

    pub fn take(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next whole frame, if it is there.
    pub fn next(&mut self) -> Result<Option<Frame>, Nonsense> {
        let Some((head, rest)) = self.unread.split_first_chunk::<HEAD>() else { return Ok(None) };
        let [a, b, c, d, flags, e, f, g] = *head;
        let length = u32::from_be_bytes([0, e, f, g]) as usize;
        if length > LARGEST {
            return Err(Nonsense("a frame is too long"));
        }
        let Some(body) = rest.get(..length) else { return Ok(None) };
        let is_last = flags & FIN != 0;
        let frame = if a & 0x80 == 0 {
            Frame::Data { stream: u32::from_be_bytes([a, b, c, d]), is_last, bytes: body.to_vec() }
        } else {
            let word = |at: usize| -> Result<u32, Nonsense> {
                let four = body.get(at..).and_then(|rest| rest.first_chunk::<4>());
                Ok(u32::from_be_bytes(*four.ok_or(Nonsense("a frame is cut off"))?))
            };
            match u16::from_be_bytes([c, d]) {
                OPEN => {
                    let stream = word(0)? & 0x7fff_ffff;
                    let packed = body.get(10..).ok_or(Nonsense("a frame is cut off"))?;
                    Frame::Open { stream, is_last, headers: self.headers.read(packed)? }
                }
                RESET => Frame::Reset { stream: word(0)? & 0x7fff_ffff },
                PING => Frame::Ping { id: word(0)? },
                GO_AWAY => Frame::GoAway,
                _ => Frame::Other,
            }
        };
        self.unread.drain(..HEAD + length);
        Ok(Some(frame))
    }
}

fn control(kind: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    [&[0x80, 3], &kind.to_be_bytes()[..], &[0], &length[1..], body].concat()
}

/// Agrees to a stream.
pub fn reply(stream: u32, is_first: bool) -> Vec<u8> {
    control(REPLY, &[&stream.to_be_bytes()[..], &headers::none(is_first)].concat())
}

pub fn refuse(stream: u32) -> Vec<u8> {
    control(RESET, &[stream.to_be_bytes(), REFUSED.to_be_bytes()].concat())
}

pub fn ping(id: u32) -> Vec<u8> {
    control(PING, &id.to_be_bytes())
}

pub fn data(stream: u32, is_last: bool, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes();
    [&stream.to_be_bytes()[..], &[if is_last { FIN } else { 0 }], &length[1..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_in_pieces() {
        let mut decoder = Decoder::new();
        let sent =
            [data(3, true, b"hello"), ping(7), refuse(5), control(4, &[0; 12]), control(GO_AWAY, &[0; 8])].concat();
        let mut seen = Vec::new();
        for byte in sent {
            decoder.take(&[byte]);
            seen.extend(decoder.next().expect("sense"));
        }
        let hello = Frame::Data { stream: 3, is_last: true, bytes: b"hello".to_vec() };
        assert_eq!(seen, [hello, Frame::Ping { id: 7 }, Frame::Reset { stream: 5 }, Frame::Other, Frame::GoAway]);
        for wrong in [&[0, 0, 0, 1, 0, 0xff, 0xff, 0xff][..], &control(PING, &[0; 3]), &control(OPEN, &[0; 9])] {
            let mut decoder = Decoder::new();
            decoder.take(wrong);
            assert!(decoder.next().is_err(), "{wrong:?}");
        }
    }
}

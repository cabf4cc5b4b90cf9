//! Names and values of a stream: one zlib stream for all of a connection's, with a dictionary that both sides know (SPDY/3,
//! section 2.6.10).

use std::collections::HashMap;

use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::Nonsense;

/// How far back a zlib stream may point.
const WINDOW: usize = 32 << 10;
/// Names and values of one stream.
const LARGEST: usize = 16 << 10;
/// Of the dictionary, by which a stream says that it uses it.
const CHECKSUM: u32 = 0xe3c6_a7c2;

/// The first part of the dictionary: each with its length before it, in four bytes.
const WORDS: &[&str] = &[
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];
/// Its second part.
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 \
    Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not \
    Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec \
    00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,\
    application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,\
    utf-,*,enq=0.";

fn dictionary() -> Vec<u8> {
    let words = WORDS.iter().flat_map(|word| {
        let length = u32::try_from(word.len()).unwrap_or_default().to_be_bytes();
        length.into_iter().chain(word.bytes())
    });
    words.chain(TEXT.bytes()).collect()
}

/// Reads the headers of all streams of a connection, in their order.
pub struct Reader {
    state: Box<DecompressorOxide>,
    /// What was read last, in a ring; at first the dictionary.
    window: Vec<u8>,
    at: usize,
    has_begun: bool,
}

impl Reader {
    pub fn new() -> Self {
        let mut window = dictionary();
        let at = window.len();
        window.resize(WINDOW, 0);
        Reader { state: Box::default(), window, at, has_begun: false }
    }

    /// The headers of one stream.
    pub fn read(&mut self, mut packed: &[u8]) -> Result<HashMap<String, String>, Nonsense> {
        if !self.has_begun {
            packed = begin(packed)?;
            self.has_begun = true;
        }
        let mut plain = Vec::new();
        loop {
            let (status, read, written) =
                decompress(&mut self.state, packed, &mut self.window, self.at, TINFL_FLAG_HAS_MORE_INPUT);
            plain.extend_from_slice(&self.window[self.at..self.at + written]);
            self.at = (self.at + written) % WINDOW;
            packed = &packed[read..];
            if plain.len() > LARGEST {
                return Err(Nonsense("the headers are too long"));
            }
            match status {
                TINFLStatus::NeedsMoreInput if packed.is_empty() => return parse(&plain),
                TINFLStatus::HasMoreOutput => {}
                _ => return Err(Nonsense("the headers cannot be unpacked")),
            }
        }
    }
}

/// Past the head of the zlib stream, which must be of our dictionary.
fn begin(packed: &[u8]) -> Result<&[u8], Nonsense> {
    let [method, flags, a, b, c, d, rest @ ..] = packed else { return Err(Nonsense("the headers are cut off")) };
    let is_zlib = method & 0x0f == 8 && (u16::from(*method) << 8 | u16::from(*flags)) % 31 == 0;
    if !is_zlib || flags & 0x20 == 0 || u32::from_be_bytes([*a, *b, *c, *d]) != CHECKSUM {
        return Err(Nonsense("the headers are not packed with the dictionary of SPDY/3"));
    }
    Ok(rest)
}

fn parse(mut plain: &[u8]) -> Result<HashMap<String, String>, Nonsense> {
    let cut = || Nonsense("the headers are cut off");
    let number = |plain: &mut &[u8]| -> Result<usize, Nonsense> {
        let (head, rest) = plain.split_first_chunk::<4>().ok_or_else(cut)?;
        *plain = rest;
        usize::try_from(u32::from_be_bytes(*head)).map_err(|_| cut())
    };
    let count = number(&mut plain)?;
    let mut all = HashMap::new();
    for _ in 0..count {
        let mut text = || -> Result<String, Nonsense> {
            let length = number(&mut plain)?;
            let (text, rest) = plain.split_at_checked(length).ok_or_else(cut)?;
            plain = rest;
            String::from_utf8(text.to_vec()).map_err(|_| Nonsense("a header is no text"))
        };
        let (name, value) = (text()?, text()?);
        all.insert(name.to_ascii_lowercase(), value);
    }
    Ok(all)
}

/// No headers at all, as the first or a later answer on a connection: stored, not packed, and flushed.
pub fn none(is_first: bool) -> Vec<u8> {
    let head: &[u8] = if is_first { &[0x78, 0x01] } else { &[] };
    [head, &[0, 4, 0, 0xfb, 0xff, 0, 0, 0, 0], &[0, 0, 0, 0xff, 0xff]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a client packs them: stored blocks that are flushed.
    fn packed(is_first: bool, plain: &[u8]) -> Vec<u8> {
        let head: &[u8] = if is_first { &[0x78, 0xf9, 0xe3, 0xc6, 0xa7, 0xc2] } else { &[] };
        let length = u16::try_from(plain.len()).expect("short");
        [head, &[0], &length.to_le_bytes(), &(!length).to_le_bytes(), plain, &[0, 0, 0, 0xff, 0xff]].concat()
    }

    #[test]
    fn the_dictionary_is_that_of_the_protocol() {
        let bytes = dictionary();
        let (a, b) = bytes.iter().fold((1u32, 0u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65_521;
            (a, (b + a) % 65_521)
        });
        assert_eq!((bytes.len(), b << 16 | a), (1423, CHECKSUM));
    }

    #[test]
    fn headers_of_several_streams() {
        let plain = b"\0\0\0\x01\0\0\0\x04Port\0\0\0\x0280";
        let mut reader = Reader::new();
        for is_first in [true, false, false] {
            let all = reader.read(&packed(is_first, plain)).expect("headers");
            assert_eq!(all.get("port").map(String::as_str), Some("80"));
        }
        assert!(reader.read(&[0xff; 20]).is_err());
        for wrong in [&b""[..], b"\x78\x01\0\0\0\0", &packed(true, b"\0\0\0\x01"), &packed(true, &[0xff; 12])] {
            assert!(Reader::new().read(wrong).is_err(), "{wrong:?}");
        }
        let mut reader = Reader::new();
        assert!(reader.read(&packed(true, &vec![0; LARGEST + 1])).is_err());
    }
}

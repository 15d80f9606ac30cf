//! What surrounds a message: the frame's length and the two headers.
//!
//! A frame is its length (four bytes), a request or response header, and the message. A request
//! header ends with a tagged section when the message's version is flexible (header version 2,
//! else 1; version 0, without a client id, belongs to a key that is not served). A response header
//! does likewise (1, else 0), except that of ApiVersions, which never does: a client must be able
//! to read it before it knows the broker.

use super::{Decode, Encode, Error, Reader, Writer};

/// The header of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHeader<'a> {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// What the response repeats.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<&'a str>,
}

impl<'a> RequestHeader<'a> {
    /// The key of a frame (without its length) whose first bytes are here; it decides which pool
    /// the rest is read into.
    pub fn peek_api_key(frame: &[u8]) -> Option<i16> {
        frame.first_chunk().map(|bytes| i16::from_be_bytes(*bytes))
    }

    /// Reads the header and leaves `r` at the message. `flexible_since` tells the first flexible
    /// version of a key.
    pub fn decode(
        r: &mut Reader<'a>,
        flexible_since: impl FnOnce(i16) -> i16,
    ) -> Result<Self, Error> {
        r.set_version(1, false);
        let api_key = i16::decode_from(r)?;
        let api_version = i16::decode_from(r)?;
        let correlation_id = i32::decode_from(r)?;
        // Never compact, not even in header version 2.
        let client_id = Option::decode_from(r)?;
        r.set_version(2, api_version >= flexible_since(api_key));
        r.skip_tags()?;
        Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
    }
}

/// Begins a request frame of a version that is not flexible: room for the length, and the header.
/// [`response_end`] ends it.
pub fn request_begin(w: &mut Writer<'_>, header: &RequestHeader<'_>) {
    w.raw(&[0; LENGTH_BYTES]);
    w.set_version(1, false);
    header.api_key.encode_to(w);
    header.api_version.encode_to(w);
    header.correlation_id.encode_to(w);
    header.client_id.encode_to(w);
}

/// Whether the response header of this key and version ends with a tagged section.
pub fn response_header_flexible(api_key: i16, api_version: i16, flexible_since: i16) -> bool {
    api_key != API_VERSIONS_KEY && api_version >= flexible_since
}

/// Begins a response frame at the start of `w`: room for the length, and the header.
pub fn response_begin(w: &mut Writer<'_>, correlation_id: i32, header_flexible: bool) {
    w.raw(&[0; LENGTH_BYTES]);
    w.raw(&correlation_id.to_be_bytes());
    if header_flexible {
        w.raw(&[0]);
    }
}

/// Ends a response frame that was begun at the start of `w`: fills in its length and gives the
/// bytes of it, if they fitted.
pub fn response_end(w: &mut Writer<'_>) -> Result<usize, Error> {
    let length = w.len().saturating_sub(LENGTH_BYTES);
    let length = i32::try_from(length).map_err(|_| Error::Overflow)?;
    w.patch(0, &length.to_be_bytes());
    w.finish()
}

/// The length that precedes every frame; it does not count itself.
pub const LENGTH_BYTES: usize = 4;
const API_VERSIONS_KEY: i16 = 18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_id_is_not_compact_and_tags_follow_when_flexible() {
        let old = [0, 3, 0, 8, 0, 0, 0, 7, 0, 1, b'c', 9];
        let mut r = Reader::new(&old);
        let header = RequestHeader::decode(&mut r, |_| 9).unwrap();
        let expected =
            RequestHeader { api_key: 3, api_version: 8, correlation_id: 7, client_id: Some("c") };
        assert_eq!(header, expected);
        assert_eq!(r.rest(), &[9]);

        let new = [0, 3, 0, 9, 0, 0, 0, 7, 255, 255, 1, 5, 2, 0, 0, 9];
        let mut r = Reader::new(&new);
        assert_eq!(RequestHeader::decode(&mut r, |_| 9).unwrap().client_id, None);
        assert_eq!(r.rest(), &[9]);
        for cut in 0..new.len() - 1 {
            let mut r = Reader::new(&new[..cut]);
            assert_eq!(RequestHeader::decode(&mut r, |_| 9), Err(Error::Truncated));
        }
    }

    #[test]
    fn a_request_that_was_begun_is_one() {
        let header =
            RequestHeader { api_key: 3, api_version: 4, correlation_id: 7, client_id: Some("c") };
        let mut buffer = [0; 32];
        let mut w = Writer::new(&mut buffer);
        request_begin(&mut w, &header);
        let bytes = response_end(&mut w).unwrap();
        assert_eq!(buffer[..LENGTH_BYTES], ((bytes - LENGTH_BYTES) as i32).to_be_bytes());
        let mut r = Reader::new(&buffer[LENGTH_BYTES..bytes]);
        assert_eq!(RequestHeader::decode(&mut r, |_| 9), Ok(header));
        assert!(r.rest().is_empty());
    }

    #[test]
    fn api_versions_answers_with_header_0_at_every_version() {
        assert!(!response_header_flexible(18, 4, 3));
        assert!(response_header_flexible(3, 9, 9));
        assert!(!response_header_flexible(3, 8, 9));
    }

    #[test]
    fn the_length_counts_all_but_itself() {
        let mut buffer = [0; 16];
        let mut w = Writer::new(&mut buffer);
        response_begin(&mut w, 7, true);
        w.raw(b"x");
        assert_eq!(response_end(&mut w), Ok(10));
        assert_eq!(&buffer[..10], &[0, 0, 0, 6, 0, 0, 0, 7, 0, b'x']);
        let mut w = Writer::new(&mut buffer[..9]);
        response_begin(&mut w, 7, true);
        w.raw(b"x");
        assert_eq!(response_end(&mut w), Err(Error::Overflow));
    }
}

//! Reading and writing Kafka's wire format without allocating.
//!
//! Requests decode into views that borrow the frame. A message is read **whole** before the
//! handler sees it: every length and count has been checked against the bytes that are there and
//! against its bound in [`crate::limits`], every string is UTF-8, and bytes after the message are
//! an error (`decode_prefix` leaves them, for the one client that sends some). Arrays stay where
//! they are ([`Array`]) and can be walked again and again.
//!
//! Responses are struct literals that encode themselves into a caller's buffer ([`Writer`]). The
//! compiler requires every field, and only the table knows their order and versions. An array is a
//! closure ([`List`]) that pushes elements straight from the broker's tables; the count is filled
//! in afterwards.
//!
//! # How a handler reads and answers
//!
//! ```
//! use brooklet::api::create_topics::{
//!     CreatableTopicResult, CreateTopicsRequest, CreateTopicsResponse,
//! };
//! use brooklet::codec::{Error, ErrorCode, Reader, Writer};
//! use brooklet::types::TopicId;
//!
//! fn handle(body: &[u8], version: i16, w: &mut Writer<'_>) -> Result<(), Error> {
//!     // First paragraph: read and check all of it.
//!     let request = CreateTopicsRequest::decode(&mut Reader::new(body), version)?;
//!     // Second paragraph: do all of it, then answer. The closures of the answer change nothing.
//!     CreateTopicsResponse {
//!         throttle_time_ms: 0,
//!         topics: &mut |list| {
//!             for topic in request.topics.iter() {
//!                 list.push(CreatableTopicResult {
//!                     name: topic.name,
//!                     topic_id: TopicId::default(),
//!                     error_code: ErrorCode::TOPIC_ALREADY_EXISTS,
//!                     error_message: Some("already there"),
//!                     num_partitions: -1,
//!                     replication_factor: -1,
//!                     configs: None,
//!                 });
//!             }
//!         },
//!     }
//!     .encode(w, version);
//!     Ok(())
//! }
//!
//! // One topic `t` with three partitions, version 2.
//! let body = b"\0\0\0\x01\0\x01t\0\0\0\x03\0\x01\0\0\0\0\0\0\0\0\0\0\x75\x30\0";
//! let mut buffer = [0; 64];
//! let mut w = Writer::new(&mut buffer);
//! handle(body, 2, &mut w)?;
//! let answered = w.finish()?;
//! assert_eq!(&buffer[..answered], b"\0\0\0\0\0\0\0\x01\0\x01t\0\x24\0\x0dalready there");
//! # Ok::<(), Error>(())
//! ```
//!
//! In `api/` the same looks like this, and a row in [`crate::api::APIS`] makes it served:
//!
//! ```text
//! let ask = CreateTopicsRequest::decode(&mut request.reader(), request.version)?;
//! let bytes = request.answer(out, |w| CreateTopicsResponse { … }.encode(w, request.version));
//! ```
//!
//! A buffer that is too small is remembered and reported by [`Writer::finish`], so handlers need
//! no `?` while they write; [`Writer::len`] then still is the whole size, which a handler can ask
//! for first with [`Writer::counting`]. A [`Writer::window`] keeps only a part of a long answer. So an
//! answer may be written more than once, for its size and for each window, and its closures must not
//! change anything.

pub mod batch;
pub mod compression;
pub mod crc;
pub mod error_code;
pub mod frame;
pub mod message;
pub mod reader;
pub mod writer;

pub use error_code::ErrorCode;
pub use message::FieldTable;
pub(crate) use message::message;
pub use reader::{Array, ArrayIter, Decode, Reader};
pub use writer::{Encode, ErrorsSeen, List, ListWriter, Writer, error_note};

use std::fmt;

/// Why bytes are not a message, or a message does not fit into its buffer.
///
/// All but [`Error::Overflow`] are the peer's fault: Kafka answers none of them and closes the
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The bytes end before the message does, or a length says so.
    Truncated,
    /// Bytes are left after the message.
    Trailing,
    /// A length is below −1, or above its bound in [`crate::limits`].
    Length,
    /// A variable-length integer is longer than its type.
    Varint,
    /// A string is not UTF-8.
    Utf8,
    /// Null where the schema of this version has none.
    Null,
    /// The caller's buffer was too small for the answer.
    Overflow,
}

impl Error {
    /// The message.
    pub fn what(self) -> &'static str {
        match self {
            Error::Truncated => "the message is cut short",
            Error::Trailing => "bytes follow the message",
            Error::Length => "a length is out of bounds",
            Error::Varint => "a variable-length integer is too long",
            Error::Utf8 => "a string is not UTF-8",
            Error::Null => "null where none is allowed",
            Error::Overflow => "the answer does not fit into its buffer",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what())
    }
}

impl std::error::Error for Error {}

//! What the oracle knows of one API.

use brooklet::codec::{Error, ErrorCode, FieldTable};
use brooklet::types::TopicId;
use bytes::Bytes;
use kafka_protocol::messages::{BrokerId, GroupId, ProducerId, TopicName, TransactionalId};
use kafka_protocol::protocol::StrBytes;
use std::ops::RangeInclusive;
use uuid::Uuid;

/// One API.
pub struct Row {
    pub name: &'static str,
    pub key: i16,
    pub flexible_since: i16,
    pub versions: RangeInclusive<i16>,
    /// The tables of its structures, by name.
    pub tables: Vec<(&'static str, &'static [FieldTable])>,
    /// Our reading of a request, as `Debug` shows it.
    pub request_ours: fn(&[u8], i16) -> Result<String, Error>,
    /// The oracle's, and its own encoding of that.
    pub request_theirs: fn(&[u8], i16) -> (String, Vec<u8>),
    /// The oracle reads a response; its encoding of that, and ours.
    pub response: fn(&[u8], i16) -> Encodings,
}

/// One message, encoded by both.
pub struct Encodings {
    pub theirs: Vec<u8>,
    pub ours: Vec<u8>,
}

/// Makes a module with `pub fn row() -> Row`.
macro_rules! row {
    ($module:ident, $name:literal, $versions:expr,
        [$request:ident $(, $request_part:ident)* $(,)?],
        [$response:ident $(, $response_part:ident)* $(,)?],
        $answer:ident $fields:tt) => {
        mod $module {
            use super::super::row::{Encodings, Row, To, ours};
            use brooklet::api::$module::*;
            use brooklet::codec::{List, Reader, Writer};
            use bytes::{Bytes, BytesMut};
            use kafka_protocol::messages as theirs;
            use kafka_protocol::protocol::{Decodable, Encodable};

            pub fn row() -> Row {
                assert_eq!($request::KEY, $response::KEY);
                assert_eq!($request::FLEXIBLE_SINCE, $response::FLEXIBLE_SINCE);
                Row {
                    name: $name,
                    key: $request::KEY,
                    flexible_since: $request::FLEXIBLE_SINCE,
                    versions: $versions,
                    tables: vec![
                        (stringify!($request), $request::TABLE),
                        $((stringify!($request_part), $request_part::TABLE),)*
                        (stringify!($response), $response::TABLE),
                        $((stringify!($response_part), $response_part::TABLE),)*
                    ],
                    request_ours: |bytes, version| {
                        let request = $request::decode(&mut Reader::new(bytes), version)?;
                        Ok(format!("{request:?}"))
                    },
                    request_theirs: |bytes, version| {
                        let mut bytes = Bytes::copy_from_slice(bytes);
                        let theirs = theirs::$request::decode(&mut bytes, version).unwrap();
                        let mut again = BytesMut::new();
                        theirs.encode(&mut again, version).unwrap();
                        (format!("{theirs:?}"), again.to_vec())
                    },
                    response: |bytes, version| {
                        let mut bytes = Bytes::copy_from_slice(bytes);
                        let theirs = theirs::$response::decode(&mut bytes, version).unwrap();
                        let mut again = BytesMut::new();
                        theirs.encode(&mut again, version).unwrap();
                        let mut buffer = vec![0; again.len() + 64];
                        let mut w = Writer::new(&mut buffer);
                        ours!(theirs, $answer $fields).encode(&mut w, version);
                        let encoded = w.finish().unwrap();
                        let mut counting = Writer::counting();
                        ours!(theirs, $answer $fields).encode(&mut counting, version);
                        assert_eq!(counting.len(), encoded);
                        let ours = buffer[..encoded].to_vec();
                        Encodings { theirs: again.to_vec(), ours }
                    },
                }
            }

            // Not every answer has an array that may be null.
            #[allow(dead_code)]
            type Unused<'a> = (List<'a, i32>, &'a dyn To<i32>);
        }
    };
}
pub(super) use row;

/// A structure of ours with the values of theirs.
macro_rules! ours {
    ($theirs:expr, $name:ident { $($field:ident $(: [$part:ident $parts:tt])?
        $(? [$null_part:ident $null_parts:tt])? $(?= $one_part:ident $one_parts:tt)?
        $(= $is_part:ident $is_parts:tt)? $(@ [$scalar:ty])?
        $(=? [$null_one:ident $null_ones:tt])?),* $(,)? }) => {
        $name {
            $($field: ours!(@field $theirs, $field $([$part $parts])?
                $(? [$null_part $null_parts])? $(?= $one_part $one_parts)?
                $(= $is_part $is_parts)? $(@ [$scalar])? $(=? [$null_one $null_ones])?),)*
        }
    };
    (@field $theirs:expr, $field:ident = $part:ident $parts:tt) => {
        ours!($theirs.$field, $part $parts)
    };
    // One with arrays in it, which have to outlive the expression.
    (@field $theirs:expr, $field:ident =? [$part:ident $parts:tt]) => {
        $theirs.$field.is_some().then_some(
            ours!($theirs.$field.clone().unwrap_or_default(), $part $parts),
        )
    };
    (@field $theirs:expr, $field:ident @ [$scalar:ty]) => {
        &mut |list| {
            for element in &$theirs.$field {
                let element: $scalar = To::to(element);
                list.push(element);
            }
        }
    };
    (@field $theirs:expr, $field:ident ?= $part:ident $parts:tt) => {
        $theirs.$field.as_ref().map(|one| ours!(one, $part $parts))
    };
    (@field $theirs:expr, $field:ident) => { To::to(&$theirs.$field) };
    (@field $theirs:expr, $field:ident [$part:ident $parts:tt]) => {
        &mut |list| {
            for element in &$theirs.$field {
                list.push(ours!(element, $part $parts));
            }
        }
    };
    (@field $theirs:expr, $field:ident ? [$part:ident $parts:tt]) => {
        $theirs.$field.is_some().then_some::<List<'_, _>>(&mut |list| {
            for element in $theirs.$field.iter().flatten() {
                list.push(ours!(element, $part $parts));
            }
        })
    };
}
pub(super) use ours;

/// The value of ours that equals one of theirs.
pub trait To<T> {
    fn to(self) -> T;
}

macro_rules! to {
    ($($theirs:ty, $ours:ty, $value:ident => $to:expr;)*) => {
        $(impl<'a> To<$ours> for &'a $theirs {
            fn to(self) -> $ours {
                let $value = self;
                $to
            }
        })*
    };
}

to! {
    bool, bool, value => *value;
    i8, i8, value => *value;
    i16, i16, value => *value;
    i16, ErrorCode, value => ErrorCode(*value);
    u16, u16, value => *value;
    i32, i32, value => *value;
    i64, i64, value => *value;
    f64, f64, value => *value;
    BrokerId, i32, value => value.0;
    ProducerId, i64, value => value.0;
    Uuid, TopicId, value => TopicId(*value.as_bytes());
    StrBytes, &'a str, value => value.as_str();
    TopicName, &'a str, value => value.as_str();
    GroupId, &'a str, value => value.as_str();
    TransactionalId, &'a str, value => value.as_str();
    Option<StrBytes>, Option<&'a str>, value => value.as_ref().map(|value| value.as_str());
    Option<TopicName>, Option<&'a str>, value => value.as_ref().map(|value| value.as_str());
    Bytes, &'a [u8], value => value;
    Option<Bytes>, &'a [u8], value => value.as_deref().unwrap_or_default();
    Vec<i32>, &'a [i32], value => value;
    Option<Vec<BrokerId>>, Option<&'a [i32]>, value => value.as_ref().map(|ids| ids.to());
    Vec<BrokerId>, &'a [i32], value => value.iter().map(|id| id.0).collect::<Vec<_>>().leak();
}

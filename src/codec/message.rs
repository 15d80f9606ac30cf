//! The macro that turns a table, written as in Kafka's schemas, into a message.

use super::{Decode, Error, Reader};

/// Declares messages.
///
/// ```text
/// message! {
///     /// What it is.
///     request NameRequest<'a>, key 19, flexible 5+ {
///         topics: Array<'a, NameTopic<'a>>, 0+;
///         timeout_ms: i32, 0+, default 60000;
///         detail: bool, 8-10;
///     }
///     /// An element of an array has neither key nor flexible.
///     request NameTopic<'a> { name: Option<&'a str>, 0+, nullable 10+; }
///     /// The answer.
///     response NameResponse<'a>, key 19, flexible 5+ { topics: List<'a, Name<'static>>, 0+; }
/// }
/// ```
///
/// - `0+`, `8-10`: the versions that carry the field. In a request that does not, it has its
///   `default` (else zero, "", empty, null).
/// - `nullable 10+`: an `Option` that may be null only from then on. Earlier, null is an error in
///   a request, and is written as empty in a response.
/// - `flexible none`: no version is flexible.
/// - Tagged fields are skipped in requests and never sent in responses.
///
/// Where this program is the client the sides are `sent`, which is written as a response is, and
/// `received`, which is read as a request is.
///
/// A message (with a key) gets `decode(&mut Reader, version)`, which reads all of it and nothing
/// more (`decode_prefix` leaves what follows), or `encode(self, &mut Writer, version)`.
macro_rules! message {
    () => {};
    ($(#[$doc:meta])* $side:ident $name:ident<$l:lifetime>
        $(, key $key:literal, flexible $flexible:tt $(+)?)? { $($body:tt)* } $($more:tt)*) => {
        $crate::codec::message!(@$side [$(#[$doc])*] $name $l [<$l>] [<'static>] { $($body)* });
        $($crate::codec::message!(@key $side $name $l [<$l>] $key, $flexible);)?
        $crate::codec::message!($($more)*);
    };
    ($(#[$doc:meta])* $side:ident $name:ident
        $(, key $key:literal, flexible $flexible:tt $(+)?)? { $($body:tt)* } $($more:tt)*) => {
        $crate::codec::message!(@$side [$(#[$doc])*] $name 'frame [] [] { $($body)* });
        $($crate::codec::message!(@key $side $name 'frame [] $key, $flexible);)?
        $crate::codec::message!($($more)*);
    };

    (@sent $($message:tt)*) => { $crate::codec::message!(@response $($message)*); };
    (@received $($message:tt)*) => { $crate::codec::message!(@request $($message)*); };
    (@key sent $($message:tt)*) => { $crate::codec::message!(@key response $($message)*); };
    (@key received $($message:tt)*) => { $crate::codec::message!(@key request $($message)*); };

    (@request [$($doc:tt)*] $name:ident $l:lifetime [$($of:tt)*] $static:tt {
        $($field:ident: $ty:ty, $since:literal $(- $until:literal)? $(+)?
            $(, nullable $nullable:literal +)? $(, default $default:expr)?;)*
    }) => {
        $($doc)*
        #[derive(Debug, Clone, Copy)]
        #[allow(missing_docs)] // Kafka's schemas document the fields.
        pub struct $name $($of)* {
            $(pub $field: $ty,)*
        }

        impl<$l> $crate::codec::Decode<$l> for $name $($of)* {
            fn decode_from(
                r: &mut $crate::codec::Reader<$l>,
            ) -> Result<Self, $crate::codec::Error> {
                $(let $field = if $crate::codec::message::in_range(
                    r.version(), $since, $crate::codec::message!(@until $($until)?),
                ) {
                    $crate::codec::message::decode_field(
                        r, $crate::codec::message!(@nullable $($nullable)?),
                    )?
                } else {
                    $crate::codec::message!(@default $($default)?)
                };)*
                r.skip_tags()?;
                Ok(Self { $($field,)* })
            }
        }

        $crate::codec::message!(@table $name [$($of)*]
            $($field: $ty, $since, [$($until)?] [$($nullable)?] [$($default)?];)*);
    };

    (@response [$($doc:tt)*] $name:ident $l:lifetime [$($of:tt)*] [$($static:tt)*] {
        $($field:ident: $ty:ty, $since:literal $(- $until:literal)? $(+)?
            $(, nullable $nullable:literal +)?;)*
    }) => {
        $($doc)*
        #[allow(missing_docs)] // Kafka's schemas document the fields.
        pub struct $name $($of)* {
            $(pub $field: $ty,)*
        }

        impl<$l> $crate::codec::Encode for $name $($of)* {
            type Kind = $name $($static)*;

            fn encode_to(self, w: &mut $crate::codec::Writer<'_>) {
                let version = w.version();
                // A message may have no fields.
                let _ = version;
                $(if $crate::codec::message::in_range(
                    version, $since, $crate::codec::message!(@until $($until)?),
                ) {
                    if version >= $crate::codec::message!(@nullable $($nullable)?) {
                        $crate::codec::Encode::encode_to(self.$field, w);
                    } else {
                        $crate::codec::Encode::encode_to_not_null(self.$field, w);
                    }
                })*
                w.no_tags();
            }
        }

        $crate::codec::message!(@table $name [$($of)*]
            $($field: $ty, $since, [$($until)?] [$($nullable)?] [];)*);
    };

    (@key request $name:ident $l:lifetime [$($of:tt)*] $key:literal, $flexible:tt) => {
        impl<$l> $name $($of)* {
            /// The API key.
            pub const KEY: i16 = $key;
            /// The first version with compact lengths and tagged fields.
            pub const FLEXIBLE_SINCE: i16 = $crate::codec::message!(@flexible $flexible);

            /// Reads the whole message, which must end where the bytes end.
            pub fn decode(
                r: &mut $crate::codec::Reader<$l>,
                version: i16,
            ) -> Result<Self, $crate::codec::Error> {
                let message = Self::decode_prefix(r, version)?;
                r.finish()?;
                Ok(message)
            }

            /// Reads the message and leaves what follows it, as Kafka does.
            pub fn decode_prefix(
                r: &mut $crate::codec::Reader<$l>,
                version: i16,
            ) -> Result<Self, $crate::codec::Error> {
                r.set_version(version, version >= Self::FLEXIBLE_SINCE);
                $crate::codec::Decode::decode_from(r)
            }
        }
    };
    (@key response $name:ident $l:lifetime [$($of:tt)*] $key:literal, $flexible:tt) => {
        impl $($of)* $name $($of)* {
            /// The API key.
            pub const KEY: i16 = $key;
            /// The first version with compact lengths and tagged fields.
            pub const FLEXIBLE_SINCE: i16 = $crate::codec::message!(@flexible $flexible);

            /// Writes the whole message.
            pub fn encode(self, w: &mut $crate::codec::Writer<'_>, version: i16) {
                w.set_version(version, version >= Self::FLEXIBLE_SINCE);
                $crate::codec::Encode::encode_to(self, w);
            }
        }
    };

    (@table $name:ident [$($of:tt)*] $($field:ident: $ty:ty, $since:literal,
        [$($until:literal)?] [$($nullable:literal)?] [$($default:expr)?];)*) => {
        impl $($of)* $name $($of)* {
            /// The table itself, for tests that compare it with Kafka's schemas.
            pub const TABLE: &'static [$crate::codec::FieldTable] = &[$(
                $crate::codec::FieldTable {
                    name: stringify!($field),
                    kind: stringify!($ty),
                    since: $since,
                    until: $crate::codec::message!(@until $($until)?),
                    nullable_since: $crate::codec::message!(@nullable $($nullable)?),
                    default: stringify!($($default)?),
                },
            )*];
        }
    };

    (@until) => { i16::MAX };
    (@until $until:literal) => { $until };
    (@nullable) => { i16::MAX };
    (@nullable $nullable:literal) => { $nullable };
    (@flexible none) => { i16::MAX };
    (@flexible $flexible:literal) => { $flexible };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
}
pub(crate) use message;

/// One line of a message's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldTable {
    /// Its name.
    pub name: &'static str,
    /// Its Rust type as written.
    pub kind: &'static str,
    /// The first version that carries it.
    pub since: i16,
    /// The last version that carries it.
    pub until: i16,
    /// The first version in which it may be null; `i16::MAX` is none.
    pub nullable_since: i16,
    /// The default where it is not carried; "" is zero, "", empty or null.
    pub default: &'static str,
}

/// Whether a field that is carried from `since` to `until` is carried in `version`.
pub(crate) const fn in_range(version: i16, since: i16, until: i16) -> bool {
    since <= version && version <= until
}

/// Reads a field that may be null only from version `nullable_since` on.
pub(crate) fn decode_field<'a, T: Decode<'a>>(
    r: &mut Reader<'a>,
    nullable_since: i16,
) -> Result<T, Error> {
    let value = T::decode_from(r)?;
    let null_allowed = r.version() >= nullable_since;
    if null_allowed || !value.is_null() { Ok(value) } else { Err(Error::Null) }
}

#[cfg(test)]
#[allow(dead_code)] // Nobody compares the sample's tables with a schema.
mod tests {
    use crate::codec::{Array, Error, List, Reader, Writer};

    message! {
        /// A request with everything that a table can say.
        request SampleRequest<'a>, key 99, flexible 2+ {
            name: Option<&'a str>, 0+, nullable 1+;
            wait_ms: i32, 1+, default 500;
            old: bool, 0-1;
            parts: Array<'a, SamplePart>, 2+;
        }

        /// Its element.
        request SamplePart {
            index: i8, 0+;
        }

        /// A response likewise.
        response SampleResponse<'a>, key 99, flexible none {
            name: Option<&'a str>, 0+, nullable 1+;
            parts: Option<List<'a, SampleAnswer>>, 0+, nullable 1+;
            old: bool, 0-1;
        }

        /// Its element.
        response SampleAnswer {
            index: i8, 0+;
        }
    }

    fn decode(bytes: &[u8], version: i16) -> Result<SampleRequest<'_>, Error> {
        SampleRequest::decode(&mut Reader::new(bytes), version)
    }

    fn encode(version: i16, response: SampleResponse<'_>) -> Vec<u8> {
        let mut buffer = [0; 32];
        let mut w = Writer::new(&mut buffer);
        response.encode(&mut w, version);
        let bytes = w.finish().unwrap();
        buffer[..bytes].to_vec()
    }

    #[test]
    fn fields_of_other_versions_have_their_defaults() {
        let oldest = decode(b"\0\x01x\x01", 0).unwrap();
        assert_eq!((oldest.name, oldest.wait_ms, oldest.old), (Some("x"), 500, true));
        assert!(oldest.parts.is_empty());
        let newest = decode(b"\x02x\0\0\0\x07\x03\x01\0\x02\0\0", 2).unwrap();
        assert_eq!((newest.name, newest.wait_ms, newest.old), (Some("x"), 7, false));
        assert_eq!(newest.parts.iter().map(|part| part.index).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn null_is_an_error_in_a_request_before_the_version_that_allows_it() {
        assert_eq!(decode(b"\xff\xff\0", 0).unwrap_err(), Error::Null);
        assert_eq!(decode(b"\xff\xff\0\0\0\0\0", 1).unwrap().name, None);
    }

    #[test]
    fn null_is_empty_in_a_response_before_the_version_that_allows_it() {
        let none = || SampleResponse { name: None, parts: None, old: true };
        assert_eq!(encode(0, none()), b"\0\0\0\0\0\0\x01");
        assert_eq!(encode(1, none()), b"\xff\xff\xff\xff\xff\xff\x01");
        let parts: List<'_, SampleAnswer> = &mut |list| list.push(SampleAnswer { index: 5 });
        let some = SampleResponse { name: Some("x"), parts: Some(parts), old: true };
        assert_eq!(encode(2, some), b"\0\x01x\0\0\0\x01\x05");
    }

    #[test]
    fn the_table_says_what_was_written() {
        let lines: Vec<_> = SampleRequest::TABLE
            .iter()
            .map(|line| (line.name, line.since, line.until, line.nullable_since, line.default))
            .collect();
        let max = i16::MAX;
        let expected = [
            ("name", 0, max, 1, ""),
            ("wait_ms", 1, max, max, "500"),
            ("old", 0, 1, max, ""),
            ("parts", 2, max, max, ""),
        ];
        assert_eq!(lines, expected);
        assert_eq!(
            (SampleResponse::KEY, SampleResponse::FLEXIBLE_SINCE),
            (SampleRequest::KEY, max)
        );
    }
}

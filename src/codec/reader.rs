//! A bounded view of a message: every read checks, none allocates, none panics.

use super::{Error, ErrorCode};
use crate::limits;
use crate::types::TopicId;
use std::fmt;
use std::marker::PhantomData;

/// What is left to read of a message, and by which rules.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// A reader over `bytes`; the message that is decoded sets version and flexibility.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes, version: 0, flexible: false }
    }

    /// Sets the rules: the message's version, and whether lengths are compact and tags follow.
    pub fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    /// The version of the message that is being read.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The bytes that were not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.rest.split_at_checked(count).ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(head)
    }

    /// An error if bytes are left.
    pub fn finish(&self) -> Result<(), Error> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::Trailing) }
    }

    /// Reads an unsigned variable-length integer of at most 32 bits.
    pub fn uvarint(&mut self) -> Result<u32, Error> {
        self.uvarint_inline()
    }

    /// Reads a zigzag variable-length integer of at most 32 bits.
    pub fn varint(&mut self) -> Result<i32, Error> {
        self.varint_inline()
    }

    /// Reads a zigzag variable-length integer of at most 64 bits.
    pub fn varlong(&mut self) -> Result<i64, Error> {
        self.varlong_inline()
    }

    /// [`Reader::varint`] in the caller's code: a record has five of them.
    #[inline(always)]
    pub(super) fn varint_inline(&mut self) -> Result<i32, Error> {
        let raw = self.uvarint_inline()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    #[inline(always)]
    pub(super) fn varlong_inline(&mut self) -> Result<i64, Error> {
        let raw = self.varint_raw(VARLONG_BYTES_MAX)?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    #[inline(always)]
    fn uvarint_inline(&mut self) -> Result<u32, Error> {
        u32::try_from(self.varint_raw(VARINT_BYTES_MAX)?).map_err(|_| Error::Varint)
    }

    /// Nearly all are a byte or two long.
    #[inline(always)]
    fn varint_raw(&mut self, bytes_max: usize) -> Result<u64, Error> {
        let (raw, rest) = match self.rest {
            [first @ 0..=0x7f, rest @ ..] => (u64::from(*first), rest),
            [first, second @ 0..=0x7f, rest @ ..] => {
                (u64::from(first & 0x7f) | u64::from(*second) << 7, rest)
            }
            _ => {
                let (raw, bytes) = varint_long(self.rest, bytes_max)?;
                (raw, self.rest.get(bytes..).unwrap_or_default())
            }
        };
        self.rest = rest;
        Ok(raw)
    }

    /// Skips the tagged fields that end a flexible structure; no API that is served needs one.
    pub fn skip_tags(&mut self) -> Result<(), Error> {
        if !self.flexible {
            return Ok(());
        }
        let count = bounded(self.uvarint()?, limits::WIRE_TAGS_MAX)?;
        for _ in 0..count {
            self.uvarint()?;
            let length = self.uvarint()?;
            self.take(bounded(length, usize::MAX)?)?;
        }
        Ok(())
    }

    pub(super) fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The length of a string, whose bytes follow and need not be there yet; `None` is null.
    #[inline(always)]
    pub fn string_length(&mut self) -> Result<Option<usize>, Error> {
        let length = match self.flexible {
            true => self.uvarint()?.checked_sub(1),
            false => signed_length(i16::decode_from(self)?.into())?,
        };
        length.map(|length| bounded(length, limits::WIRE_STRING_BYTES_MAX)).transpose()
    }

    /// The length of bytes, which follow and need not be there yet; `None` is null.
    pub fn bytes_length(&mut self) -> Result<Option<usize>, Error> {
        self.wide_length(usize::MAX)
    }

    /// The count of an array, whose elements follow and need not be there yet.
    pub fn array_count(&mut self) -> Result<u32, Error> {
        let count = self.wide_length(limits::WIRE_ARRAY_COUNT_MAX)?.ok_or(Error::Null)?;
        u32::try_from(count).map_err(|_| Error::Length)
    }

    /// The length of bytes or the count of an array; `None` is null.
    fn wide_length(&mut self, max: usize) -> Result<Option<usize>, Error> {
        let length = match self.flexible {
            true => self.uvarint()?.checked_sub(1),
            false => signed_length(i32::decode_from(self)?)?,
        };
        length.map(|length| bounded(length, max)).transpose()
    }

    /// Refuses a length or a count above the bytes that are left: no element is shorter than a byte.
    #[inline(always)]
    fn here(&self, length: Option<usize>) -> Result<Option<usize>, Error> {
        match length {
            Some(length) if length > self.rest.len() => Err(Error::Truncated),
            length => Ok(length),
        }
    }
}

/// A variable-length integer, and how many bytes it has: seven bits from each, the least significant
/// ones first, until one has no continuation bit.
#[inline(never)]
fn varint_long(bytes: &[u8], bytes_max: usize) -> Result<(u64, usize), Error> {
    let mut raw = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(bytes_max) {
        let shift = 7 * at;
        if shift == 63 && *byte > 1 {
            return Err(Error::Varint);
        }
        raw |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok((raw, at + 1));
        }
    }
    Err(if bytes.len() < bytes_max { Error::Truncated } else { Error::Varint })
}

/// Of an integer of 32 bits.
const VARINT_BYTES_MAX: usize = 5;
/// Of an integer of 64 bits.
const VARLONG_BYTES_MAX: usize = 10;

/// A value of a request: how its bytes are read.
pub trait Decode<'a>: Sized {
    /// Reads one value by the reader's version and flexibility.
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error>;

    /// Whether this is null, which some versions do not allow.
    fn is_null(&self) -> bool {
        false
    }
}

/// An array of a request, left where it is. Its content was read once when the message was
/// decoded, so walking it cannot fail.
pub struct Array<'a, T> {
    bytes: &'a [u8],
    count: u32,
    version: i16,
    flexible: bool,
    element: PhantomData<fn() -> T>,
}

impl<'a, T: Decode<'a>> Array<'a, T> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Walks the elements.
    pub fn iter(&self) -> ArrayIter<'a, T> {
        ArrayIter { reader: self.reader(), left: self.count, element: PhantomData }
    }

    /// A reader at the first element.
    #[inline(always)]
    pub fn reader(&self) -> Reader<'a> {
        Reader { rest: self.bytes, version: self.version, flexible: self.flexible }
    }
}

/// Walks an [`Array`].
pub struct ArrayIter<'a, T> {
    reader: Reader<'a>,
    left: u32,
    element: PhantomData<fn() -> T>,
}

impl<'a, T: Decode<'a>> Iterator for ArrayIter<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        let element = T::decode_from(&mut self.reader).ok();
        assert!(element.is_some(), "an array was read before it was handed out");
        element
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left as usize, Some(self.left as usize))
    }
}

impl<'a, T: Decode<'a>> ExactSizeIterator for ArrayIter<'a, T> {}

impl<T> Clone for ArrayIter<'_, T> {
    fn clone(&self) -> Self {
        ArrayIter { reader: self.reader, left: self.left, element: PhantomData }
    }
}

impl<'a, T: Decode<'a>> IntoIterator for Array<'a, T> {
    type Item = T;
    type IntoIter = ArrayIter<'a, T>;

    fn into_iter(self) -> ArrayIter<'a, T> {
        self.iter()
    }
}

impl<T> Clone for Array<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Array<'_, T> {}

impl<T> Default for Array<'_, T> {
    fn default() -> Self {
        Array { bytes: &[], count: 0, version: 0, flexible: false, element: PhantomData }
    }
}

impl<'a, T: Decode<'a> + fmt::Debug> fmt::Debug for Array<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Option<Array<'a, T>> {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        let count = r.wide_length(limits::WIRE_ARRAY_COUNT_MAX)?;
        let Some(count) = r.here(count)? else {
            return Ok(None);
        };
        let start = r.rest;
        for _ in 0..count {
            T::decode_from(r)?;
        }
        let (bytes, _) = start.split_at(start.len() - r.rest.len());
        let count = u32::try_from(count).map_err(|_| Error::Length)?;
        let (version, flexible) = (r.version, r.flexible);
        Ok(Some(Array { bytes, count, version, flexible, element: PhantomData }))
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl<'a> Decode<'a> for Option<&'a str> {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        let length = r.string_length()?;
        let Some(length) = r.here(length)? else {
            return Ok(None);
        };
        let bytes = r.take(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Error::Utf8)
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl<'a> Decode<'a> for Option<&'a [u8]> {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        // The frame's own bound is the only one on bytes.
        let length = r.wide_length(usize::MAX)?;
        match r.here(length)? {
            Some(length) => r.take(length).map(Some),
            None => Ok(None),
        }
    }

    fn is_null(&self) -> bool {
        self.is_none()
    }
}

impl<'a, T: Decode<'a>> Decode<'a> for Array<'a, T> {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        Option::decode_from(r)?.ok_or(Error::Null)
    }
}

impl<'a> Decode<'a> for &'a str {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        Option::decode_from(r)?.ok_or(Error::Null)
    }
}

impl<'a> Decode<'a> for &'a [u8] {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        Option::decode_from(r)?.ok_or(Error::Null)
    }
}

impl<'a> Decode<'a> for bool {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(r.chunk()? != [0])
    }
}

impl<'a> Decode<'a> for i8 {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.chunk().map(i8::from_be_bytes)
    }
}

impl<'a> Decode<'a> for i16 {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.chunk().map(i16::from_be_bytes)
    }
}

impl<'a> Decode<'a> for i32 {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.chunk().map(i32::from_be_bytes)
    }
}

impl<'a> Decode<'a> for i64 {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.chunk().map(i64::from_be_bytes)
    }
}

impl<'a> Decode<'a> for TopicId {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        r.chunk().map(TopicId)
    }
}

impl<'a> Decode<'a> for ErrorCode {
    fn decode_from(r: &mut Reader<'a>) -> Result<Self, Error> {
        i16::decode_from(r).map(ErrorCode)
    }
}

/// −1 is null; anything below it is no length.
fn signed_length(length: i32) -> Result<Option<u32>, Error> {
    match length {
        -1 => Ok(None),
        _ => u32::try_from(length).map(Some).map_err(|_| Error::Length),
    }
}

fn bounded(length: u32, max: usize) -> Result<usize, Error> {
    match usize::try_from(length) {
        Ok(length) if length <= max => Ok(length),
        _ => Err(Error::Length),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flexible(bytes: &[u8]) -> Reader<'_> {
        let mut r = Reader::new(bytes);
        r.set_version(0, true);
        r
    }

    #[test]
    fn uvarint_reads_all_lengths_and_refuses_a_33rd_bit() {
        for (bytes, value) in [
            (&[0][..], 0),
            (&[0x7f], 127),
            (&[0x80, 1], 128),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], u32::MAX),
        ] {
            assert_eq!(Reader::new(bytes).uvarint(), Ok(value));
        }
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).uvarint(), Err(Error::Varint));
        assert_eq!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80]).uvarint(), Err(Error::Varint));
        assert_eq!(Reader::new(&[0x80]).uvarint(), Err(Error::Truncated));
    }

    #[test]
    fn varint_and_varlong_are_zigzag_and_bounded() {
        for (bytes, value) in [(&[0][..], 0), (&[1], -1), (&[2], 1), (&[0x80, 1], 64)] {
            assert_eq!(Reader::new(bytes).varint(), Ok(value));
            assert_eq!(Reader::new(bytes).varlong(), Ok(value.into()));
        }
        let min = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(Reader::new(&min).varlong(), Ok(i64::MIN));
        assert_eq!(Reader::new(&[0xff; 10]).varlong(), Err(Error::Varint));
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).varint(), Ok(i32::MIN));
    }

    #[test]
    fn null_and_empty_stay_distinct_in_both_encodings() {
        for (bytes, value) in [(&[0][..], None), (&[1], Some("")), (&[2, b'x'], Some("x"))] {
            assert_eq!(Option::<&str>::decode_from(&mut flexible(bytes)), Ok(value));
        }
        for (bytes, value) in [(&[255, 255][..], None), (&[0, 0], Some(""))] {
            assert_eq!(Option::<&str>::decode_from(&mut Reader::new(bytes)), Ok(value));
        }
        assert_eq!(<&str>::decode_from(&mut flexible(&[0])), Err(Error::Null));
        assert!(Option::<Array<'_, i32>>::decode_from(&mut flexible(&[0])).unwrap().is_none());
        assert!(Array::<'_, i32>::decode_from(&mut flexible(&[1])).unwrap().is_empty());
    }

    #[test]
    fn lengths_that_lie_are_refused_before_anything_is_read() {
        let strings = [&[0x7f, 0xff][..], &[0x80, 0], &[255, 254], &[0, 2, b'x']];
        for bytes in strings {
            assert!(<&str>::decode_from(&mut Reader::new(bytes)).is_err());
        }
        for count in [i32::MAX, i32::MIN, -2, 5] {
            let bytes = [&count.to_be_bytes()[..], &[0; 4]].concat();
            assert!(Array::<'_, i8>::decode_from(&mut Reader::new(&bytes)).is_err());
            assert!(<&[u8]>::decode_from(&mut Reader::new(&bytes)).is_err());
        }
    }

    #[test]
    fn strings_are_utf8() {
        assert_eq!(<&str>::decode_from(&mut flexible(&[2, 0xff])), Err(Error::Utf8));
    }

    #[test]
    fn tags_are_skipped_and_bounded() {
        let mut r = flexible(&[2, 0, 1, 9, 5, 0, 7]);
        assert_eq!(r.skip_tags(), Ok(()));
        assert_eq!(r.rest(), &[7]);
        assert_eq!(flexible(&[0xff, 0xff, 0xff, 0xff, 0x0f]).skip_tags(), Err(Error::Length));
        assert_eq!(flexible(&[1, 0, 9]).skip_tags(), Err(Error::Truncated));
    }

    #[test]
    fn an_array_is_walked_as_often_as_needed() {
        let bytes = [0, 0, 0, 2, 0, 1, 0, 2];
        let array = Array::<'_, i16>::decode_from(&mut Reader::new(&bytes)).unwrap();
        assert_eq!(array.iter().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(array.iter().len(), 2);
        assert_eq!(format!("{array:?}"), "[1, 2]");
    }
}

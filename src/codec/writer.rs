//! Answers written into a caller's buffer: bounded, without allocating.

use super::{Error, ErrorCode};
use crate::types::TopicId;
use std::marker::PhantomData;

/// Where an answer is written. Beyond its buffer it only counts, and [`Writer::finish`] reports that, so
/// that the code that writes need not check.
#[derive(Debug)]
pub struct Writer<'b> {
    out: &'b mut [u8],
    /// The answer's position that `out` starts with.
    from: usize,
    /// The bytes before `from`: a count that turns out to need more room moves them into `out`.
    before: [u8; SHIFT_BYTES_MAX],
    len: usize,
    version: i16,
    flexible: bool,
    throttle_time_ms: i32,
    errors: ErrorsSeen,
    digest: u64,
}

/// The first few different error codes of an answer, for the metrics; unused places have no error.
pub type ErrorsSeen = [ErrorCode; 4];

/// Notes a code, if it is one of an error.
pub fn error_note(errors: &mut ErrorsSeen, code: ErrorCode) {
    let place = |seen: &&mut ErrorCode| seen.is_none() || **seen == code;
    if !code.is_none()
        && let Some(seen) = errors.iter_mut().find(place)
    {
        *seen = code;
    }
}

impl<'b> Writer<'b> {
    /// A writer into `out`.
    pub fn new(out: &'b mut [u8]) -> Self {
        Writer::window(out, 0)
    }

    /// A writer that keeps only those bytes of the answer that follow its first `from`.
    pub fn window(out: &'b mut [u8], from: usize) -> Self {
        Writer {
            out,
            from,
            before: [0; SHIFT_BYTES_MAX],
            len: 0,
            version: 0,
            flexible: false,
            throttle_time_ms: 0,
            errors: ErrorsSeen::default(),
            digest: 0,
        }
    }

    /// A writer that only counts: [`Writer::len`] is then the encoded size.
    pub fn counting() -> Self {
        Writer::new(&mut [])
    }

    /// Sets the rules: the message's version, and whether lengths are compact and tags follow.
    pub fn set_version(&mut self, version: i16, flexible: bool) {
        self.version = version;
        self.flexible = flexible;
    }

    /// The version of the message that is being written.
    pub fn version(&self) -> i16 {
        self.version
    }

    /// Sets how long the client is asked to wait before its next request, in ms (KIP-219).
    pub fn set_throttle_time_ms(&mut self, throttle_time_ms: i32) {
        self.throttle_time_ms = throttle_time_ms;
    }

    /// How long the client is asked to wait; 0 unless it was set.
    pub fn throttle_time_ms(&self) -> i32 {
        self.throttle_time_ms
    }

    /// How many bytes the answer has so far, whether they were kept or not.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes the answer has, if its end is inside the buffer.
    pub fn finish(&self) -> Result<usize, Error> {
        if self.len <= self.end() { Ok(self.len) } else { Err(Error::Overflow) }
    }

    /// A digest of all that was written, inside the buffer and outside of it, to tell whether two
    /// answers are the same.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Lengths and counts that are filled in later need not be added: they follow from the rest.
    fn digest_add(&mut self, word: u64) {
        // A multiplication spreads differences to higher bits only, so shifts bring them down.
        let up = (self.digest ^ word).wrapping_mul(DIGEST_FACTOR);
        let up = (up ^ up >> 32).wrapping_mul(DIGEST_FACTOR);
        self.digest = up ^ up >> 29;
    }

    /// Appends bytes as they are.
    #[inline(never)]
    pub fn raw(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks();
        words.iter().for_each(|word| self.digest_add(u64::from_le_bytes(*word)));
        rest.iter().for_each(|byte| self.digest_add(u64::from(*byte)));
        let at = self.len;
        self.len = at.saturating_add(bytes.len());
        self.put(at, bytes);
    }

    /// The same for numbers. It is a function of its own, as answers write numbers in hundreds of places.
    #[inline(never)]
    fn fixed<const N: usize>(&mut self, bytes: [u8; N]) {
        let word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        self.digest_add(word);
        let at = self.len;
        self.len = at.saturating_add(N);
        let kept_at = at.checked_sub(self.from);
        let target = kept_at.and_then(|at| self.out.get_mut(at..)?.first_chunk_mut());
        match target {
            Some(target) => *target = bytes,
            None => self.put_in_part(at, &bytes),
        }
    }

    /// Leaves room for `count` bytes, whose content is whatever the buffer had.
    pub fn gap(&mut self, count: usize) {
        self.len = self.len.saturating_add(count);
    }

    /// Overwrites bytes that were written before, such as a length that is known only now.
    pub fn patch(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.len, "only what was written can be patched");
        self.put(at, bytes);
    }

    /// Appends an unsigned variable-length integer.
    pub fn uvarint(&mut self, value: u32) {
        if let Ok(byte @ 0..=0x7f) = u8::try_from(value) {
            return self.fixed([byte]);
        }
        let (bytes, count) = uvarint_bytes(value);
        self.raw(bytes.get(..count).unwrap_or_default());
    }

    /// Ends a flexible structure: no answer carries a tagged field.
    pub fn no_tags(&mut self) {
        if self.flexible {
            self.fixed([0]);
        }
    }

    /// The error codes that were written.
    pub fn errors(&self) -> ErrorsSeen {
        self.errors
    }

    fn string_length(&mut self, length: Option<usize>) {
        if self.flexible {
            self.compact_length(length);
        } else {
            let length = length.map_or(Ok(-1), i16::try_from);
            self.fixed(length.expect("a string that we write has a length").to_be_bytes());
        }
    }

    fn wide_length(&mut self, length: Option<usize>) {
        if self.flexible {
            self.compact_length(length);
        } else {
            let length = length.map_or(Ok(-1), i32::try_from);
            self.fixed(length.expect("an array that we write has a count").to_be_bytes());
        }
    }

    fn compact_length(&mut self, length: Option<usize>) {
        let length = u32::try_from(length.map_or(0, |length| length + 1));
        self.uvarint(length.expect("what we write has a length"));
    }

    /// Fills in the count of an array that was begun at `at` with one byte (compact) or four.
    /// A compact count of more than 126 elements moves what was written by a byte or two.
    fn patch_count(&mut self, at: usize, count: u32) {
        if !self.flexible {
            return self.patch(at, &count.to_be_bytes());
        }
        let (bytes, width) = uvarint_bytes(count + 1);
        self.shift(at + 1, width - 1);
        self.patch(at, bytes.get(..width).unwrap_or_default());
    }

    /// Moves everything from position `start` on by `distance`.
    fn shift(&mut self, start: usize, distance: usize) {
        if distance == 0 {
            return;
        }
        let written = self.len;
        self.len = written.saturating_add(distance);
        let low = start.max(self.from).min(written);
        let high = written.min(self.end().saturating_sub(distance));
        if low < high {
            let (low, high) = (low - self.from, high - self.from);
            self.out.copy_within(low..high, low + distance);
        }
        let before_first = self.from.saturating_sub(SHIFT_BYTES_MAX);
        for at in (start.max(before_first)..written.min(self.from)).rev() {
            let byte = self.before.get(at + SHIFT_BYTES_MAX - self.from).copied();
            self.put(at + distance, &[byte.unwrap_or_default()]);
        }
    }

    /// Keeps those of `bytes`, which belong at `at`, that are inside the buffer or just before it.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let kept_at = at.checked_sub(self.from);
        let target = kept_at.and_then(|at| self.out.get_mut(at..at.checked_add(bytes.len())?));
        match target {
            Some(target) => target.copy_from_slice(bytes),
            None => self.put_in_part(at, bytes),
        }
    }

    #[cold]
    fn put_in_part(&mut self, at: usize, bytes: &[u8]) {
        let (early, kept) = bytes.split_at(self.from.saturating_sub(at).min(bytes.len()));
        let kept_at = at.saturating_sub(self.from);
        let room = self.out.len().saturating_sub(kept_at);
        let (kept, _) = kept.split_at(room.min(kept.len()));
        if let Some(target) = self.out.get_mut(kept_at..kept_at + kept.len()) {
            target.copy_from_slice(kept);
        }
        for (at, byte) in (at..).zip(early) {
            let index = (at + SHIFT_BYTES_MAX).checked_sub(self.from);
            if let Some(target) = index.and_then(|index| self.before.get_mut(index)) {
                *target = *byte;
            }
        }
    }

    /// The position after the last one that the buffer has room for.
    fn end(&self) -> usize {
        self.from.saturating_add(self.out.len())
    }
}

/// Odd, so that no two words have the same product: 2^64 divided by the golden ratio.
const DIGEST_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// A value of a response: how it is written.
pub trait Encode {
    /// The type without its lifetime (`T<'static>`), by which a list knows its elements.
    type Kind;

    /// Writes the value by the writer's version and flexibility.
    fn encode_to(self, w: &mut Writer<'_>);

    /// Writes the value for a version that has no null: null becomes empty.
    fn encode_to_not_null(self, w: &mut Writer<'_>)
    where
        Self: Sized,
    {
        self.encode_to(w);
    }
}

/// An array of a response: a closure that pushes each element, straight from the broker's tables. It
/// may be called more than once, so it must not change them. `K` is the element's [`Encode::Kind`].
///
/// ```
/// # use brooklet::codec::{List, Encode, Writer};
/// let numbers: List<'_, i32> = &mut |list| {
///     for number in 0..3 {
///         list.push(number);
///     }
/// };
/// let mut w = Writer::counting();
/// numbers.encode_to(&mut w);
/// assert_eq!(w.len(), 4 + 3 * 4);
/// ```
pub type List<'a, K> = &'a mut dyn FnMut(&mut ListWriter<'_, '_, K>);

/// Takes the elements of a [`List`] and counts them.
pub struct ListWriter<'w, 'b, K> {
    w: &'w mut Writer<'b>,
    count: u32,
    kind: PhantomData<fn(K)>,
}

impl<K> ListWriter<'_, '_, K> {
    /// Appends one element.
    pub fn push(&mut self, element: impl Encode<Kind = K>) {
        self.count += 1;
        element.encode_to(self.w);
    }

    /// The version that is being written.
    pub fn version(&self) -> i16 {
        self.w.version
    }

    /// How many bytes the whole answer has so far.
    pub fn written(&self) -> usize {
        self.w.len
    }
}

impl<K> Encode for List<'_, K> {
    type Kind = ();

    fn encode_to(self, w: &mut Writer<'_>) {
        let at = w.len;
        w.gap(if w.flexible { 1 } else { 4 });
        let mut list = ListWriter { w: &mut *w, count: 0, kind: PhantomData };
        self(&mut list);
        let count = list.count;
        w.patch_count(at, count);
    }
}

impl<K> Encode for Option<List<'_, K>> {
    type Kind = ();

    fn encode_to(self, w: &mut Writer<'_>) {
        match self {
            Some(list) => list.encode_to(w),
            None => w.wide_length(None),
        }
    }

    fn encode_to_not_null(self, w: &mut Writer<'_>) {
        match self {
            Some(list) => list.encode_to(w),
            None => w.wide_length(Some(0)),
        }
    }
}

impl Encode for Option<&str> {
    type Kind = Option<&'static str>;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.string_length(self.map(str::len));
        w.raw(self.unwrap_or_default().as_bytes());
    }

    fn encode_to_not_null(self, w: &mut Writer<'_>) {
        Some(self.unwrap_or_default()).encode_to(w);
    }
}

impl Encode for &str {
    type Kind = &'static str;

    fn encode_to(self, w: &mut Writer<'_>) {
        Some(self).encode_to(w);
    }
}

impl Encode for &[u8] {
    type Kind = &'static [u8];

    fn encode_to(self, w: &mut Writer<'_>) {
        w.wide_length(Some(self.len()));
        w.raw(self);
    }
}

impl Encode for &[i32] {
    type Kind = &'static [i32];

    fn encode_to(self, w: &mut Writer<'_>) {
        w.wide_length(Some(self.len()));
        for value in self {
            value.encode_to(w);
        }
    }
}

impl Encode for Option<&[i32]> {
    type Kind = Option<&'static [i32]>;

    fn encode_to(self, w: &mut Writer<'_>) {
        match self {
            Some(values) => values.encode_to(w),
            None => w.wide_length(None),
        }
    }
}

impl Encode for bool {
    type Kind = bool;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.fixed([self.into()]);
    }
}

impl Encode for f64 {
    type Kind = f64;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.fixed(self.to_be_bytes());
    }
}

impl Encode for i8 {
    type Kind = i8;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.fixed(self.to_be_bytes());
    }
}

impl Encode for i16 {
    type Kind = i16;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.fixed(self.to_be_bytes());
    }
}

impl Encode for u16 {
    type Kind = u16;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.fixed(self.to_be_bytes());
    }
}

impl Encode for i32 {
    type Kind = i32;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.fixed(self.to_be_bytes());
    }
}

impl Encode for i64 {
    type Kind = i64;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.fixed(self.to_be_bytes());
    }
}

impl Encode for TopicId {
    type Kind = TopicId;

    fn encode_to(self, w: &mut Writer<'_>) {
        w.raw(&self.0);
    }
}

impl Encode for ErrorCode {
    type Kind = ErrorCode;

    fn encode_to(self, w: &mut Writer<'_>) {
        error_note(&mut w.errors, self);
        self.0.encode_to(w);
    }
}

/// Arrays nest four deep at most, and each count moves what is in it by two bytes at most.
const SHIFT_BYTES_MAX: usize = 8;

fn uvarint_bytes(mut value: u32) -> ([u8; 5], usize) {
    let mut bytes = [0; 5];
    let mut count = 0;
    for byte in &mut bytes {
        count += 1;
        let [low, ..] = value.to_le_bytes();
        value >>= 7;
        *byte = if value == 0 { low & 0x7f } else { low | 0x80 };
        if value == 0 {
            break;
        }
    }
    (bytes, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_a_little_has_other_digests() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..20_000 {
            let mut w = Writer::counting();
            w.raw(format!("topic-{number:05}").as_bytes());
            w.fixed((number as i16).to_be_bytes());
            assert!(seen.insert(w.digest()), "{number}");
        }
    }

    /// Nested compact arrays whose counts need one, two and three bytes.
    fn write_nested(w: &mut Writer<'_>) {
        w.set_version(0, true);
        w.raw(b"head");
        let rows: List<'_, &'static str> = &mut |list| {
            for row in 0..300 {
                let text = "0123456789".get(..row % 11).unwrap_or("!");
                list.push(text);
            }
            let w = &mut *list.w;
            let numbers: List<'_, i8> = &mut |list| (0..20_000).for_each(|n| list.push(n as i8));
            numbers.encode_to(w);
            let strings: List<'_, &'static str> = &mut |list| (0..127).for_each(|_| list.push("x"));
            strings.encode_to(w);
        };
        rows.encode_to(w);
        w.raw(b"tail");
    }

    #[test]
    fn an_answer_window_by_window_equals_the_whole() {
        let mut whole = vec![0; 40_000];
        let mut w = Writer::new(&mut whole);
        write_nested(&mut w);
        let len = w.finish().unwrap();
        whole.truncate(len);
        let mut counting = Writer::counting();
        write_nested(&mut counting);
        assert_eq!(counting.len(), len);
        for window_bytes in [1, 2, 3, 7, 64, 1000, 4096] {
            let step = window_bytes.max(len / 64);
            for from in (0..len).step_by(step).chain(0..20).chain(len - 20..len) {
                let mut window = vec![0xee; window_bytes];
                let mut w = Writer::window(&mut window, from);
                write_nested(&mut w);
                assert_eq!(w.len(), len);
                let end = len.min(from + window_bytes);
                assert_eq!(window[..end - from], whole[from..end], "{window_bytes} from {from}");
            }
        }
    }

    #[test]
    fn too_small_a_buffer_is_remembered_and_the_size_is_still_told() {
        let mut buffer = [0; 3];
        let mut w = Writer::new(&mut buffer);
        7_i32.encode_to(&mut w);
        w.raw(&[]);
        assert_eq!((w.finish(), w.len()), (Err(Error::Overflow), 4));
        assert_eq!(buffer, [0, 0, 0]);
    }

    #[test]
    fn null_is_written_as_empty_where_there_is_none() {
        for (flexible, null, empty) in
            [(false, &[255, 255][..], &[0, 0][..]), (true, &[0][..], &[1][..])]
        {
            let mut buffer = [9; 4];
            let mut w = Writer::new(&mut buffer);
            w.set_version(0, flexible);
            None::<&str>.encode_to(&mut w);
            let len = w.finish().unwrap();
            assert_eq!(&buffer[..len], null);
            let mut w = Writer::new(&mut buffer);
            w.set_version(0, flexible);
            None::<&str>.encode_to_not_null(&mut w);
            let len = w.finish().unwrap();
            assert_eq!(&buffer[..len], empty);
        }
    }
}

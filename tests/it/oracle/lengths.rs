//! The lengths in front of texts, bytes and arrays, as versions write them.

/// Of a text; none: it is null.
pub fn string(out: &mut Vec<u8>, flexible: bool, length: Option<usize>) {
    if flexible {
        return uvarint(out, length.map_or(0, |length| length as u32 + 1));
    }
    let length = length.map_or(-1, |length| i16::try_from(length).unwrap());
    out.extend(length.to_be_bytes());
}

/// Of bytes or an array.
pub fn wide(out: &mut Vec<u8>, flexible: bool, length: Option<usize>) {
    if flexible {
        return uvarint(out, length.map_or(0, |length| length as u32 + 1));
    }
    let length = length.map_or(-1, |length| length as i32);
    out.extend(length.to_be_bytes());
}

/// An unsigned varint.
pub fn uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

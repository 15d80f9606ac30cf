//! Bytes of a message, made from its schema.

use super::lengths;
use super::schema::{Field, Kind, Schema, Side};

/// What kind of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Zeros, empty strings and arrays.
    Empty,
    /// Small values; two elements in each array.
    Typical,
    /// The greatest and least numbers, long strings, counts of two bytes, tagged fields.
    Maximal,
    /// Null wherever the version allows it, but for arrays.
    Nulls,
    /// Null arrays too.
    NullArrays,
}

/// All of them.
pub const VARIANTS: [Variant; 5] =
    [Variant::Empty, Variant::Typical, Variant::Maximal, Variant::Nulls, Variant::NullArrays];

/// The bytes of a message of this version.
pub fn generate(schema: &Schema, version: i16, variant: Variant) -> Vec<u8> {
    let flexible = schema.flexible.contain(version);
    let mut generator = Generator {
        out: Vec::new(),
        version,
        flexible,
        variant,
        tags: schema.side == Side::Request && variant == Variant::Maximal,
        count: 0,
    };
    generator.structure(&schema.fields, 0);
    generator.out
}

struct Generator {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    variant: Variant,
    /// Whether tagged fields are made, known ones and one that nobody knows.
    tags: bool,
    count: u64,
}

impl Generator {
    fn structure(&mut self, fields: &[Field], depth: u32) {
        let version = self.version;
        let carried = fields.iter().filter(|field| field.versions.contain(version));
        let (tagged, plain): (Vec<_>, Vec<_>) = carried.partition(|field| field.tag.is_some());
        for field in plain {
            let null = field.nullable.contain(version);
            self.value(&field.kind, null, depth);
        }
        if !self.flexible {
            return;
        }
        if !self.tags {
            return lengths::uvarint(&mut self.out, 0);
        }
        // Of known tags only those with a scalar: the others are for brokers among themselves. One that
        // is the greatest number by default is left out by the oracle where it is that.
        let scalar = |field: &&&Field| {
            matches!(field.kind, Kind::Scalar(_)) && field.default != i64::MAX.to_string()
        };
        let known: Vec<_> = tagged.iter().filter(scalar).collect();
        lengths::uvarint(&mut self.out, known.len() as u32 + 1);
        for field in known {
            let outer = std::mem::take(&mut self.out);
            self.value(&field.kind, false, depth);
            let value = std::mem::replace(&mut self.out, outer);
            self.tag(field.tag.unwrap(), &value);
        }
        self.tag(9_999, &[0xff; 200]);
    }

    fn tag(&mut self, tag: u32, value: &[u8]) {
        lengths::uvarint(&mut self.out, tag);
        lengths::uvarint(&mut self.out, value.len() as u32);
        self.out.extend(value);
    }

    fn value(&mut self, kind: &Kind, null: bool, depth: u32) {
        self.count += 1;
        match kind {
            Kind::Structure(_, fields) if depth == 0 => self.nullable(fields, null),
            Kind::Structure(_, fields) => self.structure(fields, depth),
            Kind::Array(element) => {
                if null && self.variant == Variant::NullArrays {
                    return lengths::wide(&mut self.out, self.flexible, None);
                }
                let count = match self.variant {
                    Variant::Empty => 0,
                    Variant::Maximal if depth == 0 => 130,
                    Variant::Maximal => 3,
                    _ => 2,
                };
                lengths::wide(&mut self.out, self.flexible, Some(count));
                (0..count).for_each(|_| self.value(element, false, depth + 1));
            }
            Kind::Scalar(name) => self.scalar(name, null),
        }
    }

    /// A structure that is no element of an array: all that are met may be null.
    fn nullable(&mut self, fields: &[Field], null: bool) {
        assert!(null, "a structure that is always there");
        if matches!(self.variant, Variant::Nulls | Variant::NullArrays) {
            return self.out.push(0xff);
        }
        self.out.push(1);
        self.structure(fields, 1);
    }

    fn scalar(&mut self, name: &str, null: bool) {
        let null = null && matches!(self.variant, Variant::Nulls | Variant::NullArrays);
        match name {
            "bool" => self.out.push(u8::from(self.integer(i8::MAX.into()) & 1 != 0)),
            "int8" => self.out.extend((self.integer(i8::MAX.into()) as i8).to_be_bytes()),
            "int16" => self.out.extend((self.integer(i16::MAX.into()) as i16).to_be_bytes()),
            "int32" => self.out.extend((self.integer(i32::MAX.into()) as i32).to_be_bytes()),
            "int64" => self.out.extend(self.integer(i64::MAX).to_be_bytes()),
            "uint16" => self.out.extend((self.integer(u16::MAX.into()) as u16).to_be_bytes()),
            "float64" => self.out.extend((self.integer(1 << 50) as f64).to_be_bytes()),
            "uuid" => {
                let byte = self.integer(i8::MAX.into()) as u8;
                self.out.extend((0..16).map(|n| n ^ byte));
            }
            "string" => {
                let text = (!null).then(|| self.text());
                lengths::string(&mut self.out, self.flexible, text.as_ref().map(String::len));
                self.out.extend(text.unwrap_or_default().bytes());
            }
            "bytes" | "records" => {
                let bytes = (!null).then(|| self.text().repeat(3).into_bytes());
                lengths::wide(&mut self.out, self.flexible, bytes.as_ref().map(Vec::len));
                self.out.extend(bytes.unwrap_or_default());
            }
            other => panic!("no values of type {other}"),
        }
    }

    fn integer(&self, max: i64) -> i64 {
        match self.variant {
            Variant::Empty => 0,
            Variant::Typical => (self.count % 100) as i64,
            Variant::Maximal if self.count.is_multiple_of(2) => max,
            Variant::Maximal => -max - 1,
            Variant::Nulls | Variant::NullArrays => -1,
        }
    }

    fn text(&self) -> String {
        match self.variant {
            Variant::Empty => String::new(),
            Variant::Maximal => format!("\"ä\0\\\n{}☃", "long".repeat(70)),
            _ => format!("name-{}", self.count),
        }
    }
}

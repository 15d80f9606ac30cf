//! What a configuration value may be: kinds, bounds, how text becomes a value, and refusals.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

/// A value on its way from a source to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A number, a size in bytes or a time.
    Int(i64),
    /// true or false.
    Bool(bool),
    /// Text, or one of a choice.
    Text(String),
    /// Several texts.
    List(Vec<String>),
}

/// What values a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A whole number.
    Int {
        /// "ms", "us", "bytes/s", or empty for a count.
        unit: &'static str,
        /// The least.
        min: i64,
        /// The most.
        max: i64,
        /// Unless said otherwise.
        default: i64,
    },
    /// A number of bytes; text like "16 MiB" is understood.
    Bytes {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
        /// What it must be a multiple of.
        multiple_of: i64,
        /// Unless said otherwise.
        default: i64,
    },
    /// One of a few numbers.
    OneOf {
        /// Which.
        of: &'static [i64],
        /// Unless said otherwise.
        default: i64,
    },
    /// true or false.
    Bool {
        /// Unless said otherwise.
        default: bool,
    },
    /// One of a few words.
    Choice {
        /// Which.
        of: &'static [&'static str],
        /// Unless said otherwise.
        default: &'static str,
    },
    /// Text.
    Text {
        /// What it must be, in words.
        what: &'static str,
        /// Whether it is that.
        check: fn(&str) -> bool,
        /// Unless said otherwise.
        default: &'static str,
    },
    /// A list of text.
    List {
        /// What the items are, in words.
        what: &'static str,
        /// Whether they are that.
        check: fn(&[String]) -> bool,
        /// Unless said otherwise.
        default: &'static [&'static str],
    },
}

/// A key of the table of type `C`.
pub struct Key<C> {
    /// As it is written in the file.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Puts a checked value into the structure.
    pub set: fn(&mut C, Value),
    /// What the structure holds now.
    pub get: fn(&C) -> Value,
    /// What it means and why it is so, in lines.
    #[cfg(test)]
    pub why: &'static [&'static str],
}

/// A value that the configuration does not take. Its text names key, value and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Where it was set: a file and line, an environment variable, a flag; may be empty.
    pub place: String,
    /// What is wrong with it.
    pub text: String,
}

impl Refusal {
    /// A refusal whose place is added later, or that has none.
    pub fn new(text: impl Into<String>) -> Refusal {
        Refusal { place: String::new(), text: text.into() }
    }

    /// The same, with more text.
    #[must_use]
    pub fn and(mut self, more: &str) -> Refusal {
        self.text.push_str(more);
        self
    }

    /// The same, with its place.
    pub fn at(mut self, place: impl Into<String>) -> Refusal {
        self.place = place.into();
        self
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

impl Kind {
    /// A whole number with its unit and bounds.
    pub const fn int(unit: &'static str, min: i64, max: i64, default: i64) -> Kind {
        assert!(min <= default && default <= max);
        Kind::Int { unit, min, max, default }
    }

    /// A size with its bounds.
    pub const fn bytes(min: i64, max: i64, multiple_of: i64, default: i64) -> Kind {
        assert!(min <= default && default <= max && default % multiple_of == 0);
        Kind::Bytes { min, max, multiple_of, default }
    }

    /// One of a few numbers.
    pub const fn one_of(of: &'static [i64], default: i64) -> Kind {
        Kind::OneOf { of, default }
    }

    /// true or false.
    pub const fn bool(default: bool) -> Kind {
        Kind::Bool { default }
    }

    /// One of a few words.
    pub const fn choice(of: &'static [&'static str], default: &'static str) -> Kind {
        Kind::Choice { of, default }
    }

    /// Text that `check` accepts.
    pub const fn text(what: &'static str, check: fn(&str) -> bool, default: &'static str) -> Kind {
        Kind::Text { what, check, default }
    }

    /// A list of text.
    pub const fn list(
        what: &'static str,
        check: fn(&[String]) -> bool,
        default: &'static [&'static str],
    ) -> Kind {
        Kind::List { what, check, default }
    }

    /// The value unless said otherwise.
    pub fn default(&self) -> Value {
        match *self {
            Kind::Int { default, .. } | Kind::Bytes { default, .. } => Value::Int(default),
            Kind::OneOf { default, .. } => Value::Int(default),
            Kind::Bool { default } => Value::Bool(default),
            Kind::Choice { default, .. } | Kind::Text { default, .. } => {
                Value::Text(default.to_string())
            }
            Kind::List { default, .. } => {
                Value::List(default.iter().map(|item| (*item).to_string()).collect())
            }
        }
    }

    /// The value that text from the command line or the environment stands for.
    pub fn parse(&self, text: &str) -> Result<Value, Refusal> {
        let text = text.trim();
        let as_text = || Value::Text(text.to_string());
        self.check(match self {
            Kind::Int { .. } | Kind::OneOf { .. } => {
                i64::from_str(text).map_or_else(|_| as_text(), Value::Int)
            }
            Kind::Bool { .. } => bool::from_str(text).map_or_else(|_| as_text(), Value::Bool),
            Kind::Bytes { .. } | Kind::Choice { .. } | Kind::Text { .. } => as_text(),
            Kind::List { .. } => {
                // As in the file, or the items alone.
                let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                let quotes = |c| c == '"' || c == '\'';
                let items = inner.unwrap_or(text).split(',').map(str::trim);
                let items = items.map(|item| item.trim_matches(quotes).to_string());
                Value::List(items.filter(|item| !item.is_empty()).collect())
            }
        })
    }

    /// The value itself, if the kind accepts it; sizes may still be text.
    pub fn check(&self, value: Value) -> Result<Value, Refusal> {
        match (self, value) {
            (Kind::Bytes { .. }, Value::Text(text)) => match bytes_of(&text) {
                // What is refused is shown as it was written.
                Some(bytes) => {
                    self.check(Value::Int(bytes)).map_err(|_| self.refusal(&Value::Text(text)))
                }
                None => Err(self.refusal(&Value::Text(text)).and(SIZES)),
            },
            (Kind::Int { min, max, .. }, Value::Int(n)) if (*min..=*max).contains(&n) => {
                Ok(Value::Int(n))
            }
            (Kind::Bytes { min, max, multiple_of, .. }, Value::Int(n))
                if (*min..=*max).contains(&n) && n % multiple_of == 0 =>
            {
                Ok(Value::Int(n))
            }
            (Kind::OneOf { of, .. }, Value::Int(n)) if of.contains(&n) => Ok(Value::Int(n)),
            (Kind::Bool { .. }, value @ Value::Bool(_)) => Ok(value),
            (Kind::Choice { of, .. }, Value::Text(text)) if of.contains(&text.as_str()) => {
                Ok(Value::Text(text))
            }
            (Kind::Text { check, .. }, Value::Text(text)) if check(&text) => Ok(Value::Text(text)),
            (Kind::List { check, .. }, Value::List(items)) if check(&items) => {
                Ok(Value::List(items))
            }
            (Kind::List { .. }, Value::Text(text)) => {
                let written = format!("; one is written [{text:?}]");
                Err(self.refusal(&Value::Text(text)).and(&written))
            }
            (_, value) => Err(self.refusal(&value)),
        }
    }

    fn refusal(&self, value: &Value) -> Refusal {
        Refusal::new(format!("{value} is not allowed: it takes {self}"))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Kind::Int { unit, min, max, .. } => {
                let space = if unit.is_empty() { "" } else { " " };
                write!(f, "a whole number from {min} to {max}{space}{unit}")
            }
            Kind::Bytes { min, max, multiple_of, .. } => {
                write!(f, "a size from {} to {}", Bytes(min), Bytes(max))?;
                if multiple_of > 1 {
                    write!(f, " in multiples of {}", Bytes(multiple_of))?;
                }
                Ok(())
            }
            Kind::OneOf { of, .. } => {
                of.iter().enumerate().try_for_each(|(i, n)| write!(f, "{}{n}", or(i, of.len())))
            }
            Kind::Bool { .. } => f.write_str("true or false"),
            Kind::Choice { of, .. } => {
                of.iter().enumerate().try_for_each(|(i, n)| write!(f, "{}{n}", or(i, of.len())))
            }
            Kind::Text { what, .. } => f.write_str(what),
            Kind::List { what, .. } => write!(f, "a list of {what}"),
        }
    }
}

/// As TOML writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(n) => n.fmt(f),
            Value::Bool(b) => b.fmt(f),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::List(items) => write!(f, "{items:?}"),
        }
    }
}

/// A size as people write it, in the largest binary unit that keeps it whole.
pub struct Bytes(pub i64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |unit: &&(&str, u32)| self.0 != 0 && self.0 % (1_i64 << unit.1) == 0;
        match UNITS.iter().filter(|unit| unit.0.ends_with("iB")).find(whole) {
            Some((name, shift)) => write!(f, "{} {name}", self.0 >> shift),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

/// "16 MiB", "64k" or "1048588" in bytes.
fn bytes_of(text: &str) -> Option<i64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let number = i64::from_str(&digits.replace('_', "")).ok()?;
    let unit = unit.trim();
    if unit.is_empty() || matches!(unit, "B" | "byte" | "bytes") {
        return Some(number);
    }
    let (_, shift) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.checked_mul(1 << shift)
}

fn or(index: usize, len: usize) -> &'static str {
    match index {
        0 => "",
        i if i + 1 == len => " or ",
        _ => ", ",
    }
}

/// Globs of topics, at least one.
pub fn are_globs(items: &[String]) -> bool {
    let topic = |c: char| c.is_ascii_alphanumeric() || "._-*?".contains(c);
    !items.is_empty() && items.iter().all(|item| !item.is_empty() && item.chars().all(topic))
}

/// An empty name, or one that Kafka's tools can print.
pub fn is_id(text: &str) -> bool {
    text.len() <= 64 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

/// A ring's name.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 32 && is_id(text)
}

/// A path that a file system could hold.
pub fn is_path(text: &str) -> bool {
    !text.is_empty() && !text.contains('\0')
}

/// Empty, or a path.
pub fn is_path_or_empty(text: &str) -> bool {
    text.is_empty() || is_path(text)
}

/// A numeric address with its port.
pub fn is_address(text: &str) -> bool {
    SocketAddr::from_str(text).is_ok()
}

/// Empty, or a numeric address with its port.
pub fn is_address_or_empty(text: &str) -> bool {
    text.is_empty() || is_address(text)
}

/// Empty, or a host with its port; Kafka's form with the protocol in front is taken too.
pub fn is_advertised(text: &str) -> bool {
    text.is_empty() || advertised_of(text).is_some()
}

/// Host and port; nothing where the text is neither.
pub fn advertised_of(text: &str) -> Option<(String, u16)> {
    let text = text.strip_prefix("PLAINTEXT://").unwrap_or(text);
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let port = u16::from_str(port).ok().filter(|port| *port != 0)?;
    let known = |c: char| c.is_ascii_alphanumeric() || ".:-_%".contains(c);
    let good = !host.is_empty() && host.len() <= 255 && host.chars().all(known);
    good.then(|| (host.to_string(), port))
}

/// Added to the refusal of text that is no size.
const SIZES: &str = "; sizes are written as \"12 MiB\", in KiB, MiB, GiB or TiB";

/// All spellings are binary, as sizes of memory and flash are.
const UNITS: &[(&str, u32)] = &[
    ("TiB", 40),
    ("GiB", 30),
    ("MiB", 20),
    ("KiB", 10),
    ("T", 40),
    ("G", 30),
    ("M", 20),
    ("K", 10),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1048588", 1_048_588),
            ("16 MiB", 16 << 20),
            ("16MiB", 16 << 20),
            ("64k", 64 << 10),
            ("1_000 bytes", 1000),
            ("2 gib", 2 << 30),
        ] {
            assert_eq!(bytes_of(text), Some(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5 MiB", "1 mile", "9223372036854775807 KiB"] {
            assert_eq!(bytes_of(text), None, "{text}");
        }
    }

    #[test]
    fn a_refusal_names_value_and_what_is_allowed() {
        let kind = Kind::bytes(4 << 20, 1 << 30, 4 << 20, 16 << 20);
        let refusal = kind.parse("5 MiB").unwrap_err().to_string();
        assert!(refusal.starts_with("\"5 MiB\" is not allowed"), "as it was written: {refusal}");
        assert!(refusal.contains("4 MiB to 1 GiB in multiples of 4 MiB"), "{refusal}");
        let refusal = Kind::choice(&["auto", "never"], "auto").parse("maybe").unwrap_err();
        assert!(refusal.text.contains("auto or never"), "{refusal}");
    }

    #[test]
    fn advertised_takes_kafkas_form_and_ipv6() {
        let known = |text: &str| advertised_of(text).unwrap();
        assert_eq!(known("PLAINTEXT://edge.example:9092"), ("edge.example".into(), 9092));
        assert_eq!(known("[fd00::1]:19092"), ("fd00::1".into(), 19092));
        for text in ["edge", "edge:0", ":9092", "edge:70000", "SSL://edge:1", "a b:1"] {
            assert!(!is_advertised(text), "{text}");
        }
    }
}

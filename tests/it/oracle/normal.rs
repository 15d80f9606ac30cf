//! One form for what `Debug` shows of our requests and of the oracle's, in which they can be
//! compared: newtypes and `Some` are unwrapped, ids and bytes are numbers.

use std::collections::BTreeMap;

/// A value without the names of its types.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Structure(BTreeMap<String, Value>),
    List(Vec<Value>),
    Word(String),
}

/// Fails unless both show the same values. Fields that we do not have are those of versions that
/// are not served, and tagged ones.
pub fn assert_same(ours: &str, theirs: &str, what: &str) {
    let mut parsed = [ours, theirs].map(|text| {
        let mut parser = Parser { rest: text };
        let value = parser.value();
        assert_eq!(parser.rest, "", "{what}: {text}");
        value
    });
    let [ours, theirs] = &mut parsed;
    drop_what_only_they_have(ours, theirs, what);
    assert_eq!(ours, theirs, "{what}");
}

fn drop_what_only_they_have(ours: &Value, theirs: &mut Value, what: &str) {
    match (ours, theirs) {
        (Value::Structure(ours), Value::Structure(theirs)) => {
            theirs.retain(|name, _| ours.contains_key(name) || !NOT_READ.contains(&name.as_str()));
            for (name, ours) in ours {
                let theirs = theirs.get_mut(name);
                let theirs = theirs.unwrap_or_else(|| panic!("{what}: only we have {name}"));
                drop_what_only_they_have(ours, theirs, what);
            }
        }
        (Value::List(ours), Value::List(theirs)) => {
            for (ours, theirs) in ours.iter().zip(theirs) {
                drop_what_only_they_have(ours, theirs, what);
            }
        }
        _ => {}
    }
}

/// Tagged fields, and fields of versions that are not served.
const NOT_READ: [&str; 9] = [
    "unknown_tagged_fields",
    // Fetch: tagged.
    "cluster_id",
    "replica_state",
    "replica_directory_id",
    "high_watermark",
    // Produce 13.
    "topic_id",
    // InitProducerId 6.
    "enable_2_pc",
    "keep_prepared_txn",
    // DescribeCluster 2.
    "include_fenced_brokers",
];

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn value(&mut self) -> Value {
        if self.eat("[") {
            return Value::List(self.list("]"));
        }
        if self.rest.starts_with("b\"") {
            self.eat("b");
            let bytes = unescape_bytes(self.string());
            return Value::List(bytes.iter().map(|byte| Value::Word(byte.to_string())).collect());
        }
        if self.rest.starts_with('"') {
            return Value::Word(self.string().into());
        }
        if self.eat("{}") {
            return Value::Structure(BTreeMap::new());
        }
        let word = self.word();
        if self.eat(" { ") {
            return Value::Structure(self.fields());
        }
        if self.eat("(") {
            let mut inner = self.list(")");
            assert_eq!(inner.len(), 1, "a newtype");
            return inner.remove(0);
        }
        match uuid(&word) {
            Some(bytes) => {
                Value::List(bytes.iter().map(|byte| Value::Word(byte.to_string())).collect())
            }
            None => Value::Word(word),
        }
    }

    fn fields(&mut self) -> BTreeMap<String, Value> {
        let mut fields = BTreeMap::new();
        loop {
            // The oracle's way with names that are words of the language.
            let name = self.word().trim_start_matches('_').to_string();
            assert!(self.eat(": "), "{}", self.rest);
            let value = if self.rest.starts_with('{') { self.map() } else { self.value() };
            fields.insert(name, value);
            if self.eat(" }") {
                return fields;
            }
            assert!(self.eat(", "), "{}", self.rest);
        }
    }

    /// The oracle's unknown tagged fields: skipped.
    fn map(&mut self) -> Value {
        self.eat("{");
        while !self.eat("}") {
            self.word();
            self.eat(": ");
            self.value();
            self.eat(", ");
        }
        Value::Structure(BTreeMap::new())
    }

    fn list(&mut self, end: &str) -> Vec<Value> {
        let mut list = Vec::new();
        while !self.eat(end) {
            list.push(self.value());
            self.eat(", ");
        }
        list
    }

    fn word(&mut self) -> String {
        let letter = |c: char| !(c.is_alphanumeric() || "_-".contains(c));
        let end = self.rest.find(letter).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        assert!(!word.is_empty(), "{rest}");
        self.rest = rest;
        word.into()
    }

    /// A quoted string, without its quotes, as escaped.
    fn string(&mut self) -> &str {
        let text = self.rest.strip_prefix('"').unwrap();
        let mut escaped = false;
        let end = text.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let (string, rest) = text.split_at(end.unwrap());
        self.rest = &rest[1..];
        string
    }

    fn eat(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

fn uuid(word: &str) -> Option<Vec<u8>> {
    let digits: String = word.split('-').collect();
    (word.len() == 36 && digits.len() == 32).then(|| {
        let byte = |at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..32).step_by(2).map(byte).collect()
    })
}

fn unescape_bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().unwrap() {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'0' => 0,
            b'x' => {
                let digits = [rest.next().unwrap(), rest.next().unwrap()];
                u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap()
            }
            other => other,
        });
    }
    bytes
}

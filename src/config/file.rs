//! The file's form: TOML, of which a configuration needs `key = value` lines and `[[ring]]` tables.
//!
//! [`entries`] gives them flat, in their order and with their lines; [`super::source`] applies them. The
//! parser is toml_parser, the event level below the `toml` crate: without a tree to build, it takes half
//! as much code.

use std::borrow::Cow;

use toml_parser::decoder::{Encoding, ScalarKind};
use toml_parser::parser::{EventReceiver, RecursionGuard, parse_document};
use toml_parser::{ErrorSink, ParseError, Raw, Source, Span};

use super::value::{Refusal, Value};

/// An entry of the file, and its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Counted from 1.
    pub line: usize,
    /// The entry.
    pub what: What,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A new `[[ring]]` begins; the keys that follow are its own.
    Ring,
    /// A key and its value.
    Key(String, Value),
}

/// The entries of a file. Its first mistake refuses all of it.
pub fn entries(text: &str) -> Result<Vec<Entry>, Refusal> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut walk = Walk {
        source,
        entries: Vec::new(),
        wrong: None,
        key: String::new(),
        header: Header::None,
        list: None,
    };
    let mut syntax: Option<ParseError> = None;
    parse_document(&tokens, &mut RecursionGuard::new(&mut walk, DEPTH_MAX), &mut syntax);
    let syntax = syntax.map(|error| {
        let at = error.unexpected().or(error.context()).map_or(text.len(), |s| s.start());
        let quotes = if lacks_quotes(text, at) { "; text is written in quotes" } else { "" };
        (at, format!("this is not TOML: {}{quotes}", error.description()))
    });
    // Both may have found a mistake; the one that is first in the file is the cause.
    match [syntax, walk.wrong].into_iter().flatten().min_by_key(|(at, _)| *at) {
        Some((at, text_wrong)) => {
            Err(Refusal::new(text_wrong).at(format!("line {}", line_of(text, at))))
        }
        None => Ok(walk.entries),
    }
}

/// Takes the parser's events.
struct Walk<'a> {
    source: Source<'a>,
    entries: Vec<Entry>,
    /// The first mistake that is valid TOML, and its place.
    wrong: Option<(usize, String)>,
    /// The key whose value comes next.
    key: String,
    header: Header,
    /// The items so far of a list that is open.
    list: Option<(Span, Vec<String>)>,
}

/// Which kind of table header is being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Header {
    None,
    Table,
    Array,
}

impl<'a> Walk<'a> {
    fn refuse(&mut self, span: Span, text: impl Into<String>) {
        if self.wrong.is_none() {
            self.wrong = Some((span.start(), text.into()));
        }
    }

    fn raw(&self, span: Span, encoding: Option<Encoding>) -> Raw<'a> {
        let text = self.source.input().get(span.start()..span.end()).unwrap_or("");
        Raw::new_unchecked(text, encoding, span)
    }

    fn push(&mut self, span: Span, what: What) {
        let line = line_of(self.source.input(), span.start());
        self.entries.push(Entry { line, what });
    }
}

impl EventReceiver for Walk<'_> {
    fn std_table_open(&mut self, _span: Span, _error: &mut dyn ErrorSink) {
        self.header = Header::Table;
    }

    fn std_table_close(&mut self, _span: Span, _error: &mut dyn ErrorSink) {
        self.header = Header::None;
    }

    fn array_table_open(&mut self, _span: Span, _error: &mut dyn ErrorSink) {
        self.header = Header::Array;
    }

    fn array_table_close(&mut self, _span: Span, _error: &mut dyn ErrorSink) {
        self.header = Header::None;
    }

    fn simple_key(&mut self, span: Span, kind: Option<Encoding>, error: &mut dyn ErrorSink) {
        let mut key = Cow::Borrowed("");
        self.raw(span, kind).decode_key(&mut key, error);
        match self.header {
            Header::None => self.key = key.into_owned(),
            Header::Array if key == "ring" => self.push(span, What::Ring),
            Header::Array => self.refuse(span, format!("table [[{key}]] is not allowed: {TABLES}")),
            Header::Table => self.refuse(span, format!("table [{key}] is not allowed: {TABLES}")),
        }
    }

    fn key_sep(&mut self, span: Span, _error: &mut dyn ErrorSink) {
        let line = line_at(self.source.input(), span.start());
        let key = line.split('=').next().unwrap_or(line).trim().replace('.', "_");
        self.refuse(span, format!("a dot in a key is not allowed: keys are written as {key} here"));
    }

    fn scalar(&mut self, span: Span, kind: Option<Encoding>, error: &mut dyn ErrorSink) {
        let mut text = Cow::Borrowed("");
        let value = match self.raw(span, kind).decode_scalar(&mut text, error) {
            ScalarKind::String => Value::Text(text.into_owned()),
            ScalarKind::Boolean(value) => Value::Bool(value),
            ScalarKind::Integer(radix) => match i64::from_str_radix(&text, radix.value()) {
                Ok(number) => Value::Int(number),
                Err(_) => Value::Text(text.into_owned()),
            },
            // Neither is ever allowed: the key's refusal shows it, and what is.
            ScalarKind::Float | ScalarKind::DateTime => Value::Text(text.into_owned()),
        };
        match (&mut self.list, value) {
            (None, value) => {
                let key = std::mem::take(&mut self.key);
                self.push(span, What::Key(key, value));
            }
            (Some((_, items)), Value::Text(item)) => items.push(item),
            (Some(_), other) => {
                self.refuse(span, format!("{other} is not allowed in a list: it takes text"));
            }
        }
    }

    fn array_open(&mut self, span: Span, _error: &mut dyn ErrorSink) -> bool {
        if self.list.is_some() {
            self.refuse(span, "a list in a list is not allowed");
        }
        self.list = Some((span, Vec::new()));
        true
    }

    fn array_close(&mut self, _span: Span, _error: &mut dyn ErrorSink) {
        if let Some((span, items)) = self.list.take() {
            let key = std::mem::take(&mut self.key);
            self.push(span, What::Key(key, Value::List(items)));
        }
    }

    fn inline_table_open(&mut self, span: Span, _error: &mut dyn ErrorSink) -> bool {
        self.refuse(span, format!("an inline table is not allowed: {TABLES}"));
        false
    }
}

/// Whether the line has a value without quotes: most likely an address or a word.
fn lacks_quotes(text: &str, at: usize) -> bool {
    let value = line_at(text, at).split_once('=').map_or("", |(_, value)| value.trim());
    !value.is_empty() && !value.contains(['"', '\''])
}

/// The line that a position is in.
fn line_at(text: &str, at: usize) -> &str {
    text.lines().nth(line_of(text, at) - 1).unwrap_or_default()
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// Deep enough for a list; a file of brackets does not overflow the stack.
const DEPTH_MAX: u32 = 8;

const TABLES: &str = "the only tables are [[ring]]";

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        entries(text).unwrap_err().to_string()
    }

    #[test]
    fn keys_and_rings_come_in_their_order_with_their_lines() {
        let text = "# top\na = 1_000\n\"b\" = 'x'\n\n\
                    [[ring]]\nc = [ \"d*\",\n 'e', ] # f\ng = 0x10\nh=true";
        let have = entries(text).unwrap();
        let key = |line, name: &str, value| Entry { line, what: What::Key(name.into(), value) };
        let list = Value::List(vec!["d*".into(), "e".into()]);
        assert_eq!(
            have,
            [
                key(2, "a", Value::Int(1000)),
                key(3, "b", Value::Text("x".into())),
                Entry { line: 5, what: What::Ring },
                key(6, "c", list),
                key(8, "g", Value::Int(16)),
                key(9, "h", Value::Bool(true)),
            ]
        );
    }

    #[test]
    fn what_is_not_toml_is_refused_with_its_line() {
        for (text, line) in [
            ("a = 1\nb = = 2\n", 2),
            ("a = 1\n\nb\n", 3),
            ("a = \"open\n", 1),
            ("a = 1\n[[ring\nb = 2\n", 2),
            ("a = 08", 1),
        ] {
            let refusal = refused(text);
            assert!(refusal.starts_with(&format!("line {line}: this is not TOML")), "{refusal}");
        }
    }

    #[test]
    fn toml_that_is_no_configuration_is_refused() {
        assert!(refused("[server]\na = 1\n").contains("[server]"));
        assert!(refused("[[rings]]\n").contains("[[rings]]"));
        assert!(refused("a.b = 1\n").contains("dot"));
        assert!(refused("a = { b = 1 }\n").contains("inline table"));
        assert!(refused("a = [1]\n").contains("takes text"));
        assert!(!refused(&format!("a = {}", "[".repeat(100_000))).is_empty());
    }
}

//! How a record is printed.

use std::io::Write;

use crate::codec::batch::Record;

/// The form of what is printed.
pub enum Form {
    /// An object in a line of its own.
    Json,
    /// By kcat's tokens.
    Text(String),
}

impl Form {
    /// A form with tokens; else says what is wrong with it.
    pub fn parse(format: &str) -> Result<Form, String> {
        let mut letters = format.chars();
        while let Some(letter) = letters.next() {
            let (known, what) = match letter {
                '%' => ("tpokshTKS%", "%"),
                '\\' => ("nt\\", "\\"),
                _ => continue,
            };
            match letters.next() {
                Some(token) if known.contains(token) => {}
                Some(token) => return Err(format!("--format has no {what}{token}")),
                None => return Err(format!("--format ends with {what}")),
            }
        }
        Ok(Form::Text(format.to_string()))
    }

    /// Appends a record.
    pub fn render(&self, out: &mut Vec<u8>, topic: &str, partition: i32, record: &Record<'_>) {
        match self {
            Form::Json => json(out, topic, partition, record),
            Form::Text(format) => text(out, format.as_bytes(), topic, partition, record),
        }
    }
}

fn text(out: &mut Vec<u8>, format: &[u8], topic: &str, partition: i32, record: &Record<'_>) {
    let bytes = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
    let mut letters = format.iter();
    while let Some(letter) = letters.next() {
        let token = match letter {
            b'%' | b'\\' => letters.next().copied().unwrap_or_default(),
            _ => 0,
        };
        match (letter, token) {
            (b'%', b't') => out.extend(topic.as_bytes()),
            (b'%', b'p') => number(out, partition.into()),
            (b'%', b'o') => number(out, record.offset),
            (b'%', b'T') => number(out, record.timestamp),
            (b'%', b'k') => out.extend(record.key.unwrap_or_default()),
            (b'%', b's') => out.extend(record.value.unwrap_or_default()),
            (b'%', b'K') => number(out, bytes(record.key)),
            (b'%', b'S') => number(out, bytes(record.value)),
            (b'%', b'h') => {
                for (at, (name, value)) in record.headers().enumerate() {
                    out.extend(if at == 0 { &b""[..] } else { b"," });
                    out.extend(name);
                    out.push(b'=');
                    out.extend(value.unwrap_or(b"NULL"));
                }
            }
            (b'\\', b'n') => out.push(b'\n'),
            (b'\\', b't') => out.push(b'\t'),
            (b'%' | b'\\', token) => out.push(token),
            (letter, _) => out.push(*letter),
        }
    }
}

fn json(out: &mut Vec<u8>, topic: &str, partition: i32, record: &Record<'_>) {
    out.extend(b"{\"topic\":");
    quoted(out, topic);
    out.extend(b",\"partition\":");
    number(out, partition.into());
    out.extend(b",\"offset\":");
    number(out, record.offset);
    out.extend(b",\"timestamp\":");
    number(out, record.timestamp);
    out.extend(b",\"headers\":[");
    for (at, (name, value)) in record.headers().enumerate() {
        out.extend(if at == 0 { &b"{"[..] } else { b",{" });
        member(out, "name", Some(name));
        out.push(b',');
        member(out, "value", value);
        out.push(b'}');
    }
    out.extend(b"],");
    member(out, "key", record.key);
    out.push(b',');
    member(out, "value", record.value);
    out.extend(b"}\n");
}

/// As text where it is UTF-8, else in base64 under a name that says so.
fn member(out: &mut Vec<u8>, name: &str, bytes: Option<&[u8]>) {
    let text = bytes.map(std::str::from_utf8);
    out.push(b'"');
    out.extend(name.as_bytes());
    out.extend(if matches!(text, Some(Err(_))) { &b"_base64\":"[..] } else { b"\":" });
    match (bytes, text) {
        (_, Some(Ok(text))) => quoted(out, text),
        (Some(bytes), _) => base64(out, bytes),
        _ => out.extend(b"null"),
    }
}

fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            // A vector takes all that is written to it.
            ..b' ' => drop(write!(out, "\\u{byte:04x}")),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for part in bytes.chunks(3) {
        let mut three = [0; 3];
        three.iter_mut().zip(part).for_each(|(to, from)| *to = *from);
        let [a, b, c] = three.map(u32::from);
        let bits = a << 16 | b << 8 | c;
        for at in 0..4 {
            let six = (bits >> (18 - 6 * at) & 63) as usize;
            let letter = BASE64.get(six).copied().unwrap_or_default();
            out.push(if at <= part.len() { letter } else { b'=' });
        }
    }
    out.push(b'"');
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn number(out: &mut Vec<u8>, number: i64) {
    // A vector takes all that is written to it.
    drop(write!(out, "{number}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Record<'a> {
        // Two headers: a=1, b with null.
        let headers_bytes = &[2, b'a', 2, b'1', 2, b'b', 1];
        Record { offset: 7, timestamp: 9, key, value, headers_count: 2, headers_bytes }
    }

    fn rendered(form: &Form, record: &Record<'_>) -> String {
        let mut out = Vec::new();
        form.render(&mut out, "t", 3, record);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn tokens_are_kcats() {
        let form = Form::parse(r"%t %p %o %T %k %s %K %S %h %% \\ä\n\t").unwrap();
        let text = rendered(&form, &record(Some(b"key"), None));
        assert_eq!(text, "t 3 7 9 key  3 -1 a=1,b=NULL % \\ä\n\t");
        for wrong in ["%", "\\", "%x", "\\q", "a%"] {
            assert!(Form::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn json_has_text_base64_or_null() {
        let text = rendered(&Form::Json, &record(None, Some("\"ö\"\\\n\u{1}\u{7f}".as_bytes())));
        assert_eq!(
            text,
            "{\"topic\":\"t\",\"partition\":3,\"offset\":7,\"timestamp\":9,\"headers\":[{\"name\":\"a\",\
             \"value\":\"1\"},{\"name\":\"b\",\"value\":null}],\"key\":null,\
             \"value\":\"\\\"ö\\\"\\\\\\n\\u0001\u{7f}\"}\n"
        );
        let text = rendered(&Form::Json, &record(Some(b""), Some(b"\xff")));
        assert!(text.ends_with("\"key\":\"\",\"value_base64\":\"/w==\"}\n"), "{text}");
    }

    #[test]
    fn base64_is_rfc_4648s() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = Vec::new();
            base64(&mut out, bytes.as_bytes());
            assert_eq!(out, format!("\"{text}\"").as_bytes());
        }
    }
}

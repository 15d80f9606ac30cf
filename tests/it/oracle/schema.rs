//! Kafka's schemas, as they stand beside this module, with the few exceptions that newer versions
//! than they know make necessary.

use serde_json::{Value, json};
use std::path::PathBuf;

/// A message, or a structure in it.
#[derive(Debug, Clone)]
pub struct Schema {
    pub side: Side,
    pub key: i64,
    pub flexible: Versions,
    pub fields: Vec<Field>,
}

/// Which of the two messages of an API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Request,
    Response,
}

/// One field.
#[derive(Debug, Clone)]
pub struct Field {
    /// As Kafka writes it, but in snake case.
    pub name: String,
    pub kind: Kind,
    pub versions: Versions,
    pub nullable: Versions,
    pub tag: Option<u32>,
    pub default: String,
}

/// What a field holds.
#[derive(Debug, Clone)]
pub enum Kind {
    Scalar(String),
    Array(Box<Kind>),
    Structure(String, Vec<Field>),
}

/// An inclusive range; empty if it ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions(pub i16, pub i16);

impl Versions {
    pub fn contain(self, version: i16) -> bool {
        (self.0..=self.1).contains(&version)
    }

    fn parse(text: &str) -> Versions {
        let number = |text: &str| text.parse().unwrap();
        match text.split_once('-') {
            _ if text == "none" || text.is_empty() => Versions(1, 0),
            Some((first, last)) => Versions(number(first), number(last)),
            None => match text.strip_suffix('+') {
                Some(first) => Versions(number(first), i16::MAX),
                None => Versions(number(text), number(text)),
            },
        }
    }
}

/// The schema of a message.
pub fn load(api: &str, side: Side) -> Schema {
    let name = format!("{api}{side:?}");
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    path.extend(["tests", "it", "schemas", &format!("{name}.json")]);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let text: String = lines.map(|line| line.split(" // ").next().unwrap_or(line)).collect();
    let mut schema: Value = serde_json::from_str(&text).unwrap();
    add_what_is_newer(&name, &mut schema);
    Schema {
        side,
        key: schema["apiKey"].as_i64().unwrap(),
        flexible: Versions::parse(schema["flexibleVersions"].as_str().unwrap()),
        fields: fields(&schema["fields"]),
    }
}

/// Exceptions: what Kafka added after these schemas were copied, and the one field that this broker
/// never sends as null.
fn add_what_is_newer(name: &str, schema: &mut Value) {
    match name {
        "DescribeGroupsResponse" => {
            let group = schema["fields"][1]["fields"].as_array_mut().unwrap();
            let message = json!({ "name": "ErrorMessage", "type": "string", "versions": "6+",
                "nullableVersions": "6+", "default": "null" });
            group.insert(1, message);
        }
        "FetchResponse" => {
            let partition = schema["fields"][3]["fields"][2]["fields"].as_array_mut().unwrap();
            let records = partition.iter_mut().find(|field| field["name"] == "Records").unwrap();
            records["nullableVersions"] = json!("none");
        }
        _ => {}
    }
}

fn fields(list: &Value) -> Vec<Field> {
    list.as_array().unwrap().iter().map(field).collect()
}

fn field(field: &Value) -> Field {
    let text = |name: &str| match &field[name] {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    };
    Field {
        name: snake_case(&text("name")),
        kind: kind(&text("type"), field),
        versions: Versions::parse(&text("versions")),
        nullable: Versions::parse(&text("nullableVersions")),
        tag: field["tag"].as_u64().map(|tag| tag as u32),
        default: text("default"),
    }
}

fn kind(name: &str, of: &Value) -> Kind {
    match name.strip_prefix("[]") {
        Some(element) => Kind::Array(Box::new(kind(element, of))),
        None if of["fields"].is_array() => Kind::Structure(name.into(), fields(&of["fields"])),
        None => Kind::Scalar(name.into()),
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(letter.to_lowercase());
    }
    snake
}

//! Kafka's schemas, as they stand beside this module, with one exception.

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
    except(&name, &mut schema);
    let common = schema["commonStructs"].take();
    fill_in(&mut schema["fields"], &common);
    Schema {
        side,
        key: schema["apiKey"].as_i64().unwrap(),
        flexible: Versions::parse(schema["flexibleVersions"].as_str().unwrap()),
        fields: fields(&schema["fields"]),
    }
}

/// The one field that this broker never sends as null, and names that an answer has as well as its
/// request, for other structures.
fn except(name: &str, schema: &mut Value) {
    match name {
        "DescribeTopicPartitionsResponse" => {
            schema["fields"][2]["type"] = json!("NextCursor");
        }
        "DescribeQuorumRequest" => {
            let topics = &mut schema["fields"][0];
            topics["type"] = json!("[]QuorumTopic");
            topics["fields"][1]["type"] = json!("[]QuorumPartition");
        }
        "ConsumerGroupHeartbeatRequest" => {
            let fields = schema["fields"].as_array_mut().unwrap();
            let owned = fields.iter_mut().find(|field| field["name"] == "TopicPartitions");
            owned.unwrap()["type"] = json!("[]OwnedTopicPartitions");
        }
        "FetchResponse" => {
            let partition = schema["fields"][3]["fields"][2]["fields"].as_array_mut().unwrap();
            let records = partition.iter_mut().find(|field| field["name"] == "Records").unwrap();
            records["nullableVersions"] = json!("none");
        }
        _ => {}
    }
}

/// Gives the fields of structures that several fields share to each of them.
fn fill_in(fields: &mut Value, common: &Value) {
    for field in fields.as_array_mut().into_iter().flatten() {
        let name = field["type"].as_str().unwrap().trim_start_matches("[]");
        let shared = common.as_array().into_iter().flatten();
        if let Some(found) = shared.into_iter().find(|found| found["name"] == name) {
            field["fields"] = found["fields"].clone();
        }
        if field["fields"].is_array() {
            fill_in(&mut field["fields"], common);
        }
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

//! Our tables against Kafka's schemas: order, names, types, versions, nulls, defaults, flexibility.
//! Compared are the versions that are served; tagged fields are never read or sent.

use super::row::Row;
use super::rows;
use super::schema::{self, Field, Kind, Side};
use brooklet::codec::FieldTable;

#[test]
fn every_table_agrees_with_kafkas_schema() {
    for row in rows::all() {
        for side in [Side::Request, Side::Response] {
            let schema = schema::load(row.name, side);
            assert_eq!(schema.key, i64::from(row.key), "{}", row.name);
            for version in row.versions.clone() {
                let flexible = version >= row.flexible_since;
                assert_eq!(schema.flexible.contain(version), flexible, "{} {version}", row.name);
            }
            let name = format!("{}{side:?}", row.name);
            let versions: Vec<_> = row.versions.clone().collect();
            structure(&row, side, &name, &schema.fields, &versions);
        }
    }
}

/// Compares one structure in the versions that have it, and then those in it.
fn structure(row: &Row, side: Side, name: &str, fields: &[Field], versions: &[i16]) {
    let table = row.tables.iter().find(|(table, _)| *table == name);
    let (_, table) = table.unwrap_or_else(|| panic!("no table {name}"));
    let plain = || fields.iter().filter(|field| field.tag.is_none());
    for &version in versions {
        let what = format!("{name} {version}");
        let schema: Vec<_> = plain().filter(|field| field.versions.contain(version)).collect();
        let carried = |line: &&FieldTable| (line.since..=line.until).contains(&version);
        let ours: Vec<_> = table.iter().filter(carried).collect();
        let names: Vec<_> = ours.iter().map(|line| name_of(line)).collect();
        let names_expected: Vec<_> = schema.iter().map(|field| &field.name).collect();
        assert_eq!(names, names_expected, "{what}");
        for (line, field) in ours.iter().zip(schema) {
            let what = format!("{what} {}", line.name);
            let nullable = version >= line.nullable_since;
            assert_eq!(nullable, field.nullable.contain(version), "{what}");
            let expected = kind(&kind_expected(field, side));
            // An answer's array of scalars is a slice, or a list of them.
            let listed = kind(line.kind).replace("List<i32>", "[i32]");
            let listed = listed.replace("List<&'static str>", "[str]");
            assert!(kind(line.kind) == expected || listed == expected, "{what}: {expected}");
        }
    }
    for field in plain() {
        let carried: Vec<_> =
            versions.iter().copied().filter(|v| field.versions.contain(*v)).collect();
        if carried.is_empty() {
            continue;
        }
        let line = table.iter().find(|line| name_of(line) == field.name).unwrap();
        if side == Side::Request && carried.len() < versions.len() {
            assert_eq!(default(line), default_expected(field), "{name} {}", line.name);
        }
        let mut kind = &field.kind;
        while let Kind::Array(element) = kind {
            kind = element;
        }
        if let Kind::Structure(name, fields) = kind {
            structure(row, side, name, fields, &carried);
        }
    }
}

/// Our name of a field, also where it is a word of the language.
fn name_of(line: &FieldTable) -> &str {
    line.name.trim_start_matches("r#")
}

/// Our type without lifetimes, and by one name where Kafka has two.
fn kind(written: &str) -> String {
    let lifetimes = ["&'a ", "'a, ", "<'a>", "<'static>"].map(|lifetime| (lifetime, ""));
    let fold = |kind: String, (from, to)| kind.replace(from, to);
    SAME.into_iter().chain(lifetimes).fold(written.into(), fold)
}

/// What one group of several is asked and told is of the same form as with a group alone.
const SAME: [(&str, &str); 3] = [
    ("OffsetFetchRequestTopics", "OffsetFetchRequestTopic"),
    ("OffsetFetchResponseTopics", "OffsetFetchResponseTopic"),
    ("OffsetFetchResponsePartitions", "OffsetFetchResponsePartition"),
];

/// Our type for a field of the schema.
fn kind_expected(field: &Field, side: Side) -> String {
    let kind = match &field.kind {
        Kind::Array(element) => {
            let scalar = matches!(**element, Kind::Scalar(_));
            let element = element_expected(element);
            match side {
                Side::Request => format!("Array<{element}>"),
                Side::Response if scalar => format!("[{element}]"),
                Side::Response => format!("List<{element}>"),
            }
        }
        Kind::Scalar(_) if field.name.ends_with("error_code") => "ErrorCode".into(),
        other => element_expected(other),
    };
    if field.nullable.0 <= field.nullable.1 { format!("Option<{kind}>") } else { kind }
}

fn element_expected(kind: &Kind) -> String {
    match kind {
        Kind::Structure(name, _) => name.clone(),
        Kind::Scalar(name) => match name.as_str() {
            "bool" => "bool",
            "int8" => "i8",
            "int16" => "i16",
            "uint16" => "u16",
            "int32" => "i32",
            "int64" => "i64",
            "float64" => "f64",
            "uuid" => "TopicId",
            "string" => "str",
            "bytes" | "records" => "[u8]",
            other => panic!("no type for {other}"),
        }
        .into(),
        Kind::Array(_) => panic!("arrays of arrays do not occur"),
    }
}

/// Our default in Kafka's spelling; nothing is zero, empty or false.
fn default(line: &FieldTable) -> String {
    match line.default {
        "" if line.kind.starts_with("Option") => "null".into(),
        "Some(Array::default())" => String::new(),
        "i32::MAX" => "0x7fffffff".into(),
        other => other.replace('_', ""),
    }
}

fn default_expected(field: &Field) -> String {
    match field.default.as_str() {
        "0" | "false" => String::new(),
        other => other.into(),
    }
}

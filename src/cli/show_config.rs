//! `brooklet config`: every key, in the form of the file, each with where its value came from.

use std::fmt::Write;

use crate::config::source::Places;
use crate::config::value::{Bytes, Key, Value};
use crate::config::{Config, KEYS, Kind, RING_KEYS};

/// The configuration as a file that gives the same one.
pub fn shown(config: &Config, places: &Places) -> String {
    let mut text = String::new();
    for key in KEYS {
        line(&mut text, key, config, places.of(key.name));
    }
    for ring in &config.rings {
        text.push_str("\n[[ring]]\n");
        for key in RING_KEYS {
            line(&mut text, key, ring, places.of(&format!("ring.{}.{}", ring.name, key.name)));
        }
    }
    text
}

fn line<C>(text: &mut String, key: &Key<C>, of: &C, place: Option<&str>) {
    let value = match ((key.get)(of), &key.kind) {
        // In a unit, unless that is the byte, which needs no name.
        (Value::Int(bytes), Kind::Bytes { .. }) if bytes % 1024 == 0 && bytes > 0 => {
            Value::Text(Bytes(bytes).to_string())
        }
        (value, _) => value,
    };
    let setting = format!("{} = {value}", key.name);
    let _ = writeln!(text, "{setting:<48} # {}", place.unwrap_or("default"));
}

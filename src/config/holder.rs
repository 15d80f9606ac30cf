//! Those that a ring is held or watched for.

use std::fmt;

use super::RingConfig;
use super::field::Field;
use super::value::Value;
use crate::limits;

/// A consumer that commits or reports its positions. A held ring overwrites nothing before it has consumed
/// it; a watched one counts what it overwrites.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A consumer group, which commits.
    Group(String),
    /// MirrorMaker 2, by its name for the cluster that it mirrors to: it commits nothing here, but
    /// reports in a topic of its own.
    Mirror(String),
}

impl Holder {
    /// From `group:NAME` or `mirror:ALIAS`.
    pub fn from_text(text: &str) -> Option<Holder> {
        let (kind, name) = text.split_once(':')?;
        match kind {
            "group" if is_group(name) => Some(Holder::Group(name.to_string())),
            "mirror" if is_alias(name) => Some(Holder::Mirror(name.to_string())),
            _ => None,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Group(name) => write!(f, "group:{name}"),
            Holder::Mirror(alias) => write!(f, "mirror:{alias}"),
        }
    }
}

impl Field for Vec<Holder> {
    fn from_value(value: Value) -> Vec<Holder> {
        let items = Vec::<String>::from_value(value);
        items.iter().filter_map(|item| Holder::from_text(item)).collect()
    }
    fn to_value(&self) -> Value {
        Value::List(self.iter().map(Holder::to_string).collect())
    }
}

/// Whether each is a holder, and none comes twice.
pub fn are_holders(items: &[String]) -> bool {
    items.len() <= limits::HOLDERS_MAX
        && items.iter().all(|item| Holder::from_text(item).is_some())
        && items.iter().enumerate().all(|(i, item)| !items[..i].contains(item))
}

/// The mirrors that rings are held or watched for, each once.
pub fn mirrors(rings: &[RingConfig]) -> Vec<String> {
    let mut mirrors: Vec<String> = Vec::new();
    for holder in rings.iter().flat_map(|ring| ring.hold_for.iter().chain(&ring.watch_for)) {
        if let Holder::Mirror(alias) = holder
            && !mirrors.contains(alias)
        {
            mirrors.push(alias.clone());
        }
    }
    mirrors
}

/// A name that `status` can show without escapes.
fn is_group(name: &str) -> bool {
    let shown = |c: char| !c.is_control() && c != '"' && c != '\\';
    (1..=limits::GROUP_ID_BYTES_MAX).contains(&name.len()) && name.chars().all(shown)
}

/// A part of a topic's name.
fn is_alias(name: &str) -> bool {
    let known = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    (1..=limits::MIRROR_ALIAS_BYTES_MAX).contains(&name.len()) && name.chars().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_groups_and_mirrors_and_nothing_else() {
        for text in ["group:g", "group:a b:c", "mirror:up", "mirror:eu-west.1"] {
            assert_eq!(Holder::from_text(text).unwrap().to_string(), text);
        }
        let long = format!("group:{}", "g".repeat(256));
        let long_alias = format!("mirror:{}", "a".repeat(65));
        for text in ["", "up", "group:", "mirror:", "mirror:a b", "topic:x", &long, &long_alias] {
            assert_eq!(Holder::from_text(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_of_holders_is_short_and_names_none_twice() {
        let list = |items: &[&str]| {
            let items: Vec<String> = items.iter().map(|item| (*item).to_string()).collect();
            are_holders(&items)
        };
        assert!(list(&[]) && list(&["mirror:a", "mirror:b", "group:a", "group:b"]));
        assert!(!list(&["mirror:a", "mirror:a"]) && !list(&["nobody"]));
        assert!(!list(&["group:1", "group:2", "group:3", "group:4", "group:5"]));
    }
}

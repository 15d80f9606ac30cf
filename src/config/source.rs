//! Where values come from, strongest first: `--set`, flags, environment, file, defaults.

use super::resolve::resolve;
use super::value::{Key, Refusal, Value};
use super::{Config, KEYS, RING_KEYS, RingConfig};

/// The configuration that these `key=value` settings make of the defaults.
pub fn resolved(settings: &[(&str, &str)]) -> Result<Config, Refusal> {
    let mut config = Config::unresolved();
    for (key, text) in settings {
        set(&mut config, key, text)?;
    }
    resolve(config)
}

/// Sets one key from text, as `--set` does; `ring.KEY` and `ring.NAME.KEY` address a ring's table.
pub fn set(config: &mut Config, key: &str, text: &str) -> Result<(), Refusal> {
    match key.strip_prefix("ring.") {
        None => assign(KEYS, config, key, "", |kind| kind.parse(text)),
        Some(path) => {
            let (ring, key) = ring_of_path(config, path)?;
            let prefix = format!("ring.{}.", ring.name);
            assign(RING_KEYS, ring, key, &prefix, |kind| kind.parse(text))
        }
    }
}

/// Finds the ring that `NAME.KEY` or `KEY` means; the latter only while there is no choice.
fn ring_of_path<'a, 'b>(
    config: &'a mut Config,
    path: &'b str,
) -> Result<(&'a mut RingConfig, &'b str), Refusal> {
    if config.rings.is_empty() {
        config.rings.push(RingConfig::unresolved());
    }
    let names = config
        .rings
        .iter()
        .map(|r| r.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    let (index, key) = match path.split_once('.') {
        None if config.rings.len() == 1 => (Some(0), path),
        None => (None, path),
        Some((name, key)) => (config.rings.iter().position(|ring| ring.name == name), key),
    };
    match index.and_then(|index| config.rings.get_mut(index)) {
        Some(ring) => Ok((ring, key)),
        None => Err(Refusal::new(format!(
            "key \"ring.{path}\" is not allowed: it takes ring.NAME.KEY with a NAME of {names}"
        ))),
    }
}

/// Sets a key of a table to what `value` makes of its kind; refusals name the key.
fn assign<C>(
    table: &[Key<C>],
    into: &mut C,
    name: &str,
    prefix: &str,
    value: impl FnOnce(&super::Kind) -> Result<Value, Refusal>,
) -> Result<(), Refusal> {
    let key = find(table, name, prefix)?;
    let value = value(&key.kind)
        .map_err(|refusal| Refusal::new(format!("{prefix}{name} = {}", refusal.text)))?;
    (key.set)(into, value);
    Ok(())
}

fn find<'a, C>(table: &'a [Key<C>], name: &str, prefix: &str) -> Result<&'a Key<C>, Refusal> {
    table.iter().find(|key| key.name == name).ok_or_else(|| {
        let near = table.iter().min_by_key(|key| distance(key.name, name));
        let near = near.map_or("", |key| key.name);
        Refusal::new(format!(
            "there is no key \"{prefix}{name}\"; did you mean \"{prefix}{near}\"?"
        ))
    })
}

/// How many characters must change to make one word the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.bytes().enumerate() {
            let change = diagonal + usize::from(ca != cb);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

//! Where values come from, strongest first: `--set`, flags, environment, file, defaults.

use super::file::{Entry, What, entries};
use super::resolve::{remarks, resolve};
use super::value::{Key, Refusal, Value};
use super::{Config, KEYS, RING_KEYS, RingConfig};

/// Everything that may set a key.
#[derive(Default)]
pub struct Sources<'a> {
    /// The file's name and text.
    pub file: Option<(&'a str, &'a str)>,
    /// The environment; variables that do not start with `BROOKLET_` are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags that stand for a key: the flag, the key, the value.
    pub flags: Vec<(&'a str, &'a str, String)>,
    /// What `--set` was given: `key=value`.
    pub sets: &'a [String],
}

/// A configuration, and warnings about its sources.
#[derive(Debug)]
pub struct Loaded {
    /// The configuration, resolved.
    pub config: Config,
    /// Lines for the log.
    pub warnings: Vec<String>,
    /// Where each key was set last.
    pub places: Places,
}

/// Brings all sources together.
pub fn load(sources: Sources<'_>) -> Result<Loaded, Refusal> {
    let mut config = Config::unresolved();
    let mut places = Places::default();
    if let Some((name, text)) = sources.file {
        load_file(&mut config, &mut places, name, text)?;
    }
    let warnings = load_environment(&mut config, &mut places, sources.environment)?;
    for (flag, key, value) in sources.flags {
        set(&mut config, key, &value).map_err(|refusal| refusal.at(flag))?;
        places.note(key, flag.to_string());
    }
    for setting in sources.sets {
        let split = setting
            .split_once('=')
            .ok_or_else(|| Refusal::new(format!("{setting:?} is not allowed: it takes key=value")));
        split
            .and_then(|(key, value)| {
                set(&mut config, key.trim(), value)?;
                places.note(&full_key(&config, key.trim()), "--set".to_string());
                Ok(())
            })
            .map_err(|refusal| refusal.at("--set"))?;
    }
    let config = resolve(config).map_err(|refusal| places.add(refusal))?;
    let warnings = warnings.into_iter().chain(remarks(&config)).collect();
    Ok(Loaded { config, warnings, places })
}

/// Where each key was set last, for refusals that are about several keys.
#[derive(Debug, Default)]
pub struct Places(Vec<(String, String)>);

impl Places {
    #[inline(never)]
    fn note(&mut self, key: &str, place: String) {
        // The last one counts.
        self.0.push((key.to_string(), place));
    }

    /// Where a key was set last; none: nowhere. A ring's key is `ring.NAME.KEY`.
    pub fn of(&self, key: &str) -> Option<&str> {
        let set = self.0.iter().rfind(|(other, _)| other == key);
        set.map(|(_, place)| place.as_str())
    }

    /// Adds the place of a refusal's key, with which its text begins.
    fn add(&self, refusal: Refusal) -> Refusal {
        let key = refusal.text.split(" = ").next().unwrap_or_default();
        match self.of(key) {
            Some(place) if refusal.place.is_empty() => refusal.at(place.to_string()),
            _ => refusal,
        }
    }
}

/// A key with its ring's name, which may be left out if there is only one ring.
fn full_key(config: &Config, key: &str) -> String {
    match (key.strip_prefix("ring."), &config.rings[..]) {
        (Some(path), [ring]) if !path.contains('.') => format!("ring.{}.{path}", ring.name),
        _ => key.to_string(),
    }
}

#[inline(never)]
fn load_file(
    config: &mut Config,
    places: &mut Places,
    name: &str,
    text: &str,
) -> Result<(), Refusal> {
    let entries = entries(text).map_err(|refusal| {
        let place = format!("{name}, {}", refusal.place);
        refusal.at(place)
    })?;
    let mut in_ring = false;
    // The keys of the table that is open; TOML allows none twice.
    let mut seen: Vec<String> = Vec::new();
    let mut of_rings = Vec::new();
    for Entry { line, what } in entries {
        let at = |refusal: Refusal| refusal.at(format!("{name}, line {line}"));
        match what {
            What::Ring => {
                config.rings.push(RingConfig::unresolved());
                in_ring = true;
                seen.clear();
            }
            What::Key(key, _) if seen.contains(&key) => {
                return Err(at(Refusal::new(format!("{key} is not allowed twice"))));
            }
            What::Key(key, value) => {
                match config.rings.last_mut() {
                    Some(ring) if in_ring => {
                        check_table(RING_KEYS, KEYS, &key, ABOVE_RINGS).map_err(at)?;
                        let named = seen.iter().any(|key| key == "name");
                        let prefix = if named {
                            format!("ring.{}.", ring.name)
                        } else {
                            "ring.".to_string()
                        };
                        assign(RING_KEYS, ring, &key, &prefix, |kind| kind.check(value))
                    }
                    _ => check_table(KEYS, RING_KEYS, &key, BELOW_RING)
                        .and_then(|()| assign(KEYS, config, &key, "", |kind| kind.check(value))),
                }
                .map_err(at)?;
                let place = format!("{name}, line {line}");
                if in_ring {
                    of_rings.push((config.rings.len() - 1, key.clone(), place));
                } else {
                    places.note(&key, place);
                }
                seen.push(key);
            }
        }
    }
    for (ring, key, place) in of_rings {
        places.note(&format!("ring.{}.{key}", config.rings[ring].name), place);
    }
    Ok(())
}

/// Refuses a key that belongs in the other kind of table.
fn check_table<C, D>(
    table: &[Key<C>],
    other: &[Key<D>],
    name: &str,
    belongs: &str,
) -> Result<(), Refusal> {
    let is_other = other.iter().any(|key| key.name == name);
    if is_other && !table.iter().any(|key| key.name == name) {
        return Err(Refusal::new(format!("key {name:?} is not allowed here: {belongs}")));
    }
    Ok(())
}

const ABOVE_RINGS: &str = "it is the whole broker's, and stands above the first [[ring]]";
const BELOW_RING: &str = "it is a ring's, and stands below a [[ring]]";

/// `BROOKLET_KEY`, `BROOKLET_RING_KEY` for the only ring, and `BROOKLET_RING_NAME_KEY`.
fn load_environment(
    config: &mut Config,
    places: &mut Places,
    mut environment: Vec<(String, String)>,
) -> Result<Vec<String>, Refusal> {
    environment.retain(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX));
    environment.sort_unstable();
    let mut warnings = Vec::new();
    let keys = if environment.is_empty() { Vec::new() } else { keys_of_variables(config) };
    for (name, text) in &environment {
        let Some(key) = keys.iter().find(|key| variable_of_key(key) == **name) else {
            // Not refused: orchestrators invent such names for a service that is called brooklet.
            if name != CONFIG_VARIABLE {
                let near: Vec<_> = keys.iter().map(|key| variable_of_key(key)).collect();
                let near = nearest(&near, name, ENVIRONMENT_PREFIX.len());
                let near = near.map_or(String::new(), |near| format!("; did you mean {near}?"));
                warnings.push(format!(
                    "the environment variable {name} is no key and has no effect{near}"
                ));
            }
            continue;
        };
        set(config, key, text).map_err(|refusal| refusal.at(name.as_str()))?;
        places.note(&full_key(config, key), name.clone());
    }
    Ok(warnings)
}

/// All keys that there are variables for.
fn keys_of_variables(config: &Config) -> Vec<String> {
    let mut keys: Vec<String> = KEYS.iter().map(|key| key.name.to_string()).collect();
    for key in RING_KEYS {
        keys.push(format!("ring.{}", key.name));
        keys.extend(config.rings.iter().map(|ring| format!("ring.{}.{}", ring.name, key.name)));
    }
    keys
}

/// The environment variable of a key.
pub fn variable_of_key(key: &str) -> String {
    let upper = key.to_ascii_uppercase().replace(['.', '-'], "_");
    format!("{ENVIRONMENT_PREFIX}{upper}")
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
    let names = config.rings.iter().map(|r| r.name.as_str()).collect::<Vec<_>>().join(", ");
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
    if let Some(key) = table.iter().find(|key| key.name == name) {
        return Ok(key);
    }
    let names: Vec<String> = table.iter().map(|key| key.name.to_string()).collect();
    let near = nearest(&names, name, 0);
    let near = near.map_or(String::new(), |near| format!("; did you mean \"{prefix}{near}\"?"));
    Err(Refusal::new(format!("there is no key \"{prefix}{name}\"{near}")))
}

/// The most similar word, if one is similar; `same`: how many first letters all words share.
fn nearest<'a>(words: &'a [String], word: &str, same: usize) -> Option<&'a str> {
    let changes_max = (word.len() - same).max(4) / 2;
    let mut nearest = None;
    for other in words {
        let changes = distance(other, word);
        if changes <= changes_max && nearest.is_none_or(|(least, _)| changes < least) {
            nearest = Some((changes, other.as_str()));
        }
    }
    nearest.map(|(_, word)| word)
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

const ENVIRONMENT_PREFIX: &str = "BROOKLET_";

/// Names the file, and so is no key.
pub const CONFIG_VARIABLE: &str = "BROOKLET_CONFIG";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::value::Kind;

    fn from_file(text: &str) -> Result<Config, String> {
        let sources = Sources { file: Some(("b.toml", text)), ..Sources::default() };
        load(sources).map(|loaded| loaded.config).map_err(|refusal| refusal.to_string())
    }

    fn from_sets(sets: &[&str]) -> Result<Config, String> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_string()).collect();
        let sources = Sources { sets: &sets, ..Sources::default() };
        load(sources).map(|loaded| loaded.config).map_err(|refusal| refusal.to_string())
    }

    fn variable(name: &str, value: &str) -> (String, String) {
        (name.to_string(), value.to_string())
    }

    #[test]
    fn set_goes_before_flags_before_the_environment_before_the_file() {
        let file = "topics_max = 10\nnum_partitions = 10\ngroups_max = 10\nproducers_max = 10";
        let sets = ["topics_max=13".to_string()];
        let loaded = load(Sources {
            file: Some(("b.toml", file)),
            environment: vec![
                variable("BROOKLET_TOPICS_MAX", "11"),
                variable("BROOKLET_NUM_PARTITIONS", "11"),
                variable("BROOKLET_GROUPS_MAX", "11"),
                variable("PATH", "/bin"),
            ],
            flags: vec![
                ("--a", "topics_max", "12".to_string()),
                ("--b", "num_partitions", "12".to_string()),
            ],
            sets: &sets,
        });
        let config = loaded.unwrap().config;
        assert_eq!(
            (config.topics_max, config.num_partitions, config.groups_max, config.producers_max),
            (13, 12, 11, 10)
        );
        assert_eq!(config.offsets_max, Config::default().offsets_max);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_known_one() {
        let refusal = from_file("a = 1").unwrap_err();
        assert_eq!(refusal, "b.toml, line 1: there is no key \"a\"");
        let refusal = from_file("\nmesage_max_byte = 1").unwrap_err();
        assert_eq!(
            refusal,
            "b.toml, line 2: there is no key \"mesage_max_byte\"; did you mean \
             \"message_max_bytes\"?"
        );
        let refusal = from_sets(&["ring.segment=4"]).unwrap_err();
        assert!(refusal.contains("\"ring.main.segments\""), "{refusal}");
    }

    #[test]
    fn every_key_refuses_what_is_out_of_its_bounds_by_name() {
        fn check<C>(table: &[Key<C>], prefix: &str) {
            for key in table {
                let wrong = match key.kind {
                    Kind::Int { max, .. } | Kind::Bytes { max, .. } if max < i64::MAX => {
                        (max + 1).to_string()
                    }
                    Kind::Int { min, .. } => (min - 1).to_string(),
                    Kind::Text { .. } | Kind::List { .. } => "\0".to_string(),
                    _ => "7".to_string(),
                };
                let setting = format!("{prefix}{}={wrong}", key.name);
                let refusal = from_sets(&[&setting]).unwrap_err();
                assert!(refusal.contains(key.name), "{refusal}");
                assert!(refusal.contains("is not allowed: it takes"), "{refusal}");
                assert!(refusal.contains(&key.kind.to_string()), "{refusal}");
            }
        }
        check(KEYS, "");
        check(RING_KEYS, "ring.");
    }

    #[test]
    fn a_wrong_type_is_refused_wherever_it_stands() {
        let refusal = from_file("num_partitions = \"3\"").unwrap_err();
        assert!(refusal.contains("num_partitions = \"3\" is not allowed"), "{refusal}");
        for text in [
            "auto_create_topics_enable = 1",
            "listen = 9092",
            "create = true",
            "message_max_bytes = 1.5",
            "message_max_bytes = [\"1\"]",
            "[[ring]]\ntopics = \"a\"",
            "num_partitions = 99999999999999999999",
        ] {
            let refusal = from_file(text).unwrap_err();
            assert!(refusal.contains("is not allowed: it takes"), "{refusal}");
        }
        let loaded = load(Sources {
            environment: vec![variable("BROOKLET_NUM_PARTITIONS", "three")],
            ..Sources::default()
        });
        let refusal = loaded.unwrap_err().to_string();
        assert!(refusal.starts_with("BROOKLET_NUM_PARTITIONS: num_partitions = "), "{refusal}");
    }

    #[test]
    fn ring_tables_are_addressed_by_name_or_while_there_is_one() {
        let config = from_sets(&["ring.segments=4", "ring.main.spares=1"]).unwrap();
        assert_eq!((config.rings[0].segments, config.rings[0].spares), (4, 1));
        let two = "[[ring]]\nname = \"a\"\ntopics = [\"x*\"]\n[[ring]]\nname = \"b-c\"\n";
        let loaded = load(Sources {
            file: Some(("b.toml", two)),
            environment: vec![
                variable("BROOKLET_RING_B_C_SEGMENTS", "5"),
                variable("BROOKLET_RING_D_SEGMENTS", "5"),
                variable("BROOKLET_CONFIG", "b.toml"),
            ],
            sets: &["ring.a.segments=7".to_string()],
            ..Sources::default()
        });
        let loaded = loaded.unwrap();
        assert_eq!(loaded.config.rings[0].segments, 7);
        assert_eq!(loaded.config.rings[1].segments, 5);
        assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
        assert_eq!(loaded.config.ring_of("xyz").0, 0);
        assert_eq!(loaded.config.ring_of("other").0, 1);
        let sources = Sources {
            file: Some(("b.toml", two)),
            sets: &["ring.segments=7".to_string()],
            ..Sources::default()
        };
        let refusal = load(sources).unwrap_err().to_string();
        assert!(refusal.contains("a, b-c"), "{refusal}");
    }

    #[test]
    fn a_refusal_says_where_what_and_what_to_write_instead() {
        for (file, said) in [
            (
                "hold_for = [\"group:a\"]",
                "line 1: key \"hold_for\" is not allowed here: it is a ring's, and stands below a [[ring]]",
            ),
            (
                "[[ring]]\nlisten = \"[::]:1\"",
                "line 2: key \"listen\" is not allowed here: it is the whole broker's, and stands above the \
                 first [[ring]]",
            ),
            (
                "memory_max = \"12MB\"",
                "line 1: memory_max = \"12MB\" is not allowed: it takes a size from 0 bytes to 1 TiB; \
                 sizes are written as \"12 MiB\", in KiB, MiB, GiB or TiB",
            ),
            (
                "[[ring]]\nname = \"x\"\nsegment_bytes = \"10 MiB\"",
                "line 3: ring.x.segment_bytes = \"10 MiB\" is not allowed: it takes a size from 4 MiB to \
                 1 GiB in multiples of 4 MiB",
            ),
            (
                "[[ring]]\ntopics = \"alarm*\"",
                "line 2: ring.topics = \"alarm*\" is not allowed: it takes a list of topic names with * \
                 and ?; one is written [\"alarm*\"]",
            ),
            (
                "node_id = 1\nlisten = 0.0.0.0:9092",
                "line 2: this is not TOML: invalid float; text is written in quotes",
            ),
            (
                "message.max.bytes = 1000",
                "line 1: a dot in a key is not allowed: keys are written as message_max_bytes here",
            ),
            (
                "[[ring]]\nname = \"a\"\n[[ring]]\nname = \"a\"",
                "line 4: ring.a.name = \"a\" is not allowed twice: [[ring]] tables 1 and 2 have it, and \
                 each takes a name of its own",
            ),
            (
                "node_id = 1\ntopics_max = 600",
                "line 2: topics_max = 600 is not allowed: it takes at most partitions_max (512)",
            ),
        ] {
            assert_eq!(from_file(file).unwrap_err(), format!("b.toml, {said}"));
        }
        let refusal =
            from_sets(&["ring.segment_bytes=4MiB", "message_max_bytes=4MiB"]).unwrap_err();
        assert!(refusal.starts_with("--set: ring.main.segment_bytes = 4 MiB is"), "{refusal}");
        let config = from_sets(&["ring.topics=[\"a*\", 'b']"]).unwrap();
        assert_eq!(config.rings[0].topics, ["a*", "b"], "a list as the file has it");
        let variables = ["BROOKLET_LISTN", "BROOKLET_RING_MAIN_SPARE", "BROOKLET_SERVICE_PORT"];
        let environment = variables.map(|name| variable(name, "1")).to_vec();
        let warnings = load(Sources { environment, ..Sources::default() }).unwrap().warnings;
        let said = |at: usize, end: &str| assert!(warnings[at].ends_with(end), "{}", warnings[at]);
        said(0, "no effect; did you mean BROOKLET_LISTEN?");
        said(1, "no effect; did you mean BROOKLET_RING_SPARES?");
        said(2, "has no effect");
    }

    #[test]
    fn keys_that_contradict_each_other_are_refused() {
        for (file, named) in [
            ("socket_request_max_bytes = \"1 MiB\"", "message_max_bytes"),
            ("commit_group_max_bytes = \"1 MiB\"", "message_max_bytes"),
            ("message_max_bytes = \"16 MiB\"", "segment_bytes"),
            ("topics_max = 600", "partitions_max"),
            ("[[ring]]\n[[ring]]\n", "ring.main.name"),
            ("[[ring]]\nname = \"spares\"", "b.toml, line 2: ring.spares.name"),
            ("create = \"auto\"\ncreate = \"auto\"", "create"),
        ] {
            let refusal = from_file(file).unwrap_err();
            assert!(refusal.contains(named), "{refusal}");
        }
        for (file, why) in [
            ("[[ring]]\nhold_topics = [\"a*\"]", "a hold_for beside it"),
            ("[[ring]]\nhold_for = [\"group:g\"]\nhold_topics = []", "hold_topics"),
            (
                "[[ring]]\nname = \"a\"\ntopics = [\"alarm*\"]\nhold_for = [\"group:g\"]\n\
                 hold_topics = [\"alarms.*\", \"sensor*\"]\n[[ring]]",
                "ring.a.hold_topics = [\"sensor*\"] is not allowed",
            ),
        ] {
            let refusal = from_file(file).unwrap_err();
            assert!(refusal.contains(why), "{refusal}");
        }
        // The last ring takes whatever no other does.
        let last =
            "[[ring]]\ntopics = [\"alarm*\"]\nhold_for = [\"group:g\"]\nhold_topics = [\"x\"]";
        assert_eq!(from_file(last).unwrap().rings[0].hold_topics, ["x"]);
        let five: String = (0..5).map(|i| format!("[[ring]]\nname = \"r{i}\"\n")).collect();
        assert!(from_file(&five).unwrap_err().contains("[[ring]]"));
    }
}

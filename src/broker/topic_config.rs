//! A topic's own settings: every one of Kafka 4 is accepted, checked as Kafka does, stored and shown.
//! [`Key::effective`] says which of them change what brooklet does.
//!
//! They are stored as entries of {key's number, value's length, value}, one byte each for the first
//! two, the value as the client wrote it.

mod keys;

use std::fmt::Write;

pub use keys::KEYS;

use super::refusal::{Note, Refusal};
use crate::codec::ErrorCode;
use crate::config::{Config, TimestampType};
use crate::limits;
use crate::log::state::{Topic, TopicConfigs};

/// A setting.
#[derive(Debug)]
pub struct Key {
    /// Its number on flash.
    pub number: u8,
    /// Kafka's name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// Its value when the topic does not set it.
    pub default: Default,
    /// What it means here.
    pub documentation: &'static str,
    /// Whether it changes anything here.
    pub effective: bool,
    /// The broker's setting that is its default, by Kafka's name.
    pub broker: Option<&'static str>,
}

/// What values a setting takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number of 32 bits, from and to.
    Int(i32, i32),
    /// A whole number of 64 bits, from.
    Long(i64),
    /// A number from 0 to 1.
    Ratio,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// −1, or 1 to 9.
    GzipLevel,
    /// A list of `delete` and `compact`.
    CleanupPolicy,
    /// A list of PARTITION:BROKER, or `*`.
    Replicas,
    /// `false`; `true` is known and refused.
    NotTiered,
}

/// A setting's value when the topic does not set it.
#[derive(Debug)]
pub enum Default {
    /// Always this.
    Fixed(&'static str),
    /// The configuration's value, with the configuration's own default.
    Config(&'static str, fn(&Config) -> Text),
}

/// A default value.
pub type Text = heapless::String<24>;

/// Where a shown value comes from; the numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The topic's own.
    Topic = 1,
    /// The configuration's.
    StaticBroker = 4,
    /// A default.
    Default = 5,
}

/// A setting by Kafka's name.
pub fn key_named(name: &str) -> Option<&'static Key> {
    let at = KEYS.binary_search_by(|key| key.name.cmp(name)).ok()?;
    KEYS.get(at)
}

/// The setting that a client names, and the value that it gives it.
pub fn key_asked<'v>(
    name: &str,
    value: Option<&'v str>,
) -> Result<(&'static Key, &'v str), Refusal> {
    let bad = |why| Refusal::new(ErrorCode::INVALID_CONFIG, why);
    let Some(key) = key_named(name) else {
        return Err(bad(format_args!("Unknown topic config name: {name}")));
    };
    let Some(value) = value else {
        return Err(bad(format_args!("A topic config needs a value: {name}")));
    };
    Ok((key, value))
}

/// Whether the topic's records get the time of their arrival.
pub fn append_time(topic: &Topic, config: &Config) -> bool {
    match own(&topic.configs, TIMESTAMP_TYPE) {
        Some(value) => value.trim() == LOG_APPEND_TIME,
        None => config.log_message_timestamp_type == TimestampType::LogAppendTime,
    }
}

/// The topic's largest batch: never above the broker's, which the memory plan is made for.
pub fn message_bytes_max(topic: &Topic, config: &Config) -> usize {
    let own = number_of(&topic.configs, MESSAGE_BYTES_MAX);
    own.and_then(|own| usize::try_from(own).ok())
        .map_or(config.message_max_bytes, |own| own.min(config.message_max_bytes))
}

/// How long after they were written and acknowledged the topic's records may be synced; none: they are
/// acknowledged when synced.
pub fn relaxed_ms(topic: &Topic) -> Option<u64> {
    let messages = number_of(&topic.configs, FLUSH_MESSAGES);
    let ms = number_of(&topic.configs, FLUSH_MS).and_then(|ms| u64::try_from(ms).ok());
    match (messages, ms) {
        (Some(1), _) | (_, Some(0)) | (None, None) => None,
        (_, Some(ms)) => Some(ms.min(limits::RELAXED_MS_MAX)),
        (Some(_), None) => Some(limits::RELAXED_MS_DEFAULT),
    }
}

/// After how long the topic's records are hidden; none: never.
pub fn retention_ms(topic: &Topic, config: &Config) -> Option<u64> {
    let ms = number_of(&topic.configs, RETENTION_MS).unwrap_or(config.log_retention_ms);
    u64::try_from(ms).ok()
}

/// How far a producer's time may lie behind ours, and ahead of it.
pub fn timestamp_ms_max(topic: &Topic, config: &Config) -> (i64, i64) {
    let before = number_of(&topic.configs, TIMESTAMP_BEFORE);
    let after = number_of(&topic.configs, TIMESTAMP_AFTER);
    (
        before.unwrap_or(config.log_message_timestamp_before_max_ms),
        after.unwrap_or(config.log_message_timestamp_after_max_ms),
    )
}

/// How many replicas the topic wants for acks=all; there is one.
pub fn insync_replicas_min(topic: &Topic) -> i64 {
    number_of(&topic.configs, INSYNC_REPLICAS_MIN).unwrap_or(1)
}

/// The topic's own value of a setting.
pub fn own_value<'t>(configs: &'t [u8], key: &Key) -> Option<&'t str> {
    own(configs, key.number)
}

impl Kind {
    /// Kafka's number of the type.
    pub fn number(self) -> i8 {
        match self {
            Kind::Bool | Kind::NotTiered => BOOLEAN,
            Kind::Choice(_) => STRING,
            Kind::Int(..) | Kind::GzipLevel => INT,
            Kind::Long(_) => LONG,
            Kind::Ratio => DOUBLE,
            Kind::CleanupPolicy | Kind::Replicas => LIST,
        }
    }
}

impl Key {
    /// The setting's value when the topic does not set it, and where that comes from.
    pub fn default_value(&self, config: &Config) -> (Text, Source) {
        match self.default {
            Default::Fixed(value) => (text(value), Source::Default),
            Default::Config(usual, value) => {
                let value = value(config);
                let source = if value == usual { Source::Default } else { Source::StaticBroker };
                (value, source)
            }
        }
    }

    /// The setting's value when neither the topic nor the configuration sets it.
    pub fn usual_value(&self) -> &'static str {
        match self.default {
            Default::Fixed(value) | Default::Config(value, _) => value,
        }
    }

    /// Whether values are lists, which may be appended to and subtracted from.
    pub fn is_list(&self) -> bool {
        matches!(self.kind, Kind::CleanupPolicy | Kind::Replicas)
    }

    /// Whether the setting takes this value; if not, why.
    pub fn check(&self, value: &str) -> Result<(), Note> {
        let text = value.trim();
        let name = self.name;
        let bad = |why: std::fmt::Arguments<'_>| {
            Err(Note::new(format_args!("Invalid value {text} for configuration {name}: {why}")))
        };
        match self.kind {
            Kind::Bool | Kind::NotTiered => match truth(text) {
                None => bad(format_args!("it must be true or false")),
                Some(true) if matches!(self.kind, Kind::NotTiered) => {
                    bad(format_args!("there is no tiered storage"))
                }
                Some(_) => Ok(()),
            },
            Kind::Int(min, max) => match text.parse::<i32>() {
                Err(_) => bad(format_args!("it must be a whole number of 32 bits")),
                Ok(n) if n < min => bad(format_args!("it must be at least {min}")),
                Ok(n) if n > max => bad(format_args!("it must be at most {max}")),
                Ok(_) => Ok(()),
            },
            Kind::Long(min) => match text.parse::<i64>() {
                Err(_) => bad(format_args!("it must be a whole number of 64 bits")),
                Ok(n) if n < min => bad(format_args!("it must be at least {min}")),
                Ok(_) => Ok(()),
            },
            Kind::Ratio if is_ratio(text) => Ok(()),
            Kind::Ratio => bad(format_args!("it must be a number from 0 to 1")),
            Kind::GzipLevel => match text.parse::<i32>() {
                Ok(-1 | 1..=9) => Ok(()),
                _ => bad(format_args!("it must be -1, or 1 to 9")),
            },
            Kind::Choice(words) if words.contains(&text) => Ok(()),
            Kind::Choice(words) => bad(format_args!("it must be one of {words:?}")),
            Kind::CleanupPolicy
                if items(value).all(|item| ["delete", "compact"].contains(&item)) =>
            {
                Ok(())
            }
            Kind::CleanupPolicy => bad(format_args!("each policy must be delete or compact")),
            Kind::Replicas if text == "*" || items(value).all(is_replica) => Ok(()),
            Kind::Replicas => {
                bad(format_args!("it must be * or a list of PARTITION:BROKER,PARTITION:BROKER,…"))
            }
        }
    }
}

/// A topic's settings while they are changed. Values that are not touched are not checked again.
#[derive(Debug, Clone, std::default::Default)]
pub struct Edit {
    configs: TopicConfigs,
}

impl Edit {
    /// Begins with what the topic has.
    pub fn of(configs: &TopicConfigs) -> Edit {
        Edit { configs: configs.clone() }
    }

    /// Sets one, if the value is good and there is room for it.
    pub fn set(&mut self, key: &Key, value: &str) -> Result<(), Refusal> {
        key.check(value).map_err(|message| Refusal { code: ErrorCode::INVALID_CONFIG, message })?;
        self.remove(key);
        let full = |_| {
            let max = limits::TOPIC_CONFIG_BYTES_MAX;
            let why = format_args!("A topic's own settings may take at most {max} bytes.");
            Refusal::new(ErrorCode::INVALID_CONFIG, why)
        };
        let room = limits::TOPIC_CONFIG_BYTES_MAX - self.configs.len();
        let length = u8::try_from(value.len())
            .ok()
            .filter(|length| usize::from(*length) + ENTRY_BYTES <= room)
            .ok_or(())
            .map_err(full)?;
        let head = self.configs.extend_from_slice(&[key.number, length]);
        let rest = self.configs.extend_from_slice(value.as_bytes());
        assert!(head.is_ok() && rest.is_ok(), "the room was looked at");
        Ok(())
    }

    /// Unsets one.
    pub fn remove(&mut self, key: &Key) {
        let mut kept = TopicConfigs::new();
        for (number, value) in Entries(&self.configs).filter(|entry| entry.0 != key.number) {
            let length = value.len() as u8;
            let _ = kept.extend_from_slice(&[number, length]);
            let _ = kept.extend_from_slice(value.as_bytes());
        }
        self.configs = kept;
    }

    /// Adds the items of `value` to a list, unless they are there.
    pub fn append(&mut self, key: &Key, value: &str) -> Result<(), Refusal> {
        let mut list = self.list(key);
        for item in items(value) {
            if !items(&list).any(|there| there == item) {
                list_push(&mut list, item)?;
            }
        }
        self.set(key, &list)
    }

    /// Takes the items of `value` from a list.
    pub fn subtract(&mut self, key: &Key, value: &str) -> Result<(), Refusal> {
        let before = self.list(key);
        let mut list = heapless::String::new();
        for item in items(&before).filter(|item| !items(value).any(|gone| gone == *item)) {
            list_push(&mut list, item)?;
        }
        self.set(key, &list)
    }

    /// What the topic would have.
    pub fn finish(self) -> Result<TopicConfigs, Refusal> {
        let min = number_of(&self.configs, COMPACTION_LAG_MIN).unwrap_or(0);
        let max = number_of(&self.configs, COMPACTION_LAG_MAX).unwrap_or(i64::MAX);
        if min <= max {
            Ok(self.configs)
        } else {
            let why = format_args!(
                "min.compaction.lag.ms ({min}) may not be above max.compaction.lag.ms ({max})."
            );
            Err(Refusal::new(ErrorCode::INVALID_CONFIG, why))
        }
    }

    fn list(&self, key: &Key) -> List {
        let value = own(&self.configs, key.number).unwrap_or(key.usual_value());
        let mut list = List::new();
        let _ = list.push_str(value);
        list
    }
}

/// Walks over stored settings; ends at what cannot be read.
struct Entries<'t>(&'t [u8]);

impl<'t> Iterator for Entries<'t> {
    type Item = (u8, &'t str);

    fn next(&mut self) -> Option<(u8, &'t str)> {
        let ([number, length], rest) = self.0.split_first_chunk()?;
        let (value, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some((*number, std::str::from_utf8(value).ok()?))
    }
}

/// A list while it is changed.
type List = heapless::String<{ limits::TOPIC_CONFIG_BYTES_MAX }>;

fn list_push(list: &mut List, item: &str) -> Result<(), Refusal> {
    let comma = if list.is_empty() { "" } else { "," };
    write!(list, "{comma}{item}").map_err(|_| {
        let why = format_args!("The list is too long.");
        Refusal::new(ErrorCode::INVALID_CONFIG, why)
    })
}

fn own(configs: &[u8], number: u8) -> Option<&str> {
    if configs.is_empty() {
        return None;
    }
    let mut entries = Entries(configs);
    entries.find(|entry| entry.0 == number).map(|entry| entry.1)
}

fn number_of(configs: &[u8], number: u8) -> Option<i64> {
    own(configs, number)?.trim().parse().ok()
}

/// The items of a list; an empty text is an empty list.
fn items(value: &str) -> impl Iterator<Item = &str> {
    let whole = if value.trim().is_empty() { None } else { Some(value) };
    whole.into_iter().flat_map(|value| value.split(',').map(str::trim))
}

fn is_replica(item: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    item.split_once(':').is_some_and(|(partition, broker)| digits(partition) && digits(broker))
}

/// Whether this is a decimal number from 0 to 1. Floating point is nowhere else: its parser alone
/// would be 20 KB of the program.
fn is_ratio(text: &str) -> bool {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let mantissa = mantissa.strip_prefix('+').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    let Ok(exponent) = exponent.parse::<i16>() else {
        return false;
    };
    if digits().next().is_none() || !digits().all(|digit| digit.is_ascii_digit()) {
        return false;
    }
    // The value is 0.d…, with `d` not 0, times ten to this.
    let zeroes = digits().take_while(|digit| *digit == b'0').count();
    let tens = whole.len() as i64 - zeroes as i64 + i64::from(exponent);
    let mut rest = digits().skip(zeroes);
    match rest.next() {
        None => true,
        Some(b'1') if tens == 1 => rest.all(|digit| digit == b'0'),
        Some(_) => tens <= 0,
    }
}

fn truth(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

fn text(value: &str) -> Text {
    Text::try_from(value).expect("default values are short")
}

fn number(value: i64) -> Text {
    let mut text = Text::new();
    write!(text, "{value}").expect("a number of 64 bits has at most 20 digits");
    text
}

/// Kafka's number of settings that are true or false.
pub const BOOLEAN: i8 = 1;
/// Kafka's number of settings that are text.
pub const STRING: i8 = 2;
/// Kafka's number of settings that are numbers of 64 bits.
pub const LONG: i8 = 5;
/// Kafka's number of settings that are lists.
pub const LIST: i8 = 7;
/// Kafka's number of settings that are numbers of 32 bits.
pub const INT: i8 = 3;
const DOUBLE: i8 = 6;

const ENTRY_BYTES: usize = 2;
const LOG_APPEND_TIME: &str = "LogAppendTime";
const FLUSH_MESSAGES: u8 = 8;
const FLUSH_MS: u8 = 9;
const COMPACTION_LAG_MAX: u8 = 15;
const MESSAGE_BYTES_MAX: u8 = 16;
const TIMESTAMP_AFTER: u8 = 17;
const TIMESTAMP_BEFORE: u8 = 18;
const TIMESTAMP_TYPE: u8 = 19;
const COMPACTION_LAG_MIN: u8 = 21;
const INSYNC_REPLICAS_MIN: u8 = 22;
const RETENTION_MS: u8 = 28;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{RingIndex, TopicId};

    fn key(name: &str) -> &'static Key {
        key_named(name).unwrap()
    }

    fn topic(settings: &[(&str, &str)]) -> Topic {
        let mut edit = Edit::default();
        for (name, value) in settings {
            edit.set(key(name), value).unwrap();
        }
        Topic {
            id: TopicId::default(),
            name: "t".try_into().unwrap(),
            ring: RingIndex(0),
            kept_for: 0,
            partitions: 1,
            configs: edit.finish().unwrap(),
        }
    }

    #[test]
    fn keys_are_in_order_and_their_numbers_are_their_own() {
        assert!(KEYS.is_sorted_by(|a, b| a.name < b.name));
        let mut numbers: Vec<u8> = KEYS.iter().map(|key| key.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), KEYS.len());
        for (number, name) in [
            (FLUSH_MESSAGES, "flush.messages"),
            (FLUSH_MS, "flush.ms"),
            (COMPACTION_LAG_MAX, "max.compaction.lag.ms"),
            (MESSAGE_BYTES_MAX, "max.message.bytes"),
            (TIMESTAMP_AFTER, "message.timestamp.after.max.ms"),
            (TIMESTAMP_BEFORE, "message.timestamp.before.max.ms"),
            (TIMESTAMP_TYPE, "message.timestamp.type"),
            (COMPACTION_LAG_MIN, "min.compaction.lag.ms"),
            (INSYNC_REPLICAS_MIN, "min.insync.replicas"),
            (RETENTION_MS, "retention.ms"),
        ] {
            assert_eq!(key(name).number, number, "{name}");
            assert!(key(name).effective || name.contains("compaction"), "{name}");
        }
    }

    #[test]
    fn defaults_are_good_values_and_those_of_the_configuration() {
        let config = Config::default();
        for key in KEYS {
            assert_eq!(key.check(key.usual_value()), Ok(()), "{}", key.name);
            let (value, source) = key.default_value(&config);
            assert_eq!((&*value, source), (key.usual_value(), Source::Default));
        }
    }

    #[test]
    fn values_are_checked_as_kafka_does() {
        for (name, good, bad) in [
            ("retention.ms", &["-1", "0", " 5 ", "+5"][..], &["-2", "", "1.5", "x"][..]),
            ("max.message.bytes", &["0", "2147483647"], &["-1", "2147483648"]),
            ("segment.bytes", &["1048576"], &["1048575"]),
            ("min.insync.replicas", &["1", "2"], &["0"]),
            ("preallocate", &["TRUE", "false"], &["1", "", "yes"]),
            (
                "min.cleanable.dirty.ratio",
                &["0", "0.7", "1", ".5", "+1.0", "1.", "00.10", "5e-1", "10E-1", "0e9"],
                &[
                    "1.5", "NaN", "-1", "", ".", "2", "1.01", "1e1", "0.2e1", "e-1", "0.5x", "1e",
                    "--1",
                ],
            ),
            ("compression.gzip.level", &["-1", "9"], &["0", "10"]),
            ("compression.zstd.level", &["-5", "22"], &["23"]),
            ("compression.type", &["zstd", "producer"], &["ZSTD", ""]),
            ("cleanup.policy", &["delete", "", "compact", " delete ,compact"], &["delete,", "x"]),
            ("leader.replication.throttled.replicas", &["", "*", "0:1,1:1"], &["0", "0:1,x"]),
            ("remote.storage.enable", &["false"], &["true"]),
        ] {
            for value in good {
                assert_eq!(key(name).check(value), Ok(()), "{name}={value}");
            }
            for value in bad {
                let why = key(name).check(value).unwrap_err();
                assert!(why.as_str().contains(name), "{name}={value}");
            }
        }
    }

    #[test]
    fn what_was_set_is_kept_as_written_until_it_is_removed() {
        let t = topic(&[("retention.ms", " 5 "), ("flush.ms", "9"), ("retention.ms", "7")]);
        assert_eq!(own_value(&t.configs, key("retention.ms")), Some("7"));
        assert_eq!(own_value(&t.configs, key("flush.ms")), Some("9"));
        let mut edit = Edit::of(&t.configs);
        edit.remove(key("retention.ms"));
        let configs = edit.finish().unwrap();
        assert_eq!(own_value(&configs, key("retention.ms")), None);
        assert_eq!(own_value(&configs, key("flush.ms")), Some("9"));
    }

    #[test]
    fn a_topics_settings_are_bounded() {
        let mut edit = Edit::default();
        let long = "0:1,".repeat(40) + "0:1";
        let key = key("leader.replication.throttled.replicas");
        edit.set(key, &long).unwrap();
        let other = key_named("follower.replication.throttled.replicas").unwrap();
        assert_eq!(edit.set(other, &long).unwrap_err().code, ErrorCode::INVALID_CONFIG);
        assert_eq!(own_value(&edit.finish().unwrap(), key), Some(&*long));
    }

    #[test]
    fn lists_take_and_give_items() {
        let throttled = key("leader.replication.throttled.replicas");
        let mut edit = Edit::default();
        edit.append(throttled, "0:1,1:1").unwrap();
        edit.append(throttled, "1:1, 2:1").unwrap();
        edit.subtract(throttled, "0:1,9:9").unwrap();
        let configs = edit.finish().unwrap();
        assert_eq!(own_value(&configs, throttled), Some("1:1,2:1"));
    }

    #[test]
    fn a_topic_is_relaxed_only_where_it_says_so() {
        for (settings, ms) in [
            (&[][..], None),
            (&[("flush.messages", "1"), ("flush.ms", "50")], None),
            (&[("flush.ms", "0")], None),
            (&[("flush.ms", "50")], Some(50)),
            (&[("flush.messages", "1000")], Some(limits::RELAXED_MS_DEFAULT)),
            (&[("flush.ms", "9223372036854775807")], Some(limits::RELAXED_MS_MAX)),
        ] {
            assert_eq!(relaxed_ms(&topic(settings)), ms, "{settings:?}");
        }
    }

    #[test]
    fn a_topic_overrides_the_configuration_and_never_its_memory() {
        let config = Config::default();
        let plain = topic(&[]);
        assert!(!append_time(&plain, &config));
        assert_eq!(message_bytes_max(&plain, &config), config.message_max_bytes);
        assert_eq!(retention_ms(&plain, &config), None);
        let own = topic(&[
            ("message.timestamp.type", "LogAppendTime"),
            ("max.message.bytes", "99999999"),
            ("retention.ms", "60000"),
        ]);
        assert!(append_time(&own, &config));
        assert_eq!(message_bytes_max(&own, &config), config.message_max_bytes);
        assert_eq!(message_bytes_max(&topic(&[("max.message.bytes", "9")]), &config), 9);
        assert_eq!(retention_ms(&own, &config), Some(60_000));
    }
}

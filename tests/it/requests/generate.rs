//! Random requests of any key, made from Kafka's schemas: valid, nearly valid, and spoilt.

use brooklet::api::Api;
use brooklet::codec::crc::crc32c;

use crate::host::packed;
use crate::oracle::lengths;
use crate::oracle::schema::{Field, Kind, Schema};
use crate::reads::rig::batch;

/// An xorshift generator.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound.max(1)
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What clients learned from answers.
#[derive(Default)]
pub struct Known {
    pub members: Vec<String>,
    pub generation: i32,
}

/// A whole frame without its size prefix.
pub fn request(
    api: &Api,
    schema: &Schema,
    version: i16,
    id: i32,
    dice: &mut Dice,
    known: &Known,
) -> Vec<u8> {
    let flexible = version >= api.flexible_since;
    let mut out = Vec::new();
    out.extend(api.key.to_be_bytes());
    out.extend(version.to_be_bytes());
    out.extend(id.to_be_bytes());
    match dice.below(3) {
        0 => out.extend((-1_i16).to_be_bytes()),
        1 => out.extend([0, 0]),
        _ => out.extend(b"\0\x06client"),
    }
    if flexible {
        out.push(0);
    }
    let head = out.len();
    let mut message = Message { out, version, flexible, dice, known };
    message.structure(&schema.fields, 0);
    let mut out = message.out;
    spoil(&mut out, head, dice);
    out
}

/// One in four is not what it was.
fn spoil(frame: &mut Vec<u8>, head: usize, dice: &mut Dice) {
    match dice.below(16) {
        0 => frame.truncate(head + dice.below((frame.len() - head) as u64 + 1) as usize),
        1 => frame.extend([0, 1, 2]),
        2 | 3 => {
            for _ in 0..=dice.below(3) {
                let at = dice.below((frame.len() - head) as u64 + 1) as usize + head;
                let any = dice.below(256) as u8;
                let byte = dice.pick(&[0, 1, 2, 0x7f, 0x80, 0xff, any]);
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
        }
        _ => {}
    }
}

struct Message<'a> {
    out: Vec<u8>,
    version: i16,
    flexible: bool,
    dice: &'a mut Dice,
    known: &'a Known,
}

impl Message<'_> {
    fn structure(&mut self, fields: &[Field], depth: u32) {
        let version = self.version;
        for field in fields.iter().filter(|f| f.versions.contain(version) && f.tag.is_none()) {
            let null = field.nullable.contain(version);
            self.value(&field.name, &field.kind, null, depth);
        }
        if self.flexible {
            self.out.push(0);
        }
    }

    fn value(&mut self, name: &str, kind: &Kind, null: bool, depth: u32) {
        match kind {
            // One that is no element of an array may be null.
            Kind::Structure(_, fields) if depth == 0 && null => {
                let none = self.dice.once_in(2);
                self.out.push(if none { 0xff } else { 1 });
                if !none {
                    self.structure(fields, depth + 1);
                }
            }
            Kind::Structure(_, fields) => self.structure(fields, depth),
            Kind::Array(element) => self.array(name, element, null, depth),
            Kind::Scalar(kind) => self.scalar(name, kind, null),
        }
    }

    fn array(&mut self, name: &str, element: &Kind, null: bool, depth: u32) {
        if null && self.dice.once_in(6) {
            return lengths::wide(&mut self.out, self.flexible, None);
        }
        // Now and then one of them very often.
        let again = self.dice.once_in(40);
        let count = match again {
            true if self.dice.once_in(10) => self.dice.below(20_000) as usize,
            true => self.dice.below(600) as usize,
            false => self.dice.pick(&[0, 1, 1, 1, 2, 3, 6]),
        };
        lengths::wide(&mut self.out, self.flexible, Some(count));
        let from = self.out.len();
        for at in 0..count {
            if self.out.len() > super::FRAME_BYTES_MAX {
                // Nobody will read it: arrays in arrays would grow to gigabytes.
                return;
            }
            if again && at > 0 {
                let one = self.out[from..].len() / at;
                let copy = self.out[from..from + one].to_vec();
                self.out.extend(copy);
            } else {
                self.value(name, element, false, depth + 1);
            }
        }
    }

    fn scalar(&mut self, name: &str, kind: &str, null: bool) {
        match kind {
            "bool" => self.out.push(self.dice.below(2) as u8),
            "int8" => {
                let value = self.number(name, i8::MAX.into()) as i8;
                self.out.extend(value.to_be_bytes());
            }
            "int16" => {
                let value = self.number(name, i16::MAX.into()) as i16;
                self.out.extend(value.to_be_bytes());
            }
            "int32" => {
                let value = self.number(name, i32::MAX.into()) as i32;
                self.out.extend(value.to_be_bytes());
            }
            "int64" => {
                let value = self.number(name, i64::MAX);
                self.out.extend(value.to_be_bytes());
            }
            "uuid" => {
                let byte = self.dice.pick(&[0, 0, 7]);
                self.out.extend([byte; 16]);
            }
            "string" => {
                let text = self.text(name);
                let text = (!null || self.dice.once_in(2)).then_some(text);
                lengths::string(&mut self.out, self.flexible, text.as_ref().map(String::len));
                self.out.extend(text.unwrap_or_default().bytes());
            }
            "records" => {
                let records = (!null || !self.dice.once_in(9)).then(|| self.records());
                lengths::wide(&mut self.out, self.flexible, records.as_ref().map(Vec::len));
                self.out.extend(records.unwrap_or_default());
            }
            "bytes" if matches!(name, "metadata" | "assignment") && self.dice.once_in(2) => {
                let bytes = consumers_bytes(name);
                lengths::wide(&mut self.out, self.flexible, Some(bytes.len()));
                self.out.extend(bytes);
            }
            "bytes" => {
                let long = if self.dice.once_in(20) { 200_000 } else { 0 };
                let length = self.dice.pick(&[0, 1, 8, 200, long]);
                let bytes = (!null || !self.dice.once_in(9)).then(|| vec![0; length]);
                lengths::wide(&mut self.out, self.flexible, bytes.as_ref().map(Vec::len));
                self.out.extend(bytes.unwrap_or_default());
            }
            other => panic!("no values of type {other}"),
        }
    }

    /// What this field usually has, or something extreme.
    fn number(&mut self, name: &str, max: i64) -> i64 {
        let dice = &mut *self.dice;
        if dice.once_in(12) {
            return dice.pick(&[-max - 1, -3, -2, -1, 0, 1, 2, max - 1, max]);
        }
        let usual = match name {
            "acks" => dice.pick(&[-1, 1, 1, 0]),
            "timeout_ms" | "max_wait_ms" => dice.pick(&[0, 1, 500, 30_000]),
            "session_timeout_ms" => dice.pick(&[6000, 10_000, 45_000]),
            "rebalance_timeout_ms" => dice.pick(&[-1, 1000, 60_000]),
            "generation_id" | "generation_id_or_member_epoch" => {
                i64::from(dice.pick(&[-1, self.known.generation, self.known.generation]))
            }
            "member_epoch" => {
                let known = self.known.generation.into();
                dice.pick(&[0, 0, -1, -2, known, known, known])
            }
            "num_partitions" | "count" => dice.pick(&[-1, 1, 2, 4, 5]),
            "replication_factor" => dice.pick(&[-1, 1, 1, 3]),
            "resource_type" => dice.pick(&[2, 2, 4, 8]),
            "config_operation" => dice.pick(&[0, 0, 1, 2]),
            "session_epoch" | "session_id" | "replica_id" => dice.pick(&[-1, 0, 0, 1]),
            "current_leader_epoch" | "leader_epoch" | "committed_leader_epoch" => {
                dice.pick(&[-1, -1, 1, 2])
            }
            "min_bytes" => dice.pick(&[0, 1, 1, 5000]),
            "max_bytes" | "partition_max_bytes" => dice.pick(&[1, 300, 60_000, 1 << 20]),
            "timestamp" => dice.pick(&[-1, -2, -3, -4, 1_000_000, 1_000_500]),
            "fetch_offset" | "offset" | "committed_offset" => dice.pick(&[0, 0, 1, 5, 60]),
            "producer_id" | "producer_epoch" => dice.pick(&[-1, -1, 5]),
            _ => dice.pick(&[0, 0, 0, 1, 2, 3]),
        };
        usual.clamp(-max - 1, max)
    }

    fn text(&mut self, name: &str) -> String {
        let dice = &mut *self.dice;
        if dice.once_in(15) {
            let long = dice.pick(&[64, 65, 249, 250, 255, 256, 5000]);
            return match dice.below(3) {
                0 => String::new(),
                1 => "x".repeat(long),
                _ => "ä/\0".to_string(),
            };
        }
        match name {
            "group_id" | "groups" | "groups_names" | "key" | "coordinator_keys" => {
                dice.pick(&["g", "g", "h", "i", "j"]).to_string()
            }
            "member_id" => match dice.below(self.known.members.len() as u64 + 1) as usize {
                0 => String::new(),
                at => self.known.members[at - 1].clone(),
            },
            "subscribed_topic_regex" => dice.pick(&["", "", "", "t.*"]).to_string(),
            "server_assignor" => dice.pick(&["", "uniform", "range", "x"]).to_string(),
            "group_instance_id" | "instance_id" => dice.pick(&["one", "two"]).to_string(),
            "protocol_type" => {
                dice.pick(&["consumer", "consumer", "consumer", "", "c"]).to_string()
            }
            "protocol_name" => dice.pick(&["range", "range", "sticky", ""]).to_string(),
            "value" | "config_value" => {
                dice.pick(&["1", "-1", "5000", "delete", "CreateTime", "x", ""]).to_string()
            }
            // Topics, settings, and protocols are all called that.
            "name" => {
                let names = ["t", "t", "u", "v", "range", "flush.ms", "retention.ms", "a.b", "a_b"];
                dice.pick(&names).to_string()
            }
            "resource_name" => dice.pick(&["t", "u", "1", ""]).to_string(),
            "transactional_id" => dice.pick(&["", "tx"]).to_string(),
            _ => dice.pick(&["t", "t", "u", "v", "w", "consumer"]).to_string(),
        }
    }

    /// A batch, or two, or something like it.
    fn records(&mut self) -> Vec<u8> {
        let dice = &mut *self.dice;
        let count = dice.pick(&[1, 3, 40, 40]);
        let stamps: Vec<i64> = (0..count).map(|at| 1_000_000 + at * 10).collect();
        let codec = dice.pick(&[0, 0, 0, 1, 2, 3, 4]);
        let value = dice.pick(&[0, 10, 370, if codec > 0 { 20_000 } else { 10 }]);
        let attributes = dice.pick(&[0, 0, 0, 0, 1, 4, 8, 0x20]);
        let mut bytes = batch(&stamps, value, attributes);
        if codec > 0 && attributes == 0 {
            bytes = packed(&bytes, codec);
        }
        if dice.once_in(3) {
            let id = dice.below(8) as i64;
            bytes[43..51].copy_from_slice(&id.to_be_bytes());
            bytes[51..53].copy_from_slice(&(dice.below(2) as i16).to_be_bytes());
            bytes[53..57].copy_from_slice(&(dice.pick(&[0, 1, 3, i32::MAX])).to_be_bytes());
            let crc = crc32c(&bytes[21..]);
            bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        match dice.below(20) {
            0 => bytes.clear(),
            1 => bytes.extend(bytes.clone()),
            2 => bytes.truncate(dice.below(bytes.len() as u64) as usize),
            _ => {}
        }
        bytes
    }
}

/// What consumers tell each other: a subscription to "t", or an assignment of its first partition.
fn consumers_bytes(name: &str) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, 1, b't'];
    if name == "assignment" {
        bytes.extend([0, 0, 0, 1, 0, 0, 0, 0]);
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}

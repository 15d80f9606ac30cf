//! The table of members, of all groups together.

use std::net::IpAddr;

use super::arena::{Arena, BlockId, FIELD_BYTES, Fields, Filler};
use super::{GroupAt, MemberId};
use crate::clock::Mono;
use crate::limits;
use crate::types::ConnId;

/// A member's place in the table; given again after it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MemberAt(pub u16);

/// Calls what it is given with each protocol of a request: its name, and what the member says.
pub type Protocols<'a> = &'a dyn Fn(&mut dyn FnMut(&'a str, &'a [u8]));

/// Calls what it is given with each assignment of a request: the member's id, and what it gets.
pub type Assignments<'a> = &'a dyn Fn(&mut dyn FnMut(&'a str, &'a [u8]));

/// What a member waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// Nothing.
    Nothing,
    /// For the others to join.
    Join,
    /// For the leader's assignment.
    Assignment,
}

/// A member. Its names, and what it says, are in the arena.
#[derive(Debug, Clone)]
pub struct Member {
    /// Its group.
    pub group: GroupAt,
    /// It was given an id and is expected to join with it; it is nothing else yet.
    pub pending: bool,
    /// It has an instance id: it may be away for a session without being missed.
    pub is_static: bool,
    /// It was never told about a generation, so that its answer may have got lost with its id.
    pub is_new: bool,
    /// It did not ask for its assignment in this generation.
    pub sync_pending: bool,
    /// What it waits for.
    pub waits_for: Awaits,
    /// The connection on which it does, if that is still there.
    pub conn: Option<ConnId>,
    /// It is gone after this moment.
    pub deadline: Mono,
    /// How long it may be silent.
    pub session_ms: u32,
    /// How long it may take to join again.
    pub rebalance_ms: u32,
    /// Where it connects from.
    pub remote: IpAddr,
    /// How far it has come, in a group that the broker assigns to.
    #[cfg(feature = "consumer-protocol")]
    pub progress: Progress,
}

/// How far a member has come with what the broker assigns to it.
#[cfg(feature = "consumer-protocol")]
#[derive(Debug, Clone)]
pub struct Progress {
    /// Its epoch: that of the targets that it has come to. −2: a static member that is away.
    pub epoch: i32,
    /// The epoch before that: its client may not have seen that it moved on.
    pub epoch_before: i32,
    /// It is gone if it has not given back by then what it is to give back; the end of time: nothing is.
    pub revoke_due: Mono,
    /// Partitions in its target: only while targets are made.
    pub load: u16,
    /// What it waits for.
    pub phase: Phase,
    /// Its assignment changed since it was told last.
    pub untold: bool,
    /// It speaks the classic protocol. In a classic group: it is one that the broker assigned to, and what
    /// it has stands where an assignment would.
    pub is_classic: bool,
}

/// What a member of a group that the broker assigns to waits for.
#[cfg(feature = "consumer-protocol")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It has what it shall have.
    Stable,
    /// It is to give partitions back, and say so.
    Revoking,
    /// Others are to give back what it shall have.
    Awaiting,
}

#[cfg(feature = "consumer-protocol")]
impl Default for Progress {
    fn default() -> Progress {
        Progress {
            epoch: 0,
            epoch_before: 0,
            revoke_due: Mono(u64::MAX),
            load: 0,
            phase: Phase::Stable,
            untold: false,
            is_classic: false,
        }
    }
}

impl Member {
    /// When something is to be done about it, if it does nothing itself.
    pub fn due(&self) -> Mono {
        #[cfg(feature = "consumer-protocol")]
        return self.deadline.min(self.progress.revoke_due);
        #[cfg(not(feature = "consumer-protocol"))]
        return self.deadline;
    }
}

/// The names of a member, and what it says.
#[derive(Debug, Clone, Copy)]
pub struct Texts<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its instance id; empty where there is none.
    pub instance_id: &'a str,
    /// What its client calls itself, cut where it is too long.
    pub client_id: &'a str,
    protocols: Fields<'a>,
}

/// All members.
pub struct Members {
    slots: Vec<Option<Member>>,
    len: usize,
}

impl Members {
    /// Room for so many.
    pub fn new(members: usize) -> Members {
        Members { slots: vec![None; members], len: 0 }
    }

    /// The memory that this takes.
    pub fn memory_bytes(members: usize) -> usize {
        members * size_of::<Option<Member>>()
    }

    /// How many blocks of the arena they have: two each.
    pub fn blocks(members: usize) -> usize {
        2 * members
    }

    /// How many there are, with those that were only given an id.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many there may be.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// Takes a free place.
    pub fn add(&mut self, member: Member) -> Option<MemberAt> {
        let place = self.slots.iter().position(Option::is_none)?;
        self.slots[place] = Some(member);
        self.len += 1;
        Some(MemberAt(place as u16))
    }

    /// Gives a place back.
    pub fn remove(&mut self, at: MemberAt) -> Member {
        self.len -= 1;
        self.slots[usize::from(at.0)].take().expect("a member is removed once")
    }

    /// A member that is there.
    pub fn get(&self, at: MemberAt) -> &Member {
        self.slots[usize::from(at.0)].as_ref().expect("only members have a place")
    }

    /// A member that is there, to change it.
    pub fn get_mut(&mut self, at: MemberAt) -> &mut Member {
        self.slots[usize::from(at.0)].as_mut().expect("only members have a place")
    }

    /// A member, if its place is taken.
    pub fn find(&self, at: MemberAt) -> Option<&Member> {
        self.slots.get(usize::from(at.0))?.as_ref()
    }

    /// The same, to change it.
    pub fn find_mut(&mut self, at: MemberAt) -> Option<&mut Member> {
        self.slots.get_mut(usize::from(at.0))?.as_mut()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (MemberAt, &Member)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(at, member)| Some((MemberAt(at as u16), member.as_ref()?)))
    }

    /// All of them, to change them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (MemberAt, &mut Member)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(at, member)| Some((MemberAt(at as u16), member.as_mut()?)))
    }

    /// Those of a group that are more than pending.
    pub fn of(&self, group: GroupAt) -> impl Iterator<Item = (MemberAt, &Member)> {
        self.iter().filter(move |(_, member)| member.group == group && !member.pending)
    }

    /// The same, to change them.
    pub fn of_mut(&mut self, group: GroupAt) -> impl Iterator<Item = (MemberAt, &mut Member)> {
        self.iter_mut().filter(move |(_, member)| member.group == group && !member.pending)
    }
}

impl MemberAt {
    /// Where its texts are.
    pub fn texts_block(self) -> BlockId {
        BlockId(2 * self.0)
    }

    /// Where its assignment is.
    pub fn assignment_block(self) -> BlockId {
        BlockId(2 * self.0 + 1)
    }

    /// Its id, as it is compared.
    pub fn id_bytes(self, arena: &Arena) -> &[u8] {
        Fields(arena.bytes(self.texts_block())).next().expect("each member has an id")
    }

    /// Its texts.
    pub fn texts(self, arena: &Arena) -> Texts<'_> {
        let mut fields = Fields(arena.bytes(self.texts_block()));
        let mut text = || {
            let field = fields.next().expect("each member has three texts");
            std::str::from_utf8(field).expect("it was text when it came")
        };
        let (id, instance_id, client_id) = (text(), text(), text());
        Texts { id, instance_id, client_id, protocols: fields }
    }
}

impl<'a> Texts<'a> {
    /// Its protocols in their order: what it likes most comes first.
    pub fn protocols(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let mut fields = self.protocols;
        std::iter::from_fn(move || {
            let name = std::str::from_utf8(fields.next()?).expect("it was text when it came");
            Some((name, fields.next().expect("a name has its metadata")))
        })
    }

    /// What it says to a protocol.
    pub fn metadata(&self, protocol: &str) -> &'a [u8] {
        let mut protocols = self.protocols();
        protocols.find(|(name, _)| *name == protocol).map_or(&[], |(_, metadata)| metadata)
    }

    /// Whether it knows a protocol.
    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols().any(|(name, _)| name == protocol)
    }

    /// Whether these are its protocols, with all that it says to them.
    pub fn says(&self, protocols: Protocols<'_>) -> bool {
        let mut own = self.protocols();
        let mut same = true;
        protocols(&mut |name, metadata| same &= own.next() == Some((name, metadata)));
        same && own.next().is_none()
    }
}

/// The bytes that a member's texts take in the arena.
pub fn texts_bytes(
    id: &str,
    instance_id: &str,
    client_id: &str,
    protocols: Protocols<'_>,
) -> usize {
    let mut bytes = 3 * FIELD_BYTES + id.len() + instance_id.len() + client_id.len();
    protocols(&mut |name, metadata| bytes += 2 * FIELD_BYTES + name.len() + metadata.len());
    bytes
}

/// Writes a member's texts to where they fit exactly.
pub fn texts_fill(
    block: &mut [u8],
    id: &str,
    instance_id: &str,
    client_id: &str,
    protocols: Protocols<'_>,
) {
    let mut filler = Filler(block);
    for text in [id, instance_id, client_id] {
        filler.push(text.as_bytes());
    }
    protocols(&mut |name, metadata| {
        filler.push(name.as_bytes());
        filler.push(metadata);
    });
}

/// A new member's id: what it calls itself, and a random UUID, as in Kafka.
pub fn member_id(name: &str, random: [u8; 16]) -> MemberId {
    let mut id = MemberId::new();
    let name = cut(name, limits::GROUP_CLIENT_ID_BYTES_MAX);
    id.push_str(name).expect("it was cut");
    let number = u128::from_be_bytes(random);
    // Version 4, variant 1.
    let number = number & !(0xf000 << 64 | 3 << 62) | 0x4000 << 64 | 2 << 62;
    for place in (0..32).rev() {
        if [31, 23, 19, 15, 11].contains(&place) {
            id.push('-').expect("the bound has room for it");
        }
        let digit = (number >> (4 * place)) as u32 & 15;
        let digit = char::from_digit(digit, 16).expect("it is below 16");
        id.push(digit).expect("the bound has room for it");
    }
    id
}

/// The beginning of a text that is not longer than this.
pub fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.split_at(end).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_name_and_a_uuid() {
        let id = member_id("sensor", [0xab; 16]);
        assert_eq!(id.as_str(), "sensor-abababab-abab-4bab-abab-abababababab");
        let long = "\u{e9}".repeat(limits::GROUP_CLIENT_ID_BYTES_MAX);
        let id = member_id(&long, [0; 16]);
        assert!(id.ends_with("-00000000-0000-4000-8000-000000000000"));
        assert!(id.len() <= limits::GROUP_MEMBER_ID_BYTES_MAX);
    }

    #[test]
    fn texts_are_kept_whole_and_compared_whole() {
        let protocols: Protocols<'_> = &|each| {
            each("range", b"abc");
            each("sticky", b"");
        };
        let bytes = texts_bytes("id", "", "client", protocols);
        let mut arena = Arena::new(bytes, 2);
        let at = MemberAt(0);
        texts_fill(arena.put(at.texts_block(), bytes).unwrap(), "id", "", "client", protocols);
        let texts = at.texts(&arena);
        assert_eq!((texts.id, texts.instance_id, texts.client_id), ("id", "", "client"));
        assert_eq!((texts.metadata("range"), texts.metadata("x")), (&b"abc"[..], &b""[..]));
        assert!(texts.supports("sticky") && !texts.supports("stick"));
        assert!(texts.says(protocols));
        assert!(!texts.says(&|each| each("range", b"abc")));
        assert!(!texts.says(&|each| {
            each("range", b"abd");
            each("sticky", b"");
        }));
        assert!(!texts.says(&|each| {
            each("range", b"abc");
            each("sticky", b"");
            each("more", b"");
        }));
    }
}

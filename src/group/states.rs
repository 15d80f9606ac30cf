//! What happens to a group in each state: the decision table of both protocols.
//!
//! The checks of who asks (group, member, generation or epoch) come first and are not part of it; what an
//! [`Act`] means is carried out by [`super::Groups`].

use crate::codec::ErrorCode;

/// Kafka's states of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Without members; it may have offsets.
    Empty,
    /// Members are called to join again, and wait for each other.
    PreparingRebalance,
    /// All have joined; the leader is to say who gets what.
    CompletingRebalance,
    /// Everyone has what the leader said.
    Stable,
    /// It has members of the consumer protocol: each is on its own way to what the broker says.
    Consumer,
    /// There is no such group.
    Dead,
}

impl State {
    /// All of them.
    pub const ALL: [State; 6] = [
        State::Empty,
        State::PreparingRebalance,
        State::CompletingRebalance,
        State::Stable,
        State::Consumer,
        State::Dead,
    ];

    /// As clients see it. A group of the consumer protocol has more to say.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::PreparingRebalance => "PreparingRebalance",
            State::CompletingRebalance => "CompletingRebalance",
            State::Stable | State::Consumer => "Stable",
            State::Dead => "Dead",
        }
    }
}

/// What comes to a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A new member joins.
    Enter,
    /// A member that is not the leader joins again and says the same.
    Rejoin,
    /// The leader does.
    RejoinLeader,
    /// A member joins again and says something else.
    RejoinChanged,
    /// A static member came back without its member id, and the protocol stays the same.
    Replace,
    /// The same, and the vote on the protocol would end in another way.
    ReplaceChanged,
    /// A member other than the leader asks for its assignment.
    Sync,
    /// The leader hands out the assignments.
    SyncLeader,
    /// A member is alive.
    Heartbeat,
    /// A member commits offsets.
    Commit,
    /// Someone who names no member and no generation does.
    CommitSimple,
    /// A member left, or was silent for too long.
    MemberGone,
    /// One that was only given an id did.
    PendingGone,
    /// The time to join is over.
    JoinTimeout,
    /// The time to ask for assignments is over.
    SyncTimeout,
    /// The group is to be deleted.
    Delete,
    /// Offsets of it are to be deleted.
    DeleteOffsets,
    /// A member of the consumer protocol joins, for the first time or again.
    ConsumerJoin,
    /// One is alive, or leaves.
    ConsumerBeat,
    /// A member of before the start of the broker joins, by the id that it had.
    FormerJoin,
    /// One asks for its assignment, or hands them out.
    FormerSync,
    /// One is alive.
    FormerHeartbeat,
    /// One commits offsets.
    FormerCommit,
}

impl Event {
    /// All of them.
    pub const ALL: [Event; 23] = [
        Event::Enter,
        Event::Rejoin,
        Event::RejoinLeader,
        Event::RejoinChanged,
        Event::Replace,
        Event::ReplaceChanged,
        Event::Sync,
        Event::SyncLeader,
        Event::Heartbeat,
        Event::Commit,
        Event::CommitSimple,
        Event::MemberGone,
        Event::PendingGone,
        Event::JoinTimeout,
        Event::SyncTimeout,
        Event::Delete,
        Event::DeleteOffsets,
        Event::ConsumerJoin,
        Event::ConsumerBeat,
        Event::FormerJoin,
        Event::FormerSync,
        Event::FormerHeartbeat,
        Event::FormerCommit,
    ];
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The answer is this error.
    Refuse(ErrorCode),
    /// All members are called to join; who joins already, waits for the others.
    Rebalance,
    /// Who joins, waits; if nobody is missing any more, all go on.
    Gather,
    /// All go on, without those who are missing.
    Complete,
    /// Who joins is told what the present generation is.
    AnswerGeneration,
    /// Who asks waits for the leader.
    AwaitAssignment,
    /// The leader's assignments are everybody's answer.
    Assign,
    /// Who asks is told its assignment.
    AnswerAssignment,
    /// Those who did not ask for their assignment are removed, and the others called to join.
    RemoveUnsynced,
    /// It is good; a member's session is prolonged.
    Accept,
    /// It is good, a member's session is prolonged, and the member is told this.
    AcceptWith(ErrorCode),
    /// It is good for topics to which no member is subscribed.
    AcceptUnsubscribed,
    /// It becomes a group of the consumer protocol, and who asks its first member.
    Found,
    /// It becomes such a group if its members are consumers, which are then its classic members.
    Upgrade,
    /// Those who are left are to share what the member had.
    Reassign,
    /// It is a member again, under the id that it had.
    Adopt,
    /// Nothing.
    Ignore,
}

struct Row {
    event: Event,
    states: &'static [State],
    act: Act,
}

const fn row(event: Event, states: &'static [State], act: Act) -> Row {
    Row { event, states, act }
}

use State::{CompletingRebalance, Consumer, Dead, Empty, PreparingRebalance, Stable};

/// Each input matches exactly one row.
#[rustfmt::skip] // A row is a line.
const TABLE: &[Row] = &[
    row(Event::Enter, &[Empty, CompletingRebalance, Stable, Dead], Act::Rebalance),
    row(Event::Enter, &[PreparingRebalance], Act::Gather),
    // A classic member of such a group is answered at once, whatever it asks.
    row(Event::Enter, &[Consumer], Act::Accept),
    row(Event::Rejoin, &[PreparingRebalance], Act::Gather),
    row(Event::Rejoin, &[CompletingRebalance, Stable], Act::AnswerGeneration),
    row(Event::Rejoin, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::Rejoin, &[Consumer], Act::Accept),
    row(Event::RejoinLeader, &[PreparingRebalance], Act::Gather),
    row(Event::RejoinLeader, &[CompletingRebalance], Act::AnswerGeneration),
    // What the leader knows of the topics may have changed.
    row(Event::RejoinLeader, &[Stable], Act::Rebalance),
    row(Event::RejoinLeader, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::RejoinLeader, &[Consumer], Act::Accept),
    row(Event::RejoinChanged, &[PreparingRebalance], Act::Gather),
    row(Event::RejoinChanged, &[CompletingRebalance, Stable], Act::Rebalance),
    row(Event::RejoinChanged, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::RejoinChanged, &[Consumer], Act::Accept),
    row(Event::Replace, &[PreparingRebalance], Act::Gather),
    // The leader may be assigning to the old member id just now.
    row(Event::Replace, &[CompletingRebalance], Act::Rebalance),
    row(Event::Replace, &[Stable], Act::AnswerGeneration),
    row(Event::Replace, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::Replace, &[Consumer], Act::Accept),
    row(Event::ReplaceChanged, &[PreparingRebalance], Act::Gather),
    row(Event::ReplaceChanged, &[CompletingRebalance, Stable], Act::Rebalance),
    row(Event::ReplaceChanged, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::ReplaceChanged, &[Consumer], Act::Accept),
    row(Event::Sync, &[PreparingRebalance], Act::Refuse(ErrorCode::REBALANCE_IN_PROGRESS)),
    row(Event::Sync, &[CompletingRebalance], Act::AwaitAssignment),
    row(Event::Sync, &[Stable], Act::AnswerAssignment),
    row(Event::Sync, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::Sync, &[Consumer], Act::Accept),
    row(Event::SyncLeader, &[PreparingRebalance], Act::Refuse(ErrorCode::REBALANCE_IN_PROGRESS)),
    row(Event::SyncLeader, &[CompletingRebalance], Act::Assign),
    row(Event::SyncLeader, &[Stable], Act::AnswerAssignment),
    row(Event::SyncLeader, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::SyncLeader, &[Consumer], Act::Accept),
    row(Event::Heartbeat, &[PreparingRebalance], Act::AcceptWith(ErrorCode::REBALANCE_IN_PROGRESS)),
    row(Event::Heartbeat, &[CompletingRebalance, Stable], Act::Accept),
    row(Event::Heartbeat, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::Heartbeat, &[Consumer], Act::Accept),
    row(Event::Commit, &[PreparingRebalance, Stable], Act::Accept),
    row(Event::Commit, &[CompletingRebalance], Act::Refuse(ErrorCode::REBALANCE_IN_PROGRESS)),
    row(Event::Commit, &[Consumer], Act::Accept),
    row(Event::Commit, &[Empty], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::Commit, &[Dead], Act::Refuse(ErrorCode::ILLEGAL_GENERATION)),
    row(Event::CommitSimple, &[Empty, Dead], Act::Accept),
    row(Event::CommitSimple, &[PreparingRebalance, CompletingRebalance, Stable, Consumer],
        Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::MemberGone, &[PreparingRebalance], Act::Gather),
    row(Event::MemberGone, &[CompletingRebalance, Stable], Act::Rebalance),
    row(Event::MemberGone, &[Consumer], Act::Reassign),
    row(Event::MemberGone, &[Empty, Dead], Act::Ignore),
    row(Event::PendingGone, &[PreparingRebalance], Act::Gather),
    row(Event::PendingGone, &[Empty, CompletingRebalance, Stable, Consumer, Dead], Act::Ignore),
    row(Event::JoinTimeout, &[PreparingRebalance], Act::Complete),
    row(Event::JoinTimeout, &[Empty, CompletingRebalance, Stable, Consumer, Dead], Act::Ignore),
    row(Event::SyncTimeout, &[CompletingRebalance, Stable], Act::RemoveUnsynced),
    row(Event::SyncTimeout, &[Empty, PreparingRebalance, Consumer, Dead], Act::Ignore),
    row(Event::Delete, &[Empty], Act::Accept),
    row(Event::Delete, &[PreparingRebalance, CompletingRebalance, Stable, Consumer],
        Act::Refuse(ErrorCode::NON_EMPTY_GROUP)),
    row(Event::Delete, &[Dead], Act::Refuse(ErrorCode::GROUP_ID_NOT_FOUND)),
    row(Event::DeleteOffsets, &[Empty], Act::Accept),
    row(Event::DeleteOffsets, &[PreparingRebalance, CompletingRebalance, Stable, Consumer],
        Act::AcceptUnsubscribed),
    row(Event::DeleteOffsets, &[Dead], Act::Refuse(ErrorCode::GROUP_ID_NOT_FOUND)),
    row(Event::ConsumerJoin, &[Empty, Dead], Act::Found),
    row(Event::ConsumerJoin, &[Consumer], Act::Accept),
    row(Event::ConsumerJoin, &[PreparingRebalance, CompletingRebalance, Stable], Act::Upgrade),
    // Kafka would know of a group that there was before a restart: its members join again, where
    // GROUP_ID_NOT_FOUND would end them.
    row(Event::ConsumerBeat, &[Empty, Dead], Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::ConsumerBeat, &[Consumer], Act::Accept),
    row(Event::ConsumerBeat, &[PreparingRebalance, CompletingRebalance, Stable],
        Act::Refuse(ErrorCode::GROUP_ID_NOT_FOUND)),
    // Kafka would know these members. They keep what they have until they have committed it and joined;
    // once a generation is complete, who is not in it may have lost its partitions to others.
    row(Event::FormerJoin, &[Empty, PreparingRebalance, Dead], Act::Adopt),
    row(Event::FormerJoin, &[CompletingRebalance, Stable, Consumer],
        Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::FormerSync, &[Empty, PreparingRebalance, Dead],
        Act::AcceptWith(ErrorCode::REBALANCE_IN_PROGRESS)),
    row(Event::FormerSync, &[CompletingRebalance, Stable, Consumer],
        Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::FormerHeartbeat, &[Empty, PreparingRebalance, Dead],
        Act::AcceptWith(ErrorCode::REBALANCE_IN_PROGRESS)),
    row(Event::FormerHeartbeat, &[CompletingRebalance, Stable, Consumer],
        Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
    row(Event::FormerCommit, &[Empty, PreparingRebalance, Dead], Act::Accept),
    row(Event::FormerCommit, &[CompletingRebalance, Stable, Consumer],
        Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID)),
];

/// What is done about an event in a state.
pub fn act(state: State, event: Event) -> Act {
    let row = TABLE.iter().find(|row| row.event == event && row.states.contains(&state));
    row.expect("the table has a row for each input").act
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_matches_exactly_one_row() {
        for state in State::ALL {
            for event in Event::ALL {
                let rows =
                    TABLE.iter().filter(|row| row.event == event && row.states.contains(&state));
                assert_eq!(rows.count(), 1, "{state:?} {event:?}");
            }
        }
        assert_eq!(TABLE.iter().map(|row| row.states.len()).sum::<usize>(), 6 * 23);
    }

    #[test]
    fn nobody_is_a_member_of_a_group_without_members() {
        use Event::*;
        for state in [Empty, Dead] {
            for event in [Rejoin, RejoinLeader, RejoinChanged, Sync, SyncLeader, Heartbeat] {
                let refusal = Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID);
                assert_eq!(act(state, event), refusal, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn nobody_is_a_former_member_of_a_group_that_has_a_generation() {
        use Event::*;
        for state in [CompletingRebalance, Stable, Consumer] {
            for event in [FormerJoin, FormerSync, FormerHeartbeat, FormerCommit] {
                let refusal = Act::Refuse(ErrorCode::UNKNOWN_MEMBER_ID);
                assert_eq!(act(state, event), refusal, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn a_group_with_members_is_never_deleted() {
        for state in [PreparingRebalance, CompletingRebalance, Stable, Consumer] {
            let refusal = Act::Refuse(ErrorCode::NON_EMPTY_GROUP);
            assert_eq!(act(state, Event::Delete), refusal);
        }
    }
}

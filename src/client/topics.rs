//! Which topics there are, who leads their partitions, and from where to where they have records.

use super::messages::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
    MetadataRequest, MetadataResponse, version,
};
use super::{ANY, Client, Trouble};
use crate::codec::{ErrorCode, List};

/// A topic.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Its partitions, in their order.
    pub partitions: Vec<Partition>,
}

/// A partition, and the broker that leads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partition {
    /// Its number.
    pub index: i32,
    /// The broker's id; −1: none at the moment.
    pub leader: i32,
}

/// Instead of a time: the first offset that there is.
pub const EARLIEST: i64 = -2;
/// Instead of a time: the offset that the next record gets.
pub const LATEST: i64 = -1;

impl Client {
    /// All topics, by name; those that are being made or deleted are left out.
    pub fn topics(&mut self) -> Result<Vec<Topic>, Trouble> {
        self.metadata(None, false)
    }

    /// One topic; `create`: the broker may make it, if it makes topics by their being used.
    pub fn topic(&mut self, name: &str, create: bool) -> Result<Topic, Trouble> {
        let topic = self.metadata(Some(&[name]), create)?.pop();
        topic.ok_or_else(|| Trouble::new("the broker does not answer about the topic"))
    }

    /// Learns which brokers there are.
    pub(super) fn cluster(&mut self) -> Result<(), Trouble> {
        self.metadata(Some(&[]), false).map(|_| ())
    }

    /// Asks for topics, or all, and for the cluster with them.
    fn metadata(&mut self, names: Option<&[&str]>, create: bool) -> Result<Vec<Topic>, Trouble> {
        let mut r = self.ask(ANY, MetadataRequest::KEY, version::METADATA, &mut |w| {
            let topics: List<'_, &'static str> = &mut |list| {
                names.iter().flat_map(|names| names.iter()).for_each(|name| list.push(*name));
            };
            let topics = names.is_some().then_some(topics);
            MetadataRequest { topics, allow_auto_topic_creation: create }
                .encode(w, version::METADATA);
        })?;
        let answer = MetadataResponse::decode(&mut r, version::METADATA)?;
        let mut topics = Vec::new();
        for topic in answer.topics.iter() {
            if let Err(trouble) = Trouble::check(&what(topic.name), topic.error_code, None) {
                let is_new = create && trouble.code == ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                match names {
                    // Kafka says so of a topic that it is about to make.
                    Some(_) if is_new => return Err(trouble.passing()),
                    Some(_) => return Err(trouble),
                    None => continue,
                }
            }
            let mut partitions = Vec::new();
            for partition in topic.partitions.iter() {
                let (index, leader) = (partition.partition_index, partition.leader_id);
                // Inserted in order: each sort of the library is some KiB.
                let at = partitions.partition_point(|p: &Partition| p.index < index);
                partitions.insert(at, Partition { index, leader });
            }
            let at = topics.partition_point(|other: &Topic| other.name.as_str() < topic.name);
            topics.insert(at, Topic { name: topic.name.to_string(), partitions });
        }
        let controller = answer.controller_id;
        let brokers: Vec<(i32, String, i32)> =
            answer.brokers.iter().map(|b| (b.node_id, b.host.to_string(), b.port)).collect();
        self.controller = controller;
        for (node, host, port) in brokers {
            self.broker_at(node, &host, port);
        }
        Ok(topics)
    }

    /// The brokers of the cluster, since something was asked.
    pub(super) fn nodes(&self) -> Vec<i32> {
        self.brokers.iter().map(|(node, _)| *node).collect()
    }

    /// For each of these partitions the first offset at or after a time, in milliseconds since 1970, or
    /// [`EARLIEST`] or [`LATEST`]; −1 where no record is as new.
    pub fn offsets(
        &mut self,
        topic: &str,
        partitions: &[Partition],
        time: i64,
    ) -> Result<Vec<i64>, Trouble> {
        let mut offsets = vec![-1; partitions.len()];
        for leader in leaders(partitions.iter().map(|partition| partition.leader)) {
            let of_leader = || partitions.iter().filter(|partition| partition.leader == leader);
            self.check_leader(topic, leader)?;
            let mut r =
                self.ask(leader, ListOffsetsRequest::KEY, version::LIST_OFFSETS, &mut |w| {
                    ListOffsetsRequest {
                        replica_id: -1,
                        topics: &mut |list| {
                            list.push(ListOffsetsTopic {
                                name: topic,
                                partitions: &mut |list| {
                                    for Partition { index, .. } in of_leader() {
                                        let (partition_index, timestamp) = (*index, time);
                                        list.push(ListOffsetsPartition {
                                            partition_index,
                                            timestamp,
                                        });
                                    }
                                },
                            });
                        },
                    }
                    .encode(w, version::LIST_OFFSETS);
                })?;
            let answer = ListOffsetsResponse::decode(&mut r, version::LIST_OFFSETS)?;
            for found in answer.topics.iter().flat_map(|topic| topic.partitions.iter()) {
                Trouble::check(&what(topic), found.error_code, None)?;
                let at = partitions.iter().position(|p| p.index == found.partition_index);
                if let Some(offset) = at.and_then(|at| offsets.get_mut(at)) {
                    *offset = found.offset;
                }
            }
        }
        Ok(offsets)
    }

    /// A partition may have no leader at the moment.
    pub(super) fn check_leader(&self, topic: &str, leader: i32) -> Result<(), Trouble> {
        let there = leader >= 0;
        let code = if there { ErrorCode::NONE } else { ErrorCode::LEADER_NOT_AVAILABLE };
        Trouble::check(&what(topic), code, None)
    }
}

/// Each leader once.
pub fn leaders(of_partitions: impl Iterator<Item = i32>) -> Vec<i32> {
    let mut leaders = Vec::new();
    for leader in of_partitions {
        if !leaders.contains(&leader) {
            leaders.push(leader);
        }
    }
    leaders
}

/// What an error is about.
pub(super) fn what(topic: &str) -> String {
    format!("topic {topic}")
}

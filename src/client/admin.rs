//! Making, changing and deleting topics, and their settings.

use super::messages::{
    AlterConfigsResource, AlterableConfig, CreatableConfig, CreatableTopic,
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreateTopicsRequest,
    CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse, DescribeConfigsRequest,
    DescribeConfigsResource, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
    IncrementalAlterConfigsResponse, version,
};
use super::topics::what;
use super::{ANY, Client, REQUEST_TIMEOUT_MS, Trouble};

/// A setting's name and value; an empty value of one that is altered: back to its default.
pub type Setting = (String, String);

impl Client {
    /// Makes a topic, with the broker's own number of partitions if none is given.
    pub fn create(
        &mut self,
        name: &str,
        partitions: Option<i32>,
        settings: &[Setting],
    ) -> Result<(), Trouble> {
        let mut r =
            self.ask_controller(CreateTopicsRequest::KEY, version::CREATE_TOPICS, &mut |w| {
                CreateTopicsRequest {
                    topics: &mut |list| {
                        list.push(CreatableTopic {
                            name,
                            num_partitions: partitions.unwrap_or(-1),
                            replication_factor: -1,
                            assignments: &mut |_| {},
                            configs: &mut |list| {
                                for (name, value) in settings {
                                    list.push(CreatableConfig { name, value });
                                }
                            },
                        });
                    },
                    timeout_ms: REQUEST_TIMEOUT_MS,
                    validate_only: false,
                }
                .encode(w, version::CREATE_TOPICS);
            })?;
        let answer = CreateTopicsResponse::decode(&mut r, version::CREATE_TOPICS)?;
        let checked = answer.topics.iter().map(|t| (t.error_code, t.error_message));
        checked.into_iter().try_for_each(|(code, said)| Trouble::check(&what(name), code, said))
    }

    /// Deletes a topic.
    pub fn delete(&mut self, name: &str) -> Result<(), Trouble> {
        let mut r =
            self.ask_controller(DeleteTopicsRequest::KEY, version::DELETE_TOPICS, &mut |w| {
                DeleteTopicsRequest {
                    topic_names: &mut |list| list.push(name),
                    timeout_ms: REQUEST_TIMEOUT_MS,
                }
                .encode(w, version::DELETE_TOPICS);
            })?;
        let answer = DeleteTopicsResponse::decode(&mut r, version::DELETE_TOPICS)?;
        let mut codes = answer.responses.iter().map(|topic| topic.error_code);
        codes.try_for_each(|code| Trouble::check(&what(name), code, None))
    }

    /// Gives a topic so many partitions.
    pub fn grow(&mut self, name: &str, partitions: i32) -> Result<(), Trouble> {
        let (key, version) = (CreatePartitionsRequest::KEY, version::CREATE_PARTITIONS);
        let mut r = self.ask_controller(key, version, &mut |w| {
            CreatePartitionsRequest {
                topics: &mut |list| {
                    list.push(CreatePartitionsTopic { name, count: partitions, assignments: None });
                },
                timeout_ms: REQUEST_TIMEOUT_MS,
                validate_only: false,
            }
            .encode(w, version);
        })?;
        let answer = CreatePartitionsResponse::decode(&mut r, version)?;
        let mut results = answer.results.iter();
        results.try_for_each(|t| Trouble::check(&what(name), t.error_code, t.error_message))
    }

    /// Changes settings of a topic.
    pub fn alter(&mut self, name: &str, settings: &[Setting]) -> Result<(), Trouble> {
        let (key, version) =
            (IncrementalAlterConfigsRequest::KEY, version::INCREMENTAL_ALTER_CONFIGS);
        let mut r = self.ask_controller(key, version, &mut |w| {
            IncrementalAlterConfigsRequest {
                resources: &mut |list| {
                    list.push(AlterConfigsResource {
                        resource_type: TOPIC,
                        resource_name: name,
                        configs: &mut |list| {
                            for (name, value) in settings {
                                let value = Some(value.as_str()).filter(|value| !value.is_empty());
                                let config_operation = if value.is_some() { SET } else { DELETE };
                                list.push(AlterableConfig { name, config_operation, value });
                            }
                        },
                    });
                },
                validate_only: false,
            }
            .encode(w, version);
        })?;
        let answer = IncrementalAlterConfigsResponse::decode(&mut r, version)?;
        let mut results = answer.responses.iter();
        results.try_for_each(|t| Trouble::check(&what(name), t.error_code, t.error_message))
    }

    /// The settings of a topic that were set for it.
    pub fn settings(&mut self, name: &str) -> Result<Vec<Setting>, Trouble> {
        let (key, version) = (DescribeConfigsRequest::KEY, version::DESCRIBE_CONFIGS);
        let mut r = self.ask(ANY, key, version, &mut |w| {
            DescribeConfigsRequest {
                resources: &mut |list| {
                    list.push(DescribeConfigsResource {
                        resource_type: TOPIC,
                        resource_name: name,
                        configuration_keys: None,
                    });
                },
                include_synonyms: false,
            }
            .encode(w, version);
        })?;
        let answer = DescribeConfigsResponse::decode(&mut r, version)?;
        let mut settings = Vec::new();
        for topic in answer.results.iter() {
            Trouble::check(&what(name), topic.error_code, topic.error_message)?;
            for config in topic.configs.iter().filter(|config| config.config_source == OF_TOPIC) {
                let value = config.value.unwrap_or_default().to_string();
                settings.push((config.name.to_string(), value));
            }
        }
        Ok(settings)
    }

    /// Only the controller changes topics, in Kafka before 4.0; who that is has to be asked anew.
    fn ask_controller(
        &mut self,
        key: i16,
        version: i16,
        encode: &mut dyn FnMut(&mut crate::codec::Writer<'_>),
    ) -> Result<crate::codec::Reader<'_>, Trouble> {
        self.cluster()?;
        self.ask(self.controller, key, version, encode)
    }
}

/// What has settings.
const TOPIC: i8 = 2;
/// What is done to one.
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Where its value comes from.
const OF_TOPIC: i8 = 1;

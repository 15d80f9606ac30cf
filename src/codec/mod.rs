//! Reading and writing Kafka's wire format without allocating.

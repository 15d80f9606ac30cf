//! DescribeConfigs (32): shows configs. Versions 1–4.
//!
//! - 1 adds where a value comes from, and synonyms; 3 types and documentation; 4 is flexible.
//! - `is_default` was version 0's, which is not served.
//! - Documentation is null.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Whose configs.
    request DescribeConfigsRequest<'a>, key 32, flexible 4+ {
        resources: Array<'a, DescribeConfigsResource<'a>>, 0+;
        include_synonyms: bool, 1+;
        include_documentation: bool, 3+;
    }

    /// One resource, and which of its configs; null is all.
    request DescribeConfigsResource<'a> {
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configuration_keys: Option<Array<'a, &'a str>>, 0+, nullable 0+;
    }

    /// The configs.
    response DescribeConfigsResponse<'a>, key 32, flexible 4+ {
        throttle_time_ms: i32, 0+;
        results: List<'a, DescribeConfigsResult<'static>>, 0+;
    }

    /// One resource.
    response DescribeConfigsResult<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configs: List<'a, DescribeConfigsResourceResult<'static>>, 0+;
    }

    /// One config.
    response DescribeConfigsResourceResult<'a> {
        name: &'a str, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
        read_only: bool, 0+;
        config_source: i8, 1+;
        is_sensitive: bool, 0+;
        synonyms: List<'a, DescribeConfigsSynonym<'static>>, 1+;
        config_type: i8, 3+;
        documentation: Option<&'a str>, 3+, nullable 0+;
    }

    /// Where else its value could come from, nearest first.
    response DescribeConfigsSynonym<'a> {
        name: &'a str, 1+;
        value: Option<&'a str>, 1+, nullable 0+;
        source: i8, 1+;
    }
}

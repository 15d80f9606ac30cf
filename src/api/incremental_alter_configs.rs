//! IncrementalAlterConfigs (44): changes single configs of resources. Versions 0–1.
//!
//! - 1 is flexible.
//! - Operations: 0 set, 1 delete, 2 append to a list, 3 subtract from a list.

use crate::codec::{Array, ErrorCode, List, message};

message! {
    /// Resources and changes.
    request IncrementalAlterConfigsRequest<'a>, key 44, flexible 1+ {
        resources: Array<'a, AlterConfigsResource<'a>>, 0+;
        validate_only: bool, 0+;
    }

    /// All configs that a resource shall have.
    request AlterConfigsResource<'a> {
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
        configs: Array<'a, AlterableConfig<'a>>, 0+;
    }

    /// One config.
    request AlterableConfig<'a> {
        name: &'a str, 0+;
        config_operation: i8, 0+;
        value: Option<&'a str>, 0+, nullable 0+;
    }

    /// What became of them.
    response IncrementalAlterConfigsResponse<'a>, key 44, flexible 1+ {
        throttle_time_ms: i32, 0+;
        responses: List<'a, AlterConfigsResourceResponse<'static>>, 0+;
    }

    /// What became of one resource.
    response AlterConfigsResourceResponse<'a> {
        error_code: ErrorCode, 0+;
        error_message: Option<&'a str>, 0+, nullable 0+;
        resource_type: i8, 0+;
        resource_name: &'a str, 0+;
    }
}

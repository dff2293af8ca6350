//! Tests of the whole handler as the Functions host runs it: the built program, real ONNX Runtime, a real Redis.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a failing expectation is what a test is for"
)]

/// Makes of each test a second one for a host that forwards. host.json lets a host proxy, so the first one is for that.
macro_rules! also_forwarded {
    ($($test:ident),* $(,)?) => {
        mod forwarded {
            $(
                #[test]
                fn $test() {
                    functions_host::host_options::forwarding(super::$test);
                }
            )*
        }
    };
}

mod architecture;
mod azure_sdks;
mod bad_input;
mod bulk_check;
mod cache_command;
mod cache_policy;
mod cache_secret;
mod check_elf;
mod cluster;
mod connections;
mod deployment;
mod entra;
mod feature_hashes;
mod features;
mod features_in_messages;
mod features_outages;
mod guard;
mod health;
mod host_calls;
mod hostile_redis;
mod http_edge;
mod http_formats;
mod http_trigger;
mod keys;
mod large_blobs;
mod learned_models;
mod lifecycle;
mod logs;
mod memo;
mod metrics;
mod model_files;
mod models;
mod number_types;
mod openapi;
mod outputs;
mod package;
mod page;
#[cfg(feature = "parquet")]
mod parquet_files;
mod pictures;
mod protocol_cases;
mod quotes;
mod recorded_requests;
mod redis_connection;
mod redis_selftest;
mod refusals;
mod score_command;
mod score_files;
mod serve;
mod served_protocols;
mod settings;
mod support;
mod text_apis;
mod text_budget;
mod text_folders;
mod text_heads;
mod text_task_refusals;
mod text_tasks;
mod texts;
mod trace_collectors;
mod traces;
mod versions;

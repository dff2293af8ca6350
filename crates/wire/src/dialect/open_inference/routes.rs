//! The routes of the Open Inference Protocol, and those of Triton beside it.
//!
//! Source: "Open Inference Protocol", rest/predict-v2; Triton's extensions "Model Configuration", "Statistics" and "Model
//! Repository", of whose routes the index is served: models are loaded at start.

use crate::dialect::routes::{MODEL, Operation, Protocol, ProtocolRoute, VERSION};
use crate::error_form;

/// The Open Inference Protocol.
pub(crate) static PROTOCOL: Protocol = Protocol {
    name: "Open Inference Protocol",
    section: "kserve-v2-and-triton",
    purpose: "clients of KServe V2 and Triton; those of a model also below `/versions/{version}`",
    errors: &error_form::TEXT,
    routes: &[
        route(
            &["v2"],
            "server",
            "Name and version of the server",
            Operation::Server,
        ),
        route(
            &["v2", "health", "live"],
            "live",
            "Whether the process is running",
            Operation::Live,
        ),
        route(
            &["v2", "health", "ready"],
            "ready",
            "Whether models are loaded",
            Operation::Ready,
        ),
        route(
            &["v2", "models", "stats"],
            "statistics",
            "What was counted of each model",
            Operation::Statistics,
        ),
        route(
            &["v2", "models", MODEL],
            "metadata",
            MODEL_SUMMARY,
            Operation::Model,
        ),
        route(
            &["v2", "models", MODEL, "ready"],
            "model_ready",
            READY_SUMMARY,
            Operation::ModelReady,
        ),
        route(
            &["v2", "models", MODEL, "config"],
            "config",
            CONFIG_SUMMARY,
            Operation::Config,
        ),
        route(
            &["v2", "models", MODEL, "stats"],
            "model_statistics",
            STATS_SUMMARY,
            Operation::Statistics,
        ),
        route(
            &["v2", "models", MODEL, "infer"],
            "infer",
            INFER_SUMMARY,
            Operation::Score,
        ),
        route(
            &["v2", "models", MODEL, "versions", VERSION],
            "version_metadata",
            MODEL_SUMMARY,
            Operation::Model,
        ),
        route(
            &["v2", "models", MODEL, "versions", VERSION, "ready"],
            "version_ready",
            READY_SUMMARY,
            Operation::ModelReady,
        ),
        route(
            &["v2", "models", MODEL, "versions", VERSION, "config"],
            "version_config",
            CONFIG_SUMMARY,
            Operation::Config,
        ),
        route(
            &["v2", "models", MODEL, "versions", VERSION, "stats"],
            "version_statistics",
            STATS_SUMMARY,
            Operation::Statistics,
        ),
        route(
            &["v2", "models", MODEL, "versions", VERSION, "infer"],
            "version_infer",
            INFER_SUMMARY,
            Operation::Score,
        ),
        route(
            &["v2", "repository", "index"],
            "index",
            "The state of each model",
            Operation::Index,
        ),
    ],
};

const MODEL_SUMMARY: &str = "Inputs and outputs of the model";
const READY_SUMMARY: &str = "Whether the model is loaded";
const CONFIG_SUMMARY: &str = "The model's configuration, as Triton has it";
const STATS_SUMMARY: &str = "What was counted of the model";
const INFER_SUMMARY: &str = "Score in the Open Inference Protocol";

const fn route(
    path: &'static [&'static str],
    id: &'static str,
    summary: &'static str,
    operation: Operation,
) -> ProtocolRoute {
    ProtocolRoute {
        path,
        id,
        summary,
        operation,
    }
}

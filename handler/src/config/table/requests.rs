//! Limits of requests, and what is particular to messages and blobs.

use std::time::Duration;

use super::super::OnInvalid;
use super::super::setting::Fallback::{Described, Value};
use super::super::setting::{
    Secret, Setting, Typed, choice, container, number, number_between, text, time,
};
use super::{Group, settings};

settings! { LIMITS, "Limits of requests":
    TIMEOUT: Duration = time(Setting {
        name: "SCORE_TIMEOUT",
        default: Value("60s"),
        meaning: "How long one request may take, including all waiting.",
        ..Setting::USUAL
    });
    MAX_BODY_BYTES: usize = number("bytes", 1, Setting {
        name: "SCORE_MAX_BODY_BYTES",
        default: Value("33554432"),
        meaning: "The size of one body. A larger one is refused with status 413. In a batch the limit is for each \
                  message.",
        ..Setting::USUAL
    });
    MAX_WAITING_BYTES: usize = number("bytes", 1, Setting {
        name: "SCORE_MAX_WAITING_BYTES",
        default: Value("268435456"),
        meaning: "The size of all bodies together that are being read or scored, and once more that of all they become. \
                  Further requests get status 503; messages and blobs wait.",
        see: "settings.md#memory",
        ..Setting::USUAL
    });
    MAX_ROWS: usize = number("rows", 1, Setting {
        name: "SCORE_MAX_ROWS",
        default: Value("10000"),
        meaning: "Rows of one request, for models whose rows are independent. `max_rows` in model.toml sets it for one model.",
        ..Setting::USUAL
    });
    MAX_NESTING: usize = number_between("levels", 1, 128, Setting {
        name: "SCORE_MAX_NESTING",
        default: Value("16"),
        meaning: "Levels of arrays within arrays in one body.",
        ..Setting::USUAL
    });
    MAX_REQUESTS: usize = number("requests", 1, Setting {
        name: "SCORE_MAX_REQUESTS",
        default: Value("512"),
        meaning: "Requests that are worked on at the same time. Further ones get status 503.",
        ..Setting::USUAL
    });
    MAX_WAITING_ROWS: usize = number("rows", 1, Setting {
        name: "SCORE_MAX_WAITING_ROWS",
        default: Value("20000"),
        meaning: "Rows that wait for one model. Requests with further rows get status 503.",
        ..Setting::USUAL
    });
    MAX_BATCH_ROWS: usize = number("rows", 1, Setting {
        name: "SCORE_MAX_BATCH_ROWS",
        default: Value("64"),
        meaning: "Rows of different requests that share one run of the model.",
        ..Setting::USUAL
    });
}

settings! { MESSAGES, "Messages and blobs":
    MESSAGE_TIMEOUT: Duration = time(Setting {
        name: "SCORE_MESSAGE_TIMEOUT",
        default: Value("4m"),
        meaning: "How long one message or blob may take from its first byte, including all waiting, before it is returned to \
                  its queue or container.",
        see: "messages.md",
        ..Setting::USUAL
    });
    MESSAGE_BATCH_TIMEOUT: Duration = time(Setting {
        name: "SCORE_MESSAGE_BATCH_TIMEOUT",
        default: Value("45s"),
        meaning: "The same for a batch of messages. Keep it below the lock time of the queue.",
        see: "messages.md",
        ..Setting::USUAL
    });
    ON_INVALID: OnInvalid = choice(Setting {
        name: "SCORE_ON_INVALID",
        default: Value("reject"),
        meaning: "What happens to a message or blob that can never be scored. `reject` sends it to the output `rejected`. \
                  `fail` fails the invocation, so that the broker moves the message to its dead letters; this needs \
                  `\"cardinality\": \"one\"` in score_queue/function.json.",
        see: "messages.md",
        ..Setting::USUAL
    });
    QUEUE: Option<String> = by_host(Setting {
        name: "SCORE_QUEUE",
        meaning: "The Service Bus queue that `score_queue` scores.",
        ..Setting::USUAL
    });
    RESULT_QUEUE: Option<String> = by_host(Setting {
        name: "SCORE_RESULT_QUEUE",
        meaning: "The Service Bus queue for results.",
        ..Setting::USUAL
    });
    REJECTED_QUEUE: Option<String> = by_host(Setting {
        name: "SCORE_REJECTED_QUEUE",
        meaning: "The Service Bus queue for messages that can never be scored.",
        ..Setting::USUAL
    });
    TOPIC: Option<String> = by_host(Setting {
        name: "SCORE_TOPIC",
        meaning: "The Service Bus topic that `score_queue_topic` scores.",
        ..Setting::USUAL
    });
    SUBSCRIPTION: Option<String> = by_host(Setting {
        name: "SCORE_SUBSCRIPTION",
        meaning: "The subscription to that topic.",
        ..Setting::USUAL
    });
    STORAGE_QUEUE: Option<String> = by_host(Setting {
        name: "SCORE_STORAGE_QUEUE",
        meaning: "The storage queue that `score_storage_queue` scores.",
        ..Setting::USUAL
    });
    STORAGE_RESULT_QUEUE: Option<String> = by_host(Setting {
        name: "SCORE_STORAGE_RESULT_QUEUE",
        meaning: "The storage queue for results.",
        ..Setting::USUAL
    });
    STORAGE_REJECTED_QUEUE: Option<String> = by_host(Setting {
        name: "SCORE_STORAGE_REJECTED_QUEUE",
        meaning: "The storage queue for messages that can never be scored.",
        ..Setting::USUAL
    });
}

settings! { BLOBS, "Large blobs":
    BLOBS_STORAGE: Option<String> = text("the address or name of a storage account, or a connection string", Setting {
        name: "SCORE_BLOBS_STORAGE",
        aliases: &[
            "AzureWebJobsStorage__blobServiceUri",
            "AzureWebJobsStorage__accountName",
            "AzureWebJobsStorage",
        ],
        default: Described("none"),
        applies: LARGE,
        meaning: "The storage account of the blobs: `https://ACCOUNT.blob.core.windows.net` or the account's name, opened by \
                  the app's identity, or a connection string.",
        see: "bulk.md#large-blobs",
        secret: Secret::Whole,
        ..Setting::USUAL
    });
    BLOBS_CLIENT_ID: Option<String> = text("the client id of an identity", Setting {
        name: "AzureWebJobsStorage__clientId",
        default: Described("`AZURE_CLIENT_ID`"),
        applies: LARGE,
        meaning: "The client id of the user-assigned identity that opens the account. Without either the app's \
                  system-assigned identity does.",
        ..Setting::USUAL
    });
    BLOBS_INCOMING: String = container(Setting {
        name: "SCORE_BLOBS_INCOMING",
        default: Value("incoming-large"),
        applies: LARGE,
        meaning: "The container whose blobs are scored. Messages about blobs in others are ignored.",
        ..Setting::USUAL
    });
    BLOBS_SCORED: String = container(Setting {
        name: "SCORE_BLOBS_SCORED",
        default: Value("scored"),
        applies: LARGE,
        meaning: "The container for results.",
        ..Setting::USUAL
    });
    BLOBS_REJECTED: String = container(Setting {
        name: "SCORE_BLOBS_REJECTED",
        default: Value("rejected"),
        applies: LARGE,
        meaning: "The container for lines that cannot be scored.",
        ..Setting::USUAL
    });
    BLOBS_BUDGET: Duration = time(Setting {
        name: "SCORE_BLOBS_BUDGET",
        default: Value("4m"),
        applies: LARGE,
        meaning: "How long one call works on a blob before it hands the rest to the next call. Keep it a minute below \
                  `functionTimeout` of host.json.",
        see: "bulk.md#large-blobs",
        ..Setting::USUAL
    });
    BLOBS_QUEUE: Option<String> = by_host(Setting {
        name: "SCORE_BLOBS_QUEUE",
        meaning: "The storage queue whose messages name large blobs.",
        ..Setting::USUAL
    });
}

/// Where a function scores large blobs.
const LARGE: &str = "with the function `score_large_blob`";

/// A name that the Functions host puts into function.json; the handler does not read it.
const fn by_host(setting: Setting) -> Typed<Option<String>> {
    let applies = "where a function.json names it, as in `%SCORE_QUEUE%`";
    text(
        "the name of a queue, topic or subscription",
        Setting { applies, ..setting },
    )
}

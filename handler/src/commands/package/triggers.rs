//! The triggers: the function folder of each one, and the app settings that it needs.

use anyhow::bail;
use serde_json::{Value, json};

/// A kind of trigger.
#[derive(Debug)]
pub(super) struct Trigger {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// Its function folder.
    pub(super) function: &'static str,
    /// Its function.json.
    pub(super) bindings: &'static str,
    settings: &'static [&'static [(&'static str, &'static str)]],
}

type Settings = [(&'static str, &'static str)];

/// What every app has, for any trigger. Values in angle brackets are to be filled in.
const COMMON: &Settings = &[
    ("AzureWebJobsStorage__accountName", "<storage account>"),
    ("AzureWebJobsStorage__credential", "managedidentity"),
    ("AzureWebJobsStorage__clientId", IDENTITY),
];
const IDENTITY: &str = "<client id of the app's identity>";
const SERVICE_BUS: &Settings = &[
    (
        "ServiceBusConnection__fullyQualifiedNamespace",
        "<namespace>.servicebus.windows.net",
    ),
    ("ServiceBusConnection__credential", "managedidentity"),
    ("ServiceBusConnection__clientId", IDENTITY),
    ("SCORE_RESULT_QUEUE", "score-results"),
    ("SCORE_REJECTED_QUEUE", "score-rejected"),
];
const QUEUE: &Settings = &[("SCORE_QUEUE", "score")];
const TOPIC: &Settings = &[
    ("SCORE_TOPIC", "score-requests"),
    ("SCORE_SUBSCRIPTION", "score"),
];
const STORAGE_QUEUE: &Settings = &[
    ("SCORE_STORAGE_QUEUE", "score"),
    ("SCORE_STORAGE_RESULT_QUEUE", "score-results"),
    ("SCORE_STORAGE_REJECTED_QUEUE", "score-rejected"),
];
// By identity, a blob trigger asks for the addresses of both services.
const BLOB: &Settings = &[
    (
        "AzureWebJobsStorage__blobServiceUri",
        "https://<storage account>.blob.core.windows.net",
    ),
    (
        "AzureWebJobsStorage__queueServiceUri",
        "https://<storage account>.queue.core.windows.net",
    ),
];

const LARGE_BLOB: &Settings = &[("SCORE_BLOBS_QUEUE", "score-large-blobs")];

const CUSTOM_OPS: &Settings = &[("SCORE_CUSTOM_OPS", "on")];

/// All triggers. The repository's own functions are the templates, where there are some.
const TRIGGERS: [Trigger; 6] = [
    Trigger {
        name: "http",
        function: "score_http",
        bindings: include_str!("../../../../score_http/function.json"),
        settings: &[],
    },
    Trigger {
        name: "servicebus",
        function: "score_queue",
        bindings: include_str!("../../../../score_queue/function.json"),
        settings: &[SERVICE_BUS, QUEUE],
    },
    Trigger {
        name: "servicebus-topic",
        function: "score_queue_topic",
        bindings: include_str!("templates/score_queue_topic.json"),
        settings: &[SERVICE_BUS, TOPIC],
    },
    Trigger {
        name: "storage-queue",
        function: "score_storage_queue",
        bindings: include_str!("templates/score_storage_queue.json"),
        settings: &[STORAGE_QUEUE],
    },
    Trigger {
        name: "blob",
        function: "score_blob",
        bindings: include_str!("../../../../score_blob/function.json"),
        settings: &[BLOB],
    },
    Trigger {
        name: "large-blob",
        function: "score_large_blob",
        bindings: include_str!("templates/score_large_blob.json"),
        settings: &[LARGE_BLOB],
    },
];

/// The functions that the platform asks for the app's health. It cannot send keys, so each has a fixed route and answers one word.
const HEALTH: [Trigger; 2] = [
    Trigger {
        name: "health-live",
        function: "score_health_live",
        bindings: include_str!("../../../../score_health_live/function.json"),
        settings: &[],
    },
    Trigger {
        name: "health-ready",
        function: "score_health_ready",
        bindings: include_str!("../../../../score_health_ready/function.json"),
        settings: &[],
    },
];

/// The triggers of these names, each once, and with `health` those of the health functions.
///
/// # Errors
/// If there is none of a name; the text names those there are.
pub(super) fn chosen(names: &[String], health: bool) -> anyhow::Result<Vec<Trigger>> {
    let known = TRIGGERS.map(|trigger| trigger.name);
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!(
            "there is no trigger {unknown:?}; there are: {}",
            known.join(", ")
        );
    }
    let mut chosen = Vec::from(TRIGGERS);
    chosen.retain(|trigger| names.iter().any(|name| name == trigger.name));
    if health {
        chosen.extend(HEALTH);
    }
    Ok(chosen)
}

/// The app settings in the form that the portal and `az functionapp config appsettings set --settings @FILE` take.
/// `custom_ops`: whether a model brings a library of operators.
pub(super) fn app_settings(triggers: &[Trigger], custom_ops: bool) -> String {
    let own = triggers.iter().flat_map(|trigger| trigger.settings);
    let own = own.chain(custom_ops.then_some(&CUSTOM_OPS));
    let mut settings: Vec<(&str, &str)> = Vec::new();
    for (name, value) in std::iter::once(&COMMON).chain(own).copied().flatten() {
        if !settings.contains(&(*name, *value)) {
            settings.push((name, value));
        }
    }
    let entries: Value = settings
        .into_iter()
        .map(|(name, value)| json!({ "name": name, "value": value, "slotSetting": false }))
        .collect();
    format!("{entries:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_unknown_trigger_is_told_the_known_ones() {
        let refusal = chosen(&names(&["http", "kafka"]), true);
        let refusal = refusal.unwrap_err().to_string();
        assert_eq!(
            refusal,
            "there is no trigger \"kafka\"; there are: http, servicebus, servicebus-topic, storage-queue, blob, large-blob"
        );
        let twice = names(&["blob", "http", "blob"]);
        assert_eq!(chosen(&twice, false).unwrap().len(), 2);
        assert_eq!(chosen(&twice, true).unwrap().len(), 4);
    }

    #[test]
    fn the_list_has_what_bindings_name_and_what_the_host_needs_and_no_more() {
        for trigger in TRIGGERS {
            let (name, bindings) = (trigger.name, trigger.bindings);
            let settings = app_settings(&[trigger], false);
            let list: Vec<Value> = serde_json::from_str(&settings).unwrap();
            let has = |wanted: &str| list.iter().any(|entry| entry["name"] == wanted);
            // Every second part between percent signs is a name.
            let named: Vec<&str> = bindings.split('%').skip(1).step_by(2).collect();
            for wanted in &named {
                assert!(has(wanted), "{name}: {wanted}");
            }
            // Redis is the user's choice: an address that is not filled in would keep the app from starting.
            for entry in &list {
                let listed = entry["name"].as_str().unwrap();
                let of_host = ["AzureWebJobsStorage__", "ServiceBusConnection__"];
                let of_host = of_host.iter().any(|prefix| listed.starts_with(prefix));
                assert!(of_host || named.contains(&listed), "{name}: {listed}");
            }
            let bound = bindings.contains("ServiceBusConnection");
            assert_eq!(
                bound,
                has("ServiceBusConnection__fullyQualifiedNamespace"),
                "{name}"
            );
            let lower = settings.to_lowercase();
            for secret in ["key", "password", "secret", "connectionstring"] {
                assert!(!lower.contains(secret), "{name}: {secret}");
            }
        }
    }

    #[test]
    fn settings_that_triggers_share_are_listed_once() {
        let both = chosen(&names(&["servicebus", "servicebus-topic"]), true).unwrap();
        let settings = app_settings(&both, true);
        assert_eq!(settings.matches("\"SCORE_CUSTOM_OPS\"").count(), 1);
        assert_eq!(settings.matches("\"SCORE_RESULT_QUEUE\"").count(), 1);
    }
}

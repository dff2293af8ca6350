//! `handler settings`, and the names of settings in everything that is shipped.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};

use regex::Regex;
use serde_json::Value;

use crate::support::app_root::repository;

const SECRET: &str = "hunter2";

/// Folders and files that hold no text of the product, names that are wrong on purpose, or many variables of azd.
const LEFT_OUT: [&str; 12] = [
    "vendor",
    "infra",
    "azure.yaml",
    "target",
    "node_modules",
    "dist",
    "bin",
    "benches",
    "tests",
    "config",
    "settings",
    "CHANGELOG.md",
];

/// Names of the same form that are no settings of the program: variables of azd and of the scripts.
const OTHERS: [&str; 13] = [
    "AZUREML_ENTRY_SCRIPT",
    "REDIS_ADDRESS",
    "SCORE_HANDLER",
    "SCORE_HOSTING",
    "SCORE_IMAGE",
    "SCORE_LARGE_BLOBS",
    "SCORE_MODELS",
    "SCORE_PLAN_SKU",
    "SCORE_REDIS_CLUSTERING",
    "SCORE_REDIS_SKU",
    "SCORE_SMOKE_SECONDS",
    "SCORE_SMOKE_URL",
    "SCORE_TRIGGERS",
];

fn settings(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_handler"))
        .arg("settings")
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .expect("the handler starts")
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn settings_are_shown_with_their_values_and_without_secrets() {
    let url = format!("rediss://:{SECRET}@h:6380");
    let output = settings(
        &[],
        &[
            ("REDIS_URL", &url),
            ("SCORE_TIMEOUT", "5s"),
            ("SCORE_TIMOUT", SECRET),
        ],
    );
    let (shown, said) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(shown.contains("SCORE_TIMEOUT = 5s  (default: 60s)"));
    assert!(shown.contains("REDIS_URL = rediss://h:6380"));
    assert!(said.contains("warning: SCORE_TIMOUT is not a setting"));
    assert!(!shown.contains(SECRET) && !said.contains(SECRET));
}

#[test]
fn mistakes_are_shown_with_the_settings_and_fail_the_command() {
    let wrong = [("SCORE_TIMEOUT", "\"5s\""), ("SCORE_MAX_ROWS", "1_000")];
    let output = settings(&["--json"], &wrong);
    let (shown, said) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    let report: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(report["mistakes"].as_array().map(Vec::len), Some(2));
    assert!(said.contains(
        r#"setting SCORE_MAX_ROWS="1_000": expected a whole number of rows, 1 or more; write 1000"#
    ));
    let rows = report["settings"].as_array().expect("a list");
    let row = |name: &str| rows.iter().find(|row| row["name"] == name).expect("a row");
    assert_eq!(row("SCORE_MAX_BODY_BYTES")["unit"], "bytes");
    assert_eq!(row("SCORE_MAX_BODY_BYTES")["value"], "33554432");
    assert_eq!(row("SCORE_PAGE")["words"], serde_json::json!(["on", "off"]));
    assert_eq!(row("REDIS_URL")["value"], Value::Null);
}

/// A setting that is renamed or removed is so everywhere.
#[test]
fn what_is_shipped_names_no_setting_that_does_not_exist() {
    let groups = handler::SETTINGS.iter();
    let settings = groups.flat_map(|group| group.settings);
    let known: BTreeSet<&str> = settings
        .flat_map(handler::Setting::names)
        .chain(OTHERS)
        .collect();
    let name = Regex::new(r"\b(?:SCORE|REDIS|AZUREML|ORT)_[A-Z0-9_]*[A-Z0-9]\b").unwrap();
    for file in shipped() {
        let Ok(text) = std::fs::read_to_string(&file) else {
            continue;
        };
        for found in name.find_iter(&text) {
            assert!(
                known.contains(found.as_str()),
                "{} names {}, which is not in the table of settings",
                file.display(),
                found.as_str()
            );
        }
    }
}

/// Documents, sources, and what deploys the program. The reader of settings is left out: its tests have wrong names.
fn shipped() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![repository()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_left_out = name.starts_with('.') || LEFT_OUT.contains(&&*name);
            match path.is_dir() {
                _ if is_left_out => {}
                true => folders.push(path),
                false => files.push(path),
            }
        }
    }
    assert!(files.len() > 100, "no files");
    files
}

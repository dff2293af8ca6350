//! The list of cases in the README of the stand-in, held to the names of the tests.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

use crate::support::app_root::repository;

/// The first group of every match in a text.
fn found(pattern: &str, text: &str) -> Vec<String> {
    let form = Regex::new(pattern).unwrap();
    let matches = form.captures_iter(text);
    matches.map(|found| found[1].to_owned()).collect()
}

/// The numbers in the names of the tests of a folder: two in `f01_f17_a_forwarded_...`.
fn tested(folder: &Path) -> BTreeSet<String> {
    let mut numbers = BTreeSet::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for prefix in found("fn ((?:[a-z][0-9]{2}_)+)", &text) {
            numbers.extend(prefix.trim_end_matches('_').split('_').map(str::to_owned));
        }
    }
    numbers
}

#[test]
fn the_readme_lists_every_case_once_and_no_other() {
    let readme = repository().join("crates/functions-host/README.md");
    let readme = std::fs::read_to_string(readme).unwrap();
    let listed = found("(?m)^- `([a-z][0-9]{2})`: ", &readme);
    let cases: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(cases.len(), listed.len(), "a case is listed twice");
    assert_eq!(cases, tested(&repository().join("tests/protocol_cases")));
}

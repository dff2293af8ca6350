//! The table of modules in ARCHITECTURE.md is true: it names what each module imports, no more and no less.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use crate::support::app_root::repository;

/// The crates whose modules are compared, and where their sources lie.
const CRATES: [(&str, &str); 5] = [
    ("score", "score/src"),
    ("wire", "crates/wire/src"),
    ("redis_store", "crates/redis-store/src"),
    ("text", "crates/text/src"),
    ("handler", "handler/src"),
];

/// Crates of the workspace that are compared like modules.
const LIBRARIES: [&str; 4] = ["score", "wire", "redis_store", "text"];

type Imports = BTreeMap<String, BTreeSet<String>>;

/// Source without comments and unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The Rust files of a crate, without the modules that are compiled for tests and benchmarks only.
fn files(root: &Path) -> Vec<PathBuf> {
    let of_tests = Regex::new(
        r#"#\[cfg\((?:test|feature = "bench"|any\(test[^\n]*\))\)\]\n(?:#\[[^\n]*\n)*(?:pub )?mod (\w+);"#,
    )
    .unwrap();
    let all = rust_files(root);
    let mut left_out = BTreeSet::new();
    for path in &all {
        let text = fs::read_to_string(path).unwrap();
        let module = path.with_extension("");
        let folder = match module.file_name().and_then(|name| name.to_str()) {
            Some("lib" | "main" | "mod") => module.parent().unwrap(),
            _ => &module,
        };
        let names = of_tests.captures_iter(&text);
        left_out.extend(names.map(|name| folder.join(&name[1])));
    }
    let is_left_out = |path: &PathBuf| {
        let path = path.with_extension("");
        path.ancestors().any(|path| left_out.contains(path))
    };
    let kept = all.into_iter().filter(|path| !is_left_out(path));
    kept.collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// What the modules right below the root of a crate name of each other, and of [`LIBRARIES`].
fn imports(root: &Path) -> Imports {
    let all = files(root);
    let module = |path: &Path| {
        let first = path.strip_prefix(root).unwrap().components().next();
        let first = first.unwrap().as_os_str().to_string_lossy().into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let modules: BTreeSet<String> = all.iter().map(|path| module(path)).collect();
    // `crate::name`, or the names right inside `crate::{...}`.
    let named = Regex::new(r"\bcrate::(?:(\w+)|\{((?:[^{};]|\{[^{}]*\})*)\})").unwrap();
    let inner = Regex::new(r"\{[^{}]*\}").unwrap();
    let library = Regex::new(&format!(r"(?:^|[^:\w])({})::", LIBRARIES.join("|"))).unwrap();
    let mut imports = Imports::new();
    for path in &all {
        let mine = module(path);
        if mine == "lib" || mine == "main" {
            continue;
        }
        let code = code(path);
        let uses = imports.entry(mine.clone()).or_default();
        uses.extend(library.captures_iter(&code).map(|w| w[1].to_owned()));
        for found in named.captures_iter(&code) {
            let list = match found.get(1) {
                Some(name) => name.as_str().to_owned(),
                None => inner.replace_all(&found[2], "").into_owned(),
            };
            let names = list
                .split(',')
                .map(|name| name.trim().split("::").next().unwrap());
            let names = names.filter(|name| *name != mine && modules.contains(*name));
            uses.extend(names.map(str::to_owned));
        }
    }
    imports
}

/// What the table says that the modules of a crate know: the words in backticks outside parentheses. Of a longer path the first
/// word counts. Rows of modules inside others, `name::one::two`, are for readers only.
fn table(document: &str, name: &str) -> Imports {
    let row = Regex::new(&format!(r"(?m)^\| `{name}::(\w+)` \|[^\n]*\|([^|\n]*)\|$")).unwrap();
    let (remark, word) = (
        Regex::new(r"\([^)]*\)").unwrap(),
        Regex::new(r"`(\w+)(?:::\w+)*`").unwrap(),
    );
    let known = |text: &str| {
        let text = remark.replace_all(text, "").into_owned();
        word.captures_iter(&text).map(|w| w[1].to_owned()).collect()
    };
    let rows = row.captures_iter(document);
    rows.map(|row| (row[1].to_owned(), known(&row[2])))
        .collect()
}

#[test]
fn the_table_of_modules_names_their_imports() {
    let document = fs::read_to_string(repository().join("ARCHITECTURE.md")).unwrap();
    let mut wrong = Vec::new();
    for (name, sources) in CRATES {
        let (table, imports) = (table(&document, name), imports(&repository().join(sources)));
        let modules: BTreeSet<&String> = table.keys().chain(imports.keys()).collect();
        for module in modules {
            wrong.extend(match (table.get(module), imports.get(module)) {
                (None, _) => Some(format!("add a row for {name}::{module}")),
                (_, None) => Some(format!(
                    "remove the row of {name}::{module}: no such module"
                )),
                (Some(known), Some(used)) if known != used => Some(format!(
                    "the row of {name}::{module} has {known:?} in its last column, its source uses {used:?}"
                )),
                _ => None,
            });
        }
    }
    assert!(
        wrong.is_empty(),
        "in the table of modules in ARCHITECTURE.md:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_modules_need_each_other() {
    for (name, sources) in CRATES {
        let mut left = imports(&repository().join(sources));
        while !left.is_empty() {
            let known: BTreeSet<String> = left.keys().cloned().collect();
            let count = left.len();
            left.retain(|_, uses| !uses.is_disjoint(&known));
            assert!(
                left.len() < count,
                "modules of {name} use each other in a circle; let one of them stop, or move what both need into a third: \
                 {left:?}"
            );
        }
    }
}

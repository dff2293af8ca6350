//! What is shipped and what is documented, checked against what there is.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::app_root::repository;
use crate::support::funcignore::shipped_files;

/// All files below the repository, as a publish sees them; `bin` as a build leaves it.
fn files() -> Vec<String> {
    let root = repository();
    let mut files = BTreeSet::from([
        "bin/handler".to_owned(),
        "bin/libonnxruntime.so.1".to_owned(),
    ]);
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            if name == ".git" || name.starts_with("target/") || name.starts_with("bin/.") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(name);
            }
        }
    }
    files.insert("target/release/handler".to_owned());
    files.into_iter().collect()
}

#[test]
fn a_publish_ships_the_app_and_nothing_else() {
    let shipped = shipped_files(&repository(), &files());
    let functions: Vec<String> = std::fs::read_dir(repository())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| repository().join(name).join("function.json").is_file())
        .map(|name| format!("{name}/function.json"))
        .collect();
    for needed in [
        "host.json",
        "bin/handler",
        "bin/libonnxruntime.so.1",
        "models/mnist/model.onnx",
    ]
    .into_iter()
    .chain(functions.iter().map(String::as_str))
    {
        assert!(
            shipped.iter().any(|file| file == needed),
            "{needed} is left out"
        );
    }
    for file in &shipped {
        let expected = file == "host.json"
            || functions.contains(file)
            || file == "bin/handler"
            || file.starts_with("bin/libonnxruntime.")
            || file.starts_with("models/");
        assert!(expected, "{file} would be shipped");
    }
}

#[test]
fn the_host_finds_the_program_under_the_name_that_the_zip_entry_has() {
    let host = read(&repository().join("host.json"));
    assert_eq!(
        host["customHandler"]["description"]["defaultExecutablePath"],
        "bin/handler"
    );
    assert_eq!(host["customHandler"]["enableForwardingHttpRequest"], true);
    assert_eq!(host["extensions"]["http"]["routePrefix"], "api");
    let function = read(&repository().join("score-http/function.json"));
    assert_eq!(function["bindings"][0]["route"], "score/{*path}");
    assert_eq!(function["bindings"][0]["authLevel"], "function");
    let local = read(&repository().join("local.settings.json"));
    assert_eq!(local["Values"]["FUNCTIONS_WORKER_RUNTIME"], "custom");
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = std::fs::read_to_string(repository().join("README.md")).unwrap();
    for setting in handler::SETTINGS {
        let row = format!("| `{}` | {} |", setting.name, setting.default);
        assert!(readme.contains(&row), "README.md has no row {row}");
    }
    let rows = readme.lines().filter(|line| {
        line.starts_with("| `AZUREML_")
            || line.starts_with("| `SCORE_")
            || line.starts_with("| `REDIS_")
            || line.starts_with("| `ORT_")
            || line.starts_with("| `AZURE_")
    });
    assert_eq!(rows.count(), handler::SETTINGS.len());
}

fn read(file: &Path) -> serde_json::Value {
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

//! The files of an app folder.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::triggers::{Trigger, app_settings};
use crate::commands::model_source::{ModelSource, copy};

const HOST: &str = include_str!("../../../../host.json");
const DOCKERFILE: &str = include_str!("templates/Dockerfile");
const FUNCIGNORE: &str = include_str!("templates/funcignore");
/// Where the handler finds the library by itself: beside the program.
const LIBRARY: &str = "bin/libonnxruntime.so.1";

/// The parts of an app folder.
pub(super) struct Parts<'a> {
    pub(super) handler: &'a Path,
    pub(super) library: &'a Path,
    pub(super) models: &'a [ModelSource],
    pub(super) triggers: &'a [Trigger],
}

/// The one file of an app that the host executes, as host.json names it.
///
/// # Errors
/// If host.json does not name it.
pub(super) fn executable() -> anyhow::Result<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Host {
        custom_handler: CustomHandler,
    }
    #[derive(Deserialize)]
    struct CustomHandler {
        description: Description,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Description {
        default_executable_path: String,
    }
    let host: Host = serde_json::from_str(HOST).context("host.json")?;
    Ok(host.custom_handler.description.default_executable_path)
}

/// Writes everything into an empty folder.
///
/// # Errors
/// If a part cannot be read, or the folder not be written.
pub(super) fn write(root: &Path, parts: &Parts<'_>) -> anyhow::Result<()> {
    let put = |name: &str, text: &str| write_text(&root.join(name), text);
    put("host.json", HOST)?;
    put(".funcignore", FUNCIGNORE)?;
    let custom_ops = parts.models.iter().any(|m| m.files.custom_ops.is_some());
    put(
        "app-settings.json",
        &app_settings(parts.triggers, custom_ops),
    )?;
    let mut dockerfile = DOCKERFILE.to_owned();
    for Trigger {
        function, bindings, ..
    } in parts.triggers
    {
        put(&format!("{function}/function.json"), bindings)?;
        dockerfile.push_str(&format!("COPY {function} {function}\n"));
    }
    put("Dockerfile", &dockerfile)?;
    let executable = executable()?;
    copy(parts.handler, &root.join(&executable), 0o755)?;
    check_mode(&root.join(&executable), &executable)?;
    copy(parts.library, &root.join(LIBRARY), 0o644)?;
    for model in parts.models {
        let models = root.join("models");
        model.copy_to(&models)?;
        model.move_weights_out(&models)?;
    }
    Ok(())
}

/// Some file systems keep no modes and report no error. If the host cannot execute the file, the only sign is that the first
/// call takes two minutes.
///
/// # Errors
/// If not all users may execute the file.
#[cfg(unix)]
fn check_mode(file: &Path, shown: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = fs::metadata(file).with_context(|| format!("{shown} cannot be read"))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o555 != 0o555 {
        bail!(
            "{shown} has mode {mode:04o} in --out, expected 0755, or the host cannot start it: that file system keeps no \
             modes; choose --out on another one"
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn check_mode(_: &Path, _: &str) -> anyhow::Result<()> {
    Ok(())
}

/// What a deployment ships: all files but those that only tools read. `.funcignore` says the same to the Core Tools.
///
/// # Errors
/// If a folder cannot be read.
pub(super) fn shipped(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    list(root, Path::new(""), &mut files)?;
    let for_tools = [".funcignore", "app-settings.json", "Dockerfile"];
    files.retain(|file| !for_tools.iter().any(|name| file == Path::new(name)));
    Ok(files)
}

fn list(root: &Path, below: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let folder = root.join(below);
    let failed = || format!("{} cannot be read", folder.display());
    for entry in fs::read_dir(&folder).with_context(failed)? {
        let entry = entry.with_context(failed)?;
        let path = below.join(entry.file_name());
        match entry.path().is_dir() {
            true => list(root, &path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

fn write_text(file: &Path, text: &str) -> anyhow::Result<()> {
    make_folder_of(file)?;
    fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
}

fn make_folder_of(file: &Path) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(file);
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_handler_that_the_host_may_not_execute_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("handler");
        fs::write(&file, "").unwrap();
        for (mode, fits) in [(0o755, true), (0o777, true), (0o644, false), (0o700, false)] {
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            let checked = check_mode(&file, "bin/handler");
            assert_eq!(checked.is_ok(), fits, "{mode:o}");
            if let Err(error) = checked {
                let said = error.to_string();
                assert!(
                    said.starts_with(&format!("bin/handler has mode 0{mode:o} ")),
                    "{said}"
                );
            }
        }
    }
}

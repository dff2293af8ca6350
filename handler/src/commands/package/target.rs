//! Where a package goes: it is made beside the target and renamed when it is complete.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tempfile::{NamedTempFile, TempDir};

/// What temporary files and folders beside a target begin with.
const PREFIX: &str = ".handler-package-";

/// A folder that does not exist yet, is empty, or may be replaced.
#[derive(Debug)]
pub(super) struct FolderTarget {
    place: PathBuf,
    new: TempDir,
}

impl FolderTarget {
    /// Makes an empty folder beside `place`. With `force`, an app folder in that place will be replaced.
    ///
    /// # Errors
    /// If something is there that must not be replaced, or nothing can be written there.
    pub(super) fn open(place: &Path, force: bool, inputs: &[&Path]) -> anyhow::Result<Self> {
        let place = std::path::absolute(place)?;
        let shown = place.display();
        if place.is_dir() {
            let mut entries =
                fs::read_dir(&place).with_context(|| format!("--out {shown} cannot be read"))?;
            if entries.next().is_some() {
                refuse_to_replace(&place, force, inputs)?;
            }
        } else if place.symlink_metadata().is_ok() {
            bail!("--out {shown} exists already and is not a folder");
        }
        let new = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent_of(&place))
            .with_context(|| format!("--out {shown} cannot be written"))?;
        Ok(Self { place, new })
    }

    /// The new folder, not yet in its place.
    pub(super) fn path(&self) -> &Path {
        self.new.path()
    }

    /// Puts the folder into its place.
    ///
    /// # Errors
    /// If it cannot be renamed; what was in the place stays there then.
    pub(super) fn put_into_place(self) -> anyhow::Result<()> {
        let failed = || format!("--out {} cannot be written", self.place.display());
        // Only the owner may read a temporary folder, and docker and others must read this one.
        open_to_all(self.new.path()).with_context(failed)?;
        let beside = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(parent_of(&self.place))
            .with_context(failed)?;
        let old = beside.path().join("old");
        let replaces = self.place.exists();
        if replaces {
            fs::rename(&self.place, &old).with_context(failed)?;
        }
        if let Err(error) = fs::rename(self.new.path(), &self.place) {
            if replaces {
                fs::rename(&old, &self.place).with_context(failed)?;
            }
            return Err(error).with_context(failed);
        }
        // It is not there any more.
        let _ = self.new.keep();
        Ok(())
    }
}

/// Removing the user's files is worse than a refusal, so only what looks like an earlier package is removed.
fn refuse_to_replace(place: &Path, force: bool, inputs: &[&Path]) -> anyhow::Result<()> {
    let shown = place.display();
    if !force {
        bail!("--out {shown} is not empty; --force replaces it");
    }
    if !place.join("host.json").is_file() || !place.join("app-settings.json").is_file() {
        bail!(
            "--out {shown} is not empty and is not a package; empty it, or choose another folder"
        );
    }
    let here = std::env::current_dir().ok();
    let inside = |path: &Path| match (path.canonicalize(), place.canonicalize()) {
        (Ok(path), Ok(place)) => path.starts_with(place),
        _ => false,
    };
    let needed = inputs.iter().copied().chain(here.as_deref());
    if let Some(needed) = needed.into_iter().find(|path| inside(path)) {
        bail!(
            "--out {shown} holds {}, which is needed; choose another folder",
            needed.display()
        );
    }
    Ok(())
}

#[cfg(unix)]
fn open_to_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn open_to_all(_: &Path) -> io::Result<()> {
    Ok(())
}

/// A file that does not exist yet or may be replaced.
#[derive(Debug)]
pub(super) struct FileTarget {
    place: PathBuf,
    new: NamedTempFile,
}

impl FileTarget {
    /// Makes an empty file beside `place`.
    ///
    /// # Errors
    /// If something is there that must not be replaced, or nothing can be written there.
    pub(super) fn open(place: &Path, force: bool) -> anyhow::Result<Self> {
        let place = std::path::absolute(place)?;
        let shown = place.display();
        if place.symlink_metadata().is_ok() {
            if !place.is_file() {
                bail!("--zip {shown} exists already and is not a file");
            }
            if !force {
                bail!("--zip {shown} exists already; --force replaces it");
            }
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            builder.permissions(fs::Permissions::from_mode(0o644));
        }
        let new = builder
            .tempfile_in(parent_of(&place))
            .with_context(|| format!("--zip {shown} cannot be written"))?;
        Ok(Self { place, new })
    }

    /// The new file, not yet in its place.
    pub(super) fn file(&mut self) -> &mut File {
        self.new.as_file_mut()
    }

    /// Puts the file into its place.
    ///
    /// # Errors
    /// If it cannot be renamed.
    pub(super) fn put_into_place(self) -> anyhow::Result<()> {
        let put = self.new.persist(&self.place);
        put.with_context(|| format!("--zip {} cannot be written", self.place.display()))?;
        Ok(())
    }
}

fn parent_of(place: &Path) -> &Path {
    place.parent().unwrap_or(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(outcome: anyhow::Result<T>) -> String {
        format!("{:#}", outcome.unwrap_err())
    }

    #[test]
    fn only_an_earlier_package_is_replaced_and_only_by_force() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("app");
        fs::create_dir(&place).unwrap();
        FolderTarget::open(&place, false, &[]).unwrap();
        fs::write(place.join("mine"), "").unwrap();
        let open = |force, inputs: &[&Path]| FolderTarget::open(&place, force, inputs);
        assert!(refusal(open(false, &[])).ends_with("is not empty; --force replaces it"));
        assert!(refusal(open(true, &[])).contains("is not a package"));
        for file in ["host.json", "app-settings.json"] {
            fs::write(place.join(file), "").unwrap();
        }
        let input = place.join("mine");
        assert!(refusal(open(true, &[&input])).contains("which is needed"));
        let target = open(true, &[]).unwrap();
        fs::write(target.path().join("new"), "").unwrap();
        target.put_into_place().unwrap();
        assert!(place.join("new").is_file() && !place.join("mine").exists());
        let left = fs::read_dir(root.path()).unwrap().count();
        assert_eq!(left, 1, "temporary folders are gone");
    }

    #[test]
    fn a_target_that_cannot_be_written_is_refused_at_once() {
        let root = tempfile::tempdir().unwrap();
        let missing = root.path().join("no/such");
        assert!(refusal(FolderTarget::open(&missing, false, &[])).contains("cannot be written"));
        assert!(refusal(FileTarget::open(&missing, false)).contains("cannot be written"));
        assert!(refusal(FileTarget::open(root.path(), true)).contains("is not a file"));
        let file = root.path().join("app.zip");
        fs::write(&file, "old").unwrap();
        assert!(refusal(FileTarget::open(&file, false)).contains("--force"));
        assert!(refusal(FolderTarget::open(&file, true, &[])).contains("is not a folder"));
        drop(FileTarget::open(&file, true).unwrap());
        assert_eq!(fs::read(&file).unwrap(), b"old");
    }
}

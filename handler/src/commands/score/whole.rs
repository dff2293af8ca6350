//! Results as a Parquet file, which is no file before its end is written: until then it has the name of the output and `.part`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use score::ModelMetadata;
use tempfile::TempPath;

use super::output::part_of;
use crate::bulk::ParquetResults;

/// The file; it is removed if it does not come to its end.
pub(super) struct Whole {
    results: ParquetResults<File>,
    part: TempPath,
    file: PathBuf,
}

impl Whole {
    /// Begins the file, for the results of a model.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn create(output: &Path, metadata: &ModelMetadata) -> anyhow::Result<Self> {
        // A link stays one.
        let file = fs::canonicalize(output).unwrap_or_else(|_| output.to_owned());
        if fs::metadata(&file).is_ok_and(|found| !found.is_file()) {
            bail!(
                "{}: it is no file; Parquet is written to a file",
                output.display()
            );
        }
        let part = part_of(&file);
        let failed = || format!("{} cannot be written", part.display());
        let mut options = OpenOptions::new();
        let begun = options.create(true).write(true).truncate(false).open(&part);
        let begun = begun.with_context(failed)?;
        // Not all file systems have locks.
        if let Err(TryLockError::WouldBlock) = begun.try_lock() {
            bail!("{}: another run writes it", part.display());
        }
        // Or it has just given it its name.
        if !is_at(&begun, &part) {
            bail!("{}: another run wrote it just now", part.display());
        }
        begun.set_len(0).with_context(failed)?;
        let part = TempPath::try_from_path(&part).with_context(failed)?;
        Ok(Self {
            results: ParquetResults::new(begun, metadata),
            part,
            file,
        })
    }

    /// Takes lines of results in JSON.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn write(&mut self, results: &[u8]) -> io::Result<()> {
        self.results.push(results)
    }

    /// Writes the end of the file, and gives it its name.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn finish(self) -> io::Result<()> {
        // It stays open, and with it locked, until it has its name.
        let written = self.results.finish()?;
        written.sync_all()?;
        self.part.persist(&self.file).map_err(|error| error.error)
    }
}

/// Whether this file is the one that has the name now.
fn is_at(file: &File, name: &Path) -> bool {
    let number = |found: fs::Metadata| (found.dev(), found.ino());
    let [here, there] = [file.metadata(), fs::metadata(name)].map(|found| found.map(number).ok());
    here.is_some() && here == there
}

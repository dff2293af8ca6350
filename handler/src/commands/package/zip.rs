//! The app folder as a zip file: the same bytes for the same content, on any day and any machine.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipWriter};

/// Writes the files below `root` under their relative names, sorted. Only `executable` may be executed.
///
/// # Errors
/// If a file cannot be read, or the zip cannot be written.
pub(super) fn write(
    to: impl Write + Seek,
    root: &Path,
    mut files: Vec<PathBuf>,
    executable: &str,
) -> anyhow::Result<()> {
    files.sort_by(|one, other| one.as_os_str().cmp(other.as_os_str()));
    let mut zip = ZipWriter::new(to);
    for file in files {
        let path = root.join(&file);
        let failed = || format!("{} cannot be put into the zip", file.display());
        let mut content = File::open(&path).with_context(failed)?;
        let bytes = content.metadata().with_context(failed)?.len();
        let name = file.to_string_lossy();
        let mode = if name == executable { 0o755 } else { 0o644 };
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Deflated)
            .last_modified_time(DateTime::DEFAULT)
            .large_file(u32::try_from(bytes).is_err())
            .unix_permissions(mode);
        zip.start_file(name, options).with_context(failed)?;
        io::copy(&mut content, &mut zip).with_context(failed)?;
    }
    zip.finish().context("the zip cannot be written")?;
    Ok(())
}

//! The files for results and for lines that cannot be scored, and where an earlier run of the same job has ended.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use score::ModelMetadata;
use serde::Deserialize;

#[cfg(feature = "parquet")]
use super::whole::Whole;
use crate::bulk::{Format, ID};
use crate::commands::arguments::ScoreArguments;

/// Where results and refusals are written to.
pub(super) struct Output {
    results: Results,
    errors: BufWriter<File>,
    /// Their names, for messages.
    names: [String; 2],
}

/// Where results go.
enum Results {
    Lines(Box<dyn Write + Send>),
    /// Until the file is whole or given up.
    #[cfg(feature = "parquet")]
    Parquet(Option<Box<Whole>>),
}

/// What an earlier run has left.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// The line of its last result or refusal; 0 if there is none.
    pub(super) line: u64,
    /// The last result as it was written, to compare with.
    pub(super) last: Option<String>,
    /// Whether the header of a table is there.
    pub(super) header: bool,
    /// Lines that could not be scored.
    pub(super) refused: u64,
}

/// Opens the files.
///
/// # Errors
/// If they exist and are neither to be replaced nor to be continued, do not fit together, or cannot be written.
#[cfg_attr(
    not(feature = "parquet"),
    allow(unused_variables, reason = "only Parquet asks")
)]
pub(super) fn open(
    arguments: &ScoreArguments,
    format: Format,
    metadata: &ModelMetadata,
) -> anyhow::Result<(Output, Kept)> {
    let to_stdout = arguments.output.as_os_str() == "-";
    let is_file = !to_stdout && !is_special(&arguments.output);
    let errors = errors_of(arguments, is_file)?;
    if arguments.resume && (!is_file || is_special(&errors)) {
        bail!(
            "--resume needs files as --out and --errors: what went to standard output, a pipe or a device cannot be continued"
        );
    }
    if format == Format::Parquet {
        refuse_parts(arguments, &errors)?;
    }
    refuse_the_same(arguments, &errors)?;
    let mut kept = Kept::default();
    if arguments.resume {
        kept = read_kept(&arguments.output, format)?;
        cut_errors(&errors, &mut kept)?;
    } else if !arguments.force {
        refuse_existing([&arguments.output, &errors], format)?;
    }
    let results = match to_stdout || format == Format::Parquet {
        true => None,
        false => Some(opened(&arguments.output, arguments.resume)?),
    };
    // Before anything is replaced: another run may be writing it.
    #[cfg(feature = "parquet")]
    let whole = match format {
        Format::Parquet => Some(Whole::create(&arguments.output, metadata)?),
        _ => None,
    };
    let refusals = opened(&errors, arguments.resume)?;
    // Links to files that were not there before are known only now.
    refuse_the_same(arguments, &errors)?;
    for file in results.iter().chain([&refusals]) {
        if !arguments.resume && file.metadata().is_ok_and(|found| found.is_file()) {
            file.set_len(0).context("the output cannot be replaced")?;
        }
    }
    let results = match results {
        Some(file) => Results::Lines(Box::new(BufWriter::new(file))),
        None => Results::Lines(Box::new(BufWriter::new(io::stdout()))),
    };
    #[cfg(feature = "parquet")]
    let results = match whole {
        Some(whole) => Results::Parquet(Some(Box::new(whole))),
        None => results,
    };
    let output = Output {
        results,
        errors: BufWriter::new(refusals),
        names: [&arguments.output, &errors].map(|file| file.display().to_string()),
    };
    Ok((output, kept))
}

/// The file with the lines that cannot be scored; beside the results, if these are a file.
fn errors_of(arguments: &ScoreArguments, is_file: bool) -> anyhow::Result<PathBuf> {
    match &arguments.errors {
        Some(errors) if errors.as_os_str() == "-" => bail!("--errors: expected a file, found -"),
        Some(errors) => Ok(errors.clone()),
        None if !is_file => bail!(
            "--out {} needs --errors FILE, for lines that cannot be scored",
            arguments.output.display()
        ),
        None => Ok(beside(&arguments.output, ".errors.jsonl")),
    }
}

/// The name of a file with this behind that of another one.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn refuse_the_same(arguments: &ScoreArguments, errors: &Path) -> anyhow::Result<()> {
    let output = (arguments.output.as_os_str() != "-").then_some(&arguments.output);
    if same(&arguments.input, errors) || output.is_some_and(|file| same(&arguments.input, file)) {
        bail!("--in and the output are the same file");
    }
    if output.is_some_and(|file| same(file, errors)) {
        bail!("--out and --errors are the same file");
    }
    Ok(())
}

fn refuse_existing(files: [&Path; 2], format: Format) -> anyhow::Result<()> {
    for file in files {
        if file.as_os_str() != "-"
            && fs::metadata(file).is_ok_and(|found| found.is_file() && found.len() > 0)
        {
            let name = file.display();
            let resume = match format {
                Format::Parquet => "",
                _ => "continue it with --resume, ",
            };
            bail!("{name} exists: {resume}replace it with --force, or name another file");
        }
    }
    Ok(())
}

/// The name of a Parquet file until it is whole.
pub(super) fn part_of(file: &Path) -> PathBuf {
    beside(file, ".part")
}

/// A Parquet file is of no use without its end.
fn refuse_parts(arguments: &ScoreArguments, errors: &Path) -> anyhow::Result<()> {
    if arguments.resume {
        bail!(
            "--resume cannot continue a Parquet file, which is written as a whole; without it, rows of an earlier run come from \
             the cache if Redis is set"
        );
    }
    if arguments.output.as_os_str() == "-" {
        bail!(
            "--out - cannot be Parquet, which is written to a file and named when it is whole; name a file"
        );
    }
    let part = part_of(&arguments.output);
    if same(&arguments.input, &part) || same(errors, &part) {
        let part = part.display();
        bail!("{part} is where the results are written first; give --in or --errors another name");
    }
    Ok(())
}

/// Opens a file without a change of what is in it.
fn opened(file: &Path, append: bool) -> anyhow::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(append).write(true);
    let opened = options.truncate(false).open(file);
    opened.with_context(|| format!("{} cannot be written", file.display()))
}

/// Whether it is there and neither a file nor a folder: a pipe or a device.
fn is_special(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|found| !found.is_file() && !found.is_dir())
}

impl Output {
    /// Writes what became of some lines, refusals first: a result says that every line before it is done.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub(super) fn write(&mut self, results: &[u8], errors: &[u8]) -> anyhow::Result<()> {
        let [results_name, errors_name] = &self.names;
        let kept = match &self.results {
            Results::Lines(_) => "what is in it is right, and --resume goes on from there",
            #[cfg(feature = "parquet")]
            Results::Parquet(_) => "no results are kept",
        };
        let failed = |name: &str| format!("{name} cannot be written; {kept}");
        let written = self
            .errors
            .write_all(errors)
            .and_then(|()| self.errors.flush());
        written.with_context(|| failed(errors_name))?;
        let written = match &mut self.results {
            Results::Lines(target) => target.write_all(results).and_then(|()| target.flush()),
            #[cfg(feature = "parquet")]
            Results::Parquet(target) => target
                .as_mut()
                .map_or(Ok(()), |target| target.write(results)),
        };
        written.with_context(|| failed(results_name))
    }

    /// All is written, or the run was stopped before the end. Says what is left then.
    ///
    /// # Errors
    /// If a file that has an end cannot be written to it.
    #[cfg_attr(
        not(feature = "parquet"),
        allow(unused_variables, reason = "only Parquet asks")
    )]
    pub(super) fn end(&mut self, stopped: bool) -> anyhow::Result<&'static str> {
        match &mut self.results {
            Results::Lines(_) => Ok("; stopped before the end, --resume goes on from there"),
            #[cfg(feature = "parquet")]
            Results::Parquet(target) => {
                let name = &self.names[0];
                let failed = || format!("{name} cannot be written; no results are kept");
                if let Some(target) = target.take_if(|_| !stopped) {
                    target.finish().with_context(failed)?;
                }
                *target = None;
                Ok("; stopped before the end: no results are kept, --force starts again")
            }
        }
    }

    /// The file with the lines that cannot be scored.
    pub(super) fn errors_name(&self) -> &str {
        &self.names[1]
    }
}

/// What a line of results, or of refusals, says of the line of the input.
#[derive(Deserialize)]
struct Numbered {
    line: Option<u64>,
    id: Option<String>,
}

fn number(line: &str, format: Format) -> Option<u64> {
    match format {
        // It has no lines.
        Format::Parquet => None,
        Format::Csv => line.split(',').next()?.parse().ok(),
        Format::Jsonl => {
            let found: Numbered = serde_json::from_str(line).ok()?;
            let id = found.id.as_deref().and_then(|id| id.strip_prefix(ID));
            found.line.or_else(|| id?.parse().ok())
        }
    }
}

/// Looks at the results of an earlier run, and removes what it has not written to its end.
fn read_kept(file: &Path, format: Format) -> anyhow::Result<Kept> {
    let mut kept = Kept::default();
    let name = file.display();
    for_whole_lines(file, |line| {
        if format == Format::Csv && !kept.header {
            kept.header = true;
            return Ok(true);
        }
        let found = number(line, format).filter(|found| *found > kept.line);
        let Some(found) = found else {
            bail!(
                "{name} does not fit: expected results of this command in the order of their lines, found {:?}",
                start(line)
            );
        };
        kept.line = found;
        kept.last = Some(line.to_owned());
        Ok(true)
    })?;
    Ok(kept)
}

/// Removes the refusals of lines behind the last result: their windows may not have been written.
fn cut_errors(file: &Path, kept: &mut Kept) -> anyhow::Result<()> {
    let name = file.display();
    for_whole_lines(file, |line| match number(line, Format::Jsonl) {
        Some(found) => {
            let stays = found <= kept.line;
            kept.refused += u64::from(stays);
            Ok(stays)
        }
        None => bail!(
            "{name} does not fit: expected refusals of this command, found {:?}",
            start(line)
        ),
    })
}

/// Whether two paths are one file; files need not exist yet.
fn same(one: &Path, other: &Path) -> bool {
    if let (Ok(one), Ok(other)) = (fs::metadata(one), fs::metadata(other)) {
        return one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino());
    }
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let folder = path.parent()?.canonicalize().ok()?;
        Some(folder.join(path.file_name()?))
    };
    one == other
        || matches!((absolute(one), absolute(other)), (Some(one), Some(other)) if one == other)
}

fn start(line: &str) -> String {
    line.chars().take(80).collect()
}

/// Shows each line that has an end, and cuts the file before the first that is not wanted or has none.
fn for_whole_lines(
    file: &Path,
    mut wanted: impl FnMut(&str) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be continued", file.display());
    let opened = match OpenOptions::new().read(true).write(true).open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(failed),
    };
    let mut reader = BufReader::new(opened);
    let (mut line, mut end) = (Vec::new(), 0);
    loop {
        line.clear();
        let bytes = reader.read_until(b'\n', &mut line).with_context(failed)?;
        let Some(whole) = line.strip_suffix(b"\n") else {
            break;
        };
        if !wanted(&String::from_utf8_lossy(whole))? {
            break;
        }
        end += bytes as u64;
    }
    let mut opened = reader.into_inner();
    opened
        .set_len(end)
        .and_then(|()| opened.seek(io::SeekFrom::End(0)))
        .with_context(failed)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_written_to_its_end_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let (results, errors) = (folder.path().join("r"), folder.path().join("e"));
        fs::write(
            &results,
            "{\"line\":1,\"result\":7}\n{\"id\":\"line-4\",\"error\":null}\n{\"line\":5,\"re",
        )
        .unwrap();
        fs::write(&errors, "{\"line\":3}\n{\"line\":6}\n{\"li").unwrap();
        let mut kept = read_kept(&results, Format::Jsonl).unwrap();
        assert_eq!(kept.line, 4);
        assert_eq!(
            kept.last.as_deref(),
            Some("{\"id\":\"line-4\",\"error\":null}")
        );
        cut_errors(&errors, &mut kept).unwrap();
        assert_eq!(fs::read_to_string(&errors).unwrap(), "{\"line\":3}\n");
        assert!(fs::read_to_string(&results).unwrap().ends_with("null}\n"));
    }

    #[test]
    fn a_table_is_continued_behind_its_header_and_other_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("r");
        fs::write(&file, "line,label\n2,7\n3,1\n4").unwrap();
        let kept = read_kept(&file, Format::Csv).unwrap();
        assert_eq!((kept.line, kept.header), (3, true));
        for other in ["7\n", "{\"line\":2}\n{\"line\":1}\n"] {
            fs::write(&file, other).unwrap();
            let error = read_kept(&file, Format::Jsonl).unwrap_err();
            assert!(error.to_string().contains("does not fit"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), other);
        }
        assert_eq!(
            read_kept(&folder.path().join("none"), Format::Csv).unwrap(),
            Kept::default()
        );
    }
}

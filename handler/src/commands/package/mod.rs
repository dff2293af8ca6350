//! `handler package`: writes an app folder that can be deployed as it is, and a zip of it.

mod app_folder;
mod elf;
mod target;
mod triggers;
mod zip;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::arguments::PackageArguments;
use super::check::{self, CheckedModel};
use super::model_source::ModelSource;
use crate::config::Config;
use crate::models::{find_runtime, library_in};
use crate::protocol::{read_functions, refuse_open};
use crate::telemetry::logging::{answer, complain};
use app_folder::Parts;
use elf::{Cpu, Glibc};
use target::{FileTarget, FolderTarget};

/// Runs the command. If it fails, nothing is left behind.
///
/// # Errors
/// If a part is missing or would not start on the target, or the folder or zip cannot be written.
pub(crate) fn run(arguments: &PackageArguments, config: &Config) -> anyhow::Result<()> {
    let triggers = triggers::chosen(&arguments.triggers, !arguments.no_health)?;
    let machine = Machine::of(arguments)?;
    let (handler, library) = programs(arguments, config)?;
    machine.check(&handler, "build it with `make build-portable`")?;
    machine.check(&library, "take the one that `make runtime` fetches")?;
    let models = models(&arguments.models)?;
    for model in &models {
        if let Some(library) = &model.files.custom_ops {
            machine.check(library, "take a build of it for older systems")?;
        }
        let left_out = model.files.left_out.iter();
        complain(
            "warning: ",
            left_out.map(|remark| format!("model {}: not packaged: {remark}", model.name)),
        );
    }

    let inputs = arguments.models.iter().chain([&handler, &library]);
    let inputs: Vec<&Path> = inputs.map(PathBuf::as_path).collect();
    let folder = FolderTarget::open(&arguments.out, arguments.force, &inputs)?;
    let zip = open_zip(arguments)?;
    complain("", ["copying"]);
    let parts = Parts {
        handler: &handler,
        library: &library,
        models: &models,
        triggers: &triggers,
    };
    app_folder::write(folder.path(), &parts)?;
    refuse_open(&read_functions(folder.path())?, config.means_open())?;
    machine.check_models(folder.path(), &library, config)?;
    let shipped = app_folder::shipped(folder.path())?;
    let mut report = sizes(folder.path(), &shipped)?;
    let zip = match zip {
        Some(zip) => Some(write_zip(zip, folder.path(), shipped, &mut report)?),
        None => None,
    };
    folder.put_into_place()?;
    if let Some(zip) = zip {
        zip.put_into_place()?;
    }
    answer(&report)
}

/// The machine that the package is for.
struct Machine {
    cpu: Cpu,
    glibc: Glibc,
    /// Whether its programs can run on this machine.
    is_here: bool,
}

impl Machine {
    fn of(arguments: &PackageArguments) -> anyhow::Result<Self> {
        let here = Cpu::here().ok();
        let cpu = match (&arguments.target, here) {
            (Some(name), _) => name.parse()?,
            (None, Some(here)) => here,
            (None, None) => bail!("--target is needed: x86_64 or aarch64"),
        };
        let glibc = match &arguments.allow_glibc {
            Some(text) => text.parse()?,
            None => Glibc::ON_AZURE,
        };
        let is_here = here == Some(cpu) && cfg!(target_os = "linux");
        Ok(Self {
            cpu,
            glibc,
            is_here,
        })
    }

    fn check(&self, program: &Path, remedy: &str) -> anyhow::Result<()> {
        elf::check(program, self.cpu, self.glibc, remedy)
    }

    /// Loads and tries the models of the package where that is possible.
    fn check_models(&self, root: &Path, library: &Path, config: &Config) -> anyhow::Result<()> {
        if self.is_here {
            return check_models(root, library, config);
        }
        let cpu = self.cpu;
        let warning = format!("models are not checked: ONNX Runtime for {cpu} cannot run here");
        complain("warning: ", [warning]);
        Ok(())
    }
}

fn open_zip(arguments: &PackageArguments) -> anyhow::Result<Option<FileTarget>> {
    let Some(place) = &arguments.zip else {
        return Ok(None);
    };
    if std::path::absolute(place)?.starts_with(std::path::absolute(&arguments.out)?) {
        let shown = place.display();
        bail!("--zip {shown} lies in --out; choose another folder for it");
    }
    FileTarget::open(place, arguments.force).map(Some)
}

fn write_zip(
    mut zip: FileTarget,
    root: &Path,
    shipped: Vec<PathBuf>,
    report: &mut String,
) -> anyhow::Result<FileTarget> {
    complain("", ["compressing"]);
    zip::write(zip.file(), root, shipped, &app_folder::executable()?)?;
    let metadata = zip.file().metadata().context("the zip cannot be read")?;
    line(report, metadata.len(), "zip");
    Ok(zip)
}

/// The handler and its library. A library beside a given handler was most likely built for the same machine.
fn programs(arguments: &PackageArguments, config: &Config) -> anyhow::Result<(PathBuf, PathBuf)> {
    let Some(handler) = &arguments.handler else {
        let program = std::env::current_exe().context("the path of the program is unknown")?;
        return Ok((program, find_runtime(config)?));
    };
    let beside = handler.parent().and_then(library_in);
    let library = match (&config.runtime_library, beside) {
        (None, Some(beside)) => beside,
        _ => find_runtime(config)?,
    };
    Ok((handler.clone(), library))
}

fn models(paths: &[PathBuf]) -> anyhow::Result<Vec<ModelSource>> {
    let mut known = BTreeMap::new();
    let mut models = Vec::with_capacity(paths.len());
    for path in paths {
        let model = ModelSource::read(path)?;
        if let Some(other) = known.insert(model.name.clone(), path) {
            bail!(
                "two models are called {:?}: {} and {}; rename one",
                model.name,
                other.display(),
                path.display()
            );
        }
        models.push(model);
    }
    Ok(models)
}

/// Checks the models as they are in the package, with the library that is packaged with them.
fn check_models(root: &Path, library: &Path, config: &Config) -> anyhow::Result<()> {
    let mut config = config.clone();
    config.model_dir = root.join("models");
    let library = std::path::absolute(library)?;
    let places = check::places_in(&config)?;
    let (_, models) = check::check(&config, &library, &places)?;
    let problems: Vec<String> = models.iter().filter_map(CheckedModel::problem).collect();
    match problems.is_empty() {
        true => Ok(()),
        false => bail!("{}", problems.join("; ")),
    }
}

/// The size of each part: programs by name, models as a whole, and the rest.
fn sizes(root: &Path, files: &[PathBuf]) -> anyhow::Result<String> {
    let mut parts = BTreeMap::new();
    let mut total = 0;
    for file in files {
        let path = root.join(file);
        let bytes = fs::metadata(&path)
            .with_context(|| format!("{} cannot be read", path.display()))?
            .len();
        let mut steps = file
            .components()
            .map(|part| part.as_os_str().to_string_lossy());
        let part = match (steps.next().as_deref(), steps.next()) {
            (Some("models"), Some(name)) => format!("models/{name}"),
            (Some("bin"), Some(name)) => format!("bin/{name}"),
            _ => "host.json and functions".to_owned(),
        };
        *parts.entry(part).or_insert(0) += bytes;
        total += bytes;
    }
    let mut report = String::new();
    for (part, bytes) in parts {
        line(&mut report, bytes, &part);
    }
    line(&mut report, total, "total");
    Ok(report)
}

fn line(report: &mut String, bytes: u64, part: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(report, "{:9.2} MB  {part}", bytes as f64 / 1e6);
}

//! What a program or library requires of the machine that runs it, read from its ELF file.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail};
use object::Endianness;
use object::elf::{EM_AARCH64, EM_X86_64, FileHeader64, Machine};
use object::read::elf::FileHeader;

/// A kind of processor that Azure Functions run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cpu {
    X86_64,
    Aarch64,
}

impl Cpu {
    /// This machine's.
    ///
    /// # Errors
    /// If it is of another kind.
    pub(super) fn here() -> anyhow::Result<Self> {
        std::env::consts::ARCH.parse()
    }

    fn of(machine: Machine) -> Option<Self> {
        match machine {
            EM_X86_64 => Some(Self::X86_64),
            EM_AARCH64 => Some(Self::Aarch64),
            _ => None,
        }
    }
}

impl FromStr for Cpu {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> anyhow::Result<Self> {
        match name {
            "x86_64" => Ok(Self::X86_64),
            "aarch64" => Ok(Self::Aarch64),
            _ => bail!("there is no target {name:?}; there are: x86_64, aarch64"),
        }
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        })
    }
}

/// A release of the GNU C library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Glibc(u32, u32);

impl Glibc {
    /// The oldest that Azure's own images have.
    pub(super) const ON_AZURE: Self = Self(2, 31);

    /// The release that a symbol version stands for.
    fn of(symbol_version: &str) -> Option<Self> {
        let release = symbol_version.strip_prefix("GLIBC_")?;
        match release {
            // Not a release by name, but only newer ones have it: relative relocations in compact form.
            "ABI_DT_RELR" => Some(Self(2, 36)),
            _ => {
                let mut parts = release.split('.').map(str::parse);
                Some(Self(parts.next()?.ok()?, parts.next()?.ok()?))
            }
        }
    }
}

impl FromStr for Glibc {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let wrong = || anyhow!("--allow-glibc {text}: expected a release such as 2.36");
        let (major, minor) = text.split_once('.').ok_or_else(wrong)?;
        let number = |part: &str| part.parse().map_err(|_| wrong());
        Ok(Self(number(major)?, number(minor)?))
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// Refuses a file that would not start on that machine.
///
/// # Errors
/// If it is not a 64-bit ELF file, is for another processor, or needs a newer glibc; `remedy` says where to get a better one.
pub(super) fn check(file: &Path, cpu: Cpu, newest: Glibc, remedy: &str) -> anyhow::Result<()> {
    let shown = file.display();
    let content = std::fs::read(file).with_context(|| format!("{shown} cannot be read"))?;
    let (machine, needed) = needs(&content)
        .map_err(|reason| anyhow!("{shown} is not an ELF file for Linux: {reason}"))?;
    match Cpu::of(machine) {
        Some(found) if found == cpu => {}
        Some(found) => bail!("{shown} is for {found}, and the target is {cpu}"),
        None => bail!("{shown} is for another processor than the target, {cpu}"),
    }
    match needed {
        Some((glibc, version)) if glibc > newest => bail!(
            "{shown} needs glibc {glibc} (symbol version {version}), and the newest that the image may have is {newest}: \
             {remedy}; --allow-glibc {glibc} allows it, for an image of your own"
        ),
        _ => Ok(()),
    }
}

type Needs = (Machine, Option<(Glibc, String)>);

/// The processor, and the newest glibc with the symbol version that asks for it.
fn needs(content: &[u8]) -> object::read::Result<Needs> {
    let header = FileHeader64::<Endianness>::parse(content)?;
    let endian = header.endian()?;
    let machine = header.e_machine(endian);
    let sections = header.sections(endian, content)?;
    let Some((mut libraries, strings)) = sections.gnu_verneed(endian, content)? else {
        return Ok((machine, None));
    };
    let strings = sections.strings(endian, content, strings)?;
    let mut newest = None;
    while let Some((_, mut versions)) = libraries.next()? {
        while let Some(version) = versions.next()? {
            let name = String::from_utf8_lossy(version.name(endian, strings)?).into_owned();
            newest = newest.max(Glibc::of(&name).map(|glibc| (glibc, name)));
        }
    }
    Ok((machine, newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbol_versions_are_compared_as_releases() {
        assert!(Glibc::of("GLIBC_2.4") < Glibc::of("GLIBC_2.31"));
        assert_eq!(Glibc::of("GLIBC_2.2.5"), Some(Glibc(2, 2)));
        assert!(Glibc::of("GLIBC_ABI_DT_RELR") > Some(Glibc::ON_AZURE));
        for other in ["GLIBC_PRIVATE", "GLIBCXX_3.4.22", "CXXABI_1.3", "GLIBC_"] {
            assert_eq!(Glibc::of(other), None, "{other}");
        }
        assert_eq!("2.36".parse::<Glibc>().unwrap(), Glibc(2, 36));
        for wrong in ["2", "2.x", "", "new"] {
            let refusal = wrong.parse::<Glibc>().unwrap_err().to_string();
            assert!(refusal.contains("such as 2.36"), "{refusal}");
        }
    }

    #[test]
    fn what_a_file_needs_is_read_and_not_guessed() {
        let program = std::env::current_exe().unwrap();
        let here = Cpu::here().unwrap();
        let check = |file: &Path, cpu, newest| {
            let checked = check(file, cpu, newest, "build it elsewhere");
            checked.map_err(|error| error.to_string())
        };
        assert_eq!(check(&program, here, Glibc(9, 0)), Ok(()));
        let refusal = check(&program, here, Glibc(2, 1)).unwrap_err();
        assert!(refusal.contains("(symbol version GLIBC_2."), "{refusal}");
        assert!(refusal.contains("build it elsewhere"), "{refusal}");
        let other = match here {
            Cpu::X86_64 => Cpu::Aarch64,
            Cpu::Aarch64 => Cpu::X86_64,
        };
        let refusal = check(&program, other, Glibc(9, 0)).unwrap_err();
        assert!(
            refusal.ends_with(&format!("is for {here}, and the target is {other}")),
            "{refusal}"
        );
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("handler");
        for content in ["#!/bin/sh\n", "", "\x7fELF"] {
            std::fs::write(&script, content).unwrap();
            let refusal = check(&script, here, Glibc(9, 0)).unwrap_err();
            assert!(refusal.contains("not an ELF file"), "{refusal}");
        }
    }
}

//! The check that every shipped program and library loads on Debian 11, on ONNX Runtime's library and on copies of it
//! that claim to need something else.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::app_root::repository;

#[test]
fn the_library_that_is_fetched_is_old_enough() {
    let (accepted, said) = check(&library(), std::env::consts::ARCH);
    assert!(accepted, "{said}");
    assert!(said.contains("GLIBC 2.28"), "{said}");
}

#[test]
fn what_needs_a_newer_system_library_is_refused() {
    for (old, new) in [
        ("GLIBC_2.28", "GLIBC_2.32"),
        ("GLIBC_2.28", "GLIBC_3.00"),
        ("GLIBC_2.28", "GLIBC_PRIV"),
        ("GLIBCXX_3.4.22", "GLIBCXX_3.4.29"),
        ("CXXABI_1.3.11", "CXXABI_1.3.13"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so.1");
        std::fs::write(&file, library_that_needs(old, new)).unwrap();
        let (accepted, said) = check(&file, std::env::consts::ARCH);
        assert!(!accepted, "{new}: {said}");
        assert!(said.contains(&format!("needs {new},")), "{said}");
    }
}

#[test]
fn what_is_for_another_machine_is_refused() {
    let other = match std::env::consts::ARCH {
        "x86_64" => "aarch64",
        _ => "x86_64",
    };
    let (accepted, said) = check(&library(), other);
    assert!(
        !accepted && said.contains(&format!("expected {other}")),
        "{said}"
    );
}

#[test]
fn what_is_no_program_is_refused() {
    let (accepted, said) = check(&repository().join("host.json"), std::env::consts::ARCH);
    assert!(!accepted && said.contains("is not an ELF file"), "{said}");
}

fn library() -> PathBuf {
    repository().join("bin/libonnxruntime.so.1")
}

/// The library with one of its needs under another name. A name stands in the string table once, ended by a zero, and
/// its hash does not matter to the check.
fn library_that_needs(old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = std::fs::read(library()).unwrap();
    let name = format!("{old}\0").into_bytes();
    let at = bytes.windows(name.len()).position(|window| window == name);
    let at = at.unwrap_or_else(|| panic!("the library does not need {old}"));
    bytes[at..at + new.len()].copy_from_slice(new.as_bytes());
    bytes
}

/// Whether `scripts/check-elf.sh` accepts the file, and all it says.
fn check(file: &Path, machine: &str) -> (bool, String) {
    let mut command = Command::new(repository().join("scripts/check-elf.sh"));
    let output = command.args(["-m", machine]).arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

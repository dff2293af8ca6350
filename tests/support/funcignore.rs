//! Which files a publish takes along: the rules of the Core Tools for `.funcignore`.
//!
//! They are not git's. Each line is a regular expression in disguise, anchored at the root of the relative path and
//! ended by a word boundary.

use std::path::Path;

use regex::{Regex, escape};

use functions_host::host_config::read_json;

const DIRECTORIES_LEFT_OUT: [&str; 2] = [".git", ".vscode"];
const FILES_LEFT_OUT: [&str; 4] = [
    ".funcignore",
    ".gitignore",
    "local.settings.json",
    "project.lock.json",
];

/// Those of `files` (relative to `root`, with slashes) that go into the package, by `.funcignore` in `root`.
pub(crate) fn shipped_files(root: &Path, files: &[String]) -> Vec<String> {
    let rules = std::fs::read_to_string(root.join(".funcignore")).unwrap_or_default();
    shipped_by(&rules, files)
}

/// The same with the Unix modes that the Core Tools give them: only the entry that host.json's `defaultExecutablePath`
/// names, letter by letter, can be executed.
pub(crate) fn packed_files(root: &Path, files: &[String]) -> Vec<(String, u32)> {
    let host = read_json(&root.join("host.json"));
    let executable = host["customHandler"]["description"]["defaultExecutablePath"].as_str();
    let mode = |file: &str| match Some(file) == executable {
        true => 0o777,
        false => 0o666,
    };
    let shipped = shipped_files(root, files).into_iter();
    shipped.map(|file| (file.clone(), mode(&file))).collect()
}

/// Those of `files` that go into the package, by the text of a `.funcignore`.
pub(crate) fn shipped_by(rules: &str, files: &[String]) -> Vec<String> {
    let left_out = pattern(rules, false);
    let kept = pattern(rules, true);
    files
        .iter()
        .filter(|file| !is_always_left_out(file))
        .filter(|file| {
            kept.as_ref().is_some_and(|kept| kept.is_match(file))
                || !left_out.as_ref().is_some_and(|out| out.is_match(file))
        })
        .cloned()
        .collect()
}

fn is_always_left_out(file: &str) -> bool {
    let mut parts = file.rsplit('/');
    let name = parts.next().unwrap_or_default();
    FILES_LEFT_OUT.contains(&name) || parts.any(|folder| DIRECTORIES_LEFT_OUT.contains(&folder))
}

/// All lines of one kind as one expression: those that re-include, or the others.
fn pattern(rules: &str, reinclude: bool) -> Option<Regex> {
    let lines: Vec<String> = rules
        .split('\n')
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter(|line| line.starts_with('!') == reinclude)
        .map(|line| line.strip_prefix('!').unwrap_or(line))
        .map(|line| line.strip_prefix('/').unwrap_or(line))
        .map(expression)
        .collect();
    if lines.is_empty() {
        return None;
    }
    let all = format!(r"^(({}))(?-u:\b)", lines.join(")|("));
    Some(Regex::new(&all).expect("escaped text is an expression"))
}

fn expression(line: &str) -> String {
    line.split("**")
        .map(|part| {
            part.split('*')
                .map(escape)
                .collect::<Vec<_>>()
                .join("([^/]+)")
        })
        .collect::<Vec<_>>()
        .join("(.+)")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left<'a>(rules: &str, files: &[&'a str]) -> Vec<&'a str> {
        let names: Vec<String> = files.iter().map(ToString::to_string).collect();
        let shipped = shipped_by(rules, &names);
        files
            .iter()
            .copied()
            .filter(|file| shipped.iter().any(|kept| kept == file))
            .collect()
    }

    #[test]
    fn without_rules_everything_is_shipped() {
        assert_eq!(left("", &["host.json", "a/b"]), ["host.json", "a/b"]);
        assert_eq!(
            shipped_files(Path::new("/nonexistent"), &["a".to_owned()]),
            ["a"]
        );
    }

    #[test]
    fn a_name_also_drops_names_that_continue_after_a_word_boundary() {
        assert_eq!(
            left("target", &["target/debug/x", "target-x", "targets/x"]),
            ["targets/x"]
        );
        assert_eq!(
            left("test", &["test/a", "test.onnx", "tests/a", "a/test"]),
            ["tests/a", "a/test"]
        );
        assert_eq!(
            left(
                "score",
                &[
                    "score/src/lib.rs",
                    "score-x/y",
                    "score_http/function.json",
                    "scores"
                ]
            ),
            ["score_http/function.json", "scores"]
        );
    }

    #[test]
    fn one_star_stays_within_a_folder_and_needs_a_character() {
        assert_eq!(left("*.md", &["README.md", "docs/a.md"]), ["docs/a.md"]);
        assert_eq!(left("a*b", &["ab", "axb", "a/b"]), ["ab", "a/b"]);
    }

    #[test]
    fn two_stars_are_anything() {
        assert_eq!(
            left("**.md", &["README.md", "docs/deep/a.md", "a.txt"]),
            ["a.txt"]
        );
        assert_eq!(left("docs/**", &["docs/a/b", "docs"]), ["docs"]);
    }

    #[test]
    fn a_trailing_slash_misses_names_that_begin_with_a_dot() {
        assert_eq!(left("target/", &["target/x", "target/.x"]), ["target/.x"]);
    }

    #[test]
    fn special_characters_stand_for_themselves() {
        assert_eq!(left("a.c", &["abc", "a.c"]), ["abc"]);
        assert_eq!(left("a+(b", &["a+(b", "aab"]), ["aab"]);
    }

    #[test]
    fn a_leading_slash_changes_nothing() {
        assert_eq!(left("/src", &["src/a", "x/src/a"]), ["x/src/a"]);
    }

    #[test]
    fn an_exclamation_mark_includes_again_wherever_it_stands() {
        let files = ["docs/a", "docs/keep"];
        assert_eq!(left("!docs/keep\ndocs", &files), ["docs/keep"]);
        assert_eq!(left("docs\n!docs/keep", &files), ["docs/keep"]);
    }

    #[test]
    fn comments_and_empty_lines_are_ignored() {
        assert_eq!(
            left("# target\r\n\r\n  src  \r\n", &["target/a", "src/a"]),
            ["target/a"]
        );
    }

    #[test]
    fn some_names_never_ship() {
        let files = [
            ".git/config",
            "a/.vscode/x",
            ".funcignore",
            "a/.gitignore",
            "a/b/local.settings.json",
            "project.lock.json",
            ".github/x",
            "models/.gitkeep",
        ];
        assert_eq!(left("", &files), [".github/x", "models/.gitkeep"]);
        assert_eq!(
            left("!local.settings.json", &["local.settings.json"]),
            [""; 0]
        );
    }
}

//! The tables of docs/settings.md.

use std::fmt::Write;

use crate::config::{Fallback, SETTINGS, Setting};

/// A heading and a table for each group.
pub(super) fn tables() -> String {
    let mut text = String::new();
    for group in SETTINGS {
        let gap = if text.is_empty() { "" } else { "\n" };
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{gap}### {}\n", group.heading);
        text.push_str("| name | default | value | meaning |\n|---|---|---|---|\n");
        for setting in group.settings {
            let _ = writeln!(text, "{}", row(setting));
        }
    }
    text
}

fn row(setting: &Setting) -> String {
    let names: Vec<String> = setting.names().map(|name| format!("`{name}`")).collect();
    let default = match setting.default {
        Fallback::Value(value) => format!("`{value}`"),
        Fallback::Described(description) => description.to_owned(),
    };
    let applies = match setting.applies {
        "" => String::new(),
        applies => format!(" Matters {applies}."),
    };
    let see = match setting.see {
        "" => String::new(),
        page => format!(
            " More in [{}]({page}).",
            page.split('#').next().unwrap_or(page)
        ),
    };
    let cells = [
        names.join("<br>or "),
        default,
        setting.kind.expected(),
        format!("{}{applies}{see}", setting.meaning),
    ];
    // A bar would end the cell.
    format!(
        "| {} |",
        cells.map(|cell| cell.replace('|', "\\|")).join(" | ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_settings_has_the_tables_as_they_are() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
        let page = std::fs::read_to_string(page).unwrap();
        for line in tables().lines() {
            assert!(
                page.contains(line),
                "docs/settings.md lacks {line}\nReplace its tables by the output of `handler settings --markdown`"
            );
        }
        let rows = |text: &str| text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(
            rows(&page),
            rows(&tables()),
            "docs/settings.md has other rows"
        );
    }
}

//! `handler settings`: every setting with its value in force.

mod markdown;
mod report;

use anyhow::bail;

use super::arguments::SettingsArguments;
use crate::config::{Config, Environment};
use crate::telemetry::logging::{answer, complain};
use report::Report;

/// Shows the settings, and after them what is wrong with them.
pub(super) fn run(arguments: &SettingsArguments, environment: &Environment) -> anyhow::Result<()> {
    if arguments.markdown {
        return answer(&markdown::tables());
    }
    let mistakes = match Config::read(environment) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.0,
    };
    let report = Report::new(environment, &mistakes);
    if arguments.json {
        answer(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        answer(&report.text())?;
        complain("warning: ", report.warnings());
    }
    if mistakes.is_empty() {
        return Ok(());
    }
    complain("setting ", &mistakes);
    bail!("the settings have mistakes: the handler would not start")
}

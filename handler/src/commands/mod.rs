//! The command line, and the commands beside serving.

mod arguments;
mod cache;
mod check;
mod model_source;
mod package;
mod score;
mod serve;
mod settings;

pub use arguments::{
    Action, Arguments, CacheCommand, CheckArguments, Command, PackageArguments, PurgeArguments,
    ScoreArguments, ServeArguments, SettingsArguments,
};
pub use serve::{Served, served};

use crate::config::{Config, Environment};

/// Does what a command asks for and writes its answer to standard output. The result is the status to exit with.
///
/// # Errors
/// [`Mistakes`](crate::Mistakes) in the settings; otherwise a text that says why the command cannot be done.
pub fn execute(command: &Command, environment: &Environment) -> anyhow::Result<i32> {
    let config = || Config::read(environment);
    match command {
        Command::Cache(command) => cache::run(command, &config()?)?,
        Command::Check(arguments) => check::run(arguments, &config()?)?,
        Command::Package(arguments) => package::run(arguments, &config()?)?,
        Command::Score(arguments) => return Ok(score::run(arguments, &config()?)),
        Command::Settings(arguments) => settings::run(arguments, environment)?,
    }
    Ok(0)
}

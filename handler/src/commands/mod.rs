//! The command line, and the commands beside serving.

mod arguments;
mod cache;
mod check;
mod model_source;
mod package;

pub use arguments::{
    Arguments, CacheCommand, CheckArguments, Command, PackageArguments, PurgeArguments,
};

use crate::config::Config;

/// Does what a command asks for and writes its answer to standard output.
///
/// # Errors
/// If it cannot be done; the text says why.
pub fn execute(command: &Command, config: &Config) -> anyhow::Result<()> {
    match command {
        Command::Cache(command) => cache::run(command, config),
        Command::Check(arguments) => check::run(arguments, config),
        Command::Package(arguments) => package::run(arguments, config),
    }
}

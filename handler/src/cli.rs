//! The command line. Without arguments, which is how the Functions host starts it, the program serves.

use clap::{ArgGroup, Args, Parser, Subcommand};

/// An Azure Functions custom handler that serves ONNX models. Without a command it serves.
///
/// All settings are environment variables; the README lists them.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does beside serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show or remove what is remembered in Redis
    #[command(subcommand)]
    Cache(CacheCommand),
}

/// What can be done with remembered results. Reads the same settings as the server: where Redis is, the namespace, the
/// model folder.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show how much is remembered, model by model
    Stats {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove what is remembered in Redis; scoring goes on meanwhile and fills it again.
    ///
    /// Handlers that run keep what they hold in their own memory (SCORE_L1_BYTES) until they end.
    Purge(PurgeArguments),
}

/// Which entries to remove.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true)))]
pub struct PurgeArguments {
    /// The model whose results to remove: a name in the model folder, or the 16 digits that `stats` shows
    #[arg(long, value_name = "NAME|DIGEST", group = "which")]
    pub model: Option<String>,
    /// Remove the results of all models in the namespace
    #[arg(long, group = "which")]
    pub all: bool,
    /// Only count what would be removed
    #[arg(long)]
    pub dry_run: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn refusal(arguments: &[&str]) -> ErrorKind {
        let all = ["handler"].iter().chain(arguments);
        Arguments::try_parse_from(all).unwrap_err().kind()
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn without_arguments_it_serves() {
        let arguments = Arguments::try_parse_from(["handler"]).unwrap();
        assert!(arguments.command.is_none());
    }

    #[test]
    fn what_it_does_not_know_or_what_is_half_said_is_refused() {
        assert_eq!(refusal(&["serve"]), ErrorKind::InvalidSubcommand);
        assert_eq!(refusal(&["--port", "1"]), ErrorKind::UnknownArgument);
        let purge = ["cache", "purge"];
        assert_eq!(refusal(&purge), ErrorKind::MissingRequiredArgument);
        let both = ["cache", "purge", "--all", "--model", "m"];
        assert_eq!(refusal(&both), ErrorKind::ArgumentConflict);
    }
}

//! The command line. Without arguments, which is how the Functions host starts it, the program serves.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand};

/// An Azure Functions custom handler that serves ONNX models. Without a command it serves.
///
/// All settings are environment variables; docs/settings.md lists them.
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
    /// Load models as the server would, score a sample, and say what was found out
    ///
    /// Without models to check, the function.json files of the app are looked at, too. Ends with 1 if any model has a
    /// problem; all problems are told.
    Check(CheckArguments),
    /// Write an app folder that can be deployed, and a zip of it
    Package(PackageArguments),
}

/// Which models to check; without any, those the server would load.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The folder of model folders, instead of SCORE_MODEL_DIR
    #[arg(long, value_name = "DIR", conflicts_with = "models")]
    pub model_dir: Option<PathBuf>,
    /// Models: folders with a model.onnx, or ONNX files
    #[arg(value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What goes into the app folder.
#[derive(Debug, Args)]
pub struct PackageArguments {
    /// Models: folders with a model.onnx, or ONNX files, which bring their external data and the model.toml beside them
    #[arg(long = "model", value_name = "FILE|DIR", num_args = 1.., required = true)]
    pub models: Vec<PathBuf>,
    /// What sets scoring off: http, servicebus, servicebus-topic, storage-queue, blob
    #[arg(
        long = "trigger",
        value_name = "TRIGGERS",
        value_delimiter = ',',
        default_value = "http"
    )]
    pub triggers: Vec<String>,
    /// Leave out the functions /api/health/live and /api/health/ready, which need no key
    #[arg(long)]
    pub no_health: bool,
    /// The folder to write; it must not exist or be empty
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A zip of it for zip deployment
    #[arg(long, value_name = "FILE")]
    pub zip: Option<PathBuf>,
    /// Replace an app folder or zip that is there already
    #[arg(long)]
    pub force: bool,
    /// The handler to package, instead of this program; an ONNX Runtime library beside it is packaged with it
    #[arg(long, value_name = "FILE")]
    pub handler: Option<PathBuf>,
    /// The processor the app is to run on: x86_64 or aarch64; this machine's if not given
    #[arg(long, value_name = "CPU")]
    pub target: Option<String>,
    /// The glibc of an image of your own, where it is newer than that of Azure's
    #[arg(long, value_name = "X.Y")]
    pub allow_glibc: Option<String>,
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

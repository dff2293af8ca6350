//! The command line. Without arguments, which is how the Functions host starts it, the program serves.

use std::path::PathBuf;

use clap::builder::PossibleValue;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};

use crate::bulk::{Format, Header};

/// An Azure Functions custom handler that serves ONNX models. Without a command it serves.
///
/// All settings are environment variables; `handler settings` lists them, and so does docs/settings.md.
#[derive(Debug, Parser)]
#[command(version, display_name = "score-onnx", disable_help_subcommand = true)]
pub struct Arguments {
    /// What to do; without it the program serves.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Serve models that lie anywhere, without a Functions host
    ///
    /// The same as no command at all, but for where the models are. `GET /api/score` shows what each takes, and in a browser it
    /// is a page where they can be tried.
    Serve(ServeArguments),
    /// Anything else.
    #[command(flatten)]
    Command(Command),
}

/// What the program can do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show or remove the results that are stored in Redis
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Load models as the server would, score a sample, and report what each model takes and gives
    ///
    /// Without models to check, the command also reads the function.json files of the app. It reports every problem, and
    /// exits with status 1 if there is one.
    Check(CheckArguments),
    /// Write an app folder that can be deployed, and a zip of it
    Package(PackageArguments),
    /// Score the rows of a file of any length: JSON lines, CSV or Parquet
    ///
    /// Results are written in the order of the lines, each with the number of its line; lines that cannot be scored go to a
    /// file of their own. What is scored is stored in the cache, so a run that is repeated is fast. Exits with status 1 if a line
    /// could not be scored, 2 if the command could not run to its end, 130 after Ctrl-C.
    Score(ScoreArguments),
    /// Show every setting: its value in force, default, unit and meaning
    ///
    /// Passwords and keys are hidden. The command reports every mistake in the settings, and exits with status 1 if there is
    /// one. It reads the environment that it is started with, which may differ from that of a running handler.
    Settings(SettingsArguments),
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

/// What to serve.
#[derive(Debug, Default, Args)]
pub struct ServeArguments {
    /// Models: ONNX files, folders with a model, folders of model folders; without any, those in SCORE_MODEL_DIR
    #[arg(value_name = "MODEL")]
    pub models: Vec<PathBuf>,
    /// The port to listen on, instead of SCORE_PORT
    #[arg(long, short, value_name = "PORT")]
    pub port: Option<u16>,
}

/// What to score, and where the results go.
#[derive(Debug, Args)]
pub struct ScoreArguments {
    /// The file with a row in each line, or - for standard input
    #[arg(long = "in", value_name = "FILE|-")]
    pub input: PathBuf,
    /// The file for the results, or - for standard output
    #[arg(long = "out", value_name = "FILE|-")]
    pub output: PathBuf,
    /// The model: its name in SCORE_MODEL_DIR, or the path of a model folder or ONNX file; by default the only one
    #[arg(long, value_name = "NAME|PATH")]
    pub model: Option<String>,
    /// The file for lines that cannot be scored, by default the name of the output and .errors.jsonl
    #[arg(long, value_name = "FILE")]
    pub errors: Option<PathBuf>,
    /// The format of the lines, where the names of the files do not end with .jsonl, .ndjson, .csv or .parquet
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
    /// Whether the first line of a CSV file is a header, where its cells leave doubt
    #[arg(long, value_name = "HEADER")]
    pub header: Option<Header>,
    /// Go on where an earlier run ended
    #[arg(long, conflicts_with = "force")]
    pub resume: bool,
    /// Replace existing output
    #[arg(long)]
    pub force: bool,
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Jsonl, Self::Csv, Self::Parquet]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Jsonl => PossibleValue::new("jsonl").help(
                "A JSON value in each line: a row, an object with the row's inputs, or a request of OpenAI's batch form",
            ),
            Self::Csv => PossibleValue::new("csv").help("A table, with a header or without one"),
            Self::Parquet => PossibleValue::new("parquet").help("A Parquet file, with columns by name"),
        })
    }
}

impl ValueEnum for Header {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Present, Self::Absent]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Present => PossibleValue::new("present").help("The names of the columns"),
            Self::Absent => PossibleValue::new("absent").help("A row"),
        })
    }
}

/// In which form to show the settings.
#[derive(Debug, Args)]
pub struct SettingsArguments {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Print the tables of docs/settings.md, without the values in force
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
}

/// What goes into the app folder.
#[derive(Debug, Args)]
pub struct PackageArguments {
    /// Models: folders with a model.onnx, or ONNX files; an ONNX file brings its external data and a model.toml beside it
    #[arg(long = "model", value_name = "FILE|DIR", num_args = 1.., required = true)]
    pub models: Vec<PathBuf>,
    /// What starts scoring: http, servicebus, servicebus-topic, storage-queue, blob, large-blob
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
    /// The folder to write; it must be empty, or not exist yet
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A zip of it for zip deployment
    #[arg(long, value_name = "FILE")]
    pub zip: Option<PathBuf>,
    /// Replace an existing app folder or zip
    #[arg(long)]
    pub force: bool,
    /// The handler to package instead of this program, together with an ONNX Runtime library beside it
    #[arg(long, value_name = "FILE")]
    pub handler: Option<PathBuf>,
    /// The processor of the machines that will run the app: x86_64 or aarch64; by default that of this machine
    #[arg(long, value_name = "CPU")]
    pub target: Option<String>,
    /// The glibc version of your own image, if it is newer than that of Azure's images
    #[arg(long, value_name = "X.Y")]
    pub allow_glibc: Option<String>,
}

/// What can be done with stored results. Reads the same settings as the server: where Redis is, the namespace, the model
/// folder.
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Show how many results are stored for each model
    Stats {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove results from Redis
    ///
    /// Running handlers go on scoring and store new results. Each keeps its in-process cache (SCORE_L1_BYTES) until it ends.
    Purge(PurgeArguments),
}

/// Which entries to remove.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true)))]
pub struct PurgeArguments {
    /// The model whose results to remove: its name in the model folder, or the 16 digits that `stats` shows
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
        assert!(arguments.action.is_none());
    }

    #[test]
    fn unknown_and_incomplete_commands_are_refused() {
        assert_eq!(refusal(&["start"]), ErrorKind::InvalidSubcommand);
        assert_eq!(refusal(&["--port", "1"]), ErrorKind::UnknownArgument);
        let purge = ["cache", "purge"];
        assert_eq!(refusal(&purge), ErrorKind::MissingRequiredArgument);
        let both = ["cache", "purge", "--all", "--model", "m"];
        assert_eq!(refusal(&both), ErrorKind::ArgumentConflict);
    }
}

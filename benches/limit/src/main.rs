//! The least that scoring can cost with these libraries: it answers `POST /api/score` with what cannot be left out and
//! nothing else. No settings, no checks, no time limits, no other formats, no cutting of requests into rows.

mod model;
mod request;
mod server;

use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use clap::{Parser, Subcommand, ValueEnum};

use model::Model;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// ONNX Runtime's shared library.
    #[arg(long, global = true, default_value = "bin/libonnxruntime.so.1")]
    library: PathBuf,
    /// The model; it takes rows of 784 numbers and its first integer output is the answer.
    #[arg(long, global = true, default_value = "models/mnist/model.onnx")]
    model: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Answers requests.
    Serve {
        #[arg(long)]
        mode: Mode,
        #[arg(long)]
        port: u16,
        /// host:port
        #[arg(long)]
        redis: Option<String>,
    },
    /// Prints the seconds of one run of one row on one thread.
    Time,
}

/// What is done for each request once its body is parsed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Digest, look-up in the process; what is not there is computed and remembered.
    L1,
    /// Digest, GET; what is not there is computed, and written behind the answer.
    Redis,
    /// One run of the model.
    Run,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    match arguments.command {
        Command::Serve { mode, port, redis } => {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(threads)
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let model = Model::load(&arguments.library, &arguments.model, threads)?;
                server::serve(mode, port, redis.as_deref(), model).await
            })
        }
        Command::Time => {
            let model = Model::load(&arguments.library, &arguments.model, 1)?;
            let seconds = model.seconds_of_one_run()?;
            writeln!(std::io::stdout(), "{seconds:.9}").context("standard output is closed")
        }
    }
}

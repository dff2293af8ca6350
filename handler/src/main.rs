//! The custom handler's process: settings, logging, run, exit code.

use std::process::ExitCode;

use handler::Config;

fn main() -> ExitCode {
    let config = match Config::from_env() {
        Ok(config) => config,
        Err(mistakes) => {
            handler::complain(&mistakes);
            return ExitCode::FAILURE;
        }
    };
    handler::start_logging(&config);
    let code = match handler::run(config) {
        Ok(()) => 0,
        Err(error) => {
            tracing::error!("{error:#}");
            1
        }
    };
    // Threads may still be inside a run of the model; returning from main would pull the runtime from under them.
    std::process::exit(code)
}

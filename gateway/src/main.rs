//! The `gateway` program: arguments → paths → runtime → exit code.
mod allocator;

use std::process::ExitCode;

use clap::Parser;
use gateway::{
    cli::{self, Cli, Command},
    logging,
    run::{self, RunError},
    systemd::{self, HandedSockets},
    terminal,
};

/// Tells the supervisor that starting again would not help and an operator is needed.
const EXIT_NEEDS_OPERATOR: u8 = 3;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let Command::Serve(args) = cli.command else {
        return match cli::ask(&cli.command) {
            Ok(answer) => {
                if !answer.text.is_empty() {
                    println!("{}", terminal::lines(answer.text.trim_end()));
                }
                if answer.success { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => {
                eprintln!("gateway: {}", terminal::lines(&error.to_string()));
                ExitCode::FAILURE
            }
        };
    };
    #[cfg(feature = "testing")]
    if let Some(spec) = std::env::var_os("TIDEGATE_FAILPOINT")
        && let Err(error) = gateway::failpoint::arm(&spec.to_string_lossy())
    {
        eprintln!("gateway: TIDEGATE_FAILPOINT: {error}");
        return ExitCode::FAILURE;
    }
    #[cfg(feature = "testing")]
    if let Err(error) = gateway::essential::left_out() {
        eprintln!("gateway: {error}");
        return ExitCode::FAILURE;
    }
    allocator::keep_little();
    logging::install();
    let served = HandedSockets::take().map_err(RunError::Sockets).and_then(|sockets| {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(RunError::Runtime)?
            .block_on(run::serve(args, sockets))
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the gateway cannot go on: {error}");
            eprintln!("gateway: {error}");
            systemd::ends_because(&error.to_string());
            if error.needs_operator() {
                ExitCode::from(EXIT_NEEDS_OPERATOR)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

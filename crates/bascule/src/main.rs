//! The `bascule` binary: command line, configuration and wiring. Whatever decides anything is in a crate.

mod cli;
mod config;
mod doctor;
mod enrol;
mod lock;
mod logging;
mod roles;
mod runner_settings;
mod server;
mod up;

use clap::{CommandFactory as _, Parser as _};
use cli::{Cli, Verb, output};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let json = cli.remote.json;
    // The hook starts often and must start fast: no runtime, no log.
    if let Verb::Hook { args } = &cli.verb {
        return ExitCode::from(server::hook(args));
    }
    if let Verb::Completion { shell } = cli.verb {
        // Into memory first: a reader that goes away (`| head`) is no error.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "bascule", &mut script);
        output::raw(&String::from_utf8_lossy(&script));
        return ExitCode::SUCCESS;
    }
    let mut builder = if cli.verb.serves() {
        logging::server();
        tokio::runtime::Builder::new_multi_thread()
    } else {
        logging::client();
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            let problem = bascule_core::Problem::new(500, "no_runtime", format!("Cannot start: {error}."));
            return ExitCode::from(output::problem(&problem, json));
        }
    };
    if let Verb::Agent(options) = cli.verb {
        // On a thread of its own: the main thread starts sandboxes, so that another version of the agent can go on
        // with them.
        let work = move || {
            let outcome = runtime.block_on(roles::agent(options));
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            outcome
        };
        let outcome =
            bascule_sandbox::handover::host(work).unwrap_or_else(|_| Err(bascule_core::Problem::internal()));
        return ended(outcome, json);
    }
    let outcome = runtime.block_on(async {
        match cli.verb {
            Verb::Up(options) => up::run(&options, up::Roles::All).await,
            Verb::Server(options) => up::run(&options, up::Roles::ServerAlone).await,
            Verb::Runner(options) => roles::runner(options).await,
            #[cfg(feature = "kubernetes")]
            Verb::JobHelper(options) => roles::job_helper(options).await,
            Verb::Edge(options) => roles::edge(options).await,
            Verb::Doctor => {
                let ready = doctor::run(output::Output::new(json)).await;
                Ok(if ready {
                    output::code::DONE
                } else {
                    output::code::FAILED
                })
            }
            Verb::Routes => server::routes().await.map(|table| {
                output::line(&table);
                output::code::DONE
            }),
            verb => cli::client(verb, &cli.remote).await,
        }
    });
    // Blocking work that no one waits for any more must not hold the process up.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    ended(outcome, json)
}

fn ended(outcome: bascule_core::Result<u8>, json: bool) -> ExitCode {
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(problem) => ExitCode::from(output::problem(&problem, json)),
    }
}

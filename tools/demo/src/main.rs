//! `make demo`: the whole way of a commit, with stock git and the command line, narrated. Every step checks
//! that it did what it says; the first that did not ends the demo with exit code 1.

mod act_two;
mod carried;
mod load;
mod platform;
mod story;
mod tell;

use platform::Platform;
use std::{process::ExitCode, time::Instant};

/// What went wrong, in words.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    drop(rustls::crypto::ring::default_provider().install_default());
    let started = Instant::now();
    let mut platform = match Platform::start().await {
        Ok(platform) => platform,
        Err(error) => {
            tell::failed("the platform did not start", &error);
            return ExitCode::FAILURE;
        }
    };
    let outcome = story::play(&platform).await;
    let good = match &outcome {
        Ok(()) => {
            tell::chapter(&format!(
                "All of it happened, in {} seconds.",
                started.elapsed().as_secs()
            ));
            true
        }
        Err(error) => {
            tell::failed("a step did not do what it says", error);
            tell::say(&format!("The platform's last log lines:\n{}", platform.log()));
            false
        }
    };
    tell::say(&format!("Address:   {}", platform.url));
    tell::say(&format!(
        "Sign in:   admin, password {}",
        platform.admin_password()
    ));
    tell::say("           or developer, sre, security: password `bascule-demo-only`");
    tell::say(&format!("Data:      {}", platform.data().display()));
    if std::env::var_os("DEMO_EXIT").is_none() {
        tell::say("\nThe platform keeps running. Press Ctrl-C to end it.");
        drop(tokio::signal::ctrl_c().await);
    }
    let stopped = platform.stop();
    if !stopped {
        tell::say("The platform did not stop gracefully.");
    }
    if good && stopped {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

//! How soon it serves, and what it costs when nobody asks for anything.

use crate::{
    Result,
    platform::Platform,
    process::{cpu_seconds, resident_mib},
    report::{Goal, goals},
    stats::median,
    tell,
};
use std::time::Duration;

const ROUNDS: usize = 5;
const IDLE: Duration = Duration::from_secs(30);

/// Measures the section.
pub async fn measure() -> Result<String> {
    let dir = tempfile::Builder::new()
        .prefix("bascule-bench-start-")
        .tempdir()?;
    let (mut cold, mut warm, mut stop) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let data = dir.path().join(format!("data{round}"));
        for times in [&mut cold, &mut warm] {
            let platform = Platform::up(&data)?;
            times.push(platform.ready_after.as_secs_f64() * 1000.0);
            // As a service that has been of use: some work was done.
            drop(platform.get("/api/v1/projects").await?);
            let begun = std::time::Instant::now();
            platform.stop();
            stop.push(begun.elapsed().as_secs_f64() * 1000.0);
        }
    }
    let platform = Platform::up(&dir.path().join("data0"))?;
    tell(&format!("idle for {} s", IDLE.as_secs()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = cpu_seconds(platform.pid());
    tokio::time::sleep(IDLE).await;
    let (idle_cpu, memory) = (cpu_seconds(platform.pid()) - before, resident_mib(platform.pid()));
    platform.stop();

    let (cold, warm) = (median(&cold), median(&warm));
    let mut text = format!(
        "## Start and rest\n\n`bench start`: `bascule up --data DIR --listen 127.0.0.1:0` from the start of the process to its \
         `ready` line, {ROUNDS} times on a fresh data directory and {ROUNDS} times on one that exists; then {} s without a \
         request, with runner, agent and edge in the same process.\n\n\
         | | |\n|---|---|\n\
         | ready on a fresh data directory (makes key, database and first administrator) | {cold:.0} ms |\n\
         | ready on an existing data directory | {warm:.0} ms |\n\
         | SIGTERM to end | {:.0} ms |\n\
         | resident memory when idle (VmRSS) | {memory:.1} MiB |\n\
         | processor time when idle | {:.2} % of one core |\n\n",
        IDLE.as_secs(),
        median(&stop),
        idle_cpu / IDLE.as_secs_f64() * 100.0,
    );
    text.push_str(&goals(&[
        Goal {
            goal: "ready in under a second on a warm data directory".to_owned(),
            measured: format!("{warm:.0} ms"),
            met: warm < 1000.0,
        },
        Goal {
            goal: "memory when idle under 100 MiB".to_owned(),
            measured: format!("{memory:.1} MiB"),
            met: memory < 100.0,
        },
    ]));
    Ok(text)
}

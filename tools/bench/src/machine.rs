//! What the figures were measured on.

use bascule_core::{Clock as _, SystemClock};
use std::{fmt::Write as _, fs, process::Command};

/// The machine and the versions of all tools, as Markdown.
pub fn describe() -> String {
    let mut text = String::from("## Machine\n\n| | |\n|---|---|\n");
    let mut row = |name: &str, value: &str| {
        let _ = writeln!(text, "| {name} | {} |", value.trim().replace('|', "/"));
    };
    row(
        "Processor",
        &format!("{} × {}", cores(), field("/proc/cpuinfo", "model name")),
    );
    row("Memory", &memory());
    row(
        "Kernel",
        &fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default(),
    );
    row(
        "System",
        field("/etc/os-release", "PRETTY_NAME").trim_matches('"'),
    );
    row(
        "bascule",
        &first_line(&crate::platform::binary().to_string_lossy(), &["--version"]),
    );
    for (name, program, arguments) in [
        ("git", "git", &["--version"][..]),
        ("nginx", "nginx", &["-v"]),
        ("haproxy", "haproxy", &["-v"]),
        ("wrk", "wrk", &["-v"]),
        ("bubblewrap", "bwrap", &["--version"]),
    ] {
        row(name, &first_line(program, arguments));
    }
    text
}

/// When, and of which commit, a section was measured.
pub fn stamp() -> String {
    let commit = first_line(
        "git",
        &[
            "-C",
            env!("CARGO_MANIFEST_DIR"),
            "rev-parse",
            "--short=12",
            "HEAD",
        ],
    );
    let now = SystemClock.now().to_string();
    format!(
        "_Measured {} at commit {commit}._",
        now.split('T').next().unwrap_or_default()
    )
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The value of a `name: value` or `name=value` line.
pub fn field(file: &str, name: &str) -> String {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once([':', '=']))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim().to_owned())
        .unwrap_or_default()
}

fn memory() -> String {
    let kib: f64 = field("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or_default();
    format!("{:.1} GiB", kib / 1024.0 / 1024.0)
}

/// The first line that names a version; some programs write it to the error stream.
fn first_line(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else {
        return "not installed".to_owned();
    };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text)
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default()
        .to_owned()
}

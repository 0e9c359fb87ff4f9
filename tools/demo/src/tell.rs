//! How the demo speaks.

use std::io::{IsTerminal as _, Write as _};

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    drop(writeln!(out, "{text}"));
    drop(out.flush());
}

fn paint(code: &str, text: &str) -> String {
    if std::io::stdout().is_terminal() {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

/// A new part of the story.
pub fn chapter(text: &str) {
    write(&format!("\n{}", paint("1;36", &format!("▌ {text}"))));
}

/// A sentence.
pub fn say(text: &str) {
    write(text);
}

/// A command that a person would type.
pub fn command(text: &str) {
    write(&paint("1", &format!("$ {text}")));
}

/// What a command printed, set in.
pub fn output(text: &str) {
    for line in text.lines() {
        write(&format!("  {}", paint("2", line)));
    }
}

/// A check that held.
pub fn checked(text: &str) {
    write(&format!("{} {text}", paint("32", "✔")));
}

/// The end of a demo that failed.
pub fn failed(what: &str, error: &crate::Error) {
    write(&format!("{} {what}: {error}", paint("1;31", "✘")));
}

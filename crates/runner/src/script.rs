//! The shell script that a step becomes.

use std::fmt::Write;

/// Renders a step: each entry is shown in green, then run; the first failure ends it. With `debug` the shell tells
/// whatever it does.
pub(crate) fn render(bash: bool, debug: bool, project_dir: &str, entries: &[String]) -> String {
    let mut script = String::new();
    if bash {
        script.push_str("set -eo pipefail\nset +o noclobber\n");
    } else {
        // Not every plain shell has pipefail.
        script.push_str("set -e\nif (set -o pipefail) 2>/dev/null; then set -o pipefail; fi\n");
    }
    let _ = writeln!(script, "cd {}", quote(project_dir));
    if debug {
        script.push_str("set -x\n");
    }
    for entry in entries {
        let entry = entry.replace('\0', "");
        let mut lines = entry.lines();
        let first = lines.next().unwrap_or_default();
        let more = if lines.any(|l| !l.trim().is_empty()) {
            " # collapsed multi-line command"
        } else {
            ""
        };
        let shown = quote(&format!("{first}{more}"));
        let _ = writeln!(script, "printf '\\033[32;1m$ %s\\033[0;m\\n' {shown}\n{entry}");
    }
    script.push_str("exit 0\n");
    script
}

/// Whether a shell can set a variable of this name.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Sets variables, for a container that was made with others.
pub(crate) fn exports(variables: &[(String, String)]) -> String {
    let mut script = String::new();
    for (name, value) in variables.iter().filter(|(name, _)| is_name(name)) {
        let _ = writeln!(script, "export {name}={}", quote(value));
    }
    script
}

/// Quotes a word for any POSIX shell.
pub(crate) fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    fn run(shell: &str, entries: &[&str]) -> (i32, String) {
        let entries: Vec<String> = entries.iter().map(|e| (*e).to_owned()).collect();
        let script = render(shell == "bash", false, "/tmp", &entries);
        let out = Command::new(shell).arg("-c").arg(script).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
    }

    #[test]
    fn lines_are_shown_and_the_first_failure_ends_it() {
        for shell in ["bash", "sh"] {
            let (code, out) = run(shell, &["A='it''s'", "echo \"$A %s \\n\"", "false", "echo never"]);
            assert_eq!(code, 1);
            let green = |t: &str| format!("\x1b[32;1m$ {t}\x1b[0;m\n");
            let expected = green("A='it''s'") + &green("echo \"$A %s \\n\"");
            assert!(out.starts_with(&expected), "{out}");
            assert!(out.ends_with(&green("false")) && !out.contains("never"), "{out}");
        }
    }

    #[test]
    fn pipes_fail_blocks_collapse_and_the_last_line_decides_nothing() {
        assert_eq!(run("bash", &["false | cat"]).0, 1);
        let (code, out) = run("sh", &["if true; then\n  echo in\nfi", "false || exit 4"]);
        assert_eq!(code, 4);
        assert!(out.contains("$ if true; then # collapsed multi-line command") && out.contains("\nin\n"));
    }
}

//! Every verb has an example in its help, and every example is one that the command line takes.

use super::Cli;
use clap::{Command, CommandFactory as _, error::ErrorKind};

/// The verbs that do something, with what stands below their help, before it is cut into lines for a terminal.
fn leaves(command: &Command, path: &str, into: &mut Vec<(String, String)>) {
    let verbs: Vec<&Command> = command
        .get_subcommands()
        .filter(|verb| !verb.is_hide_set() && verb.get_name() != "help")
        .collect();
    if verbs.is_empty() {
        let help = command.get_after_long_help().or(command.get_after_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        into.push((path.to_owned(), help));
    }
    for verb in verbs {
        leaves(verb, &format!("{path} {}", verb.get_name()), into);
    }
}

fn all() -> Vec<(String, String)> {
    let mut found = Vec::new();
    leaves(&Cli::command(), "bascule", &mut found);
    found
}

/// The words of a line as a shell would part them, up to a remark, a pipe or a redirection.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let (mut word, mut quoted, mut begun) = (String::new(), false, false);
    let mut spaces = 0;
    for c in line.trim().chars() {
        match c {
            '"' => (quoted, begun) = (!quoted, true),
            ' ' if !quoted => {
                spaces += 1;
                if std::mem::take(&mut begun) {
                    words.push(std::mem::take(&mut word));
                }
                if spaces >= 3 {
                    return words;
                }
                continue;
            }
            '<' | '>' | '|' | '&' if !quoted && !begun => return words,
            c => {
                word.push(c);
                begun = true;
            }
        }
        spaces = 0;
    }
    if begun {
        words.push(word);
    }
    words
}

#[test]
fn every_verb_has_an_example_in_its_help() {
    let all = all();
    assert!(all.len() > 100, "{}", all.len());
    let without: Vec<&String> = all
        .iter()
        .filter(|(_, help)| !help.contains("Example"))
        .map(|(path, _)| path)
        .collect();
    assert!(without.is_empty(), "no example: {without:#?}");
}

#[test]
fn every_example_is_taken() {
    let mut wrong = Vec::new();
    for (path, help) in all() {
        // A line that goes on after `\` is one.
        let help = help.replace("\\\n", " ");
        let (_, examples) = help.split_once("Example").unwrap_or_default();
        for line in examples
            .lines()
            .filter(|line| line.starts_with("  bascule ") && !line.contains('['))
        {
            let Err(error) = Cli::command().try_get_matches_from(words(line)) else {
                continue;
            };
            // A job's environment says what these leave out.
            let in_job = path.starts_with("bascule product ");
            if !(in_job && error.kind() == ErrorKind::MissingRequiredArgument) {
                let error = error.to_string();
                let what = error.lines().next().unwrap_or_default();
                wrong.push(format!("{path}: {}: {what}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

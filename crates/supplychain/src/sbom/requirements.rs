//! `requirements.txt` as pip reads it: pins, hashes, markers, options and line continuations.

use super::checksum::cut;
use super::{Checksum, Component, Ecosystem, Inventory, LockfileError, Source};

/// What an option brings in that this file does not say, if anything.
fn outside(option: &str) -> Option<&'static str> {
    match option {
        "-r" | "--requirement" | "-c" | "--constraint" => {
            Some("is not followed: files named requirements.txt are read by themselves")
        }
        "-e" | "--editable" => Some("is installed from its folder and not listed"),
        _ => None,
    }
}

pub(super) fn read(source: &Source<'_>) -> Result<Inventory, LockfileError> {
    let mut inventory = Inventory::of(source.path);
    inventory.without_edges.insert(source.path.to_owned());
    for (number, line) in logical_lines(source.text) {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        if line.starts_with('-') {
            let option = line.split([' ', '=', '\t']).next().unwrap_or(line);
            if let Some(what) = outside(option) {
                inventory.note(source.path, number, format!("`{}` {what}", cut(line)));
            }
            continue;
        }
        // A path or address alone says where a package is, not always which.
        if !begins_with_name(line) {
            let found = by_address(source, line).map_err(|reason| source.error(Some(number), reason))?;
            if let Some(component) = found {
                inventory.roots.insert(component.purl.clone());
                inventory.add(component);
            } else {
                let text = format!("`{}` does not say its name and is not listed", cut(line));
                inventory.note(source.path, number, text);
            }
            continue;
        }
        let (component, note) =
            requirement(source, line).map_err(|reason| source.error(Some(number), reason))?;
        if let Some(note) = note {
            inventory.note(source.path, number, note);
        }
        inventory.roots.insert(component.purl.clone());
        inventory.add(component);
    }
    Ok(inventory)
}

/// Lines with continuations joined and comments cut, each with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let (number, mut joined) = open.take().unwrap_or((index + 1, String::new()));
        // As pip does: a comment line ends a continuation, a backslash at the end asks for more.
        if line.trim_start().starts_with('#') {
            lines.push((number, joined));
            continue;
        }
        match line.strip_suffix('\\') {
            Some(begun) => {
                joined.push_str(begun);
                joined.push(' ');
                open = Some((number, joined));
            }
            None => {
                joined.push_str(line);
                lines.push((number, joined));
            }
        }
    }
    lines.extend(open);
    for (_, line) in &mut lines {
        let comment = line
            .char_indices()
            .zip(std::iter::once(' ').chain(line.chars()))
            .find(|((_, this), before)| *this == '#' && before.is_whitespace());
        if let Some(((at, _), _)) = comment {
            line.truncate(at);
        }
    }
    lines
}

/// Whether a line begins with a package's name, rather than with a path or an address.
fn begins_with_name(line: &str) -> bool {
    let first = line
        .split([' ', '\t', ';', '@', '[', '=', '<', '>', '~', '!'])
        .next()
        .unwrap_or(line);
    !(first.starts_with('.') || first.contains(':') || first.contains('/'))
}

/// An address with `#egg=name`, the older way to name what is found there.
fn by_address(source: &Source<'_>, line: &str) -> Result<Option<Component>, String> {
    let address = line.split_ascii_whitespace().next().unwrap_or(line);
    let Some((address, fragment)) = address.split_once('#') else {
        return Ok(None);
    };
    let Some(egg) = fragment.split('&').find_map(|field| field.strip_prefix("egg=")) else {
        return Ok(None);
    };
    let name = egg.split('[').next().unwrap_or(egg);
    let key = if address.starts_with("git+") {
        "vcs_url"
    } else {
        "download_url"
    };
    let mut component = Component::new(Ecosystem::PyPi, name, None, &[(key, address)])?;
    component.lockfiles.insert(source.path.to_owned());
    Ok(Some(component))
}

fn requirement(source: &Source<'_>, line: &str) -> Result<(Component, Option<String>), String> {
    let (line, options) = match line.find(" --") {
        Some(at) => line.split_at(at),
        None => (line, ""),
    };
    let (wanted, marker) = match line.split_once(" ;").or_else(|| {
        // A URL may hold a semicolon; only after a blank does it begin a marker there.
        if line.contains('@') {
            None
        } else {
            line.split_once(';')
        }
    }) {
        Some((wanted, marker)) => (wanted.trim(), Some(marker.trim())),
        None => (line.trim(), None),
    };
    let end = wanted
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(wanted.len());
    let (name, rest) = wanted.split_at(end);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !name.ends_with(|c: char| c.is_ascii_alphanumeric())
    {
        return Err(format!(
            "`{}` is not a requirement such as `name==1.2.3`",
            cut(wanted)
        ));
    }
    let rest = rest.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(extras) => extras
            .split_once(']')
            .ok_or("the list of extras is not closed by `]`")?
            .1
            .trim_start(),
        None => rest,
    };
    let mut note = None;
    let mut component = if let Some(url) = rest.strip_prefix('@') {
        let url = url.trim();
        let key = if url.starts_with("git+") {
            "vcs_url"
        } else {
            "download_url"
        };
        Component::new(Ecosystem::PyPi, name, None, &[(key, url)])?
    } else {
        let version = pinned(rest)?;
        if version.is_none() {
            note = Some(format!(
                "`{name}` is not pinned with `==`, so its version is not known"
            ));
        }
        Component::new(Ecosystem::PyPi, name, version, &[])?
    };
    for option in options.split_ascii_whitespace() {
        if let Some(hash) = option.strip_prefix("--hash=") {
            component.checksums.insert(Checksum::from_prefixed(hash)?);
        }
    }
    component
        .markers
        .extend(marker.filter(|marker| !marker.is_empty()).map(str::to_owned));
    component.lockfiles.insert(source.path.to_owned());
    Ok((component, note))
}

/// The one version that specifiers such as `==1.2.3` or `(==1.2.3,!=1.2.2)` allow, if they name one.
fn pinned(specifiers: &str) -> Result<Option<&str>, String> {
    let text = specifiers.trim();
    let text = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(text);
    let mut version = None;
    for specifier in text
        .split(',')
        .map(str::trim)
        .filter(|specifier| !specifier.is_empty())
    {
        let operator = ["===", "==", "~=", "!=", "<=", ">=", "<", ">"]
            .into_iter()
            .find(|operator| specifier.starts_with(operator))
            .ok_or_else(|| {
                format!(
                    "`{}` is not a version specifier such as `==1.2.3`",
                    cut(specifier)
                )
            })?;
        let value = specifier.get(operator.len()..).unwrap_or_default().trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '+' | '!' | '*');
        if value.is_empty() || !value.chars().all(plain) {
            return Err(format!("`{}` is not a version", cut(value)));
        }
        if matches!(operator, "==" | "===") && !value.ends_with(".*") {
            version = Some(value);
        }
    }
    Ok(version)
}

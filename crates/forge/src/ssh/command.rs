//! What a client asks for: git's three commands and the path of a project, as git quotes them.

use bascule_core::{Name, Problem, Result};

/// Longest command, in bytes.
const LONGEST: usize = 1024;

/// What git is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Clones and fetches.
    UploadPack,
    /// Pushes.
    ReceivePack,
    /// `git archive --remote`.
    UploadArchive,
}

/// A command that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// What is to be done.
    pub service: Service,
    /// The project's group.
    pub group: String,
    /// The project's name.
    pub project: String,
}

impl Service {
    /// As git calls it, without `git-`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::UploadPack => "upload-pack",
            Self::ReceivePack => "receive-pack",
            Self::UploadArchive => "upload-archive",
        }
    }

    fn by_name(name: &str) -> Option<Self> {
        [Self::UploadPack, Self::ReceivePack, Self::UploadArchive]
            .into_iter()
            .find(|service| service.name() == name)
    }
}

/// Reads a command as git's client sends it: `git-upload-pack '/group/project.git'`.
///
/// # Errors
/// It is none of git's, or names no project.
pub fn parse(command: &[u8]) -> Result<Asked> {
    let text = std::str::from_utf8(command).map_err(|_| not_served())?;
    if text.len() > LONGEST {
        return Err(not_served());
    }
    let words = words(text).ok_or_else(not_served)?;
    let (service, path) = match words.as_slice() {
        [git, service, path] if git == "git" => (Service::by_name(service), path),
        [service, path] => (service.strip_prefix("git-").and_then(Service::by_name), path),
        [service, ..] if service.starts_with("git-lfs") => return Err(no_lfs()),
        _ => return Err(not_served()),
    };
    let service = service.ok_or_else(not_served)?;
    let path = path.trim_start_matches('/').trim_end_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    let parts = path.split_once('/').and_then(|(group, project)| {
        Some((
            Name::new(group).ok()?.to_string(),
            Name::new(project).ok()?.to_string(),
        ))
    });
    let (group, project) = parts.ok_or_else(|| {
        Problem::not_found("project")
            .next("An address reads group/project.git; check it with `git remote -v`.")
    })?;
    Ok(Asked {
        service,
        group,
        project,
    })
}

fn not_served() -> Problem {
    Problem::new(403, "not_git", "Only git is served here.")
        .why(
            "There is no shell: this address takes clones, fetches, pushes and `git archive --remote` alone.",
        )
        .next("Use a git client, as in `git clone`.")
}

fn no_lfs() -> Problem {
    Problem::new(403, "no_lfs", "git LFS is not served here.")
        .why("Large files have no store of their own on this platform yet.")
        .next("Turn it off for this remote: `git config lfs.allowincompletepush true`, or keep such files as release artifacts.")
}

/// Splits by blanks, with git's single quotes (`'it'\''s'`, `'wow'\!'`). Nothing else is special, as nothing
/// is ever given to a shell.
fn words(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if quoted => word.get_or_insert_default().push(c),
            '\\' => word.get_or_insert_default().push(rest.next()?),
            ' ' | '\t' => words.extend(word.take()),
            c if c.is_control() => return None,
            c => word.get_or_insert_default().push(c),
        }
    }
    if quoted {
        return None;
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(command: &str) -> Option<(Service, String)> {
        let asked = parse(command.as_bytes()).ok()?;
        Some((asked.service, format!("{}/{}", asked.group, asked.project)))
    }

    #[test]
    fn what_git_sends_is_read() {
        for (command, service) in [
            ("git-upload-pack '/acme/web.git'", Service::UploadPack),
            ("git-upload-pack 'acme/web.git'", Service::UploadPack),
            ("git-upload-pack 'acme/web'", Service::UploadPack),
            ("git upload-pack acme/web", Service::UploadPack),
            ("git-receive-pack '/acme/web.git/'", Service::ReceivePack),
            ("git-upload-archive '/acme/web.git'", Service::UploadArchive),
        ] {
            assert_eq!(read(command), Some((service, "acme/web".to_owned())), "{command}");
        }
    }

    #[test]
    fn everything_else_is_not() {
        for command in [
            "",
            "ls",
            "git-upload-pack",
            "git-upload-pack '/acme/web.git",
            "git-upload-pack --strict '/acme/web.git'",
            "git-upload-pack '../../etc/passwd'",
            "git-upload-pack '/acme/../web.git'",
            "git-upload-pack '/acme/web.git'; ls",
            "git-upload-pack '/acme/web.git' '/acme/web.git'",
            "git-upload-pack '/a/b/c.git'",
            "git-upload-pack '~/web.git'",
            "git-shell 'acme/web'",
            "git-upload-pack\n'acme/web'",
            "scp -t /tmp",
        ] {
            assert_eq!(read(command), None, "{command}");
        }
        assert_eq!(
            parse(b"git-lfs-authenticate acme/web download").unwrap_err().code,
            "no_lfs"
        );
    }

    #[test]
    fn quotes_are_gits() {
        assert_eq!(
            words(r"'a b' 'it'\''s' 'wow'\!''").unwrap(),
            ["a b", "it's", "wow!"]
        );
        assert_eq!(words("'open"), None);
        assert_eq!(words("a\\"), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic_and_what_is_read_is_plain(command in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(asked) = parse(&command) {
                prop_assert!(Name::new(&asked.group).is_ok() && Name::new(&asked.project).is_ok());
            }
        }

        #[test]
        fn what_git_quotes_is_read_back(path in "[ -~]{0,40}") {
            let quoted = format!("'{}'", path.replace('\'', "'\\''").replace('!', "'\\!'"));
            prop_assert_eq!(words(&quoted).unwrap(), vec![path]);
        }
    }
}

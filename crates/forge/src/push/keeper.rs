//! What a push brings is shown to who will act on it, while its objects are in quarantine: so the person who pushes
//! hears at once what will not be followed. It refuses nothing, and nothing that fails here does.

use super::{Session, Update};
use crate::Forge;
use bascule_core::{Problem, ProjectId};
use std::{io, path::Path, process::Stdio, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::Command,
};

/// Most files that are looked at, and most bytes of all of them together.
const FILES: usize = 5_000;
const BYTES: u64 = 32 * 1024 * 1024;
/// How long a push waits for it.
const WAIT: Duration = Duration::from_secs(10);

impl Forge {
    /// What to tell the person who pushes, besides that it was taken; empty: nothing.
    pub(super) async fn remarks(
        &self,
        session: &Session,
        updates: &[Update],
        quarantine: Option<&Path>,
    ) -> String {
        let looked = self.look(session.project.id, updates, quarantine);
        match tokio::time::timeout(WAIT, looked).await {
            Ok(Ok(remark)) => remark.map(|remark| told(&remark)).unwrap_or_default(),
            Ok(Err(problem)) => {
                tracing::warn!(%problem, "what a push brings could not be looked at");
                String::new()
            }
            Err(_) => String::new(),
        }
    }

    async fn look(
        &self,
        id: ProjectId,
        updates: &[Update],
        quarantine: Option<&Path>,
    ) -> Result<Option<String>, Problem> {
        let Some(keeper) = self.keeper() else {
            return Ok(None);
        };
        let Some(folder) = keeper.folder(id).await? else {
            return Ok(None);
        };
        let Some(project) = self.project_by_id(id).await? else {
            return Ok(None);
        };
        let tip = updates
            .iter()
            .find(|update| update.branch() == Some(project.default_branch.as_str()))
            .and_then(|update| update.new.as_deref());
        let Some(tip) = tip else { return Ok(None) };
        match self.files_in(id, tip, &folder, quarantine).await {
            Ok(files) => keeper.judge(id, files).await,
            Err(error) => {
                tracing::warn!(%error, "git could not be asked for the files of a push");
                Ok(None)
            }
        }
    }

    /// The files right in a folder at a commit that may still be in quarantine.
    async fn files_in(
        &self,
        id: ProjectId,
        tip: &str,
        folder: &str,
        quarantine: Option<&Path>,
    ) -> io::Result<Vec<(String, Vec<u8>)>> {
        let repository = self.repositories().path(id);
        let git = || -> Command {
            let mut command = self.git().within(&repository);
            if let Some(quarantine) = quarantine {
                command
                    .env("GIT_OBJECT_DIRECTORY", quarantine)
                    .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", repository.join("objects"));
            }
            command.kill_on_drop(true);
            command
        };
        let listed = git().args(["ls-tree", "-z", tip, "--", folder]).output().await?;
        // `mode type object TAB path`
        let mut blobs: Vec<(String, String)> = String::from_utf8_lossy(&listed.stdout)
            .split('\0')
            .filter_map(|line| {
                let (kind, path) = line.split_once('\t')?;
                let object = kind.split(' ').nth(2).filter(|_| kind.contains(" blob "))?;
                Some((path.to_owned(), object.to_owned()))
            })
            .collect();
        blobs.truncate(FILES);
        let mut child = git()
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("git has no pipes"));
        };
        let asked: String = blobs.iter().map(|(_, object)| format!("{object}\n")).collect();
        let mut all = Vec::new();
        let mut output = output.take(BYTES);
        let (asked, read) = tokio::join!(
            async move { input.write_all(asked.as_bytes()).await },
            output.read_to_end(&mut all)
        );
        read?;
        // Where there is too much, git is not heard out.
        drop(asked);
        Ok(contents(&blobs, &all))
    }
}

/// Files out of what `cat-file --batch` answers: `object blob SIZE`, a newline, the bytes, a newline.
fn contents(blobs: &[(String, String)], mut all: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (path, _) in blobs {
        let Some(end) = all.iter().position(|byte| *byte == b'\n') else {
            break;
        };
        let (head, rest) = all.split_at(end);
        let size = String::from_utf8_lossy(head)
            .rsplit(' ')
            .next()
            .and_then(|size| size.parse::<usize>().ok());
        let bytes = size.and_then(|size| rest.get(1..=size));
        let Some(bytes) = bytes else { break };
        files.push((path.clone(), bytes.to_vec()));
        all = rest.get(bytes.len() + 2..).unwrap_or_default();
    }
    files
}

/// What is shown on the terminal, with nothing in it that would steer one.
fn told(remark: &str) -> String {
    let clean: String = remark.chars().filter(|c| !c.is_control()).collect();
    format!(
        "\nwarning: {clean}\n  The push is taken; what was in force before stays in force until a commit without this fault.\n\n"
    )
}

#[cfg(test)]
mod tests {
    use super::contents;

    #[test]
    fn files_come_one_after_the_other_whatever_is_in_them() {
        let blobs = [
            ("a".to_owned(), "1".to_owned()),
            ("b".to_owned(), "2".to_owned()),
            ("c".to_owned(), "3".to_owned()),
        ];
        let all = b"1 blob 3\nx\ny\n2 blob 0\n\n3 blob 9\ncut";
        assert_eq!(
            contents(&blobs, all),
            [("a".to_owned(), b"x\ny".to_vec()), ("b".to_owned(), Vec::new())]
        );
    }
}

//! The hook: git runs our own program inside a push, and that program asks the server over a Unix socket.
//! The asking side uses nothing but the standard library, since every push waits for its start.

use super::Update;
use crate::{Forge, OpenError};
use std::{
    io::{self, BufRead as _, Read, Write as _},
    os::unix::{fs::DirBuilderExt as _, net::UnixStream},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

/// Names the server's socket to the hook.
pub const SOCKET: &str = "BASCULE_HOOK_SOCKET";
/// Proves which push the hook speaks for.
pub const SECRET: &str = "BASCULE_HOOK_SECRET";

/// Largest question, in bytes: some hundred thousand references.
const QUESTION: u64 = 32 * 1024 * 1024;
/// How long the hook waits for the server's judgement.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long the server waits for the question.
const ASKING: Duration = Duration::from_secs(60);
/// Most options of one push.
const OPTIONS: usize = 50;
/// Longest option, in bytes.
const OPTION: usize = 4096;
/// Longest path that a socket's address can hold, with some room.
const ADDRESS: usize = 100;

/// What the server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the push is let through.
    pub accepted: bool,
    /// What to show to the person who pushes.
    pub text: String,
}

/// The whole hook: asks the server about what git hands over, shows the answer, and returns the exit code.
/// Call it before anything that takes time to start.
#[must_use]
pub fn main() -> i32 {
    let judgement = match (std::env::var_os(SOCKET), std::env::var(SECRET)) {
        (Some(socket), Ok(secret)) => {
            let quarantine = std::env::var("GIT_QUARANTINE_PATH").unwrap_or_default();
            let options = push_options();
            client(
                Path::new(&socket),
                &secret,
                &quarantine,
                &options,
                &mut io::stdin().lock(),
            )
        }
        _ => Err(io::Error::other(
            "this repository belongs to Bascule; push through its address",
        )),
    };
    let judgement = judgement.unwrap_or_else(|error| Judgement {
        accepted: false,
        text: format!(
            "\nRefused: The platform could not judge this push ({error}).\n  \
             why:  What cannot be judged is not taken.\n  next: Push again in a moment.\n\n"
        ),
    });
    // Nobody is left to hear of it when the pipe is broken.
    drop(io::stderr().write_all(judgement.text.as_bytes()));
    i32::from(!judgement.accepted)
}

/// What the client said with `git push -o`, as git hands it to hooks (githooks, "pre-receive").
fn push_options() -> Vec<String> {
    let count = std::env::var("GIT_PUSH_OPTION_COUNT")
        .ok()
        .and_then(|count| count.parse::<usize>().ok())
        .unwrap_or_default();
    (0..count.min(OPTIONS + 1))
        .map(|n| {
            let option = std::env::var_os(format!("GIT_PUSH_OPTION_{n}")).unwrap_or_default();
            option.to_string_lossy().replace(['\n', '\r'], " ")
        })
        .collect()
}

/// Asks the server. `options` are what the client said with `-o`; `updates` are the lines that git gives to a pre-receive hook.
///
/// # Errors
/// The server cannot be reached, or broke off.
pub fn client(
    socket: &Path,
    secret: &str,
    quarantine: &str,
    options: &[String],
    updates: &mut dyn Read,
) -> io::Result<Judgement> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = format!("{secret}\n{quarantine}\n{}\n", options.len());
    for option in options {
        head.push_str(option);
        head.push('\n');
    }
    stream.write_all(head.as_bytes())?;
    io::copy(updates, &mut stream)?;
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once('\n') {
        Some(("yes", text)) => Ok(Judgement {
            accepted: true,
            text: text.to_owned(),
        }),
        Some(("no", text)) => Ok(Judgement {
            accepted: false,
            text: text.to_owned(),
        }),
        _ => Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the server broke off",
        )),
    }
}

/// The server's ear.
pub(crate) struct Listener {
    inner: std::os::unix::net::UnixListener,
    path: PathBuf,
    /// Where the data directory's path is too long for a socket: a short one, removed at the end.
    _short: Option<tempfile::TempDir>,
}

impl Listener {
    pub(crate) fn bind(data: &Path) -> Result<Self, OpenError> {
        let run = data.join("run");
        Self::bind_in(&run).map_err(|error| OpenError::Io { path: run, error })
    }

    fn bind_in(run: &Path) -> io::Result<Self> {
        let absolute = std::path::absolute(run)?;
        let mut short = None;
        let directory = if absolute.as_os_str().len() + 10 > ADDRESS {
            // Made with mode 0700.
            let made = tempfile::Builder::new().prefix("bascule-").tempdir_in("/tmp")?;
            short.insert(made).path().to_owned()
        } else {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&absolute)?;
            absolute
        };
        let path = directory.join("hook.sock");
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let inner = std::os::unix::net::UnixListener::bind(&path)?;
        inner.set_nonblocking(true)?;
        Ok(Self {
            inner,
            path,
            _short: short,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) async fn serve(self, forge: Forge, stop: CancellationToken) {
        let listener = match tokio::net::UnixListener::from_std(self.inner) {
            Ok(listener) => listener,
            Err(error) => {
                tracing::error!(%error, "git's hooks cannot be served; pushes will be refused");
                return;
            }
        };
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let forge = forge.clone();
                    tokio::spawn(async move {
                        if let Err(error) = answer(&forge, stream).await {
                            tracing::warn!(%error, "a hook could not be answered");
                        }
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "a hook could not be heard");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(std::fs::remove_file(&self.path));
    }
}

async fn answer(forge: &Forge, mut stream: tokio::net::UnixStream) -> io::Result<()> {
    let mut question = Vec::new();
    let mut bounded = (&mut stream).take(QUESTION);
    tokio::time::timeout(ASKING, bounded.read_to_end(&mut question))
        .await
        .map_err(io::Error::other)??;
    let text = match judge(forge, &question).await {
        Ok(text) => format!("yes\n{text}"),
        Err(text) => format!("no\n{text}"),
    };
    stream.write_all(text.as_bytes()).await?;
    stream.shutdown().await
}

/// What to show of a push that is let through, or of one that is not.
async fn judge(forge: &Forge, question: &[u8]) -> Result<String, String> {
    let refuse = |what: &str| {
        format!(
            "\nRefused: {what}\n  next: Push again; if it stays, tell an administrator of this instance.\n\n"
        )
    };
    if question.len() as u64 >= QUESTION {
        return Err(refuse("The push names too many references. Push them in parts."));
    }
    let mut lines = question.lines();
    let mut line = || lines.next().transpose().ok().flatten().unwrap_or_default();
    let (secret, quarantine) = (line(), line());
    let session = forge
        .pushes()
        .by_secret(&secret)
        .ok_or_else(|| refuse("The platform does not know this push."))?;
    let count: usize = line().parse().unwrap_or_default();
    let options: Vec<String> = (0..count.min(OPTIONS + 1)).map(|_| line()).collect();
    if count > OPTIONS || options.iter().any(|option| option.len() > OPTION) {
        return Err(format!(
            "\nRefused: The push has too many options, or too long ones.\n  why:  At most {OPTIONS} of {OPTION} bytes are read.\n  next: Push again with fewer `-o`.\n\n"
        ));
    }
    session.set_options(options);
    let mut updates = Vec::new();
    for line in lines {
        let update = line.ok().as_deref().and_then(Update::parse);
        updates.push(update.ok_or_else(|| refuse("A reference's name is not plain text (UTF-8)."))?);
    }
    let objects = forge.repositories().path(session.project.id).join("objects");
    let quarantine = match quarantine.as_str() {
        "" => None,
        path => Some(
            within(&objects, Path::new(path))
                .ok_or_else(|| refuse("The quarantine is not where it should be."))?,
        ),
    };
    forge.judge(&session, &updates, quarantine).await
}

/// A directory right under another, or nothing.
fn within(parent: &Path, path: &Path) -> Option<PathBuf> {
    let parent = parent.canonicalize().ok()?;
    let path = path.canonicalize().ok()?;
    (path.parent() == Some(parent.as_path())).then_some(path)
}

//! A task's output: kept in a file, up to a limit, and sent to the server piece by piece. The server says how much
//! it has, so nothing is sent twice or left out, whatever ends in between.

use crate::backoff::Backoff;
use bascule_client::{Client, Method, Retry};
use bascule_core::TaskId;
use bascule_wire::task::{OUTPUT_BYTES, OutputAt, PIECE_BYTES};
use std::{io, io::SeekFrom, path::PathBuf, time::Duration};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    sync::watch,
};

/// What stands at the end of an output that was longer than is kept.
const CUT: &[u8] = b"\n[what it wrote beyond this is not kept]\n";
/// Time for more to come before a piece is sent.
const TOGETHER: Duration = Duration::from_millis(100);
/// Time for one call.
const CALL: Duration = Duration::from_secs(20);

/// How far an output has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Written {
    pub(super) bytes: u64,
    /// Nothing more comes.
    pub(super) over: bool,
}

/// Copies what a task writes into the file until it writes no more. A full disk or too much output never holds up
/// the task: what does not fit is read and dropped.
pub(super) async fn keep(
    mut from: impl AsyncRead + Unpin,
    file: PathBuf,
    written: &watch::Sender<Written>,
) -> io::Result<()> {
    let mut to = File::create(&file).await;
    let room = OUTPUT_BYTES - CUT.len() as u64;
    let (mut buffer, mut bytes) = (vec![0_u8; 16 * 1024], 0_u64);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.map(drop);
        }
        let Ok(open) = &mut to else { continue };
        let left = usize::try_from(room.saturating_sub(bytes)).unwrap_or(usize::MAX);
        let kept = buffer.get(..read.min(left)).unwrap_or_default();
        let last = if left < read && bytes <= room {
            CUT
        } else {
            Default::default()
        };
        let wrote = async {
            open.write_all(kept).await?;
            open.write_all(last).await?;
            open.flush().await
        };
        match wrote.await {
            Ok(()) => {
                bytes += (kept.len() + last.len()) as u64;
                written.send_modify(|written| written.bytes = bytes);
            }
            Err(error) => to = Err(error),
        }
    }
}

/// Sends the file's bytes until all are with the server, or it wants no more.
pub(super) async fn send(
    client: &Client,
    task: TaskId,
    file: PathBuf,
    mut written: watch::Receiver<Written>,
) {
    let mut away = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    // The first call asks how much the server has.
    let mut at = None;
    loop {
        let now = *written.borrow_and_update();
        if let Some(at) = at
            && at >= now.bytes
        {
            if now.over || written.changed().await.is_err() {
                return;
            }
            tokio::time::sleep(TOGETHER).await;
            continue;
        }
        let piece = match at {
            None => Ok(Vec::new()),
            Some(at) => piece(&file, at).await,
        };
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                tracing::warn!(%task, %error, "the output of a task cannot be read");
                return;
            }
        };
        match leave(client, task, at.unwrap_or(0), piece).await {
            Ok(answer) if answer.open => {
                away.reset();
                at = Some(answer.offset);
            }
            Ok(_) => return,
            Err(problem) if matches!(problem.status, 400 | 403 | 404 | 409 | 413) => {
                tracing::debug!(%task, %problem, "the server wants no output of a task");
                return;
            }
            Err(_) => tokio::time::sleep(away.pause()).await,
        }
    }
}

async fn piece(file: &PathBuf, at: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(file).await?;
    file.seek(SeekFrom::Start(at)).await?;
    let mut piece = Vec::new();
    file.take(PIECE_BYTES as u64).read_to_end(&mut piece).await?;
    Ok(piece)
}

async fn leave(client: &Client, task: TaskId, at: u64, piece: Vec<u8>) -> bascule_core::Result<OutputAt> {
    client
        .request(Method::POST, &format!("/api/v1/agent/tasks/{task}/output"))
        .query("offset", &at.to_string())
        .bytes(piece)
        .repeatable()
        .retry(Retry::NONE)
        .timeout(CALL)
        .send()
        .await?
        .json()
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_beyond_the_limit_is_read_and_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let (written, _seen) = watch::channel(Written::default());
        let much = vec![b'x'; 6 * 1024 * 1024];
        keep(io::Cursor::new(much), file.clone(), &written).await.unwrap();
        let kept = std::fs::read(&file).unwrap();
        assert_eq!(kept.len() as u64, OUTPUT_BYTES);
        assert!(kept.ends_with(CUT));
        assert_eq!(written.borrow().bytes, OUTPUT_BYTES);
        keep(io::Cursor::new(b"little".to_vec()), file.clone(), &written)
            .await
            .unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"little");
    }
}

//! A container's log as podman keeps it (`k8s-file`), read while it is written: no process stands between.

use std::{
    io::{self, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _, DuplexStream},
    sync::watch,
};

/// Time between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// Follows a log until `over`, and what was written before; gives what the container wrote.
pub(super) fn follow(path: PathBuf, over: watch::Receiver<bool>) -> DuplexStream {
    let (reader, writer) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move {
        if let Err(error) = copy(&path, writer, over).await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            tracing::warn!(log = %path.display(), %error, "a container's log cannot be read");
        }
    });
    reader
}

async fn copy(path: &PathBuf, mut to: DuplexStream, mut over: watch::Receiver<bool>) -> io::Result<()> {
    let mut file = File::open(path).await?;
    let mut inode = file.metadata().await?.ino();
    let (mut line, mut buffer, mut at) = (Vec::new(), vec![0_u8; 16 * 1024], 0_u64);
    loop {
        // Looked at before reading, so that nothing written before the end is missed.
        let last = *over.borrow() || over.has_changed().is_err();
        loop {
            let read = file.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            at += read as u64;
            for byte in buffer.get(..read).unwrap_or_default() {
                line.push(*byte);
                if *byte == b'\n' {
                    to.write_all(content(&line)).await?;
                    line.clear();
                }
            }
        }
        if last {
            return Ok(());
        }
        // Podman begins the file anew when it grows too large.
        match tokio::fs::metadata(path).await {
            Ok(found) if found.ino() != inode => {
                file = File::open(path).await?;
                inode = file.metadata().await?.ino();
                at = 0;
            }
            Ok(found) if found.len() < at => {
                at = file.seek(SeekFrom::Start(0)).await?;
            }
            _ => {}
        }
        let _ = tokio::time::timeout(LOOK, over.changed()).await;
    }
}

/// What the container wrote of a line `TIME STREAM TAG CONTENT`; the tag `P` tells that the line goes on.
fn content(line: &[u8]) -> &[u8] {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (tag, content) = (parts.nth(2), parts.next());
    match (tag, content) {
        (Some(b"P"), Some(content)) => content.strip_suffix(b"\n").unwrap_or(content),
        (Some(_), Some(content)) => content,
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_is_read_to_its_end_over_a_new_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ctr.log");
        std::fs::write(
            &path,
            "2026-01-01T00:00:00Z stdout P hel\n2026-01-01T00:00:00Z stdout F lo world\n",
        )
        .unwrap();
        let (over, receiver) = watch::channel(false);
        let mut reader = follow(path.clone(), receiver);
        let mut first = vec![0; 12];
        reader.read_exact(&mut first).await.unwrap();
        assert_eq!(first, b"hello world\n");
        std::fs::write(folder.path().join("new"), "2026-01-01T00:00:01Z stderr F again\n").unwrap();
        std::fs::rename(folder.path().join("new"), &path).unwrap();
        let mut second = vec![0; 6];
        reader.read_exact(&mut second).await.unwrap();
        assert_eq!(second, b"again\n");
        over.send_replace(true);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "");
    }
}

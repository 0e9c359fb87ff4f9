//! What an instance writes: the last part of it, on disk and for messages.

use bascule_core::InstanceId;
use std::{
    collections::VecDeque,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    task::JoinHandle,
};

/// How much is kept, in bytes.
const KEPT: usize = 64 * 1024;
/// Longest line forwarded to the agent's own log, in bytes.
const LINE: usize = 4 * 1024;

/// The last output of an instance, over all its starts.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    instance: InstanceId,
    file: PathBuf,
    ring: Arc<Mutex<VecDeque<u8>>>,
}

impl Output {
    /// Output kept in `file` as well.
    pub(crate) fn new(instance: InstanceId, file: &Path) -> Self {
        Self {
            instance,
            file: file.to_owned(),
            ring: Arc::default(),
        }
    }

    /// Follows what a process writes until it writes no more.
    pub(crate) fn follow(&self, stream: impl AsyncRead + Send + Unpin + 'static) -> JoinHandle<()> {
        let output = self.clone();
        tokio::spawn(async move {
            if let Err(error) = output.copy(stream).await {
                tracing::warn!(instance = %output.instance, %error, "the output of an instance cannot be kept");
            }
        })
    }

    async fn copy(&self, mut stream: impl AsyncRead + Unpin) -> io::Result<()> {
        let mut disk = Disk::open(&self.file).await;
        let mut buffer = vec![0_u8; 16 * 1024];
        let mut line = Vec::new();
        loop {
            let read = match stream.read(&mut buffer).await {
                Ok(0) => break,
                Ok(read) => buffer.get(..read).unwrap_or_default(),
                Err(error) => return Err(error),
            };
            self.keep(read);
            self.forward(&mut line, read);
            // A full disk must not stop the product, which would hang on a pipe that nobody reads.
            if let Ok(open) = &mut disk
                && let Err(error) = open.append(read, self).await
            {
                tracing::warn!(instance = %self.instance, %error, "the output of an instance is not kept on disk any more");
                disk = Err(error);
            }
        }
        if !line.is_empty() {
            self.forward(&mut line, b"\n");
        }
        Ok(())
    }

    fn keep(&self, bytes: &[u8]) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = bytes.get(bytes.len().saturating_sub(KEPT)..).unwrap_or_default();
        let excess = (ring.len() + bytes.len()).saturating_sub(KEPT);
        ring.drain(..excess);
        ring.extend(bytes);
    }

    fn forward(&self, line: &mut Vec<u8>, bytes: &[u8]) {
        for byte in bytes {
            if *byte != b'\n' && line.len() < LINE {
                line.push(*byte);
                continue;
            }
            tracing::debug!(instance = %self.instance, output = %String::from_utf8_lossy(line));
            line.clear();
            if *byte != b'\n' {
                line.push(*byte);
            }
        }
    }

    fn bytes(&self) -> Vec<u8> {
        self.ring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .copied()
            .collect()
    }

    /// The last lines, up to `lines` and two kilobytes.
    pub(crate) fn tail(&self, lines: usize) -> String {
        let bytes = self.bytes();
        let text = String::from_utf8_lossy(bytes.get(bytes.len().saturating_sub(2048)..).unwrap_or_default());
        let all: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        all.get(all.len().saturating_sub(lines)..)
            .unwrap_or_default()
            .join("\n")
    }
}

/// The file, and how long it is.
struct Disk {
    file: tokio::fs::File,
    size: usize,
}

impl Disk {
    async fn open(path: &Path) -> io::Result<Self> {
        let file = tokio::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .await?;
        let size = usize::try_from(file.metadata().await?.len()).unwrap_or(usize::MAX);
        Ok(Self { file, size })
    }

    async fn append(&mut self, read: &[u8], output: &Output) -> io::Result<()> {
        self.size = self.size.saturating_add(read.len());
        if self.size <= 2 * KEPT {
            self.file.write_all(read).await?;
        } else {
            // Twice as much as is kept, so that the file is not written anew with each line.
            let kept = output.bytes();
            self.file.set_len(0).await?;
            self.file.write_all(&kept).await?;
            self.size = kept.len();
        }
        self.file.flush().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_last_part_is_kept_in_memory_and_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("output.log");
        let output = Output::new(InstanceId::new(), &file);
        let text: String = (0..50_000).map(|n| format!("line {n}\n")).collect();
        output
            .follow(io::Cursor::new(text.clone().into_bytes()))
            .await
            .unwrap();
        assert_eq!(output.tail(2), "line 49998\nline 49999");
        let on_disk = std::fs::read_to_string(&file).unwrap();
        assert!(on_disk.len() <= 2 * KEPT && on_disk.len() >= KEPT && text.ends_with(&on_disk));
    }
}

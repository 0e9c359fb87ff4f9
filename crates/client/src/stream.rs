//! Bodies that are read while they are written: logs and server-sent events.

use crate::request::unreachable;
use bascule_core::{Problem, Result};
use bytes::{Bytes, BytesMut};

/// Longest single line taken from a stream, in bytes.
const LINE_BYTES: usize = 4 * 1024 * 1024;

/// A body in pieces, as they come.
#[derive(Debug)]
pub struct Chunks {
    inner: reqwest::Response,
}

impl Chunks {
    pub(crate) fn new(inner: reqwest::Response) -> Self {
        Self { inner }
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// `unreachable` if the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        self.inner
            .chunk()
            .await
            .map_err(|e| unreachable(self.inner.url(), &e))
    }
}

/// A body line by line.
#[derive(Debug)]
pub struct Lines {
    chunks: Chunks,
    pending: BytesMut,
    /// How far `pending` was searched, so that long lines are not searched again and again.
    searched: usize,
    ended: bool,
}

impl Lines {
    pub(crate) fn new(chunks: Chunks) -> Self {
        Self {
            chunks,
            pending: BytesMut::new(),
            searched: 0,
            ended: false,
        }
    }

    /// The next line without its end; `None` after the last. Bytes that are no UTF-8 are replaced.
    ///
    /// # Errors
    /// `unreachable` if the connection breaks, `too_large` for a line beyond all measure.
    pub async fn next(&mut self) -> Result<Option<String>> {
        loop {
            if let Some(at) = self.pending.iter().skip(self.searched).position(|b| *b == b'\n') {
                let line = self.pending.split_to(self.searched + at + 1);
                self.searched = 0;
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                return Ok(Some(String::from_utf8_lossy(line).into_owned()));
            }
            self.searched = self.pending.len();
            if self.searched > LINE_BYTES {
                return Err(Problem::too_large(format!(
                    "A line is longer than {LINE_BYTES} bytes."
                )));
            }
            if self.ended {
                let rest = self.pending.split();
                self.searched = 0;
                return Ok((!rest.is_empty()).then(|| String::from_utf8_lossy(&rest).into_owned()));
            }
            match self.chunks.next().await? {
                Some(chunk) => self.pending.extend_from_slice(&chunk),
                None => self.ended = true,
            }
        }
    }
}

/// One server-sent event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its kind; `message` if none was named.
    pub kind: String,
    /// Its identifier, to go on from after a break (`Last-Event-ID`).
    pub id: String,
    /// Its data, lines joined.
    pub data: String,
}

/// A body as server-sent events.
#[derive(Debug)]
pub struct Events {
    lines: Lines,
    last_id: String,
}

impl Events {
    pub(crate) fn new(lines: Lines) -> Self {
        Self {
            lines,
            last_id: String::new(),
        }
    }

    /// The next event; `None` at the end.
    ///
    /// # Errors
    /// `unreachable` if the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        let mut kind = String::new();
        let mut data: Option<String> = None;
        while let Some(line) = self.lines.next().await? {
            if line.is_empty() {
                let Some(data) = data.take() else {
                    kind.clear();
                    continue;
                };
                let kind = if kind.is_empty() {
                    "message".to_owned()
                } else {
                    kind
                };
                return Ok(Some(Event {
                    kind,
                    id: self.last_id.clone(),
                    data,
                }));
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut kind),
                "id" => value.clone_into(&mut self.last_id),
                "data" => match &mut data {
                    Some(data) if data.len() + value.len() <= LINE_BYTES => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    Some(_) => return Err(Problem::too_large("An event is beyond all measure.")),
                    None => data = Some(value.to_owned()),
                },
                // Comments (an empty field name) keep the connection alive; other fields are for browsers.
                _ => {}
            }
        }
        // The specification drops an event that was cut off.
        Ok(None)
    }
}

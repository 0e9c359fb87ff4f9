//! A job's log: masked, bounded, kept whole until the server has it.

use crate::mask::Masker;
use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Room beyond the limit for the runner's own last words.
const RESERVE: usize = 64 * 1024;

/// A job's log, shared by those who write it and the one who sends it.
#[derive(Clone, Debug)]
pub(crate) struct Trace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    masker: Masker,
    limit: usize,
    cut: bool,
}

impl Trace {
    pub(crate) fn new(masker: Masker, limit: usize) -> Self {
        let state = State {
            bytes: Vec::new(),
            masker,
            limit,
            cut: false,
        };
        Self(Arc::new(Inner {
            state: Mutex::new(state),
            changed: Notify::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what the job wrote.
    pub(crate) fn write(&self, data: &[u8]) {
        let mut state = self.state();
        if state.cut {
            return;
        }
        let mut clear = Vec::with_capacity(data.len());
        state.masker.push(data, &mut clear);
        let room = state.limit.saturating_sub(state.bytes.len());
        let over = clear.len() > room;
        clear.truncate(room);
        state.bytes.extend_from_slice(&clear);
        if over {
            state.cut = true;
            let limit = state.limit;
            let note = format!(
                "\n\x1b[31;1mThe log reached its limit of {limit} bytes. The job goes on; further output is not kept.\x1b[0;m\n"
            );
            state.bytes.extend_from_slice(note.as_bytes());
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// Adds a line of the runner's own, on a line of its own.
    pub(crate) fn line(&self, text: &str) {
        let mut state = self.state();
        let mut clear = Vec::new();
        if !state.cut {
            state.masker.flush(&mut clear);
        }
        if clear
            .last()
            .or(state.bytes.last())
            .is_some_and(|b| !matches!(b, b'\n' | b'\r'))
        {
            clear.push(b'\n');
        }
        state.masker.push(text.as_bytes(), &mut clear);
        state.masker.flush(&mut clear);
        clear.push(b'\n');
        if state.bytes.len() + clear.len() <= state.limit.saturating_add(RESERVE) {
            state.bytes.extend_from_slice(&clear);
        }
        drop(state);
        self.0.changed.notify_one();
    }

    /// A warning in yellow.
    pub(crate) fn warn(&self, text: &str) {
        self.line(&format!("\x1b[0;33mWARNING: {text}\x1b[0;m"));
    }

    /// An error in red.
    pub(crate) fn error(&self, text: &str) {
        self.line(&format!("\x1b[31;1mERROR: {text}\x1b[0;m"));
    }

    /// Gives out what was held back as a possible secret; the job writes no more.
    pub(crate) fn end(&self) {
        let mut state = self.state();
        let mut clear = Vec::new();
        state.masker.flush(&mut clear);
        if !state.cut {
            state.bytes.extend_from_slice(&clear);
        }
        drop(state);
        self.0.changed.notify_one();
    }

    pub(crate) fn len(&self) -> u64 {
        self.state().bytes.len() as u64
    }

    /// At most `most` bytes from `from` on.
    pub(crate) fn slice(&self, from: u64, most: usize) -> Bytes {
        let state = self.state();
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(state.bytes.len());
        let to = from.saturating_add(most).min(state.bytes.len());
        Bytes::copy_from_slice(state.bytes.get(from..to).unwrap_or_default())
    }

    /// CRC-32 and length of the whole log.
    pub(crate) fn checksum(&self) -> (u32, u64) {
        let state = self.state();
        (crc32fast::hash(&state.bytes), state.bytes.len() as u64)
    }

    /// Waits until something was added since the last wait.
    pub(crate) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(trace: &Trace) -> String {
        String::from_utf8_lossy(&trace.slice(0, usize::MAX)).into_owned()
    }

    #[test]
    fn secrets_in_pieces_and_own_lines_between() {
        let trace = Trace::new(Masker::new(["hunter22"], &[]), 1000);
        trace.write(b"pw hunt");
        trace.write(b"er22\nhun");
        trace.line("own hunter22");
        assert_eq!(text(&trace), "pw [MASKED]\nhun\nown [MASKED]\n");
    }

    #[test]
    fn the_limit_is_told_once_and_last_words_fit() {
        let trace = Trace::new(Masker::new([], &[]), 10);
        trace.write(b"0123456789abc");
        trace.write(b"more");
        trace.line("last words");
        let text = text(&trace);
        assert!(text.starts_with("0123456789\n") && text.contains("limit of 10 bytes"));
        assert!(text.ends_with("\nlast words\n") && !text.contains("more\n"));
        assert_eq!(trace.len(), trace.checksum().1);
    }
}

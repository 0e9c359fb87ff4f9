//! A client's socket that closes politely. Closing while bytes lie unread sends a reset, which can overtake
//! the last answer: a client that sends too large a head would see a broken connection and never the 431.

use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    net::TcpStream,
    time::{Sleep, sleep},
};

/// How long unread bytes are waited for and thrown away.
const MOST: Duration = Duration::from_millis(500);
/// Most bytes thrown away.
const MOST_BYTES: usize = 1024 * 1024;

/// The socket.
#[derive(Debug)]
pub(crate) struct Lingering {
    stream: TokioIo<TcpStream>,
    closing: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Lingering {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream: TokioIo::new(stream),
            closing: None,
        }
    }
}

impl Read for Lingering {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl Write for Lingering {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.closing.is_none() {
            match Pin::new(&mut this.stream).poll_shutdown(context) {
                Poll::Ready(Ok(())) => this.closing = Some((Box::pin(sleep(MOST)), 0)),
                other => return other,
            }
        }
        let Some((timer, thrown)) = &mut this.closing else {
            return Poll::Ready(Ok(()));
        };
        let mut bytes = [MaybeUninit::uninit(); 8 * 1024];
        while *thrown < MOST_BYTES && timer.as_mut().poll(context).is_pending() {
            let mut buffer = ReadBuf::uninit(&mut bytes);
            match Pin::new(&mut this.stream).poll_read(context, buffer.unfilled()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => *thrown += buffer.filled().len(),
                // The other side has closed too: nothing is lost any more.
                Poll::Ready(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}

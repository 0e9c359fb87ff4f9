//! Taking connections, within limits.

use super::{ATTEMPTS, CONNECTIONS, KEEPALIVE, LOGIN, PER_ADDRESS, connection::Connection};
use crate::{Forge, ports::Keys};
use russh::{MethodKind, MethodSet, SshId, server};
use std::{borrow::Cow, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

/// How long commands may take to finish when the server stops.
const DRAIN: Duration = Duration::from_secs(8);
/// How long a client has, at most, to hear why it is cut off.
const FAREWELL: Duration = Duration::from_millis(500);

impl Forge {
    /// Serves git over SSH until `stop`.
    pub async fn serve_ssh(&self, listener: TcpListener, keys: Arc<dyn Keys>, stop: CancellationToken) {
        let Some(host_key) = self.host_key() else {
            tracing::error!("git over SSH has no host key and is not served");
            return;
        };
        let config = Arc::new(server::Config {
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Bascule")),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            // Which keys are known is no secret worth a second of everybody's time: whoever holds a public
            // key could as well ask the person.
            auth_rejection_time: Duration::from_millis(20),
            auth_rejection_time_initial: Some(Duration::ZERO),
            max_auth_attempts: ATTEMPTS,
            keys: vec![host_key.private()],
            keepalive_interval: Some(KEEPALIVE),
            inactivity_timeout: None,
            nodelay: true,
            // Packets that may wait for git; then the client is made to.
            channel_buffer_size: 32,
            ..server::Config::default()
        });
        let live = self.live_connections().clone();
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let watching = live.watch(keys.as_ref(), self.ledger().watch(), stop.clone());
        let all = CancellationToken::new();
        let taking = async {
            loop {
                let taken = tokio::select! {
                    () = stop.cancelled() => break,
                    taken = listener.accept() => taken,
                };
                let (stream, peer) = match taken {
                    Ok(taken) => taken,
                    Err(error) => {
                        tracing::warn!(%error, "an SSH connection could not be taken");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                };
                let address = live.from_address(peer.ip(), PER_ADDRESS);
                let (Some(address), Ok(place)) = (address, places.clone().try_acquire_owned()) else {
                    tracing::warn!(%peer, "too many SSH connections; one more was refused");
                    continue;
                };
                let ended = all.child_token();
                let connection = Connection::new(self.clone(), keys.clone(), live.clone(), ended.clone());
                let config = config.clone();
                tokio::spawn(async move {
                    let _held = (address, place);
                    if let Err(error) = talk(config, stream, peer, connection, ended).await {
                        tracing::debug!(%peer, %error, "an SSH connection ended");
                    }
                });
            }
            // Nobody new; those on their way may finish.
            drop(tokio::time::timeout(DRAIN, live.wait_idle()).await);
            all.cancel();
        };
        tokio::join!(watching, taking);
    }
}

/// One connection, from its beginning to its end.
async fn talk(
    config: Arc<server::Config>,
    stream: TcpStream,
    peer: SocketAddr,
    connection: Connection,
    ended: CancellationToken,
) -> io::Result<()> {
    // A second handle on the socket: shutting it down ends the session's own task, whatever it waits for.
    let stream = stream.into_std()?;
    let twin = stream.try_clone()?;
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let (signed_in, busy) = (connection.signed_in(), connection.busy());
    let login = tokio::time::sleep(LOGIN);
    tokio::pin!(login);
    let begun = tokio::select! {
        begun = server::run_stream(config, stream, connection) => begun,
        () = &mut login => return Ok(()),
        () = ended.cancelled() => return Ok(()),
    };
    let mut session = begun.map_err(io::Error::other)?;
    let outcome = tokio::select! {
        outcome = &mut session => outcome.map_err(io::Error::other),
        () = &mut login, if !signed_in.is_cancelled() => Ok(()),
        () = signed_in.cancelled() => tokio::select! {
            biased;
            outcome = &mut session => outcome.map_err(io::Error::other),
            () = ended.cancelled() => {
                tracing::debug!(%peer, "an SSH connection is cut off");
                drop(tokio::time::timeout(FAREWELL, last_words(&busy)).await);
                Ok(())
            }
        },
        () = ended.cancelled() => Ok(()),
    };
    ended.cancel();
    drop(twin.shutdown(std::net::Shutdown::Both));
    outcome
}

/// Waits until all commands of a connection have said why they end, and a little for the way to the client.
async fn last_words(busy: &Arc<()>) {
    // The handler and this task hold one each.
    while Arc::strong_count(busy) > 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}

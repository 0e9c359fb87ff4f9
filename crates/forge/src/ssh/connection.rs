//! One connection: who it is, and which commands it runs.

use super::{
    CHANNELS, command,
    live::{Entry, Live},
    serve::{self, Client},
};
use crate::{Forge, ports::Keys};
use bascule_core::{Caller, Problem};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Pty,
    keys::{Algorithm, HashAlg, PublicKey},
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use std::{collections::HashMap, sync::Arc};
use tokio_util::sync::CancellationToken;

/// The state of one connection.
pub(super) struct Connection {
    forge: Forge,
    keys: Arc<dyn Keys>,
    live: Arc<Live>,
    /// Cancelled when the connection is to end, or has.
    ended: CancellationToken,
    signed_in: CancellationToken,
    caller: Option<(Caller, Entry)>,
    /// Held by each command that runs.
    busy: Arc<()>,
    /// Opened, and not yet asked for anything.
    waiting: HashMap<ChannelId, (Channel<Msg>, Option<String>)>,
    /// Cancelled when the client closes the channel.
    running: HashMap<ChannelId, CancellationToken>,
}

impl Connection {
    pub(super) fn new(forge: Forge, keys: Arc<dyn Keys>, live: Arc<Live>, ended: CancellationToken) -> Self {
        Self {
            forge,
            keys,
            live,
            ended,
            signed_in: CancellationToken::new(),
            caller: None,
            busy: Arc::default(),
            waiting: HashMap::new(),
            running: HashMap::new(),
        }
    }

    /// Cancelled once it is known who it is.
    pub(super) fn signed_in(&self) -> CancellationToken {
        self.signed_in.clone()
    }

    /// Held by this, the holder, and each command that runs.
    pub(super) fn busy(&self) -> Arc<()> {
        self.busy.clone()
    }

    /// Takes a channel that waits, as a client to be served.
    fn take(&mut self, id: ChannelId) -> Option<(Client, Option<String>, Caller)> {
        let (channel, protocol) = self.waiting.remove(&id)?;
        let caller = self.caller.as_ref()?.0.clone();
        let closed = self.ended.child_token();
        self.running.retain(|_, token| !token.is_cancelled());
        self.running.insert(id, closed.clone());
        Some((Client::new(channel, closed, self.busy.clone()), protocol, caller))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

fn fingerprint(key: &PublicKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether a signature is by an algorithm that still proves something: RSA with SHA-1 does not.
fn is_sound(algorithm: &Algorithm) -> bool {
    !matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa)
}

impl Handler for Connection {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        _: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        if !is_sound(offer.algorithm) {
            return Ok(Auth::reject());
        }
        let key = fingerprint(offer.public_key);
        let known = self.keys.alive(std::slice::from_ref(&key)).await;
        Ok(match known {
            Ok(known) if known.contains(&key) => Auth::Accept,
            Ok(_) => Auth::reject(),
            Err(problem) => {
                tracing::error!(%problem, "a key could not be looked up");
                Auth::reject()
            }
        })
    }

    /// Any user name will do: people are found by their key.
    async fn auth_publickey(&mut self, _: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        if !is_sound(key.algorithm) {
            return Ok(Auth::reject());
        }
        let key = fingerprint(key.public_key);
        match self.keys.holder(&key).await {
            Ok(caller) => {
                let entry = self.live.signed_in(key, self.ended.clone());
                self.caller = Some((caller, entry));
                self.signed_in.cancel();
                Ok(Auth::Accept)
            }
            Err(problem) => {
                if problem.is_server_fault() {
                    tracing::error!(%problem, "a key's holder could not be looked up");
                }
                Ok(Auth::reject())
            }
        }
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        self.running.retain(|_, token| !token.is_cancelled());
        if self.waiting.len() + self.running.len() >= CHANNELS {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
        } else {
            self.waiting.insert(channel.id(), (channel, None));
            reply.accept().await;
        }
        Ok(())
    }

    /// git's wish for a version of its protocol; nothing else of the client's environment is taken.
    async fn env_request(
        &mut self,
        id: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if name == "GIT_PROTOCOL"
            && let Some(wish) = crate::git::http::plain_protocol(value)
            && let Some((_, protocol)) = self.waiting.get_mut(&id)
        {
            *protocol = Some(wish);
            return session.channel_success(id);
        }
        session.channel_failure(id)
    }

    async fn pty_request(
        &mut self,
        id: ChannelId,
        _: &str,
        _: u32,
        _: u32,
        _: u32,
        _: u32,
        _: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn x11_request(
        &mut self,
        id: ChannelId,
        _: bool,
        _: &str,
        _: &str,
        _: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    async fn agent_request(&mut self, id: ChannelId, session: &mut Session) -> Result<bool, Self::Error> {
        session.channel_failure(id)?;
        Ok(false)
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        _: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(id)
    }

    /// `ssh -T git@host`: says who you are, so that a key can be tried out.
    async fn shell_request(&mut self, id: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        let Some((client, _, caller)) = self.take(id) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        tokio::spawn(serve::greet(client, caller));
        Ok(())
    }

    async fn exec_request(
        &mut self,
        id: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let Some((client, protocol, caller)) = self.take(id) else {
            return session.channel_failure(id);
        };
        session.channel_success(id)?;
        match command::parse(command) {
            Ok(asked) => {
                let (forge, keys, live) = (self.forge.clone(), self.keys.clone(), self.live.clone());
                let ended = self.ended.clone();
                tokio::spawn(async move {
                    serve::command(
                        &forge,
                        keys.as_ref(),
                        &live,
                        client,
                        &caller,
                        &asked,
                        protocol,
                        ended,
                    )
                    .await;
                });
            }
            Err(problem) => {
                tokio::spawn(refuse(client, problem));
            }
        }
        Ok(())
    }

    async fn channel_close(&mut self, id: ChannelId, _: &mut Session) -> Result<(), Self::Error> {
        self.waiting.remove(&id);
        if let Some(closed) = self.running.remove(&id) {
            closed.cancel();
        }
        Ok(())
    }
}

async fn refuse(client: Client, problem: Problem) {
    client.refuse(&problem).await;
}

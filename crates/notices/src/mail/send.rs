//! Sending.

use super::{Mail, Security, Settings, TRIED_FOR, compose, store};
use crate::{
    Notices,
    ports::{Person, Target},
};
use bascule_core::{Caller, CommentId, Problem, Result, Timestamp};
use bascule_store::Lease;
use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{
        authentication::Credentials,
        client::{Certificate, Tls, TlsParameters},
        extension::ClientId,
    },
};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// How long one step of the exchange may take.
const WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_secs(15);
const LEASE: Duration = Duration::from_secs(45);
/// Mails sent before the lease is looked at again.
const BATCH: i64 = 20;
/// The first pause after a failure; each further one is twice as long, up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LAST_PAUSE: Duration = Duration::from_secs(4 * 3600);

/// What came of a try.
enum Outcome {
    Sent,
    /// Nobody is to get it any more: the account is closed, has no address, or may not read it.
    Dropped(&'static str),
    /// The server wants none of this mail.
    Refused(String),
    /// It is worth another try. Whether the server was reached at all.
    Failed(String, bool),
}

fn pause(tries: i64) -> Duration {
    let doubled = u32::try_from(tries.clamp(0, 16)).unwrap_or(16);
    (FIRST_PAUSE * 2_u32.pow(doubled)).min(LAST_PAUSE)
}

/// A way to the mail server.
pub(super) fn transport(settings: &Settings, url: &str) -> Result<Transport, String> {
    let told = |error: lettre::transport::smtp::Error| error.to_string();
    let tls = || {
        let mut builder = TlsParameters::builder(settings.host.clone());
        if !settings.ca.is_empty() {
            builder = builder.add_root_certificate(Certificate::from_pem(&settings.ca).map_err(told)?);
        }
        builder.build_rustls().map_err(told)
    };
    let mut builder = Transport::builder_dangerous(&settings.host)
        .port(settings.port)
        .timeout(Some(WITHIN))
        .hello_name(ClientId::Domain(compose::host(url)))
        .tls(match settings.security {
            Security::Tls => Tls::Wrapper(tls()?),
            Security::StartTls => Tls::Required(tls()?),
            Security::None => Tls::None,
        });
    if !settings.user.is_empty() {
        builder = builder.credentials(Credentials::new(settings.user.clone(), settings.password.clone()));
    }
    Ok(builder.build())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_told = next.to_string();
        if !told.contains(&next_told) {
            told = format!("{told}: {next_told}");
        }
        cause = next.source();
    }
    told.chars().filter(|c| *c != '\0').take(500).collect()
}

async fn hand_over(transport: &Transport, message: Message) -> Outcome {
    match transport.send(message).await {
        Ok(_) => Outcome::Sent,
        Err(error) if error.is_permanent() => Outcome::Refused(chain(&error)),
        Err(error) => Outcome::Failed(chain(&error), error.is_transient()),
    }
}

impl Notices {
    /// Sends until `stop`.
    pub(crate) async fn run_mail(self, stop: CancellationToken) {
        let Some(settings) = self.config().mail.clone() else {
            return;
        };
        let transport = match transport(&settings, &self.config().url) {
            Ok(transport) => transport,
            Err(error) => {
                tracing::error!(%error, "no mail can be sent");
                return;
            }
        };
        let inner = &self.0;
        let lease = Lease::new(
            inner.db.clone(),
            inner.clock.clone(),
            "notices.mail",
            inner.holder.clone(),
            LEASE,
        );
        let mut held: Option<Instant> = None;
        while !stop.is_cancelled() {
            let looked = tokio::select! {
                () = stop.cancelled() => break,
                looked = self.look_at_mail(&lease, &mut held, &settings, &transport) => looked,
            };
            let wait = match looked {
                Ok(wait) => wait,
                Err(problem) => {
                    tracing::warn!(%problem, "mails could not be looked at");
                    LOOK_EVERY
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.0.mails.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if held.is_some() {
            drop(lease.release().await);
        }
    }

    /// Takes the lease where something is due, and sends; says when to look again.
    async fn look_at_mail(
        &self,
        lease: &Lease,
        held: &mut Option<Instant>,
        settings: &Settings,
        transport: &Transport,
    ) -> Result<Duration> {
        let due = store::next_due(self.db()).await?;
        if due.is_none_or(|at| at > self.now()) {
            return Ok(due.map_or(LOOK_EVERY, |at| at.since(self.now()).min(LOOK_EVERY)));
        }
        if held.is_none_or(|at| at.elapsed() > LEASE / 4) {
            *held = lease.hold().await?.then(Instant::now);
        }
        match held {
            Some(_) => self.send_due(settings, transport).await,
            None => Ok(LOOK_EVERY),
        }
    }

    /// Sends some of what is due; says when to look again.
    async fn send_due(&self, settings: &Settings, transport: &Transport) -> Result<Duration> {
        for mail in store::due(self.db(), self.now(), BATCH).await? {
            let outcome = self.send(settings, transport, &mail).await?;
            let reached = !matches!(outcome, Outcome::Failed(_, false));
            self.note_mail(mail, outcome).await?;
            if !reached {
                // All others wait too.
                break;
            }
        }
        let next = store::next_due(self.db()).await?;
        Ok(next.map_or(LOOK_EVERY, |at| at.since(self.now()).min(LOOK_EVERY)))
    }

    /// Sends what is due, then returns.
    #[cfg(test)]
    pub(crate) async fn mail_due(&self) {
        let settings = self.config().mail.clone().unwrap();
        let transport = transport(&settings, &self.config().url).unwrap();
        self.send_due(&settings, &transport).await.unwrap();
    }

    async fn send(&self, settings: &Settings, transport: &Transport, mail: &Mail) -> Result<Outcome> {
        let Some(person) = self.people().person(mail.user_id).await? else {
            return Ok(Outcome::Dropped("the account is closed"));
        };
        if person.email.is_empty() {
            return Ok(Outcome::Dropped("the account has no address"));
        }
        let Some(target) = Target::parse(&mail.target, &mail.target_id) else {
            return Ok(Outcome::Dropped("what it is about cannot be read"));
        };
        // Asked again: rights may have been taken away since.
        let Some(seen) = self.matters().seen(&person.caller, &[target]).await?.pop() else {
            return Ok(Outcome::Dropped("they may not read it any more, or it is gone"));
        };
        let text = self.said(mail, target).await?;
        let message = compose::compose(&compose::Parts {
            url: &self.config().url,
            settings,
            mail,
            to: &person,
            seen: &seen,
            text: &text,
        });
        Ok(match message {
            Ok(message) => hand_over(transport, message).await,
            Err(error) => Outcome::Refused(error),
        })
    }

    /// What was said, as it stands now.
    async fn said(&self, mail: &Mail, target: Target) -> Result<String> {
        let comment = mail.anchor.strip_prefix("comment-");
        let opened = mail.kind.ends_with(".opened");
        let text = match (target, comment) {
            (Target::Issue(id), Some(number)) => match number.parse() {
                Ok(number) => self.matters().issue_comment(id, number).await?,
                Err(_) => None,
            },
            (Target::Request(id), Some(comment)) => match comment.parse::<CommentId>() {
                Ok(comment) => self.matters().request_comment(id, comment).await?,
                Err(_) => None,
            },
            (Target::Issue(id), None) if opened => {
                self.matters().issue(id).await?.map(|issue| issue.description)
            }
            (Target::Request(id), None) if opened => self
                .matters()
                .request(id)
                .await?
                .map(|request| request.description),
            _ => None,
        };
        Ok(text.unwrap_or_default())
    }

    async fn note_mail(&self, mut mail: Mail, outcome: Outcome) -> Result<()> {
        let now = self.now();
        mail.tried_at = Some(now);
        let mut hold: Option<Timestamp> = None;
        match outcome {
            Outcome::Sent => {
                "sent".clone_into(&mut mail.state);
                mail.error.clear();
            }
            Outcome::Dropped(why) => {
                "dropped".clone_into(&mut mail.state);
                why.clone_into(&mut mail.error);
            }
            Outcome::Refused(why) => {
                tracing::warn!(mail = %mail.id, error = %why, "a mail was refused");
                "failed".clone_into(&mut mail.state);
                mail.error = why;
            }
            Outcome::Failed(why, reached) => {
                mail.due_at = now.plus(pause(mail.tries));
                if now.since(mail.at) >= TRIED_FOR {
                    tracing::warn!(mail = %mail.id, error = %why, "a mail was given up");
                    "failed".clone_into(&mut mail.state);
                }
                mail.error = why;
                hold = (!reached).then_some(mail.due_at);
            }
        }
        mail.tries += 1;
        let tx = self.db().begin().await?;
        store::tried(&tx, &mail).await?;
        if let Some(until) = hold {
            store::hold(&tx, until).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Sends a mail to the one who asks, and says what came of it.
    ///
    /// # Errors
    /// No mail is set up, the caller has no address, or the server did not take it.
    pub async fn test_mail(&self, caller: &Caller) -> Result<String> {
        let settings = self.config().mail.as_ref().ok_or_else(no_mail)?;
        let person: Option<Person> = match caller.user {
            Some(user) => self.people().person(user).await?,
            None => None,
        };
        let person = person.ok_or_else(|| Problem::not_found("account"))?;
        let message = compose::test(&self.config().url, settings, &person)?;
        let failed = |error: String| {
            Problem::new(
                502,
                "mail_failed",
                format!("The mail server did not take the test: {error}."),
            )
            .next("Check `mail_host` and the other settings of mail.")
        };
        let transport = transport(settings, &self.config().url).map_err(failed)?;
        match hand_over(&transport, message).await {
            Outcome::Sent => Ok(person.email),
            Outcome::Refused(error) | Outcome::Failed(error, _) => Err(failed(error)),
            Outcome::Dropped(why) => Err(failed(why.to_owned())),
        }
    }
}

fn no_mail() -> Problem {
    Problem::conflict("no_mail", "This instance sends no mail.")
        .why("No mail server is set up.")
        .next("Set `mail_host` and `mail_from`; see the book, chapter Notices.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_hours() {
        assert_eq!(pause(0), FIRST_PAUSE);
        assert_eq!(pause(3), FIRST_PAUSE * 8);
        assert_eq!(pause(12), LAST_PAUSE);
        assert_eq!(pause(i64::MAX), LAST_PAUSE);
    }
}

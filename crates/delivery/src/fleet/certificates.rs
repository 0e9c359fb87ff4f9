//! Certificates of agents and edges: issued with enrolment, renewed by their holder, looked at with each call. A
//! token of a member that has a certificate counts with that certificate alone.

use super::{Agent, Edge, api::bearer, certificate_store as store};
use crate::Delivery;
use axum::extract::FromRequestParts;
use bascule_core::{Actor, ActorKind, Problem, Result};
use bascule_ledger::facts::delivery::AgentCertified;
use bascule_store::Tx;
use bascule_web::{AgentsDoor, Failure};
use bascule_wire::fleet::{Certified, MemberKind, Myself, Renew};
use http::request::Parts;

/// The call of an agent or edge: its token, and the door that it came by.
pub(crate) struct Call {
    pub(crate) token: String,
    pub(crate) door: Option<AgentsDoor>,
}

impl<S: Send + Sync> FromRequestParts<S> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Ok(Self {
            token: bearer(&parts.headers)?.to_owned(),
            door: parts.extensions.get::<AgentsDoor>().cloned(),
        })
    }
}

impl Delivery {
    /// The agent that calls.
    pub(crate) async fn agent_calling(&self, call: &Call) -> Result<Agent> {
        let agent = self.agent_of(&call.token).await?;
        self.admit(call, MemberKind::Agent, &agent.id.to_string()).await?;
        Ok(agent)
    }

    /// The edge that calls.
    pub(crate) async fn edge_calling(&self, call: &Call) -> Result<Edge> {
        let edge = self.edge_of(&call.token).await?;
        self.admit(call, MemberKind::Edge, &edge.name).await?;
        Ok(edge)
    }

    /// Whether a call with a member's token came as it must.
    async fn admit(&self, call: &Call, kind: MemberKind, member: &str) -> Result<()> {
        let Some(door) = &call.door else {
            if store::count(&self.db, kind, member).await? == 0 {
                return Ok(());
            }
            let url = self.door.as_ref().map_or("", |door| door.url.as_str());
            return Err(Problem::new(
                403,
                "certificate_needed",
                format!("This token counts only together with its {kind}'s certificate."),
            )
            .why("It was enrolled at the agents' own address; a token that was read elsewhere is of no use.")
            .next(format!("Let the {kind} call {url}, or enrol it anew.")));
        };
        let anew = format!("Enrol the {kind} anew: `bascule {kind}s create NAME` makes a code.");
        let Some(fingerprint) = &door.certificate else {
            return Err(Problem::new(
                401,
                "certificate_missing",
                format!("The {kind} showed no certificate."),
            )
            .why("At this address a token counts only together with the certificate of its holder.")
            .next(anew));
        };
        let void =
            |what: &str, why: &str| Err(Problem::new(403, "certificate_void", what).why(why).next(&anew));
        let Some(row) = store::get(&self.db, fingerprint).await? else {
            return void(
                "The certificate is void.",
                "A newer one is in use, or its holder was removed or enrolled anew.",
            );
        };
        if row.kind != kind.as_str() || row.member != member {
            return Err(Problem::new(
                403,
                "certificate_of_other",
                "The certificate is another's than the token.",
            )
            .why("A token counts only together with the certificate of its holder.")
            .next(anew));
        }
        if row.expires_at <= self.now() {
            return void("The certificate is too old.", "It was not renewed in time.");
        }
        if !row.seen {
            let tx = self.db.begin().await?;
            store::follow(&tx, fingerprint, &row).await?;
            tx.commit().await?;
        }
        Ok(())
    }

    /// Issues a certificate to a member: its kind, identifier and name.
    pub(super) async fn certify(
        &self,
        tx: &Tx,
        (kind, member, name): (MemberKind, &str, &str),
        csr: &str,
        renewed: bool,
    ) -> Result<Certified> {
        let Some(door) = &self.door else {
            return Err(
                Problem::conflict("no_authority", "This server issues no certificates.")
                    .why("Its setting `agent_listen` is not set, so agents have no address of their own.")
                    .next("Set it, or enrol with the token alone."),
            );
        };
        let now = self.now();
        let issued = door.authority.for_member(csr, kind, member, now)?;
        store::insert(tx, &issued.fingerprint, (kind, member), (now, issued.expires_at)).await?;
        let actor = match kind {
            MemberKind::Agent => ActorKind::Agent,
            MemberKind::Edge => ActorKind::Edge,
        };
        let fact = AgentCertified {
            name: name.to_owned(),
            kind: kind.to_string(),
            fingerprint: issued.fingerprint,
            expires_at: issued.expires_at,
            renewed,
        };
        self.ledger
            .append(tx, &Actor::new(actor, member, name), &fact)
            .await?;
        Ok(Certified {
            certificate: issued.pem,
            authority: door.authority.pem().to_owned(),
            life_seconds: door.authority.life().as_secs(),
        })
    }

    /// The certificate that follows the one that the call came with. That one stays good until the new one is
    /// shown, so that an answer that is lost locks nobody out.
    pub(crate) async fn renew_certificate(&self, call: &Call, asked: &Renew) -> Result<Certified> {
        let (member, name) = match asked.kind {
            MemberKind::Agent => {
                let agent = self.agent_calling(call).await?;
                (agent.id.to_string(), agent.name)
            }
            MemberKind::Edge => {
                let edge = self.edge_calling(call).await?;
                (edge.name.clone(), edge.name)
            }
        };
        if call.door.is_none() {
            return Err(
                Problem::conflict("no_certificate", "There is no certificate to renew.")
                    .why("The call came without one.")
                    .next("Enrol anew at the agents' own address."),
            );
        }
        let tx = self.db.begin().await?;
        let certified = self
            .certify(&tx, (asked.kind, &member, &name), &asked.csr, true)
            .await?;
        tx.commit().await?;
        Ok(certified)
    }

    /// Who an agent's call is of.
    pub(crate) async fn who_calls(&self, call: &Call) -> Result<Myself> {
        let agent = self.agent_calling(call).await?;
        Ok(Myself {
            name: agent.name,
            id: agent.id.to_string(),
            certified: call.door.is_some(),
        })
    }
}

//! Enrolment with a one-time code, the list of all agents and edges, and their removal.

use super::{
    CODE_LIFE, Channel, EDGE_SILENCE,
    agents::{new_token, token_hash},
    certificate_store as certificates, enrol_store as codes, store,
};
use crate::{Delivery, deployment::instances};
use bascule_core::{Actor, ActorKind, AgentId, Caller, Name, Problem, Result};
use bascule_ledger::facts::delivery::{AgentEnrolled, AgentInvited, AgentRemoved, EdgeEnrolled};
use bascule_store::Json;
use bascule_wire::{
    agent::MachineFacts,
    fleet::{Enrol, Enrolled, Member, MemberCode, MemberKind, NewMember, pinned_code, split_code},
};
use std::collections::BTreeMap;

impl Delivery {
    /// Makes a code with which a machine enrols once under this name. A code made before for the name is void.
    /// The caller's right was checked.
    ///
    /// # Errors
    /// The name is none, or the database refused.
    pub async fn invite(&self, caller: &Caller, new: &NewMember) -> Result<MemberCode> {
        let name: Name = new.name.parse().map_err(|error| {
            Problem::invalid("bad_name", format!("{error}.")).next("Choose another name.")
        })?;
        let name = name.to_string();
        let code = new_token("benr");
        let now = self.now();
        let expires_at = now.plus(CODE_LIFE);
        let tx = self.db.begin().await?;
        codes::put(
            &tx,
            new.kind.as_str(),
            &name,
            &token_hash(&code),
            (now, expires_at),
        )
        .await?;
        let fact = AgentInvited {
            name: name.clone(),
            kind: new.kind.to_string(),
            expires_at,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        tx.commit().await?;
        let door = self.door.as_deref();
        Ok(MemberCode {
            name,
            kind: new.kind,
            code: door.map_or_else(
                || code.clone(),
                |door| pinned_code(&code, door.authority.fingerprint()),
            ),
            expires_at,
            server: door.map(|door| door.url.clone()).unwrap_or_default(),
        })
    }

    /// Exchanges a code for a token, once. Where the name is known, the machine replaces the one before, whose
    /// token counts no more.
    pub(crate) async fn enrol(&self, asked: &Enrol) -> Result<Enrolled> {
        let now = self.now();
        let tx = self.db.begin().await?;
        let hash = token_hash(split_code(&asked.code).0);
        let Some(code) = codes::by_hash(&tx, &hash).await? else {
            return Err(refused("code_unknown", "The code is not known.").why(
                "It was mistyped, or a newer one was made for the same name, or its name was removed.",
            ));
        };
        if code.kind != asked.kind.as_str() {
            return Err(refused(
                "code_of_other_kind",
                &format!("The code is for an {}, and an {} used it.", code.kind, asked.kind),
            )
            .why("It can still be used by the right one."));
        }
        if code.used_at.is_some() {
            return Err(refused("code_used", "The code was used already.")
                .why("A code is good for one enrolment, so that one who sees it later cannot use it."));
        }
        if code.expires_at < now {
            return Err(refused("code_expired", "The code is too old.").why(format!(
                "A code is good for {} minutes.",
                CODE_LIFE.as_secs() / 60
            )));
        }
        // Of two at once, one gets it.
        if !codes::take(&tx, &hash, now).await? {
            return Err(refused("code_used", "The code was used already.").why("Another machine was faster."));
        }
        let version = instances::cut(&asked.version, 100);
        let machine = bounded(&asked.machine);
        let (token, member) = match asked.kind {
            MemberKind::Agent => {
                let token = new_token("bagt");
                let id = match store::agent_by_name(&tx, &code.name).await? {
                    Some(agent) => {
                        store::set_agent_token(&tx, agent.id, &token_hash(&token)).await?;
                        agent.id
                    }
                    None => {
                        let id = AgentId::new();
                        store::insert_agent(&tx, id, &code.name, &token_hash(&token), now).await?;
                        id
                    }
                };
                codes::describe_agent(&tx, id, &version, &machine).await?;
                let fact = AgentEnrolled {
                    agent: id,
                    name: code.name.clone(),
                };
                let actor = Actor::new(ActorKind::Agent, id, &code.name);
                self.ledger.append(&tx, &actor, &fact).await?;
                self.bump(&tx, Channel::Agent).await?;
                (token, id.to_string())
            }
            MemberKind::Edge => {
                let token = new_token("bedg");
                store::set_edge(&tx, &code.name, &token_hash(&token), now).await?;
                codes::describe_edge(&tx, &code.name, &version, &machine).await?;
                let fact = EdgeEnrolled {
                    name: code.name.clone(),
                };
                let actor = Actor::new(ActorKind::Edge, &code.name, &code.name);
                self.ledger.append(&tx, &actor, &fact).await?;
                (token, code.name.clone())
            }
        };
        // The machine before has lost its token; its certificates go too.
        certificates::forget(&tx, asked.kind, &member).await?;
        let certificate = match asked.csr.as_str() {
            "" => None,
            csr => Some(
                self.certify(&tx, (asked.kind, &member, &code.name), csr, false)
                    .await?,
            ),
        };
        tx.commit().await?;
        Ok(Enrolled {
            name: code.name,
            token,
            certificate,
        })
    }

    /// All agents and edges, also those that a code waits for.
    ///
    /// # Errors
    /// The database refused.
    pub async fn members(&self) -> Result<Vec<Member>> {
        let now = self.now();
        let mut members: BTreeMap<(u8, String), Member> = BTreeMap::new();
        let instances: BTreeMap<_, _> = codes::instances(&self.db)
            .await?
            .into_iter()
            .map(|c| (c.id, c.n))
            .collect();
        let environments: BTreeMap<_, _> = codes::environments(&self.db)
            .await?
            .into_iter()
            .map(|c| (c.id, c.n))
            .collect();
        let count =
            |of: &BTreeMap<AgentId, i64>, id| of.get(&id).and_then(|n| u64::try_from(*n).ok()).unwrap_or(0);
        for agent in codes::agents(&self.db).await? {
            let Json(resources) = agent.resources;
            #[allow(clippy::cast_precision_loss, reason = "a load is a small number")]
            let load = resources.load_milli as f64 / 1_000.0;
            let member = Member {
                name: agent.name.clone(),
                kind: MemberKind::Agent,
                enrolled: true,
                code_expires_at: None,
                online: agent.online,
                version: agent.version,
                seen_at: agent.seen_at,
                skew_ms: agent.skew_ms,
                skewed: agent.skewed,
                disk_free_bytes: u64::try_from(agent.disk_free).unwrap_or(0),
                disk_total_bytes: resources.disk_total_bytes,
                memory_free_bytes: resources.memory_free_bytes,
                memory_total_bytes: resources.memory_total_bytes,
                load,
                machine: agent.machine.0,
                drivers: agent.drivers.0,
                environments: count(&environments, agent.id),
                instances: count(&instances, agent.id),
            };
            members.insert((0, agent.name), member);
        }
        for edge in codes::edges(&self.db).await? {
            let member = Member {
                enrolled: true,
                online: edge.seen_at.is_some_and(|at| now.since(at) < EDGE_SILENCE),
                version: edge.version,
                seen_at: edge.seen_at,
                machine: edge.machine.0,
                ..blank(&edge.name, MemberKind::Edge)
            };
            members.insert((1, edge.name), member);
        }
        for code in codes::open(&self.db, now).await? {
            let kind: MemberKind = code.kind.parse().unwrap_or_default();
            let key = (u8::from(kind == MemberKind::Edge), code.name.clone());
            members
                .entry(key)
                .or_insert_with(|| blank(&code.name, kind))
                .code_expires_at = Some(code.expires_at);
        }
        Ok(members.into_values().collect())
    }

    /// Removes an agent or edge: its token counts no more from now on. What an agent looked after goes to the
    /// oldest other agent; where there is none, to the next that enrols.
    ///
    /// # Errors
    /// It is not there; or environments are assigned to it and `force` is not set; or the database refused.
    pub async fn remove_member(
        &self,
        caller: &Caller,
        kind: MemberKind,
        name: &str,
        force: bool,
    ) -> Result<()> {
        let tx = self.db.begin().await?;
        let pending = codes::forget(&tx, kind.as_str(), name).await?;
        let (mut environments, mut moved_to) = (0, String::new());
        let found = match kind {
            MemberKind::Edge => {
                certificates::forget(&tx, kind, name).await?;
                codes::remove_edge(&tx, name).await?
            }
            MemberKind::Agent => match store::agent_by_name(&tx, name).await? {
                None => false,
                Some(agent) => {
                    environments = codes::environments_of(&tx, agent.id).await?;
                    if environments > 0 && !force {
                        return Err(Problem::conflict(
                            "agent_in_use",
                            format!("The agent {name} looks after {environments} environments."),
                        )
                        .why("Without it nobody starts, watches or ends what runs there.")
                        .next("Set `force`: another agent takes its environments over."));
                    }
                    let heir = codes::oldest_other(&tx, agent.id).await?;
                    codes::hand_over(&tx, agent.id, heir.as_ref().map(|heir| heir.id), self.now()).await?;
                    moved_to = heir
                        .filter(|_| environments > 0)
                        .map(|heir| heir.name)
                        .unwrap_or_default();
                    certificates::forget(&tx, kind, &agent.id.to_string()).await?;
                    codes::remove_agent(&tx, agent.id).await?;
                    true
                }
            },
        };
        if !found && !pending {
            return Err(Problem::not_found(kind.as_str()));
        }
        let fact = AgentRemoved {
            name: name.to_owned(),
            kind: kind.to_string(),
            environments,
            moved_to,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        self.bump(&tx, Channel::Agent).await?;
        self.bump(&tx, Channel::Edge).await?;
        tx.commit().await?;
        Ok(())
    }
}

fn blank(name: &str, kind: MemberKind) -> Member {
    Member {
        name: name.to_owned(),
        kind,
        enrolled: false,
        code_expires_at: None,
        online: false,
        version: String::new(),
        seen_at: None,
        skew_ms: 0,
        skewed: false,
        disk_free_bytes: 0,
        disk_total_bytes: 0,
        memory_free_bytes: 0,
        memory_total_bytes: 0,
        load: 0.0,
        machine: MachineFacts::default(),
        drivers: Vec::new(),
        environments: 0,
        instances: 0,
    }
}

fn refused(code: &str, what: &str) -> Problem {
    Problem::new(403, code, what)
        .next("Ask an administrator for a new one: `bascule agents create NAME`, or the page Agents.")
}

/// A machine's own words, cut to what a table can show.
pub(super) fn bounded(machine: &MachineFacts) -> MachineFacts {
    MachineFacts {
        host_name: instances::cut(&machine.host_name, 100),
        os: instances::cut(&machine.os, 100),
        architecture: instances::cut(&machine.architecture, 100),
        cpus: machine.cpus,
    }
}

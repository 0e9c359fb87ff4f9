//! Commands on incidents.

use super::{Cause, Incident, cut, restored, severity, store, text, title};
use crate::{Incidents, timeline};
use bascule_core::{
    Actor, Caller, EnvironmentId, FactId, IncidentId, Permission, Problem, ProjectId, ProjectScope, Result,
    Timestamp,
};
use bascule_ledger::facts::incidents::{
    IncidentAcknowledged, IncidentChanged, IncidentCommented, IncidentIdentified, IncidentOpened,
    IncidentResolved,
};
use bascule_store::Tx;
use bascule_wire::incidents::{IncidentDetails, IncidentPage, NewIncident, Severity};

/// What the platform noticed.
#[derive(Clone, Debug)]
pub(crate) struct Noticed {
    pub(crate) fact: FactId,
    pub(crate) seq: i64,
    pub(crate) kind: String,
    pub(crate) cause: Cause,
    pub(crate) project: ProjectId,
    pub(crate) environment: EnvironmentId,
    pub(crate) environment_name: String,
    pub(crate) deployment: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) alert: Option<String>,
    pub(crate) title: String,
    pub(crate) began_at: Timestamp,
    pub(crate) detected_at: Timestamp,
    pub(crate) restored_at: Option<Timestamp>,
}

fn allowed(project: &ProjectScope, permission: Permission) -> Result<()> {
    if project.holds(permission) {
        Ok(())
    } else {
        Err(Problem::forbidden(permission))
    }
}

impl Incidents {
    /// Incidents that a caller may see, of all projects: open ones first, then the newest resolved ones.
    ///
    /// # Errors
    /// The database or identity refused.
    pub async fn list_all(&self, caller: &Caller, before: Option<i64>, limit: i64) -> Result<IncidentPage> {
        let visible = self.visible.projects(caller).await?;
        self.list(visible.as_deref(), before, limit).await
    }

    /// A project's incidents: open ones first, then the newest resolved ones.
    ///
    /// # Errors
    /// The database refused.
    pub async fn list_project(
        &self,
        project: &ProjectScope,
        before: Option<i64>,
        limit: i64,
    ) -> Result<IncidentPage> {
        allowed(project, Permission::IncidentRead)?;
        self.list(Some(&[project.id]), before, limit).await
    }

    async fn list(
        &self,
        projects: Option<&[ProjectId]>,
        before: Option<i64>,
        limit: i64,
    ) -> Result<IncidentPage> {
        const OPEN_AT_MOST: i64 = 200;
        let mut items = match before {
            Some(_) => Vec::new(),
            None => store::list(&self.db, projects, true, None, OPEN_AT_MOST).await?,
        };
        let mut resolved = store::list(&self.db, projects, false, before, limit + 1).await?;
        let full = resolved.len() as i64 > limit;
        resolved.truncate(usize::try_from(limit).unwrap_or(0));
        let next = full.then(|| resolved.last().map(|last| last.number)).flatten();
        items.append(&mut resolved);
        Ok(IncidentPage {
            items: items.iter().map(Incident::summary).collect(),
            next,
        })
    }

    /// One incident of a project.
    ///
    /// # Errors
    /// There is none with this number, or the database refused.
    pub async fn get(&self, project: &ProjectScope, number: i64) -> Result<Incident> {
        allowed(project, Permission::IncidentRead)?;
        store::by_number(&self.db, project.id, number)
            .await?
            .ok_or_else(|| Problem::not_found("incident"))
    }

    /// One incident with its timeline.
    ///
    /// # Errors
    /// As [`Incidents::get`].
    pub async fn details(&self, project: &ProjectScope, number: i64) -> Result<IncidentDetails> {
        let incident = self.get(project, number).await?;
        let timeline = timeline::read(self, &incident, None).await?;
        Ok(IncidentDetails {
            summary: incident.summary(),
            acknowledged_by: incident.acknowledged_by.clone(),
            root_cause: incident.root_cause.clone(),
            resolved_by: incident.resolved_by.clone(),
            postmortem: incident.postmortem(),
            timeline,
        })
    }

    /// A person declares an incident; returns its number.
    ///
    /// # Errors
    /// Not allowed, no such environment, or one is open there already.
    pub async fn declare(&self, caller: &Caller, project: &ProjectScope, new: NewIncident) -> Result<i64> {
        allowed(project, Permission::IncidentWrite)?;
        let now = self.clock.now();
        let title = title(&new.title)?;
        let began_at = new.began_at.unwrap_or(now);
        if began_at > now {
            return Err(
                Problem::invalid("bad_time", "The failing cannot begin in the future.")
                    .next("Give a time that has passed, or leave it out."),
            );
        }
        let environment = match new
            .environment
            .as_deref()
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            None => None,
            Some(name) => Some(self.environment_named(project, name).await?),
        };
        if let Some(environment) = &environment
            && let Some(open) = store::open_in(&self.db, environment.environment_id).await?
        {
            return Err(already_open(&open));
        }
        let tx = self.db.begin().await?;
        let incident = Incident {
            environment_id: environment.as_ref().map(|e| e.environment_id),
            environment_name: environment.map(|e| e.name),
            ..blank(
                project.id,
                title,
                new.severity,
                Cause::Person,
                began_at,
                now,
                new.drill,
            )
        };
        match self.insert(&tx, &caller.actor, incident).await {
            Ok(number) => {
                tx.commit().await?;
                Ok(number)
            }
            // Another was opened since we looked.
            Err(error) if error.is_unique_violation() => Err(Problem::conflict(
                "already_open",
                "An incident is open in this environment already.",
            )
            .next("Work on that one.")),
            Err(error) => Err(error.into()),
        }
    }

    async fn environment_named(&self, project: &ProjectScope, name: &str) -> Result<store::KnownEnvironment> {
        let known = store::environments(&self.db, project.id).await?;
        let names = known
            .iter()
            .map(|e| e.name.clone())
            .collect::<Vec<_>>()
            .join(", ");
        known.into_iter().find(|e| e.name == name).ok_or_else(|| {
            Problem::invalid(
                "no_environment",
                format!("This project has no environment `{}`.", cut(name, 63)),
            )
            .next(if names.is_empty() {
                "Leave the environment out.".to_owned()
            } else {
                format!("Use one of: {names}.")
            })
        })
    }

    /// Names of a project's environments, for a form.
    pub(crate) async fn environment_names(&self, project: ProjectId) -> Result<Vec<String>> {
        Ok(store::environments(&self.db, project)
            .await?
            .into_iter()
            .map(|e| e.name)
            .collect())
    }

    async fn insert(&self, tx: &Tx, actor: &Actor, mut incident: Incident) -> bascule_store::Result<i64> {
        incident.number = tx.next_number("incident").await?;
        store::insert(tx, &incident).await?;
        let fact = IncidentOpened {
            project: incident.project_id,
            incident: incident.id,
            number: incident.number,
            title: incident.title,
            severity: incident.severity,
            cause: incident.cause,
            deployment: incident.deployment_id,
            environment: incident.environment_id.map(|id| id.to_string()),
            drill: incident.drill,
            began_at: incident.began_at,
            detected_at: incident.detected_at,
        };
        self.ledger.append(tx, actor, &fact).await?;
        Ok(incident.number)
    }

    /// Opens an incident for what the platform noticed, or lets it join the one that is open. Comes to the
    /// same when done twice.
    pub(crate) async fn notice(&self, noticed: &Noticed) -> Result<()> {
        if store::source_taken(&self.db, noticed.fact).await? {
            return Ok(());
        }
        let known = store::environment(&self.db, noticed.environment).await?;
        let tier = known.map_or_else(
            || noticed.environment_name.clone(),
            |environment| environment.tier,
        );
        let tx = self.db.begin().await?;
        let mut joins = store::open_in(&tx, noticed.environment).await?;
        if joins.is_none() && noticed.cause == Cause::Alert {
            let since = noticed.detected_at.minus(super::AFTERGLOW);
            joins = store::just_over(&tx, noticed.environment, since, noticed.began_at).await?;
        }
        let id = match joins {
            Some(open) => open.id,
            None => {
                let incident = Incident {
                    environment_id: Some(noticed.environment),
                    environment_name: Some(noticed.environment_name.clone()),
                    deployment_id: noticed.deployment.clone(),
                    version: noticed.version.clone(),
                    restored_at: noticed.restored_at,
                    ..blank(
                        noticed.project,
                        cut(&noticed.title, super::TITLE_CHARS),
                        severity(noticed.cause, &tier),
                        noticed.cause,
                        noticed.began_at,
                        noticed.detected_at,
                        false,
                    )
                };
                let id = incident.id;
                self.insert(&tx, &Actor::system(), incident).await?;
                id
            }
        };
        let source = (noticed.seq, noticed.kind.as_str());
        store::take_source(&tx, noticed.fact, id, source, noticed.alert.as_deref()).await?;
        store::learn(
            &tx,
            id,
            noticed.deployment.as_deref(),
            noticed.version.as_deref(),
            noticed.restored_at,
        )
        .await?;
        Ok(tx.commit().await?)
    }

    /// Someone takes an incident.
    ///
    /// # Errors
    /// Not allowed, taken already, or over.
    pub async fn acknowledge(&self, caller: &Caller, project: &ProjectScope, number: i64) -> Result<()> {
        allowed(project, Permission::IncidentWrite)?;
        let incident = self.get(project, number).await?;
        if let (Some(by), None) = (&incident.acknowledged_by, incident.resolved_at) {
            return Err(Problem::conflict(
                "acknowledged",
                format!("{by} acknowledged incident {number} already."),
            )
            .why("One person takes an incident, so that all know who has it.")
            .next("Help in the comments, or talk to them."));
        }
        let tx = self.db.begin().await?;
        if !self.take(&tx, caller, &incident).await? {
            return Err(over(&incident));
        }
        Ok(tx.commit().await?)
    }

    async fn take(&self, tx: &Tx, caller: &Caller, incident: &Incident) -> Result<bool> {
        let now = self.clock.now();
        let taken = store::set_acknowledged(tx, incident.id, now, &caller.actor.name).await?;
        if taken {
            let (project, incident, number) = (incident.project_id, incident.id, incident.number);
            self.ledger
                .append(
                    tx,
                    &caller.actor,
                    &IncidentAcknowledged {
                        project,
                        incident,
                        number,
                        at: now,
                    },
                )
                .await?;
        }
        Ok(taken)
    }

    /// Someone names the cause. Whoever does has taken the incident, too.
    ///
    /// # Errors
    /// Not allowed, nothing said, or the incident is over.
    pub async fn identify(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        cause: &str,
    ) -> Result<()> {
        allowed(project, Permission::IncidentWrite)?;
        let cause = text(cause, "cause")?;
        let incident = self.get(project, number).await?;
        let now = self.clock.now();
        let tx = self.db.begin().await?;
        self.take(&tx, caller, &incident).await?;
        if !store::set_identified(&tx, incident.id, now, &cause).await? {
            return Err(over(&incident));
        }
        let fact = IncidentIdentified {
            project: incident.project_id,
            incident: incident.id,
            number,
            at: now,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    /// Someone comments, in Markdown; also after the incident is over.
    ///
    /// # Errors
    /// Not allowed, or nothing said.
    pub async fn comment(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        body: &str,
    ) -> Result<()> {
        allowed(project, Permission::IncidentWrite)?;
        let body = text(body, "comment")?;
        let incident = self.get(project, number).await?;
        let tx = self.db.begin().await?;
        self.say(&tx, caller, &incident, &body).await?;
        Ok(tx.commit().await?)
    }

    async fn say(&self, tx: &Tx, caller: &Caller, incident: &Incident, body: &str) -> Result<()> {
        let comment = store::comment(tx, incident.id, &caller.actor.name, body, self.clock.now()).await?;
        let (project, id, number) = (incident.project_id, incident.id, incident.number);
        let fact = IncidentCommented {
            project,
            incident: id,
            number,
            comment,
        };
        self.ledger.append(tx, &caller.actor, &fact).await?;
        Ok(())
    }

    /// Someone resolves an incident: service is back with its users.
    ///
    /// # Errors
    /// Not allowed, over already, or the time given cannot be.
    pub async fn resolve(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        restored_at: Option<Timestamp>,
        comment: &str,
    ) -> Result<()> {
        allowed(project, Permission::IncidentWrite)?;
        let incident = self.get(project, number).await?;
        let now = self.clock.now();
        let restored_at = restored(restored_at, incident.restored_at, incident.began_at, now)?;
        let tx = self.db.begin().await?;
        if !comment.trim().is_empty() {
            self.say(&tx, caller, &incident, &text(comment, "comment")?)
                .await?;
        }
        if !store::set_resolved(&tx, incident.id, now, &caller.actor.name, restored_at).await? {
            return Err(over(&incident));
        }
        let (project, id) = (incident.project_id, incident.id);
        let fact = IncidentResolved {
            project,
            incident: id,
            number,
            restored_at,
            at: now,
        };
        self.ledger.append(&tx, &caller.actor, &fact).await?;
        Ok(tx.commit().await?)
    }

    /// Someone sets the severity.
    ///
    /// # Errors
    /// Not allowed.
    pub async fn reclassify(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        number: i64,
        severity: Severity,
    ) -> Result<()> {
        allowed(project, Permission::IncidentWrite)?;
        let incident = self.get(project, number).await?;
        let tx = self.db.begin().await?;
        if store::set_severity(&tx, incident.id, severity).await? {
            let fact = IncidentChanged {
                project: incident.project_id,
                incident: incident.id,
                number,
                setting: "severity".to_owned(),
                value: severity.as_str().to_owned(),
            };
            self.ledger.append(&tx, &caller.actor, &fact).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

fn blank(
    project: ProjectId,
    title: String,
    severity: Severity,
    cause: Cause,
    began_at: Timestamp,
    detected_at: Timestamp,
    drill: bool,
) -> Incident {
    Incident {
        id: IncidentId::new(),
        number: 0,
        project_id: project,
        path: String::new(),
        title,
        severity: severity.as_str().to_owned(),
        cause: cause.as_str().to_owned(),
        environment_id: None,
        environment_name: None,
        deployment_id: None,
        version: None,
        drill,
        root_cause: String::new(),
        began_at,
        detected_at,
        acknowledged_at: None,
        acknowledged_by: None,
        identified_at: None,
        restored_at: None,
        resolved_at: None,
        resolved_by: None,
        postmortem_home: None,
        postmortem_path: None,
        postmortem_sha: None,
        postmortem_error: None,
    }
}

fn over(incident: &Incident) -> Problem {
    Problem::conflict("resolved", format!("Incident {} is resolved.", incident.number))
        .why("What happened is history; its post-mortem goes on from here.")
        .next("Comment on it, or declare a new incident if it fails again.")
}

fn already_open(open: &Incident) -> Problem {
    Problem::conflict(
        "already_open",
        format!("Incident {} is open in this environment already.", open.number),
    )
    .why("One open incident per environment keeps people and their findings together.")
    .next(format!("Work on /{}/-/incidents/{}.", open.path, open.number))
}

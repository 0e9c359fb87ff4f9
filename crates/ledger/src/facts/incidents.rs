//! Facts about incidents and post-mortems.

use super::{fact, short};
use bascule_core::{IncidentId, ProjectId, Timestamp};
use serde::{Deserialize, Serialize};

/// An incident was opened.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentOpened {
    /// The project.
    pub project: ProjectId,
    /// The incident.
    pub incident: IncidentId,
    /// Its number within the instance, for people.
    pub number: i64,
    /// Its title.
    pub title: String,
    /// `critical`, `major`, `minor`.
    pub severity: String,
    /// What opened it: `rollout`, `alert`, `person`.
    pub cause: String,
    /// The deployment that caused it, if known, as an id.
    pub deployment: Option<String>,
    /// The environment, if one.
    pub environment: Option<String>,
    /// Whether it is a drill; drills are measured apart.
    #[serde(default)]
    pub drill: bool,
    /// When the failing began.
    pub began_at: Timestamp,
    /// When the platform or a person noticed.
    pub detected_at: Timestamp,
}
fact!(
    IncidentOpened,
    "incident.opened",
    |f| Some(f.project),
    |f| format!("incident:{}", f.incident),
    |f| format!("opened incident {} ({}): {}", f.number, f.severity, f.title)
);

/// Someone took an incident.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentAcknowledged {
    /// The project.
    pub project: ProjectId,
    /// The incident.
    pub incident: IncidentId,
    /// Its number.
    pub number: i64,
    /// When.
    pub at: Timestamp,
}
fact!(
    IncidentAcknowledged,
    "incident.acknowledged",
    |f| Some(f.project),
    |f| format!("incident:{}", f.incident),
    |f| { format!("acknowledged incident {}", f.number) }
);

/// Someone said what the cause is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentIdentified {
    /// The project.
    pub project: ProjectId,
    /// The incident.
    pub incident: IncidentId,
    /// Its number.
    pub number: i64,
    /// When.
    pub at: Timestamp,
}
fact!(
    IncidentIdentified,
    "incident.identified",
    |f| Some(f.project),
    |f| format!("incident:{}", f.incident),
    |f| { format!("named the cause of incident {}", f.number) }
);

/// Someone commented on an incident. The text stays in the incident's own table.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentCommented {
    /// The project.
    pub project: ProjectId,
    /// The incident.
    pub incident: IncidentId,
    /// Its number.
    pub number: i64,
    /// The comment's number within the incident.
    pub comment: i64,
}
fact!(
    IncidentCommented,
    "incident.commented",
    |f| Some(f.project),
    |f| format!("incident:{}", f.incident),
    |f| { format!("commented on incident {}", f.number) }
);

/// An incident is over: service is back with its users.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentResolved {
    /// The project.
    pub project: ProjectId,
    /// The incident.
    pub incident: IncidentId,
    /// Its number.
    pub number: i64,
    /// When the failing stopped (an aborted rollout stops it before anyone resolves).
    pub restored_at: Timestamp,
    /// When it was resolved.
    pub at: Timestamp,
}
fact!(
    IncidentResolved,
    "incident.resolved",
    |f| Some(f.project),
    |f| format!("incident:{}", f.incident),
    |f| format!("resolved incident {}", f.number)
);

/// The post-mortem's draft was committed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PostmortemCommitted {
    /// The project that had the incident.
    pub project: ProjectId,
    /// The incident.
    pub incident: IncidentId,
    /// Its number.
    pub number: i64,
    /// `group/project` that holds the document.
    pub home: String,
    /// Path of the document there.
    pub path: String,
    /// The commit.
    pub sha: String,
}
fact!(
    PostmortemCommitted,
    "postmortem.committed",
    |f| Some(f.project),
    |f| format!("incident:{}", f.incident),
    |f| {
        format!(
            "committed the post-mortem of incident {} to {} at {}",
            f.number,
            f.home,
            short(&f.sha)
        )
    }
);

/// Something about an incident was set anew.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IncidentChanged {
    /// The project.
    pub project: ProjectId,
    /// The incident.
    pub incident: IncidentId,
    /// Its number.
    pub number: i64,
    /// What was set, such as `severity`.
    pub setting: String,
    /// Its new value.
    pub value: String,
}
fact!(
    IncidentChanged,
    "incident.changed",
    |f| Some(f.project),
    |f| format!("incident:{}", f.incident),
    |f| format!("set the {} of incident {} to {}", f.setting, f.number, f.value)
);

//! Importing and exporting.

use super::{Row, guarded, read};
use crate::{
    Planning, board,
    issue::{
        Draft, Issue,
        list::Filter,
        service::{chosen, named, people},
        store,
    },
    label::{LabelRow, store as labels, store::Owner},
    milestone::store::{self as milestones, MilestoneRow},
    ports::Member,
    sight::Among,
    text,
};
use bascule_core::{Caller, Problem, ProjectScope, Result};
use bascule_wire::planning::{ImportError, ImportReport};

/// Issues of one export, at most.
const EXPORTED: usize = 20_000;

/// What rows refer to.
struct Known {
    labels: Vec<LabelRow>,
    members: Vec<Member>,
    milestones: Vec<MilestoneRow>,
}

impl Planning {
    /// Opens an issue for each row of a file: for all of them, or, where anything is wrong, for none.
    pub(crate) async fn import(
        &self,
        caller: &Caller,
        project: &ProjectScope,
        bytes: &[u8],
        dry_run: bool,
    ) -> Result<ImportReport> {
        self.sight(caller, project).await?.must_manage()?;
        let (rows, mut errors) = read(bytes)?;
        self.ready(project.id, project.group_id).await?;
        let owner = Owner::Project(project.id, project.group_id);
        let known = Known {
            labels: labels::list(&self.db, owner).await?,
            members: self.people.members(project.id, project.group_id).await?,
            milestones: milestones::list(&self.db, owner).await?,
        };
        let mut drafts = Vec::new();
        for row in &rows {
            if let Some(draft) = draft(row, &known, &mut errors) {
                drafts.push(draft);
            }
        }
        errors.sort_by_key(|error| error.row);
        let mut created = 0;
        if errors.is_empty() && !dry_run {
            let tx = self.db.begin().await?;
            board::store::touch(&tx, project.group_id).await?;
            for draft in &drafts {
                self.insert(&tx, caller, project, draft).await?;
                created += 1;
            }
            tx.commit().await?;
        }
        Ok(ImportReport {
            rows: i64::try_from(rows.len()).unwrap_or(i64::MAX),
            created,
            dry_run,
            errors,
        })
    }

    /// A project's issues that the caller may see, as CSV that [`Planning::import`] reads.
    pub(crate) async fn export(&self, caller: &Caller, project: &ProjectScope) -> Result<Vec<u8>> {
        let sight = self.sight(caller, project).await?;
        let among = Among::one(project.id, &sight);
        let mut writer = csv::Writer::from_writer(Vec::new());
        let headings = [
            "number",
            "title",
            "description",
            "state",
            "column",
            "labels",
            "assignees",
            "milestone",
            "due_date",
            "confidential",
            "author",
            "created_at",
            "closed_at",
        ];
        writer.write_record(headings).map_err(|error| broken(&error))?;
        let mut filter = Filter {
            limit: 200,
            whole: true,
            ..Filter::default()
        };
        let mut written = 0;
        loop {
            let (issues, _) = store::list(&self.db, &among, &filter).await?;
            let Some(last) = issues.last() else { break };
            filter.after = Some(crate::issue::list::Cursor {
                key: last.row.rank.to_string(),
                id: last.row.id,
            });
            let full = issues.len() as i64 == filter.limit;
            for issue in &issues {
                writer
                    .write_record(record(issue))
                    .map_err(|error| broken(&error))?;
            }
            written += issues.len();
            if !full || written >= EXPORTED {
                break;
            }
        }
        writer.into_inner().map_err(|error| {
            tracing::error!(%error, "an export could not be written");
            Problem::internal()
        })
    }
}

fn broken(error: &csv::Error) -> Problem {
    tracing::error!(%error, "an export could not be written");
    Problem::internal()
}

fn record(issue: &Issue) -> Vec<String> {
    let names = |names: Vec<&str>| names.join(", ");
    let plain = [
        issue.row.number.to_string(),
        issue.row.title.clone(),
        issue.row.description.clone(),
        crate::issue::state(issue.column()).to_owned(),
        issue.column().as_str().to_owned(),
        names(issue.labels.iter().map(|label| label.name.as_str()).collect()),
        names(
            issue
                .assignees
                .iter()
                .map(|someone| someone.username.as_str())
                .collect(),
        ),
        issue.row.milestone.clone().unwrap_or_default(),
        issue.row.due_on.clone().unwrap_or_default(),
        if issue.row.confidential { "yes" } else { "no" }.to_owned(),
        issue.row.author.clone(),
        issue.row.created_at.to_string(),
        issue.row.closed_at.map(|at| at.to_string()).unwrap_or_default(),
    ];
    plain.iter().map(|cell| guarded(cell)).collect()
}

/// A row as an issue to be opened; what is wrong with it goes to `errors`.
fn draft(row: &Row, known: &Known, errors: &mut Vec<ImportError>) -> Option<Draft> {
    let before = errors.len();
    let mut wrong = |column: &str, problem: &Problem| {
        errors.push(ImportError {
            row: row.row,
            column: column.to_owned(),
            what: problem.what.clone(),
        });
    };
    let mut draft = Draft::default();
    match text::title(&row.title, "row") {
        Ok(title) => draft.title = title,
        Err(problem) => wrong("title", &problem),
    }
    match text::body(&row.description, "description") {
        Ok(description) => draft.description = description,
        Err(problem) => wrong("description", &problem),
    }
    for name in &row.labels {
        if let Err(problem) = chosen(&known.labels, std::slice::from_ref(name)) {
            wrong("labels", &problem);
        }
    }
    if let Ok(labels) = chosen(&known.labels, &row.labels) {
        match crate::issue::relabelled(&[], Some(&labels), &[], &[]) {
            Ok(labels) => draft.labels = labels,
            Err(problem) => wrong("labels", &problem),
        }
    }
    match people(&known.members, &row.assignees) {
        Ok(people) => draft.assignees = people,
        Err(problem) => wrong("assignees", &problem),
    }
    if !row.milestone.is_empty() {
        match known
            .milestones
            .iter()
            .find(|milestone| milestone.title == row.milestone)
        {
            Some(milestone) => draft.milestone = Some(milestone.id),
            None => wrong("milestone", &crate::issue::service::no_milestone(&row.milestone)),
        }
    }
    match text::day(&row.due_on) {
        Ok(day) => draft.due_on = day,
        Err(problem) => wrong("due_date", &problem),
    }
    match row.confidential.as_str() {
        "" | "no" | "false" | "0" => {}
        "yes" | "true" | "1" => draft.confidential = true,
        other => wrong("confidential", &neither(other, "yes nor no")),
    }
    match row.state.as_str() {
        "" | "open" | "opened" => {}
        "closed" | "done" => draft.closed = true,
        other => wrong("state", &neither(other, "open nor closed")),
    }
    draft.mentions = named(&known.members, &draft.description);
    (errors.len() == before).then_some(draft)
}

fn neither(given: &str, known: &str) -> Problem {
    Problem::invalid(
        "bad_cell",
        format!("`{}` is neither {known}.", text::cut(given, 30)),
    )
}

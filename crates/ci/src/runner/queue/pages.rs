//! The queue on pages: what waits, and why.

use super::{PAGE, api::Page, in_words, store::Only, waited};
use crate::Ci;
use askama::Template;
use axum::extract::State;
use bascule_web::{Answer, Crumb, InGroup, InProject, Markup, Params, Section, Tab, Ui};
use bascule_wire::ci::{Queue, QueuedJob};

struct Line {
    place: i64,
    href: String,
    title: String,
    project: String,
    project_href: String,
    reference: String,
    tags: String,
    protected: bool,
    reason: Markup,
    /// Whether the job only waits its turn; else something must be done.
    turn: bool,
    waited: String,
    estimate: String,
}

#[derive(Template)]
#[template(path = "runner/queue/queue.html")]
struct QueuePage {
    title: &'static str,
    runners: String,
    whole: bool,
    /// Whether the jobs may be of several projects.
    projects: bool,
    waiting: i64,
    held: i64,
    runners_online: i64,
    lines: Vec<Line>,
    /// Why most of them wait, with how many, where more than one waits for the same reason.
    causes: Vec<(i64, Markup)>,
    newer: Option<String>,
    older: Option<String>,
}

/// Reasons told once above the list.
const CAUSES: usize = 3;

impl QueuePage {
    fn new(ci: &Ci, queue: Queue, base: &str, runners: String, whole: bool, offset: i64) -> Self {
        let now = ci.clock.now();
        let mut causes: Vec<(i64, String)> = Vec::new();
        for job in &queue.jobs {
            match causes.iter_mut().find(|(_, reason)| *reason == job.reason) {
                Some((count, _)) => *count += 1,
                None => causes.push((1, job.reason.clone())),
            }
        }
        causes.retain(|(count, _)| *count > 1);
        causes.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        causes.truncate(CAUSES);
        Self {
            title: if whole {
                "Queue"
            } else {
                "Jobs that wait for a runner"
            },
            runners,
            whole,
            projects: whole,
            waiting: queue.waiting,
            held: queue.held,
            runners_online: queue.runners_online,
            lines: queue.jobs.into_iter().map(|job| line(job, now)).collect(),
            causes: causes
                .into_iter()
                .map(|(count, why)| (count, in_code(&why)))
                .collect(),
            newer: (offset > 0).then(|| format!("{base}?offset={}", (offset - PAGE).max(0))),
            older: queue.next.map(|next| format!("{base}?offset={next}")),
        }
    }
}

/// A sentence with what stands in backticks as code.
fn in_code(text: &str) -> Markup {
    let mut html = String::new();
    for (at, part) in text.split('`').enumerate() {
        let part = Markup::text(part);
        if at % 2 == 1 {
            html.push_str(&format!("<code>{part}</code>"));
        } else {
            html.push_str(part.as_str());
        }
    }
    Markup::trusted(html)
}

fn line(job: QueuedJob, now: bascule_core::Timestamp) -> Line {
    Line {
        place: job.place,
        href: format!("/{}/-/jobs/{}", job.project, job.id),
        title: format!("#{} {}", job.id, job.name),
        project_href: format!("/{}/-/pipelines/{}", job.project, job.pipeline),
        project: job.project,
        reference: job.reference,
        tags: job.tags.join(", "),
        protected: job.protected,
        turn: matches!(
            job.why.as_str(),
            "runners_busy" | "next" | "group_limit" | "resource_group"
        ),
        reason: in_code(&job.reason),
        waited: waited(job.queued_at, now),
        estimate: in_words(job.estimate),
    }
}

pub(super) async fn all(State(ci): State<Ci>, ui: Ui, Params(page): Params<Page>) -> Answer {
    let offset = page.offset();
    let queue = ci.queue(&Only::All, offset, PAGE).await?;
    let page = QueuePage::new(
        &ci,
        queue,
        "/admin/queue",
        "/admin/runners".to_owned(),
        true,
        offset,
    );
    let crumbs = [
        Crumb::to("Admin", "/admin"),
        Crumb::to("Runners", "/admin/runners"),
        Crumb::here("Queue"),
    ];
    ui.page(Section::Settings, "Queue", &crumbs, &page)
}

pub(super) async fn of_group(
    State(ci): State<Ci>,
    InGroup(group): InGroup,
    ui: Ui,
    Params(page): Params<Page>,
) -> Answer {
    let (name, offset) = (&group.name, page.offset());
    let queue = ci.queue(&ci.of_group(name).await?, offset, PAGE).await?;
    let runners = format!("/{name}/-/settings/runners");
    let base = format!("/{name}/-/queue");
    let page = QueuePage {
        projects: true,
        ..QueuePage::new(&ci, queue, &base, runners, false, offset)
    };
    let crumbs = [
        Crumb::to(name, format!("/{name}")),
        Crumb::to("Runners", format!("/{name}/-/settings/runners")),
        Crumb::here("Queue"),
    ];
    ui.page(Section::Projects, &format!("Queue · {name}"), &crumbs, &page)
}

pub(super) async fn of_project(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    Params(page): Params<Page>,
) -> Answer {
    let (path, offset) = (project.path(), page.offset());
    let only = Only::Projects(vec![project.id]);
    let queue = ci.queue(&only, offset, PAGE).await?;
    let runners = format!("/{path}/-/settings/runners");
    let page = QueuePage::new(&ci, queue, &format!("/{path}/-/queue"), runners, false, offset);
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to("Pipelines", format!("/{path}/-/pipelines")),
        Crumb::here("Queue"),
    ];
    ui.project_page(Tab::Pipelines, "Queue", &crumbs, &page)
}

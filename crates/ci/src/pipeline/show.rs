//! The page of one pipeline: its graph, and the head that all its pages share.

use super::{
    Pipeline, PipelineLine,
    api::Numbered,
    graph::{self, Column, Node, View, together},
    line,
    links::Links,
    pages::look,
};
use crate::{
    Ci,
    fault::Fault,
    results::store::{self as results, Cell},
    status::JobStatus,
};
use askama::Template;
use axum::{extract::State, response::IntoResponse as _};
use bascule_core::{JobId, Permission, PipelineId, ProjectScope, Result, Timestamp};
use bascule_web::{
    Answer, Crumb, InProject, Markup, Params, PathOf, Tab, Ui, duration, icon, url_encode, when,
};
use http::StatusCode;
use serde::Deserialize;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

/// Which of a pipeline's pages is lit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Page {
    Jobs,
    Tests,
    Timing,
}

/// What stands above all pages of a pipeline.
pub(crate) struct Head {
    pub line: PipelineLine,
    pub running_for: String,
    pub coverage: String,
    /// Whether there is something to cancel, and to try again.
    pub cancel: bool,
    pub retry: bool,
    /// Why the caller may not, where there is.
    pub why: Option<Markup>,
    /// Whether the caller may.
    pub may_run: bool,
    /// Address, name, how many, whether it is lit.
    pub tabs: Vec<(String, &'static str, String, bool)>,
}

impl Ci {
    pub(crate) async fn pipeline_head(
        &self,
        scope: &ProjectScope,
        pipeline: &Pipeline,
        page: Page,
        cells: &[Cell],
    ) -> Result<Head> {
        let line = line(pipeline, &scope.path());
        let open = !pipeline.status.is_final();
        let buttons = self
            .buttons(scope, &pipeline.reference, pipeline.protected)
            .await?;
        let runs = scope.holds(Permission::PipelineRun);
        let waits = |cell: &Cell| matches!(cell.status, JobStatus::Manual | JobStatus::Scheduled);
        let again =
            |cell: &Cell| !cell.retried && matches!(cell.status, JobStatus::Failed | JobStatus::Canceled);
        let tests = self.test_counts(pipeline.id).await?;
        let coverage = self.coverage_of(&[pipeline.id]).await?;
        let count = cells.iter().filter(|cell| !cell.retried).count();
        let tests = tests.map(|tests| tests.total.to_string()).unwrap_or_default();
        let tabs = [
            (Page::Jobs, "", "Jobs", count.to_string()),
            (Page::Tests, "/tests", "Tests", tests),
            (Page::Timing, "/timing", "Timing", String::new()),
        ];
        Ok(Head {
            tabs: tabs
                .into_iter()
                .map(|(of, path, label, count)| (format!("{}{path}", line.href), label, count, of == page))
                .collect(),
            running_for: match (pipeline.started_at, open) {
                (Some(start), true) => duration(whole_seconds(self.clock.now().since(start))),
                _ => String::new(),
            },
            coverage: coverage
                .get(&pipeline.id)
                .map(ToString::to_string)
                .unwrap_or_default(),
            cancel: runs && open,
            retry: runs && cells.iter().any(again),
            why: buttons
                .why
                .filter(|_| open || cells.iter().any(|cell| again(cell) || waits(cell)))
                .map(|why| Markup::prose(why.as_str())),
            may_run: buttons.run,
            line,
        })
    }
}

/// The way to one of a pipeline's pages.
pub(crate) fn crumbs(project: &str, pipeline: &Pipeline, here: &str) -> Vec<Crumb> {
    let mut crumbs = vec![
        Crumb::to(project, format!("/{project}")),
        Crumb::to("Pipelines", format!("/{project}/-/pipelines")),
    ];
    let name = format!("Pipeline {}", pipeline.id);
    if here.is_empty() {
        crumbs.push(Crumb::here(name));
    } else {
        crumbs.push(Crumb::to(name, format!("/{project}/-/pipelines/{}", pipeline.id)));
        crumbs.push(Crumb::here(here));
    }
    crumbs
}

/// A status as a coloured icon, with its word for those who do not see it.
pub(crate) fn status_icon(status: &str) -> Markup {
    let (color, picture) = look(status);
    Markup::trusted(format!(
        "<span class=\"status-icon text-{color}\">{}<span class=\"visually-hidden\">{}: </span></span>",
        icon(picture),
        Markup::text(status)
    ))
}

/// One job in the graph.
struct JobCell {
    id: i64,
    name: String,
    href: String,
    status: &'static str,
    icon: Markup,
    took: String,
    needs: String,
    attempt: i64,
    /// Why it waits for more than its turn.
    stuck: Option<String>,
    /// What is asked before the action is taken.
    question: Option<String>,
    /// When a delayed job starts by itself.
    run_at: Option<Markup>,
    /// Whose template asks for it.
    required: Option<(String, Markup)>,
    /// The pipeline that a bridge made: its address, what it is called, how it stands.
    downstream: Option<(String, String, Markup)>,
    /// What a person can do with it.
    action: Option<Action>,
}

/// What a person can do with a job: a button of the graph.
#[derive(Clone)]
struct Action {
    /// The end of its address.
    verb: &'static str,
    label: &'static str,
    icon: Markup,
    /// Whether this person may.
    may: bool,
}

/// One card of the graph: a job, or several.
struct CardView {
    number: usize,
    name: String,
    icon: Markup,
    jobs: Vec<JobCell>,
}

struct ColumnView {
    title: String,
    cards: Vec<CardView>,
}

#[derive(Template)]
#[template(path = "pipeline/show.html")]
struct ShowPage {
    base: String,
    head: Head,
    columns: Vec<ColumnView>,
    lines: Vec<graph::Line>,
    size: (usize, usize),
    left_out: usize,
    /// Address, name, whether it is lit.
    views: Vec<(String, &'static str, bool)>,
    faults: Vec<Notice>,
    warnings: Vec<Notice>,
    earlier: Vec<JobCell>,
    poll: Option<String>,
    /// The pipeline whose bridge made this one: its address, what it is called, how it stands.
    upstream: Option<(String, String, Markup)>,
}

struct Notice {
    place: String,
    message: String,
    href: String,
}

fn notices(faults: &[Fault], project: &str, sha: &str) -> Vec<Notice> {
    faults
        .iter()
        .map(|fault| Notice {
            place: format!("{}:{}", fault.file_name(), fault.pos),
            message: fault.reason(),
            href: format!(
                "/{project}/-/blob/{}/{}#L{}",
                url_encode(sha),
                bascule_web::url_path(fault.file_name()),
                fault.pos.line
            ),
        })
        .collect()
}

fn whole_seconds(span: Duration) -> Duration {
    Duration::from_secs(span.as_secs())
}

/// What the cells of a page have in common.
struct Around<'a> {
    project: &'a str,
    /// Whether the caller runs pipelines in this project, and whether this one.
    may_run: (bool, bool),
    now: Timestamp,
    links: &'a Links,
    stuck: &'a HashMap<JobId, String>,
    /// What is asked before a job is started by hand.
    questions: &'a HashMap<JobId, String>,
}

fn cell_view(cell: &Cell, around: &Around<'_>) -> JobCell {
    let Around {
        project,
        may_run,
        now,
        links,
        ..
    } = *around;
    let took = match (cell.started_at, cell.finished_at) {
        (Some(start), Some(end)) => duration(end.since(start)),
        (Some(start), None) => duration(whole_seconds(now.since(start))),
        _ => String::new(),
    };
    let (runs, may) = may_run;
    let action = match cell.status {
        _ if !runs || cell.retried => None,
        JobStatus::Manual => Some(("play", "Start", "player-play")),
        JobStatus::Scheduled => Some(("play", "Start now", "player-play")),
        // Where nobody presses them in vain, only what waits for a press shows that it does.
        _ if !may => None,
        JobStatus::Failed | JobStatus::Canceled => Some(("retry", "Retry", "refresh")),
        JobStatus::Created | JobStatus::Pending | JobStatus::Running => Some(("cancel", "Cancel", "x")),
        _ => None,
    };
    let action = action.map(|(verb, label, picture)| Action {
        verb,
        label,
        icon: icon(picture),
        may,
    });
    let status = cell.shown();
    let question = match action.as_ref().map(|action| action.verb) {
        Some("cancel") => Some(format!("Cancel {}?", cell.name)),
        Some("play") => around.questions.get(&cell.id).cloned(),
        _ => None,
    };
    JobCell {
        stuck: around.stuck.get(&cell.id).cloned(),
        question,
        id: cell.id.0,
        name: cell.name.clone(),
        href: format!("/{project}/-/jobs/{}", cell.id),
        icon: status_icon(status),
        status,
        took,
        needs: cell
            .need_names()
            .filter(|needs| !needs.is_empty())
            .map(|needs| needs.join(", "))
            .unwrap_or_default(),
        attempt: cell.attempt,
        run_at: cell
            .run_at
            .filter(|_| cell.status == JobStatus::Scheduled)
            .map(when),
        required: cell.required.clone().map(|by| (by, icon("shield"))),
        downstream: links
            .downstream
            .iter()
            .find(|one| one.job == Some(cell.id))
            .map(|one| {
                (
                    format!("/{}/-/pipelines/{}", one.project, one.id),
                    format!("#{}", one.id),
                    status_icon(&one.status),
                )
            }),
        action,
    }
}

fn node(cell: &Cell) -> Node {
    Node {
        name: cell.name.clone(),
        stage: usize::try_from(cell.stage_index).unwrap_or_default(),
        needs: cell.need_names(),
    }
}

/// Changes whenever the page would look different, but for the time that passes.
fn stamp(pipeline: &Pipeline, cells: &[Cell], links: &Links, stuck: &HashMap<JobId, String>) -> String {
    let mut hasher = DefaultHasher::new();
    pipeline.status.as_str().hash(&mut hasher);
    for cell in cells {
        let stuck = stuck.get(&cell.id);
        (cell.id.0, cell.status.as_str(), cell.retried, stuck).hash(&mut hasher);
    }
    for one in &links.downstream {
        (one.id.0, one.status.as_str()).hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ShowQuery {
    /// `needs` puts jobs behind what they wait for.
    #[serde(default)]
    view: String,
    /// What the asking page shows already.
    #[serde(default)]
    seen: String,
}

pub(super) async fn show(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    PathOf(Numbered { id }): PathOf<Numbered>,
    Params(query): Params<ShowQuery>,
) -> Answer {
    let path = project.path();
    let pipeline = ci.pipeline(project.id, PipelineId(id)).await?;
    let all = results::cells(&ci.db, pipeline.id).await?;
    let links = ci.pipeline_links(&pipeline, &ui.caller().actor).await?;
    let stuck = match all.iter().any(|cell| cell.status == JobStatus::Pending) {
        true => ci.stuck_jobs(project.id, pipeline.id).await?,
        false => HashMap::new(),
    };
    let stamp = stamp(&pipeline, &all, &links, &stuck);
    if query.seen == stamp {
        // htmx leaves the page as it is.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let head = ci.pipeline_head(&project, &pipeline, Page::Jobs, &all).await?;
    let may_run = (project.holds(Permission::PipelineRun), head.may_run);
    let questions = match head.may_run
        && all
            .iter()
            .any(|cell| matches!(cell.status, JobStatus::Manual | JobStatus::Scheduled))
    {
        true => results::questions(&ci.db, pipeline.id).await?,
        false => HashMap::new(),
    };
    let around = Around {
        project: &path,
        may_run,
        now: ci.clock.now(),
        links: &links,
        stuck: &stuck,
        questions: &questions,
    };
    let (earlier, cells): (Vec<Cell>, Vec<Cell>) = all.into_iter().partition(|cell| cell.retried);
    let view = if query.view == "needs" {
        View::Needs
    } else {
        View::Stages
    };
    let nodes: Vec<Node> = cells.iter().map(node).collect();
    let drawing = graph::draw(&nodes, view);
    let mut number = 0;
    let mut card = |card: &graph::Card| {
        let jobs: Vec<JobCell> = card
            .jobs
            .iter()
            .filter_map(|at| cells.get(*at))
            .map(|cell| cell_view(cell, &around))
            .collect();
        number += 1;
        CardView {
            number: number - 1,
            name: card.name.clone(),
            icon: status_icon(together(jobs.iter().map(|job| job.status))),
            jobs,
        }
    };
    let title_of = |at: usize, column: &Column| match column.stage {
        Some(stage) => pipeline.stages.0.get(stage).cloned().or_else(|| {
            let job = column.cards.first()?.jobs.first()?;
            Some(cells.get(*job)?.stage.clone())
        }),
        None => Some(format!("Step {}", at + 1)),
    };
    let columns = drawing
        .columns
        .iter()
        .enumerate()
        .map(|(at, column)| ColumnView {
            title: title_of(at, column).unwrap_or_default(),
            cards: column.cards.iter().map(&mut card).collect(),
        })
        .collect();
    let href = head.line.href.clone();
    let words = if view == View::Needs { "view=needs&" } else { "" };
    let page = ShowPage {
        base: format!("/{path}/-"),
        views: match nodes.iter().any(|node| node.needs.is_some()) {
            true => vec![
                (href.clone(), "By stage", view == View::Stages),
                (format!("{href}?view=needs"), "By needs", view == View::Needs),
            ],
            false => Vec::new(),
        },
        columns,
        lines: drawing.lines,
        size: drawing.size,
        left_out: drawing.left_out,
        faults: notices(&pipeline.faults.0, &path, &pipeline.sha),
        warnings: notices(&pipeline.warnings.0, &path, &pipeline.sha),
        earlier: earlier.iter().map(|cell| cell_view(cell, &around)).collect(),
        poll: (!pipeline.status.is_final()).then(|| format!("{href}?{words}seen={stamp}")),
        upstream: links.upstream.as_ref().map(|one| {
            (
                format!("/{}/-/pipelines/{}", one.project, one.id),
                format!("{} #{}", one.project, one.id),
                status_icon(&one.status),
            )
        }),
        head,
    };
    let title = format!("Pipeline {id}");
    ui.project_page(Tab::Pipelines, &title, &crumbs(&path, &pipeline, ""), &page)
}

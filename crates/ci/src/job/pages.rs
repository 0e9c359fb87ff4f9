//! The job's page and its log.

use super::{Artifact, Given, Job, ansi::Cursor, artifact, sheet::Sheet};
use crate::{
    Ci,
    config::{Inputs, JobInput, as_text},
    pipeline::{Pipeline, PipelineLine, api::Numbered, guard::Buttons, line, status_badge},
    runner,
    status::JobStatus,
};
use askama::Template;
use axum::{
    extract::State,
    response::{
        IntoResponse, Redirect,
        sse::{Event, KeepAlive, Sse},
    },
};
use bascule_core::{JobId, Permission, Result};
use bascule_web::{
    Answer, Crumb, FormBody, InProject, Markup, Params, PathOf, Tab, Ui, Who, bytes, duration, url_encode,
    when,
};
use bascule_wire::{ci_results::LogHits, runner::ARTIFACT_ARCHIVE};
use futures::StreamExt as _;
use http::HeaderMap;
use serde::Deserialize;

struct File {
    href: String,
    kind: String,
    name: String,
    size: String,
    expires: Option<Markup>,
    /// Where it can be looked into.
    browse: Option<String>,
}

#[derive(Template)]
#[template(path = "job/show.html")]
struct ShowPage {
    id: JobId,
    name: String,
    stage: String,
    href: String,
    badge: Markup,
    pipeline: PipelineLine,
    files: Vec<File>,
    log: Markup,
    stream: Option<String>,
    live: bool,
    reason: String,
    waiting: String,
    runner: String,
    took: String,
    queued: String,
    attempt: i64,
    timeout: String,
    environment: String,
    /// Whether it could be started, tried again, canceled.
    play: bool,
    retry: bool,
    cancel: bool,
    buttons: Buttons,
    inputs: Vec<InputField>,
    site: Option<String>,
    /// What is asked before it is started by hand.
    confirm: Option<String>,
    /// How many sections the log's last line is in.
    depth: usize,
    stamped: bool,
    /// What stands in place of an empty log.
    none: &'static str,
    pages: Vec<(String, &'static str)>,
    paged: String,
    search: String,
    hits: Option<LogHits>,
    more: Option<String>,
}

/// One of the job's inputs in the form.
pub(crate) struct InputField {
    pub(crate) name: String,
    pub(crate) value: String,
    /// What the file says where nobody else does.
    pub(crate) default: String,
    pub(crate) description: String,
    /// The values to choose from; empty is any.
    pub(crate) options: Vec<String>,
    pub(crate) kind: String,
}

impl InputField {
    pub(crate) fn new(input: &JobInput, value: &serde_json::Value) -> Self {
        let mut options: Vec<String> = input.options.iter().map(as_text).collect();
        if input.kind == "boolean" && options.is_empty() {
            options = vec!["true".to_owned(), "false".to_owned()];
        }
        if input.kind == "array" {
            options.clear();
        }
        Self {
            name: input.name.clone(),
            value: as_text(value),
            default: as_text(&input.default),
            description: input.description.clone(),
            options,
            kind: input.kind.clone(),
        }
    }

    fn all(job: &Job, given: &Inputs) -> Vec<Self> {
        let inputs = job.spec.0.inputs.iter();
        inputs
            .map(|input| Self::new(input, given.get(&input.name).unwrap_or(&input.default)))
            .collect()
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ShowQuery {
    /// Page of the log, from one.
    page: Option<u64>,
    /// Or the page with this line.
    line: Option<u64>,
    /// Lines that hold this.
    #[serde(default)]
    search: String,
    /// Where an earlier search left off.
    from: Option<String>,
}

pub(super) async fn show(
    State(ci): State<Ci>,
    project: InProject,
    ui: Ui,
    PathOf(Numbered { id }): PathOf<Numbered>,
    Params(query): Params<ShowQuery>,
) -> Answer {
    let path = project.path();
    let job = ci.job(project.id, JobId(id)).await?;
    let pipeline = ci.pipeline(project.id, job.pipeline_id).await?;
    let href = format!("/{path}/-/jobs/{id}");
    let open = !job.status.is_final();
    let mut shown = LogShown::default();
    let mut hits = None;
    // A refresh of the head alone need not render the log.
    if !ui.is_fragment() {
        let page = query.page.map(|page| page.saturating_sub(1));
        let sheet = ci.sheet(&job, page, query.line).await?;
        shown = log_shown(&sheet, open, &href);
        if !query.search.trim().is_empty() {
            hits = Some(
                ci.search_log(job.id, &query.search, query.from.as_deref())
                    .await?,
            );
        }
    }
    let runner = match job.runner_id {
        Some(id) => runner::store::find(&ci.db, id)
            .await?
            .map_or_else(|| id.to_string(), |runner| runner.description),
        None => String::new(),
    };
    let now = ci.clock.now();
    let may_run = project.holds(Permission::PipelineRun);
    let buttons = ci
        .buttons(&project, &pipeline.reference, pipeline.protected)
        .await?;
    let files: Vec<Artifact> = artifact::of_job(&ci.db, job.id)
        .await?
        .into_iter()
        .filter(|file| file.is_kept(now))
        .collect();
    let page = ShowPage {
        id: job.id,
        name: job.name.clone(),
        stage: job.stage.clone(),
        badge: status_badge(job.status.as_str()),
        pipeline: line(&pipeline, &path),
        files: files.iter().map(|file| to_file(file, &href)).collect(),
        depth: shown.depth,
        stamped: shown.html.contains("<time class=\"ts\""),
        log: Markup::trusted(shown.html),
        stream: shown.stream,
        pages: shown.pages,
        paged: shown.paged,
        more: hits.as_ref().and_then(|hits: &LogHits| {
            let next = hits.next.as_ref()?;
            Some(format!("{href}?search={}&from={next}", url_encode(&query.search)))
        }),
        search: query.search,
        hits,
        confirm: job.spec.0.manual_confirmation.clone(),
        none: if open {
            "Nothing has been written yet."
        } else {
            "It wrote nothing."
        },
        live: open,
        reason: job
            .failure_reason
            .as_deref()
            .map(|reason| explain(reason, job.exit_code))
            .unwrap_or_default(),
        waiting: ci.why_waiting(&job).await?,
        runner,
        took: match (job.started_at, job.finished_at) {
            (Some(start), Some(end)) => duration(end.since(start)),
            (Some(start), None) => duration(std::time::Duration::from_secs(now.since(start).as_secs())),
            _ => String::new(),
        },
        queued: match (job.queued_at, job.started_at) {
            (Some(queued), Some(started)) => duration(started.since(queued)),
            _ => String::new(),
        },
        attempt: job.attempt,
        timeout: duration(std::time::Duration::from_secs(
            u64::try_from(job.timeout).unwrap_or_default(),
        )),
        environment: ci.environment_name(&job, &pipeline).await?,
        site: ci
            .sites(project.id)
            .await?
            .into_iter()
            .find(|site| site.job_id == job.id)
            .map(|site| match site.prefix.as_str() {
                "" => format!("/{path}/-/pages/"),
                prefix => format!("/{path}/-/pages/{prefix}/"),
            }),
        inputs: InputField::all(&job, &crate::results::store::inputs(&ci.db, &job).await?),
        play: may_run && matches!(job.status, JobStatus::Manual | JobStatus::Scheduled),
        retry: may_run
            && !job.retried
            && matches!(
                job.status,
                JobStatus::Success | JobStatus::Failed | JobStatus::Canceled
            ),
        cancel: may_run && open,
        buttons,
        href,
    };
    let title = format!("{} ({id})", job.name);
    let crumbs = [
        Crumb::to(&path, format!("/{path}")),
        Crumb::to(
            format!("Pipeline {}", pipeline.id),
            format!("/{path}/-/pipelines/{}", pipeline.id),
        ),
        Crumb::here(&title),
    ];
    ui.project_page(Tab::Pipelines, &title, &crumbs, &page)
}

/// A page of the log, ready to be shown.
#[derive(Default)]
struct LogShown {
    html: String,
    depth: usize,
    stream: Option<String>,
    pages: Vec<(String, &'static str)>,
    paged: String,
}

fn log_shown(sheet: &Sheet, open: bool, href: &str) -> LogShown {
    let mut cursor = sheet.cursor;
    let last = sheet.number + 1 == sheet.count;
    let live = open && last;
    let mut html = cursor.render(&sheet.bytes, !live);
    let depth = cursor.depth();
    for _ in 0..depth {
        html.push_str("</details>");
    }
    let to = |number: u64| format!("{href}?page={}", number + 1);
    let mut pages = Vec::new();
    if sheet.number > 0 {
        pages.push((to(0), "Beginning"));
        pages.push((to(sheet.number - 1), "Before"));
    }
    if !last {
        pages.push((to(sheet.number + 1), "More"));
        pages.push((to(sheet.count - 1), "End"));
    }
    LogShown {
        stream: live.then(|| format!("{href}/log/events?from={cursor}")),
        paged: match sheet.count {
            1 => String::new(),
            count => format!("Page {} of {count}", sheet.number + 1),
        },
        html,
        depth,
        pages,
    }
}

fn to_file(file: &Artifact, href: &str) -> File {
    let zip = file.kind == ARTIFACT_ARCHIVE && file.format == "zip";
    let browse = zip.then(|| format!("{href}/artifacts/browse"));
    let href = if file.kind == ARTIFACT_ARCHIVE {
        format!("{href}/artifacts/download")
    } else {
        format!("{href}/artifacts/{}", file.kind)
    };
    File {
        href,
        kind: file.kind.clone(),
        name: file.file_name.clone(),
        size: bytes(u64::try_from(file.size).unwrap_or_default()),
        expires: file.expires_at.map(when),
        browse,
    }
}

/// A failure reason in plain words.
fn explain(reason: &str, exit_code: Option<i64>) -> String {
    match (reason, exit_code) {
        ("script_failure", Some(code)) => format!("The script ended with exit code {code}."),
        ("script_failure", None) => "The script failed.".to_owned(),
        ("runner_system_failure", _) => {
            "The platform failed, not your job; it is tried again once.".to_owned()
        }
        ("job_execution_timeout", _) => {
            "It took longer than allowed; set `timeout` if it needs more.".to_owned()
        }
        ("trace_size_exceeded", _) => "Its log grew too long; write less to it.".to_owned(),
        ("runner_unsupported", _) => "The runner cannot do what the job asks for.".to_owned(),
        ("image_pull_failure", _) => "Its image could not be fetched.".to_owned(),
        ("missing_dependency_failure", _) => {
            "Artifacts that it takes are not there any more, so it did not start; its log says which.".to_owned()
        }
        ("stuck_or_timeout_failure", _) => {
            "No runner took it within a day; its log says why it waited.".to_owned()
        }
        ("configuration_error", _) => "It asks for what cannot be; its log says what.".to_owned(),
        ("data_integrity_failure", _) => {
            "The platform could not read what the job needs, three times; an administrator finds the cause in the server's log."
                .to_owned()
        }
        (other, _) => format!("It failed: {other}."),
    }
}

impl Ci {
    /// The name of a job's environment, with its variables; empty for a job that has none.
    async fn environment_name(&self, job: &Job, pipeline: &Pipeline) -> Result<String> {
        let Some(environment) = &job.spec.0.environment else {
            return Ok(String::new());
        };
        if !environment.name.contains('$') {
            return Ok(environment.name.clone());
        }
        let Some(info) = self.code.project(job.project_id).await? else {
            return Ok(environment.name.clone());
        };
        let variables = self.job_variables(job, pipeline, &info).await?;
        Ok(variables
            .into_iter()
            .rfind(|variable| variable.key == "CI_ENVIRONMENT_NAME")
            .map_or_else(|| environment.name.clone(), |variable| variable.value))
    }

    /// Why a job that waits does not run yet; empty for other jobs.
    async fn why_waiting(&self, job: &Job) -> Result<String> {
        match job.status {
            JobStatus::Created => return Ok("It waits for the jobs before it.".to_owned()),
            JobStatus::Manual => return Ok("It waits for a person to start it.".to_owned()),
            JobStatus::WaitingForResource => return self.why_resource_waits(job).await,
            JobStatus::Pending => {}
            _ => return Ok(String::new()),
        }
        let Some(waits) = self.why_job_waits(job).await? else {
            return Ok("A runner was offered it and starts it now.".to_owned());
        };
        let mut text = format!("{} Place {} in the queue", waits.reason, waits.place);
        if waits.estimate.is_some() {
            text = format!(
                "{text}, starts in {}",
                crate::runner::queue::in_words(waits.estimate)
            );
        }
        Ok(text + ".")
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct EventsQuery {
    #[serde(default)]
    from: String,
}

/// The log as server-sent events of safe HTML; each event's id is where to go on after a cut.
pub(super) async fn events(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(Numbered { id }): PathOf<Numbered>,
    Params(query): Params<EventsQuery>,
    headers: HeaderMap,
) -> Answer {
    let job = ci.job(project.id, JobId(id)).await?;
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok());
    let mut cursor = Cursor::parse(last.unwrap_or(&query.from));
    let mut kept: Vec<u8> = Vec::new();
    let stream = ci.follow(job.id, cursor.offset).map(move |piece| {
        let piece = piece.map_err(std::io::Error::other)?;
        kept.extend_from_slice(&piece.bytes);
        let before = cursor.offset;
        let html = cursor.render(&kept, piece.last);
        let used = usize::try_from(cursor.offset - before).unwrap_or_default();
        kept.drain(..used);
        let mut events = Vec::new();
        if !html.is_empty() {
            events.push(Ok(Event::default().id(cursor.to_string()).data(html)));
        }
        if piece.last {
            events.push(Ok(Event::default().event("done").data("done")));
        }
        Ok::<_, std::io::Error>(events)
    });
    let flat = stream.flat_map(|events: std::result::Result<Vec<_>, std::io::Error>| {
        futures::stream::iter(events.unwrap_or_else(|error| vec![Err(error)]))
    });
    Ok(Sse::new(flat).keep_alive(KeepAlive::default()).into_response())
}

pub(super) async fn raw(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(Numbered { id }): PathOf<Numbered>,
) -> Answer {
    let job = ci.job(project.id, JobId(id)).await?;
    ci.serve_log(&job, 0, false).await
}

pub(super) async fn download(
    State(ci): State<Ci>,
    project: InProject,
    PathOf(Numbered { id }): PathOf<Numbered>,
) -> Answer {
    let job = ci.job(project.id, JobId(id)).await?;
    Ci::may_take(&project, &job)?;
    ci.serve_artifact(job.id, ARTIFACT_ARCHIVE).await
}

pub(super) async fn download_kind(
    State(ci): State<Ci>,
    project: InProject,
    PathOf((_, _, id, kind)): PathOf<(String, String, i64, String)>,
) -> Answer {
    let job = ci.job(project.id, JobId(id)).await?;
    Ci::may_take(&project, &job)?;
    ci.serve_artifact(job.id, &kind).await
}

fn to_job(project: &str, id: JobId) -> axum::response::Response {
    Redirect::to(&format!("/{project}/-/jobs/{id}")).into_response()
}

pub(super) async fn cancel(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(Numbered { id }): PathOf<Numbered>,
) -> Answer {
    ci.guard_job(&project, JobId(id)).await?;
    let job = ci.cancel_job(project.id, JobId(id), &who.actor).await?;
    Ok(to_job(&project.path(), job.id))
}

pub(super) async fn retry(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(Numbered { id }): PathOf<Numbered>,
    FormBody(fields): FormBody<Vec<(String, String)>>,
) -> Answer {
    ci.guard_job(&project, JobId(id)).await?;
    let job = ci.job(project.id, JobId(id)).await?;
    let given = Given::of_form(&fields, &job);
    let job = ci
        .retry_job_with(&project, JobId(id), &given.inputs, &who.actor)
        .await?;
    Ok(to_job(&project.path(), job.id))
}

pub(super) async fn play(
    State(ci): State<Ci>,
    project: InProject,
    who: Who,
    PathOf(Numbered { id }): PathOf<Numbered>,
    FormBody(fields): FormBody<Vec<(String, String)>>,
) -> Answer {
    let given = Given::of_form(&fields, &ci.job(project.id, JobId(id)).await?);
    let job = ci.play_job_with(&project, JobId(id), given, &who.actor).await?;
    Ok(to_job(&project.path(), job.id))
}

//! The one shell around every page: top bar, the project's tabs, breadcrumbs, content.

use crate::{
    Answer, Failure, Markup, access,
    assets::{highlight_href, href},
    fmt::icon,
};
use askama::Template;
use axum::{
    extract::FromRequestParts,
    response::{Html, IntoResponse},
};
use bascule_core::{Caller, InstanceRole, Permission, Problem, ProjectScope};
use http::{header, request::Parts};

/// Which entry of the top bar is lit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// What happened, what waits.
    Home,
    /// Groups and projects.
    Projects,
    /// Environments over all projects.
    Environments,
    /// Products: which release runs where.
    Products,
    /// Findings over all projects.
    Findings,
    /// Incidents over all projects.
    Incidents,
    /// Measures.
    Insights,
    /// Facts.
    Ledger,
    /// Own account, or the instance's settings.
    Settings,
}

/// Which of a project's tabs is lit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tab {
    /// Files and README.
    Code,
    /// Commits.
    Commits,
    /// Merge requests.
    MergeRequests,
    /// Issues, labels, milestones.
    Issues,
    /// Issues in columns.
    Board,
    /// Pipelines and jobs.
    Pipelines,
    /// Releases.
    Releases,
    /// Environments, deployments, rollouts.
    Environments,
    /// Golden signals and SLOs.
    Telemetry,
    /// Incidents.
    Incidents,
    /// Measures.
    Insights,
    /// Settings.
    Settings,
}

/// A step on the way to where one is.
#[derive(Clone, Debug)]
pub struct Crumb {
    /// What it is called.
    pub label: String,
    /// Where it leads; empty for the present place.
    pub href: String,
}

/// What a page needs to know about the request, to be put into its shell.
#[derive(Clone, Debug)]
pub struct Shell {
    caller: Caller,
    project: Option<ProjectScope>,
    fragment: bool,
    path: String,
    /// To-dos that wait for the caller.
    waiting: Option<i64>,
}

/// The shell as an extractor: `ui: Ui` in a page's handler.
#[derive(Clone, Debug)]
pub struct Ui(Shell);

impl<S: Send + Sync> FromRequestParts<S> for Ui {
    type Rejection = Failure;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let caller = parts
            .extensions
            .get::<Caller>()
            .cloned()
            .unwrap_or_else(Caller::anonymous);
        let Ok(project) = access::maybe_project(parts).await;
        let fragment = parts.headers.contains_key("hx-request") && !parts.headers.contains_key("hx-boosted");
        // Asked for whole pages that people look at, also those that answer a form, and for these once.
        let waiting = match parts.extensions.get::<access::GateRef>().cloned() {
            Some(access::GateRef(gate)) if caller.user.is_some() && !fragment => gate.waiting(&caller).await,
            _ => None,
        };
        Ok(Self(Shell {
            waiting,
            caller,
            project,
            fragment,
            path: parts.uri.path().to_owned(),
        }))
    }
}

struct Link {
    href: String,
    label: &'static str,
    icon: Markup,
    key: &'static str,
    current: bool,
}

#[derive(Template)]
#[template(path = "shell.html")]
struct Page<'a> {
    title: &'a str,
    signed_in: bool,
    user: &'a str,
    admin: bool,
    top: Vec<Link>,
    tabs: Vec<Link>,
    crumbs: &'a [Crumb],
    content: &'a str,
    theme: [Markup; 2],
    styles: [String; 3],
    scripts: [String; 4],
    logo: String,
    path: &'a str,
    waiting: Option<String>,
    bell: Markup,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    problem: &'a Problem,
    icon: Markup,
    signed_in: bool,
}

impl Ui {
    /// Who asks.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0.caller
    }

    /// Whether htmx asks for a part of the page.
    #[must_use]
    pub fn is_fragment(&self) -> bool {
        self.0.fragment
    }

    /// A page of the instance.
    ///
    /// # Errors
    /// The template fails.
    pub fn page(&self, section: Section, title: &str, crumbs: &[Crumb], content: &impl Template) -> Answer {
        self.0
            .respond(Some(section), None, title, crumbs, &content.render()?)
    }

    /// A page of the project that the path names.
    ///
    /// # Errors
    /// The template fails.
    pub fn project_page(&self, tab: Tab, title: &str, crumbs: &[Crumb], content: &impl Template) -> Answer {
        self.0.respond(
            Some(Section::Projects),
            Some(tab),
            title,
            crumbs,
            &content.render()?,
        )
    }

    /// A page outside all sections, such as sign-in.
    ///
    /// # Errors
    /// The template fails.
    pub fn plain(&self, title: &str, content: &impl Template) -> Answer {
        self.0.respond(None, None, title, &[], &content.render()?)
    }

    /// A part of a page alone, for htmx.
    ///
    /// # Errors
    /// The template fails.
    pub fn fragment(&self, content: &impl Template) -> Answer {
        Ok(Html(content.render()?).into_response())
    }
}

impl Crumb {
    /// A step with a link.
    #[must_use]
    pub fn to(label: impl Into<String>, href: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            href: href.into(),
        }
    }

    /// The present place.
    #[must_use]
    pub fn here(label: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            href: String::new(),
        }
    }
}

impl Shell {
    pub(crate) fn bare(caller: Caller) -> Self {
        Self {
            caller,
            project: None,
            fragment: false,
            path: String::new(),
            waiting: None,
        }
    }

    fn respond(
        &self,
        section: Option<Section>,
        tab: Option<Tab>,
        title: &str,
        crumbs: &[Crumb],
        content: &str,
    ) -> Answer {
        let body = if self.fragment {
            content.to_owned()
        } else {
            self.render(section, tab, title, crumbs, content)?
        };
        Ok(([(header::VARY, "HX-Request")], Html(body)).into_response())
    }

    fn render(
        &self,
        section: Option<Section>,
        tab: Option<Tab>,
        title: &str,
        crumbs: &[Crumb],
        content: &str,
    ) -> Result<String, askama::Error> {
        let signed_in = !self.caller.is_anonymous();
        Page {
            title,
            signed_in,
            user: &self.caller.actor.name,
            admin: self.caller.instance_role == InstanceRole::Admin,
            top: if signed_in { self.top(section) } else { Vec::new() },
            tabs: self
                .project
                .as_ref()
                .map(|project| tabs(project, tab))
                .unwrap_or_default(),
            crumbs,
            content,
            theme: [icon("moon"), icon("sun")],
            styles: [href("tabler.css"), href("bascule.css"), highlight_href()],
            scripts: [
                href("theme.js"),
                href("htmx.js"),
                href("echarts.js"),
                href("bascule.js"),
            ],
            logo: href("logo.svg"),
            path: &self.path,
            waiting: self
                .waiting
                .map(|n| if n > 99 { "99+".to_owned() } else { n.to_string() }),
            bell: icon("bell"),
        }
        .render()
    }

    fn top(&self, section: Option<Section>) -> Vec<Link> {
        let link = |to: &str, label, picture: &str, key, of| Link {
            href: to.to_owned(),
            label,
            icon: icon(picture),
            key,
            current: section == Some(of),
        };
        let home = link("/", "Home", "home", "h", Section::Home);
        let projects = link("/explore", "Projects", "folder", "p", Section::Projects);
        if self.caller.instance_role == InstanceRole::External {
            return vec![home, projects];
        }
        vec![
            home,
            projects,
            link(
                "/environments",
                "Environments",
                "server",
                "e",
                Section::Environments,
            ),
            link("/products", "Products", "package", "u", Section::Products),
            link("/findings", "Findings", "shield-check", "f", Section::Findings),
            link("/incidents", "Incidents", "flame", "i", Section::Incidents),
            link("/insights", "Insights", "chart-bar", "m", Section::Insights),
            link("/ledger", "Ledger", "list-check", "l", Section::Ledger),
        ]
    }
}

fn tabs(project: &ProjectScope, tab: Option<Tab>) -> Vec<Link> {
    let base = format!("/{}/{}", project.group, project.name);
    let all = [
        (Permission::CodeRead, Tab::Code, "", "Code", "code", "c"),
        (
            Permission::CodeRead,
            Tab::Commits,
            "/-/commits",
            "Commits",
            "git-commit",
            "o",
        ),
        (
            Permission::CodeRead,
            Tab::MergeRequests,
            "/-/merge-requests",
            "Merge requests",
            "git-pull-request",
            "q",
        ),
        (
            Permission::IssueRead,
            Tab::Issues,
            "/-/issues",
            "Issues",
            "circle-dot",
            "y",
        ),
        (
            Permission::IssueRead,
            Tab::Board,
            "/-/board",
            "Board",
            "layout-kanban",
            "k",
        ),
        (
            Permission::PipelineRead,
            Tab::Pipelines,
            "/-/pipelines",
            "Pipelines",
            "rocket",
            "b",
        ),
        (
            Permission::ReleaseRead,
            Tab::Releases,
            "/-/releases",
            "Releases",
            "tag",
            "r",
        ),
        (
            Permission::EnvironmentRead,
            Tab::Environments,
            "/-/environments",
            "Environments",
            "server",
            "d",
        ),
        (
            Permission::TelemetryRead,
            Tab::Telemetry,
            "/-/telemetry",
            "Telemetry",
            "activity",
            "t",
        ),
        (
            Permission::IncidentRead,
            Tab::Incidents,
            "/-/incidents",
            "Incidents",
            "flame",
            "n",
        ),
        (
            Permission::InsightsRead,
            Tab::Insights,
            "/-/insights",
            "Insights",
            "chart-bar",
            "s",
        ),
        (
            Permission::ProjectManage,
            Tab::Settings,
            "/-/settings",
            "Settings",
            "settings",
            ",",
        ),
    ];
    all.into_iter()
        .filter(|(permission, ..)| project.holds(*permission))
        .map(|(_, of, path, label, picture, key)| Link {
            href: format!("{base}{path}"),
            label,
            icon: icon(picture),
            key,
            current: tab == Some(of),
        })
        .collect()
}

/// The page that tells of a refusal or failure.
pub(crate) fn problem_page(shell: &Shell, problem: &Problem) -> Result<String, askama::Error> {
    let picture = if problem.is_server_fault() {
        "bug"
    } else {
        "hand-stop"
    };
    let content = ProblemPage {
        problem,
        icon: icon(picture),
        signed_in: !shell.caller.is_anonymous(),
    }
    .render()?;
    shell.render(None, None, &problem.what, &[], &content)
}

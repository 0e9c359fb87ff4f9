//! The board's page. Every move is a form with buttons, so that it needs neither script nor mouse; `board.js` adds
//! dragging.

use super::service::Drawn;
use crate::{
    Planning,
    issue::{
        Issue,
        api::NumberPath,
        pages::{base, crumbs, group_crumbs},
        view::{Tag, tags},
    },
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::{get, post},
};
use bascule_core::{GroupScope, Permission, Problem};
use bascule_web::{
    Access, Answer, FormBody, InGroup, InProject, Markup, Params, PathOf, Routes, Section, Tab, Ui, Who,
    assets, icon, url_encode,
};
use bascule_wire::planning::{Availability, BoardMember, Column, MoveIssue, WipRule};
use http::StatusCode;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Planning> {
    let read = Access::Project(Permission::IssueRead);
    Routes::new()
        .page("GET", "/{group}/{project}/-/board", read, get(board))
        .page(
            "POST",
            "/{group}/{project}/-/board/wip",
            Access::Project(Permission::ProjectManage),
            post(set_wip),
        )
        .page(
            "POST",
            "/{group}/{project}/-/board/members",
            Access::Project(Permission::IssueCreate),
            post(member),
        )
        .page(
            "POST",
            "/{group}/{project}/-/issues/{number}/move",
            Access::Project(Permission::IssueManage),
            post(move_issue),
        )
        .page(
            "GET",
            "/{group}/-/board",
            Access::Group(Permission::GroupView),
            get(group_board),
        )
}

struct Card {
    id: String,
    /// How moves name it.
    reference: String,
    shown: String,
    title: String,
    href: String,
    action: String,
    tags: Vec<Tag>,
    assignees: Vec<String>,
    confidential: bool,
    due: Option<String>,
    late: bool,
    comments: i64,
    left: Option<Column>,
    right: Option<Column>,
    above: Option<String>,
    below: Option<String>,
    /// Whether the page begins with the focus on it.
    focused: bool,
}

struct Shown {
    column: &'static str,
    title: &'static str,
    count: i64,
    hidden: i64,
    cards: Vec<Card>,
    more: String,
    limit: Option<i64>,
    over: bool,
    hint: &'static str,
}

#[derive(Template)]
#[template(path = "board/columns.html")]
struct Columns {
    here: String,
    version: i64,
    view: &'static str,
    columns: Vec<Shown>,
    manages: bool,
    problem: Option<Problem>,
    warnings: Vec<String>,
    said: String,
    icons: [Markup; 8],
}

struct Someone {
    member: BoardMember,
    settable: bool,
}

#[derive(Template)]
#[template(path = "board/board.html")]
struct Page {
    heading: String,
    base: String,
    of_group: bool,
    columns: String,
    members: Vec<Someone>,
    today: String,
    wip: Option<Vec<(&'static str, &'static str, bool)>>,
    opens: bool,
    group: String,
    script: String,
    plus: Markup,
}

/// What there is to say besides the board itself.
#[derive(Default)]
struct Said {
    problem: Option<Problem>,
    warnings: Vec<String>,
    text: String,
    /// The card that a whole page begins with the focus on.
    card: String,
}

fn card(planning: &Planning, drawn: &Drawn, issues: &[Issue], at: usize, of_group: bool) -> Option<Card> {
    let issue = issues.get(at)?;
    let path = super::path_of(&drawn.scopes, issue);
    let name = |issue: &Issue| {
        if of_group {
            format!("{}#{}", super::path_of(&drawn.scopes, issue), issue.row.number)
        } else {
            issue.row.number.to_string()
        }
    };
    let column = issue.column();
    let ordered = column != Column::Done;
    let today = planning.today();
    Some(Card {
        id: format!("issue-{}", issue.row.id),
        reference: name(issue),
        shown: if of_group {
            name(issue)
        } else {
            format!("#{}", issue.row.number)
        },
        title: issue.row.title.clone(),
        href: format!("/{path}/-/issues/{}", issue.row.number),
        action: format!("/{path}/-/issues/{}/move", issue.row.number),
        tags: tags(&issue.labels),
        assignees: issue
            .assignees
            .iter()
            .map(|someone| someone.username.clone())
            .collect(),
        confidential: issue.row.confidential,
        late: ordered
            && issue
                .row
                .due_on
                .as_deref()
                .is_some_and(|due| due < today.as_str()),
        due: issue.row.due_on.clone(),
        comments: issue.row.comments,
        left: column.left(),
        right: column.right(),
        above: at
            .checked_sub(1)
            .and_then(|at| issues.get(at))
            .filter(|_| ordered)
            .map(name),
        below: issues.get(at + 1).filter(|_| ordered).map(name),
        focused: false,
    })
}

fn columns(
    planning: &Planning,
    drawn: &Drawn,
    here: &str,
    base: &str,
    of_group: bool,
    said: Said,
) -> Columns {
    let shown = drawn
        .columns
        .iter()
        .map(|(column, count, issues)| {
            let doing = *column == Column::Doing && !of_group && drawn.board.wip != WipRule::Off;
            Shown {
                column: column.as_str(),
                title: column.title(),
                count: *count,
                hidden: *count - i64::try_from(issues.len()).unwrap_or(0),
                cards: (0..issues.len())
                    .filter_map(|at| card(planning, drawn, issues, at, of_group))
                    .map(|card| Card {
                        focused: card.id == said.card,
                        ..card
                    })
                    .collect(),
                more: format!("{base}/issues?column={}", column.as_str()),
                limit: doing.then_some(drawn.board.limit),
                over: doing && *count > drawn.board.limit,
                hint: match column {
                    Column::Open => "What nobody has taken yet. The higher, the more important.",
                    Column::Todo => "Assign an issue, and it comes here.",
                    Column::Doing => "What someone works on: one issue for each member who is there.",
                    Column::Done => "Closed issues, the last one first.",
                },
            }
        })
        .collect();
    Columns {
        here: here.to_owned(),
        version: drawn.board.version,
        view: if of_group { "group" } else { "project" },
        columns: shown,
        manages: drawn.manages,
        problem: said.problem,
        warnings: said.warnings,
        said: said.text,
        icons: [
            icon("arrow-left"),
            icon("arrow-up"),
            icon("arrow-down"),
            icon("arrow-right"),
            icon("grip-vertical"),
            icon("lock"),
            icon("message"),
            icon("calendar"),
        ],
    }
}

#[derive(Deserialize)]
struct Since {
    /// The version that the page has.
    version: Option<i64>,
}

async fn board(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    ui: Ui,
    Params(since): Params<Since>,
) -> Answer {
    let fresh = planning.board_version(project.group_id).await?;
    if ui.is_fragment() && since.version == Some(fresh) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    draw(&planning, &who, &project, &ui, Said::default()).await
}

/// The board of a project: a page of its own, or its columns alone where htmx asks for them.
async fn draw(planning: &Planning, who: &Who, project: &InProject, ui: &Ui, said: Said) -> Answer {
    let drawn = planning.board(who, project).await?;
    let here = format!("{}/board", base(project));
    let columns = columns(planning, &drawn, &here, &base(project), false, said);
    if ui.is_fragment() {
        return ui.fragment(&columns);
    }
    let me = &who.actor.name;
    let sets_others = project.holds(Permission::MemberManage);
    let rules = [
        (WipRule::Refuse, "refuse what goes beyond"),
        (WipRule::Warn, "warn, and let it be"),
        (WipRule::Off, "no limit"),
    ];
    let page = Page {
        heading: "Board".to_owned(),
        base: base(project),
        of_group: false,
        columns: columns.render()?,
        members: drawn
            .board
            .members
            .into_iter()
            .map(|member| Someone {
                settable: who.user.is_some() && (sets_others || member.username == *me),
                member,
            })
            .collect(),
        today: planning.today(),
        wip: project.holds(Permission::ProjectManage).then(|| {
            rules
                .into_iter()
                .map(|(rule, text)| (rule.as_str(), text, rule == drawn.board.wip))
                .collect()
        }),
        opens: project.holds(Permission::IssueCreate),
        group: project.group.clone(),
        script: assets::href("board.js"),
        plus: icon("plus"),
    };
    let title = format!("Board · {}", project.path());
    ui.project_page(
        Tab::Board,
        &title,
        &crumbs(project, Some("Board".to_owned())),
        &page,
    )
}

async fn group_board(
    State(planning): State<Planning>,
    who: Who,
    group: InGroup,
    ui: Ui,
    Params(since): Params<Since>,
) -> Answer {
    let fresh = planning.board_version(group.id).await?;
    if ui.is_fragment() && since.version == Some(fresh) {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    draw_group(&planning, &who, &group, &ui, Said::default()).await
}

/// The board of a group, as [`draw`].
async fn draw_group(planning: &Planning, who: &Who, group: &GroupScope, ui: &Ui, said: Said) -> Answer {
    let drawn = planning.group_board(who, group).await?;
    let base = format!("/{}/-", group.name);
    let columns = columns(planning, &drawn, &format!("{base}/board"), &base, true, said);
    if ui.is_fragment() {
        return ui.fragment(&columns);
    }
    let page = Page {
        heading: format!("Board of {}", group.name),
        base,
        of_group: true,
        columns: columns.render()?,
        members: drawn
            .board
            .members
            .into_iter()
            .map(|member| Someone {
                member,
                settable: false,
            })
            .collect(),
        today: planning.today(),
        wip: None,
        opens: false,
        group: group.name.clone(),
        script: assets::href("board.js"),
        plus: icon("plus"),
    };
    ui.page(
        Section::Projects,
        &format!("Board · {}", group.name),
        &group_crumbs(group, "Board"),
        &page,
    )
}

#[derive(Deserialize)]
struct MoveForm {
    #[serde(default)]
    to: String,
    #[serde(default)]
    before: String,
    #[serde(default)]
    after: String,
    #[serde(default)]
    view: String,
    #[serde(default)]
    card: String,
}

fn given(text: String) -> Option<String> {
    Some(text).filter(|text| !text.trim().is_empty())
}

async fn move_issue(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    PathOf(path): PathOf<NumberPath>,
    ui: Ui,
    FormBody(form): FormBody<MoveForm>,
) -> Answer {
    let number = path.number()?;
    let of_group = form.view == "group";
    let to = match form.to.as_str() {
        "" => None,
        word => Some(Column::parse(word).ok_or_else(|| {
            Problem::invalid("bad_column", "There is no such column.").next("Use open, todo, doing or done.")
        })?),
    };
    let wanted = MoveIssue {
        to,
        before: given(form.before),
        after: given(form.after),
    };
    let outcome = planning.move_issue(&who, &project, number, &wanted).await;
    if form.view == "issue" {
        outcome?;
        return Ok(Redirect::to(&format!("{}/issues/{number}", base(&project))).into_response());
    }
    if outcome.is_ok() && !ui.is_fragment() {
        let board = if of_group {
            format!("/{}/-/board", project.group)
        } else {
            format!("{}/board", base(&project))
        };
        // A keyboard goes on from the card that was moved.
        return Ok(Redirect::to(&format!("{board}#{}", url_encode(&form.card))).into_response());
    }
    let mut status = StatusCode::OK;
    let said = match outcome {
        Ok(warnings) => Said {
            text: match to {
                Some(column) => format!("Issue {number} is in {} now.", column.title()),
                None => format!("Issue {number} has moved."),
            },
            warnings,
            ..Said::default()
        },
        // Told on the board itself, where it is drawn as it was; also to a browser that runs no script, or not yet.
        Err(problem) if !problem.is_server_fault() => {
            let mut card = String::new();
            if !ui.is_fragment() {
                status = StatusCode::from_u16(problem.status).unwrap_or_default();
                card = form.card;
            }
            Said {
                text: format!("Not moved: {}", problem.what),
                problem: Some(problem),
                warnings: Vec::new(),
                card,
            }
        }
        Err(problem) => return Err(problem.into()),
    };
    let mut response = if of_group {
        let group = GroupScope {
            id: project.group_id,
            name: project.group.clone(),
            role: project.role,
        };
        draw_group(&planning, &who, &group, &ui, said).await?
    } else {
        draw(&planning, &who, &project, &ui, said).await?
    };
    *response.status_mut() = status;
    Ok(response)
}

#[derive(Deserialize)]
struct WipForm {
    wip: String,
}

async fn set_wip(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<WipForm>,
) -> Answer {
    let rule = WipRule::parse(&form.wip).ok_or_else(|| {
        Problem::invalid("bad_setting", "There is no such setting.").next("Use refuse, warn or off.")
    })?;
    planning.set_wip(&who, &project, rule).await?;
    Ok(Redirect::to(&format!("{}/board", base(&project))).into_response())
}

#[derive(Deserialize)]
struct MemberForm {
    username: String,
    away: String,
    #[serde(default)]
    until: String,
}

async fn member(
    State(planning): State<Planning>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<MemberForm>,
) -> Answer {
    let availability = Availability {
        away: form.away == "yes",
        until: given(form.until),
    };
    planning
        .set_availability(&who, &project, &form.username, &availability)
        .await?;
    Ok(Redirect::to(&format!("{}/board", base(&project))).into_response())
}

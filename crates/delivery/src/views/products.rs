//! The view of those who change products: which release runs where, which channels it is in, what was recalled,
//! what is waited for, and where a commit is.

use super::{
    Ask, chart,
    commit::newest_first,
    in_order, many, or_dash,
    say::until,
    sign, store, tier, tone,
    waits::{self, Waits},
    words,
};
use crate::Delivery;
use askama::Template;
use axum::{
    extract::State,
    response::Response,
    routing::{get, post},
};
use bascule_core::{Caller, Permission, ProjectId, Result};
use bascule_web::{
    Access, Answer, Crumb, FormBody, InProject, Markup, Params, Routes, Section, Ui, Who, commas, icon,
    url_encode, when,
};
use bascule_wire::{
    delivery::WhyNot,
    views::{Product, ProductPage, ProductPlace, ProductRelease, ProductView, WaitingApproval, WhereIs},
};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};

pub(super) fn routes() -> Routes<Delivery> {
    let read = Access::Project(Permission::EnvironmentRead);
    Routes::new()
        .page("GET", "/products", Access::Insider, get(list))
        .page("GET", "/products/{group}/{project}", read, get(product))
        .page(
            "POST",
            "/products/{group}/{project}/approvals",
            read,
            post(approve),
        )
}

/// Products on one page.
const ROWS: i64 = 50;
/// Environments of a product that are read.
const PLACES: i64 = 5_000;
/// Environments in the matrix; the fleet has all of them.
const SHOWN: usize = 60;
/// Versions beside each other in the matrix.
const COLUMNS: usize = 8;
/// Where nothing serves.
const NOTHING: &str = "nothing yet";
/// Releases listed.
const RELEASES: usize = 30;

/// What the form and the API ask.
#[derive(Clone, Debug, Default, Deserialize, utoipa::IntoParams)]
pub(super) struct ProductQuery {
    /// Words, each of which stands in the product's path.
    #[serde(default)]
    pub q: String,
    /// The last page's `next`.
    #[serde(default)]
    pub after: String,
}

impl Delivery {
    /// A page of the products that the caller may read.
    pub(super) async fn products(&self, caller: &Caller, query: &ProductQuery) -> Result<ProductPage> {
        let sight = self.sight(caller).await?;
        let ask = Ask::new(&query.q, "", "");
        let rows = store::products(&self.db, &sight, &ask.words, &query.after, ROWS + 1).await?;
        let most = usize::try_from(ROWS).unwrap_or(0);
        let more = rows.len() > most;
        let items: Vec<Product> = rows.into_iter().take(most).map(listed).collect();
        Ok(ProductPage {
            next: items.last().filter(|_| more).map(|last| last.project.clone()),
            items,
        })
    }

    /// A product: its releases, its environments, and what is waited for.
    pub(super) async fn product_view(
        &self,
        caller: &Caller,
        project: ProjectId,
        path: &str,
    ) -> Result<ProductView> {
        let (rows, channels, mut places, held) = tokio::try_join!(
            store::releases(&self.db, project),
            store::channels(&self.db, project),
            store::of_project(&self.db, project, PLACES),
            store::held(&self.db, project),
        )?;
        self.overlay(&mut places).await?;
        let releases = releases(&rows, channels, &places);
        let sight = self.sight(caller).await?;
        let waits = self.waits(&sight).await?;
        let mut places: Vec<ProductPlace> = places.into_iter().map(|place| placed(place, &waits)).collect();
        self.unname(&sight, places.iter_mut().map(|place| &mut place.why).collect())
            .await?;
        Ok(ProductView {
            project: path.to_owned(),
            releases,
            places,
            approvals: waiting(&held),
        })
    }
}

impl Delivery {
    /// Whether a commit is in the project's repository here.
    async fn has_commit(&self, project: ProjectId, sha: &str) -> Result<bool> {
        match self.ports.history.find(project, sha).await {
            Ok(found) => Ok(found.is_some()),
            Err(problem) if problem.status < 500 => Ok(false),
            Err(problem) => Err(problem),
        }
    }
}

fn listed(row: store::ProductRow) -> Product {
    let counts = in_order(|state| match state {
        "up_to_date" => row.up_to_date,
        "moving" => row.moving,
        waits::STATE => row.waiting,
        "ready" => row.ready,
        "held" => row.held,
        "blocked" => row.blocked,
        "coupled" => row.coupled,
        "drifted" => row.drifted,
        _ => 0,
    });
    Product {
        project: row.project_path,
        newest: row.newest.unwrap_or_default(),
        installs: row.installs,
        counts,
        recalled: row.recalled,
    }
}

/// Releases with their channels and how often each serves, newest version first.
pub(super) fn releases(
    rows: &[store::ReleaseRow],
    channels: Vec<store::Entered>,
    places: &[store::Place],
) -> Vec<ProductRelease> {
    let mut inside: HashMap<_, Vec<String>> = HashMap::new();
    for entered in channels {
        inside
            .entry(entered.release_id)
            .or_default()
            .push(entered.channel);
    }
    let mut serving: HashMap<&str, i64> = HashMap::new();
    for place in places {
        if let Some(runs) = &place.runs {
            *serving.entry(runs).or_default() += 1;
        }
    }
    let mut all: Vec<ProductRelease> = rows
        .iter()
        .map(|row| ProductRelease {
            version: row.version.clone(),
            sha: row.sha.clone(),
            published_at: row.published_at,
            channels: inside.remove(&row.release_id).unwrap_or_default(),
            recalled: row.recall_reason.clone().unwrap_or_default(),
            runs_in: serving.get(row.version.as_str()).copied().unwrap_or(0),
        })
        .collect();
    all.sort_by(|a, b| newest_first(&a.version, &b.version));
    all
}

fn placed(place: store::Place, waits: &Waits) -> ProductPlace {
    ProductPlace {
        rollout: waits.of(&place.name, &place.project_path).cloned(),
        reported: place.reported(),
        tier: tier(&place.tier),
        declared: place.declared,
        health: health(&place).to_owned(),
        environment: place.name,
        runs: place.runs.unwrap_or_default(),
        since: place.since,
        moving: place.moving.unwrap_or_default(),
        target: place.target.unwrap_or_default(),
        step: place.step.unwrap_or_default(),
        state: place.state.unwrap_or_default(),
        why: place.why.unwrap_or_default(),
    }
}

/// How what serves does.
pub(super) fn health(place: &store::Place) -> &str {
    match (&place.runs, &place.health) {
        (None, _) => "empty",
        (Some(_), Some(state)) => state,
        (Some(_), None) => "gone",
    }
}

/// Which approvals plans wait for.
fn waiting(held: &[store::Held]) -> Vec<WaitingApproval> {
    let all: BTreeSet<WaitingApproval> = held
        .iter()
        .flat_map(|row| {
            row.verdicts.0.iter().filter_map(|verdict| match &verdict.lifts {
                Some(bascule_planner::Lift::When(event)) if verdict.kind == "approval" => {
                    Some(WaitingApproval {
                        environment: row.name.clone(),
                        version: if row.step.is_empty() {
                            &row.target
                        } else {
                            &row.step
                        }
                        .clone(),
                        team: event.strip_prefix("approval by ")?.to_owned(),
                    })
                }
                _ => None,
            })
        })
        .collect();
    all.into_iter().collect()
}

struct Item {
    product: Product,
    bar: Markup,
    installs: String,
}

#[derive(Template)]
#[template(path = "views/products_table.html")]
struct ListTable {
    q: String,
    items: Vec<Item>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "views/products.html")]
struct ListPage {
    q: String,
    empty: bool,
    table: ListTable,
}

async fn list(State(delivery): State<Delivery>, Params(query): Params<ProductQuery>, ui: Ui) -> Answer {
    let page = delivery.products(ui.caller(), &query).await?;
    let table = ListTable {
        q: query.q.clone(),
        next: page.next,
        items: page
            .items
            .into_iter()
            .map(|product| Item {
                bar: chart::bar(&product.project, &chart::parts(&product.counts)),
                installs: commas(product.installs),
                product,
            })
            .collect(),
    };
    if ui.is_fragment() {
        return ui.fragment(&table);
    }
    let page = ListPage {
        empty: table.items.is_empty() && query.q.is_empty(),
        q: query.q,
        table,
    };
    ui.page(Section::Products, "Products", &[], &page)
}

/// A cell of the matrix: what a version is to an environment.
struct Cell {
    version: String,
    /// Classes, by what it is.
    tone: &'static str,
    icon: Markup,
    word: &'static str,
}

/// A row of the matrix.
struct Row {
    place: ProductPlace,
    /// As pages show it.
    state: String,
    since: Option<Markup>,
    reported: Option<Markup>,
    cells: Vec<Option<Cell>>,
}

/// A version above its column.
struct Column {
    version: String,
    recalled: bool,
}

struct Line {
    release: ProductRelease,
    short: String,
    at: Markup,
}

struct Reason {
    text: String,
    places: String,
    state: String,
    /// Where it is decided, and by which command; empty where it lifts by itself.
    href: String,
    next: String,
}

#[derive(Template)]
#[template(path = "views/product.html")]
struct ProductTemplate {
    path: String,
    may_recall: bool,
    /// Whether its code is here too; a site gets releases alone, and a link to a commit would lead nowhere.
    has_code: bool,
    newest: String,
    installs: usize,
    shares: Markup,
    share_list: Vec<(String, i64, usize)>,
    columns: Vec<Column>,
    rows: Vec<Row>,
    hidden: usize,
    reasons: Vec<Reason>,
    approvals: Vec<WaitingApproval>,
    releases: Vec<Line>,
    older: usize,
    commit: String,
    found: Option<WhereIs>,
    short: String,
    environment: String,
    version: String,
    names: Vec<String>,
    why: Option<WhyNot>,
    problem: Option<String>,
    why_problem: Option<String>,
}

#[derive(Deserialize)]
struct Asked {
    /// A commit that is looked for.
    #[serde(default)]
    commit: String,
    /// "Why not?": where, and which version.
    #[serde(default)]
    environment: String,
    #[serde(default)]
    version: String,
}

async fn product(
    State(delivery): State<Delivery>,
    project: InProject,
    Params(asked): Params<Asked>,
    ui: Ui,
) -> Answer {
    let path = project.path();
    let view = delivery.product_view(ui.caller(), project.id, &path).await?;
    let (mut found, mut problem) = (None, None);
    if !asked.commit.trim().is_empty() {
        match delivery
            .where_is(ui.caller(), project.id, &path, &asked.commit)
            .await
        {
            Ok(is) => found = Some(is),
            Err(refused) if refused.status < 500 => {
                problem = Some(format!("{} {}", refused.what, refused.next));
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    let (mut why, mut why_problem) = (None, None);
    if !asked.environment.is_empty() && !asked.version.trim().is_empty() {
        match delivery
            .why_not(ui.caller(), &asked.environment, &path, asked.version.trim())
            .await
        {
            Ok(is) => why = Some(is),
            Err(refused) if refused.status < 500 => {
                why_problem = Some(format!("{} {}", refused.what, refused.next));
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    let has_code = match view.releases.first() {
        Some(release) => delivery.has_commit(project.id, &release.sha).await?,
        None => true,
    };
    let mut page = shown(view, asked, found, problem, why, why_problem);
    page.has_code = has_code;
    page.may_recall = project.holds(Permission::DeployProduction);
    let crumbs = [Crumb::to("Products", "/products"), Crumb::here(path.clone())];
    ui.page(Section::Products, &path, &crumbs, &page)
}

fn shown(
    view: ProductView,
    asked: Asked,
    found: Option<WhereIs>,
    problem: Option<String>,
    why: Option<WhyNot>,
    why_problem: Option<String>,
) -> ProductTemplate {
    let columns = columns(&view);
    let share_list = shares(&view);
    let installs = view.places.len();
    let rows: Vec<Row> = view
        .places
        .iter()
        .take(SHOWN)
        .map(|place| Row {
            cells: columns
                .iter()
                .map(|column| cell(place, &column.version))
                .collect(),
            since: place.since.map(when),
            reported: place.reported.map(|report| when(report.at)),
            state: stands(place).to_owned(),
            place: place.clone(),
        })
        .collect();
    ProductTemplate {
        newest: view
            .releases
            .first()
            .map(|r| r.version.clone())
            .unwrap_or_default(),
        installs,
        shares: chart::bar(
            "Environments by version",
            &share_list
                .iter()
                .enumerate()
                .map(|(at, (version, count))| chart::Part {
                    class: format!("fill v-{}", colour(at, version)),
                    label: version.clone(),
                    count: *count,
                })
                .collect::<Vec<_>>(),
        ),
        share_list: share_list
            .into_iter()
            .enumerate()
            .map(|(at, (version, count))| {
                let colour = colour(at, &version);
                (version, count, colour)
            })
            .collect(),
        reasons: reasons(&view.project, &view.places),
        names: view
            .places
            .iter()
            .map(|place| place.environment.clone())
            .take(500)
            .collect(),
        hidden: installs.saturating_sub(rows.len()),
        rows,
        columns,
        approvals: view.approvals,
        older: view.releases.len().saturating_sub(RELEASES),
        releases: view
            .releases
            .into_iter()
            .take(RELEASES)
            .map(|release| Line {
                short: release.sha.chars().take(8).collect(),
                at: when(release.published_at),
                release,
            })
            .collect(),
        short: found.iter().flat_map(|is| is.commit.chars().take(8)).collect(),
        path: view.project,
        may_recall: false,
        has_code: true,
        commit: asked.commit,
        environment: asked.environment,
        version: asked.version,
        found,
        problem,
        why,
        why_problem,
    }
}

/// The versions that matter: what runs, what is under way, what should, and the newest two.
fn columns(view: &ProductView) -> Vec<Column> {
    let mut versions: Vec<&str> = view
        .places
        .iter()
        .flat_map(|place| [&place.runs, &place.moving, &place.target, &place.step])
        .chain(view.releases.iter().take(2).map(|release| &release.version))
        .filter(|version| !version.is_empty())
        .map(String::as_str)
        .collect();
    versions.sort_by(|a, b| newest_first(a, b));
    versions.dedup();
    versions
        .into_iter()
        .take(COLUMNS)
        .map(|version| Column {
            recalled: view
                .releases
                .iter()
                .any(|release| release.version == version && !release.recalled.is_empty()),
            version: version.to_owned(),
        })
        .collect()
}

fn cell(place: &ProductPlace, version: &str) -> Option<Cell> {
    let cell = |tone, name, word| {
        Some(Cell {
            version: version.to_owned(),
            tone,
            icon: icon(name),
            word,
        })
    };
    if place.moving == version {
        return cell("state s-moving", "loader", "coming");
    }
    if place.runs == version {
        return match place.health.as_str() {
            "healthy" | "draining" => cell("state s-healthy", "circle-check", "runs"),
            "starting" | "fetching" => cell("state s-moving", "loader", "starts"),
            _ => cell("state s-unhealthy", "circle-x", "ill"),
        };
    }
    if place.step == version && place.target != version {
        return cell("state", "arrow-right", "next");
    }
    if place.target == version {
        return match place.state.as_str() {
            "held" | "blocked" | "coupled" => cell("state s-held", "clock", "waits"),
            _ => cell("state", "target", "should"),
        };
    }
    None
}

/// The number of a version's colour; grey for none and for the oldest.
fn colour(at: usize, version: &str) -> usize {
    if version == NOTHING { 7 } else { at.min(7) }
}

/// How many environments each version serves in, newest first.
fn shares(view: &ProductView) -> Vec<(String, i64)> {
    let mut all: BTreeMap<&str, i64> = BTreeMap::new();
    for place in &view.places {
        let runs: &str = if place.runs.is_empty() {
            NOTHING
        } else {
            &place.runs
        };
        *all.entry(runs).or_default() += 1;
    }
    let mut all: Vec<(String, i64)> = all
        .into_iter()
        .map(|(version, count)| (version.to_owned(), count))
        .collect();
    all.sort_by(|a, b| newest_first(&a.0, &b.0));
    all
}

/// The state that a page shows: a rollout that waits for a person is not on its way.
fn stands(place: &ProductPlace) -> &str {
    match place.rollout {
        Some(_) => waits::STATE,
        None => &place.state,
    }
}

/// What holds the next version, each reason once with the environments where it stands.
fn reasons(path: &str, places: &[ProductPlace]) -> Vec<Reason> {
    let waits = places.iter().filter_map(|place| {
        let wait = place.rollout.as_ref()?;
        Some(Reason {
            text: wait.why.clone(),
            state: waits::STATE.to_owned(),
            places: place.environment.clone(),
            href: format!("/{path}/-/rollouts/{}", wait.id),
            next: wait.next.clone(),
        })
    });
    let mut all: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for place in places
        .iter()
        .filter(|place| matches!(place.state.as_str(), "held" | "blocked" | "coupled" | "drifted"))
    {
        all.entry((place.why.as_str(), place.state.as_str()))
            .or_default()
            .push(&place.environment);
    }
    let mut all: Vec<(&(&str, &str), &Vec<&str>)> = all.iter().collect();
    all.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
    let held = all.into_iter().map(|((why, state), places)| {
        let more = places.len().saturating_sub(6);
        let named: Vec<&str> = places.iter().take(6).copied().collect();
        let rest = if more > 0 {
            format!(" and {more} more")
        } else {
            String::new()
        };
        Reason {
            text: (*why).to_owned(),
            state: (*state).to_owned(),
            places: format!("{}{rest}", named.join(", ")),
            href: String::new(),
            next: String::new(),
        }
    });
    waits.chain(held).take(12).collect()
}

#[derive(Deserialize)]
struct ApprovalForm {
    environment: String,
    version: String,
    team: String,
}

async fn approve(
    State(delivery): State<Delivery>,
    project: InProject,
    who: Who,
    FormBody(form): FormBody<ApprovalForm>,
) -> Answer<Response> {
    let scope = format!("environment:{}", form.environment);
    delivery
        .approve(&who, project.id, &form.version, &scope, &form.team)
        .await?;
    Ok(crate::pages::see(&format!("/products/{}", project.path())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_planner::{Lift, Verdict};
    use bascule_store::Json;
    use bascule_wire::agent::Tier;

    fn place(environment: &str, runs: &str, target: &str, state: &str, why: &str) -> ProductPlace {
        ProductPlace {
            environment: environment.into(),
            tier: Tier::Production,
            declared: true,
            runs: runs.into(),
            since: None,
            health: "healthy".into(),
            moving: String::new(),
            target: target.into(),
            step: String::new(),
            state: state.into(),
            why: why.into(),
            rollout: None,
            reported: None,
        }
    }

    #[test]
    fn the_matrix_says_what_runs_what_waits_and_orders_versions_as_versions() {
        let view = ProductView {
            project: "health/clinic".into(),
            releases: Vec::new(),
            places: vec![
                place("site-7", "1.9.0", "1.10.0", "held", "1.10.0 waits for the window"),
                place("site-8", "1.9.0", "1.10.0", "held", "1.10.0 waits for the window"),
                place("site-9", "1.10.0", "1.10.0", "up_to_date", ""),
            ],
            approvals: Vec::new(),
        };
        let columns: Vec<String> = columns(&view).into_iter().map(|column| column.version).collect();
        assert_eq!(columns, ["1.10.0", "1.9.0"]);
        let first = view.places.first().unwrap();
        let words: Vec<&str> = columns
            .iter()
            .map(|version| cell(first, version).map_or("", |cell| cell.word))
            .collect();
        assert_eq!(words, ["waits", "runs"]);
        let reasons = reasons("health/clinic", &view.places);
        assert_eq!(reasons.len(), 1);
        assert_eq!(reasons[0].places, "site-7, site-8");
        assert_eq!(shares(&view), [("1.10.0".to_owned(), 1), ("1.9.0".to_owned(), 2)]);
    }

    #[test]
    fn approvals_that_are_waited_for_name_team_and_version() {
        let verdict = |kind: &str, event: &str| Verdict {
            kind: kind.into(),
            why: format!("waits for {event}"),
            lifts: Some(Lift::When(event.into())),
        };
        let held = store::Held {
            name: "site-7".into(),
            step: "1.1.0".into(),
            target: "1.2.0".into(),
            verdicts: Json(vec![
                verdict("approval", "approval by security"),
                verdict("health", "health/auth to be healthy"),
            ]),
        };
        assert_eq!(
            waiting(&[held]),
            [WaitingApproval {
                environment: "site-7".into(),
                version: "1.1.0".into(),
                team: "security".into()
            }]
        );
    }
}

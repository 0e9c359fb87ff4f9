//! What the pages of environments show, for programs: the map, windows, what runs; and what people have said: held
//! changes, recalls, approvals.

use super::{environment, map::MapQuery, store};
use crate::{
    Delivery,
    catalogue::store as catalogue,
    site::{self, Suppressed, store as sites},
};
use axum::{Json, extract::State};
use bascule_core::{Caller, Permission, Problem, ProjectId, Result};
use bascule_web::{Access, Answer, InProject, Params, PathOf, Routes, Who, routes};
use bascule_wire::views::{
    EnvironmentPage, GivenApproval, RecalledRelease, SiteTree, SiteWindows, Suppression, WindowOpening,
};
use std::time::Duration;

pub(super) fn routes() -> Routes<Delivery> {
    let read = Access::Project(Permission::EnvironmentRead);
    Routes::new()
        .api(Access::Insider, routes!(map))
        .api(Access::Insider, routes!(windows))
        .api(Access::Insider, routes!(tree))
        .api(Access::Insider, routes!(suppressions))
        .api(read, routes!(recalls))
        .api(read, routes!(approvals))
}

/// Openings told, and how far is looked for them.
const OPENINGS: usize = 50;
const AHEAD: Duration = Duration::from_secs(62 * 86_400);

/// A page of all environments that the caller may read, each with its health and how its products stand.
#[utoipa::path(
    get, path = "/api/v1/environments", tag = "delivery", params(MapQuery),
    responses((status = 200, body = EnvironmentPage))
)]
async fn map(
    State(delivery): State<Delivery>,
    who: Who,
    Params(query): Params<MapQuery>,
) -> Answer<Json<EnvironmentPage>> {
    let sight = delivery.sight(&who).await?;
    Ok(Json(delivery.board(&who, &sight, &query).await?))
}

/// When changes may happen in an environment, and why they are held now.
#[utoipa::path(
    get, path = "/api/v1/plans/{environment}/windows", tag = "delivery", params(("environment" = String, Path)),
    responses((status = 200, body = SiteWindows), (status = 404, body = Problem))
)]
async fn windows(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<Json<SiteWindows>> {
    Ok(Json(delivery.site_windows(&who, &environment).await?))
}

/// What runs in an environment, down to the instance.
#[utoipa::path(
    get, path = "/api/v1/plans/{environment}/tree", tag = "delivery", params(("environment" = String, Path)),
    responses((status = 200, body = SiteTree), (status = 404, body = Problem))
)]
async fn tree(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<Json<SiteTree>> {
    Ok(Json(delivery.site_tree(&who, &environment).await?))
}

/// Where changes are held, and why.
#[utoipa::path(
    get, path = "/api/v1/suppressions", tag = "delivery", responses((status = 200, body = Vec<Suppression>))
)]
async fn suppressions(State(delivery): State<Delivery>, who: Who) -> Answer<Json<Vec<Suppression>>> {
    Ok(Json(delivery.suppressions(&who).await?))
}

/// A product's releases that were recalled, newest first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/recalls", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<RecalledRelease>))
)]
async fn recalls(State(delivery): State<Delivery>, project: InProject) -> Answer<Json<Vec<RecalledRelease>>> {
    Ok(Json(delivery.recalls(project.id).await?))
}

/// Approvals that were given for a product's versions, newest first.
#[utoipa::path(
    get, path = "/api/v1/projects/{group}/{project}/approvals", tag = "delivery",
    params(("group" = String, Path), ("project" = String, Path)),
    responses((status = 200, body = Vec<GivenApproval>))
)]
async fn approvals(State(delivery): State<Delivery>, project: InProject) -> Answer<Json<Vec<GivenApproval>>> {
    Ok(Json(
        store::given_approvals(&delivery.db, project.id)
            .await?
            .into_iter()
            .map(given)
            .collect(),
    ))
}

fn given(row: store::GivenRow) -> GivenApproval {
    GivenApproval {
        version: row.version,
        scope: row.scope,
        team: row.team,
        actor: row.actor,
        at: row.at,
    }
}

fn told(open: Suppressed) -> Suppression {
    Suppression {
        environment: open.site,
        cause: open.cause,
        reason: open.reason,
        actor: open.actor,
        since: open.opened_at,
        until: open.until_at,
    }
}

impl Delivery {
    /// Refuses an environment in which the caller may read nothing.
    async fn seen_site(&self, caller: &Caller, name: &str) -> Result<()> {
        let sight = self.sight(caller).await?;
        if store::site_counts(&self.db, &sight, name).await?.is_empty() {
            return Err(site::service::unknown_site(name));
        }
        Ok(())
    }

    async fn site_windows(&self, caller: &Caller, name: &str) -> Result<SiteWindows> {
        self.seen_site(caller, name).await?;
        let now = self.now();
        let declared = self.site(name).await?;
        let calendar = declared
            .as_ref()
            .and_then(site::Site::calendar)
            .unwrap_or_default();
        let openings = calendar.openings_between(now, now.plus(AHEAD), OPENINGS);
        Ok(SiteWindows {
            environment: name.to_owned(),
            always: calendar.is_always(),
            open: calendar.is_open(now),
            held: sites::suppressed(&self.db, now)
                .await?
                .into_iter()
                .filter(|open| open.site == name || open.site == "*")
                .map(told)
                .collect(),
            openings: openings
                .into_iter()
                .map(|opening| WindowOpening {
                    label: opening.label,
                    from: opening.from,
                    to: opening.to,
                })
                .collect(),
        })
    }

    async fn site_tree(&self, caller: &Caller, name: &str) -> Result<SiteTree> {
        let sight = self.sight(caller).await?;
        let (places, counted) = environment::places(self, &sight, name).await?;
        let apart = self.site(name).await?.is_some_and(|site| site.disconnected);
        let all: i64 = counted.iter().map(|counted| counted.n).sum();
        Ok(SiteTree {
            environment: name.to_owned(),
            hidden: all - i64::try_from(places.len()).unwrap_or(0),
            machines: environment::machines(self, &places, apart).await?,
        })
    }

    /// Where changes are held, of environments in which the caller may read something.
    async fn suppressions(&self, caller: &Caller) -> Result<Vec<Suppression>> {
        let sight = self.sight(caller).await?;
        let open = sites::suppressed(&self.db, self.now()).await?;
        let names: Vec<String> = open.iter().map(|open| open.site.clone()).collect();
        let seen = store::seen_names(&self.db, &sight, &names).await?;
        Ok(open
            .into_iter()
            .filter(|open| open.site == "*" || seen.contains(&open.site))
            .map(told)
            .collect())
    }

    async fn recalls(&self, project: ProjectId) -> Result<Vec<RecalledRelease>> {
        Ok(catalogue::of_project(&self.db, project)
            .await?
            .into_iter()
            .filter_map(|listed| {
                Some(RecalledRelease {
                    reason: listed.recall_reason?,
                    floor: listed.recall_floor.unwrap_or_default(),
                    version: listed.version,
                })
            })
            .collect())
    }
}

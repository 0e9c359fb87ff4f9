//! The queries of the views. Each reads a page or one environment's worth, whatever the size of the fleet.

use super::{Ask, Sight, waits};
use crate::{plan::store::WORST, site::UNKNOWN_PRODUCT};
use bascule_core::{DeploymentId, EnvironmentId, ProjectId, ReleaseId, RolloutId, Timestamp};
use bascule_planner::Verdict;
use bascule_store::{Json, Query, Result, ToSql, Value, args, bind, bind_all, row};

/// Conditions and the values they bind.
struct Clause {
    sql: String,
    args: Vec<Value>,
}

impl Clause {
    fn new() -> Self {
        Self {
            sql: "e.pruned_at IS NULL".to_owned(),
            args: Vec::new(),
        }
    }

    fn bind(&mut self, value: &(impl ToSql + ?Sized)) -> String {
        bind(&mut self.args, value)
    }

    fn bind_all<T: ToSql>(&mut self, values: &[T]) -> String {
        bind_all(&mut self.args, values)
    }

    fn and(&mut self, condition: &str) {
        self.sql.push_str(" AND ");
        self.sql.push_str(condition);
    }

    /// Only what the caller may read.
    fn seen(&mut self, sight: &Sight) {
        match sight {
            Sight::All => {}
            Sight::Some { shown, .. } if shown.is_empty() => self.and("1 = 0"),
            Sight::Some { shown, .. } => {
                let all: Vec<ProjectId> = shown.iter().copied().collect();
                let places = self.bind_all(&all);
                self.and(&format!("e.project_id IN ({places})"));
            }
        }
    }

    /// Each word stands in one of the columns. They are looked at as one text: a word holds no space, so none is
    /// found across two of them.
    fn words(&mut self, words: &[String], columns: &[&str]) {
        let text = columns.join(" || ' ' || ");
        for word in words {
            let place = self.bind(pattern(word).as_str());
            self.and(&format!("LOWER({text}) LIKE {place} ESCAPE '\\'"));
        }
    }

    /// Of a page of the fleet.
    fn ask(&mut self, sight: &Sight, words: &[String]) {
        self.seen(sight);
        let mut columns = vec!["e.project_path", "e.name", "p.current", "p.target"];
        // A reason may name products that others do not see; who does not see all must not find out by asking.
        if matches!(sight, Sight::All) {
            columns.push("p.why");
        }
        self.words(words, &columns);
    }
}

/// A word as a pattern, with nothing in it that is special there.
fn pattern(word: &str) -> String {
    let mut text = String::from("%");
    for c in word.to_lowercase().chars() {
        if matches!(c, '%' | '_' | '\\') {
            text.push('\\');
        }
        text.push(c);
    }
    text.push('%');
    text
}

/// Whether the rollout under way waits for a person.
const WAITS: &str = "EXISTS (SELECT 1 FROM rollout r WHERE r.environment_id = e.id AND r.finished_at IS NULL
     AND r.status IN ('waiting', 'paused'))";

/// The condition that an install stands in one of the known states. What waits for a person is moving to the planner.
fn stands(state: &str) -> String {
    match state {
        "moving" => format!("p.state = 'moving' AND NOT {WAITS}"),
        waits::STATE => format!("p.state = 'moving' AND {WAITS}"),
        known => format!("p.state = '{known}'"),
    }
}

row! { struct Id { id: ProjectId } }

/// Projects that have an environment: what a caller sees is never more.
pub(crate) async fn projects(db: &impl Query) -> Result<Vec<ProjectId>> {
    let sql = "SELECT DISTINCT project_id AS id FROM environment LIMIT 100000";
    Ok(db
        .all::<Id>(sql, args![])
        .await?
        .into_iter()
        .map(|row| row.id)
        .collect())
}

row! {
    struct Named {
        #[allow(dead_code, reason = "what is distinct is in the order of it")]
        project_path: String,
        project_id: ProjectId,
    }
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Line {
        pub name: String,
        pub tier: String,
        pub project_path: String,
        pub declared: bool,
        pub state: String,
        pub current: String,
        pub target: String,
        pub step: String,
        pub why: String,
        pub at: Timestamp,
    }
}

const LINE: &str =
    "e.name, e.tier, e.project_path, e.declared, p.state, p.current, p.target, p.step, p.why, p.at";

/// A page of the fleet, by environment and product, after a place.
pub(crate) async fn fleet(db: &impl Query, sight: &Sight, ask: &Ask, limit: i64) -> Result<Vec<Line>> {
    let mut clause = Clause::new();
    clause.ask(sight, &ask.words);
    if !ask.state.is_empty() {
        clause.and(&stands(&ask.state));
    }
    if let Some((name, path)) = &ask.after {
        let (name, path) = (clause.bind(name.as_str()), clause.bind(path.as_str()));
        clause.and(&format!("(e.name, e.project_path) > ({name}, {path})"));
    }
    let limit = clause.bind(&limit);
    let sql = format!(
        "SELECT {LINE} FROM environment e JOIN plan p ON p.environment_id = e.id WHERE {}
         ORDER BY e.name, e.project_path LIMIT {limit}",
        clause.sql
    );
    db.all(&sql, clause.args).await
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Counted {
        pub state: String,
        pub n: i64,
    }
}

/// How many installs stand in each state.
pub(crate) async fn counts(db: &impl Query, sight: &Sight, words: &[String]) -> Result<Vec<Counted>> {
    if words.is_empty() && matches!(sight, Sight::All) {
        // Answered from the index on states alone.
        let sql = "SELECT state, COUNT(*) AS n FROM plan GROUP BY state LIMIT 100";
        let counted = db.all(sql, args![]).await?;
        return apart(db, counted, Clause::new()).await;
    }
    let ask = || {
        let mut clause = Clause::new();
        clause.ask(sight, words);
        clause
    };
    let clause = ask();
    let sql = format!(
        "SELECT p.state, COUNT(*) AS n FROM environment e JOIN plan p ON p.environment_id = e.id WHERE {}
         GROUP BY p.state LIMIT 100",
        clause.sql
    );
    let counted = db.all(&sql, clause.args).await?;
    apart(db, counted, ask()).await
}

/// Takes those that wait for a person out of those that move.
async fn apart(db: &impl Query, mut counted: Vec<Counted>, clause: Clause) -> Result<Vec<Counted>> {
    let Some(moving) = counted.iter_mut().find(|counted| counted.state == "moving") else {
        return Ok(counted);
    };
    let sql = format!(
        "SELECT COUNT(*) AS n FROM environment e JOIN plan p ON p.environment_id = e.id WHERE {} AND {}",
        clause.sql,
        stands(waits::STATE)
    );
    let n = db.count(&sql, clause.args).await?;
    moving.n -= n;
    counted.push(Counted {
        state: waits::STATE.to_owned(),
        n,
    });
    Ok(counted)
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct ProductRow {
        pub project_path: String,
        pub installs: i64,
        pub newest: Option<String>,
        pub recalled: i64,
        pub up_to_date: i64,
        pub moving: i64,
        pub waiting: i64,
        pub ready: i64,
        pub held: i64,
        pub blocked: i64,
        pub coupled: i64,
        pub drifted: i64,
    }
}

/// Products by path, after one.
pub(crate) async fn products(
    db: &impl Query,
    sight: &Sight,
    words: &[String],
    after: &str,
    limit: i64,
) -> Result<Vec<ProductRow>> {
    let mut clause = Clause::new();
    clause.seen(sight);
    clause.words(words, &["e.project_path"]);
    let after = clause.bind(after);
    clause.and(&format!("e.project_path > {after}"));
    let limit = clause.bind(&limit);
    let sql = format!(
        "SELECT DISTINCT e.project_path, e.project_id FROM environment e WHERE {} ORDER BY e.project_path LIMIT {limit}",
        clause.sql
    );
    let ids: Vec<ProjectId> = db
        .all::<Named>(&sql, clause.args)
        .await?
        .into_iter()
        .map(|row| row.project_id)
        .collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // Only what is shown is counted.
    let mut clause = Clause::new();
    let places = clause.bind_all(&ids);
    let sql = format!(
        "SELECT MIN(e.project_path) AS project_path, COUNT(*) AS installs, {},
                (SELECT c.version FROM product x JOIN catalogue_release c ON c.release_id = x.release_id
                 WHERE x.project_id = e.project_id) AS newest,
                (SELECT COUNT(*) FROM catalogue_release r
                 WHERE r.project_id = e.project_id AND r.recall_reason IS NOT NULL) AS recalled
         FROM environment e LEFT JOIN plan p ON p.environment_id = e.id WHERE e.project_id IN ({places}) AND e.pruned_at IS NULL
         GROUP BY e.project_id ORDER BY MIN(e.project_path) LIMIT 1000",
        by_state()
    );
    db.all(&sql, clause.args).await
}

/// A column for each state, with how many rows stand in it.
fn by_state() -> String {
    let all: Vec<String> = super::STATES
        .iter()
        .map(|state| format!("SUM(CASE WHEN {} THEN 1 ELSE 0 END) AS {state}", stands(state)))
        .collect();
    all.join(", ")
}

row! {
    /// A product in an environment, with all that the views show of it.
    #[derive(Clone, Debug)]
    pub(crate) struct Place {
        pub id: EnvironmentId,
        pub project_path: String,
        pub name: String,
        pub tier: String,
        pub declared: bool,
        pub url: Option<String>,
        pub agent: Option<String>,
        pub agent_online: Option<bool>,
        pub serving_id: Option<DeploymentId>,
        pub release_id: Option<ReleaseId>,
        pub runs: Option<String>,
        pub since: Option<Timestamp>,
        pub moving_id: Option<DeploymentId>,
        pub moving: Option<String>,
        pub moving_status: Option<String>,
        pub health: Option<String>,
        pub state: Option<String>,
        pub target: Option<String>,
        pub step: Option<String>,
        pub why: Option<String>,
        /// The report that tells what runs, where one does; no query finds it, see `reported`.
        pub reported_at: Option<Timestamp>,
        pub reported_by: Option<i64>,
    }
}

/// Those that need a look first.
const URGENT: &str =
    "CASE p.state WHEN 'coupled' THEN 0 WHEN 'drifted' THEN 1 WHEN 'held' THEN 2 WHEN 'blocked' THEN 3
     WHEN 'moving' THEN 4 WHEN 'ready' THEN 5 ELSE 6 END";

async fn places(db: &impl Query, clause: Clause, order: &str, limit: i64) -> Result<Vec<Place>> {
    let sql = format!(
        "SELECT e.id, e.project_path, e.name, e.tier, e.declared, e.url, a.name AS agent, a.online AS agent_online,
                e.serving_id, d.release_id, d.version AS runs, d.finished_at AS since, o.id AS moving_id,
                o.version AS moving, o.status AS moving_status,
                {WORST} AS health,
                p.state, p.target, p.step, p.why,
                CAST(NULL AS BIGINT) AS reported_at, CAST(NULL AS BIGINT) AS reported_by
         FROM environment e LEFT JOIN agent a ON a.id = e.agent_id LEFT JOIN deployment d ON d.id = e.serving_id
              LEFT JOIN deployment o ON o.environment_id = e.id AND o.finished_at IS NULL
              LEFT JOIN plan p ON p.environment_id = e.id
         WHERE {} ORDER BY {order} LIMIT {limit}",
        clause.sql
    );
    db.all(&sql, clause.args).await
}

/// Where a product belongs.
pub(crate) async fn of_project(db: &impl Query, project: ProjectId, limit: i64) -> Result<Vec<Place>> {
    let mut clause = Clause::new();
    let place = clause.bind(&project);
    clause.and(&format!("e.project_id = {place}"));
    places(db, clause, &format!("{URGENT}, e.name"), limit).await
}

/// What belongs in an environment.
pub(crate) async fn of_site(db: &impl Query, sight: &Sight, name: &str, limit: i64) -> Result<Vec<Place>> {
    let mut clause = Clause::new();
    let place = clause.bind(name);
    clause.and(&format!("e.name = {place}"));
    clause.seen(sight);
    places(db, clause, &format!("{URGENT}, e.project_path"), limit).await
}

row! {
    /// An install that no agent of ours looks after.
    pub(crate) struct Unlinked {
        pub name: String,
        pub project_path: String,
    }
}

/// Installs in some environments that no agent of ours looks after.
pub(crate) async fn unlinked(db: &impl Query, sight: &Sight, names: &[String]) -> Result<Vec<Unlinked>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut clause = Clause::new();
    let places = clause.bind_all(names);
    clause.and(&format!("e.name IN ({places}) AND e.agent_id IS NULL"));
    clause.seen(sight);
    let sql = format!(
        "SELECT e.name, e.project_path FROM environment e WHERE {} LIMIT 100000",
        clause.sql
    );
    db.all(&sql, clause.args).await
}

row! {
    /// A rollout that waits for a person.
    #[derive(Clone, Debug)]
    pub(crate) struct WaitingRow {
        pub id: RolloutId,
        pub name: String,
        pub project_path: String,
        pub version: String,
        pub weight: i64,
        pub status: String,
        pub reason: String,
        pub step_at: Timestamp,
    }
}

/// Rollouts that wait for a person.
pub(crate) async fn waiting_rollouts(db: &impl Query, sight: &Sight) -> Result<Vec<WaitingRow>> {
    let mut clause = Clause::new();
    clause.seen(sight);
    let sql = format!(
        "SELECT r.id, e.name, e.project_path, r.version, r.weight, r.status, r.reason, r.step_at
         FROM rollout r JOIN environment e ON e.id = r.environment_id
         WHERE r.finished_at IS NULL AND r.status IN ('waiting', 'paused') AND {} ORDER BY r.step_at LIMIT 1000",
        clause.sql
    );
    db.all(&sql, clause.args).await
}

/// How many products the caller sees in an environment, by state.
pub(crate) async fn site_counts(db: &impl Query, sight: &Sight, name: &str) -> Result<Vec<Counted>> {
    let mut clause = Clause::new();
    let place = clause.bind(name);
    clause.and(&format!("e.name = {place}"));
    clause.seen(sight);
    let sql = format!(
        "SELECT s.state, COUNT(*) AS n FROM (
           SELECT CASE WHEN {} THEN '{}' ELSE COALESCE(p.state, '') END AS state FROM environment e
           LEFT JOIN plan p ON p.environment_id = e.id WHERE {}) s GROUP BY s.state LIMIT 100",
        stands(waits::STATE),
        waits::STATE,
        clause.sql
    );
    db.all(&sql, clause.args).await
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Verdicts {
        pub environment_id: EnvironmentId,
        pub verdicts: Json<Vec<Verdict>>,
    }
}

/// What each constraint says, of some installs.
pub(crate) async fn verdicts(db: &impl Query, ids: &[EnvironmentId]) -> Result<Vec<Verdicts>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut clause = Clause::new();
    let places = clause.bind_all(ids);
    let sql = format!("SELECT environment_id, verdicts FROM plan WHERE environment_id IN ({places})");
    db.all(&sql, clause.args).await
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Held {
        pub name: String,
        pub step: String,
        pub target: String,
        pub verdicts: Json<Vec<Verdict>>,
    }
}

/// A product's plans that wait, also those that wait for another product first: an approval is asked for all the same.
pub(crate) async fn held(db: &impl Query, project: ProjectId) -> Result<Vec<Held>> {
    let sql = "SELECT e.name, p.step, p.target, p.verdicts FROM environment e JOIN plan p ON p.environment_id = e.id
               WHERE e.project_id = $1 AND e.pruned_at IS NULL AND p.state IN ('held', 'blocked', 'coupled')
               ORDER BY e.name LIMIT 500";
    db.all(sql, args![project]).await
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Waiting {
        pub name: String,
        pub project_path: String,
        pub state: String,
        pub step: String,
        pub target: String,
        pub why: String,
        pub verdicts: Json<Vec<Verdict>>,
        pub at: Timestamp,
    }
}

/// Plans that wait, those first that have waited longest.
pub(crate) async fn waiting(db: &impl Query, sight: &Sight, limit: i64) -> Result<Vec<Waiting>> {
    let mut clause = Clause::new();
    clause.seen(sight);
    let limit = clause.bind(&limit);
    let sql = format!(
        "SELECT e.name, e.project_path, p.state, p.step, p.target, p.why, p.verdicts, p.at
         FROM plan p JOIN environment e ON e.id = p.environment_id
         WHERE p.environment_id IN (
           SELECT p.environment_id FROM plan p JOIN environment e ON e.id = p.environment_id
           WHERE p.state IN ('held', 'blocked', 'coupled', 'drifted') AND {} ORDER BY p.at LIMIT {limit})
         ORDER BY p.at, e.id LIMIT 1000",
        clause.sql
    );
    db.all(&sql, clause.args).await
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Logged {
        pub project_path: String,
        pub state: String,
        pub current: String,
        pub target: String,
        pub step: String,
        pub why: String,
        pub verdicts: Json<Vec<Verdict>>,
        pub at: Timestamp,
    }
}

/// What was planned in an environment before, newest first.
pub(crate) async fn log(db: &impl Query, sight: &Sight, name: &str, limit: i64) -> Result<Vec<Logged>> {
    let mut clause = Clause::new();
    let place = clause.bind(name);
    clause.and(&format!("e.name = {place}"));
    clause.seen(sight);
    let limit = clause.bind(&limit);
    let sql = format!(
        "SELECT e.project_path, l.state, l.current, l.target, l.step, l.why, l.verdicts, l.at
         FROM plan_log l JOIN environment e ON e.id = l.environment_id WHERE {}
         ORDER BY l.at DESC, e.project_path LIMIT {limit}",
        clause.sql
    );
    db.all(&sql, clause.args).await
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Tile {
        pub name: String,
        pub production: i64,
        pub declared: i64,
        pub installs: i64,
        pub first: String,
        pub serving: i64,
        pub healthy: i64,
        pub silent: i64,
        pub up_to_date: i64,
        pub moving: i64,
        pub waiting: i64,
        pub ready: i64,
        pub held: i64,
        pub blocked: i64,
        pub coupled: i64,
        pub drifted: i64,
    }
}

row! { struct Name { name: String } }

/// Environments by name, after one; with at least one product in a state where one is named. In those of `missing` a
/// product does not exist.
pub(crate) async fn tiles(
    db: &impl Query,
    sight: &Sight,
    ask: &Ask,
    missing: &[String],
    after: &str,
    limit: i64,
) -> Result<Vec<Tile>> {
    let mut clause = Clause::new();
    clause.seen(sight);
    clause.words(&ask.words, &["e.name"]);
    let after = clause.bind(after);
    clause.and(&format!("e.name > {after}"));
    let mut join = "";
    if ask.state == UNKNOWN_PRODUCT {
        // No plan stands so: there is nothing yet that could be planned for.
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let places = clause.bind_all(missing);
        clause.and(&format!("e.name IN ({places})"));
    } else if !ask.state.is_empty() {
        join = "JOIN plan p ON p.environment_id = e.id";
        clause.and(&stands(&ask.state));
    }
    let limit = clause.bind(&limit);
    let sql = format!(
        "SELECT DISTINCT e.name FROM environment e {join} WHERE {} ORDER BY e.name LIMIT {limit}",
        clause.sql
    );
    let names: Vec<String> = db
        .all::<Name>(&sql, clause.args)
        .await?
        .into_iter()
        .map(|row| row.name)
        .collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    // Only what is shown is looked at closely.
    let mut clause = Clause::new();
    let places = clause.bind_all(&names);
    clause.and(&format!("e.name IN ({places})"));
    clause.seen(sight);
    let sql = format!(
        "SELECT e.name, SUM(CASE WHEN e.tier = 'production' THEN 1 ELSE 0 END) AS production,
                SUM(CASE WHEN e.declared = TRUE THEN 1 ELSE 0 END) AS declared, COUNT(*) AS installs, MIN(e.project_path) AS first,
                SUM(CASE WHEN e.serving_id IS NULL THEN 0 ELSE 1 END) AS serving,
                SUM(CASE WHEN {WORST} = 'healthy' THEN 1 ELSE 0 END) AS healthy,
                SUM(CASE WHEN a.online = FALSE THEN 1 ELSE 0 END) AS silent, {}
         FROM environment e LEFT JOIN plan p ON p.environment_id = e.id LEFT JOIN agent a ON a.id = e.agent_id
         WHERE {} GROUP BY e.name ORDER BY e.name LIMIT 1000",
        by_state(),
        clause.sql
    );
    db.all(&sql, clause.args).await
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct Body {
        pub name: String,
        pub body: Json<crate::site::Site>,
    }
}

/// The declarations of some environments.
pub(crate) async fn bodies(db: &impl Query, names: &[String]) -> Result<Vec<Body>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let mut clause = Clause::new();
    let places = clause.bind_all(names);
    let sql = format!(
        "SELECT name, body FROM site WHERE removed_at IS NULL AND name IN ({places}) ORDER BY name LIMIT 1000"
    );
    db.all(&sql, clause.args).await
}

row! {
    #[derive(Clone, Debug)]
    pub(crate) struct ReleaseRow {
        pub release_id: ReleaseId,
        pub version: String,
        pub sha: String,
        pub published_at: Timestamp,
        pub recall_reason: Option<String>,
    }
}

/// A product's releases, newest first.
pub(crate) async fn releases(db: &impl Query, project: ProjectId) -> Result<Vec<ReleaseRow>> {
    let sql = "SELECT release_id, version, sha, published_at, recall_reason FROM catalogue_release
               WHERE project_id = $1 ORDER BY published_at DESC LIMIT 10000";
    db.all(sql, args![project]).await
}

row! {
    pub(crate) struct Entered {
        pub release_id: ReleaseId,
        pub channel: String,
    }
}

/// The channels of a product's releases, in the order in which they were entered.
pub(crate) async fn channels(db: &impl Query, project: ProjectId) -> Result<Vec<Entered>> {
    let sql = "SELECT c.release_id, c.channel FROM catalogue_channel c
               JOIN catalogue_release r ON r.release_id = c.release_id
               WHERE r.project_id = $1 ORDER BY c.at, c.channel LIMIT 100000";
    db.all(sql, args![project]).await
}

row! {
    pub(crate) struct VersionOf {
        pub id: DeploymentId,
        pub version: String,
    }
}

/// The versions of some deployments.
pub(crate) async fn versions(db: &impl Query, ids: &[DeploymentId]) -> Result<Vec<VersionOf>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut clause = Clause::new();
    let places = clause.bind_all(ids);
    db.all(
        &format!("SELECT id, version FROM deployment WHERE id IN ({places})"),
        clause.args,
    )
    .await
}

row! {
    /// An approval that was given.
    pub(crate) struct GivenRow {
        pub version: String,
        pub scope: String,
        pub team: String,
        pub actor: String,
        pub at: Timestamp,
    }
}

/// Approvals that were given for a product, newest first.
pub(crate) async fn given_approvals(db: &impl Query, project: ProjectId) -> Result<Vec<GivenRow>> {
    let sql = "SELECT version, scope, team, actor, at FROM delivery_approval WHERE project_id = $1
               ORDER BY at DESC, version LIMIT 500";
    db.all(sql, args![project]).await
}

/// Which of some environments hold a product that the caller may read.
pub(crate) async fn seen_names(
    db: &impl Query,
    sight: &Sight,
    names: &[String],
) -> Result<std::collections::HashSet<String>> {
    if names.is_empty() {
        return Ok(std::collections::HashSet::new());
    }
    let mut clause = Clause::new();
    let places = clause.bind_all(names);
    clause.and(&format!("e.name IN ({places})"));
    clause.seen(sight);
    let sql = format!("SELECT DISTINCT e.name FROM environment e WHERE {}", clause.sql);
    let rows = db.all::<Name>(&sql, clause.args).await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// Edges that were heard of since.
pub(crate) async fn edges(db: &impl Query, since: Timestamp) -> Result<i64> {
    db.count("SELECT COUNT(*) AS n FROM edge WHERE seen_at >= $1", args![since])
        .await
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_special_in_a_pattern_is_only_itself() {
        assert_eq!(super::pattern("A_b%\\"), "%a\\_b\\%\\\\%");
    }
}

//! Advisories against releases that were made as CI makes them.

use super::*;
use crate::{ports, release::tests::Bed};
use async_trait::async_trait;
use axum::{Router, body::Body};
use bascule_core::{Actor, Caller, GroupId, GroupScope, ProjectId, ProjectScope, ReleaseId, Result, Role};
use bascule_ledger::{
    Entry, Hub,
    facts::advisories::{FindingClosed, FindingOpened},
};
use bascule_web::Gate;
use bascule_wire::advisory::{AdvisoryImport, FindingDetails, FindingPage, NewTriage, Severity};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

const CRITICAL: &str = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H";

struct Everywhere;

#[async_trait]
impl ports::Sight for Everywhere {
    async fn projects(&self, caller: &Caller) -> Result<Option<Vec<ProjectId>>> {
        Ok((caller.actor.name == "stranger").then(Vec::new))
    }
}

#[async_trait]
impl ports::Places for Everywhere {
    async fn running(&self, releases: &[ReleaseId]) -> Result<Vec<(ReleaseId, String)>> {
        Ok(releases.iter().map(|id| (*id, "site-7".to_owned())).collect())
    }
}

#[async_trait]
impl Gate for Everywhere {
    async fn caller(&self, parts: &http::request::Parts) -> Result<Caller> {
        Ok(match parts.headers.get("x-name").and_then(|v| v.to_str().ok()) {
            None => Caller::anonymous(),
            Some(name) => {
                let mut caller = Caller::system();
                caller.actor.name = name.to_owned();
                caller
            }
        })
    }
    async fn group(&self, _: &Caller, _: &str) -> Result<Option<GroupScope>> {
        Ok(None)
    }
    async fn project(&self, caller: &Caller, group: &str, name: &str) -> Result<Option<ProjectScope>> {
        let role = match caller.actor.name.as_str() {
            "maintainer" => Role::Maintainer,
            _ => Role::Developer,
        };
        Ok(Some(ProjectScope {
            id: name.parse().unwrap_or_else(|_| ProjectId::new()),
            group_id: GroupId::new(),
            group: group.to_owned(),
            name: name.to_owned(),
            role,
            scopes: None,
        }))
    }
}

struct Fixture {
    bed: Bed,
    advisories: Advisories,
}

impl Fixture {
    async fn new() -> Self {
        let bed = Bed::new().await;
        let advisories = Advisories::new(
            bed.db.clone(),
            bed.ledger.clone(),
            Arc::new(Everywhere),
            Arc::new(Everywhere),
        );
        Self { bed, advisories }
    }

    /// Releases a version whose lockfile names `dep` in a version.
    async fn release(&self, tag: &str, dep: &str) {
        let lock = format!(
            "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"1.0.0\"\ndependencies = [\"dep\"]\n\n\
             [[package]]\nname = \"dep\"\nversion = \"{dep}\"\nsource = \"registry+https://index.example/index\"\n"
        );
        self.bed
            .world
            .files
            .lock()
            .unwrap()
            .insert("Cargo.lock".to_owned(), lock.into_bytes());
        let artifact = self.bed.artifact(9, "build", &[("app", b"bytes")]);
        self.bed.ask(tag, vec![artifact]).await;
        self.settle().await;
    }

    async fn settle(&self) {
        let hub = Hub::default().with(Arc::new(OnReleases(self.advisories.clone())));
        hub.settle(&self.bed.ledger).await.unwrap();
    }

    async fn import(&self, records: &[Value]) -> AdvisoryImport {
        self.advisories
            .import_all(&Actor::system(), records)
            .await
            .unwrap()
    }

    async fn opened(&self) -> Vec<FindingOpened> {
        let facts = self.bed.facts("finding.opened").await;
        facts.iter().filter_map(Entry::fact).collect()
    }

    async fn closed(&self) -> Vec<FindingClosed> {
        let facts = self.bed.facts("finding.closed").await;
        facts.iter().filter_map(Entry::fact).collect()
    }

    fn app(&self) -> Router {
        let (router, _, _) = routes(self.advisories.clone()).into_parts();
        bascule_web::finish(router, Arc::new(Everywhere))
    }

    async fn call(
        &self,
        method: &str,
        path: &str,
        name: &str,
        body: Option<(&str, String)>,
    ) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path).header("x-name", name);
        let mut bytes = String::new();
        if let Some((kind, text)) = body {
            request = request.header("content-type", kind);
            bytes = text;
        }
        let response = self
            .app()
            .oneshot(request.body(Body::from(bytes)).unwrap())
            .await
            .unwrap();
        let status = response.status();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(bytes.to_vec()).unwrap())
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> T {
        let (status, text) = self.call("GET", path, "developer", None).await;
        assert_eq!(status, StatusCode::OK, "{path}: {text}");
        serde_json::from_str(&text).unwrap()
    }
}

fn record(id: &str, modified: u32, fixed: &str, aliases: &[&str]) -> Value {
    json!({
        "id": id, "modified": format!("2026-01-{modified:02}T00:00:00Z"), "summary": format!("{id}: <b>reads</b> past the end"),
        "aliases": aliases, "severity": [{"type": "CVSS_V3", "score": CRITICAL}],
        "affected": [{"package": {"ecosystem": "crates.io", "name": "dep"},
                      "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": fixed}]}]}]
    })
}

#[tokio::test]
async fn a_new_advisory_finds_old_releases_and_a_new_release_finds_old_advisories() {
    let all = Fixture::new().await;
    all.release("v1.0.0", "0.3.1").await;
    let done = all.import(&[record("GHSA-1", 1, "0.4.0", &["CVE-1"])]).await;
    assert_eq!((done.read, done.added, done.opened), (1, 1, 1));
    all.release("v1.1.0", "0.3.9").await;
    all.release("v1.2.0", "0.4.0").await;
    let opened = all.opened().await;
    let told: Vec<_> = opened
        .iter()
        .map(|fact| (fact.version.as_str(), fact.severity.as_str(), fact.fixed.clone()))
        .collect();
    let fixed = vec!["0.4.0".to_owned()];
    assert_eq!(
        told,
        [("1.0.0", "critical", fixed.clone()), ("1.1.0", "critical", fixed)]
    );
    assert_eq!(opened[0].key, opened[1].key, "the same from release to release");
    // Once more, and after a crash: nothing twice.
    let again = all.import(&[record("GHSA-1", 1, "0.4.0", &["CVE-1"])]).await;
    assert_eq!((again.unchanged, again.opened), (1, 0));
    all.advisories.drain().await.unwrap();
    assert_eq!(all.opened().await.len(), 2);

    let page: FindingPage = all.get("/api/v1/findings").await;
    assert_eq!(page.items.len(), 1);
    let finding = &page.items[0];
    assert_eq!((finding.releases, finding.severity), (2, Severity::Critical));
    assert_eq!(finding.versions, ["1.1.0", "1.0.0"]);
    assert_eq!(finding.environments, ["site-7"]);
    assert_eq!(page.counts.critical, 1);
    let (_, text) = all.call("GET", "/api/v1/findings", "stranger", None).await;
    assert!(!text.contains("GHSA-1"), "{text}");
}

#[tokio::test]
async fn what_is_withdrawn_or_corrected_closes_and_older_states_change_nothing() {
    let all = Fixture::new().await;
    all.release("v1.0.0", "0.3.1").await;
    all.import(&[record("GHSA-1", 5, "0.4.0", &[])]).await;
    let older = all.import(&[record("GHSA-1", 4, "0.1.0", &[])]).await;
    assert_eq!((older.unchanged, older.closed), (1, 0));
    let corrected = all.import(&[record("GHSA-1", 6, "0.3.0", &[])]).await;
    assert_eq!((corrected.changed, corrected.closed), (1, 1));
    let wider = all.import(&[record("GHSA-1", 7, "0.9.0", &[])]).await;
    assert_eq!(wider.opened, 1);
    let mut withdrawn = record("GHSA-1", 8, "0.9.0", &[]);
    withdrawn["withdrawn"] = json!("2026-01-08T00:00:00Z");
    let done = all.import(&[withdrawn]).await;
    assert_eq!((done.withdrawn, done.closed), (1, 1));
    let reasons: Vec<_> = all.closed().await.into_iter().map(|fact| fact.reason).collect();
    assert_eq!(
        reasons,
        [
            "its advisory speaks of other versions now",
            "its advisory was withdrawn"
        ]
    );
    let page: FindingPage = all.get("/api/v1/findings").await;
    assert!(page.items.is_empty());
    let page: FindingPage = all.get("/api/v1/findings?state=closed").await;
    assert_eq!(page.items[0].state, "closed");
}

#[tokio::test]
async fn names_of_the_same_are_one_finding_and_the_other_takes_over() {
    let all = Fixture::new().await;
    all.release("v1.0.0", "0.3.1").await;
    let rustsec = record("RUSTSEC-1", 1, "0.4.0", &["CVE-1", "GHSA-1"]);
    let done = all
        .import(&[record("GHSA-1", 1, "0.4.0", &["CVE-1"]), rustsec])
        .await;
    assert_eq!(done.opened, 1);
    let page: FindingPage = all.get("/api/v1/findings?search=rustsec-1").await;
    let key = page.items[0].key.clone();
    assert_eq!(page.items[0].aliases, ["CVE-1", "RUSTSEC-1"]);
    let mut withdrawn = record("GHSA-1", 2, "0.4.0", &["CVE-1"]);
    withdrawn["withdrawn"] = json!("2026-01-02T00:00:00Z");
    all.import(&[withdrawn]).await;
    let page: FindingPage = all.get("/api/v1/findings").await;
    assert_eq!(
        (page.items[0].advisory.as_str(), &page.items[0].key),
        ("RUSTSEC-1", &key)
    );
}

#[tokio::test]
async fn what_cannot_be_read_or_matched_is_named_and_the_rest_is_taken() {
    let all = Fixture::new().await;
    all.release("v1.0.0", "0.3.1").await;
    let body = format!(
        "{}\n{{\"id\":\"BAD-1\",\"modified\":7}}\n{}\n{{\"broken\": ",
        json!({"id": "DSA-1", "modified": "2026-01-01T00:00:00Z",
               "affected": [{"package": {"ecosystem": "Debian:12", "name": "dep"}}]}),
        record("GHSA-1", 1, "0.4.0", &[])
    );
    let chunks: Vec<std::io::Result<Bytes>> = body
        .as_bytes()
        .chunks(10)
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    let done = all
        .advisories
        .import(&Actor::system(), futures::stream::iter(chunks))
        .await
        .unwrap();
    assert_eq!(
        (done.read, done.added, done.unmatched, done.refused, done.opened),
        (4, 2, 1, 2, 1)
    );
    assert_eq!(done.unmatched_ecosystems, ["Debian:12"]);
    assert_eq!((done.errors[0].record, done.errors[0].id.as_str()), (2, "BAD-1"));
    let none = all
        .advisories
        .import(
            &Actor::system(),
            futures::stream::iter([Ok(Bytes::from_static(b"PK\x03"))]),
        )
        .await
        .unwrap_err();
    assert_eq!(none.code, "no_advisories");
}

#[tokio::test]
async fn a_decision_holds_for_all_releases_until_its_time_has_passed() {
    let all = Fixture::new().await;
    all.release("v1.0.0", "0.3.1").await;
    all.import(&[record("GHSA-1", 1, "0.4.0", &[])]).await;
    let project = all.bed.project;
    let page: FindingPage = all
        .get(&format!("/api/v1/projects/clinic/{project}/findings"))
        .await;
    let path = format!("/api/v1/projects/clinic/{project}/findings/{}", page.items[0].key);
    let put = async |name: &str, new: Value| {
        let body = ("application/json", new.to_string());
        all.call("PUT", &format!("{path}/triage"), name, Some(body)).await
    };
    let waiver = json!({"verdict": "waived", "reason": "behind the gateway", "days": 10});
    assert_eq!(put("developer", waiver.clone()).await.0, StatusCode::FORBIDDEN);
    for (bad, code) in [
        (json!({"verdict": "waived", "reason": " "}), "reason_missing"),
        (
            json!({"verdict": "waived", "reason": "x", "days": 4000}),
            "bad_days",
        ),
        (
            json!({"verdict": "not_affected", "reason": "x"}),
            "justification_missing",
        ),
        (json!({"verdict": "fine", "reason": "x"}), "bad_verdict"),
    ] {
        let (status, text) = put("maintainer", bad).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(text.contains(code), "{text}");
    }
    assert_eq!(put("maintainer", waiver).await.0, StatusCode::OK);
    all.release("v1.1.0", "0.3.2").await;
    assert!(all.opened().await[1].set_aside);
    let shown: FindingDetails = all.get(&path).await;
    assert_eq!(
        (shown.finding.state.as_str(), shown.affected.len()),
        ("waived", 2)
    );
    let open: FindingPage = all.get("/api/v1/findings").await;
    assert!(open.items.is_empty() && open.counts.critical == 0);
    all.advisories.end_waivers().await.unwrap();
    assert!(all.bed.facts("finding.reopened").await.is_empty());
    all.bed.clock.advance(Duration::from_secs(10 * 86_400));
    all.advisories.end_waivers().await.unwrap();
    all.advisories.end_waivers().await.unwrap();
    assert_eq!(all.bed.facts("finding.reopened").await.len(), 1);
    let open: FindingPage = all.get("/api/v1/findings?severity=critical").await;
    assert_eq!(open.items[0].state, "open");
    let justified = NewTriage {
        verdict: "not_affected".to_owned(),
        justification: "vulnerable_code_not_in_execute_path".to_owned(),
        reason: "not called".to_owned(),
        days: None,
    };
    let body = serde_json::to_value(&justified).unwrap();
    assert_eq!(put("maintainer", body).await.0, StatusCode::OK);
    let shown: FindingDetails = all.get(&path).await;
    assert_eq!(shown.finding.triage.unwrap().until, None);
}

#[tokio::test]
async fn pages_show_what_an_engineer_asks_for_and_escape_the_rest() {
    let all = Fixture::new().await;
    let (status, text) = all.call("GET", "/findings", "developer", None).await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        text.contains("bascule advisory import"),
        "an empty page says what to do next"
    );
    all.release("v1.0.0", "0.3.1").await;
    all.import(&[record("GHSA-1", 1, "0.4.0", &["CVE-1"])]).await;
    let project = all.bed.project;
    let page: FindingPage = all.get("/api/v1/findings").await;
    let one = format!("/clinic/{project}/-/findings/{}", page.items[0].key);
    for (path, wanted) in [
        ("/findings?severity=critical".to_owned(), "site-7"),
        (format!("/clinic/{project}/-/findings"), "GHSA-1"),
        (
            format!("/clinic/{project}/-/releases/v1.0.0/findings"),
            "Findings in v1.0.0",
        ),
        (one.clone(), "pkg:cargo/dep@0.3.1"),
        ("/advisories/GHSA-1".to_owned(), "CVE-1"),
    ] {
        let (status, text) = all.call("GET", &path, "maintainer", None).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(text.contains(wanted), "{path}: {text}");
        assert!(!text.contains("<b>reads"), "{path}");
    }
    let form = (
        "application/x-www-form-urlencoded",
        "verdict=waived&reason=known&days=".to_owned(),
    );
    let (status, _) = all
        .call("POST", &format!("{one}/triage"), "maintainer", Some(form))
        .await;
    assert_eq!(status, StatusCode::SEE_OTHER);
    let (_, text) = all.call("GET", &one, "maintainer", None).await;
    assert!(text.contains("Let it count again"), "{text}");
    let (_, text) = all.call("GET", &one, "developer", None).await;
    assert!(!text.contains("Let it count again"));
}

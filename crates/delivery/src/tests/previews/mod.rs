//! Previews: from a request to an address of its own, and to nothing.

mod seen;

use super::{web, *};
use crate::{
    Builds, NewBuild, Pipeline, RequestNow, Requests,
    preview::{pass::Looker, store},
};
use bascule_core::{Problem, Role};
use bascule_ledger::facts::{
    ci::PipelineFinished,
    merge_request::{MergeRequestClosed, MergeRequestOpened, MergeRequestReopened, MergeRequestUpdated},
};
use bascule_wire::{agent::DesiredState, preview as preview_dto};

const MAIN: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
limits: { memory: 256MiB, pids: 64 }
preview: { most: 2, lifetime: 3d, variables: { MODE: demo, TRICK: \"secret:PROD\" } }
";
const BRANCH: &str = "\
product: clinic
artifact: dist/app.tar.gz
command: ./app
environment: { COLOUR: blue }
limits: { memory: 4GiB, pids: 2000 }
rollout: { replicas: 3, staging: { strategy: canary, steps: [50, 100] } }
";

/// What the forge, CI and supplychain would say.
#[derive(Default)]
pub(super) struct Forge {
    requests: Mutex<BTreeMap<i64, RequestNow>>,
    pipelines: Mutex<BTreeMap<String, Pipeline>>,
    builds: Mutex<BTreeMap<String, ReleaseId>>,
    /// The builder refuses with this.
    refuses: Mutex<Option<Problem>>,
    forgotten: Mutex<Vec<(i64, Option<ReleaseId>)>>,
}

#[async_trait]
impl Requests for Fakes {
    async fn get(&self, _: ProjectId, iid: i64) -> Result<Option<RequestNow>> {
        Ok(self.previews.requests.lock().unwrap().get(&iid).cloned())
    }
    async fn open(&self, _: ProjectId) -> Result<Vec<i64>> {
        let requests = self.previews.requests.lock().unwrap();
        let open = requests.iter().filter(|(_, request)| request.open);
        Ok(open.map(|(iid, _)| *iid).collect())
    }
    async fn merge_result(&self, _: ProjectId, iid: i64) -> Result<Option<String>> {
        let requests = self.previews.requests.lock().unwrap();
        Ok(requests.get(&iid).map(|request| request.head.clone()))
    }
}

#[async_trait]
impl Builds for Fakes {
    async fn pipeline(&self, _: ProjectId, sha: &str) -> Result<Pipeline> {
        let pipelines = self.previews.pipelines.lock().unwrap();
        Ok(pipelines.get(sha).copied().unwrap_or(Pipeline::None))
    }
    async fn build(&self, wanted: &NewBuild) -> Result<ReleaseId> {
        if let Some(problem) = self.previews.refuses.lock().unwrap().clone() {
            return Err(problem);
        }
        let mut builds = self.previews.builds.lock().unwrap();
        Ok(*builds
            .entry(wanted.version.clone())
            .or_insert_with(ReleaseId::new))
    }
    async fn forget(&self, _: ProjectId, iid: i64, save: Option<ReleaseId>) -> Result<()> {
        self.previews.forgotten.lock().unwrap().push((iid, save));
        Ok(())
    }
}

impl World {
    /// The target branch's file.
    fn main_says(&self, yaml: &str) {
        let mut files = self.fakes.files.lock().unwrap();
        files.insert("main-tip".into(), yaml.into());
    }

    fn request(&self, iid: i64, change: impl FnOnce(&mut RequestNow)) {
        let mut requests = self.fakes.previews.requests.lock().unwrap();
        let request = requests.entry(iid).or_insert_with(|| RequestNow {
            open: true,
            merged: false,
            head: String::new(),
            source: self.project,
            source_branch: format!("b{iid}"),
            has_source: true,
            target_branch: "main".into(),
            target: Some("main-tip".into()),
            trusted: true,
        });
        change(request);
    }

    async fn hears<F: bascule_ledger::Fact>(&self, fact: &F) {
        let tx = self.delivery.db.begin().await.unwrap();
        self.ledger.append(&tx, &Actor::system(), fact).await.unwrap();
        tx.commit().await.unwrap();
        self.settle().await;
    }

    /// A request is opened with a commit.
    async fn opens(&self, iid: i64, head: &str) {
        let mut files = BTreeMap::new();
        files.insert(head.to_owned(), BRANCH.to_owned());
        self.fakes.files.lock().unwrap().extend(files);
        self.request(iid, |request| request.head = head.into());
        self.hears(&MergeRequestOpened {
            project: self.project,
            merge_request: bascule_core::MergeRequestId::new(),
            iid,
            source_project: self.project,
            source_branch: format!("b{iid}"),
            target_branch: "main".into(),
            head: head.into(),
            draft: false,
            at: self.delivery.now(),
        })
        .await;
    }

    async fn pushes(&self, iid: i64, head: &str) {
        self.fakes
            .files
            .lock()
            .unwrap()
            .insert(head.to_owned(), BRANCH.to_owned());
        self.request(iid, |request| request.head = head.into());
        self.hears(&MergeRequestUpdated {
            project: self.project,
            merge_request: bascule_core::MergeRequestId::new(),
            iid,
            version: 2,
            before: String::new(),
            head: head.into(),
            forced: false,
            at: self.delivery.now(),
        })
        .await;
    }

    async fn green(&self, head: &str) {
        self.fakes
            .previews
            .pipelines
            .lock()
            .unwrap()
            .insert(head.into(), Pipeline::Passed(PipelineId(1)));
        self.hears(&PipelineFinished {
            project: self.project,
            pipeline: PipelineId(1),
            reference: "b".into(),
            sha: head.into(),
            status: "success".into(),
            duration_ms: 1,
        })
        .await;
    }

    /// All loops go on, until nothing is due any more.
    async fn goes_on(&mut self, count: usize) {
        let mut looker = Looker::new(self.delivery.clone());
        for _ in 0..count {
            looker.turn().await.unwrap();
            self.turns(1).await;
            self.clock.advance(Duration::from_millis(1_100));
        }
        looker.turn().await.unwrap();
    }

    async fn preview(&self, iid: i64) -> preview_dto::Preview {
        self.delivery.preview(self.project, iid).await.unwrap()
    }

    async fn preview_says(&self, iid: i64) -> (String, String) {
        let preview = self.preview(iid).await;
        (preview.state, preview.rule)
    }

    async fn hosts(&self) -> Vec<(String, usize)> {
        let config = self.edge_config().await;
        let mut all: Vec<_> = config
            .routes
            .into_iter()
            .filter(|route| route.host.starts_with("review-"))
            .map(|route| (route.host, route.backends.len()))
            .collect();
        all.sort();
        all
    }

    async fn start_preview_as(&self, caller: &Caller, iid: i64, sha: &str) -> Result<()> {
        let new = preview_dto::StartPreview { sha: sha.into() };
        let maintainer = caller.actor.name == "ana";
        let holds = |permission: Permission| maintainer || permission == Permission::DeployStaging;
        self.delivery
            .start_preview(caller, self.project, holds, iid, &new)
            .await
    }

    fn previewed(desired: &DesiredState) -> Vec<&bascule_wire::agent::DesiredInstance> {
        let of = |instance: &&bascule_wire::agent::DesiredInstance| {
            instance.environment_name.starts_with("review-")
        };
        desired.instances.iter().filter(of).collect()
    }
}

/// A world whose main branch asks for previews, with request 7 at `h1`, green and running.
async fn running() -> World {
    let mut world = World::new().await;
    world.main_says(MAIN);
    world.opens(7, "h1").await;
    world.green("h1").await;
    world.goes_on(4).await;
    assert_eq!(world.preview_says(7).await, ("running".into(), String::new()));
    world
}

#[tokio::test]
async fn a_green_request_answers_at_its_own_host_and_stands_in_no_list() {
    let mut world = World::new().await;
    world.main_says(MAIN);
    world.opens(7, "h1").await;
    world.goes_on(1).await;
    assert_eq!(
        world.preview_says(7).await,
        ("waiting".into(), "no_pipeline".into())
    );
    assert!(world.hosts().await.is_empty());
    world.green("h1").await;
    world.goes_on(4).await;

    let preview = world.preview(7).await;
    assert_eq!(
        (preview.state.as_str(), preview.sha.as_deref()),
        ("running", Some("h1"))
    );
    assert_eq!(preview.host.as_deref(), Some("review-7.clinic.health"));
    assert_eq!(preview.version.as_deref(), Some("0.0.0-review.7.gh1"));
    assert!(preview.ends_at.is_some());
    assert_eq!(world.hosts().await, [("review-7.clinic.health".into(), 1)]);
    let desired = world.desired().await;
    let instance = World::previewed(&desired)[0].clone();
    assert_eq!(instance.variables["MODE"], "demo");
    assert_eq!(instance.variables["COLOUR"], "blue");
    assert!(
        !instance.variables.contains_key("TRICK"),
        "{:?}",
        instance.variables
    );
    // Not more than the target branch's file allows, and one instance, whatever the branch asks for.
    assert_eq!(
        (instance.limits.memory_bytes, instance.limits.pids),
        (256 << 20, 64)
    );
    assert_eq!(World::previewed(&desired).len(), 1);

    // Nobody who asks for environments, plans, deployments or measures hears of it.
    assert!(
        world
            .delivery
            .environments(world.project)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(world.delivery.all_environments("", 10).await.unwrap().is_empty());
    let deployments = world.delivery.deployment_views(world.project, None, None, 10);
    assert!(deployments.await.unwrap().is_empty());
    let lists = world.delivery.plans_after(&ana(), None, "", 100).await.unwrap();
    assert!(lists.is_empty());
    for fact in world.facts("deployment.finished").await {
        let fact: bascule_ledger::facts::delivery::DeploymentFinished = fact.fact().unwrap();
        assert_eq!(fact.tier, "preview");
    }
    world.second(0).await;
    assert!(world.fakes.recorded.lock().unwrap().is_empty(), "no telemetry");
    let row = store::get(&world.delivery.db, world.project, 7)
        .await
        .unwrap()
        .unwrap();
    assert!(row.used_at.is_some(), "but its use is known");
    assert_eq!(world.kinds("preview.started").await.len(), 1);
}

#[tokio::test]
async fn a_push_brings_the_new_commit_and_the_old_one_serves_until_then() {
    let mut world = running().await;
    world.pushes(7, "h2").await;
    world.goes_on(2).await;
    let preview = world.preview(7).await;
    assert_eq!(
        (preview.state.as_str(), preview.rule.as_str()),
        ("running", "no_pipeline")
    );
    assert_eq!(
        (preview.sha.as_deref(), preview.head.as_str()),
        (Some("h1"), "h2")
    );
    world.green("h2").await;
    world.goes_on(5).await;
    let preview = world.preview(7).await;
    assert_eq!(
        (preview.state.as_str(), preview.sha.as_deref()),
        ("running", Some("h2"))
    );
    let desired = world.desired().await;
    let versions: Vec<_> = World::previewed(&desired)
        .iter()
        .map(|i| i.version.clone())
        .collect();
    assert_eq!(versions, ["0.0.0-review.7.gh2"]);
    assert_eq!(world.kinds("preview.updated").await.len(), 1);
    let last = world.fakes.previews.forgotten.lock().unwrap().last().copied();
    assert_eq!(last, Some((7, preview.build)), "older builds are forgotten");
}

#[tokio::test]
async fn it_is_gone_on_merge_close_and_with_the_branch_and_comes_back() {
    let mut world = running().await;
    // By each of the ways in which it ends; a reopened request gets it back.
    for (ends, rule) in [
        ((|r| r.has_source = false) as fn(&mut RequestNow), "branch_gone"),
        (|r| r.open = false, "closed"),
        (
            |r| {
                r.open = false;
                r.merged = true;
            },
            "merged",
        ),
    ] {
        world.request(7, ends);
        world
            .hears(&MergeRequestClosed {
                project: world.project,
                merge_request: bascule_core::MergeRequestId::new(),
                iid: 7,
                at: world.delivery.now(),
            })
            .await;
        world.goes_on(1).await;
        assert!(
            world.hosts().await.is_empty(),
            "{rule}: no route any more, at once"
        );
        world.goes_on(5).await;
        assert_eq!(world.preview_says(7).await, ("stopped".into(), rule.into()));
        assert!(World::previewed(&world.desired().await).is_empty());
        assert_eq!(
            world.fakes.previews.forgotten.lock().unwrap().last(),
            Some(&(7, None))
        );
        world.request(7, |r| {
            r.open = true;
            r.merged = false;
            r.has_source = true;
        });
        world
            .hears(&MergeRequestReopened {
                project: world.project,
                merge_request: bascule_core::MergeRequestId::new(),
                iid: 7,
                at: world.delivery.now(),
            })
            .await;
        world.goes_on(5).await;
        assert_eq!(world.preview_says(7).await.0, "running", "after {rule}");
    }
    assert_eq!(world.kinds("preview.stopped").await.len(), 3);
}

#[tokio::test]
async fn a_strangers_fork_runs_only_what_a_maintainer_looked_at_and_gets_no_secret() {
    let mut world = World::new().await;
    world.main_says(MAIN);
    world
        .delivery
        .set_secret(&ana(), "*", "PROD", "hush")
        .await
        .unwrap();
    world
        .delivery
        .set_preview_secret(&ana(), world.project, "TEST_KEY", "test-only")
        .await
        .unwrap();
    world.request(9, |request| {
        request.trusted = false;
        request.source = ProjectId::new();
    });
    world.opens(9, "f1").await;
    world.green("f1").await;
    world.goes_on(3).await;
    assert_eq!(world.preview_says(9).await, ("held".into(), "fork".into()));
    assert!(world.desired().await.instances.is_empty());

    let refused = world.start_preview_as(&ben(), 9, "f1").await.unwrap_err();
    assert_eq!(refused.status, 403);
    assert_eq!(
        world.start_preview_as(&ana(), 9, "").await.unwrap_err().code,
        "sha_missing"
    );
    assert_eq!(
        world.start_preview_as(&ana(), 9, "f0").await.unwrap_err().code,
        "moved_on"
    );
    let program = Caller { user: None, ..ana() };
    let refused = world.start_preview_as(&program, 9, "f1").await.unwrap_err();
    assert_eq!(refused.code, "not_a_person");
    world.start_preview_as(&ana(), 9, "f1").await.unwrap();
    world.goes_on(5).await;
    let preview = world.preview(9).await;
    assert_eq!(
        (preview.state.as_str(), preview.allowed_by.as_deref()),
        ("running", Some("ana"))
    );
    let desired = world.desired().await;
    let variables = &World::previewed(&desired)[0].variables;
    assert!(!variables.contains_key("TEST_KEY") && !variables.values().any(|v| v.contains("hush")));
    assert_eq!(world.kinds("preview.allowed").await.len(), 1);

    // The next push is asked for anew; what was looked at goes on running.
    world.pushes(9, "f2").await;
    world.green("f2").await;
    world.goes_on(3).await;
    let preview = world.preview(9).await;
    assert_eq!(
        (preview.state.as_str(), preview.rule.as_str()),
        ("running", "fork")
    );
    assert_eq!(preview.sha.as_deref(), Some("f1"));
}

#[tokio::test]
async fn a_preview_gets_the_secrets_of_previews_and_no_others() {
    let mut world = World::new().await;
    world.main_says(MAIN);
    for site in ["*", "staging", "production", "review-7"] {
        world
            .delivery
            .set_secret(&ana(), site, "TEST_KEY", "hush")
            .await
            .unwrap();
        world
            .delivery
            .set_secret(&ana(), site, "PROD", "hush")
            .await
            .unwrap();
    }
    let caller = ana();
    world
        .delivery
        .set_preview_secret(&caller, world.project, "TEST_KEY", "test-only")
        .await
        .unwrap();
    let refused = world
        .delivery
        .set_preview_secret(&caller, world.project, "PORT", "1")
        .await
        .unwrap_err();
    assert_eq!(refused.code, "bad_secret_name");
    world.opens(7, "h1").await;
    world.green("h1").await;
    world.goes_on(4).await;
    let desired = world.desired().await;
    let variables = &World::previewed(&desired)[0].variables;
    assert_eq!(variables["TEST_KEY"], "test-only");
    assert!(
        !variables.values().any(|value| value.contains("hush")),
        "{variables:?}"
    );
    for fact in world.facts("preview_secret.changed").await {
        assert!(!fact.body.contains("test-only"));
    }
    world
        .delivery
        .remove_preview_secret(&caller, world.project, "TEST_KEY")
        .await
        .unwrap();
    let desired = world.desired().await;
    assert!(!World::previewed(&desired)[0].variables.contains_key("TEST_KEY"));
}

#[tokio::test]
async fn the_longest_unused_makes_room_and_time_ends_the_rest() {
    let mut world = running().await;
    world.opens(8, "i1").await;
    world.green("i1").await;
    world.goes_on(4).await;
    world.clock.advance(Duration::from_secs(120));
    // Somebody looks at 7 and at 8 both; 7 last changed first, and is used again later.
    world.second(0).await;
    let tx = world.delivery.db.begin().await.unwrap();
    let eight = store::get(&tx, world.project, 8).await.unwrap().unwrap();
    let at = world.delivery.now().plus(Duration::from_secs(300));
    store::used(&tx, &[eight.environment_id.unwrap()], at, at)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    world.opens(9, "j1").await;
    world.green("j1").await;
    world.goes_on(8).await;
    assert_eq!(world.preview_says(7).await, ("stopped".into(), "crowded".into()));
    assert_eq!(world.preview_says(8).await.0, "running");
    assert_eq!(world.preview_says(9).await.0, "running");
    assert_eq!(world.hosts().await.len(), 2);

    world.clock.advance(Duration::from_secs(3 * 86_400));
    world.goes_on(6).await;
    for iid in [8, 9] {
        assert_eq!(
            world.preview_says(iid).await,
            ("stopped".into(), "expired".into())
        );
    }
    assert!(world.hosts().await.is_empty());
    world.start_preview_as(&ben(), 8, "").await.unwrap();
    world.goes_on(5).await;
    assert_eq!(world.preview_says(8).await.0, "running");
}

#[tokio::test]
async fn people_stop_and_start_it_and_the_file_turns_it_off() {
    let mut world = running().await;
    world
        .delivery
        .stop_preview(&ben(), world.project, 7)
        .await
        .unwrap();
    world.goes_on(5).await;
    let preview = world.preview(7).await;
    assert_eq!(
        (preview.state.as_str(), preview.rule.as_str()),
        ("stopped", "stopped")
    );
    assert!(
        preview.why.contains("ben") && preview.next.contains("push"),
        "{preview:?}"
    );
    world.start_preview_as(&ben(), 7, "").await.unwrap();
    world.goes_on(5).await;
    assert_eq!(world.preview_says(7).await.0, "running");
    // A stop counts until the next commit.
    world
        .delivery
        .stop_preview(&ben(), world.project, 7)
        .await
        .unwrap();
    world.goes_on(5).await;
    world.pushes(7, "h2").await;
    world.green("h2").await;
    world.goes_on(5).await;
    assert_eq!(world.preview_says(7).await.0, "running");

    world.main_says(&MAIN.replace("most: 2", "enabled: false"));
    world
        .hears(&bascule_ledger::facts::forge::BranchUpdated {
            project: world.project,
            branch: "main".into(),
            default: true,
            before: None,
            after: Some("main-tip".into()),
            forced: false,
            commits: Vec::new(),
            commit_count: 0,
            at: world.delivery.now(),
            ci_skip: false,
            ci_options: None,
        })
        .await;
    world.goes_on(5).await;
    assert_eq!(world.preview_says(7).await, ("off".into(), "off".into()));
    assert!(World::previewed(&world.desired().await).is_empty());
    assert_eq!(
        world.start_preview_as(&ben(), 7, "").await.unwrap_err().code,
        "previews_off"
    );
}

#[tokio::test]
async fn a_hub_that_is_killed_anywhere_leaves_no_orphan() {
    for cut in 0..8 {
        let mut world = World::new().await;
        world.main_says(MAIN);
        world.opens(7, "h1").await;
        world.green("h1").await;
        world.goes_on(cut).await;
        world.restart();
        // In the meantime it was merged; the fact is heard after the restart, or was before.
        world.request(7, |r| {
            r.open = false;
            r.merged = true;
        });
        world
            .hears(&MergeRequestClosed {
                project: world.project,
                merge_request: bascule_core::MergeRequestId::new(),
                iid: 7,
                at: world.delivery.now(),
            })
            .await;
        world.goes_on(cut % 3).await;
        world.restart();
        world.goes_on(6).await;
        assert_eq!(world.preview_says(7).await.0, "stopped", "cut after {cut}");
        assert!(world.desired().await.instances.is_empty(), "cut after {cut}");
        assert!(world.hosts().await.is_empty(), "cut after {cut}");
    }
}

#[tokio::test]
async fn an_agent_that_is_away_ends_what_is_left_when_it_comes_back() {
    let mut world = running().await;
    world.request(7, |r| r.open = false);
    world
        .hears(&MergeRequestClosed {
            project: world.project,
            merge_request: bascule_core::MergeRequestId::new(),
            iid: 7,
            at: world.delivery.now(),
        })
        .await;
    let mut looker = Looker::new(world.delivery.clone());
    for _ in 0..10 {
        looker.turn().await.unwrap();
        world.edge_config().await;
        world.driver.turn().await.unwrap();
        world.clock.advance(Duration::from_secs(2));
    }
    assert_eq!(world.preview_says(7).await.0, "stopping");
    assert!(world.hosts().await.is_empty());
    world.goes_on(3).await;
    assert_eq!(world.preview_says(7).await.0, "stopped");
}

#[tokio::test]
async fn what_cannot_run_says_why_and_what_ran_goes_on() {
    let mut world = running().await;
    *world.fakes.previews.refuses.lock().unwrap() = Some(
        Problem::invalid("no_artifacts", "The artifacts of the job `build` are gone.").next("Run it again."),
    );
    world.pushes(7, "h2").await;
    world.green("h2").await;
    world.goes_on(3).await;
    let preview = world.preview(7).await;
    assert_eq!(
        (preview.state.as_str(), preview.rule.as_str()),
        ("failed", "no_artifacts")
    );
    assert_eq!(
        (preview.sha.as_deref(), preview.next.as_str()),
        (Some("h1"), "Run it again.")
    );
    assert_eq!(world.hosts().await, [("review-7.clinic.health".into(), 1)]);
    *world.fakes.previews.refuses.lock().unwrap() = None;

    let fate = Fate {
        state: InstanceState::Failed,
        smoke: true,
        restarts: 0,
    };
    world.fates.insert("0.0.0-review.7.gh3".into(), fate);
    world.pushes(7, "h3").await;
    world.green("h3").await;
    world.goes_on(5).await;
    let preview = world.preview(7).await;
    assert_eq!(
        (preview.state.as_str(), preview.rule.as_str()),
        ("failed", "does_not_run")
    );
    assert!(preview.why.contains("could not run"), "{}", preview.why);
    let versions: Vec<_> = World::previewed(&world.desired().await)
        .iter()
        .map(|i| i.version.clone())
        .collect();
    assert_eq!(
        versions,
        ["0.0.0-review.7.gh1"],
        "what ran before goes on running"
    );
}

use super::*;
use crate::fleet::Agent;
use bascule_core::{TaskId, Timestamp};
use bascule_wire::task::{DesiredTask, NewTask, OUTPUT_BYTES, Task, TaskReport, TaskState};

const SITE: &str = "environment: site-7\ntier: staging\nchannel: dev\napprovals: [security]\n\
                    variables: {WARD: north}\ninstall: [{product: health/clinic}]\n";

impl World {
    async fn ask(&self, caller: &Caller, environment: &str, words: &[&str]) -> Result<TaskId> {
        let new = NewTask {
            environment: environment.into(),
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            reason: "the index is lost".into(),
            timeout_seconds: None,
        };
        self.delivery.ask_task(caller, self.project, &new).await
    }

    async fn task(&self, id: TaskId) -> Task {
        self.delivery.task_view(self.project, id).await.unwrap()
    }

    async fn me(&self) -> Agent {
        self.delivery.agent_of(&self.agent).await.unwrap()
    }

    /// The agent says how a task stands, and learns what it should run. What runs besides is said too.
    async fn say(&self, task: TaskId, state: TaskState, exit_code: Option<i32>) -> Vec<DesiredTask> {
        let report = TaskReport {
            task,
            state,
            exit_code,
            message: String::new(),
        };
        let agent = self.me().await;
        self.delivery.take_task_reports(&agent, &[report]).await.unwrap();
        self.delivery.desired_tasks(&agent).await.unwrap()
    }

    async fn write(&self, task: TaskId, from: u64, text: &str) -> (u64, bool) {
        let agent = self.me().await;
        let at = self
            .delivery
            .add_task_output(&agent, task, from, text.as_bytes())
            .await;
        at.map(|at| (at.offset, at.open)).unwrap()
    }

    async fn wrote(&self, task: TaskId, from: u64) -> String {
        let bytes = self.delivery.task_output(self.project, task, from).await.unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

async fn clinic() -> World {
    clinic_in(World::new().await).await
}

async fn clinic_in(mut world: World) -> World {
    let project = world.project;
    world
        .fakes
        .projects
        .lock()
        .unwrap()
        .insert("health/clinic".into(), project);
    world.publish_of("health/clinic", "1.0.0", "").await;
    world
}

#[tokio::test]
async fn a_task_runs_in_what_serves_once_and_is_recorded_from_beginning_to_end() {
    Box::pin(one_task(clinic().await)).await;
}

#[tokio::test]
async fn tasks_are_the_same_on_postgresql() {
    let server = bascule_testkit::Postgres::start();
    let options = DbOptions::Postgres(server.url().to_owned());
    let world = World::over(tempfile::tempdir().unwrap(), &options).await;
    Box::pin(one_task(clinic_in(world).await)).await;
}

async fn one_task(world: World) {
    let id = world
        .ask(&ana(), "staging", &["./manage", "re index"])
        .await
        .unwrap();
    let agent = world.me().await;
    let wanted = world.delivery.desired_tasks(&agent).await.unwrap().remove(0);
    assert!(wanted.may_start && !wanted.begun && !wanted.cancelled);
    assert_eq!((wanted.version.as_str(), wanted.timeout_ms), ("1.0.0", 600_000));
    assert_eq!(wanted.command, ["./manage", "re index"]);
    assert_eq!(world.task(id).await.status, "queued");

    // Everything may be said twice.
    for _ in 0..2 {
        let wanted = world.say(id, TaskState::Running, None).await;
        assert!(
            wanted[0].begun && !wanted[0].may_start,
            "never begun a second time"
        );
    }
    assert_eq!(world.write(id, 0, "one\n").await, (4, true));
    assert_eq!(world.write(id, 0, "one\ntwo\n").await, (8, true));
    assert_eq!(
        world.write(id, 20, "gap").await,
        (8, true),
        "what does not follow is not taken"
    );
    assert_eq!(world.wrote(id, 0).await, "one\ntwo\n");
    assert_eq!(world.wrote(id, 5).await, "wo\n");
    for _ in 0..2 {
        assert!(world.say(id, TaskState::Ended, Some(3)).await.is_empty());
    }
    let task = world.task(id).await;
    assert_eq!((task.status.as_str(), task.exit_code), ("failed", Some(3)));
    assert_eq!(
        world.kinds("task.requested").await,
        ["asks for `./manage 're index'` in staging (1.0.0): the index is lost"]
    );
    assert_eq!(world.kinds("task.started").await, ["began a task in staging"]);
    assert_eq!(
        world.kinds("task.finished").await,
        ["task in staging failed, exit code 3"]
    );
    let finished = &world.facts("task.finished").await[0];
    let digest = Digest::of(b"one\ntwo\n");
    assert!(finished.body.contains(&digest.to_string()), "{}", finished.body);
    // A later one is listed first, and the list goes on before the last one seen.
    let later = world.ask(&ana(), "staging", &["./manage"]).await.unwrap();
    world
        .delivery
        .cancel_task(&ana(), world.project, later)
        .await
        .unwrap();
    let newest = world.delivery.tasks(world.project, None, 1).await.unwrap();
    assert!(newest[0].id == later && newest[0].cancelled);
    let before = world
        .delivery
        .tasks(world.project, Some(later), 10)
        .await
        .unwrap();
    assert_eq!(before.iter().map(|task| task.id).collect::<Vec<_>>(), [id]);
    // An agent of others learns nothing and adds nothing.
    let other = world.delivery.enrol_agent("other").await.unwrap();
    let other = world.delivery.agent_of(&other).await.unwrap();
    let refused = world.delivery.add_task_output(&other, id, 0, b"x").await;
    assert_eq!(refused.unwrap_err().status, 404);
}

#[tokio::test]
async fn output_is_bounded() {
    let world = clinic().await;
    let id = world.ask(&ana(), "staging", &["yes"]).await.unwrap();
    let piece = "y".repeat(64 * 1024);
    let mut at = (0, true);
    while at.1 {
        at = world.write(id, at.0, &piece).await;
    }
    assert_eq!(at.0, OUTPUT_BYTES);
    assert_eq!(world.write(id, at.0, "more").await, (OUTPUT_BYTES, false));
    let agent = world.me().await;
    let large = "y".repeat(64 * 1024 + 1);
    let refused = world
        .delivery
        .add_task_output(&agent, id, 0, large.as_bytes())
        .await;
    assert_eq!(refused.unwrap_err().status, 413);
}

#[tokio::test]
async fn where_the_site_asks_for_it_another_person_approves_first() {
    let mut world = clinic().await;
    world.declare("c1", &[("site-7", SITE)]).await;
    // The site's products wait for approval like tasks do.
    let waits = world.ask(&ben(), "site-7", &["./manage"]).await.unwrap_err();
    assert_eq!(waits.code, "nothing_serves");
    world
        .delivery
        .approve(&ana(), world.project, "1.0.0", "environment:site-7", "security")
        .await
        .unwrap();
    world.turns(4).await;

    let asker = ben();
    let id = world.ask(&asker, "site-7", &["./manage"]).await.unwrap();
    let task = world.task(id).await;
    assert_eq!(
        (task.status.as_str(), task.approvals[0].team.as_str()),
        ("waiting", "security")
    );
    let agent = world.me().await;
    assert!(world.delivery.desired_tasks(&agent).await.unwrap().is_empty());
    let approve = async |caller: &Caller, team: &str| {
        world.delivery.approve_task(caller, world.project, id, team).await
    };
    assert_eq!(approve(&ben(), "security").await.unwrap_err().code, "not_in_team");
    assert_eq!(approve(&ana(), "nurses").await.unwrap_err().code, "unknown_team");
    approve(&ana(), "security").await.unwrap();
    approve(&ana(), "security").await.unwrap();
    let wanted = world.delivery.desired_tasks(&agent).await.unwrap();
    assert!(wanted[0].may_start);
    assert_eq!(wanted[0].variables["WARD"], "north", "the site's variables");
    assert_eq!(
        world.kinds("task.approved").await,
        ["approved a task in site-7 for security"]
    );

    // One's own task is approved by somebody else.
    let own = ana();
    let id = world.ask(&own, "site-7", &["./manage"]).await.unwrap();
    let refused = world
        .delivery
        .approve_task(&own, world.project, id, "security")
        .await;
    assert_eq!(refused.unwrap_err().code, "own_task");
    world.delivery.cancel_task(&own, world.project, id).await.unwrap();
    assert_eq!(world.task(id).await.status, "cancelled");
    let again = world.delivery.cancel_task(&own, world.project, id).await;
    assert_eq!(again.unwrap_err().code, "task_ended");
}

#[tokio::test]
async fn what_an_agent_missed_is_not_begun_late_and_what_is_cancelled_ends() {
    let world = clinic().await;
    let late = world.ask(&ana(), "staging", &["./manage"]).await.unwrap();
    world.clock.advance(Duration::from_secs(16 * 60));
    let agent = world.me().await;
    assert!(!world.delivery.desired_tasks(&agent).await.unwrap()[0].may_start);
    world.say(late, TaskState::Refused, None).await;
    let task = world.task(late).await;
    assert_eq!(
        (task.status.as_str(), task.started_at),
        ("failed", None::<Timestamp>)
    );

    let id = world.ask(&ana(), "staging", &["./manage"]).await.unwrap();
    world.say(id, TaskState::Running, None).await;
    world
        .delivery
        .cancel_task(&ana(), world.project, id)
        .await
        .unwrap();
    assert!(world.say(id, TaskState::Running, None).await[0].cancelled);
    world.say(id, TaskState::Ended, None).await;
    assert_eq!(world.task(id).await.status, "cancelled");

    let id = world.ask(&ana(), "staging", &["./manage"]).await.unwrap();
    world.say(id, TaskState::Lost, None).await;
    assert_eq!(world.task(id).await.status, "lost");
    for (words, code) in [
        (&[][..], "no_command"),
        (&[""][..], "no_command"),
        (&["a\0"][..], "bad_command"),
    ] {
        assert_eq!(world.ask(&ana(), "staging", words).await.unwrap_err().code, code);
    }
    let long = "x".repeat(20_000);
    assert_eq!(
        world.ask(&ana(), "staging", &[&long]).await.unwrap_err().code,
        "long_command"
    );
}

#[tokio::test]
async fn an_agent_whose_clock_is_off_by_an_hour_is_told_and_its_windows_refuse() {
    let mut world = clinic().await;
    // Open for three hours of every hour: the calendar itself never holds anything.
    let site = SITE.replace("approvals: [security]\n", "")
        + "windows: [{cron: \"0 * * * *\", timezone: UTC, duration: 3h}]\n";
    world.declare("c1", &[("site-7", &site)]).await;
    assert!(world.plan("site-7").await[0].starts_with("health/clinic: 1.0.0"));
    let agent = world.me().await;
    let mut report = world.report(&[]);
    report.at = report.at.plus(Duration::from_secs(3_600));
    world
        .delivery
        .sync_agent(&agent, &report, -1, Duration::ZERO)
        .await
        .unwrap();
    assert!(world.kinds("agent.skewed").await[0].contains("local"));
    world.announce("1.1.0", Some(YAML)).await;
    world.settle().await;
    world.planner.turn().await.unwrap();
    let why = world.plan("site-7").await.remove(0);
    assert!(why.contains("1.1.0") && why.contains("clock"), "{why}");
    let created = world.kinds("deployment.created").await;
    assert!(
        !created.iter().any(|line| line == "deploys 1.1.0 to site-7"),
        "{created:?}"
    );
}

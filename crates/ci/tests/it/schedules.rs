//! Schedules that give inputs: checked when they are saved and when they run, and told when one is refused.

use crate::{harness::World, pages::select, town::town};
use bascule_core::{Actor, ActorKind, Clock as _, GroupId, Role};
use bascule_wire::pipelines::ChangeSchedule;
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

const FILE: &str = "spec:\n  inputs:\n    level: {options: [low, high], default: low}\n    users: {type: number, default: 1}\n---\nload: {script: 'run $[[ inputs.level ]] $[[ inputs.users ]]'}\n";

async fn due(world: &World, schedule: &Value) {
    let at: bascule_core::Timestamp = schedule["next_run_at"].as_str().unwrap().parse().unwrap();
    world
        .clock
        .advance(at.since(world.clock.now()) + Duration::from_secs(1));
    world.settle().await;
    world.ci.turn().await;
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schedule_gives_inputs_that_its_file_takes() {
    let (world, _town) = town().await;
    let runner = world.runner().await;
    world.push("main", &[(".gitlab-ci.yml", FILE)]).await;
    world.push("topic", &[(".gitlab-ci.yml", FILE)]).await;
    for _ in 0..2 {
        runner.succeed(&runner.ask().await.unwrap()).await;
    }
    let path = "/api/v1/projects/clinic/app/schedule";
    let new =
        |inputs: Value| json!({"description": "Load", "cron": "0 3 * * *", "ref": "topic", "inputs": inputs});
    for (inputs, says) in [
        (json!({"lefel": "low"}), "did you mean `level`"),
        (json!({"level": "middle"}), "it must be one of: low, high"),
        (json!({"users": "many"}), "must be a number"),
    ] {
        let refused = world.post(path, "developer", new(inputs)).await;
        assert_eq!(refused.status(), 422);
        let told = refused.text().await.unwrap();
        assert!(told.contains("bad_input") && told.contains(says), "{told}");
    }
    // The form shows what the file declares, and takes what it is given.
    let page = world
        .page("/clinic/app/-/schedules?ref=topic&description=Load", "developer")
        .await;
    assert!(
        page.contains("name=\"input:level\"") && page.contains("value=\"Load\""),
        "{page}"
    );
    let form = [
        ("description", "Load"),
        ("cron", "0 3 * * *"),
        ("timezone", "UTC"),
        ("ref", "topic"),
        ("variables", ""),
        ("active", "1"),
        ("input:level", "high"),
        ("was:input:level", "low"),
        ("kind:level", "string"),
        ("input:users", "1"),
        ("was:input:users", "1"),
        ("kind:users", "number"),
    ];
    let made = world.request(Method::POST, "/clinic/app/-/schedules/new", "developer");
    assert_eq!(made.form(&form).send().await.unwrap().status(), 200);
    let list = "/api/v1/projects/clinic/app/schedules";
    let id = world.get(list).await[0]["id"].clone();
    let at = format!("{list}/{id}");
    let kept = world.ci.schedule(world.project, 1).await.unwrap();
    let given = serde_json::to_value(&kept.inputs.0).unwrap();
    assert_eq!(
        given,
        json!({"level": "high"}),
        "what is the file's is left to it"
    );
    let others: Value = world
        .request(Method::GET, &at, "reporter")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(others["inputs"], json!({"level": null}));
    due(&world, &others).await;
    let job = runner.ask().await.unwrap();
    assert_eq!(job.body["steps"][0]["script"], json!(["run high 1"]));
    assert_eq!(world.get(&at).await["last_note"], Value::Null);
    // The file changes: the run is refused, and told.
    let other = FILE.replace("low, high", "low, full");
    world.push("topic", &[(".gitlab-ci.yml", &other)]).await;
    due(&world, &world.get(&at).await).await;
    let refused = world.get(&at).await;
    assert!(
        refused["last_note"]
            .as_str()
            .unwrap()
            .contains("it must be one of: low, full"),
        "{refused}"
    );
    let page = world.page("/clinic/app/-/schedules", "developer").await;
    assert!(page.contains("Its last run was refused"), "{page}");
    let edit = world
        .page(&format!("/clinic/app/-/schedules/{id}"), "developer")
        .await;
    assert!(select(&edit, ".alert-warning")[0].contains("low, full"));
    let told = world.facts("schedule.ran").await;
    assert_eq!(told.len(), 1);
    let body: Value = serde_json::from_str(&told[0].body).unwrap();
    assert!(body["owner"].is_string(), "{body}");
    // Mended, it runs again, and that is told once.
    let user = kept.owner_id.parse::<bascule_core::UserId>().unwrap();
    let caller = bascule_core::Caller {
        actor: Actor::new(ActorKind::User, user, "developer"),
        user: Some(user),
        ..bascule_core::Caller::anonymous()
    };
    let scope = bascule_core::ProjectScope {
        id: world.project,
        group_id: GroupId::new(),
        group: "clinic".to_owned(),
        name: "app".to_owned(),
        role: Role::Developer,
        scopes: None,
    };
    let change = ChangeSchedule {
        inputs: Some([("level".to_owned(), json!("full"))].into()),
        ..ChangeSchedule::default()
    };
    world
        .ci
        .change_schedule(&caller, &scope, 1, change)
        .await
        .unwrap();
    for _ in 0..2 {
        due(&world, &world.get(&at).await).await;
    }
    assert_eq!(world.facts("schedule.ran").await.len(), 2);
    assert_eq!(world.get(&at).await["last_note"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn inputs_give_a_protected_branch_nothing_that_their_owner_may_not() {
    let (world, _town) = town().await;
    world.push("main", &[(".gitlab-ci.yml", FILE)]).await;
    let new = json!({"description": "Load", "cron": "0 3 * * *", "inputs": {"level": "high"}});
    let refused = world
        .post("/api/v1/projects/clinic/app/schedule", "developer", new.clone())
        .await;
    assert_eq!(refused.status(), 403);
    let made = world
        .post("/api/v1/projects/clinic/app/schedule", "admin", new)
        .await;
    assert_eq!(made.status(), 201);
}

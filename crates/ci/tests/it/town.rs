//! Two projects of one group, for what reaches over one.

use crate::harness::World;
use async_trait::async_trait;
use bascule_ci::ports::{Neighbour, Person, Reach};
use bascule_core::{Actor, GroupId, Permission, ProjectId, Result};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

/// Two projects of one group, and who may do what in which.
pub struct Town {
    pub own: Neighbour,
    pub other: Neighbour,
    /// User names that may do nothing any more.
    pub out: Mutex<BTreeSet<String>>,
    /// User names that may run pipelines in the other project.
    pub guests: Mutex<BTreeSet<String>>,
    /// What guests may not do there all the same.
    pub closed: Mutex<Vec<Permission>>,
}

#[async_trait]
impl Reach for Town {
    async fn find(&self, path: &str) -> Result<Option<Neighbour>> {
        Ok([&self.own, &self.other]
            .into_iter()
            .find(|one| one.path == path)
            .cloned())
    }

    async fn get(&self, project: ProjectId) -> Result<Option<Neighbour>> {
        Ok([&self.own, &self.other]
            .into_iter()
            .find(|one| one.id == project)
            .cloned())
    }

    async fn of_group(&self, _: GroupId, after: &str, _: i64) -> Result<Vec<Neighbour>> {
        Ok([&self.own, &self.other]
            .into_iter()
            .filter(|one| one.path.as_str() > after)
            .cloned()
            .collect())
    }

    async fn may(&self, actor: &Actor, project: ProjectId, permission: Permission) -> Result<bool> {
        if self.out.lock().unwrap().contains(&actor.name) {
            return Ok(false);
        }
        Ok(project == self.own.id
            || permission == Permission::CodeRead
            || (self.guests.lock().unwrap().contains(&actor.name)
                && !self.closed.lock().unwrap().contains(&permission)))
    }

    async fn person(&self, actor: &Actor, _: ProjectId) -> Result<Option<Person>> {
        Ok(Some(Person {
            id: actor.id.clone(),
            login: actor.name.clone(),
            name: format!("The {}", actor.name),
            email: format!("{}@example.org", actor.name),
            role: "developer".to_owned(),
        })
        .filter(|_| !self.out.lock().unwrap().contains(&actor.name)))
    }

    async fn is_open(&self, _: &str) -> Result<bool> {
        Ok(true)
    }
}

pub async fn town() -> (World, Arc<Town>) {
    town_on(None).await
}

pub async fn town_on(postgres: Option<&str>) -> (World, Arc<Town>) {
    let world = World::on(postgres).await;
    let group = GroupId::new();
    let one = |id, path: &str| Neighbour {
        id,
        group,
        path: path.to_owned(),
        default_branch: "main".to_owned(),
    };
    let town = Arc::new(Town {
        own: one(world.project, "clinic/app"),
        other: one(ProjectId::new(), "clinic/policy"),
        out: Mutex::default(),
        guests: Mutex::default(),
        closed: Mutex::default(),
    });
    world.ci.set_reach(town.clone());
    (world, town)
}

/// Lets all that follows by itself happen.
pub async fn rest(world: &World) {
    for _ in 0..4 {
        world.ci.turn().await;
        world.settle().await;
    }
}

pub fn job<'a>(pipeline: &'a Value, name: &str) -> &'a Value {
    pipeline["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .rfind(|job| job["name"] == name)
        .unwrap_or_else(|| panic!("no job {name} in {pipeline}"))
}

pub async fn pipeline(world: &World, id: &Value) -> Value {
    world
        .get(&format!("/api/v1/projects/clinic/app/pipelines/{id}"))
        .await
}

pub async fn act(world: &World, path: &str, who: &str) -> Value {
    let response = world
        .post(&format!("/api/v1/projects/clinic/app/{path}"), who, json!({}))
        .await;
    assert!(response.status().is_success(), "{path}: {}", response.status());
    response.json().await.unwrap()
}

pub const POLICY: &str = "pipelines:\n  - {name: security, file: scan.yml}\n";
pub const SCAN: &str =
    "scan: {script: scan, rules: [{if: '$OFF', when: never}, {when: always}], variables: {LEVEL: high}}\n";

/// A policy that holds for the world's group, and the branch of the policy project that it stands on.
pub async fn enforce(world: &World, town: &Town, files: &[(&str, &str)]) -> String {
    let sha = world.push("main", files).await;
    let group = bascule_core::GroupScope {
        id: town.own.group,
        name: "clinic".to_owned(),
        role: bascule_core::Role::Owner,
    };
    let user = bascule_core::UserId::new();
    let caller = bascule_core::Caller {
        actor: Actor::new(bascule_core::ActorKind::User, user, "security"),
        user: Some(user),
        instance_role: bascule_core::InstanceRole::Member,
        ..bascule_core::Caller::anonymous()
    };
    let request = bascule_wire::pipelines::SetRequiredPipelines {
        policy: Some("clinic/policy".to_owned()),
    };
    let held = world
        .ci
        .set_required_pipelines(&caller, &group, &request)
        .await
        .unwrap();
    assert_eq!(held.sha.as_deref(), Some(sha.as_str()));
    sha
}

pub async fn names(world: &World) -> Vec<String> {
    world.states().await.into_iter().map(|(name, _)| name).collect()
}

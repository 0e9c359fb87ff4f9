//! People, for reviews: identity answers.

use async_trait::async_trait;
use bascule_core::{Actor, ActorKind, Caller, GroupId, ProjectId, Result, Role, UserId};
use bascule_forge::{
    Forge, ProjectInfo, Signature, Visible,
    ports::{Known, Team},
};
use bascule_identity::{Account, GroupInfo, Identity, Place};

/// Members looked at.
const MEMBERS: usize = 2_000;
const PAGE: i64 = 500;

/// Who people are, and what they may do now.
#[derive(Clone)]
pub struct People(pub Identity);

fn known(account: Account) -> Known {
    Known {
        id: account.id,
        username: account.username,
    }
}

impl People {
    async fn open(&self, user: UserId) -> Result<Option<Account>> {
        self.0.open_user_by_id(user).await
    }

    async fn members_of(&self, place: Place) -> Result<Vec<(Known, Role)>> {
        let (mut all, mut after) = (Vec::new(), String::new());
        while all.len() < MEMBERS {
            let page = self.0.members(place, &after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.username);
            let full = page.len() as i64 == PAGE;
            all.extend(page.into_iter().filter(|member| member.active).map(|member| {
                let known = Known {
                    id: member.user_id,
                    username: member.username,
                };
                (known, member.role)
            }));
            if !full {
                break;
            }
        }
        Ok(all)
    }

    async fn team_of(&self, group: Option<GroupInfo>) -> Result<Option<Team>> {
        let Some(group) = group else { return Ok(None) };
        let members = self.members_of(Place::Group(group.id)).await?;
        Ok(Some(Team {
            id: group.id,
            name: group.name.to_string(),
            members: members
                .into_iter()
                .filter(|(_, role)| *role >= Role::Developer)
                .map(|(known, _)| known.id)
                .collect(),
        }))
    }
}

/// What projects are called, for outside partners.
pub struct Named(pub Forge);

#[async_trait]
impl bascule_identity::ports::Projects for Named {
    async fn named(&self, projects: &[ProjectId]) -> Result<Vec<bascule_identity::ports::NamedProject>> {
        let mut named = Vec::new();
        for some in projects.chunks(200) {
            let these = Visible::Some {
                groups: Vec::new(),
                projects: some.to_vec(),
                internal: false,
            };
            let found = self.0.list(&these, "", 0, 200).await?;
            named.extend(
                found
                    .into_iter()
                    .map(|project| bascule_identity::ports::NamedProject {
                        id: project.id,
                        group: project.group_id,
                        path: project.path(),
                    }),
            );
        }
        Ok(named)
    }
}

#[async_trait]
impl bascule_forge::ports::People for People {
    async fn by_name(&self, username: &str) -> Result<Option<Known>> {
        Ok(self.0.open_user(username).await?.map(known))
    }

    async fn by_emails(&self, addresses: &[String]) -> Result<Vec<(String, Known)>> {
        let found = self.0.users_by_email(addresses).await?;
        Ok(found
            .into_iter()
            .map(|account| (account.email.to_lowercase(), known(account)))
            .collect())
    }

    async fn by_given_email(&self, address: &str) -> Result<Option<Known>> {
        Ok(self.0.user_of_email(address).await?.map(known))
    }

    async fn role(&self, user: UserId, project: &ProjectInfo) -> Result<Option<Role>> {
        let Some(account) = self.open(user).await? else {
            return Ok(None);
        };
        let caller = Caller {
            actor: Actor::new(ActorKind::User, account.id, account.username),
            user: Some(account.id),
            instance_role: account.instance_role,
            ..Caller::anonymous()
        };
        self.0
            .role_in_project(&caller, project.id, project.group_id, project.visibility)
            .await
    }

    async fn members(&self, project: &ProjectInfo) -> Result<Vec<(Known, Role)>> {
        // A line of the group's, where the project has one too, is the lower of the two at times: both are asked.
        let mut all = self.members_of(Place::Group(project.group_id)).await?;
        for (known, role) in self
            .members_of(Place::Project(project.id, project.group_id))
            .await?
        {
            match all.iter_mut().find(|(other, _)| other.id == known.id) {
                Some((_, held)) => *held = role.max(*held),
                None => all.push((known, role)),
            }
        }
        Ok(all)
    }

    async fn team(&self, group: GroupId) -> Result<Option<Team>> {
        let group = self.0.group_by_id(group).await?;
        self.team_of(group).await
    }

    async fn team_named(&self, name: &str) -> Result<Option<Team>> {
        let group = self.0.find_group(name).await?;
        self.team_of(group).await
    }

    async fn signature(&self, user: UserId) -> Result<Option<Signature>> {
        Ok(self.open(user).await?.map(|account| Signature {
            name: if account.display_name.is_empty() {
                account.username
            } else {
                account.display_name
            },
            email: account.email,
        }))
    }
}

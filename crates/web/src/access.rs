//! Who may call a route. Stated where the route is declared, enforced before its handler runs.

use crate::{
    Failure,
    middleware::CallerSlot,
    tether::{Question, Tethers},
};
use async_trait::async_trait;
use axum::{
    extract::{FromRequestParts, RawPathParams, Request},
    middleware::Next,
    response::{IntoResponse as _, Redirect, Response},
};
use bascule_core::{
    ActorKind, Caller, Digest, GroupScope, InstanceRole, Permission, Problem, ProjectScope, Scope,
};
use http::request::Parts;
use std::{convert::Infallible, sync::Arc};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anyone. Listed in the authorisation test; keep the list short.
    Public,
    /// Any account, also those of outside partners.
    SignedIn,
    /// Any account, and the holder of a project's own token: what says who that is.
    Holder,
    /// Any account of the institution: what stands above single projects is no business of outside partners.
    Insider,
    /// Callers who hold the permission on the whole instance.
    Instance(Permission),
    /// Callers who hold it in the group named by the path's `{group}`.
    Group(Permission),
    /// Callers who hold it in the project named by the path's `{group}` and `{project}`.
    Project(Permission),
    /// A program of ours with its own kind of token, which the handler itself checks.
    Machine(MachineKind),
}

/// Programs with tokens of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MachineKind {
    /// A runner or a job of it.
    Runner,
    /// An environment's agent.
    Agent,
    /// A traffic proxy.
    Edge,
}

/// Marks a request that came by the listener of agents and edges, where nothing else is served, and says which
/// certificate it came with.
#[derive(Clone, Debug)]
pub struct AgentsDoor {
    /// The digest of the client's certificate, which the instance's authority issued; enrolment needs none.
    pub certificate: Option<Digest>,
}

/// How the gate learns who asks and what they may see. The binary wires it to identity and forge.
#[async_trait]
pub trait Gate: Send + Sync {
    /// Who asks: by session cookie, bearer token, `PRIVATE-TOKEN`, or HTTP Basic.
    async fn caller(&self, parts: &Parts) -> Result<Caller, Problem>;

    /// The group, if the caller may see that it exists.
    async fn group(&self, caller: &Caller, group: &str) -> Result<Option<GroupScope>, Problem>;

    /// The project, if the caller may see that it exists; by its path, or by one that it had before it was
    /// renamed.
    async fn project(
        &self,
        caller: &Caller,
        group: &str,
        project: &str,
    ) -> Result<Option<ProjectScope>, Problem>;

    /// How many to-dos wait for the caller, for the top bar; `None` where that is not known.
    async fn waiting(&self, _: &Caller) -> Option<i64> {
        None
    }
}

/// The gate, as carried by each request.
#[derive(Clone)]
pub(crate) struct GateRef(pub(crate) Arc<dyn Gate>);

/// Lets a request through to its handler, or refuses it.
pub(crate) async fn enforce(
    access: Access,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let (mut parts, body) = request.into_parts();
    let Some(GateRef(gate)) = parts.extensions.get::<GateRef>().cloned() else {
        tracing::error!("a route was called without a gate; refused");
        return Err(Problem::internal().into());
    };
    let for_members = matches!(access, Access::Machine(MachineKind::Agent | MachineKind::Edge));
    let at_their_door = parts.extensions.get::<AgentsDoor>().is_some();
    let pulls = matches!(access, Access::Project(Permission::ImageRead));
    if at_their_door && !for_members && !pulls {
        return Err(Problem::not_found("address").into());
    }
    let refuse = |problem: Problem, parts: &Parts| Err(Failure::from(problem).for_request(parts));
    let (group, project) = (named(&params, "group"), named(&params, "project"));
    let project = project.strip_suffix(".git").unwrap_or(&project);
    let caller = match access {
        Access::Machine(_) => Caller::anonymous(),
        _ => match gate.caller(&parts).await {
            Ok(caller) => caller,
            // A stale cookie must not lock anyone out of the sign-in page.
            Err(problem) if access == Access::Public && problem.status == 401 => Caller::anonymous(),
            Err(problem) => return refuse(problem, &parts),
        },
    };
    // Agents look there for the images that their clusters pull; nobody else does.
    if at_their_door && pulls && caller.actor.kind != ActorKind::Agent {
        return Err(Problem::not_found("address").into());
    }
    // A public form needs it too: another site could otherwise sign someone in to an account that is not theirs.
    let by_browser = caller.by_cookie || access == Access::Public;
    if by_browser && !parts.method.is_safe() && crossed_origin(&parts) {
        let problem = Problem::new(403, "cross_origin", "The request came from another site.")
            .why("A page elsewhere could otherwise act in your name with your session.")
            .next("Use the form on Bascule's own page, or an access token.");
        return refuse(problem, &parts);
    }
    let Weighed { found, denied } = weigh(gate.as_ref(), access, &caller, (&group, project)).await;
    let denied = denied.or_else(|| {
        let of_projects = access == Access::Holder;
        let personal = of_projects || matches!(access, Access::SignedIn | Access::Insider);
        (personal && !token_suffices(&caller, &parts, of_projects)).then(scope_missing)
    });
    match found {
        Found::Nothing => {}
        Found::Group(scope) => drop(parts.extensions.insert(scope)),
        Found::Project(scope) => {
            if denied.is_none()
                && let Some(moved) = moved(&parts, (&group, project), &scope)
            {
                return Ok(moved);
            }
            parts.extensions.insert(scope);
        }
    }
    // A page that tells of a refusal knows who is refused, and leaves them the ways that they have.
    if let Some(slot) = parts.extensions.get::<CallerSlot>() {
        slot.set(&caller);
    }
    parts.extensions.insert(caller);
    if let Some(problem) = denied {
        return refuse(problem, &parts);
    }
    let tethers = parts.extensions.get::<Arc<Tethers>>().cloned();
    let (Some(tethers), false) = (tethers, matches!(access, Access::Public | Access::Machine(_))) else {
        return Ok(next.run(Request::from_parts(parts, body)).await);
    };
    let tether = tethers.hold(&gate, Question::new(access, &parts, &group, project));
    if is_command(&parts) {
        let request = Request::from_parts(parts, tether.while_it_comes(body));
        return Ok(tether.around(next.run(request).await));
    }
    let held = tether.held();
    tokio::select! {
        biased;
        response = next.run(Request::from_parts(parts, body)) => Ok(tether.around(response)),
        () = held.until_over() => Err(Failure::from(access_ended()).for_request(held.asked())),
    }
}

/// Whether a request changes something at one stroke. Once all of it has come it is carried out to its end, also where
/// it takes the caller's own access away; git's transfers are ended wherever they are.
fn is_command(parts: &Parts) -> bool {
    !parts.method.is_safe() && !parts.uri.path().contains(".git/")
}

/// What the path names, as far as the caller may see it.
pub(crate) enum Found {
    Nothing,
    Group(GroupScope),
    Project(ProjectScope),
}

/// The gate's word on a caller.
pub(crate) struct Weighed {
    found: Found,
    pub(crate) denied: Option<Problem>,
}

/// Whether a caller may. Asked before the handler runs, and again while its answer is on the way.
pub(crate) async fn weigh(
    gate: &dyn Gate,
    access: Access,
    caller: &Caller,
    (group, project): (&str, &str),
) -> Weighed {
    let mut found = Found::Nothing;
    let denied = match access {
        Access::Public | Access::Machine(_) => None,
        _ if caller.is_anonymous() => Some(Problem::unauthenticated()),
        Access::Insider
            if caller.instance_role == InstanceRole::External && caller.only_project.is_none() =>
        {
            Some(for_insiders())
        }
        Access::SignedIn | Access::Holder | Access::Insider => None,
        Access::Instance(permission) => (!caller.holds(permission)).then(|| instance_denied(permission)),
        Access::Group(permission) => match gate.group(caller, group).await {
            Err(problem) => Some(problem),
            Ok(None) => Some(Problem::not_found("group")),
            Ok(Some(scope)) => {
                let denied = !(scope.role.holds(permission) && caller.scope_allows(permission));
                found = Found::Group(scope);
                denied.then(|| Problem::forbidden(permission))
            }
        },
        Access::Project(permission) => match gate.project(caller, group, project).await {
            Err(problem) => Some(problem),
            Ok(None) => Some(Problem::not_found("project")),
            Ok(Some(scope)) => {
                let denied = !scope.holds(permission);
                found = Found::Project(scope);
                denied.then(|| Problem::forbidden(permission))
            }
        },
    };
    Weighed { found, denied }
}

fn named(params: &RawPathParams, name: &str) -> String {
    params
        .iter()
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.to_owned())
        .unwrap_or_default()
}

/// A project that was renamed: the same address under its new path. Stock git follows it by itself.
fn moved(parts: &Parts, (group, project): (&str, &str), scope: &ProjectScope) -> Option<Response> {
    if (scope.group.as_str(), scope.name.as_str()) == (group, project) {
        return None;
    }
    let path = parts.uri.path();
    let old = format!("/{group}/{project}");
    let end = path
        .match_indices(&old)
        .map(|(at, _)| at + old.len())
        .find(|end| path[*end..].is_empty() || path[*end..].starts_with(['/', '.']))?;
    let begin = &path[..end - old.len()];
    let query = parts
        .uri
        .query()
        .map(|query| format!("?{query}"))
        .unwrap_or_default();
    let place = format!("{begin}/{}{}{query}", scope.path(), &path[end..]);
    // Kept by browsers only for a while: the old path may be taken anew.
    Some(Redirect::temporary(&place).into_response())
}

/// Whether the token used, if any, is one for what is a person's own; `of_projects` lets those of projects count too.
fn token_suffices(caller: &Caller, parts: &Parts, of_projects: bool) -> bool {
    let holds = |scope| caller.scopes.as_ref().is_some_and(|s| s.contains(&scope));
    let enough = parts.method.is_safe() && holds(Scope::ReadApi);
    let full = caller.scopes.is_none() || holds(Scope::Api);
    (enough || full) && (of_projects || caller.only_project.is_none())
}

fn access_ended() -> Problem {
    Problem::new(
        403,
        "access_ended",
        "Your access ended while this was on its way.",
    )
    .why("The account was closed or reached its end, or the role, session, token or key was taken away.")
    .next("If this surprises you, ask a maintainer of the project or an administrator.")
}

fn for_insiders() -> Problem {
    Problem::new(
        403,
        "for_insiders",
        "This is for the institution's own people.",
    )
    .why("Your account is an outside partner's: it sees the projects that it was given, and nothing beside them.")
    .next("Look at the project itself; your projects are under Projects.")
}

fn scope_missing() -> Problem {
    Problem::new(403, "scope_missing", "The token used has no scope for this.")
        .why("A token reaches only what its scopes and its project name.")
        .next("Use a personal token with the scope `api`, or sign in.")
}

fn instance_denied(permission: Permission) -> Problem {
    Problem::new(
        403,
        "forbidden",
        format!("You may not {}.", permission.describe()),
    )
    .why("It concerns the whole instance.")
    .next("Ask an administrator of this instance.")
}

/// Whether a browser says that another site made this request (Fetch Metadata, W3C; else Origin, RFC 6454).
fn crossed_origin(parts: &Parts) -> bool {
    let header = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
    if let Some(site) = header("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    match (header("origin"), header("host")) {
        (Some(origin), Some(host)) => origin.split_once("://").is_none_or(|(_, rest)| rest != host),
        (Some(_), None) => true,
        // Not a browser of the last years; SameSite=Lax on the cookie still stands.
        (None, _) => false,
    }
}

macro_rules! from_extensions {
    ($($(#[$doc:meta])* $name:ident($inner:ty) or $missing:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name(pub $inner);

        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Failure;
            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
                parts.extensions.get::<$inner>().cloned().map(Self).ok_or_else(|| {
                    tracing::error!(path = %parts.uri.path(), concat!("no ", stringify!($inner), ": wrong Access on this route"));
                    Failure::from($missing)
                })
            }
        }

        impl std::ops::Deref for $name {
            type Target = $inner;
            fn deref(&self) -> &$inner {
                &self.0
            }
        }
    )*};
}

from_extensions! {
    /// Who asks.
    Who(Caller) or Problem::internal();
    /// The project that the path names; only on routes with [`Access::Project`].
    InProject(ProjectScope) or Problem::internal();
    /// The group that the path names; only on routes with [`Access::Group`].
    InGroup(GroupScope) or Problem::internal();
}

/// The project that the path names, where the route may also have none.
pub(crate) async fn maybe_project(parts: &Parts) -> Result<Option<ProjectScope>, Infallible> {
    Ok(parts.extensions.get::<ProjectScope>().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut builder = http::Request::builder().uri("/x");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_renamed_project_is_found_under_its_new_path() {
        let scope = ProjectScope {
            id: bascule_core::ProjectId::new(),
            group_id: bascule_core::GroupId::new(),
            group: "a".to_owned(),
            name: "new".to_owned(),
            role: bascule_core::Role::Reporter,
            scopes: None,
        };
        let to = |uri: &str| {
            let parts = http::Request::builder().uri(uri).body(()).unwrap().into_parts().0;
            let answer = moved(&parts, ("a", "old"), &scope)?;
            Some(answer.headers()["location"].to_str().unwrap().to_owned())
        };
        let refs = "/a/new.git/info/refs?service=git-upload-pack";
        assert_eq!(
            to("/a/old.git/info/refs?service=git-upload-pack").as_deref(),
            Some(refs)
        );
        assert_eq!(to("/a/old").as_deref(), Some("/a/new"));
        assert_eq!(
            to("/api/v1/projects/a/old/branches").as_deref(),
            Some("/api/v1/projects/a/new/branches")
        );
        assert_eq!(to("/a/older/-/tree"), None);
        let parts = http::Request::builder()
            .uri("/a/new")
            .body(())
            .unwrap()
            .into_parts()
            .0;
        assert!(moved(&parts, ("a", "new"), &scope).is_none());
    }

    #[test]
    fn other_sites_are_told_from_ours() {
        assert!(crossed_origin(&parts(&[("sec-fetch-site", "cross-site")])));
        assert!(crossed_origin(&parts(&[("sec-fetch-site", "same-site")])));
        assert!(!crossed_origin(&parts(&[("sec-fetch-site", "same-origin")])));
        assert!(crossed_origin(&parts(&[
            ("origin", "http://evil.example"),
            ("host", "bascule.example")
        ])));
        assert!(crossed_origin(&parts(&[
            ("origin", "null"),
            ("host", "bascule.example")
        ])));
        assert!(!crossed_origin(&parts(&[
            ("origin", "http://bascule.example"),
            ("host", "bascule.example")
        ])));
        assert!(!crossed_origin(&parts(&[("host", "bascule.example")])));
    }
}

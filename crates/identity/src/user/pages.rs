//! Pages about one's own account, and about all accounts for administrators.

use super::{Account, INSTANCE_ROLES};
use crate::{Identity, notice::Done, paging, partner, password, session};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse as _, Redirect},
    routing::{get, post},
};
use bascule_core::{InstanceRole, Name, Permission};
use bascule_web::{Access, Answer, Crumb, FormBody, Params, PathOf, Routes, Section, Ui, Who};
use bascule_wire::identity::NewUser;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Identity> {
    let own = Access::SignedIn;
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .page("GET", "/settings", own, get(settings))
        .page("POST", "/settings/profile", own, post(profile))
        .page("POST", "/settings/password", own, post(change_password))
        .page("GET", "/admin", manage, get(admin))
        .page("GET,POST", "/admin/users", manage, get(users).post(create))
        .page("POST", "/admin/users/{username}/role", manage, post(set_role))
        .page(
            "POST",
            "/admin/users/{username}/password",
            manage,
            post(reset_password),
        )
        .page(
            "POST",
            "/admin/users/{username}/deactivate",
            manage,
            post(deactivate),
        )
        .page("POST", "/admin/users/{username}/activate", manage, post(activate))
}

#[derive(Template)]
#[template(path = "user/settings.html")]
struct SettingsPage {
    nav: &'static str,
    notice: &'static str,
    account: Account,
    ends_soon: bool,
    min_chars: usize,
}

async fn settings(State(identity): State<Identity>, who: Who, ui: Ui, Params(done): Params<Done>) -> Answer {
    let account = identity.holder_account(&who).await?;
    let page = SettingsPage {
        nav: "profile",
        notice: done.text(),
        ends_soon: partner::is_soon(account.ends_at, identity.now()),
        account,
        min_chars: password::MIN_CHARS,
    };
    ui.page(Section::Settings, "Settings", &[], &page)
}

#[derive(Deserialize)]
struct ProfileForm {
    display_name: String,
    #[serde(default)]
    email: String,
}

async fn profile(
    State(identity): State<Identity>,
    who: Who,
    FormBody(form): FormBody<ProfileForm>,
) -> Answer<Redirect> {
    identity
        .change_profile(&who, &form.display_name, &form.email)
        .await?;
    Ok(Redirect::to("/settings?done=saved"))
}

#[derive(Deserialize)]
struct PasswordForm {
    current: String,
    new: String,
}

async fn change_password(
    State(identity): State<Identity>,
    who: Who,
    client: session::Client,
    FormBody(form): FormBody<PasswordForm>,
) -> Answer {
    let present = client.session.as_deref().unwrap_or_default();
    let secret = identity
        .change_password(&who, &form.current, &form.new, present, client.address)
        .await
        .map_err(session::failure)?;
    let to = Redirect::to("/settings?done=password").into_response();
    // A token that changes the password gets no session for it.
    Ok(if who.by_cookie && client.session.is_some() {
        client.with_cookie(to, Some(&secret))
    } else {
        to
    })
}

#[derive(Template)]
#[template(path = "user/admin.html")]
struct AdminPage {
    open: i64,
    closed: i64,
}

async fn admin(State(identity): State<Identity>, ui: Ui) -> Answer {
    let (all, open) = identity.count_users().await?;
    ui.page(
        Section::Settings,
        "Administration",
        &[],
        &AdminPage {
            open,
            closed: all - open,
        },
    )
}

struct Told {
    username: String,
    password: String,
}

#[derive(Template)]
#[template(path = "user/users.html")]
struct UsersPage {
    notice: &'static str,
    told: Option<Told>,
    users: Vec<Account>,
    roles: [InstanceRole; 4],
    next: Option<String>,
}

async fn users(
    State(identity): State<Identity>,
    ui: Ui,
    Params(done): Params<Done>,
    Params(page): Params<paging::Wanted>,
) -> Answer {
    show_users(&identity, &ui, &page, done.text(), None).await
}

async fn show_users(
    identity: &Identity,
    ui: &Ui,
    page: &paging::Wanted,
    notice: &'static str,
    told: Option<Told>,
) -> Answer {
    let found = identity.users(page.after(), page.limit() + 1).await?;
    let (users, next) = paging::cut(found, page.limit(), |account| account.username.clone());
    let crumbs = [Crumb::to("Administration", "/admin"), Crumb::here("Users")];
    let page = UsersPage {
        notice,
        told,
        users,
        roles: INSTANCE_ROLES,
        next,
    };
    ui.page(Section::Settings, "Users", &crumbs, &page)
}

#[derive(Deserialize)]
struct UserForm {
    username: String,
    #[serde(default)]
    display_name: String,
    #[serde(default)]
    email: String,
    role: InstanceRole,
    #[serde(default)]
    ends_on: String,
}

async fn create(
    State(identity): State<Identity>,
    who: Who,
    ui: Ui,
    FormBody(form): FormBody<UserForm>,
) -> Answer {
    let new = NewUser {
        username: Name::new(form.username.trim()).map_err(bascule_core::Problem::from)?,
        display_name: form.display_name,
        email: form.email,
        password: None,
        role: form.role,
        ends_at: partner::end_of_day(&form.ends_on)?.filter(|_| form.role == InstanceRole::External),
    };
    let created = identity.create_user(&who, &new).await?;
    let told = created.initial_password.map(|password| Told {
        username: created.user.username,
        password,
    });
    show_users(&identity, &ui, &paging::Wanted::default(), "", told).await
}

#[derive(Deserialize)]
struct RoleForm {
    role: InstanceRole,
}

async fn set_role(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
    FormBody(form): FormBody<RoleForm>,
) -> Answer<Redirect> {
    identity.set_instance_role(&who, &username, form.role).await?;
    Ok(Redirect::to("/admin/users?done=saved"))
}

async fn reset_password(
    State(identity): State<Identity>,
    who: Who,
    ui: Ui,
    PathOf(username): PathOf<String>,
) -> Answer {
    let password = identity.reset_password(&who, &username).await?;
    let username = identity.user(&username).await?.username;
    show_users(
        &identity,
        &ui,
        &paging::Wanted::default(),
        "",
        Some(Told { username, password }),
    )
    .await
}

async fn deactivate(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
) -> Answer<Redirect> {
    identity.deactivate_user(&who, &username).await?;
    Ok(Redirect::to("/admin/users?done=closed"))
}

async fn activate(
    State(identity): State<Identity>,
    who: Who,
    PathOf(username): PathOf<String>,
) -> Answer<Redirect> {
    identity.activate_user(&who, &username).await?;
    Ok(Redirect::to("/admin/users?done=opened"))
}

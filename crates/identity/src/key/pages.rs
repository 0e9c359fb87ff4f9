//! The page of one's SSH keys.

use super::store::Key;
use crate::{Identity, notice::Done};
use askama::Template;
use axum::{
    extract::State,
    response::Redirect,
    routing::{get, post},
};
use bascule_core::KeyId;
use bascule_web::{Access, Answer, Crumb, FormBody, Params, PathOf, Routes, Section, Ui, Who};
use bascule_wire::identity::NewKey;

pub(crate) fn routes() -> Routes<Identity> {
    Routes::new()
        .page(
            "GET,POST",
            "/settings/keys",
            Access::SignedIn,
            get(list).post(add),
        )
        .page(
            "POST",
            "/settings/keys/{key}/remove",
            Access::SignedIn,
            post(remove),
        )
}

#[derive(Template)]
#[template(path = "key/keys.html")]
struct KeysPage {
    nav: &'static str,
    notice: &'static str,
    keys: Vec<Key>,
}

async fn list(State(identity): State<Identity>, who: Who, ui: Ui, Params(done): Params<Done>) -> Answer {
    let page = KeysPage {
        nav: "keys",
        notice: done.text(),
        keys: identity.keys(&who).await?,
    };
    let crumbs = [Crumb::to("Settings", "/settings"), Crumb::here("SSH keys")];
    ui.page(Section::Settings, "SSH keys", &crumbs, &page)
}

async fn add(
    State(identity): State<Identity>,
    who: Who,
    FormBody(new): FormBody<NewKey>,
) -> Answer<Redirect> {
    identity.add_key(&who, &new).await?;
    Ok(Redirect::to("/settings/keys?done=key-added"))
}

async fn remove(State(identity): State<Identity>, who: Who, PathOf(key): PathOf<KeyId>) -> Answer<Redirect> {
    identity.remove_key(&who, key).await?;
    Ok(Redirect::to("/settings/keys?done=key-removed"))
}

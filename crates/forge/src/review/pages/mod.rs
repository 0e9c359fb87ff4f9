//! Pages of reviews: parts of a merge request's pages, and the forms that change something.

mod forms;
pub(crate) mod notes;
pub(crate) mod overview;
mod settings;
mod view;

use crate::Forge;
use axum::routing::{get, post};
use bascule_core::Permission;
use bascule_web::{Access, Routes};

pub(crate) fn routes() -> Routes<Forge> {
    let see = Access::Project(Permission::CodeRead);
    let write = Access::Project(Permission::MergeRequestWrite);
    let approve = Access::Project(Permission::MergeRequestApprove);
    let manage = Access::Project(Permission::ProjectManage);
    let under = |rest: &str| format!("/{{group}}/{{project}}/-/merge-requests/{{iid}}/{rest}");
    Routes::new()
        .page(
            "GET,POST",
            &under("comment"),
            write,
            get(forms::comment_form).post(forms::comment),
        )
        .page("POST", &under("comment/suggest"), write, post(forms::suggest))
        .page(
            "POST",
            &under("threads/{thread}/reply"),
            write,
            post(forms::reply),
        )
        .page(
            "POST",
            &under("threads/{thread}/resolve"),
            write,
            post(forms::resolve),
        )
        .page(
            "GET,POST",
            &under("comments/{comment}/edit"),
            write,
            get(forms::edit_form).post(forms::edit),
        )
        .page(
            "POST",
            &under("comments/{comment}/delete"),
            write,
            post(forms::delete),
        )
        .page("POST", &under("review"), write, post(forms::review))
        .page("POST", &under("approve"), approve, post(forms::approve))
        .page("POST", &under("unapprove"), approve, post(forms::unapprove))
        .page("POST", &under("suggestions"), write, post(forms::apply))
        .page("POST", &under("people"), write, post(forms::people))
        .page("POST", &under("dismiss"), write, post(forms::dismiss))
        .page("GET", &under("findings"), see, get(overview::findings))
        .page(
            "GET,POST",
            "/{group}/{project}/-/settings/reviews",
            manage,
            get(settings::show).post(settings::save),
        )
}

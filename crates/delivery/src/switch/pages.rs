//! The form on an environment's page that lets a group switch.

use crate::Delivery;
use axum::{extract::State, response::Response, routing::post};
use bascule_web::{Access, Answer, FormBody, PathOf, Routes, Who, url_encode};
use bascule_wire::delivery::NewSwitch;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Delivery> {
    Routes::new().page(
        "POST",
        "/plans/{environment}/switch",
        Access::Insider,
        post(switch),
    )
}

#[derive(Deserialize)]
struct SwitchForm {
    /// `group/project@version` for each, with blanks between.
    members: String,
    reason: String,
}

async fn switch(
    State(delivery): State<Delivery>,
    PathOf(name): PathOf<String>,
    who: Who,
    FormBody(form): FormBody<SwitchForm>,
) -> Answer<Response> {
    let new = NewSwitch {
        members: form.members.split_whitespace().map(str::to_owned).collect(),
        reason: form.reason,
        force: false,
    };
    delivery.take_group_step(&who, &name, &new).await?;
    Ok(crate::pages::see(&format!("/plans/{}", url_encode(&name))))
}

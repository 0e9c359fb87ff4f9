//! What people do on the pages of environments and products: hold changes and let them go on, let go what is no longer
//! declared, recall releases. The same rules hold as for the API.

use crate::{Delivery, pages::see};
use axum::{extract::State, response::Response, routing::post};
use bascule_core::Permission;
use bascule_web::{Access, Answer, FormBody, InProject, PathOf, Routes, Who, url_encode};
use serde::Deserialize;
use std::time::Duration;

pub(super) fn routes() -> Routes<Delivery> {
    let manage = Access::Instance(Permission::InstanceManage);
    Routes::new()
        .page("POST", "/plans/{environment}/suppress", manage, post(suppress))
        .page(
            "POST",
            "/plans/{environment}/unsuppress",
            manage,
            post(unsuppress),
        )
        .page("POST", "/plans/{environment}/prune", manage, post(prune))
        .page(
            "POST",
            "/products/{group}/{project}/recalls",
            Access::Project(Permission::DeployProduction),
            post(recall),
        )
}

/// The page of an environment; of all of them the map.
fn place(environment: &str) -> String {
    if environment == "*" {
        "/environments".to_owned()
    } else {
        format!("/plans/{}", url_encode(environment))
    }
}

#[derive(Deserialize)]
struct SuppressForm {
    reason: String,
    /// For so many minutes; 0: until someone lets them go on.
    #[serde(default)]
    minutes: u32,
}

async fn suppress(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
    FormBody(form): FormBody<SuppressForm>,
) -> Answer<Response> {
    let until = (form.minutes > 0).then(|| {
        delivery
            .now()
            .plus(Duration::from_secs(u64::from(form.minutes) * 60))
    });
    delivery.suppress(&who, &environment, &form.reason, until).await?;
    Ok(see(&place(&environment)))
}

async fn unsuppress(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<Response> {
    delivery.unsuppress(&who, &environment).await?;
    Ok(see(&place(&environment)))
}

async fn prune(
    State(delivery): State<Delivery>,
    who: Who,
    PathOf(environment): PathOf<String>,
) -> Answer<Response> {
    delivery.confirm_prune(&who, &environment).await?;
    Ok(see(&place(&environment)))
}

#[derive(Deserialize)]
struct RecallForm {
    versions: String,
    reason: String,
    #[serde(default)]
    floor: String,
}

async fn recall(
    State(delivery): State<Delivery>,
    who: Who,
    project: InProject,
    FormBody(form): FormBody<RecallForm>,
) -> Answer<Response> {
    delivery
        .recall(
            &who,
            project.id,
            form.versions.trim(),
            form.reason.trim(),
            form.floor.trim(),
        )
        .await?;
    Ok(see(&format!("/products/{}", project.path())))
}

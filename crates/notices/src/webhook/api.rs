//! JSON handlers: the same for projects and for groups.

use crate::Notices;
use bascule_core::{HookDeliveryId, Permission, WebhookId};
use bascule_web::{Access, Routes};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
struct OnePath {
    id: WebhookId,
}

#[derive(Debug, Deserialize)]
struct DeliveryPath {
    id: WebhookId,
    delivery: HookDeliveryId,
}

#[derive(Debug, Deserialize)]
struct Wanted {
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    before: Option<HookDeliveryId>,
    #[serde(default)]
    limit: Option<i64>,
}

pub(crate) fn routes() -> Routes<Notices> {
    Routes::new()
        .merge(of_project::routes(Access::Project(Permission::ProjectManage)))
        .merge(of_group::routes(Access::Group(Permission::GroupManage)))
}

/// Handlers under one kind of owner.
macro_rules! handlers {
    ($room:ident, $owner:ident, $list:tt, $one:tt, $test:tt, $deliveries:tt, $delivery:tt, $replay:tt, ($($param:tt)*)) => {
        mod $room {
            use super::{DeliveryPath, OnePath, Wanted};
            use crate::Notices;
            use axum::{Json, extract::State};
            use bascule_core::Problem;
            use bascule_web::{Access, Answer, Body, $owner, Params, PathOf, Routes, Who, routes};
            use bascule_wire::notices::{
                HookDeliveries, HookDelivery, NewWebhook, Webhook, WebhookChange, Webhooks,
            };
            use http::StatusCode;

            pub(super) fn routes(manage: Access) -> Routes<Notices> {
                Routes::new()
                    .api(manage, routes!(list, create))
                    .api(manage, routes!(show, change, remove))
                    .api(manage, routes!(test))
                    .api(manage, routes!(deliveries))
                    .api(manage, routes!(delivery))
                    .api(manage, routes!(replay))
            }

            /// Webhooks.
            #[utoipa::path(get, path = $list, tag = "notices", params($($param)*),
                responses((status = 200, body = Webhooks)))]
            async fn list(State(notices): State<Notices>, owner: $owner) -> Answer<Json<Webhooks>> {
                let items = notices.webhooks((&*owner).into()).await?;
                Ok(Json(Webhooks { items }))
            }

            /// Makes a webhook. Its secret is told in the answer, and never again.
            #[utoipa::path(post, path = $list, tag = "notices", params($($param)*), request_body = NewWebhook,
                responses((status = 201, body = Webhook), (status = 422, body = Problem)))]
            async fn create(
                State(notices): State<Notices>,
                who: Who,
                owner: $owner,
                Body(new): Body<NewWebhook>,
            ) -> Answer<(StatusCode, Json<Webhook>)> {
                let made = notices.create_webhook(&who, (&*owner).into(), &new).await?;
                Ok((StatusCode::CREATED, Json(made)))
            }

            /// A webhook.
            #[utoipa::path(get, path = $one, tag = "notices", params($($param)*, ("id" = String, Path)),
                responses((status = 200, body = Webhook), (status = 404, body = Problem)))]
            async fn show(
                State(notices): State<Notices>,
                owner: $owner,
                PathOf(path): PathOf<OnePath>,
            ) -> Answer<Json<Webhook>> {
                Ok(Json(notices.webhook((&*owner).into(), path.id).await?))
            }

            /// Changes a webhook; what is left out stays.
            #[utoipa::path(patch, path = $one, tag = "notices", params($($param)*, ("id" = String, Path)),
                request_body = WebhookChange,
                responses((status = 200, body = Webhook), (status = 404, body = Problem), (status = 422, body = Problem)))]
            async fn change(
                State(notices): State<Notices>,
                who: Who,
                owner: $owner,
                PathOf(path): PathOf<OnePath>,
                Body(change): Body<WebhookChange>,
            ) -> Answer<Json<Webhook>> {
                let owner = (&*owner).into();
                Ok(Json(notices.change_webhook(&who, owner, path.id, &change).await?))
            }

            /// Removes a webhook and its deliveries.
            #[utoipa::path(delete, path = $one, tag = "notices", params($($param)*, ("id" = String, Path)),
                responses((status = 204), (status = 404, body = Problem)))]
            async fn remove(
                State(notices): State<Notices>,
                who: Who,
                owner: $owner,
                PathOf(path): PathOf<OnePath>,
            ) -> Answer<StatusCode> {
                notices.remove_webhook(&who, (&*owner).into(), path.id).await?;
                Ok(StatusCode::NO_CONTENT)
            }

            /// Sends a push of nothing, marked as a test.
            #[utoipa::path(post, path = $test, tag = "notices", params($($param)*, ("id" = String, Path)),
                responses((status = 202, body = HookDelivery), (status = 409, body = Problem)))]
            async fn test(
                State(notices): State<Notices>,
                who: Who,
                owner: $owner,
                PathOf(path): PathOf<OnePath>,
            ) -> Answer<(StatusCode, Json<HookDelivery>)> {
                let sent = notices.test_webhook(&who, (&*owner).into(), path.id).await?;
                Ok((StatusCode::ACCEPTED, Json(sent)))
            }

            /// Deliveries, newest first.
            #[utoipa::path(get, path = $deliveries, tag = "notices",
                params($($param)*, ("id" = String, Path),
                    ("state" = Option<String>, Query, description = "`waiting`, `delivered` or `failed`"),
                    ("before" = Option<String>, Query, description = "`next` of the page before"),
                    ("limit" = Option<i64>, Query, description = "20 if left out, 200 at most")),
                responses((status = 200, body = HookDeliveries)))]
            async fn deliveries(
                State(notices): State<Notices>,
                owner: $owner,
                PathOf(path): PathOf<OnePath>,
                Params(wanted): Params<Wanted>,
            ) -> Answer<Json<HookDeliveries>> {
                let owner = (&*owner).into();
                let state = wanted.state.as_deref().filter(|state| !state.is_empty());
                Ok(Json(
                    notices
                        .hook_deliveries(owner, path.id, state, wanted.before, wanted.limit)
                        .await?,
                ))
            }

            /// A delivery with what is sent.
            #[utoipa::path(get, path = $delivery, tag = "notices",
                params($($param)*, ("id" = String, Path), ("delivery" = String, Path)),
                responses((status = 200, body = HookDelivery), (status = 404, body = Problem)))]
            async fn delivery(
                State(notices): State<Notices>,
                owner: $owner,
                PathOf(path): PathOf<DeliveryPath>,
            ) -> Answer<Json<HookDelivery>> {
                let owner = (&*owner).into();
                Ok(Json(notices.hook_delivery(owner, path.id, path.delivery).await?))
            }

            /// Sends a delivery again, as a new one.
            #[utoipa::path(post, path = $replay, tag = "notices",
                params($($param)*, ("id" = String, Path), ("delivery" = String, Path)),
                responses((status = 202, body = HookDelivery), (status = 404, body = Problem), (status = 409, body = Problem)))]
            async fn replay(
                State(notices): State<Notices>,
                owner: $owner,
                PathOf(path): PathOf<DeliveryPath>,
            ) -> Answer<(StatusCode, Json<HookDelivery>)> {
                let sent = notices.replay((&*owner).into(), path.id, path.delivery).await?;
                Ok((StatusCode::ACCEPTED, Json(sent)))
            }
        }
    };
}

handlers!(
    of_project,
    InProject,
    "/api/v1/projects/{group}/{project}/webhooks",
    "/api/v1/projects/{group}/{project}/webhooks/{id}",
    "/api/v1/projects/{group}/{project}/webhooks/{id}/test",
    "/api/v1/projects/{group}/{project}/webhooks/{id}/deliveries",
    "/api/v1/projects/{group}/{project}/webhooks/{id}/deliveries/{delivery}",
    "/api/v1/projects/{group}/{project}/webhooks/{id}/deliveries/{delivery}/replay",
    (("group" = String, Path), ("project" = String, Path))
);

handlers!(
    of_group,
    InGroup,
    "/api/v1/groups/{group}/webhooks",
    "/api/v1/groups/{group}/webhooks/{id}",
    "/api/v1/groups/{group}/webhooks/{id}/test",
    "/api/v1/groups/{group}/webhooks/{id}/deliveries",
    "/api/v1/groups/{group}/webhooks/{id}/deliveries/{delivery}",
    "/api/v1/groups/{group}/webhooks/{id}/deliveries/{delivery}/replay",
    (("group" = String, Path))
);

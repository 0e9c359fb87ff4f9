//! The page of parity.

use crate::Delivery;
use askama::Template;
use axum::{extract::State, routing::get};
use bascule_web::{Access, Answer, Crumb, Params, Routes, Section, Ui, icon, url_encode, when};
use bascule_wire::environments::Parity;
use serde::Deserialize;

pub(crate) fn routes() -> Routes<Delivery> {
    Routes::new().page("GET", "/parity", Access::Insider, get(parity))
}

#[derive(Deserialize)]
struct ParityQuery {
    #[serde(default)]
    product: String,
    #[serde(default)]
    after: String,
    #[serde(default)]
    all: bool,
}

#[derive(Template)]
#[template(path = "site/parity.html")]
struct ParityView {
    product: String,
    all: bool,
    items: Vec<Parity>,
    next: Option<String>,
}

async fn parity(State(delivery): State<Delivery>, Params(query): Params<ParityQuery>, ui: Ui) -> Answer {
    let product = query.product.trim().to_owned();
    let one = (!product.is_empty()).then_some(product.as_str());
    let page = delivery.parity(ui.caller(), one, &query.after).await?;
    let view = ParityView {
        all: query.all,
        items: page.items,
        next: page.next,
        product,
    };
    let crumbs = [Crumb::to("Environments", "/environments"), Crumb::here("Parity")];
    ui.page(Section::Environments, "Parity", &crumbs, &view)
}

/// What a kind of line is called.
fn kind_name(kind: &str) -> &str {
    match kind {
        "service" => "platform",
        "variable" => "configuration",
        other => other,
    }
}

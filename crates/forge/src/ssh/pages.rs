//! What people need to trust and reach the SSH server: its address and its key's fingerprint.

use crate::Forge;
use askama::Template;
use axum::{Json, extract::State, routing::get};
use bascule_web::{Access, Answer, Crumb, Routes, Section, Ui, routes};
use bascule_wire::forge::SshServer;

pub(crate) fn routes() -> Routes<Forge> {
    Routes::new()
        .page("GET", "/settings/ssh", Access::SignedIn, get(page))
        .api(Access::SignedIn, routes!(ssh_server))
}

impl Forge {
    /// Where git over SSH is served and how it proves itself; `None` where it is off.
    pub(crate) fn ssh_server(&self) -> Option<SshServer> {
        let (address, key) = (self.config().ssh.as_ref()?, self.host_key()?);
        let host = if address.port == 22 {
            address.host.clone()
        } else {
            format!("[{}]:{}", address.host, address.port)
        };
        Some(SshServer {
            host: address.host.clone(),
            port: address.port,
            fingerprint: key.fingerprint.clone(),
            known_hosts: format!("{host} {}", key.public),
            example: address.url("GROUP/PROJECT"),
        })
    }
}

/// Where git over SSH is served, and the fingerprint of its key; null where it is off.
#[utoipa::path(get, path = "/api/v1/ssh", tag = "keys", responses((status = 200, body = Option<SshServer>)))]
async fn ssh_server(State(forge): State<Forge>) -> Json<Option<SshServer>> {
    Json(forge.ssh_server())
}

#[derive(Template)]
#[template(path = "ssh/ssh.html")]
struct SshPage {
    server: Option<SshServer>,
}

async fn page(State(forge): State<Forge>, ui: Ui) -> Answer {
    let crumbs = [
        Crumb::to("Settings", "/settings"),
        Crumb::to("SSH keys", "/settings/keys"),
        Crumb::here("git over SSH"),
    ];
    let page = SshPage {
        server: forge.ssh_server(),
    };
    ui.page(Section::Settings, "git over SSH", &crumbs, &page)
}

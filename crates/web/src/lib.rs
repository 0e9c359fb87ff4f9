//! What every page and every API answer has in common: how a route states who may call it, the shell
//! around pages, assets, error pages, Markdown and highlighting. Knows no capability.
//!
//! A capability builds its routes with [`Routes`], each with the [`Access`] it needs; the gate refuses
//! before the handler runs. Handlers take [`Who`], [`InProject`], [`InGroup`], [`Ui`] and the checked
//! extractors of [`extract`], and answer `Result<_, Failure>`.

pub mod access;
mod again;
pub mod assets;
mod contrast;
mod convert;
mod diagram;
pub mod extract;
mod failure;
mod fence;
mod fmt;
pub mod highlight;
mod kept;
pub mod markdown;
mod middleware;
pub mod raw;
pub mod reference;
mod routes;
mod shell;
mod tether;

pub use access::{Access, AgentsDoor, Gate, InGroup, InProject, MachineKind, Who};
pub use again::{again, told};
pub use extract::{Body, FormBody, Params, PathOf};
pub use failure::{Answer, Failure};
pub use fmt::{Markup, bytes, commas, duration, icon, percent, url_encode, url_path, when};
pub use kept::Kept;
pub use middleware::{OperationId, finish};
pub use routes::{RouteEntry, Routes};
pub use shell::{Crumb, Section, Shell, Tab, Ui};
pub use utoipa_axum::routes;

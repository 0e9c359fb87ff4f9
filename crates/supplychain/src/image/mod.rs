//! Images of releases, as any container runtime pulls them (OCI distribution, read only). The archives that
//! releases keep are never unpacked: each is read once, to know where in it each blob lies, and served from there.
//! Pushing would be more routes beside these; what is stored says already which bytes belong to which image.

mod api;
mod layout;
mod service;
mod store;
#[cfg(test)]
mod tests;

pub use api::routes;
pub use layout::{Image, ImageBlob, read as read_image};
pub use service::{ImageSubscriber, Images};
pub(crate) use store::MIGRATION;

/// Before the digest of a release's file, in a tag: the image in that file, whatever it is called.
pub const ARCHIVE_TAG: &str = "archive-";

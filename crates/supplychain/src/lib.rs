//! What a release is made of and who made it: SBOMs from the lockfiles of its tree, provenance, signatures,
//! and the immutable release that joins them.
//!
//! [`sbom`], [`attestation`] and [`bundle`] are pure and work without a server: `bascule release verify`
//! checks a downloaded release with nothing but them and a public key. [`Releases`] makes releases and
//! answers about them; [`routes`] serves the API and the pages; [`ReleaseSubscriber`] listens to CI.
//! [`advisory`] matches releases with the advisories that were imported.

pub mod advisory;
pub mod attestation;
pub mod bundle;
mod image;
pub mod ports;
mod release;
pub mod sbom;
mod subscriptions;

pub use image::{ARCHIVE_TAG, Image, ImageBlob, ImageSubscriber, Images, read_image, routes as image_routes};
pub use release::{
    Candidate, CarriedRelease, Checked, MIGRATIONS, PartStream, PreviewBuild, Release, ReleasePart, Releases,
    previous_of, routes, version_of,
};
pub use subscriptions::ReleaseSubscriber;

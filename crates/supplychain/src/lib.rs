//! What a release is made of and who made it: SBOMs from the lockfiles of its tree, provenance, signatures,
//! and the immutable release that joins them.
//!
//! [`sbom`], [`attestation`] and [`bundle`] are pure and work without a server: `bascule release verify`
//! checks a downloaded release with nothing but them and a public key.

pub mod attestation;
pub mod bundle;
pub mod sbom;

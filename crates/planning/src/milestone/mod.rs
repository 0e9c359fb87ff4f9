//! Milestones of a project or a group: what is to be done until a day, and how far it is.

pub(crate) mod api;
mod burn;
mod chart;
pub(crate) mod pages;
mod service;
pub(crate) mod store;

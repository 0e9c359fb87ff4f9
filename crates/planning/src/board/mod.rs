//! Boards: the issues of a project, or of all projects of a group, in four columns.
//!
//! *Order is priority*: what is higher is more important. People set the order by hand; setting a `priority` label
//! puts an issue above all that are less urgent, once, and does not hold it there.
//!
//! *Work in progress* is limited to one issue for each member who may push and is not away. What would go beyond is
//! refused (or warned of, or let be: a setting of the project).

pub(crate) mod api;
pub(crate) mod pages;
mod service;
pub(crate) use service::path_of;
pub(crate) mod store;

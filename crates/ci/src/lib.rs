//! Pipelines: GitLab's CI language, the state of pipelines and jobs, and the server side of the runner
//! protocol. Code, projects and identity are reached only through facts and [`ports`].

pub mod config;
pub mod fault;
pub mod plan;
pub mod rules;
pub mod variables;
pub mod yaml;

//! What all who work on one job know of it.

use crate::{
    NetworkPolicy, Shared, api::JobRef, archive::Bounds, cache::Caches, stop::Stop, trace::Trace, vars::Vars,
    workspace::Workspace,
};
use bascule_wire::runner::Job;
use std::collections::HashSet;

/// What of the network a job reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Its own services alone.
    Nothing,
    /// All that the runner's machine reaches.
    Open,
}

impl Reach {
    /// In words for the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "off",
            Self::Open => "on",
        }
    }
}

/// A job, its files, its variables and its log.
pub(crate) struct Ground<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) job: &'a Job,
    pub(crate) job_ref: &'a JobRef,
    pub(crate) vars: Vars,
    pub(crate) trace: &'a Trace,
    pub(crate) stop: &'a Stop,
    pub(crate) space: Workspace,
    /// Where the sources lie, as the job sees it.
    pub(crate) project_dir: String,
    /// Paths that git tracks; read only where `untracked` is asked for.
    pub(crate) tracked: HashSet<String>,
}

impl Ground<'_> {
    /// What of the network the job reaches.
    pub(crate) fn reach(&self) -> Reach {
        let asked = self.vars.is_on("BASCULE_NETWORK");
        match self.shared.config.network_policy {
            NetworkPolicy::OnRequest if asked => Reach::Open,
            NetworkPolicy::Always => Reach::Open,
            NetworkPolicy::OnRequest | NetworkPolicy::Never => Reach::Nothing,
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let limits = &self.shared.config.limits;
        Bounds {
            bytes: limits.unpacked_bytes,
            entries: limits.unpacked_entries,
        }
    }

    pub(crate) fn caches(&self) -> Caches {
        let config = &self.shared.config;
        let project = &self.job.job_info.project_full_path;
        let protected = self.job.git_info.protected;
        Caches::new(&config.cache_dir, project, protected, config.limits.cache_bytes)
    }

    pub(crate) fn section_start(&self, name: &str, title: &str) {
        let now = self.shared.config.clock.now().seconds();
        self.trace.line(&format!(
            "section_start:{now}:{name}\r\x1b[0K\x1b[0K\x1b[36;1m{title}\x1b[0;m"
        ));
    }

    pub(crate) fn section_end(&self, name: &str) {
        let now = self.shared.config.clock.now().seconds();
        // The marker's line is empty to the eye.
        self.trace.line(&format!("section_end:{now}:{name}\r\x1b[0K"));
    }
}

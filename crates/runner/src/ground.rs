//! What all who work on one job know of it.

use crate::{
    ExecutorKind, NetworkPolicy, Shared, api::JobRef, archive::Bounds, cache::Caches, executor, open_way,
    stop::Stop, trace::Trace, vars::Vars, way_out, workspace::Workspace,
};
use bascule_core::Digest;
use bascule_wire::runner::{Job, Variable};
use std::{collections::HashSet, path::PathBuf};

/// What of the network a job reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Its own services alone.
    Nothing,
    /// Those, the server, and the mirrors of the runner's configuration.
    Mirrors,
    /// All that the runner's machine reaches.
    Open,
}

impl Reach {
    /// What a job with these variables reaches under a policy.
    pub(crate) fn of(policy: NetworkPolicy, vars: &Vars) -> Self {
        let mirrors = vars.get("BASCULE_NETWORK").is_some_and(|word| word == "mirrors");
        match policy {
            NetworkPolicy::Never => Self::Nothing,
            NetworkPolicy::Mirrors => Self::Mirrors,
            _ if mirrors => Self::Mirrors,
            NetworkPolicy::Always => Self::Open,
            NetworkPolicy::OnRequest if vars.is_on("BASCULE_NETWORK") => Self::Open,
            NetworkPolicy::OnRequest => Self::Nothing,
        }
    }

    /// In words for the log.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "off",
            Self::Mirrors => "to mirrors alone",
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
        Reach::of(self.shared.config.network_policy, &self.vars)
    }

    /// Whether a proxy is the job's way out.
    pub(crate) fn by_proxy(&self) -> bool {
        let config = &self.shared.config;
        match self.reach() {
            Reach::Nothing => false,
            // In a cluster its network policy leads to mirrors.
            Reach::Mirrors => config.executor != ExecutorKind::Kubernetes,
            Reach::Open => {
                executor::in_sandbox(config, self.job) && !config.host_network && !open_way::is_here()
            }
        }
    }

    /// Tells programs of the proxy, where it is the job's only way out.
    pub(crate) fn tell_of_proxy(&mut self) {
        if !self.by_proxy() {
            return;
        }
        let mut direct = "localhost,127.0.0.1,::1".to_owned();
        for service in &self.job.services {
            for name in self
                .vars
                .expand(&service.alias)
                .split([',', ' '])
                .filter(|name| !name.is_empty())
            {
                direct.push(',');
                direct.push_str(name);
            }
        }
        let proxy = format!("http://{}", way_out::ADDRESS);
        for (name, value) in [
            ("http_proxy", &proxy),
            ("https_proxy", &proxy),
            ("no_proxy", &direct),
        ] {
            for name in [name.to_owned(), name.to_ascii_uppercase()] {
                if self.vars.get(&name).is_none() {
                    self.vars.set(Variable {
                        raw: true,
                        ..Variable::public(name, value)
                    });
                }
            }
        }
    }

    /// Whether the log is to tell whatever the shell does.
    pub(crate) fn debug(&self) -> bool {
        self.vars.is_on("CI_DEBUG_TRACE")
    }

    pub(crate) fn bounds(&self) -> Bounds {
        let limits = &self.shared.config.limits;
        Bounds {
            bytes: limits.unpacked_bytes,
            entries: limits.unpacked_entries,
        }
    }

    /// Where the project's git objects are kept on this machine.
    pub(crate) fn object_cache(&self) -> Option<PathBuf> {
        let project = &self.job.job_info.project_full_path;
        let dir = self.shared.config.git_cache.as_ref()?;
        if project.is_empty() || !self.job.allow_git_fetch {
            return None;
        }
        // Where it comes from counts too; who asks does not.
        let url = &self.job.git_info.repo_url;
        let address = url.rsplit_once('@').map_or(url.as_str(), |(_, address)| address);
        let name = Digest::of(format!("{project}\0{address}").as_bytes());
        Some(dir.join(format!("{}.git", name.hex())))
    }

    pub(crate) fn caches(&self) -> Caches {
        let config = &self.shared.config;
        // By its number: a project that is made anew under a path of old takes nothing over.
        let project = self.job.job_info.project_id.to_string();
        let protected = self.job.git_info.protected;
        Caches::new(&config.cache_dir, &project, protected, config.limits.cache_bytes)
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

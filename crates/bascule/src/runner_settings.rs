//! How a runner runs jobs: the table `[runner]` of the server's configuration, for the runner in its process, and the
//! file of `bascule runner --config`.

use bascule_core::{Problem, Result};
use bascule_runner::{Bind, Config, ExecutorKind, KubernetesConfig, PullPolicy, S3};
use figment::{
    Figment,
    providers::{Format as _, Serialized, Toml},
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Settings; what is left out is as usual.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunnerSettings {
    /// `auto`, `bubblewrap`, `podman` or `kubernetes`.
    pub executor: String,
    /// The image of jobs that name none, where all run in containers.
    pub default_image: String,
    /// `always`, `if-not-present`, `never`; tried in order.
    pub pull_policy: Vec<String>,
    /// What to ask in a registry's place: `"docker.io" = "mirror.example.org:5000"`.
    pub registry_mirrors: BTreeMap<String, String>,
    /// Patterns of images that jobs may name.
    pub allowed_images: Vec<String>,
    /// Patterns of images that services may name.
    pub allowed_services: Vec<String>,
    /// Seconds that services have until they listen.
    pub service_wait_seconds: Option<u64>,
    /// Files and folders of the machine that every job sees.
    pub binds: Vec<BindSetting>,
    /// `apart` (usual) or `host`: what an open network is under bubblewrap.
    pub open_network: String,
    /// Where jobs may go whose network is `mirrors`.
    pub network_mirrors: Vec<String>,
    /// Memory of a job, in bytes.
    pub memory_bytes: Option<u64>,
    /// Processors of a job.
    pub cpus: Option<f64>,
    /// Processes and threads of a job.
    pub pids: Option<u64>,
    /// Open files of each process.
    pub open_files: Option<u64>,
    /// Largest file, in bytes.
    pub file_bytes: Option<u64>,
    /// Disk of a job, in bytes.
    pub disk_bytes: Option<u64>,
    /// Files, folders and links of a job.
    pub disk_entries: Option<u64>,
    /// Longest time of a job, in seconds.
    pub timeout_seconds: Option<u64>,
    /// Longest log, in bytes.
    pub log_bytes: Option<usize>,
    /// `server` (usual: the server keeps caches, where it can) or `machine`.
    pub cache: String,
    /// What every container of a job has: `/host:/path:ro`, `name:/path`, `/path`.
    pub volumes: Vec<String>,
    /// All caches of the machine, in bytes.
    pub cache_bytes: Option<u64>,
    /// Whether git objects are kept from job to job; usual.
    pub git_cache: Option<bool>,
    /// All object caches, in bytes.
    pub git_cache_bytes: Option<u64>,
    /// An object store that speaks S3, for the caches of several runners.
    pub cache_s3: Option<S3Setting>,
    /// Seconds that running jobs have when the runner is stopped.
    pub drain_seconds: Option<u64>,
    /// How jobs run as pods, where `executor` is `kubernetes`.
    pub kubernetes: KubernetesConfig,
}

/// An object store; as in GitLab's `[runners.cache.s3]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Setting {
    /// `https://s3.example.org`
    pub endpoint: String,
    /// The bucket.
    pub bucket: String,
    /// Its region.
    #[serde(default = "anywhere")]
    pub region: String,
    /// Who asks.
    pub access_key: String,
    /// Their secret; better in a file of its own.
    #[serde(default)]
    pub secret_key: String,
    /// A file that holds the secret.
    #[serde(default)]
    pub secret_key_file: PathBuf,
    /// What names begin with.
    #[serde(default)]
    pub prefix: String,
}

impl S3Setting {
    /// The store, with its secret.
    fn store(&self) -> Result<S3> {
        let mut secret_key = self.secret_key.clone();
        if !self.secret_key_file.as_os_str().is_empty() {
            let read = std::fs::read_to_string(&self.secret_key_file).map_err(|error| {
                wrong(
                    &format!("{} cannot be read: {error}.", self.secret_key_file.display()),
                    "Correct `secret_key_file` in `cache_s3`.",
                )
            })?;
            read.trim().clone_into(&mut secret_key);
        }
        Ok(S3 {
            endpoint: self.endpoint.clone(),
            bucket: self.bucket.clone(),
            region: self.region.clone(),
            access_key: self.access_key.clone(),
            secret_key,
            prefix: self.prefix.clone(),
        })
    }
}

fn anywhere() -> String {
    "us-east-1".to_owned()
}

/// A file or folder that every job sees.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindSetting {
    /// On the machine.
    pub from: PathBuf,
    /// In the job.
    pub to: String,
    /// Whether jobs may write it.
    #[serde(default)]
    pub writable: bool,
}

impl RunnerSettings {
    /// Reads a file.
    pub fn read(file: &std::path::Path) -> Result<Self> {
        if !file.is_file() {
            return Err(wrong(
                &format!("There is no configuration file {}.", file.display()),
                "Correct --config, or leave it out.",
            ));
        }
        Figment::from(Serialized::defaults(Self::default()))
            .merge(Toml::file(file))
            .extract()
            .map_err(|error| {
                wrong(
                    &format!("{} cannot be read: {error}.", file.display()),
                    "See the book, chapter Parts, for every setting.",
                )
            })
    }

    /// Puts the settings into a runner's configuration.
    pub fn apply(&self, config: &mut Config) -> Result<()> {
        if !self.executor.is_empty() {
            config.executor = ExecutorKind::parse(&self.executor).ok_or_else(|| {
                wrong(
                    &format!("`{}` is no executor.", self.executor),
                    "Use auto, bubblewrap, podman or kubernetes.",
                )
            })?;
        }
        let podman = &mut config.podman;
        if !self.default_image.is_empty() {
            podman.default_image = Some(self.default_image.clone());
        }
        if !self.pull_policy.is_empty() {
            let read = |word: &String| {
                PullPolicy::parse(word).ok_or_else(|| {
                    wrong(
                        &format!("`{word}` is no pull policy."),
                        "Use always, if-not-present or never.",
                    )
                })
            };
            podman.pull_policy = self.pull_policy.iter().map(read).collect::<Result<_>>()?;
        }
        for volume in &self.volumes {
            bascule_runner::check_volume(volume)?;
        }
        podman.volumes.extend(self.volumes.clone());
        podman.mirrors.extend(self.registry_mirrors.clone());
        podman.allowed_images.clone_from(&self.allowed_images);
        podman.allowed_services.clone_from(&self.allowed_services);
        set(
            &mut podman.service_wait,
            self.service_wait_seconds.map(Duration::from_secs),
        );
        config.binds.extend(self.binds.iter().map(|bind| Bind {
            from: bind.from.clone(),
            to: bind.to.clone(),
            writable: bind.writable,
        }));
        config.host_network = match self.open_network.as_str() {
            "" | "apart" => false,
            "host" => true,
            other => {
                return Err(wrong(
                    &format!("`open_network` is `{other}`."),
                    "Use apart, or host for the machine's own network, its loopback included.",
                ));
            }
        };
        config.cache_at_server = match self.cache.as_str() {
            "" | "server" => true,
            "machine" => false,
            other => {
                return Err(wrong(
                    &format!("`cache` is `{other}`."),
                    "Use server or machine, or set `cache_s3`.",
                ));
            }
        };
        config.kubernetes = self.kubernetes.clone();
        config.network_mirrors.extend(self.network_mirrors.clone());
        let limits = &mut config.limits;
        set(&mut limits.memory_bytes, self.memory_bytes);
        limits.cpus = self.cpus.or(limits.cpus);
        if limits.cpus.is_some_and(|cpus| !(0.01..=4096.0).contains(&cpus)) {
            return Err(wrong(
                "`cpus` is no number of processors.",
                "Use 0.5, 2 and the like.",
            ));
        }
        set(&mut limits.pids, self.pids);
        set(&mut limits.open_files, self.open_files);
        set(&mut limits.file_bytes, self.file_bytes);
        set(&mut limits.disk_bytes, self.disk_bytes);
        set(&mut limits.disk_entries, self.disk_entries);
        set(&mut limits.timeout, self.timeout_seconds.map(Duration::from_secs));
        let most = limits.log_bytes;
        set(&mut limits.log_bytes, self.log_bytes.map(|bytes| bytes.min(most)));
        set(&mut limits.cache_bytes, self.cache_bytes);
        set(&mut limits.git_cache_bytes, self.git_cache_bytes);
        if self.git_cache == Some(false) {
            config.git_cache = None;
        }
        config.cache_s3 = self.cache_s3.as_ref().map(S3Setting::store).transpose()?;
        set(
            &mut config.drain_grace,
            self.drain_seconds.map(Duration::from_secs),
        );
        Ok(())
    }
}

fn set<T>(to: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *to = value;
    }
}

fn wrong(what: &str, next: &str) -> Problem {
    Problem::new(400, "usage", what.to_owned()).next(next.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_what_is_no_setting_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("runner.toml");
        std::fs::write(
            &file,
            "executor = \"podman\"\npull_policy = [\"never\"]\ncpus = 1.5\ndisk_entries = 10\n\
             [registry_mirrors]\n\"docker.io\" = \"mirror.example.org\"\n[cache_s3]\nendpoint = \"http://127.0.0.1:1\"\n\
             bucket = \"b\"\naccess_key = \"k\"\nsecret_key = \"s\"\n",
        )
        .unwrap();
        let mut config = Config::new("http://127.0.0.1:1", "t", dir.path());
        RunnerSettings::read(&file).unwrap().apply(&mut config).unwrap();
        assert_eq!(config.executor, ExecutorKind::Podman);
        assert_eq!(config.podman.pull_policy, [PullPolicy::Never]);
        assert_eq!((config.limits.cpus, config.limits.disk_entries), (Some(1.5), 10));
        assert_eq!(
            config.podman.mirrors,
            [("docker.io".to_owned(), "mirror.example.org".to_owned())]
        );
        assert_eq!(
            config.cache_s3.as_ref().map(|store| store.region.as_str()),
            Some("us-east-1")
        );
        std::fs::write(&file, "excutor = \"podman\"\n").unwrap();
        assert_eq!(RunnerSettings::read(&file).unwrap_err().code, "usage");
        let wrong = RunnerSettings {
            executor: "docker".into(),
            ..RunnerSettings::default()
        };
        assert!(
            wrong
                .apply(&mut config)
                .unwrap_err()
                .next
                .contains("podman or kubernetes")
        );
    }
}

//! Images: which a job may have, whether they are here, and getting them.

use super::{SOON, names};
use crate::{
    Config,
    glob::Pattern,
    job::{Failure, Ground},
    vars::Vars,
    workspace,
};
use bascule_sandbox::podman::Podman;
use bascule_wire::runner::{FailureReason, GIT_USER, Image as Wanted, Job, UserOptions};
use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use url::Url;

/// Time to pull an image.
const PULL: Duration = Duration::from_secs(1800);

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// Each time: its registry decides who may have it.
    Always,
    /// Where it is not here yet.
    IfNotPresent,
    /// Never: it has to be here.
    Never,
}

impl PullPolicy {
    /// Reads GitLab's word for it.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "always" => Some(Self::Always),
            "if-not-present" => Some(Self::IfNotPresent),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}

/// An image that is here.
#[derive(Clone, Debug)]
pub(super) struct Image {
    /// As the job names it.
    pub(super) name: String,
    pub(super) id: String,
    /// Who runs in it, where the job says so.
    pub(super) user: String,
    /// In place of its own entry point, as podman reads it.
    pub(super) entrypoint: Option<String>,
    /// TCP ports that it tells of, lowest first.
    pub(super) ports: Vec<u16>,
    own_user: String,
}

impl Image {
    /// Whether someone else than root runs in it.
    pub(super) fn other_user(&self) -> bool {
        let user = if self.user.is_empty() {
            &self.own_user
        } else {
            &self.user
        };
        !matches!(user.split(':').next().unwrap_or_default(), "" | "root" | "0")
    }
}

#[derive(Debug, Deserialize)]
struct Inspected {
    #[serde(rename = "Id")]
    id: String,
    #[serde(rename = "Config", default)]
    config: Option<Settings>,
}

#[derive(Debug, Default, Deserialize)]
struct Settings {
    #[serde(rename = "User", default)]
    user: String,
    #[serde(rename = "ExposedPorts", default)]
    ports: Option<BTreeMap<String, Value>>,
}

/// The job asks for what it cannot have.
pub(crate) fn refused(what: &str) -> Failure {
    Failure::Refused(FailureReason::ConfigurationError, what.to_owned())
}

/// Whether an image is of a registry that the job has a password for.
fn ours(on: &Ground<'_>, name: &str) -> bool {
    let host = name.split('/').next().unwrap_or(name);
    on.job.credentials.iter().any(|entry| entry.url == host)
}

/// Gets an image that a job names.
pub(super) async fn take(
    podman: &Podman,
    on: &Ground<'_>,
    wanted: &Wanted,
    auth: &Path,
    allowed: &[String],
) -> Result<Image, Failure> {
    let name = on.vars.expand(&wanted.name);
    if !names::is_image(&name) {
        return Err(refused(&format!(
            "`{}` is no name of an image. Write it as `registry/path:tag`; a variable in it may be empty",
            name.escape_debug()
        )));
    }
    check_allowed(&name, allowed)?;
    let policies = policies(on, wanted)?;
    let platform = option(on, wanted, |docker| docker.platform.as_ref());
    let mut said = String::new();
    for policy in policies {
        // The last one is told by the failure itself.
        if !said.is_empty() {
            on.trace.warn(&format!("The image {name} cannot be had: {said}"));
        }
        // Whether this job may have the image, its registry says: that another job's image is here says nothing.
        let ask = policy == PullPolicy::IfNotPresent && ours(on, &name);
        if policy != PullPolicy::Always
            && !ask
            && let Some(found) = inspect(podman, &names::here(&name)).await
        {
            on.trace.line(&format!(
                "Using the image {name}, which is here ({})",
                short(&found.id)
            ));
            return Ok(made(on, wanted, name, found));
        }
        if policy == PullPolicy::Never {
            said = "it is not on the runner's machine, and `pull_policy` is `never`".to_owned();
            continue;
        }
        on.trace.line(&format!("Pulling the image {name} …"));
        match pull(podman, &names::whole(&name), auth, &platform).await {
            Ok(found) => {
                on.trace
                    .line(&format!("Using the image {name} ({})", short(&found.id)));
                return Ok(made(on, wanted, name, found));
            }
            Err(failed) => said = failed,
        }
    }
    Err(Failure::Refused(
        FailureReason::ImagePullFailure,
        format!(
            "the image {name} cannot be had: {said}. Check its name and its registry, or load it on the runner's machine \
             (`podman load`)"
        ),
    ))
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

pub(crate) fn check_allowed(name: &str, allowed: &[String]) -> Result<(), Failure> {
    let fits = |pattern: &String| Pattern::new(pattern, "\0").is_some_and(|pattern| pattern.is_match(name));
    if allowed.is_empty() || allowed.iter().any(fits) {
        return Ok(());
    }
    Err(refused(&format!(
        "the runner does not allow the image {name}. Allowed are: {}",
        allowed.join(", ")
    )))
}

/// When the image is pulled: the job's word, else the runner's.
fn policies(on: &Ground<'_>, wanted: &Wanted) -> Result<Vec<PullPolicy>, Failure> {
    if wanted.pull_policy.is_empty() {
        return Ok(on.shared.config.podman.pull_policy.clone());
    }
    let read = |word: &String| {
        PullPolicy::parse(word).ok_or_else(|| {
            refused(&format!(
                "`pull_policy` is `{word}`. Use `always`, `if-not-present` or `never`"
            ))
        })
    };
    wanted.pull_policy.iter().map(read).collect()
}

fn made(on: &Ground<'_>, wanted: &Wanted, name: String, found: Inspected) -> Image {
    let config = found.config.unwrap_or_default();
    let number = |port: &String| port.strip_suffix("/tcp").unwrap_or(port).parse().ok();
    let mut ports: Vec<u16> = config
        .ports
        .unwrap_or_default()
        .keys()
        .filter_map(number)
        .collect();
    ports.sort_unstable();
    let entrypoint = match wanted.entrypoint.as_slice() {
        [] => None,
        [empty] if empty.is_empty() => Some(String::new()),
        words => Some(json!(words).to_string()),
    };
    Image {
        name,
        id: found.id,
        user: option(on, wanted, |docker| docker.user.as_ref()),
        entrypoint,
        ports,
        own_user: config.user,
    }
}

/// What the job says for executors such as this one.
fn option(on: &Ground<'_>, wanted: &Wanted, of: impl Fn(&UserOptions) -> Option<&String>) -> String {
    let docker = wanted
        .executor_opts
        .as_ref()
        .and_then(|options| options.docker.as_ref());
    docker
        .and_then(of)
        .map(|text| on.vars.expand(text))
        .unwrap_or_default()
}

async fn inspect(podman: &Podman, names: &[String]) -> Option<Inspected> {
    for name in names {
        let Ok(text) = podman.run(&["image", "inspect", name], SOON).await else {
            continue;
        };
        let all: Option<Vec<Inspected>> = serde_json::from_str(&text).ok();
        if let Some(found) = all.and_then(|all| all.into_iter().next()) {
            return Some(found);
        }
    }
    None
}

async fn pull(podman: &Podman, whole: &str, auth: &Path, platform: &str) -> Result<Inspected, String> {
    let (auth, source) = (auth.display().to_string(), format!("docker://{whole}"));
    let mut words = vec!["pull", "--quiet", "--authfile", &auth];
    if !platform.is_empty() {
        words.extend(["--platform", platform]);
    }
    words.push(&source);
    podman
        .run(&words, PULL)
        .await
        .map_err(|failed| failed.to_string())?;
    inspect(podman, &[whole.to_owned()])
        .await
        .ok_or_else(|| "podman pulled it and does not find it".to_owned())
}

/// The passwords of a job for registries, in the form that podman and Kubernetes read: what the job's
/// `DOCKER_AUTH_CONFIG` holds, what the server gave, and the job's own token for the server itself.
pub(crate) fn auths(config: &Config, job: &Job, vars: &Vars) -> Value {
    let mut auths = serde_json::Map::new();
    if let Some(text) = vars.get("DOCKER_AUTH_CONFIG")
        && let Ok(Value::Object(config)) = serde_json::from_str(&text)
        && let Some(Value::Object(given)) = config.get("auths")
    {
        auths.extend(given.clone());
    }
    let mut add = |host: &str, user: &str, password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        auths.insert(host.to_owned(), json!({ "auth": auth }));
    };
    if let Some(server) = server(config) {
        add(&server, GIT_USER, &job.token);
    }
    for one in job.credentials.iter().filter(|one| one.kind == "registry") {
        let host = one
            .url
            .split_once("://")
            .map_or(one.url.as_str(), |(_, rest)| rest);
        add(host.trim_end_matches('/'), &one.username, &one.password);
    }
    json!({ "auths": auths })
}

/// Writes them for podman.
pub(super) fn write_auth(on: &Ground<'_>) -> io::Result<PathBuf> {
    let path = on.space.meta().join("auth.json");
    let auths = auths(&on.shared.config, on.job, &on.vars);
    workspace::write_private(&path, auths.to_string().as_bytes())?;
    Ok(path)
}

/// `host:port` of the server, which is a registry too.
fn server(config: &Config) -> Option<String> {
    let url = Url::parse(&config.url).ok()?;
    let host = url.host_str()?;
    Some(match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
}

/// Where the server listens.
pub(super) fn server_port(config: &Config) -> Option<u16> {
    Url::parse(&config.url).ok()?.port_or_known_default()
}

/// Writes podman's settings of registries where the machine's own do not do: the mirrors of the runner's configuration,
/// and a server without TLS.
pub(super) fn write_registries(config: &Config) -> io::Result<Option<PathBuf>> {
    let plain = config.url.starts_with("http://");
    let mirrors = &config.podman.mirrors;
    if !plain && mirrors.is_empty() {
        return Ok(None);
    }
    let own = std::fs::read_to_string("/etc/containers/registries.conf").unwrap_or_default();
    let mut table: toml::Table = own.parse().unwrap_or_default();
    let mut registries = match table.remove("registry") {
        Some(toml::Value::Array(list)) => list,
        _ => Vec::new(),
    };
    if let Some(server) = server(config).filter(|_| plain) {
        registries.push(entry(&[("location", server.into()), ("insecure", true.into())]));
    }
    for (of, mirror) in mirrors {
        let (insecure, location) = match mirror.strip_prefix("http://") {
            Some(location) => (true, location),
            None => (false, mirror.strip_prefix("https://").unwrap_or(mirror)),
        };
        let mirror = entry(&[("location", location.into()), ("insecure", insecure.into())]);
        registries.push(entry(&[
            ("prefix", of.as_str().into()),
            ("location", of.as_str().into()),
            ("mirror", toml::Value::Array(vec![mirror])),
        ]));
    }
    table.insert("registry".to_owned(), toml::Value::Array(registries));
    let path = config.builds_dir.join("registries.conf");
    std::fs::write(&path, table.to_string())?;
    Ok(Some(path))
}

fn entry(pairs: &[(&str, toml::Value)]) -> toml::Value {
    let table = pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()));
    toml::Value::Table(table.collect())
}

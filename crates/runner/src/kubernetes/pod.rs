//! What a job is in a cluster: a pod of the helper, the job's container and its services; a secret that tells the
//! helper what to do; one by which nodes pull; and a network policy. Pure, but for the look-up of names.

use super::{
    BEYOND, JOB_LABEL, RUNNER, inside,
    look::{BUILD, HELPER},
    network,
};
use crate::{
    Config, PullPolicy,
    executor::podman::{
        image::{auths, check_allowed, refused},
        names, service,
    },
    ground::Reach,
    job::Failure,
    vars::Vars,
};
use bascule_wire::runner::{Image as Wanted, Job};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use std::{collections::BTreeSet, time::Duration};

/// Label of every cluster's own making: what it is.
pub(super) const NAME_LABEL: &str = "app.kubernetes.io/name";
/// Where the helper finds what it is to do.
const ERRAND: &str = "/etc/bascule";
/// Where the helper has the job's files.
const WORK: &str = "/work";
/// Largest secret that a cluster takes, less its names.
const SECRET_BYTES: usize = 1_000_000;

/// The objects of one job.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    pub(super) key: String,
    pub(super) pod: Value,
    pub(super) secrets: Vec<Value>,
    pub(super) policy: Option<Value>,
    /// Time after which the pod cannot be there for good reasons.
    pub(super) longest: Duration,
}

/// How a job's pod, its secret and its policy are called.
pub(super) fn name(key: &str) -> String {
    format!("bascule-{key}")
}

/// How the secret is called by which nodes pull.
pub(super) fn pull_name(name: &str) -> String {
    format!("{name}-pull")
}

impl Plan {
    pub(super) async fn new(
        config: &Config,
        mark: &str,
        key: &str,
        job: &Job,
        vars: &Vars,
        project_dir: &str,
    ) -> Result<Self, Failure> {
        let name = name(key);
        let labels = labels(config, mark, key);
        let build = image(config, job, vars)?;
        let services = services(config, job, vars)?;
        let errand = inside::Errand::new(config, job.clone());
        let errand = serde_json::to_vec(&errand).map_err(|_| bascule_core::Problem::internal())?;
        if errand.len() > SECRET_BYTES {
            return Err(refused(&format!(
                "what the job is told takes {} bytes, and a cluster holds at most {SECRET_BYTES}. Give it fewer or \
                 shorter variables and scripts",
                errand.len()
            )));
        }
        let mut data = Map::new();
        data.insert(inside::ERRAND.to_owned(), json!(STANDARD.encode(errand)));
        for service in &services {
            for (variable, value) in &service.variables {
                data.insert(service.key(variable), json!(STANDARD.encode(value)));
            }
        }
        let auth = auths(config, job, vars).to_string();
        let secrets = vec![
            json!({ "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
                "metadata": { "name": name, "labels": labels }, "data": data }),
            json!({ "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/dockerconfigjson",
                "metadata": { "name": pull_name(&name), "labels": labels },
                "data": { ".dockerconfigjson": STANDARD.encode(auth) } }),
        ];
        let reach = Reach::of(config.network_policy, vars);
        let policy = if config.kubernetes.network_policy {
            Some(network::policy(config, reach, &name, key, &labels).await)
        } else {
            None
        };
        let asked = u64::try_from(job.runner_info.timeout).ok().filter(|s| *s > 0);
        let asked = asked.map_or(bascule_core::limits::JOB_TIMEOUT, Duration::from_secs);
        let longest = asked.min(config.limits.timeout) + BEYOND;
        let pod = pod(config, &name, &labels, &build, &services, project_dir, longest);
        Ok(Self {
            name,
            key: key.to_owned(),
            pod,
            secrets,
            policy,
            longest,
        })
    }
}

fn labels(config: &Config, mark: &str, key: &str) -> Value {
    let mut labels: Map<String, Value> = config
        .kubernetes
        .pod_labels
        .iter()
        .map(|(name, value)| (name.clone(), json!(value)))
        .collect();
    labels.insert(RUNNER.to_owned(), json!(mark));
    labels.insert(JOB_LABEL.to_owned(), json!(key));
    labels.insert("app.kubernetes.io/managed-by".to_owned(), json!("bascule"));
    labels.insert(NAME_LABEL.to_owned(), json!("job"));
    Value::Object(labels)
}

/// A container that a job names.
struct Container {
    name: String,
    image: String,
    pull: &'static str,
    entrypoint: Vec<String>,
    arguments: Vec<String>,
    user: Option<i64>,
    /// Host names by which a service is found.
    hosts: Vec<String>,
    variables: Vec<(String, String)>,
}

impl Container {
    /// What a variable is called in the job's secret.
    fn key(&self, variable: &str) -> String {
        format!("{}.{variable}", self.name)
    }
}

fn image(config: &Config, job: &Job, vars: &Vars) -> Result<Container, Failure> {
    let wanted = job.image.clone().filter(|image| !image.name.is_empty());
    let wanted = wanted
        .or_else(|| {
            let name = config.podman.default_image.clone()?;
            Some(Wanted {
                name,
                ..Wanted::default()
            })
        })
        .ok_or_else(|| {
            refused(
                "it names no `image`, and this runner runs all jobs in containers and has no default image. Name one with \
                 `image:`, or set the runner's `default_image`",
            )
        })?;
    let mut container = container(
        config,
        &wanted,
        vars,
        BUILD.to_owned(),
        &config.podman.allowed_images,
    )?;
    container.arguments = ["sh", "-c", inside::SUPERVISOR].map(str::to_owned).to_vec();
    Ok(container)
}

fn services(config: &Config, job: &Job, vars: &Vars) -> Result<Vec<Container>, Failure> {
    let mut taken = BTreeSet::new();
    let mut all = Vec::new();
    for (number, wanted) in job.services.iter().enumerate() {
        let name = format!("svc-{number}");
        let mut made = container(config, wanted, vars, name, &config.podman.allowed_services)?;
        made.arguments.clone_from(&wanted.command);
        made.variables = service::variables(vars, wanted).environment();
        let mut hosts = names::hosts(&made.image);
        let alias = vars.expand(&wanted.alias);
        hosts.extend(alias.split([',', ' ', '\t', '\n']).map(str::to_owned));
        // A cluster takes no underscore in a host's name.
        hosts.retain(|host| names::is_host(host) && !host.contains('_') && taken.insert(host.clone()));
        made.hosts = hosts.into_iter().map(|host| host.to_ascii_lowercase()).collect();
        all.push(made);
    }
    Ok(all)
}

fn container(
    config: &Config,
    wanted: &Wanted,
    vars: &Vars,
    name: String,
    allowed: &[String],
) -> Result<Container, Failure> {
    let image = vars.expand(&wanted.name);
    if !names::is_image(&image) {
        return Err(refused(&format!(
            "`{}` is no name of an image. Write it as `registry/path:tag`; a variable in it may be empty",
            image.escape_debug()
        )));
    }
    check_allowed(&image, allowed)?;
    let options = wanted
        .executor_opts
        .as_ref()
        .and_then(|all| all.kubernetes.as_ref());
    let user = match options.and_then(|options| options.user.as_ref()) {
        None => None,
        Some(text) => {
            let text = vars.expand(text);
            // Users have names in an image alone.
            let number = text.split(':').next().and_then(|user| user.parse::<i64>().ok());
            Some(number.filter(|user| *user >= 0).ok_or_else(|| {
                refused(&format!(
                    "`image:kubernetes:user` is `{}`. A cluster takes a user's number, such as 1000",
                    text.escape_debug()
                ))
            })?)
        }
    };
    // A cluster takes one word; what comes after the first is tried by other executors alone.
    let pull = match wanted.pull_policy.first() {
        None => config
            .podman
            .pull_policy
            .first()
            .copied()
            .unwrap_or(PullPolicy::IfNotPresent),
        Some(word) => PullPolicy::parse(word).ok_or_else(|| {
            refused(&format!(
                "`pull_policy` is `{word}`. Use `always`, `if-not-present` or `never`"
            ))
        })?,
    };
    Ok(Container {
        name,
        image,
        pull: match pull {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        },
        entrypoint: wanted
            .entrypoint
            .iter()
            .filter(|word| !word.is_empty())
            .cloned()
            .collect(),
        arguments: Vec::new(),
        user: user.or(config.kubernetes.run_as_user),
        hosts: Vec::new(),
        variables: Vec::new(),
    })
}

/// Resources, of which empty ones are left out.
fn resources(pairs: &[(&str, &str)]) -> Value {
    let given = pairs.iter().filter(|(_, amount)| !amount.is_empty());
    Value::Object(
        given
            .map(|(name, amount)| ((*name).to_owned(), json!(amount)))
            .collect(),
    )
}

fn security(config: &Config, user: Option<i64>) -> Value {
    let mut context = json!({
        "privileged": false,
        "allowPrivilegeEscalation": config.kubernetes.allow_privilege_escalation,
        "capabilities": { "drop": ["NET_RAW"] },
    });
    if let Some(user) = user {
        context["runAsUser"] = json!(user);
        if user != 0 {
            context["runAsNonRoot"] = json!(true);
            context["capabilities"] = json!({ "drop": ["ALL"] });
        }
    }
    context
}

fn helper(config: &Config) -> Value {
    let settings = &config.kubernetes;
    json!({
        "name": HELPER,
        "image": settings.helper_image,
        "imagePullPolicy": settings.helper_pull_policy,
        "command": ["bascule", "job-helper"],
        "args": ["--errand", format!("{ERRAND}/{}", inside::ERRAND), "--work", WORK],
        // What it said last tells why it failed.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security(config, settings.run_as_user),
        "resources": { "limits": resources(&[
            ("cpu", &settings.helper_cpu_limit), ("memory", &settings.helper_memory_limit),
        ]) },
        "volumeMounts": [
            { "name": "work", "mountPath": WORK },
            { "name": "errand", "mountPath": ERRAND, "readOnly": true },
        ],
    })
}

fn build(config: &Config, container: &Container, project_dir: &str) -> Value {
    let (settings, limits) = (&config.kubernetes, &config.limits);
    let cpus = limits
        .cpus
        .map(|cpus| format!("{}m", (cpus * 1000.0).round()))
        .unwrap_or_default();
    let (memory, disk) = (limits.memory_bytes.to_string(), limits.disk_bytes.to_string());
    let mut made = json!({
        "name": BUILD,
        "image": container.image,
        "imagePullPolicy": container.pull,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security(config, container.user),
        "resources": {
            "limits": resources(&[("cpu", &cpus), ("memory", &memory), ("ephemeral-storage", &disk)]),
            "requests": resources(&[
                ("cpu", &settings.cpu_request), ("memory", &settings.memory_request),
                ("ephemeral-storage", &settings.ephemeral_storage_request),
            ]),
        },
        "volumeMounts": [
            { "name": "work", "mountPath": project_dir, "subPath": format!("{}/build", inside::JOB) },
            { "name": "work", "mountPath": format!("{project_dir}.tmp"), "subPath": format!("{}/files", inside::JOB) },
            { "name": "work", "mountPath": inside::SCRIPTS, "subPath": format!("{}/scripts", inside::JOB), "readOnly": true },
        ],
    });
    // The image's own entry point is passed over, as by GitLab's executor; one that the job names is heard.
    if container.entrypoint.is_empty() {
        made["command"] = json!(container.arguments);
    } else {
        made["command"] = json!(container.entrypoint);
        made["args"] = json!(container.arguments);
    }
    made
}

fn beside(config: &Config, container: &Container, secret: &str, project_dir: &str) -> Value {
    let settings = &config.kubernetes;
    let memory = if settings.service_memory_limit.is_empty() {
        config.limits.memory_bytes.to_string()
    } else {
        settings.service_memory_limit.clone()
    };
    let variables: Vec<Value> = container
        .variables
        .iter()
        .map(|(name, _)| {
            json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": container.key(name) } } })
        })
        .collect();
    let mut made = json!({
        "name": container.name,
        "image": container.image,
        "imagePullPolicy": container.pull,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security(config, container.user),
        "resources": { "limits": resources(&[("cpu", &settings.service_cpu_limit), ("memory", &memory)]) },
        "env": variables,
        // What it shows of the job's files stays as the job left it.
        "volumeMounts": [
            { "name": "work", "mountPath": project_dir, "subPath": format!("{}/build", inside::JOB), "readOnly": true },
        ],
    });
    if !container.entrypoint.is_empty() {
        made["command"] = json!(container.entrypoint);
    }
    if !container.arguments.is_empty() {
        made["args"] = json!(container.arguments);
    }
    made
}

fn pod(
    config: &Config,
    name: &str,
    labels: &Value,
    main: &Container,
    services: &[Container],
    project_dir: &str,
    longest: Duration,
) -> Value {
    let settings = &config.kubernetes;
    // The helper first: it reports while other images are pulled.
    let mut containers = vec![helper(config), build(config, main, project_dir)];
    containers.extend(services.iter().map(|one| beside(config, one, name, project_dir)));
    let pulls: Vec<Value> = std::iter::once(pull_name(name))
        .chain(settings.image_pull_secrets.iter().cloned())
        .map(|name| json!({ "name": name }))
        .collect();
    let hosts: Vec<&String> = services.iter().flat_map(|one| &one.hosts).collect();
    let tolerations: Vec<Value> = settings
        .node_tolerations
        .iter()
        .map(|(taint, effect)| match taint.split_once('=') {
            Some((key, value)) => {
                json!({ "key": key, "operator": "Equal", "value": value, "effect": effect })
            }
            None => json!({ "key": taint, "operator": "Exists", "effect": effect }),
        })
        .collect();
    let mut spec = json!({
        "restartPolicy": "Never",
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "activeDeadlineSeconds": longest.as_secs(),
        "terminationGracePeriodSeconds": super::GRACE_SECONDS,
        "imagePullSecrets": pulls,
        "securityContext": { "seccompProfile": { "type": "RuntimeDefault" } },
        "containers": containers,
        "volumes": [
            { "name": "work", "emptyDir": { "sizeLimit": config.limits.disk_bytes.to_string() } },
            { "name": "errand", "secret": { "secretName": name, "defaultMode": 0o440,
                "items": [{ "key": inside::ERRAND, "path": inside::ERRAND }] } },
        ],
    });
    if let Some(user) = settings.run_as_user {
        spec["securityContext"]["fsGroup"] = json!(user);
    }
    if !hosts.is_empty() {
        // All containers of a pod share one network.
        spec["hostAliases"] = json!([{ "ip": "127.0.0.1", "hostnames": hosts }]);
    }
    if !settings.node_selector.is_empty() {
        spec["nodeSelector"] = json!(settings.node_selector);
    }
    if !tolerations.is_empty() {
        spec["tolerations"] = json!(tolerations);
    }
    for (field, value) in [
        ("serviceAccountName", &settings.service_account),
        ("runtimeClassName", &settings.runtime_class_name),
        ("priorityClassName", &settings.priority_class_name),
    ] {
        if !value.is_empty() {
            spec[field] = json!(value);
        }
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": labels, "annotations": settings.pod_annotations },
        "spec": spec,
    })
}

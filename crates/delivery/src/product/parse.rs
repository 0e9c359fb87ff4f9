//! From the file's tree to a [`Product`], with defaults for all that may be left out.

use super::image::{driver, image};
use super::preview::preview;
use super::relations::relations;
use super::values::{
    Fields, duration, http_path, list, percent, relative_path, size, text, variables, whole,
};
use super::yaml::{self, Node, error};
use super::{FILE_BYTES, Position, Product, ProductError, Slo, rollout::rollout};
use bascule_core::Name;
use bascule_wire::agent::{Driver, HealthCheck, Limits, SmokeCheck};
use std::collections::BTreeMap;

type Read<T> = Result<T, ProductError>;

const START: Position = Position { line: 1, column: 1 };

/// Reads a `bascule.yaml`.
///
/// # Errors
/// Says where the file is wrong and what is allowed there.
pub fn parse(bytes: &[u8]) -> Result<Product, ProductError> {
    if bytes.len() > FILE_BYTES {
        return Err(error(
            START,
            "the file is too large",
            format!("at most {FILE_BYTES} bytes"),
        ));
    }
    let text = std::str::from_utf8(bytes).map_err(|fault| {
        let before = bytes.get(..fault.valid_up_to()).unwrap_or_default();
        let line = before.split(|b| *b == b'\n').count();
        error(
            Position { line, column: 1 },
            "this line is not UTF-8",
            "text in UTF-8",
        )
    })?;
    let root = yaml::read(text)?
        .ok_or_else(|| error(START, "the file is empty", "product, artifact and command"))?;
    product(root)
}

const KEYS: &[&str] = &[
    "product",
    "artifact",
    "command",
    "image",
    "driver",
    "port",
    "health",
    "environment",
    "environments",
    "smoke",
    "slo",
    "rollout",
    "limits",
    "drain",
    "dependencies",
    "incompatible",
    "versions",
    "channels",
    "recall",
    "preview",
];

fn product(root: Node) -> Read<Product> {
    let mut fields = Fields::of(root, "the file", KEYS)?;
    let name = fields.need("product", "the product's name: `product: clinic`")?;
    let driver_node = fields.take("driver");
    let driver_at = driver_node.as_ref().map_or(fields.at, |node| node.at);
    let driver = driver(driver_node)?;
    let is_agent = driver == Some(Driver::Agent);
    let image = image(fields.take("image"))?;
    let (artifact, command) = (fields.take("artifact"), fields.take("command"));
    let at = fields.at;
    let (artifact, command) = match (artifact, command) {
        (Some(artifact), Some(command)) => (
            relative_path(&artifact, "artifact")?,
            text(&command, "command", 4096)?,
        ),
        (Some(artifact), None) if is_agent => (relative_path(&artifact, "artifact")?, String::new()),
        (Some(_), None) => {
            return Err(error(
                at,
                "`command` is missing",
                "what to run in it: `command: ./app`",
            ));
        }
        (None, Some(command)) if image.is_some() => {
            let allowed = "a command in the image: `image: {archive: dist/app.oci.tar, command: ./app}`";
            return Err(error(command.at, "`command` goes with an `artifact`", allowed));
        }
        (None, None) if image.is_some() => Default::default(),
        (None, _) => {
            let allowed = "the file to run: `artifact: dist/app.tar.gz`, or `image: dist/app.oci.tar`";
            return Err(error(at, "`artifact` is missing", allowed));
        }
    };
    if let Some(port) = fields.take("port") {
        // A note for readers only: the agent chooses the port and gives it as PORT.
        whole(&port, "port", 1, 65_535)?;
    }
    let slo = slo(fields.take("slo"))?;
    let product = Product {
        name: product_name(&name)?,
        artifact,
        command,
        image,
        driver,
        health: health(fields.take("health"))?,
        variables: fields
            .take("environment")
            .map_or(Ok(BTreeMap::new()), |n| variables(n, "environment"))?,
        overrides: overrides(fields.take("environments"))?,
        smoke: smoke(fields.take("smoke"))?,
        rollout: rollout(fields.take("rollout"), &slo)?,
        slo,
        limits: limits(fields.take("limits"))?,
        drain_ms: fields
            .take("drain")
            .map_or(Ok(30_000), |n| duration(&n, "drain", "1s", "10m"))?,
        preview: preview(fields.take("preview"))?,
        relations: relations(&mut fields)?,
    };
    if is_agent && (product.image.is_some() || !product.smoke.is_empty()) {
        return Err(error(
            driver_at,
            "an agent has neither `image` nor `smoke`",
            "the file that holds the program: `artifact: bascule`",
        ));
    }
    match product.runs(None) {
        Ok(_) => Ok(product),
        Err(lacks) => Err(error(driver_at, lacks, "")),
    }
}

fn product_name(node: &Node) -> Read<String> {
    let text = text(node, "product", 63)?;
    match Name::new(&text) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(fault) => Err(error(node.at, fault.to_string(), "a name such as clinic")),
    }
}

fn health(node: Option<Node>) -> Read<HealthCheck> {
    let mut check = HealthCheck {
        path: "/healthz".into(),
        interval_ms: 1_000,
        timeout_ms: 2_000,
        start_ms: 30_000,
    };
    let Some(node) = node else { return Ok(check) };
    let mut fields = Fields::of(node, "health", &["path", "interval", "timeout", "start"])?;
    if let Some(path) = fields.take("path") {
        check.path = http_path(&path, "health.path")?;
    }
    if let Some(node) = fields.take("interval") {
        check.interval_ms = duration(&node, "health.interval", "100ms", "5m")?;
    }
    if let Some(node) = fields.take("timeout") {
        check.timeout_ms = duration(&node, "health.timeout", "50ms", "1m")?;
    }
    if let Some(node) = fields.take("start") {
        check.start_ms = duration(&node, "health.start", "100ms", "30m")?;
    }
    Ok(check)
}

fn overrides(node: Option<Node>) -> Read<BTreeMap<String, BTreeMap<String, String>>> {
    let mut all = BTreeMap::new();
    let Some(node) = node else { return Ok(all) };
    let mut fields = Fields::of(node, "environments", &["staging", "production"])?;
    for name in ["staging", "production"] {
        let Some(node) = fields.take(name) else { continue };
        let mut fields = Fields::of(node, &format!("environments.{name}"), &["variables"])?;
        if let Some(node) = fields.take("variables") {
            all.insert(
                name.to_owned(),
                variables(node, &format!("environments.{name}.variables"))?,
            );
        }
    }
    Ok(all)
}

fn smoke(node: Option<Node>) -> Read<Vec<SmokeCheck>> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let mut checks = Vec::new();
    for node in list(node, "smoke", "entries such as `- path: /`", 32)? {
        let mut fields = Fields::of(node, "a smoke check", &["path", "status", "contains"])?;
        let path = fields.need("path", "an HTTP path such as `path: /`")?;
        let status = fields
            .take("status")
            .map_or(Ok(200), |n| whole(&n, "status", 100, 599))?;
        checks.push(SmokeCheck {
            path: http_path(&path, "path")?,
            status: u16::try_from(status).unwrap_or(200),
            contains: fields
                .take("contains")
                .map_or(Ok(String::new()), |n| text(&n, "contains", 1024))?,
        });
    }
    Ok(checks)
}

fn slo(node: Option<Node>) -> Read<Slo> {
    let mut slo = Slo::default();
    let Some(node) = node else { return Ok(slo) };
    let mut fields = Fields::of(node, "slo", &["availability", "window", "latency_ms"])?;
    if let Some(node) = fields.take("availability") {
        slo.availability = percent(&node, "slo.availability", 0.0, 100.0)?;
    }
    if let Some(node) = fields.take("window") {
        slo.window_seconds = duration(&node, "slo.window", "1h", "365d")? / 1000;
    }
    if let Some(node) = fields.take("latency_ms") {
        slo.latency_ms = whole(&node, "slo.latency_ms", 1, 600_000)?;
    }
    Ok(slo)
}

pub(super) fn limits(node: Option<Node>) -> Read<Limits> {
    let mut limits = Limits {
        memory_bytes: 512 << 20,
        pids: 128,
    };
    let Some(node) = node else { return Ok(limits) };
    let mut fields = Fields::of(node, "limits", &["memory", "pids"])?;
    if let Some(node) = fields.take("memory") {
        limits.memory_bytes = size(&node, "limits.memory", "8MiB", "1024GiB")?;
    }
    if let Some(node) = fields.take("pids") {
        limits.pids = whole(&node, "limits.pids", 1, 32_768)?;
    }
    Ok(limits)
}

/// One of some words.
pub(super) fn choice<T: Copy>(node: &Node, what: &str, choices: &[(&str, T)]) -> Read<T> {
    let word = text(node, what, 40)?;
    choices
        .iter()
        .find(|(name, _)| *name == word)
        .map(|(_, value)| *value)
        .ok_or_else(|| {
            let allowed = choices
                .iter()
                .map(|(name, _)| *name)
                .collect::<Vec<_>>()
                .join(", ");
            error(
                node.at,
                format!("{what} cannot be `{}`", yaml::cut(&word)),
                allowed,
            )
        })
}

//! What a product says of other products and of its own way through the channels: `dependencies`,
//! `incompatible`, `versions`, `channels`, `recall`.

use super::ProductError;
use super::values::{Fields, duration, list, text, whole};
use super::yaml::{Node, Value, cut, error};
use bascule_planner::{Matcher, Version};
use bascule_wire::advisory::Severity;
use serde::{Deserialize, Serialize};

type Read<T> = Result<T, ProductError>;

/// Most dependencies, incompatibilities or channels of one product.
const MOST: usize = 200;
/// The channel that every release enters when it is published.
pub const FIRST_CHANNEL: &str = "dev";
/// The channel of releases that are proven, and the one that environments follow unless they say otherwise.
pub const STABLE_CHANNEL: &str = "stable";

/// Another product that must be there, in a range of versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// `group/project`.
    pub product: String,
    /// The oldest version that will do; empty for any.
    pub minimum: String,
    /// A matcher such as `2.x.x`: the newest that will do; empty for any.
    pub maximum: String,
    /// The version it was tested with; empty where none is named. Plans remark on an older one; it holds nothing.
    pub recommended: String,
    /// Whether it counts only where that product is installed.
    pub optional: bool,
}

/// Versions of another product that it cannot run beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incompatible {
    /// `group/project`.
    pub product: String,
    /// A matcher such as `3.x.x`.
    pub versions: String,
}

/// A step of a release's way: how it gets into a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRule {
    /// The channel.
    pub name: String,
    /// Environments in which it must have served without being undone; empty: none.
    pub soak_in: Vec<String>,
    /// For how long in each of them, in milliseconds, healthy at the end. Never counts without a health check
    /// that passes: time alone proves nothing.
    pub soak_ms: u64,
    /// Who must have approved it for this channel; empty: nobody.
    pub approval: String,
    /// The environments of this channel take it spread over this time, in milliseconds; 0: at once.
    #[serde(default)]
    pub ramp_ms: u64,
}

/// When a release of the product is recalled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoRecall {
    /// Once it was rolled back in so many environments; 0: never.
    #[serde(default)]
    pub rolled_back: u32,
    /// Once it has a finding of this severity or worse that nobody set aside; `None`: never.
    #[serde(default = "usual_advisory")]
    pub advisory: Option<Severity>,
}

impl Default for AutoRecall {
    fn default() -> Self {
        Self {
            rolled_back: 0,
            advisory: usual_advisory(),
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the field's type")]
const fn usual_advisory() -> Option<Severity> {
    Some(Severity::Critical)
}

/// What a product says of others and of its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relations {
    /// Products that must be there.
    #[serde(default)]
    pub dependencies: Vec<Dependency>,
    /// Products that must not be there in some versions.
    #[serde(default)]
    pub incompatible: Vec<Incompatible>,
    /// Whether versions are taken one after the other and none is skipped, as a database's schema needs it.
    #[serde(default)]
    pub one_by_one: bool,
    /// The channels, in the order in which a release goes through them.
    #[serde(default = "usual_channels")]
    pub channels: Vec<ChannelRule>,
    /// When a release is recalled by itself.
    #[serde(default)]
    pub recall: AutoRecall,
}

impl Default for Relations {
    fn default() -> Self {
        Self {
            dependencies: Vec::new(),
            incompatible: Vec::new(),
            one_by_one: false,
            channels: usual_channels(),
            recall: AutoRecall::default(),
        }
    }
}

/// Every release enters `dev`; one that served in staging enters `stable`.
fn usual_channels() -> Vec<ChannelRule> {
    let rule = |name: &str, soak_in: &[&str]| ChannelRule {
        name: name.to_owned(),
        soak_in: soak_in.iter().map(|e| (*e).to_owned()).collect(),
        soak_ms: 0,
        approval: String::new(),
        ramp_ms: 0,
    };
    vec![rule(FIRST_CHANNEL, &[]), rule(STABLE_CHANNEL, &["staging"])]
}

/// The five keys, taken out of the file's fields.
pub(crate) fn relations(fields: &mut Fields) -> Read<Relations> {
    Ok(Relations {
        dependencies: dependencies(fields.take("dependencies"))?,
        incompatible: incompatible(fields.take("incompatible"))?,
        one_by_one: one_by_one(fields.take("versions"))?,
        channels: channels(fields.take("channels"))?,
        recall: auto_recall(fields.take("recall"))?,
    })
}

fn auto_recall(node: Option<Node>) -> Read<AutoRecall> {
    let Some(node) = node else {
        return Ok(AutoRecall::default());
    };
    let mut fields = Fields::of(node, "recall", &["rolled_back", "advisory"])?;
    let count = fields
        .take("rolled_back")
        .map_or(Ok(0), |n| whole(&n, "rolled_back", 1, 10_000))?;
    Ok(AutoRecall {
        rolled_back: u32::try_from(count).unwrap_or(u32::MAX),
        advisory: fields
            .take("advisory")
            .map_or(Ok(usual_advisory()), |n| level(&n, "advisory"))?,
    })
}

/// A severity from which on something happens, or `never`.
pub(crate) fn level(node: &Node, what: &str) -> Read<Option<Severity>> {
    let word = text(node, what, 20)?;
    if word == "never" {
        return Ok(None);
    }
    match word.parse() {
        Ok(severity) if severity != Severity::Unknown => Ok(Some(severity)),
        _ => Err(error(
            node.at,
            format!("{what} cannot be `{}`", cut(&word)),
            "critical, high, medium, low, never",
        )),
    }
}

fn dependencies(node: Option<Node>) -> Read<Vec<Dependency>> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let allowed = "entries such as `- {product: group/project, minimum: 1.2.0, maximum: 1.x.x}`";
    let mut all: Vec<Dependency> = Vec::new();
    for node in list(node, "dependencies", allowed, MOST)? {
        let at = node.at;
        let known = ["product", "minimum", "maximum", "recommended", "optional"];
        let mut fields = Fields::of(node, "a dependency", &known)?;
        let product = product_path(&fields.need("product", "`product: group/project`")?)?;
        if all.iter().any(|known| known.product == product) {
            return Err(error(
                at,
                format!("{product} is named twice among the dependencies"),
                "each product once",
            ));
        }
        let minimum = fields
            .take("minimum")
            .map_or(Ok(String::new()), |n| version(&n))?;
        let maximum = fields
            .take("maximum")
            .map_or(Ok(String::new()), |n| matcher(&n))?;
        let empty = match (minimum.parse::<Version>(), maximum.parse::<Matcher>()) {
            (Ok(minimum), Ok(maximum)) => !maximum.admits_up_to(&minimum),
            _ => false,
        };
        if empty {
            return Err(error(
                at,
                format!("no version of {product} is from {minimum} up to {maximum}"),
                "a maximum at or above the minimum",
            ));
        }
        all.push(Dependency {
            product,
            minimum,
            maximum,
            recommended: fields
                .take("recommended")
                .map_or(Ok(String::new()), |n| version(&n))?,
            optional: fields
                .take("optional")
                .map_or(Ok(false), |n| yes(&n, "optional"))?,
        });
    }
    Ok(all)
}

fn incompatible(node: Option<Node>) -> Read<Vec<Incompatible>> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let allowed = "entries such as `- {product: group/project, versions: 3.x.x}`";
    let mut all = Vec::new();
    for node in list(node, "incompatible", allowed, MOST)? {
        let mut fields = Fields::of(node, "an incompatibility", &["product", "versions"])?;
        all.push(Incompatible {
            product: product_path(&fields.need("product", "`product: group/project`")?)?,
            versions: matcher(&fields.need("versions", "a matcher: `versions: 3.x.x`")?)?,
        });
    }
    Ok(all)
}

fn one_by_one(node: Option<Node>) -> Read<bool> {
    let Some(node) = node else { return Ok(false) };
    match text(&node, "versions", 40)?.as_str() {
        "one_by_one" => Ok(true),
        "any" => Ok(false),
        other => Err(error(
            node.at,
            format!("versions cannot be `{}`", cut(other)),
            "any (later ones may be skipped to) or one_by_one (none is skipped, as for a database's schema)",
        )),
    }
}

fn channels(node: Option<Node>) -> Read<Vec<ChannelRule>> {
    let Some(node) = node else {
        return Ok(usual_channels());
    };
    let at = node.at;
    let allowed = "entries such as `- name: stable` with `soak: 24h`, `in: [staging]`, `approval: security`";
    let mut all: Vec<ChannelRule> = Vec::new();
    for node in list(node, "channels", allowed, 20)? {
        let at = node.at;
        let mut fields = Fields::of(node, "a channel", &["name", "soak", "in", "approval", "ramp"])?;
        let name = word(&fields.need("name", "`name: stable`")?, "name")?;
        if all.iter().any(|known| known.name == name) {
            return Err(error(
                at,
                format!("the channel {name} is named twice"),
                "each once",
            ));
        }
        let mut soak_in = Vec::new();
        if let Some(node) = fields.take("in") {
            for node in list(node, "in", "environments such as `[staging]`", 50)? {
                soak_in.push(word(&node, "an environment")?);
            }
        }
        let soak = fields.take("soak");
        if let Some(node) = soak.as_ref().filter(|_| soak_in.is_empty()) {
            return Err(error(
                node.at,
                format!("the channel {name} has a soak time but names no environment"),
                "`in: [staging]` beside it: time counts only where the release runs and is seen to be healthy",
            ));
        }
        all.push(ChannelRule {
            name,
            soak_in,
            soak_ms: soak.map_or(Ok(0), |n| duration(&n, "soak", "1s", "365d"))?,
            approval: fields
                .take("approval")
                .map_or(Ok(String::new()), |n| word(&n, "approval"))?,
            ramp_ms: fields
                .take("ramp")
                .map_or(Ok(0), |n| duration(&n, "ramp", "1m", "90d"))?,
        });
    }
    if all.is_empty() {
        return Err(error(at, "channels is empty", allowed));
    }
    Ok(all)
}

/// `group/project`, as dependencies name products.
pub(crate) fn product_path(node: &Node) -> Read<String> {
    let path = text(node, "product", 200)?;
    let parts = path.split_once('/');
    let good = parts.is_some_and(|(group, project)| {
        bascule_core::Name::new(group).is_ok() && bascule_core::Name::new(project).is_ok()
    });
    if good {
        Ok(path)
    } else {
        Err(error(
            node.at,
            format!("`{}` names no product", cut(&path)),
            "the product's project, as group/project",
        ))
    }
}

pub(crate) fn word(node: &Node, what: &str) -> Read<String> {
    let word = text(node, what, 63)?;
    bascule_core::Name::new(&word)
        .map(|name| name.as_str().to_owned())
        .map_err(|fault| error(node.at, fault.to_string(), "a name such as stable"))
}

fn version(node: &Node) -> Read<String> {
    let text = scalar(node)?;
    text.parse::<Version>()
        .map(|_| text.clone())
        .map_err(|fault| error(node.at, fault.to_string(), "a version such as 1.2.0"))
}

fn matcher(node: &Node) -> Read<String> {
    let text = scalar(node)?;
    text.parse::<Matcher>()
        .map(|_| text.clone())
        .map_err(|fault| error(node.at, fault.to_string(), "a version or a matcher such as 2.x.x"))
}

fn scalar(node: &Node) -> Read<String> {
    Ok(text(node, "a version", 100)?.trim().to_owned())
}

pub(crate) fn yes(node: &Node, what: &str) -> Read<bool> {
    match &node.value {
        Value::Scalar(text) if text == "true" => Ok(true),
        Value::Scalar(text) if text == "false" => Ok(false),
        _ => Err(error(
            node.at,
            format!("{what} must be true or false"),
            "true, false",
        )),
    }
}

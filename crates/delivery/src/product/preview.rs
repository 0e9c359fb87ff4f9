//! What `bascule.yaml` says of previews. The file at the tip of a request's target branch counts, never the
//! request's own: whoever opens a request must not choose the limits that it is held to.

use super::ProductError;
use super::parse::limits;
use super::relations::{word, yes};
use super::values::{Fields, duration, variables, whole};
use super::yaml::{Node, Value, error};
use bascule_wire::agent::Limits;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Previews of merge requests into the branch whose file says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviewPolicy {
    /// Whether there are any.
    pub enabled: bool,
    /// The project's environment, below production, whose agent runs them.
    pub environment: String,
    /// How many run at once.
    pub most: u32,
    /// How long one stays without a change of its request, in milliseconds.
    pub lifetime_ms: u64,
    /// Variables of previews; they win over the product's own.
    pub variables: BTreeMap<String, String>,
    /// What an instance may use at most; `None`: what the same file allows in all environments.
    pub limits: Option<Limits>,
}

impl Default for PreviewPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            environment: "staging".to_owned(),
            most: 5,
            lifetime_ms: 3 * 86_400_000,
            variables: BTreeMap::new(),
            limits: None,
        }
    }
}

const KEYS: &[&str] = &[
    "enabled",
    "environment",
    "most",
    "lifetime",
    "variables",
    "limits",
];

/// Reads `preview: true` or a mapping.
pub(super) fn preview(node: Option<Node>) -> Result<Option<Box<PreviewPolicy>>, ProductError> {
    let Some(node) = node else { return Ok(None) };
    let mut policy = PreviewPolicy::default();
    if let Value::Scalar(_) = node.value {
        policy.enabled = yes(&node, "preview")?;
        return Ok(Some(Box::new(policy)));
    }
    let mut fields = Fields::of(node, "preview", KEYS)?;
    if let Some(node) = fields.take("enabled") {
        policy.enabled = yes(&node, "preview.enabled")?;
    }
    if let Some(node) = fields.take("environment") {
        policy.environment = word(&node, "preview.environment")?;
        if policy.environment == "production" {
            return Err(error(
                node.at,
                "previews never run on production's agent",
                "an environment below production, such as staging",
            ));
        }
    }
    if let Some(node) = fields.take("most") {
        policy.most = u32::try_from(whole(&node, "preview.most", 1, 50)?).unwrap_or(1);
    }
    if let Some(node) = fields.take("lifetime") {
        policy.lifetime_ms = duration(&node, "preview.lifetime", "1m", "90d")?;
    }
    if let Some(node) = fields.take("variables") {
        policy.variables = variables(node, "preview.variables")?;
    }
    if let Some(node) = fields.take("limits") {
        policy.limits = Some(limits(Some(node))?);
    }
    Ok(Some(Box::new(policy)))
}

#[cfg(test)]
mod tests {
    use crate::product::parse;

    const HEAD: &str = "product: clinic\nartifact: a.tar.gz\ncommand: ./app\n";

    fn read(text: &str) -> Result<Option<super::PreviewPolicy>, String> {
        parse(format!("{HEAD}{text}").as_bytes())
            .map(|product| product.preview.map(|policy| *policy))
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn a_file_without_previews_has_none_and_a_word_is_enough() {
        assert_eq!(read("").unwrap(), None);
        assert!(!read("preview: false\n").unwrap().unwrap().enabled);
        let usual = read("preview: true\n").unwrap().unwrap();
        assert!(usual.enabled && usual.environment == "staging" && usual.most == 5);
        assert_eq!(usual.lifetime_ms, 3 * 24 * 3600 * 1000);
    }

    #[test]
    fn all_keys_are_read_and_wrong_ones_are_shown_their_place() {
        let policy = read(
            "preview:\n  environment: test\n  most: 2\n  lifetime: 8h\n  variables: { MODE: demo }\n  limits: { memory: 64MiB, pids: 20 }\n",
        )
        .unwrap()
        .unwrap();
        assert_eq!((policy.most, policy.lifetime_ms), (2, 8 * 3600 * 1000));
        assert_eq!(policy.limits.unwrap().memory_bytes, 64 << 20);
        assert_eq!(policy.variables["MODE"], "demo");
        let fault = read("preview: { most: 0 }\n").unwrap_err();
        assert!(
            fault.starts_with("bascule.yaml:4:") && fault.contains("preview.most"),
            "{fault}"
        );
        assert!(read("preview: maybe\n").unwrap_err().contains("true, false"));
        assert!(
            read("preview: { environment: production }\n")
                .unwrap_err()
                .contains("below production")
        );
        assert!(
            read("preview: { secrets: [A] }\n")
                .unwrap_err()
                .contains("no key")
        );
    }
}

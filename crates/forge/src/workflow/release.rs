//! A release comes from the trunk, and the manifest there says its version.

use super::{Rule, broken};
use bascule_core::Problem;

/// A version tag that is pushed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tag {
    /// Its name.
    pub(crate) name: String,
    /// The project's trunk.
    pub(crate) trunk: String,
    /// Whether its commit is on the trunk.
    pub(crate) on_trunk: bool,
    /// Versions that manifests at its commit say: file and version.
    pub(crate) manifests: Vec<(String, String)>,
}

/// Manifests in which a version is looked for.
pub(crate) const MANIFESTS: &[&str] = &["Cargo.toml", "package.json", "pyproject.toml"];

/// The version that a manifest says, if it says one.
pub(crate) fn version_in(file: &str, text: &str) -> Option<String> {
    if file.ends_with(".json") {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        return value.get("version")?.as_str().map(str::to_owned);
    }
    let value: toml::Table = text.parse().ok()?;
    let at = |table: &str| value.get(table)?.get("version")?.as_str().map(str::to_owned);
    at("package").or_else(|| at("project")).or_else(|| {
        let workspace = value.get("workspace")?.get("package")?.get("version")?;
        workspace.as_str().map(str::to_owned)
    })
}

pub(super) fn from_trunk(tag: &Tag) -> Option<Problem> {
    let (name, trunk) = (&tag.name, &tag.trunk);
    if !tag.on_trunk {
        return Some(
            broken(
                Rule::ReleaseFromTrunk,
                format!("The commit of `{name}` is not on `{trunk}`."),
            )
            .next(format!("Merge it into `{trunk}` first, and tag the merge.")),
        );
    }
    let version = name.strip_prefix('v').unwrap_or(name);
    let (file, says) = tag.manifests.iter().find(|(_, says)| says != version)?;
    Some(
        broken(
            Rule::ReleaseFromTrunk,
            format!("`{name}` would release what says it is {says} ({file})."),
        )
        .next(format!(
            "Lift the version in {file} to {version} on `{trunk}`, and tag that commit."
        )),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_read_where_manifests_keep_them() {
        assert_eq!(
            version_in("package.json", r#"{"version": "1.2.3"}"#).as_deref(),
            Some("1.2.3")
        );
        assert_eq!(
            version_in("Cargo.toml", "[package]\nversion = \"1.0.0\"").as_deref(),
            Some("1.0.0")
        );
        assert_eq!(
            version_in("Cargo.toml", "[workspace.package]\nversion = \"2.0.0\"").as_deref(),
            Some("2.0.0")
        );
        assert_eq!(
            version_in("Cargo.toml", "[package]\nversion.workspace = true"),
            None
        );
        assert_eq!(
            version_in("pyproject.toml", "[project]\nversion = \"3\"").as_deref(),
            Some("3")
        );
    }

    #[test]
    fn a_tag_off_the_trunk_or_with_an_old_manifest_is_told() {
        let mut tag = Tag {
            name: "v1.1.0".into(),
            trunk: "main".into(),
            on_trunk: false,
            manifests: vec![("package.json".into(), "1.0.0".into())],
        };
        assert!(from_trunk(&tag).unwrap().what.contains("not on `main`"));
        tag.on_trunk = true;
        assert!(from_trunk(&tag).unwrap().next.contains("package.json to 1.1.0"));
        tag.manifests[0].1 = "1.1.0".into();
        assert!(from_trunk(&tag).is_none());
    }

    proptest! {
        #[test]
        fn no_manifest_is_too_odd(text in ".{0,300}") {
            version_in("package.json", &text);
            version_in("Cargo.toml", &text);
        }
    }
}

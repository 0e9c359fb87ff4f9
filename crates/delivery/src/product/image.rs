//! How a product is run: as a process from its artifact, as a container from its image, or either.

use super::{
    Product, ProductError,
    parse::choice,
    values::{Fields, relative_path, text},
    yaml::{Node, Value},
};
use bascule_wire::agent::Driver;
use serde::{Deserialize, Serialize};

type Read<T> = Result<T, ProductError>;

/// The drivers that a file may name.
pub(crate) const DRIVERS: &[(&str, Driver)] = &[
    ("process", Driver::Process),
    ("podman", Driver::Podman),
    ("kubernetes", Driver::Kubernetes),
    ("agent", Driver::Agent),
];

/// A container's image among the release's artifacts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Path of the OCI or docker archive, within the release's artifacts.
    pub archive: String,
    /// What to run in the container, by `/bin/sh -c`; empty for what the image names.
    pub command: String,
}

/// What a driver runs of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Runs<'a> {
    /// The driver.
    pub driver: Driver,
    /// Path of what it fetches, within the release's artifacts.
    pub path: &'a str,
}

impl Product {
    /// What runs where `asked` names a driver, or nothing does. An error says what the product lacks for it.
    ///
    /// # Errors
    /// It has neither artifact nor image for the driver.
    pub fn runs(&self, asked: Option<Driver>) -> Result<Runs<'_>, String> {
        let usual = if self.artifact.is_empty() {
            Driver::Podman
        } else {
            Driver::Process
        };
        let itself = self.driver == Some(Driver::Agent);
        if asked == Some(Driver::Agent) && !itself {
            return Err(
                "it is to be the agent itself, and bascule.yaml does not say that it is one".to_owned(),
            );
        }
        // An environment does not choose how an agent runs: it runs its machine.
        let driver = asked.filter(|_| !itself).or(self.driver).unwrap_or(usual);
        let path = match driver {
            Driver::Process | Driver::Agent if !self.artifact.is_empty() => Some(self.artifact.as_str()),
            Driver::Podman | Driver::Kubernetes => self.image.as_ref().map(|image| image.archive.as_str()),
            Driver::Process | Driver::Agent => None,
        };
        let needs = match driver {
            Driver::Agent => "`artifact`",
            Driver::Process => "`artifact` and `command`",
            _ => "`image`",
        };
        path.map(|path| Runs { driver, path }).ok_or_else(|| {
            let driver = driver.as_str();
            format!("it is to run by the driver {driver}, and for that bascule.yaml names no {needs}")
        })
    }

    /// The command of an instance under the driver that was chosen for it.
    #[must_use]
    pub fn command_of(&self, driver: Driver) -> &str {
        match (driver, &self.image) {
            (Driver::Podman | Driver::Kubernetes, Some(image)) => &image.command,
            _ => &self.command,
        }
    }

    /// All files that it names, within the release's artifacts.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        let artifact = Some(self.artifact.as_str()).filter(|path| !path.is_empty());
        artifact
            .into_iter()
            .chain(self.image.iter().map(|image| image.archive.as_str()))
    }
}

/// `image: dist/app.oci.tar`, or a mapping with `archive` and `command`.
pub(super) fn image(node: Option<Node>) -> Read<Option<Image>> {
    let Some(node) = node else { return Ok(None) };
    if !matches!(node.value, Value::Map(_)) {
        return Ok(Some(Image {
            archive: relative_path(&node, "image")?,
            command: String::new(),
        }));
    }
    let mut fields = Fields::of(node, "image", &["archive", "command"])?;
    let archive = fields.need("archive", "the image's file: `archive: dist/app.oci.tar`")?;
    Ok(Some(Image {
        archive: relative_path(&archive, "image.archive")?,
        command: fields
            .take("command")
            .map_or(Ok(String::new()), |n| text(&n, "image.command", 4096))?,
    }))
}

/// `driver: podman`.
pub(crate) fn driver(node: Option<Node>) -> Read<Option<Driver>> {
    node.map(|node| choice(&node, "driver", DRIVERS)).transpose()
}

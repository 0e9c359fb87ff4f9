//! What a job leaves besides files: `environment`, `release`, `pages`.

use super::{Environment, Pages, Release, ReleaseLink, artifacts::paths, reader::Reader};
use crate::{
    fault::shown,
    yaml::{Node, Value},
};

pub(super) const ENVIRONMENT: &[&str] = &[
    "name",
    "url",
    "on_stop",
    "action",
    "auto_stop_in",
    "deployment_tier",
    "kubernetes",
];
pub(super) const KUBERNETES: &[&str] = &[
    "namespace",
    "agent",
    "flux_resource_path",
    "dashboard",
    "managed_resources",
];
const ACTIONS: &[&str] = &["start", "prepare", "stop", "verify", "access"];
const TIERS: &[&str] = &["production", "staging", "testing", "development", "other"];

pub(super) fn environment(node: &Node, place: &str, reader: &mut Reader) -> Option<Environment> {
    let mut environment = Environment {
        action: "start".to_owned(),
        ..Environment::default()
    };
    if let Some(name) = node.scalar() {
        name.clone_into(&mut environment.name);
        return Some(environment);
    }
    for entry in reader.map(node, place, ENVIRONMENT)? {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "name" => environment.name = reader.text(value, &place)?,
            "url" => environment.url = reader.text(value, &place),
            "action" => environment.action = reader.word(value, &place, ACTIONS)?,
            "on_stop" => environment.on_stop = reader.text(value, &place),
            "auto_stop_in" => {
                environment.auto_stop_in = value.scalar().map(str::to_owned);
                // With a variable it is known only when the job runs.
                if value
                    .scalar()
                    .is_none_or(|text| !text.contains('$') && text != "never")
                {
                    reader.seconds(value, &place);
                }
            }
            "deployment_tier" => environment.deployment_tier = reader.word(value, &place, TIERS),
            "kubernetes" => {
                reader.map(value, &place, KUBERNETES);
                environment.kubernetes_namespace =
                    value.get("namespace").and_then(|name| reader.text(name, &place));
                if let Some(agent) = value.get("agent") {
                    reader.warn(
                        agent.pos,
                        "`environment:kubernetes:agent` has no effect",
                        "environments are reached by Bascule's own agents",
                    );
                }
            }
            _ => {}
        }
    }
    if environment.name.is_empty() {
        reader.fault(node.pos, "this environment has no `name`", "name it");
        return None;
    }
    Some(environment)
}

pub(super) const RELEASE: &[&str] = &[
    "tag_name",
    "tag_message",
    "name",
    "description",
    "ref",
    "milestones",
    "released_at",
    "assets",
];

pub(super) fn release(node: &Node, place: &str, reader: &mut Reader) -> Option<Release> {
    let mut release = Release::default();
    for entry in reader.map(node, place, RELEASE)? {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "tag_name" => release.tag_name = reader.text(value, &place).unwrap_or_default(),
            "tag_message" => release.tag_message = reader.text(value, &place),
            "name" => release.name = reader.text(value, &place).unwrap_or_default(),
            "description" => release.description = reader.text(value, &place).unwrap_or_default(),
            "ref" => release.reference = reader.text(value, &place),
            "milestones" => release.milestones = reader.texts(value, &place),
            "released_at" => release.released_at = reader.text(value, &place),
            "assets" => {
                for links in reader.map(value, &place, &["links"]).unwrap_or_default() {
                    let Some(items) = links.value.items() else {
                        reader.wrong(&links.value, "release:assets:links", "a list of maps");
                        continue;
                    };
                    for item in items {
                        link(item, &mut release, reader);
                    }
                }
            }
            _ => {}
        }
    }
    for (value, key) in [
        (&release.tag_name, "tag_name"),
        (&release.description, "description"),
    ] {
        if value.is_empty() {
            reader.fault(
                node.pos,
                format!("this release has no `{key}`"),
                "`tag_name` and `description` are needed",
            );
        }
    }
    Some(release)
}

pub(super) const LINK: &[&str] = &["name", "url", "filepath", "link_type"];
const LINK_TYPES: &[&str] = &["other", "runbook", "image", "package"];

fn link(node: &Node, release: &mut Release, reader: &mut Reader) {
    let place = "release:assets:links";
    if reader.map(node, place, LINK).is_none() {
        return;
    }
    let (Some(name), Some(url)) = (
        node.get("name").and_then(Node::scalar),
        node.get("url").and_then(Node::scalar),
    ) else {
        reader.fault(node.pos, "this link has no `name` or no `url`", "both are needed");
        return;
    };
    release.links.insert(name.to_owned(), url.to_owned());
    release.assets.push(ReleaseLink {
        name: name.to_owned(),
        url: url.to_owned(),
        filepath: node.get("filepath").and_then(|value| reader.text(value, place)),
        link_type: node
            .get("link_type")
            .and_then(|value| reader.word(value, place, LINK_TYPES)),
    });
}

pub(super) const PAGES: &[&str] = &["publish", "path_prefix", "expire_in"];

/// `pages`: true, false, or a map. The outer `None` is a fault or `false`.
pub(super) fn pages(node: &Node, place: &str, reader: &mut Reader) -> Option<Pages> {
    let mut pages = Pages {
        publish: "public".to_owned(),
        ..Pages::default()
    };
    if !matches!(node.value, Value::Mapping(_)) {
        return reader.boolean(node, place)?.then_some(pages);
    }
    for entry in reader.map(node, place, PAGES)? {
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "publish" => {
                if let Some(path) = publish(&entry.value, &place, reader) {
                    pages.publish = path;
                }
            }
            "path_prefix" => pages.path_prefix = reader.text(&entry.value, &place),
            "expire_in" => {
                if entry.value.scalar() != Some("never") {
                    reader.seconds(&entry.value, &place);
                }
                pages.expire_in = entry.value.scalar().map(str::to_owned);
            }
            _ => {}
        }
    }
    Some(pages)
}

/// `publish`, in `pages` or (the old place) in the job.
pub(super) fn publish(node: &Node, place: &str, reader: &mut Reader) -> Option<String> {
    if node.scalar().is_none() {
        reader.wrong(node, place, "the path of a folder");
        return None;
    }
    paths(node, place, reader).pop().filter(|path| {
        let good = !path.trim_matches('/').is_empty();
        if !good {
            reader.fault(
                node.pos,
                format!("`{place}` is `{}`", shown(path)),
                "name a folder of the workspace",
            );
        }
        good
    })
}

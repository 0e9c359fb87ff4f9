//! `image` and `services`.

use super::reader::Reader;
use crate::{
    variables::of_file,
    yaml::{Node, Value},
};
use bascule_wire::runner::{ExecutorOptions, Image, UserOptions};

pub(super) const IMAGE: &[&str] = &[
    "name",
    "entrypoint",
    "pull_policy",
    "docker",
    "kubernetes",
    "ports",
];
pub(super) const SERVICE: &[&str] = &[
    "name",
    "alias",
    "entrypoint",
    "command",
    "variables",
    "pull_policy",
    "docker",
    "kubernetes",
    "ports",
];
const PULL: &[&str] = &["always", "if-not-present", "never"];

pub(super) fn image(node: &Node, place: &str, reader: &mut Reader) -> Option<Image> {
    one(node, place, IMAGE, reader)
}

pub(super) fn services(node: &Node, place: &str, reader: &mut Reader) -> Vec<Image> {
    let Some(items) = node.items() else {
        reader.wrong(node, place, "a list of images");
        return Vec::new();
    };
    items
        .iter()
        .filter_map(|item| one(item, place, SERVICE, reader))
        .collect()
}

fn one(node: &Node, place: &str, keys: &[&str], reader: &mut Reader) -> Option<Image> {
    let mut image = Image::default();
    if let Some(name) = node.scalar() {
        name.clone_into(&mut image.name);
        return Some(image);
    }
    for entry in reader.map(node, place, keys)? {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "name" => image.name = reader.text(value, &place).unwrap_or_default(),
            "alias" => image.alias = reader.text(value, &place).unwrap_or_default(),
            "entrypoint" => image.entrypoint = reader.texts(value, &place),
            "command" => image.command = reader.texts(value, &place),
            "pull_policy" => {
                let items = value.items().unwrap_or(std::slice::from_ref(value));
                image.pull_policy = items
                    .iter()
                    .filter_map(|item| reader.word(item, &place, PULL))
                    .collect();
            }
            "variables" => {
                image.variables = super::top::variables(value, &place, reader)
                    .iter()
                    .map(of_file)
                    .collect();
            }
            "docker" => {
                let options = options(value, &place, &["user", "platform"], reader);
                image
                    .executor_opts
                    .get_or_insert_with(ExecutorOptions::default)
                    .docker = options;
            }
            "kubernetes" => {
                let options = options(value, &place, &["user"], reader);
                image
                    .executor_opts
                    .get_or_insert_with(ExecutorOptions::default)
                    .kubernetes = options;
            }
            "ports" => reader.warn(
                entry.key_pos,
                format!("`{place}` has no effect"),
                "ports serve web terminals, which do not exist here",
            ),
            _ => {}
        }
    }
    if image.name.is_empty() {
        reader.fault(node.pos, format!("`{place}` has no `name`"), "name the image");
        return None;
    }
    Some(image)
}

fn options(node: &Node, place: &str, keys: &[&str], reader: &mut Reader) -> Option<UserOptions> {
    let mut options = UserOptions::default();
    for entry in reader.map(node, place, keys)? {
        // A user may be written as a number.
        let text = match &entry.value.value {
            Value::Scalar { .. } => reader.text(&entry.value, place),
            _ => {
                reader.wrong(&entry.value, place, "a text");
                None
            }
        };
        match entry.key.as_str() {
            "user" => options.user = text,
            "platform" => options.platform = text,
            _ => {}
        }
    }
    Some(options)
}

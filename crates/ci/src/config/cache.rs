//! `cache`.

use super::{
    CacheRule,
    artifacts::{paths, word_when},
    reader::Reader,
};
use crate::yaml::{Node, Value};
use bascule_wire::runner::{Cache, CachePolicy};

pub(super) const KEYS: &[&str] = &[
    "paths",
    "key",
    "untracked",
    "unprotect",
    "when",
    "policy",
    "fallback_keys",
];
pub(super) const KEY_KEYS: &[&str] = &["files", "files_commits", "prefix"];
/// Most caches of a job (GitLab's limit).
const CACHES: usize = 4;
/// Most files that a key is made of (GitLab's limit).
const KEY_FILES: usize = 2;
/// Most fallback keys (GitLab's limit).
const FALLBACKS: usize = 5;

/// One cache, or a list of at most four, each with what planning settles.
pub(super) fn caches(node: &Node, place: &str, reader: &mut Reader) -> (Vec<Cache>, Vec<CacheRule>) {
    match &node.value {
        Value::Sequence(items) => {
            if items.len() > CACHES {
                reader.fault(
                    node.pos,
                    format!("`{place}` names {} caches", items.len()),
                    format!("at most {CACHES} are allowed"),
                );
            }
            items.iter().filter_map(|item| cache(item, place, reader)).unzip()
        }
        _ => cache(node, place, reader).into_iter().unzip(),
    }
}

fn cache(node: &Node, place: &str, reader: &mut Reader) -> Option<(Cache, CacheRule)> {
    let mut cache = Cache {
        key: "default".to_owned(),
        ..Cache::default()
    };
    let mut rule = CacheRule::default();
    for entry in reader.map(node, place, KEYS)? {
        let value = &entry.value;
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "paths" => cache.paths = paths(value, &place, reader),
            "key" => match &value.value {
                Value::Mapping(_) => key_of_files(value, &place, &mut rule, reader),
                _ => cache.key = key(value, &place, reader),
            },
            "untracked" => cache.untracked = reader.boolean(value, &place).unwrap_or_default(),
            "unprotect" => rule.unprotect = reader.boolean(value, &place).unwrap_or_default(),
            "when" => cache.when = word_when(value, &place, reader),
            "policy" => match value.scalar() {
                Some(text) if text.contains('$') => rule.policy = Some(text.to_owned()),
                _ => {
                    cache.policy = reader
                        .word(value, &place, &["pull", "push", "pull-push"])
                        .and_then(|word| CachePolicy::parse(&word))
                        .unwrap_or_default();
                }
            },
            "fallback_keys" => {
                cache.fallback_keys = reader.texts(value, &place);
                if cache.fallback_keys.len() > FALLBACKS {
                    reader.fault(
                        value.pos,
                        format!("`{place}` names {} keys", cache.fallback_keys.len()),
                        format!("at most {FALLBACKS} are allowed"),
                    );
                }
            }
            _ => {}
        }
    }
    Some((cache, rule))
}

fn key(node: &Node, place: &str, reader: &mut Reader) -> String {
    let key = reader.text(node, place).unwrap_or_default();
    let lower = key.to_ascii_lowercase();
    if key.contains('/') || lower.contains("%2f") || matches!(key.as_str(), "." | ".." | "%2E" | "%2E%2E") {
        reader.fault(
            node.pos,
            format!("`{}` cannot be a cache's key", crate::fault::shown(&key)),
            "a key holds no `/` and is neither `.` nor `..`",
        );
    }
    key
}

fn key_of_files(node: &Node, place: &str, rule: &mut CacheRule, reader: &mut Reader) {
    let entries = reader.map(node, place, KEY_KEYS).unwrap_or_default();
    for entry in entries {
        match entry.key.as_str() {
            "prefix" => rule.prefix = reader.text(&entry.value, place).unwrap_or_default(),
            "files" | "files_commits" => {
                rule.commits = entry.key == "files_commits";
                rule.files = paths(&entry.value, place, reader);
                if rule.files.is_empty() || rule.files.len() > KEY_FILES {
                    reader.fault(
                        entry.value.pos,
                        format!("`{place}:{}` names {} files", entry.key, rule.files.len()),
                        format!("1 to {KEY_FILES} are allowed"),
                    );
                }
            }
            _ => {}
        }
    }
    match (node.get("files"), node.get("files_commits")) {
        (Some(_), Some(both)) => reader.fault(
            both.pos,
            format!("`{place}` has both `files` and `files_commits`"),
            "use one of them",
        ),
        (None, None) => reader.fault(
            node.pos,
            format!("`{place}` has no `files`"),
            "name the files whose content makes the key, or write the key as a text",
        ),
        _ => {}
    }
}

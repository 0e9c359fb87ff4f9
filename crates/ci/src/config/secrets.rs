//! `id_tokens` and `secrets`.

use super::{IdToken, Secret, reader::Reader, top::variable_name};
use crate::{
    fault::{Pos, shown},
    yaml::{Entry, Node},
};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;

fn named(entry: &Entry, reader: &mut Reader) -> bool {
    let good = variable_name(&entry.key);
    if !good {
        reader.fault(
            entry.key_pos,
            format!("`{}` cannot be a variable's name", shown(&entry.key)),
            "use letters, digits and `_`, not beginning with a digit",
        );
    }
    good
}

pub(super) fn id_tokens(node: &Node, place: &str, reader: &mut Reader) -> BTreeMap<String, IdToken> {
    let mut tokens = BTreeMap::new();
    for entry in reader.entries(node, place).unwrap_or_default() {
        let place = format!("{place}:{}", entry.key);
        if !named(entry, reader) || reader.map(&entry.value, &place, &["aud"]).is_none() {
            continue;
        }
        let aud = entry
            .value
            .get("aud")
            .map(|aud| reader.texts(aud, &format!("{place}:aud")))
            .unwrap_or_default();
        if aud.is_empty() {
            reader.fault(
                entry.key_pos,
                format!("the token `{}` has no `aud`", shown(&entry.key)),
                "name whom the token is for, as an address or a list of addresses",
            );
            continue;
        }
        tokens.insert(entry.key.clone(), IdToken { aud });
    }
    tokens
}

const PROVIDERS: &[&str] = &[
    "vault",
    "gcp_secret_manager",
    "azure_key_vault",
    "aws_secrets_manager",
    "akeyless",
    "gitlab_secrets_manager",
];
pub(super) const KEYS: &[&str] = &[
    "vault",
    "gcp_secret_manager",
    "azure_key_vault",
    "aws_secrets_manager",
    "akeyless",
    "gitlab_secrets_manager",
    "file",
    "token",
];

pub(super) fn secrets(node: &Node, place: &str, reader: &mut Reader) -> BTreeMap<String, Secret> {
    let mut secrets = BTreeMap::new();
    for entry in reader.entries(node, place).unwrap_or_default() {
        let place = format!("{place}:{}", entry.key);
        if named(entry, reader)
            && let Some(secret) = secret(&entry.value, entry.key_pos, &place, reader)
        {
            secrets.insert(entry.key.clone(), secret);
        }
    }
    secrets
}

fn secret(node: &Node, pos: Pos, place: &str, reader: &mut Reader) -> Option<Secret> {
    let entries = reader.map(node, place, KEYS)?;
    let mut secret = Secret {
        file: true,
        ..Secret::default()
    };
    for entry in entries {
        let place = format!("{place}:{}", entry.key);
        match entry.key.as_str() {
            "file" => secret.file = reader.boolean(&entry.value, &place).unwrap_or(true),
            "token" => secret.token = reader.text(&entry.value, &place),
            provider if PROVIDERS.contains(&provider) => {
                if !secret.provider.is_empty() {
                    reader.fault(
                        entry.key_pos,
                        format!("`{place}` names a second provider"),
                        "a secret comes from one",
                    );
                }
                provider.clone_into(&mut secret.provider);
                secret.settings = settings(provider, &entry.value, &place, reader)?;
            }
            _ => {}
        }
    }
    if secret.provider.is_empty() {
        reader.fault(
            pos,
            format!("`{place}` names no provider"),
            format!("one of: {}", PROVIDERS.join(", ")),
        );
        return None;
    }
    Some(secret)
}

fn settings(provider: &str, node: &Node, place: &str, reader: &mut Reader) -> Option<Json> {
    let keys: &[&str] = match provider {
        "vault" => match node.scalar() {
            Some(text) => return short_vault(text, node, place, reader),
            None => &["engine", "path", "field"],
        },
        "gcp_secret_manager" => &["name", "version"],
        "azure_key_vault" => &["name", "version"],
        "aws_secrets_manager" => match node.scalar() {
            Some(text) => {
                let (id, field) = text.split_once('#').unwrap_or((text, ""));
                return Some(json!({"secret_id": id, "field": field}));
            }
            None => &[
                "secret_id",
                "version_id",
                "version_stage",
                "region",
                "role_arn",
                "role_session_name",
                "field",
            ],
        },
        "akeyless" => &[
            "name",
            "data_key",
            "cert_user_name",
            "public_key_data",
            "csr_data",
            "akeyless_api_url",
            "akeyless_access_type",
            "akeyless_token",
            "uid_token",
            "gcp_audience",
            "azure_object_id",
            "k8s_service_account_token",
            "k8s_auth_config_name",
            "akeyless_access_key",
            "gateway_ca_certificate",
        ],
        _ => &["name", "source"],
    };
    reader.map(node, place, keys)?;
    let needed: &[&str] = match provider {
        "vault" => &["engine", "path", "field"],
        "aws_secrets_manager" => &["secret_id"],
        "akeyless" => &[],
        _ => &["name"],
    };
    for key in needed {
        if node.get(key).is_none() {
            reader.fault(
                node.pos,
                format!("`{place}` has no `{key}`"),
                format!("needed are: {}", needed.join(", ")),
            );
            return None;
        }
    }
    Some(node.to_json())
}

/// `path/of/secret/field@engine`; the engine is the key-value store of version 2 at that path, usually `kv-v2`.
fn short_vault(text: &str, node: &Node, place: &str, reader: &mut Reader) -> Option<Json> {
    let (rest, engine) = text.split_once('@').unwrap_or((text, "kv-v2"));
    let Some((path, field)) = rest.rsplit_once('/') else {
        reader.wrong(node, place, "written as `path/field@engine`");
        return None;
    };
    Some(json!({"engine": {"name": "kv-v2", "path": engine}, "path": path, "field": field}))
}

//! How includes say where a file is: paths, projects, components, and the digest that a remote file must have.

use super::Tree;
use crate::fault::{Fault, Pos, shown};

pub(super) fn is_yaml(path: &str) -> bool {
    path.ends_with(".yml") || path.ends_with(".yaml")
}

/// A path inside a project, without its leading slash.
pub(super) fn checked(text: &str, pos: Pos, nowhere: bool) -> Result<String, Fault> {
    if nowhere {
        return Err(Fault::new(
            pos,
            format!("`{}` is a path, but this file belongs to no project", shown(text)),
            "a remote file or a template includes files by `project`, `component` or `template`",
        ));
    }
    let path = text.trim_start_matches('/');
    let good = !path.is_empty()
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
        && is_yaml(path)
        && !path.contains(['\\', '\0', '\n']);
    if good {
        return Ok(path.to_owned());
    }
    Err(Fault::new(
        pos,
        format!("`{}` cannot be included", shown(text)),
        "a path inside the project that ends in .yml or .yaml; `*` and `**` choose several",
    ))
}

pub(super) fn project_path(text: &str, pos: Pos) -> Result<String, Fault> {
    let path = text.trim_matches('/');
    let good = path.split('/').count() >= 2
        && path.split('/').all(|part| {
            !part.is_empty() && part != "." && part != ".." && !part.contains(char::is_whitespace)
        });
    if good {
        return Ok(path.to_owned());
    }
    Err(Fault::new(
        pos,
        format!("`{}` is no project", shown(text)),
        "write `group/project`",
    ))
}

/// `host/group/project/name@version`.
pub(super) fn component(address: &str, host: &str, pos: Pos) -> Result<(Tree, Vec<String>), Fault> {
    let wrong = || {
        Fault::new(
            pos,
            format!("`{}` is no component", shown(address)),
            "write `$CI_SERVER_FQDN/group/project/name@version`",
        )
    };
    let (path, version) = address.rsplit_once('@').ok_or_else(wrong)?;
    let (server, rest) = path.split_once('/').ok_or_else(wrong)?;
    let (project, name) = rest.rsplit_once('/').ok_or_else(wrong)?;
    let named = !name.is_empty()
        && !version.is_empty()
        && !name.contains(char::is_whitespace)
        && !name.starts_with('.');
    if !named {
        return Err(wrong());
    }
    if server != host {
        return Err(Fault::new(
            pos,
            format!("the component `{}` is on another server", shown(address)),
            format!("components come from this server, `{host}`; mirror the project here"),
        ));
    }
    let tree = Tree::Project {
        project: project_path(project, pos)?,
        reference: Some(version.to_owned()),
    };
    Ok((
        tree,
        vec![
            format!("templates/{name}.yml"),
            format!("templates/{name}/template.yml"),
        ],
    ))
}

/// Whether a text has the digest that the include promises.
pub(super) fn genuine(text: &str, integrity: &str, pos: Pos) -> Result<(), Fault> {
    use base64::Engine as _;
    use sha2::Digest as _;
    let digest = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text.as_bytes()));
    if integrity.strip_prefix("sha256-") == Some(&digest) {
        return Ok(());
    }
    Err(Fault::new(
        pos,
        "the remote file is not the one that `integrity` names",
        format!("it has `sha256-{digest}`; look at what changed before you take it over"),
    ))
}

//! All files of a commit in one archive, streamed from `git archive` as it is made.

use super::{
    pages::base,
    paths::shown,
    read::{self, Found},
};
use crate::Forge;
use axum::response::{IntoResponse as _, Response};
use bascule_core::{Problem, ProjectScope};
use bascule_web::{Answer, url_encode};
use http::{HeaderValue, header};

/// Most files of an archive.
const FILES: u64 = 500_000;
/// Forms of an archive: the end of its name, git's name for it, its media type.
const FORMS: [(&str, &str, &str); 3] = [
    (".tar.gz", "tar.gz", "application/gzip"),
    (".zip", "zip", "application/zip"),
    (".tar", "tar", "application/x-tar"),
];

/// Answers with the archive that an address's end names: a branch, tag or commit, and a form.
pub(crate) async fn respond(forge: &Forge, scope: &ProjectScope, file: &str) -> Answer {
    let form = FORMS
        .iter()
        .find_map(|(end, form, kind)| Some((file.strip_suffix(end)?, *end, *form, *kind)));
    let Some((name, end, form, kind)) = form.filter(|(name, ..)| !name.is_empty()) else {
        return Err(Problem::not_found("form of an archive")
            .next(format!(
                "Ask for {}/-/archive/main.tar.gz, .zip or .tar.",
                base(scope)
            ))
            .into());
    };
    let wanted = name.to_owned();
    let found = forge
        .repositories()
        .read(scope.id, move |repo| {
            let found = read::resolve(repo, &wanted)?;
            if let Some(found) = &found
                && !read::has_at_most(repo, found.id, FILES)?
            {
                return Err(Problem::invalid(
                    "too_many_files",
                    format!("The commit has more than {FILES} files, so no archive is made of it."),
                )
                .why("git holds the names of all of them while it makes one.")
                .next("Clone the project instead; `git clone --filter=blob:none --sparse` takes only what you need.")
                .into());
            }
            Ok(found)
        })
        .await?;
    let Found { id, .. } = found.ok_or_else(|| Problem::not_found("branch, tag or commit"))?;
    // One folder inside, so that unpacking scatters nothing.
    let plain: String = name
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                c
            } else {
                '-'
            }
        })
        .collect();
    let folder = format!("{}-{}", scope.name, plain.trim_start_matches('.'));
    let mut command = forge.git().within(&forge.repositories().path(scope.id));
    command.args([
        "archive",
        &format!("--format={form}"),
        &format!("--prefix={folder}/"),
        &id.to_string(),
    ]);
    let body = forge.stream(command).await?;
    let mut response: Response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    let disposition = format!(
        "attachment; filename*=UTF-8''{}",
        url_encode(&shown(format!("{folder}{end}").as_bytes()))
    );
    if let Ok(value) = HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

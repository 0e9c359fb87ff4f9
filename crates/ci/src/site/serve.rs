//! Serving a site's files to visitors.

use super::store::Site;
use crate::Ci;
use axum::{
    body::Body,
    extract::{Path, State},
    response::{IntoResponse as _, Redirect, Response},
};
use bascule_core::{JobId, Problem, Result};
use bascule_web::{Answer, InProject, PathOf, url_path};
use futures::StreamExt as _;
use http::{HeaderValue, StatusCode, header};
use tokio_stream::wrappers::ReceiverStream;

/// The address that stays: lets whoever may see the project in, and leads to the site.
pub(super) async fn enter(State(ci): State<Ci>, project: InProject) -> Answer {
    lead(&ci, &project, "").await
}

pub(super) async fn enter_at(
    State(ci): State<Ci>,
    project: InProject,
    PathOf((_, _, place)): PathOf<(String, String, String)>,
) -> Answer {
    lead(&ci, &project, &place).await
}

async fn lead(ci: &Ci, project: &InProject, place: &str) -> Answer {
    if ci.sites(project.id).await?.is_empty() {
        return Err(Problem::not_found("site")
            .why("No job with `pages` has succeeded here, or its site was removed or has expired.")
            .next("Give a job `pages: true` and a folder `public`, and let it run.")
            .into());
    }
    let to = format!("/-/site/{}/{}", ci.visit(project.id)?, url_path(place));
    Ok(Redirect::temporary(&to).into_response())
}

pub(super) async fn top(State(ci): State<Ci>, Path(token): Path<String>) -> Answer {
    let to = format!("/-/site/{token}/");
    match ci.visited(&token) {
        Some(_) => Ok(Redirect::temporary(&to).into_response()),
        None => Err(Problem::not_found("address").into()),
    }
}

pub(super) async fn index(state: State<Ci>, Path(token): Path<String>) -> Answer {
    visit(&state.0, &token, "").await
}

pub(super) async fn file(state: State<Ci>, Path((token, place)): Path<(String, String)>) -> Answer {
    visit(&state.0, &token, &place).await
}

async fn visit(ci: &Ci, token: &str, place: &str) -> Answer {
    let Some((project, holds)) = ci.visited(token) else {
        return Err(Problem::not_found("address").into());
    };
    if !holds {
        // Asked again who they are, they come back.
        let Some(info) = ci.code.project(project).await? else {
            return Err(Problem::not_found("site").into());
        };
        let to = format!("/{}/-/pages/{}", info.path(), url_path(place));
        return Ok(Redirect::temporary(&to).into_response());
    }
    let sites = ci.sites(project).await?;
    let Some((site, within)) = chosen(&sites, place) else {
        return Err(Problem::not_found("site").into());
    };
    let slashed = place.is_empty() || place.ends_with('/');
    let within = within.trim_matches('/');
    let within_prefix = !site.prefix.is_empty() && within.is_empty();
    if within_prefix && !slashed {
        let to = format!("/-/site/{token}/{}/", url_path(place));
        return Ok(Redirect::temporary(&to).into_response());
    }
    for (candidate, status) in candidates(within, slashed || within_prefix) {
        match candidate {
            Candidate::File(name) => {
                if let Some(found) = given(ci, site, &name).await? {
                    return Ok(answer(found, &name, status, &policy(&ci.options.base_url, token)));
                }
            }
            Candidate::Folder(name) => {
                if exists(ci, site, &format!("{name}/index.html")).await? {
                    let to = format!("/-/site/{token}/{}/", url_path(place));
                    return Ok(Redirect::temporary(&to).into_response());
                }
            }
        }
    }
    let mut plain = (StatusCode::NOT_FOUND, "There is no such page on this site.\n").into_response();
    let headers = plain.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; sandbox"),
    );
    Ok(plain)
}

/// The site that a place is of: the one whose prefix it begins with, or the main one.
fn chosen<'s, 'p>(sites: &'s [Site], place: &'p str) -> Option<(&'s Site, &'p str)> {
    let (first, rest) = place.split_once('/').unwrap_or((place, ""));
    let prefixed = sites
        .iter()
        .find(|site| !site.prefix.is_empty() && site.prefix == first);
    match prefixed {
        Some(site) => Some((site, rest)),
        None => Some((sites.iter().find(|site| site.prefix.is_empty())?, place)),
    }
}

#[derive(Debug, PartialEq)]
enum Candidate {
    /// A file of the site.
    File(String),
    /// A folder with an index, whose address ends in a slash.
    Folder(String),
}

/// What an address may mean, best first.
fn candidates(within: &str, folder: bool) -> Vec<(Candidate, StatusCode)> {
    let mut list = Vec::new();
    if within.is_empty() {
        list.push((Candidate::File("index.html".to_owned()), StatusCode::OK));
    } else if folder {
        list.push((Candidate::File(format!("{within}/index.html")), StatusCode::OK));
    } else {
        list.push((Candidate::File(within.to_owned()), StatusCode::OK));
        list.push((Candidate::File(format!("{within}.html")), StatusCode::OK));
        list.push((Candidate::Folder(within.to_owned()), StatusCode::OK));
    }
    list.push((Candidate::File("404.html".to_owned()), StatusCode::NOT_FOUND));
    list
}

async fn given(ci: &Ci, site: &Site, name: &str) -> Result<Option<crate::job::FileGiven>> {
    let path = if site.folder.is_empty() {
        name.to_owned()
    } else {
        format!("{}/{name}", site.folder)
    };
    match ci.artifact_file(JobId(site.job_id.0), &path).await {
        Ok(found) => Ok(Some(found)),
        Err(problem) if problem.status == 404 => Ok(None),
        Err(problem) => Err(problem),
    }
}

async fn exists(ci: &Ci, site: &Site, name: &str) -> Result<bool> {
    Ok(given(ci, site, name).await?.is_some())
}

/// What a page of a site may do: run, and load what lies beside it. Without `allow-same-origin` its origin is nobody's.
fn policy(base_url: &str, token: &str) -> String {
    let own = format!("{base_url}/-/site/{token}/");
    format!(
        "sandbox allow-scripts allow-popups allow-popups-to-escape-sandbox allow-modals allow-downloads; \
         default-src {own} data: blob: 'unsafe-inline' 'unsafe-eval'; base-uri {own}; form-action 'none'; \
         frame-ancestors 'none'"
    )
}

fn answer(found: crate::job::FileGiven, name: &str, status: StatusCode, policy: &str) -> Response {
    let first = futures::stream::once(futures::future::ready(Ok(found.first)));
    let body = Body::from_stream(first.chain(ReceiverStream::new(found.rest)));
    let mut response = (status, body).into_response();
    let kind = mime_guess::from_path(name).first_or_octet_stream();
    let kind = if kind.type_() == mime_guess::mime::TEXT {
        format!("{kind}; charset=utf-8")
    } else {
        kind.to_string()
    };
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, kind.as_str()),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::CACHE_CONTROL, "private, max-age=60"),
        // A page with an origin that is nobody's reads what lies beside it as from elsewhere. The address is the proof.
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_core::{ProjectId, Timestamp};

    fn site(prefix: &str) -> Site {
        Site {
            project_id: ProjectId::new(),
            prefix: prefix.to_owned(),
            job_id: JobId(1),
            pipeline_id: 1,
            folder: "public".to_owned(),
            kept_until: None,
            expires_at: None,
            deployed_at: Timestamp::from_seconds(0),
        }
    }

    #[test]
    fn an_address_means_a_site_and_a_file_of_it() {
        let sites = [site(""), site("mr-7")];
        for (place, prefix, within) in [
            ("", "", ""),
            ("a/b.html", "", "a/b.html"),
            ("mr-7", "mr-7", ""),
            ("mr-7/a", "mr-7", "a"),
            ("mr-70/a", "", "mr-70/a"),
        ] {
            let (site, rest) = chosen(&sites, place).unwrap();
            assert_eq!((site.prefix.as_str(), rest), (prefix, within), "{place}");
        }
        assert!(chosen(&sites[1..], "other").is_none());
        assert_eq!(candidates("", true)[0].0, Candidate::File("index.html".into()));
        assert_eq!(
            candidates("docs", true)[0].0,
            Candidate::File("docs/index.html".into())
        );
        let names: Vec<Candidate> = candidates("docs", false)
            .into_iter()
            .map(|(one, _)| one)
            .collect();
        assert_eq!(
            names,
            [
                Candidate::File("docs".into()),
                Candidate::File("docs.html".into()),
                Candidate::Folder("docs".into()),
                Candidate::File("404.html".into())
            ]
        );
    }

    #[test]
    fn a_page_has_no_origin_of_ours() {
        let policy = policy("http://127.0.0.1:1", "t");
        assert!(policy.starts_with("sandbox ") && !policy.contains("allow-same-origin"));
        assert!(!policy.contains("allow-forms") && !policy.contains("allow-top-navigation"));
        assert!(policy.contains("default-src http://127.0.0.1:1/-/site/t/ "));
    }
}

use super::*;
use axum::{Router, body::Body};
use bascule_core::{Caller, GroupId, GroupScope, ProjectScope, Role};
use bascule_web::Gate;
use bascule_wire::release::{ComponentPage, InstanceKeys, ReleaseDetails, ReleasePage};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use scraper::{Html, Selector};
use serde::de::DeserializeOwned;
use tower::ServiceExt as _;

/// Lets everyone in with the role that a header names; nobody without one.
struct Door(ProjectId);

#[async_trait]
impl Gate for Door {
    async fn caller(&self, parts: &http::request::Parts) -> Result<Caller> {
        if parts.headers.contains_key("x-role") {
            Ok(Caller::system())
        } else {
            Ok(Caller::anonymous())
        }
    }

    async fn group(&self, _: &Caller, _: &str) -> Result<Option<GroupScope>> {
        Ok(None)
    }

    async fn project(&self, _: &Caller, group: &str, project: &str) -> Result<Option<ProjectScope>> {
        let role = if group == "guests" {
            Role::Guest
        } else {
            Role::Reporter
        };
        let id = if project == "other" {
            ProjectId::new()
        } else {
            self.0
        };
        Ok(Some(ProjectScope {
            id,
            group_id: GroupId::new(),
            group: group.to_owned(),
            name: project.to_owned(),
            role,
            scopes: None,
        }))
    }
}

fn app(bed: &Bed) -> Router {
    let (router, _, _) = super::super::routes(bed.releases.clone()).into_parts();
    bascule_web::finish(router, Arc::new(Door(bed.project)))
}

async fn get(bed: &Bed, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::builder().uri(path).header("x-role", "any");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    app(bed)
        .oneshot(request.body(Body::empty()).unwrap())
        .await
        .unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json<T: DeserializeOwned>(bed: &Bed, path: &str) -> T {
    let response = get(bed, path, &[]).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    serde_json::from_str(&text(response).await).unwrap()
}

async fn page(bed: &Bed, path: &str) -> Html {
    let response = get(bed, path, &[("accept", "text/html")]).await;
    assert_eq!(response.status(), StatusCode::OK, "{path}");
    Html::parse_document(&text(response).await)
}

fn texts(html: &Html, selector: &str) -> Vec<String> {
    let selector = Selector::parse(selector).unwrap();
    html.select(&selector)
        .map(|element| {
            element
                .text()
                .collect::<String>()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect()
}

const BASE: &str = "/api/v1/projects/clinic/portal/releases";

async fn released() -> Bed {
    let bed = Bed::new().await;
    let build = bed.artifact(1, "build", &[("dist/<b>app", b"0123456789")]);
    bed.ask("v1.0.0", vec![build]).await;
    bed.ask("v1.1.0", Vec::new()).await;
    bed
}

#[tokio::test]
async fn the_api_lists_and_pages_releases() {
    let bed = released().await;
    let first: ReleasePage = json(&bed, &format!("{BASE}?limit=1")).await;
    assert_eq!(first.items[0].version, "1.1.0");
    let second: ReleasePage = json(&bed, &format!("{BASE}?limit=1&before={}", first.next.unwrap())).await;
    assert_eq!((second.items[0].version.as_str(), second.next), ("1.0.0", None));
    let other: ReleasePage = json(&bed, "/api/v1/projects/clinic/other/releases").await;
    assert!(other.items.is_empty());
    assert_eq!(
        get(&bed, &format!("{BASE}/9.9.9"), &[]).await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        get(&bed, &format!("{BASE}?before=x"), &[]).await.status(),
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn parts_are_downloaded_whole_and_in_ranges() {
    let bed = released().await;
    let details: ReleaseDetails = json(&bed, &format!("{BASE}/1.0.0")).await;
    assert_eq!(
        (details.summary.tag.as_str(), details.previous.as_deref()),
        ("v1.0.0", None)
    );
    let file = details.parts.iter().find(|part| part.kind == "file").unwrap();
    let path = format!("{BASE}/1.0.0/parts/{}", file.digest);
    let whole = get(&bed, &path, &[]).await;
    assert_eq!(whole.headers()[header::CONTENT_LENGTH], "10");
    assert!(
        whole.headers()[header::CONTENT_DISPOSITION]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    let etag = whole.headers()[header::ETAG].to_str().unwrap().to_owned();
    assert_eq!(text(whole).await, "0123456789");
    let part = get(&bed, &path, &[("range", "bytes=2-4")]).await;
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()[header::CONTENT_RANGE], "bytes 2-4/10");
    assert_eq!(text(part).await, "234");
    assert_eq!(
        get(&bed, &path, &[("range", "bytes=10-")]).await.status(),
        StatusCode::RANGE_NOT_SATISFIABLE
    );
    assert_eq!(
        get(&bed, &path, &[("if-none-match", &etag)]).await.status(),
        StatusCode::NOT_MODIFIED
    );

    let manifest = get(&bed, &format!("{BASE}/1.0.0/parts/{}", details.manifest), &[]).await;
    assert_eq!(text(manifest).await.len() as u64, details.manifest_size);
    // A part of another release or project is not reached through this one.
    assert_eq!(
        get(&bed, &format!("{BASE}/1.1.0/parts/{}", file.digest), &[])
            .await
            .status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        get(&bed, &format!("{BASE}/1.0.0/parts/..%2f..%2fetc"), &[])
            .await
            .status(),
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn components_are_searched_and_paged() {
    let bed = released().await;
    let path = format!("{BASE}/1.0.0/components");
    let all: ComponentPage = json(&bed, &format!("{path}?limit=1")).await;
    assert_eq!(
        (all.total, all.items[0].purl.as_str(), all.items[0].local),
        (2, "pkg:cargo/app@1.0.0", true)
    );
    let rest: ComponentPage = json(
        &bed,
        &format!("{path}?after={}", bascule_web::url_encode(&all.next.unwrap())),
    )
    .await;
    assert_eq!((rest.items[0].name.as_str(), rest.next), ("dep", None));
    let found: ComponentPage = json(&bed, &format!("{path}?search=DEP@0")).await;
    assert_eq!(
        (found.total, found.items[0].version.as_deref()),
        (1, Some("0.3.1"))
    );
    let none: ComponentPage = json(&bed, &format!("{path}?search=%25")).await;
    assert_eq!(none.total, 0, "a percent sign is no wildcard");
}

#[tokio::test]
async fn the_key_is_public_and_releases_are_not() {
    let bed = released().await;
    let anonymous = |path: &str| Request::builder().uri(path).body(Body::empty()).unwrap();
    let keys = app(&bed).oneshot(anonymous("/api/v1/keys")).await.unwrap();
    let keys: InstanceKeys = serde_json::from_str(&text(keys).await).unwrap();
    assert_eq!(keys.keys[0].id, bed.releases.key().id());
    assert!(bascule_ledger::PublicKey::from_pem(&keys.keys[0].pem).is_ok());
    for path in [BASE, "/clinic/portal/-/releases"] {
        assert_eq!(
            app(&bed).oneshot(anonymous(path)).await.unwrap().status(),
            StatusCode::UNAUTHORIZED,
            "{path}"
        );
        let guest = get(&bed, &path.replace("clinic", "guests"), &[]).await;
        assert_eq!(guest.status(), StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn the_pages_show_releases_parts_components_and_how_to_verify() {
    let bed = released().await;
    let list = page(&bed, "/clinic/portal/-/releases").await;
    assert_eq!(texts(&list, "tbody td:first-child a"), ["1.1.0", "1.0.0"]);
    let show = page(&bed, "/clinic/portal/-/releases/v1.0.0").await;
    assert!(texts(&show, "#verify pre")[0].contains("bascule release verify release --key instance.pem"));
    assert!(
        texts(&show, "#parts").concat().contains("dist/<b>app"),
        "the file's name is text, not markup"
    );
    assert_eq!(texts(&show, "#sbom tbody tr td:first-child"), ["app own", "dep"]);
    assert!(texts(&show, ".markdown strong").contains(&"New".to_owned()));
    assert!(texts(&show, ".markdown script").is_empty());
    assert!(
        texts(&show, "nav.subnav a[aria-current]")
            .concat()
            .contains("Releases")
    );

    let table = get(
        &bed,
        "/clinic/portal/-/releases/v1.0.0?search=dep",
        &[("hx-request", "true")],
    )
    .await;
    let table = text(table).await;
    assert!(table.contains("0.3.1") && !table.contains("<html") && !table.contains("id=\"sbom\""));
    let empty = Bed::new().await;
    assert!(
        texts(&page(&empty, "/clinic/portal/-/releases").await, ".empty-state")
            .concat()
            .contains("No releases yet")
    );
}

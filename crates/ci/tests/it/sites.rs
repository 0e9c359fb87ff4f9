//! Static sites that jobs make, and what keeps them apart from the forge.

use crate::harness::{FakeRunner, World};
use reqwest::{Method, redirect::Policy};
use serde_json::{Value, json};
use std::{io::Write as _, time::Duration};

const CI: &str = "pages: {script: make, rules: [{if: '$CI_COMMIT_BRANCH == \"main\"'}]}\nreview: {script: make, pages: {publish: out, path_prefix: Review/7}, rules: [{if: '$CI_COMMIT_BRANCH != \"main\"'}]}\n";

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        zip.start_file(*name, zip::write::SimpleFileOptions::default())
            .unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

async fn deploy(world: &World, runner: &FakeRunner, branch: &str, files: &[(&str, &str)]) {
    world.push(branch, &[(".gitlab-ci.yml", CI)]).await;
    let job = runner.ask().await.unwrap();
    let sent = runner.upload(&job, "archive", &archive(files)).await;
    assert_eq!(sent.status(), 201);
    runner.succeed(&job).await;
    world.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_served_apart_from_the_forge() {
    let world = World::new().await;
    let runner = world.runner().await;
    deploy(
        &world,
        &runner,
        "main",
        &[
            ("public/index.html", "<script src=app.js></script>one"),
            ("public/app.js", "1"),
            ("public/docs/index.html", "docs"),
            ("public/about.html", "about"),
            ("public/404.html", "lost"),
            ("secret.txt", "not of the site"),
        ],
    )
    .await;
    let http = reqwest::Client::builder()
        .redirect(Policy::none())
        .build()
        .unwrap();
    let get = |path: &str, who: Option<&str>| {
        let request = http.get(format!("{}{path}", world.url));
        match who {
            Some(who) => request.bearer_auth(who),
            None => request,
        }
        .send()
    };
    let to = |response: &reqwest::Response| response.headers()["location"].to_str().unwrap().to_owned();
    let nobody = get("/clinic/app/-/pages/", None).await.unwrap();
    assert!(
        !nobody
            .headers()
            .get("location")
            .is_some_and(|to| to.to_str().unwrap().contains("/-/site/"))
    );
    let entered = get("/clinic/app/-/pages/", Some("guest")).await.unwrap();
    let site = to(&entered);
    assert!(site.starts_with("/-/site/"), "{site}");
    // The visitor's browser shows no cookie and no token there: the address is the proof.
    let page = get(&site, None).await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        policy.contains("sandbox") && !policy.contains("allow-same-origin"),
        "{policy}"
    );
    assert_eq!(page.headers()["content-type"], "text/html; charset=utf-8");
    assert!(page.text().await.unwrap().ends_with("one"));
    for (path, status, text) in [
        ("app.js", 200, "1"),
        ("docs/", 200, "docs"),
        ("about", 200, "about"),
        ("nowhere", 404, "lost"),
        ("..%2fsecret.txt", 404, "lost"),
    ] {
        let found = get(&format!("{site}{path}"), None).await.unwrap();
        assert_eq!(found.status(), status, "{path}");
        assert_eq!(found.text().await.unwrap(), text, "{path}");
    }
    let folder = get(&format!("{site}docs"), None).await.unwrap();
    assert_eq!(to(&folder), format!("{site}docs/"));
    for forged in [
        "/-/site/x/",
        "/-/site/x.y/",
        &site.replace("/-/site/", "/-/site/0"),
    ] {
        assert_eq!(get(forged, None).await.unwrap().status(), 404, "{forged}");
    }
    // A site under a prefix stands beside the main one; the newest takes the place of an older.
    deploy(&world, &runner, "topic", &[("out/index.html", "review")]).await;
    let list: Value = world.get("/api/v1/projects/clinic/app/ci/pages").await;
    assert_eq!(
        (&list[0]["prefix"], &list[1]["prefix"]),
        (&json!(""), &json!("review-7"))
    );
    let prefixed = get(&format!("{site}review-7/"), None).await.unwrap();
    assert_eq!(prefixed.text().await.unwrap(), "review");
    deploy(&world, &runner, "main", &[("public/index.html", "two")]).await;
    assert_eq!(get(&site, None).await.unwrap().text().await.unwrap(), "two");
    let id = &world.pipeline().await["jobs"][0]["id"];
    let job = world.page(&format!("/clinic/app/-/jobs/{id}"), "reporter").await;
    assert!(job.contains("href=\"/clinic/app/-/pages/\""), "{job}");
    // An hour later the visitor is asked again who they are; a day later the prefixed site is gone, the main one not.
    world.clock.advance(Duration::from_secs(3601));
    let again = get(&format!("{site}about"), None).await.unwrap();
    assert_eq!(to(&again), "/clinic/app/-/pages/about");
    world.clock.advance(Duration::from_secs(2 * 86_400));
    let list: Value = world.get("/api/v1/projects/clinic/app/ci/pages").await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    let entered = get("/clinic/app/-/pages/", Some("guest")).await.unwrap();
    assert_eq!(
        get(&to(&entered), None).await.unwrap().text().await.unwrap(),
        "two"
    );
    let removed = world
        .request(Method::DELETE, "/api/v1/projects/clinic/app/ci/pages", "admin")
        .send()
        .await
        .unwrap();
    assert_eq!(removed.status(), 204);
    assert_eq!(
        get("/clinic/app/-/pages/", Some("guest")).await.unwrap().status(),
        404
    );
    assert_eq!(world.facts("site.changed").await.len(), 4);
}

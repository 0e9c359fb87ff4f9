//! Looking into what jobs left.

use crate::harness::{FakeRunner, Taken, World};
use reqwest::{Method, Response};
use serde_json::json;
use std::io::{Cursor, Write as _};

fn zip(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options: zip::write::SimpleFileOptions = zip::write::FileOptions::default();
    for (name, bytes) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

async fn left(world: &World, runner: &FakeRunner, branch: &str, ci: &str, archive: &[u8]) -> Taken {
    world.push(branch, &[(".gitlab-ci.yml", ci)]).await;
    let job = runner.ask().await.unwrap();
    assert_eq!(runner.upload(&job, "archive", archive).await.status(), 201);
    runner.succeed(&job).await;
    job
}

const CI: &str = "build: {script: x, artifacts: {paths: [out/]}}\n";

async fn get(world: &World, path: &str, who: &str) -> Response {
    world.request(Method::GET, path, who).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_and_files_of_an_archive_are_shown_and_nothing_is_run() {
    let world = World::new().await;
    let runner = world.runner().await;
    let big = vec![b'x'; 3 * 1024 * 1024];
    let archive = zip(&[
        ("out/report.html", b"<script>alert(1)</script>"),
        ("out/logs/a.txt", b"plain <b>text</b>\n"),
        ("out/big.bin", &big),
        ("out/dot.png", b"\x89PNG\r\n\x1a\nrest"),
        ("../../etc/passwd", b"root"),
        ("/abs", b"x"),
    ]);
    let job = left(&world, &runner, "main", CI, &archive).await;
    let base = format!("/clinic/app/-/jobs/{}/artifacts", job.id);
    let page = world.page(&format!("{base}/browse"), "reporter").await;
    assert!(page.contains("/browse/out\"") && !page.contains("passwd"));
    assert!(page.contains("2 more are not listed"));
    let page = world.page(&format!("{base}/browse/out"), "reporter").await;
    assert!(page.contains("report.html") && page.contains("3.0 MiB") && page.contains("/browse/out/logs"));
    let text = world
        .page(&format!("{base}/file/out/logs/a.txt"), "reporter")
        .await;
    assert!(text.contains("plain &#60;b&#62;text&#60;/b&#62;"));
    let html = get(&world, &format!("{base}/raw/out/report.html"), "reporter").await;
    assert_eq!(html.headers()["content-type"], "application/octet-stream");
    assert_eq!(
        html.headers()["content-security-policy"],
        "default-src 'none'; sandbox"
    );
    assert!(
        html.headers()["content-disposition"]
            .to_str()
            .unwrap()
            .starts_with("attachment")
    );
    let picture = get(&world, &format!("{base}/raw/out/dot.png"), "reporter").await;
    assert_eq!(picture.headers()["content-type"], "image/png");
    let whole = get(&world, &format!("{base}/raw/out/big.bin"), "reporter").await;
    assert_eq!(whole.bytes().await.unwrap().len(), big.len());
    for gone in ["raw/../../etc/passwd", "raw/out", "raw/none", "browse/none"] {
        assert_eq!(
            get(&world, &format!("{base}/{gone}"), "reporter").await.status(),
            404,
            "{gone}"
        );
    }
    let api = format!(
        "/api/v1/projects/clinic/app/jobs/{}/artifacts/files?path=out",
        job.id
    );
    let found = world.get(&api).await;
    assert_eq!(
        found["files"][0],
        json!({"path": "out/logs", "size": null}),
        "folders first"
    );
    assert_eq!(found["files"].as_array().unwrap().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_archive_or_expands_is_refused_or_bounded() {
    let world = World::new().await;
    let runner = world.runner().await;
    let job = left(&world, &runner, "main", CI, b"PK\x03\x04 no archive").await;
    let refused = get(
        &world,
        &format!("/clinic/app/-/jobs/{}/artifacts/browse", job.id),
        "reporter",
    )
    .await;
    assert_eq!(refused.status(), 422);
    // A directory that claims to hold more than is looked at.
    let many: Vec<(String, &[u8])> = (0..100_001).map(|n| (format!("{n}"), &b""[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(name, bytes)| (name.as_str(), *bytes)).collect();
    let job = left(&world, &runner, "two", CI, &zip(&many)).await;
    let refused = get(
        &world,
        &format!("/api/v1/projects/clinic/app/jobs/{}/artifacts/files", job.id),
        "reporter",
    )
    .await;
    assert_eq!(refused.status(), 422);
    assert!(refused.text().await.unwrap().contains("100000"));
    // A thousandfold expansion comes as a stream; whoever stops reading stops it.
    let bomb = zip(&[("zeros", &vec![0; 64 * 1024 * 1024])]);
    assert!(bomb.len() < 100_000);
    let job = left(&world, &runner, "three", CI, &bomb).await;
    let mut stream = get(
        &world,
        &format!("/clinic/app/-/jobs/{}/artifacts/raw/zeros", job.id),
        "reporter",
    )
    .await;
    assert!(stream.chunk().await.unwrap().is_some());
    drop(stream);
    let page = world
        .page(
            &format!("/clinic/app/-/jobs/{}/artifacts/file/zeros", job.id),
            "reporter",
        )
        .await;
    assert!(page.contains("larger than is shown"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_of_a_branch_has_an_address_that_stays() {
    let world = World::new().await;
    let runner = world.runner().await;
    left(&world, &runner, "feature/x", CI, &zip(&[("v", b"1")])).await;
    left(&world, &runner, "feature/x", CI, &zip(&[("v", b"2")])).await;
    let path = "/clinic/app/-/jobs/artifacts/feature/x/raw/v?job=build";
    assert_eq!(get(&world, path, "reporter").await.text().await.unwrap(), "2");
    let download = get(
        &world,
        "/clinic/app/-/jobs/artifacts/feature/x/download?job=build",
        "reporter",
    )
    .await;
    assert_eq!(download.headers()["content-type"], "application/zip");
    let none = get(
        &world,
        "/clinic/app/-/jobs/artifacts/main/download?job=build",
        "reporter",
    )
    .await;
    assert_eq!(none.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_are_kept_erased_and_closed_as_the_file_says() {
    let world = World::new().await;
    let runner = world.runner().await;
    let archive = zip(&[("v", b"1")]);
    let job = left(&world, &runner, "main", CI, &archive).await;
    let api = |verb: &str| format!("/api/v1/projects/clinic/app/jobs/{}/{verb}", job.id);
    assert_eq!(
        world
            .post(&api("artifacts/keep"), "reporter", json!({}))
            .await
            .status(),
        403
    );
    let kept = world.post(&api("artifacts/keep"), "developer", json!({})).await;
    assert_eq!(
        kept.json::<serde_json::Value>().await.unwrap()["artifacts"][0]["expires_at"],
        json!(null)
    );
    world
        .clock
        .advance(std::time::Duration::from_secs(40 * 24 * 3600));
    assert_eq!(
        get(&world, &api("artifacts/files"), "reporter").await.status(),
        200,
        "kept beyond a day"
    );
    let refused = world.post(&api("erase"), "developer", json!({})).await;
    assert_eq!(refused.status(), 403, "main is protected");
    assert!(refused.text().await.unwrap().contains("what happened"));
    assert_eq!(world.post(&api("erase"), "admin", json!({})).await.status(), 200);
    assert_eq!(
        get(&world, &api("artifacts/files"), "reporter").await.status(),
        404
    );
    assert_eq!(world.facts("job.erased").await.len(), 1);
    let closed = "build: {script: x, artifacts: {paths: [out/], access: developer}}\n";
    let job = left(&world, &runner, "main", closed, &archive).await;
    let path = format!("/clinic/app/-/jobs/{}/artifacts", job.id);
    for page in ["browse", "download", "raw/v"] {
        let place = format!("{path}/{page}");
        assert_eq!(get(&world, &place, "reporter").await.status(), 403, "{page}");
        assert_eq!(get(&world, &place, "developer").await.status(), 200, "{page}");
    }
}

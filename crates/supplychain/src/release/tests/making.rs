use super::*;
use crate::{
    bundle::{self, Memory, PROVENANCE_PART},
    release::archive::{self, Budget, ExtractError},
};
use bascule_ledger::facts::supplychain::{ReleasePublished, ReleaseRefused};
use zip::write::SimpleFileOptions;

/// All of a release as the command line downloads it.
async fn download(bed: &Bed, release: &Release) -> Memory {
    let mut memory = Memory {
        manifest: bed.bytes(&release.manifest).await,
        key: Some(bed.releases.key().to_pem().into_bytes()),
        ..Memory::default()
    };
    for part in bed.releases.parts(release.id).await.unwrap() {
        memory.parts.insert(part.name, bed.bytes(&part.digest).await);
    }
    memory
}

async fn refusal(bed: &Bed) -> ReleaseRefused {
    assert!(bed.facts("release.published").await.is_empty());
    let facts = bed.facts("release.refused").await;
    assert_eq!(facts.len(), 1);
    facts[0].fact().unwrap()
}

#[tokio::test]
async fn a_request_becomes_a_release_that_verifies_offline() {
    let bed = Bed::new().await;
    let build = bed.artifact(
        1,
        "build",
        &[("dist/app.tar.gz", b"program"), ("dist/notes.txt", b"hello")],
    );
    bed.ask("v1.0.0", vec![build]).await;

    let published: ReleasePublished = bed.facts("release.published").await[0].fact().unwrap();
    assert_eq!(
        (
            published.version.as_str(),
            published.components,
            published.commit_count
        ),
        ("1.0.0", 2, 1)
    );
    assert_eq!(bed.facts("release.published").await[0].actor.name, "release");
    let release = bed.release("1.0.0").await;
    assert_eq!(release.id, published.release);
    assert_eq!(
        bed.releases.release(release.id).await.unwrap(),
        Some(release.clone())
    );
    assert_eq!(bed.release("v1.0.0").await, release);

    let names: Vec<String> = bed
        .releases
        .parts(release.id)
        .await
        .unwrap()
        .into_iter()
        .map(|part| part.name)
        .collect();
    assert_eq!(
        names,
        [
            "archives/build/artifacts.zip",
            "files/build/dist/app.tar.gz",
            "files/build/dist/notes.txt",
            "provenance.dsse.json",
            "sbom.cdx.json",
            "sbom.spdx.json"
        ]
    );
    let app = bed
        .releases
        .file(release.id, "dist/app.tar.gz")
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bed.bytes(&app.digest).await, b"program");
    assert_eq!(bed.releases.part(release.id, &app.name).await.unwrap(), Some(app));

    let whole = download(&bed, &release).await;
    let report = bundle::verify(&whole, Some(&bed.releases.key()));
    assert!(report.passed(), "{:?}", report.failures().collect::<Vec<_>>());
    let provenance = String::from_utf8(whole.parts[PROVENANCE_PART].clone()).unwrap();
    let envelope = crate::attestation::dsse::Envelope::from_json(provenance.as_bytes()).unwrap();
    let statement = crate::attestation::Statement::verify(&envelope, &bed.releases.key()).unwrap();
    let definition = &statement.predicate.build_definition;
    assert_eq!(
        definition.resolved_dependencies[0].uri,
        "git+http://bascule.test/clinic/portal.git@refs/tags/v1.0.0"
    );
    assert_eq!(statement.subject.len(), 3);
}

#[tokio::test]
async fn a_request_told_twice_makes_one_release() {
    let bed = Bed::new().await;
    let request = bed.request("1.0.0", Vec::new());
    bed.append(&request).await;
    let entry = bed.facts("release.requested").await.remove(0);
    for _ in 0..3 {
        bed.releases
            .answer(entry.id, &entry.actor, &request)
            .await
            .unwrap();
    }
    assert_eq!(bed.facts("release.published").await.len(), 1);
    assert!(bed.facts("release.refused").await.is_empty());

    let wrong = bed.request("latest", Vec::new());
    bed.append(&wrong).await;
    let entry = bed.facts("release.requested").await.remove(1);
    for _ in 0..3 {
        bed.releases.answer(entry.id, &entry.actor, &wrong).await.unwrap();
    }
    assert_eq!(bed.facts("release.refused").await.len(), 1);
}

#[tokio::test]
async fn a_tag_or_version_is_released_once_also_when_two_ask_at_once() {
    let bed = Bed::new().await;
    bed.append(&bed.request("1.0.0", Vec::new())).await;
    bed.append(&bed.request("v1.0.0", Vec::new())).await;
    let entries = bed.facts("release.requested").await;
    let tasks: Vec<_> = entries
        .into_iter()
        .map(|entry| {
            let releases = bed.releases.clone();
            tokio::spawn(async move {
                let request = entry.fact().unwrap();
                releases.answer(entry.id, &entry.actor, &request).await.unwrap();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(bed.facts("release.published").await.len(), 1);
    let refused: ReleaseRefused = bed.facts("release.refused").await[0].fact().unwrap();
    assert_eq!(refused.rule, "exists");
    assert!(refused.reason.contains("Tag a new version"), "{}", refused.reason);
}

#[tokio::test]
async fn a_tag_that_is_no_version_is_refused() {
    let bed = Bed::new().await;
    bed.ask("latest", Vec::new()).await;
    let refused = refusal(&bed).await;
    assert_eq!(refused.rule, "not_a_version");
    assert!(refused.reason.contains("1.4.0"), "{}", refused.reason);
}

#[tokio::test]
async fn only_the_commit_that_its_tag_stands_at_is_released() {
    let bed = Bed::new().await;
    bed.world
        .tags
        .lock()
        .unwrap()
        .insert("v9.0.0".to_owned(), "f".repeat(40));
    bed.ask("v9.0.0", Vec::new()).await;
    let refused = refusal(&bed).await;
    assert_eq!(refused.rule, "not_the_tag");
    assert!(refused.reason.contains(SHA), "{}", refused.reason);

    let gone = Bed::new().await;
    let request = gone.request("v9.0.0", Vec::new());
    gone.append(&request).await;
    gone.world.tags.lock().unwrap().clear();
    gone.settle().await.unwrap();
    assert!(refusal(&gone).await.reason.contains("no such tag"));
}

#[tokio::test]
async fn a_wrong_lockfile_is_refused_with_file_and_line() {
    let bed = Bed::new().await;
    bed.world
        .files
        .lock()
        .unwrap()
        .insert("api/go.sum".to_owned(), b"\nwrong\n".to_vec());
    bed.ask("1.0.0", Vec::new()).await;
    let refused = refusal(&bed).await;
    assert_eq!(refused.rule, "bad_lockfile");
    assert!(refused.reason.starts_with("api/go.sum:2: "), "{}", refused.reason);
}

#[tokio::test]
async fn artifacts_that_are_gone_changed_or_broken_are_refused() {
    let gone = Bed::new().await;
    let reference = gone.artifact(1, "build", &[]);
    gone.world.archives.lock().unwrap().clear();
    gone.ask("1.0.0", vec![reference]).await;
    assert_eq!(refusal(&gone).await.rule, "no_artifacts");

    let changed = Bed::new().await;
    let reference = changed.artifact(1, "build", &[("a", b"one")]);
    changed.artifact(1, "build", &[("a", b"two")]);
    changed.ask("1.0.0", vec![reference]).await;
    assert_eq!(refusal(&changed).await.rule, "artifact_changed");

    let broken = Bed::new().await;
    let mut reference = broken.artifact(1, "build", &[("a", b"one")]);
    {
        let mut archives = broken.world.archives.lock().unwrap();
        let bytes = archives.get_mut(&1).unwrap();
        bytes.truncate(bytes.len() - 5);
        reference.digest = Digest::of(bytes);
    }
    broken.ask("1.0.0", vec![reference]).await;
    assert_eq!(refusal(&broken).await.rule, "bad_artifact");
}

#[tokio::test]
async fn what_fails_is_tried_again_and_leaves_no_fact() {
    let bed = Bed::new().await;
    *bed.world.failing.lock().unwrap() = true;
    bed.append(&bed.request("1.0.0", Vec::new())).await;
    assert!(bed.settle().await.is_err());
    assert_eq!(bed.facts("release.*").await.len(), 1, "the request alone");
    *bed.world.failing.lock().unwrap() = false;
    bed.settle().await.unwrap();
    assert_eq!(bed.facts("release.published").await.len(), 1);
}

#[tokio::test]
async fn what_fails_for_ever_stands_in_nobodys_way() {
    let bed = Bed::new().await;
    *bed.world.failing.lock().unwrap() = true;
    bed.append(&bed.request("1.0.0", Vec::new())).await;
    for _ in 1..crate::release::making::ATTEMPTS {
        assert!(bed.settle().await.is_err());
    }
    bed.settle().await.unwrap();
    assert_eq!(refusal(&bed).await.rule, "failed");
}

#[tokio::test]
async fn commits_are_counted_since_the_release_before_by_version() {
    let bed = Bed::new().await;
    for (tag, sha) in [
        ("1.9.0", "a9"),
        ("1.10.0", "a10"),
        ("1.9.1", "a91"),
        ("2.0.0", "b2"),
    ] {
        bed.append(&ReleaseRequested {
            sha: sha.to_owned(),
            ..bed.request(tag, Vec::new())
        })
        .await;
    }
    bed.settle().await.unwrap();
    let asked = bed.world.asked_between.lock().unwrap().clone();
    let asked: Vec<(Option<&str>, &str)> = asked
        .iter()
        .map(|(old, new)| (old.as_deref(), new.as_str()))
        .collect();
    assert_eq!(
        asked,
        [
            (None, "a9"),
            (Some("a9"), "a10"),
            (Some("a9"), "a91"),
            (Some("a10"), "b2")
        ]
    );
    assert_eq!(bed.release("2.0.0").await.previous.as_deref(), Some("1.10.0"));
    let newest: Vec<String> = bed
        .releases
        .list(bed.project, None, 2)
        .await
        .unwrap()
        .into_iter()
        .map(|release| release.tag)
        .collect();
    assert_eq!(newest, ["2.0.0", "1.9.1"]);
}

#[tokio::test]
async fn one_path_of_two_jobs_is_told_apart_only_when_the_files_differ() {
    let bed = Bed::new().await;
    let one = bed.artifact(1, "build", &[("app", b"same"), ("report", b"1")]);
    let two = bed.artifact(2, "test: [x]", &[("app", b"same"), ("report", b"2")]);
    bed.ask("1.0.0", vec![one, two]).await;
    let release = bed.release("1.0.0").await;
    assert!(bed.releases.file(release.id, "./app").await.unwrap().is_some());
    let ambiguous = bed.releases.file(release.id, "report").await.unwrap_err();
    assert_eq!(ambiguous.code, "ambiguous_file");
    assert_eq!(bed.releases.file(release.id, "nothing").await.unwrap(), None);
    let part = bed
        .releases
        .part(release.id, "files/test---x-/report")
        .await
        .unwrap();
    assert_eq!(part.and_then(|part| part.job).as_deref(), Some("test: [x]"));
}

#[tokio::test]
async fn hostile_archives_give_up_plain_files_only() {
    let bed = Bed::new().await;
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let plain = SimpleFileOptions::default();
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "a\\..\\b",
        "good/file",
        "good",
        "./good/file",
        "x:y",
    ] {
        zip.start_file(name, plain).unwrap();
        zip.write_all(name.as_bytes()).unwrap();
    }
    zip.add_symlink("link", "/etc/passwd", plain).unwrap();
    zip.add_directory("folder", plain).unwrap();
    let stored = bed
        .blobs
        .put_bytes(zip.finish().unwrap().into_inner())
        .await
        .unwrap();
    let budget = Budget {
        files: 10,
        bytes: 1000,
    };
    let outcome = archive::extract(&bed.blobs, &stored, budget).await.unwrap();
    let paths: Vec<&str> = outcome.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["good/file"]);
    assert_eq!(outcome.notes.len(), 2, "{:?}", outcome.notes);
}

#[tokio::test]
async fn archives_that_unpack_to_too_much_stop_at_the_limit() {
    let bed = Bed::new().await;
    let zeros = vec![0; 1_000_000];
    let stored = bed
        .blobs
        .put_bytes(zip_of(&[("small", b"x"), ("bomb", &zeros), ("after", b"y")]))
        .await
        .unwrap();
    assert!(stored.size < 10_000, "the bomb is small when packed");
    let outcome = archive::extract(
        &bed.blobs,
        &stored,
        Budget {
            files: 10,
            bytes: 1000,
        },
    )
    .await
    .unwrap();
    assert_eq!(outcome.files.len(), 1);
    assert!(outcome.notes[0].contains("`bomb`"), "{:?}", outcome.notes);
    let outcome = archive::extract(
        &bed.blobs,
        &stored,
        Budget {
            files: 2,
            bytes: 10_000_000,
        },
    )
    .await
    .unwrap();
    assert_eq!((outcome.files.len(), outcome.notes.len()), (2, 1));

    let text = bed.blobs.put_bytes(&b"no archive at all"[..]).await.unwrap();
    assert!(
        archive::extract(&bed.blobs, &text, Budget { files: 1, bytes: 1 })
            .await
            .unwrap()
            .files
            .is_empty()
    );
    let empty = bed.blobs.put_bytes(zip_of(&[])).await.unwrap();
    assert!(
        archive::extract(&bed.blobs, &empty, Budget { files: 1, bytes: 1 })
            .await
            .unwrap()
            .files
            .is_empty()
    );
    let torn = bed.blobs.put_bytes(&b"PK\x03\x04torn"[..]).await.unwrap();
    let torn = archive::extract(&bed.blobs, &torn, Budget { files: 1, bytes: 1 }).await;
    assert!(matches!(torn, Err(ExtractError::Broken(_))), "{torn:?}");
}

#[tokio::test]
async fn a_tree_without_lockfiles_still_makes_a_release() {
    let bed = Bed::new().await;
    bed.world.files.lock().unwrap().clear();
    bed.ask("1.0.0-rc.1+build.5", Vec::new()).await;
    let release = bed.release("1.0.0-rc.1+build.5").await;
    assert_eq!((release.components, release.lockfiles.len()), (0, 0));
    assert_eq!(release.notes, ["the pipeline's jobs kept no artifacts"]);
    assert!(bundle::verify(&download(&bed, &release).await, Some(&bed.releases.key())).passed());
}

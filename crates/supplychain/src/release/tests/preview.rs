use super::*;
use crate::bundle;

/// A build for a preview is as whole as a release, and in no list of releases.
#[tokio::test]
async fn a_build_for_a_preview_is_kept_apart_and_forgotten() {
    let bed = Bed::new().await;
    let artifacts = vec![bed.artifact(1, "build", &[("app.tar.gz", b"program")])];
    let request = bed.request("0.0.0-review.7.g01234567", artifacts);
    let wanted = Candidate { iid: 7, request };
    let build = bed.releases.build_for_preview(&wanted).await.unwrap();
    let again = bed.releases.build_for_preview(&wanted).await.unwrap();
    assert_eq!(build, again, "asked for twice, it is the same");

    let file = bed.releases.file(build.id, "app.tar.gz").await.unwrap().unwrap();
    assert_eq!(bed.bytes(&file.digest).await, b"program");
    let manifest = String::from_utf8(bed.bytes(&build.manifest).await).unwrap();
    let envelope = crate::attestation::dsse::Envelope::from_json(manifest.as_bytes()).unwrap();
    let payload = envelope
        .verify(bundle::PAYLOAD_TYPE, &bed.releases.key())
        .expect("signed by this instance");
    let payload = String::from_utf8(payload).unwrap();
    assert!(
        payload.contains("sbom.cdx.json") && payload.contains("provenance.dsse.json"),
        "{payload}"
    );

    assert!(bed.releases.list(bed.project, None, 10).await.unwrap().is_empty());
    assert!(bed.releases.release(build.id).await.unwrap().is_none());
    assert!(
        bed.releases
            .release_by_version(bed.project, &build.version)
            .await
            .unwrap()
            .is_none()
    );
    assert!(bed.facts("release.published").await.is_empty());

    let other = Candidate {
        iid: 8,
        request: bed.request("0.0.0-review.8.g01234567", Vec::new()),
    };
    let other = bed.releases.build_for_preview(&other).await.unwrap();
    bed.releases
        .forget_preview_builds(bed.project, 7, None)
        .await
        .unwrap();
    assert!(bed.releases.file(build.id, "app.tar.gz").await.unwrap().is_none());
    assert!(bed.releases.preview_build(build.id).await.unwrap().is_none());
    assert!(
        bed.releases.preview_build(other.id).await.unwrap().is_some(),
        "another request's stays"
    );
}

#[tokio::test]
async fn what_expired_makes_no_build_and_says_so() {
    let bed = Bed::new().await;
    let gone = bed.artifact(1, "build", &[("app.tar.gz", b"program")]);
    bed.world.archives.lock().unwrap().clear();
    let request = bed.request("0.0.0-review.7.g01234567", vec![gone]);
    let refused = bed
        .releases
        .build_for_preview(&Candidate { iid: 7, request })
        .await
        .unwrap_err();
    assert_eq!(refused.code, "no_artifacts");
}

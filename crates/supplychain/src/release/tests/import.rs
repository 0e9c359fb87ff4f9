//! Releases that another instance made.

use super::*;
use crate::release::{CarriedRelease, Checked};
use bascule_ledger::{PublicKey, facts::supplychain::ReleaseImported};

async fn hub(program: &[u8]) -> Bed {
    let hub = Bed::new().await;
    let build = hub.artifact(1, "build", &[("dist/app.tar.gz", program)]);
    hub.ask("v1.0.0", vec![build]).await;
    hub
}

/// Carries the bytes of a release, and says what is said of it.
async fn carry(from: &Bed, to: &Bed) -> CarriedRelease {
    let release = from.release("1.0.0").await;
    let complete = from.releases.complete(&[release.id]).await.unwrap();
    let [(found, parts)] = complete.as_slice() else {
        panic!("{complete:?}");
    };
    assert_eq!(found, &release);
    let digests = parts.iter().map(|part| &part.digest);
    for digest in digests.chain([&release.manifest]) {
        to.blobs.put_bytes(from.bytes(digest).await).await.unwrap();
    }
    CarriedRelease::from(&release)
}

fn key(bed: &Bed) -> PublicKey {
    bed.releases.key()
}

async fn enter(site: &Bed, checked: &Checked) -> Result<bool> {
    let tx = site.db.begin().await.unwrap();
    let outcome = site
        .releases
        .enter(&tx, &Actor::system(), site.project, checked)
        .await;
    tx.commit().await.unwrap();
    outcome
}

#[tokio::test(flavor = "multi_thread")]
async fn a_carried_release_is_its_makers_and_is_entered_once() {
    let (hub, site) = (hub(b"program").await, Bed::new().await);
    let carried = carry(&hub, &site).await;
    let checked = site.releases.check(carried.clone(), &[key(&hub)]).await.unwrap();
    assert!(enter(&site, &checked).await.unwrap());
    assert!(
        !enter(&site, &checked).await.unwrap(),
        "the same again changes nothing"
    );

    let (theirs, here) = (hub.release("1.0.0").await, site.release("1.0.0").await);
    assert_eq!(
        (here.id, &here.manifest, here.components),
        (theirs.id, &theirs.manifest, 2)
    );
    assert_eq!((here.pipeline, here.job), (None, None));
    assert_eq!(here.origin.as_deref(), Some(key(&hub).id()));
    assert_eq!(
        site.releases.parts(here.id).await.unwrap(),
        hub.releases.parts(theirs.id).await.unwrap()
    );
    let (components, _) = site.releases.components(here.id, "dep", "", 10).await.unwrap();
    let (of_hub, _) = hub.releases.components(theirs.id, "dep", "", 10).await.unwrap();
    assert_eq!(components, of_hub);
    assert_eq!(site.releases.keys().await.unwrap(), [key(&site), key(&hub)]);
    let facts = site.facts("release.imported").await;
    let [fact] = facts.as_slice() else {
        panic!("{facts:?}")
    };
    let fact: ReleaseImported = fact.fact().unwrap();
    assert_eq!((fact.release, fact.origin.as_str()), (here.id, key(&hub).id()));
    let mut held = hub.releases.held().await.unwrap();
    held.retain(|digest| *digest == theirs.manifest);
    assert_eq!(held.len(), 1, "the manifest is among what is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_published_twice_with_other_bytes_is_refused() {
    let (one, other, site) = (hub(b"program").await, hub(b"another").await, Bed::new().await);
    let keys = [key(&one), key(&other)];
    let first = carry(&one, &site).await;
    let first = site.releases.check(first, &keys).await.unwrap();
    assert!(enter(&site, &first).await.unwrap());
    let second = carry(&other, &site).await;
    let second = site.releases.check(second, &keys).await.unwrap();
    assert_eq!(enter(&site, &second).await.unwrap_err().code, "release_differs");
    assert_eq!(site.release("1.0.0").await.id, one.release("1.0.0").await.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_its_maker_did_not_sign_is_refused() {
    let (hub, site) = (hub(b"program").await, Bed::new().await);
    let carried = carry(&hub, &site).await;
    let refused = async |carried: CarriedRelease, keys: &[PublicKey]| {
        let problem = site.releases.check(carried, keys).await.unwrap_err();
        assert_eq!(problem.code, "release_refused");
        problem.what
    };
    let stranger = key(&site);
    assert!(
        refused(carried.clone(), &[stranger])
            .await
            .contains("not trusted")
    );
    let keys = [key(&hub)];
    let mut renamed = carried.clone();
    renamed.version = "1.0.1".to_owned();
    assert!(refused(renamed, &keys).await.contains("another release's"));
    let mut lost = carried.clone();
    lost.manifest = Digest::of(b"nothing");
    assert!(refused(lost, &keys).await.contains("not here"));

    // A part that the disk lost, and then one that it altered.
    let release = hub.release("1.0.0").await;
    let parts = hub.releases.parts(release.id).await.unwrap();
    let file = parts.iter().find(|part| part.kind == PartKind::File).unwrap();
    site.blobs.delete(&file.digest).await.unwrap();
    assert!(refused(carried.clone(), &keys).await.contains(&file.name));
    let hex = file.digest.hex();
    let path = site._dir.path().join("blobs/sha256").join(&hex[..2]).join(hex);
    std::fs::write(path, b"prograX").unwrap();
    assert!(refused(carried, &keys).await.contains("it was changed"));
}

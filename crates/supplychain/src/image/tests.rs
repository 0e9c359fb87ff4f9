use super::*;
use bascule_core::Digest;
use proptest::prelude::*;

/// A tar archive of files and links.
fn tar_of(files: &[(&str, &[u8])], links: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, path, *bytes).unwrap();
    }
    for (path, target) in links {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, path, target).unwrap();
    }
    builder.into_inner().unwrap()
}

fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}

fn descriptor(kind: &str, bytes: &[u8]) -> serde_json::Value {
    serde_json::json!({"mediaType": kind, "digest": Digest::of(bytes).to_string(), "size": bytes.len()})
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

struct Layout {
    config: Vec<u8>,
    layer: Vec<u8>,
    manifest: Vec<u8>,
    index: Vec<u8>,
}

impl Layout {
    fn new() -> Self {
        let (config, layer) = (b"{\"os\":\"linux\"}".to_vec(), vec![7_u8; 3000]);
        let manifest = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2, "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor(LAYER, &layer)],
        }))
        .unwrap();
        let index = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2, "manifests": [descriptor(MANIFEST, &manifest)],
        }))
        .unwrap();
        Self {
            config,
            layer,
            manifest,
            index,
        }
    }

    fn archive(&self) -> Vec<u8> {
        let (config, layer, manifest) = (
            blob_path(&self.config),
            blob_path(&self.layer),
            blob_path(&self.manifest),
        );
        tar_of(
            &[
                (&layer, &self.layer),
                (&config, &self.config),
                (&manifest, &self.manifest),
                ("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}"),
                ("./index.json", &self.index),
            ],
            &[],
        )
    }
}

/// The bytes at the place where a blob is said to lie.
fn bytes<'a>(archive: &'a [u8], blob: &'a ImageBlob) -> &'a [u8] {
    match &blob.content {
        Some(content) => content.as_bytes(),
        None => &archive[blob.position as usize..(blob.position + blob.size) as usize],
    }
}

#[test]
fn every_blob_of_an_oci_archive_is_found_where_it_lies() {
    let layout = Layout::new();
    let archive = layout.archive();
    let image = read_image(&archive[..]).unwrap();
    assert_eq!(image.root, Digest::of(&layout.manifest));
    assert_eq!(image.blobs.len(), 3);
    for blob in &image.blobs {
        assert_eq!(Digest::of(bytes(&archive, blob)), blob.digest, "{blob:?}");
        assert_eq!(blob.manifest, blob.digest == image.root);
    }
    let layer = image.blobs.iter().find(|blob| blob.size == 3000).unwrap();
    assert_eq!(layer.media_type, LAYER);
}

#[test]
fn several_machines_kinds_are_one_image_by_their_index() {
    let layout = Layout::new();
    let other = b"{\"schemaVersion\":2}".to_vec();
    let mut layout = layout;
    layout.index = serde_json::to_vec(&serde_json::json!({
        "schemaVersion": 2,
        "manifests": [descriptor(MANIFEST, &layout.manifest), descriptor(MANIFEST, &other)],
    }))
    .unwrap();
    let archive = layout.archive();
    let image = read_image(&archive[..]).unwrap();
    assert_eq!(image.root, Digest::of(&layout.index));
    let root = image.blobs.iter().find(|blob| blob.digest == image.root).unwrap();
    assert_eq!(bytes(&archive, root), layout.index);
    assert_eq!(image.blobs.len(), 4, "the other kind's is not in it");
}

#[test]
fn an_archive_of_docker_gets_a_manifest_of_what_it_names() {
    let layer = vec![0_u8; 700];
    let manifest = br#"[{"Config":"c.json","RepoTags":["a:1"],"Layers":["one/layer.tar","two/layer.tar"]}]"#;
    let archive = tar_of(
        &[
            ("c.json", b"{\"os\":\"linux\"}"),
            ("one/layer.tar", &layer),
            ("manifest.json", manifest),
        ],
        &[("two/layer.tar", "../one/layer.tar")],
    );
    let image = read_image(&archive[..]).unwrap();
    let root = image.blobs.iter().find(|blob| blob.digest == image.root).unwrap();
    let made: serde_json::Value = serde_json::from_slice(bytes(&archive, root)).unwrap();
    assert_eq!(made["layers"].as_array().unwrap().len(), 2);
    assert_eq!(made["layers"][1]["digest"], Digest::of(&layer).to_string());
    for blob in &image.blobs {
        assert_eq!(Digest::of(bytes(&archive, blob)), blob.digest);
    }
}

#[test]
fn what_is_no_whole_image_is_refused_with_the_reason() {
    let refused = |archive: Vec<u8>| read_image(&archive[..]).unwrap_err();
    assert!(refused(tar_of(&[("readme", b"hi")], &[])).contains("neither index.json"));
    assert!(
        refused(b"not a tar archive, but long enough to be looked at by who reads one".repeat(20))
            .contains("tar archive")
    );
    let layout = Layout::new();
    let (config, manifest) = (blob_path(&layout.config), blob_path(&layout.manifest));
    let lacking = tar_of(
        &[
            (&config, &layout.config),
            (&manifest, &layout.manifest),
            ("index.json", &layout.index),
        ],
        &[],
    );
    assert!(refused(lacking).contains("lacks the blob"));
    let mut altered = layout.archive();
    let at = altered
        .windows(3000)
        .position(|some| some == &layout.layer[..])
        .unwrap();
    altered[at + 5] ^= 1;
    assert!(refused(altered).contains("is not what its name says"));
    let mut cut = layout.archive();
    cut.truncate(2048);
    refused(cut);
}

proptest! {
    #[test]
    fn no_archive_makes_it_panic(at in 0_usize..6000, with in any::<u8>(), cut in 0_usize..9000) {
        let mut archive = Layout::new().archive();
        if let Some(byte) = archive.get_mut(at) {
            *byte = with;
        }
        archive.truncate(cut.max(1));
        if let Ok(image) = read_image(&archive[..]) {
            for blob in &image.blobs {
                prop_assert_eq!(&Digest::of(bytes(&archive, blob)), &blob.digest);
            }
        }
    }

    #[test]
    fn no_index_makes_it_panic(index in "[\\[{][ -~]{0,200}") {
        drop(read_image(&tar_of(&[("index.json", index.as_bytes())], &[])[..]));
        drop(read_image(&tar_of(&[("manifest.json", index.as_bytes())], &[])[..]));
    }
}

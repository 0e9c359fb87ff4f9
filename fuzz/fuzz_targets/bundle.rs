//! Bundles for sites without a network: hostile archives and manifests, signed and unsigned, are refused and
//! never believed beyond what was signed.
#![no_main]

use arbitrary::Arbitrary;
use bascule_bundle::{
    EntryKind, Export, Inventory, Kind, MANIFEST_FILE, MemoryBlobs, PAYLOAD_TYPE, Signature, Trust, inspect, verify,
};
use bascule_core::{Name, Timestamp, dsse::Envelope, is_safe_path};
use bascule_ledger::InstanceKey;
use libfuzzer_sys::fuzz_target;
use std::sync::{Arc, LazyLock};

static KEY: LazyLock<InstanceKey> = LazyLock::new(InstanceKey::generate);
static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust::new([Arc::new(KEY.public()) as _]));
const NOW: Timestamp = Timestamp::from_seconds(1_720_111_500);

/// A bundle that is as it should be.
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut export =
        Export::new(Kind::Snapshot, Name::new("site-7").unwrap(), 1, NOW, Timestamp::from_seconds(2_000_000_000));
    export.document(EntryKind::Release, "clinic/portal@1.0.0", vec![b'x'; 700]).unwrap();
    let blobs = MemoryBlobs::default();
    let mut bytes = Vec::new();
    export.plan(None, &blobs, &*KEY).unwrap().write(1, &mut bytes).unwrap();
    bytes
});

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Bytes as they come.
    Raw(&'a [u8]),
    /// A manifest that the trusted key signed, and what follows it. Without this nothing behind the signature
    /// would ever be reached.
    Signed { manifest: &'a [u8], rest: &'a [u8] },
    /// A good bundle with other bytes at some place.
    Spoilt { at: usize, bytes: &'a [u8] },
    /// A site's list of blobs.
    Inventory(&'a [u8]),
}

fuzz_target!(|input: Input<'_>| {
    match input {
        Input::Raw(bytes) => assert!(read(bytes).is_none(), "an unsigned bundle was believed"),
        Input::Signed { manifest, rest } => {
            let envelope = Envelope::sign(PAYLOAD_TYPE, manifest, &*KEY).to_json();
            let mut file = header(envelope.len());
            file.extend_from_slice(&envelope);
            file.resize(file.len().next_multiple_of(512), 0);
            file.extend_from_slice(rest);
            read(&file);
        }
        Input::Spoilt { at, bytes } => {
            let mut file = GOOD.clone();
            let at = at % file.len();
            let end = (at + bytes.len()).min(file.len());
            file[at..end].copy_from_slice(&bytes[..end - at]);
            assert_eq!(read(&file).is_some(), file == *GOOD, "a changed bundle was believed");
        }
        Input::Inventory(bytes) => {
            if let Ok(inventory) = Inventory::from_reader(bytes) {
                assert_eq!(Inventory::from_reader(&inventory.to_bytes()[..]).unwrap(), inventory);
            }
        }
    }
});

/// The sequence number of what was believed.
fn read(file: &[u8]) -> Option<u64> {
    if let Ok(shown) = inspect(file, &TRUST, NOW) {
        let _ = shown.to_string();
        if verify(file, &TRUST, NOW).is_ok() {
            assert!(matches!(shown.signature, Signature::Trusted { .. }));
        }
    }
    let summary = verify(file, &TRUST, NOW).ok()?;
    assert!(summary.entries.iter().all(|entry| is_safe_path(&entry.name)));
    Some(summary.sequence)
}

/// The header of a bundle's first entry, with another size.
fn header(size: usize) -> Vec<u8> {
    let mut header = GOOD[..512].to_vec();
    assert!(header.starts_with(MANIFEST_FILE.as_bytes()));
    header[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    header
}

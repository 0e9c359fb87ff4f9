#![no_main]
//! Archives that hold images: whatever comes in, each blob that is found lies where it is said to.

use bascule_core::Digest;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(image) = bascule_supplychain::read_image(bytes) else {
        return;
    };
    for blob in image.blobs.iter().filter(|blob| blob.content.is_none()) {
        let (from, size) = (blob.position as usize, blob.size as usize);
        assert_eq!(Digest::of(&bytes[from..from + size]), blob.digest);
    }
});

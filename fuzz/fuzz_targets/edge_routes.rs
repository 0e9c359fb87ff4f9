//! Routes as the server, or a file, gives them to an edge, and counts as edges send them.
#![no_main]

use bascule_wire::edge::{EdgeConfig, Slice, latency_quantile_ms};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<EdgeConfig>(bytes);
    if let Ok(slice) = serde_json::from_slice::<Slice>(bytes) {
        let _ = latency_quantile_ms(&slice.latency, 0.99);
    }
});

//! What runners and servers of the runner protocol send each other.
#![no_main]

use bascule_wire::runner::{
    ArtifactQuery, Job, JobRequest, JobUpdate, RegisterRequest, VerifyRequest, parse_content_range,
    parse_stored_range,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = serde_json::from_slice::<RegisterRequest>(bytes);
    let _ = serde_json::from_slice::<VerifyRequest>(bytes);
    let _ = serde_json::from_slice::<JobRequest>(bytes);
    let _ = serde_json::from_slice::<JobUpdate>(bytes);
    let _ = serde_json::from_slice::<ArtifactQuery>(bytes);
    if let Ok(job) = serde_json::from_slice::<Job>(bytes) {
        let written = serde_json::to_vec(&job).expect("a job can be written");
        serde_json::from_slice::<Job>(&written).expect("and read again");
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse_content_range(text);
        let _ = parse_stored_range(text);
    }
});

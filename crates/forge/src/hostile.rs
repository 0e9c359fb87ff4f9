//! Readers of outside input, for the fuzzer alone.

/// Everything that reads text around merge requests.
pub fn merge_request(data: &[u8]) {
    crate::merge_request::hostile(data);
}

/// Everything that the workflow policy reads of a push: commits and their signatures, patches, manifests.
pub fn workflow(data: &[u8]) {
    crate::workflow::hostile(data);
}

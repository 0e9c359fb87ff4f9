//! Readers of outside input, for the fuzzer alone.

/// Everything that reads text around merge requests.
pub fn merge_request(data: &[u8]) {
    crate::merge_request::hostile(data);
}

//! `bascule.yaml`: a product that keeps its promises, or an error with a place in the file.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    match bascule_delivery::product::parse(bytes) {
        Ok(product) => {
            let steps = &product.rollout.steps;
            assert_eq!(steps.last(), Some(&100));
            assert!(steps.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(product.slo.availability > 0.0 && product.slo.availability <= 100.0);
            let _ = product.variables_in("production");
        }
        Err(error) => assert!(error.at.line >= 1 && error.at.column >= 1 && !error.what.is_empty()),
    }
});

//! `.gitlab-ci.yml`: whatever is in the file, reading and planning end soon, with a configuration or with
//! faults that name a place. A NUL byte separates the file from one that it may include.
#![no_main]

use bascule_ci::{
    config::Assembly,
    plan::{Context, plan},
    rules::Surroundings,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut files = text.split('\0');
    let Ok(mut assembly) = Assembly::new(files.next().unwrap_or_default()) else {
        return;
    };
    while let Some(path) = assembly.wanted() {
        if assembly.supply(&path, files.next()).is_err() {
            return;
        }
    }
    let Ok(config) = assembly.finish() else {
        return;
    };
    let tree = ["Cargo.toml".to_owned(), "src/main.rs".to_owned()];
    let changed = ["src/main.rs".to_owned()];
    for (reference, tag, changed) in [("main", false, Some(&changed[..])), ("v1.0.0", true, None)] {
        let context = Context {
            around: Surroundings::new(reference, tag, "push", changed, &tree),
            predefined: Vec::new(),
            over: Vec::new(),
        };
        if let Ok(plan) = plan(&config, &context) {
            assert!(plan.jobs.iter().all(|job| plan.stages.get(job.stage_index) == Some(&job.stage)));
        }
    }
});

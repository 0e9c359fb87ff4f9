//! `.gitlab-ci.yml`: whatever is in the file, reading and planning end soon, with a configuration or with
//! faults that name a place. NUL bytes separate the file from those that it may include.
#![no_main]

use bascule_ci::{
    config::{Answer, Assembly, Facts, Wanted},
    plan::{Context, plan},
    rules::Surroundings,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut files = text.split('\0');
    let facts = Facts {
        host: "host".to_owned(),
        variables: [("A".to_owned(), "a.yml".to_owned())].into(),
        open_variables: [("A".to_owned(), "$A".to_owned())].into(),
        ..Facts::default()
    };
    let Ok(mut assembly) = Assembly::with(files.next().unwrap_or_default(), facts) else {
        return;
    };
    let tree = ["Cargo.toml".to_owned(), "src/main.rs".to_owned(), "ci/a.yml".to_owned()];
    loop {
        match assembly.wanted() {
            Err(faults) => {
                assert!(!faults.0.is_empty());
                return;
            }
            Ok(None) => break,
            Ok(Some(wanted)) => {
                let answer = match &wanted {
                    Wanted::Paths(_) | Wanted::Changes(_) | Wanted::Version(_) => Answer::Paths(Some(tree.to_vec())),
                    _ => match files.next() {
                        Some(text) => Answer::Text(text.to_owned()),
                        None => Answer::missing("it"),
                    },
                };
                assembly.supply(wanted, answer);
            }
        }
    }
    let Ok(config) = assembly.finish() else {
        return;
    };
    let changed = ["src/main.rs".to_owned()];
    for (reference, tag, changed) in [("main", false, Some(&changed[..])), ("v1.0.0", true, None)] {
        let around = Surroundings::new(reference, tag, "push", changed, &tree);
        let context = Context::new(around, Vec::new(), Vec::new());
        if let Ok(plan) = plan(&config, &context) {
            assert!(plan.jobs.iter().all(|job| plan.stages.get(job.stage_index) == Some(&job.stage)));
        }
    }
});

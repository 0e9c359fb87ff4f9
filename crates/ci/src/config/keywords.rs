//! All keys of the language in one place, by where they stand: what the schema for editors must know, and what
//! the test files must show.

use super::{artifacts, cache, image, include, inputs, job, needs, outcome, secrets, steps, top, trigger};
use crate::rules;

/// The schema that editors check files with.
pub const SCHEMA: &str = include_str!("../../schema/gitlab-ci.json");

/// The keys of each kind of map. The kinds have the names of the schema's definitions.
#[must_use]
pub fn keywords() -> Vec<(&'static str, Vec<&'static str>)> {
    let idle = job::IDLE.iter().map(|(key, _)| *key);
    let lists: [(&str, &[&str]); 42] = [
        ("default", top::DEFAULT),
        ("workflow", top::WORKFLOW),
        ("auto_cancel", top::AUTO_CANCEL),
        ("variable", top::VARIABLE),
        ("rule", rules::JOB_KEYS),
        ("workflow_rule", rules::WORKFLOW_KEYS),
        ("include_rule", rules::INCLUDE_KEYS),
        ("changes_keys", rules::CHANGES),
        ("exists_keys", rules::EXISTS),
        ("refs", rules::REFS_KEYS),
        ("need", needs::NEED),
        ("need_project", needs::NEED_PROJECT),
        ("need_pipeline", needs::NEED_PIPELINE),
        ("parallel_keys", &["matrix"]),
        ("image_keys", image::IMAGE),
        ("service", image::SERVICE),
        ("user_options", &["user", "platform"]),
        ("artifacts", artifacts::KEYS),
        ("reports", artifacts::REPORTS),
        ("coverage_report", artifacts::COVERAGE),
        ("cache_one", cache::KEYS),
        ("cache_key", cache::KEY_KEYS),
        ("retry_keys", job::RETRY),
        ("environment_keys", outcome::ENVIRONMENT),
        ("kubernetes", outcome::KUBERNETES),
        ("release", outcome::RELEASE),
        ("release_link", outcome::LINK),
        ("pages_keys", outcome::PAGES),
        ("id_token", &["aud"]),
        ("secret", secrets::KEYS),
        ("hooks", job::HOOKS),
        ("inherit", job::INHERIT),
        ("include_keys", include::KEYS),
        ("child_include_keys", include::CHILD_KEYS),
        ("trigger_keys", trigger::KEYS),
        ("forward", trigger::FORWARD),
        ("input_keys", inputs::INPUT),
        ("input_rule", inputs::INPUT_RULE),
        ("job_input", inputs::JOB_INPUT),
        ("spec", inputs::SPEC),
        ("spec_include_keys", include::SPEC_KEYS),
        ("step", steps::STEP),
    ];
    let mut all: Vec<_> = lists
        .iter()
        .map(|(place, keys)| (*place, keys.to_vec()))
        .collect();
    all.push(("", top::TOP.to_vec()));
    all.push(("job", job::KEYS.iter().copied().chain(idle).collect()));
    all
}

//! A `.gitlab-ci.yml` that makes 1,000 jobs: from its text to a planned pipeline, in one thread.

use crate::{
    Result,
    planner::{ROUNDS, median, ms},
    report::{Goal, goals},
};
use bascule_ci::{
    config::{Assembly, Config},
    plan::{Context, Plan, plan},
    rules::Surroundings,
};
use bascule_wire::runner::Variable;
use std::{fmt::Write as _, time::Duration};

const JOBS: usize = 1_000;

pub fn measure() -> Result<String> {
    let (plain, extended, matrix) = (plain(), extended(), matrix());
    let mut rows = String::new();
    let mut worst = Duration::ZERO;
    for (what, text) in [
        (
            "each job written out, with a rule, needs, variables, cache and artifacts",
            &plain,
        ),
        (
            "each job extends two hidden ones and references a third",
            &extended,
        ),
        ("five jobs with a matrix of 200 each, needed by as many", &matrix),
    ] {
        let config = read(text)?;
        let made = run(&config)?.jobs.len();
        if made < JOBS {
            return Err(format!("{what}: only {made} jobs").into());
        }
        let reading = median(|| drop(read(text)));
        let planning = median(|| drop(run(&config)));
        let both = median(|| drop(read(text).and_then(|config| run(&config))));
        worst = worst.max(both);
        let _ = writeln!(
            rows,
            "| {what} | {made} | {} KiB | {} | {} | {} |",
            text.len() / 1024,
            ms(reading),
            ms(planning),
            ms(both)
        );
    }
    let mut text = format!(
        "## CI files\n\n`bench ci-parse`: files that make {JOBS} jobs, read, expanded and planned for a push to the default \
         branch with 60 predefined variables, in one thread, medians of {ROUNDS}.\n\n\
         | | Jobs | File | Read and expand | Plan | Both |\n|---|---|---|---|---|---|\n{rows}\n"
    );
    text.push_str(&goals(&[Goal {
        goal: "CI: parse and expand a file that makes 1,000 jobs under 50 ms".to_owned(),
        measured: format!("{} in the worst of three files", ms(worst)),
        met: worst < Duration::from_millis(50),
    }]));
    Ok(text)
}

fn read(text: &str) -> Result<Config> {
    let mut assembly = Assembly::new(text)?;
    if assembly.wanted()?.is_some() {
        return Err("the file includes others".into());
    }
    Ok(assembly.finish()?)
}

fn run(config: &Config) -> Result<Plan> {
    let mut predefined: Vec<Variable> = (0..55)
        .map(|i| Variable::public(format!("CI_PREDEFINED_{i}"), format!("value {i}")))
        .collect();
    for (key, value) in [
        ("CI_COMMIT_BRANCH", "main"),
        ("CI_COMMIT_REF_NAME", "main"),
        ("CI_DEFAULT_BRANCH", "main"),
        ("CI_PIPELINE_SOURCE", "push"),
        ("CI_COMMIT_REF_PROTECTED", "true"),
    ] {
        predefined.push(Variable::public(key, value));
    }
    let changed: Vec<String> = (0..50).map(|i| format!("src/part{i}/file.rs")).collect();
    let files: Vec<String> = (0..2_000)
        .map(|i| format!("src/part{}/file{i}.rs", i % 50))
        .collect();
    let around = Surroundings::new("main", false, "push", Some(&changed), &files);
    Ok(plan(config, &Context::new(around, predefined, Vec::new()))?)
}

fn plain() -> String {
    let mut text = String::from("stages: [build, test]\nvariables: {A: a, B: $A/b, C: $B/c}\n");
    for i in 0..JOBS {
        let (stage, needs) = if i < JOBS / 2 {
            ("build", String::new())
        } else {
            (
                "test",
                format!(
                    "  needs: [job{}, {{job: job{}, artifacts: false}}]\n",
                    i - JOBS / 2,
                    i - JOBS / 2 + (i + 1) % 2
                ),
            )
        };
        let _ = write!(
            text,
            "job{i}:\n  stage: {stage}\n{needs}  image: registry.example.org/image:{i}\n  tags: [linux]\n  variables: {{N: '{i}', D: $C/$N}}\n  \
             rules:\n    - if: $CI_COMMIT_TAG\n      when: never\n    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH\n      changes: [src/**/*]\n  \
             cache: {{key: deps, paths: [target/]}}\n  script:\n    - make part{i}\n    - make check\n  artifacts: {{paths: [dist/], expire_in: 1 week}}\n"
        );
    }
    text
}

fn extended() -> String {
    let mut text = String::from(
        ".base: {image: base, tags: [linux], retry: 1, cache: {key: deps, paths: [target/]}, variables: {A: a, B: b}}\n\
         .rules: {rules: [{if: '$CI_COMMIT_TAG =~ /^v\\d+/'}, {if: '$CI_COMMIT_BRANCH =~ /^(main|release-.*)$/', exists: ['src/**/*.rs']}]}\n\
         .setup: {script: [echo one, echo two]}\n",
    );
    for i in 0..JOBS {
        let _ = writeln!(
            text,
            "job{i}: {{extends: [.base, .rules], variables: {{N: '{i}'}}, script: [!reference [.setup, script], make {i}]}}"
        );
    }
    text
}

fn matrix() -> String {
    let values: Vec<String> = (0..20).map(|i| i.to_string()).collect();
    let mut text = String::new();
    for i in 0..5 {
        let _ = writeln!(
            text,
            "job{i}: {{stage: build, script: make, parallel: {{matrix: [{{A: [{}], B: [a, b, c, d, e, f, g, h, i, j]}}]}}}}",
            values.join(", ")
        );
        let _ = writeln!(text, "after{i}: {{script: make, needs: [job{i}]}}");
    }
    text
}

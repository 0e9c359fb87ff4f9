use super::*;
use crate::{config::parse, variables::resolve};

fn run(
    text: &str,
    reference: &str,
    tag: bool,
    changed: Option<&[&str]>,
    files: &[&str],
) -> Result<Plan, Faults> {
    let config = parse(text)?;
    let changed: Option<Vec<String>> = changed.map(|list| list.iter().map(|s| (*s).to_owned()).collect());
    let files: Vec<String> = files.iter().map(|s| (*s).to_owned()).collect();
    let mut variables = vec![
        Variable::public("CI_DEFAULT_BRANCH", "main"),
        Variable::public("CI_COMMIT_REF_NAME", reference),
        Variable::public("CI_PIPELINE_SOURCE", "push"),
    ];
    variables.push(Variable::public(
        if tag { "CI_COMMIT_TAG" } else { "CI_COMMIT_BRANCH" },
        reference,
    ));
    let around = Surroundings::new(reference, tag, "push", changed.as_deref(), &files);
    let context = Context::new(around, variables, Vec::new());
    plan(&config, &context)
}

fn names(text: &str, reference: &str, tag: bool) -> Vec<String> {
    run(
        text,
        reference,
        tag,
        Some(&["src/a.rs"]),
        &["Dockerfile", "src/a.rs"],
    )
    .unwrap_or_else(|faults| panic!("{faults}"))
    .jobs
    .into_iter()
    .map(|job| job.name)
    .collect()
}

/// Each file with a branch or tag and the jobs that the documentation promises, in order.
#[test]
fn jobs_of_a_ref() {
    let table: &[(&str, &str, bool, &[&str])] = &[
        (
            "a: {script: x}\nb: {stage: build, script: x}\n",
            "main",
            false,
            &["b", "a"],
        ),
        (
            "stages: [two, one]\na: {stage: one, script: x}\nb: {stage: two, script: x}\n",
            "main",
            false,
            &["b", "a"],
        ),
        (
            "a: {stage: .post, script: x}\nb: {stage: .pre, script: x}\nc: {script: x}\n",
            "main",
            false,
            &["b", "c", "a"],
        ),
        (".h: {script: x}\na: {extends: .h}\n", "main", false, &["a"]),
        (
            "a: {script: x, rules: [{if: $CI_COMMIT_TAG}]}\nb: {script: x}\n",
            "main",
            false,
            &["b"],
        ),
        (
            "a: {script: x, rules: [{if: $CI_COMMIT_TAG}]}\nb: {script: x}\n",
            "v1",
            true,
            &["a", "b"],
        ),
        (
            "a:\n  script: x\n  rules:\n    - if: $CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH\n",
            "main",
            false,
            &["a"],
        ),
        (
            "a: {script: x, rules: [{if: $CI_COMMIT_BRANCH, when: never}, {when: always}]}\nb: {script: x}\n",
            "main",
            false,
            &["b"],
        ),
        (
            "a: {script: x, rules: [{changes: ['src/**/*']}]}\nb: {script: x, rules: [{changes: [docs/*]}]}\n",
            "main",
            false,
            &["a"],
        ),
        (
            "a: {script: x, rules: [{changes: {paths: ['src/*']}}]}\n",
            "main",
            false,
            &["a"],
        ),
        (
            "a: {script: x, rules: [{exists: [Dockerfile]}]}\nb: {script: x, rules: [{exists: ['*.go']}]}\n",
            "main",
            false,
            &["a"],
        ),
        (
            "a: {script: x, only: [tags]}\nb: {script: x, except: [main]}\nc: {script: x, only: [/^ma/]}\n",
            "main",
            false,
            &["c"],
        ),
        (
            "a: {script: x, only: [tags]}\nb: {script: x}\n",
            "v1",
            true,
            &["a", "b"],
        ),
        (
            "a: {script: x, only: {variables: [$CI_COMMIT_TAG]}}\nb: {script: x}\n",
            "main",
            false,
            &["b"],
        ),
        (
            "a: {script: x, parallel: 3}\n",
            "main",
            false,
            &["a 1/3", "a 2/3", "a 3/3"],
        ),
        (
            "a: {script: x, parallel: {matrix: [{P: [x, y], Q: '1'}, {P: z}]}}\n",
            "main",
            false,
            &["a: [x, 1]", "a: [y, 1]", "a: [z]"],
        ),
        (
            "workflow: {rules: [{if: $CI_COMMIT_TAG}]}\na: {script: x}\n",
            "main",
            false,
            &[],
        ),
        (
            "variables: {GO: 'yes'}\na: {script: x, rules: [{if: '$GO == \"yes\"'}]}\n",
            "main",
            false,
            &["a"],
        ),
        (
            "variables: {GO: 'yes'}\na: {script: x, inherit: {variables: false}, rules: [{if: $GO}]}\nb: {script: x}\n",
            "main",
            false,
            &["b"],
        ),
        (
            "a: {script: x, when: never}\nb: {script: x}\n",
            "main",
            false,
            &["b"],
        ),
    ];
    for (text, reference, tag, expected) in table {
        assert_eq!(names(text, reference, *tag), *expected, "{text}");
    }
}

#[test]
fn manual_jobs_hold_up_only_where_gitlab_says() {
    let text = "a: {script: x, when: manual}\nb: {script: x, rules: [{when: manual}]}\n\
                c: {script: x, when: manual, allow_failure: false}\n\
                d: {script: x, rules: [{when: manual, allow_failure: true}]}\n";
    let plan = run(text, "main", false, None, &[]).unwrap();
    let allowed: Vec<bool> = plan
        .jobs
        .iter()
        .map(|job| job.allow_failure == AllowFailure::Yes)
        .collect();
    assert_eq!(allowed, [true, false, false, true]);
}

#[test]
fn without_a_commit_to_compare_with_every_change_counts() {
    let text = "a: {script: x, rules: [{changes: [nowhere]}]}\n";
    assert_eq!(run(text, "main", false, None, &[]).unwrap().jobs.len(), 1);
    assert!(run(text, "main", false, Some(&[]), &[]).unwrap().none.is_some());
}

#[test]
fn needs_find_parallel_jobs_and_skip_optional_ones() {
    let text = "a: {stage: build, script: x, parallel: 2}\n\
                b: {script: x, rules: [{if: $NO}]}\n\
                c: {script: x, needs: [a, {job: b, optional: true}, {job: d, artifacts: false}]}\n\
                d: {script: x, needs: []}\n";
    let plan = run(text, "main", false, None, &[]).unwrap();
    let c = plan.jobs.iter().find(|job| job.name == "c").unwrap();
    let needs: Vec<(&str, bool)> = c
        .needs
        .as_ref()
        .unwrap()
        .iter()
        .map(|need| (need.job.as_str(), need.artifacts))
        .collect();
    assert_eq!(needs, [("a 1/2", true), ("a 2/2", true), ("d", false)]);
    assert_eq!(
        plan.left_out,
        [(
            "b".to_owned(),
            "none of its rules matches: 2:24 (`$NO`) does not hold".to_owned()
        )]
    );
}

#[test]
fn what_cannot_be_planned_says_where_and_why() {
    for (text, position, part) in [
        (
            "a: {script: x, needs: [b]}\nb: {script: x, rules: [{if: $NO}]}\n",
            "1:24",
            "not in this pipeline",
        ),
        (
            "a:\n  script: x\n  needs: [biuld]\nbuild: {script: x}\n",
            "3:11",
            "did you mean `build`",
        ),
        (
            "a: {script: x, needs: [b]}\nb: {script: x, needs: [a]}\n",
            "1:24",
            "wait for each other: a → b → a",
        ),
        ("a: {script: x, needs: [a]}\n", "1:24", "wait for each other"),
        (
            "a: {stage: build, script: x, needs: [b]}\nb: {stage: test, script: x}\n",
            "1:38",
            "later stage",
        ),
        (
            "a: {script: x, dependencies: [nix]}\n",
            "1:1",
            "unknown job `nix`",
        ),
        (
            &(0..11)
                .map(|i| format!("j{i}: {{script: x, parallel: 200}}\n"))
                .collect::<String>(),
            "11:1",
            "at most 2000",
        ),
    ] {
        let fault = run(text, "main", false, None, &[]).unwrap_err().first();
        assert_eq!(fault.position(), position, "{text}: {fault}");
        assert!(fault.reason().contains(part), "{text}: {fault}");
    }
}

#[test]
fn variables_come_in_gitlabs_order_of_precedence() {
    let text = "variables: {A: global, B: global}\n\
                a:\n  script: x\n  variables: {A: job, C: job}\n  rules: [{if: '$B == \"person\"', variables: {C: rule}}]\n";
    let config = parse(text).unwrap();
    let mut context = Context::new(
        Surroundings::new("main", false, "web", None, &[]),
        vec![Variable::public("B", "predefined")],
        vec![Variable::public("B", "project")],
    );
    assert!(plan(&config, &context).unwrap().none.is_some());
    context.over.push(Variable::public("B", "person"));
    let values = resolve(&plan(&config, &context).unwrap().jobs[0].variables);
    assert_eq!(
        (&*values["A"], &*values["B"], &*values["C"]),
        ("job", "global", "rule")
    );
}

#[test]
fn a_file_cannot_say_that_its_branch_is_protected() {
    let text = "variables: {CI_COMMIT_REF_PROTECTED: 'true'}\n\
                a:\n  script: x\n  variables: {CI_COMMIT_REF_PROTECTED: 'true'}\n  cache: {key: k, paths: [x], fallback_keys: [f]}\n  rules: [{when: always, variables: {CI_COMMIT_REF_PROTECTED: 'true'}}]\n";
    let config = parse(text).unwrap();
    for (is, suffix) in [("false", "non_protected"), ("true", "protected")] {
        let context = Context::new(
            Surroundings::new("topic", false, "push", None, &[]),
            vec![Variable::public("CI_COMMIT_REF_PROTECTED", is)],
            vec![Variable::public("CI_COMMIT_REF_PROTECTED", "true")],
        );
        let cache = plan(&config, &context).unwrap().jobs[0].spec.cache[0].clone();
        assert_eq!(
            (cache.key, cache.fallback_keys),
            (format!("k-{suffix}"), vec![format!("f-{suffix}")])
        );
    }
}

#[test]
fn rules_that_compare_too_much_are_told_so() {
    use std::fmt::Write as _;
    let files: Vec<String> = (0..1_000_000).map(|number| format!("f{number}")).collect();
    let text = |patterns: usize| {
        let mut text = String::from("a:\n  script: x\n  rules:\n");
        for number in 0..patterns {
            writeln!(text, "    - {{changes: ['f{{*,{number}}}'], exists: [none]}}").unwrap();
        }
        text + "    - when: always\n"
    };
    let planned = |patterns: usize| {
        let config = parse(&text(patterns)).unwrap();
        let around = Surroundings::new("main", false, "push", Some(&files), &[]);
        plan(&config, &Context::new(around, Vec::new(), Vec::new()))
    };
    assert_eq!(planned(20).unwrap().jobs.len(), 1);
    let refused = planned(21).unwrap_err().first();
    assert!(
        refused.reason().contains("at most 20 million comparisons"),
        "{refused}"
    );
}

#[test]
fn a_matrix_makes_no_job_twice() {
    let text = "a: {script: x, parallel: {matrix: [{A: [x]}, {B: [x]}]}}\n";
    let fault = run(text, "main", false, None, &[]).unwrap_err().first();
    assert_eq!(fault.position(), "1:1");
    assert!(fault.reason().contains("makes `a: [x]` twice"), "{fault}");
}

#[test]
fn what_all_jobs_hold_together_is_bounded() {
    let long = "x".repeat(300_000);
    let jobs: String = (0..200).map(|n| format!("job-{n}: {{script: x}}\n")).collect();
    for (what, file) in [
        (
            "paths of copies",
            format!("a: {{script: x, parallel: 200, artifacts: {{paths: [{long}]}}}}\n"),
        ),
        (
            "caches of copies",
            format!("a: {{script: x, parallel: 200, cache: {{key: k, paths: [{long}]}}}}\n"),
        ),
        (
            "variables of the file",
            format!("variables: {{LONG: {long}}}\n{jobs}"),
        ),
        (
            "defaults",
            format!("default: {{artifacts: {{paths: [{long}]}}}}\n{jobs}"),
        ),
    ] {
        let faults = run(&file, "main", false, None, &[]).unwrap_err();
        let first = faults.first().to_string();
        for part in ["too much text together", "at most 32 MiB"] {
            assert!(first.contains(part), "{what}: {first}");
        }
    }
}

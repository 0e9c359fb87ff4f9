use super::*;
use bascule_wire::runner::CachePolicy;

fn ok(text: &str) -> Config {
    parse(text).unwrap_or_else(|faults| panic!("{faults}\n{text}"))
}

fn job<'a>(config: &'a Config, name: &str) -> &'a Job {
    config
        .jobs
        .iter()
        .find(|job| job.name == name)
        .unwrap_or_else(|| panic!("no job {name}"))
}

#[test]
fn a_whole_file_is_read() {
    let config = ok("\
stages: [build, test, release]
default:
  image: rust:1
  before_script: [echo hello]
  tags: [linux]
  retry: {max: 1, when: [runner_system_failure]}
variables:
  VERSION: 1.10
  MODE: {value: fast, description: how fast, expand: false}
.base: &base
  timeout: 1h 30m
  cache: {key: deps, paths: [target/], policy: pull}
build:
  <<: *base
  stage: build
  script:
    - make
    - [make check, [make more]]
  artifacts:
    paths: [dist/]
    exclude: ['dist/*.tmp']
    expire_in: 1 week
    name: out
    when: always
    reports: {junit: [junit.xml], dotenv: build.env}
test:
  extends: .base
  script: make test
  before_script: []
  allow_failure: {exit_codes: [3, 4]}
  needs: [build, {job: other, optional: true}]
  interruptible: true
  id_tokens: {T: {aud: x}}
release:
  stage: release
  script: echo
  environment: {name: production, url: 'https://$HOST'}
  release:
    tag_name: $CI_COMMIT_TAG
    description: notes
    assets: {links: [{name: a, url: 'https://a'}]}
  rules: [{if: $CI_COMMIT_TAG}]
");
    assert_eq!(config.stages, [".pre", "build", "test", "release", ".post"]);
    assert_eq!(config.variables[0].value, "1.10");
    assert!(!config.variables[1].expand);
    let build = job(&config, "build");
    assert_eq!(build.spec.script, ["make", "make check", "make more"]);
    assert_eq!(build.spec.before_script, ["echo hello"]);
    assert_eq!(build.spec.timeout, Some(5400));
    assert_eq!(build.spec.cache[0].policy, CachePolicy::Pull);
    let kinds: Vec<&str> = build
        .spec
        .artifacts
        .iter()
        .map(|a| a.artifact_type.as_str())
        .collect();
    assert_eq!(kinds, ["archive", "junit", "dotenv"]);
    let test = job(&config, "test");
    assert!(test.spec.before_script.is_empty());
    assert_eq!(test.spec.retry.max, 1);
    assert_eq!(test.allow_failure, Some(AllowFailure::ExitCodes(vec![3, 4])));
    assert_eq!(test.needs.as_ref().unwrap().len(), 2);
    let release = job(&config, "release");
    assert_eq!(release.spec.release.as_ref().unwrap().tag_name, "$CI_COMMIT_TAG");
    assert_eq!(release.spec.environment.as_ref().unwrap().name, "production");
    assert_eq!(test.spec.id_tokens["T"].aud, ["x"]);
    assert!(config.warnings.is_empty());
}

#[test]
fn extends_merges_deeply_and_lists_are_replaced() {
    let config = ok("\
.a: {variables: {X: a, Y: a}, script: [one, two]}
.b: {extends: .a, variables: {Y: b}}
c: {extends: [.b], variables: {Z: c}, script: [three]}
");
    let c = job(&config, "c");
    let values: Vec<(&str, &str)> = c
        .variables
        .iter()
        .map(|v| (v.key.as_str(), v.value.as_str()))
        .collect();
    assert_eq!(values, [("X", "a"), ("Y", "b"), ("Z", "c")]);
    assert_eq!(c.spec.script, ["three"]);
}

#[test]
fn references_bring_parts_of_other_jobs() {
    let config = ok("\
.setup: {script: [a, b], rules: [{if: $X}]}
.more: {script: [!reference [.setup, script], c]}
job:
  script: [!reference [.more, script], d]
  rules: [!reference [.setup, rules], {when: never}]
");
    assert_eq!(job(&config, "job").spec.script, ["a", "b", "c", "d"]);
    assert_eq!(job(&config, "job").rules.as_ref().unwrap().len(), 2);
}

#[test]
fn defaults_are_taken_or_declined() {
    let config = ok("\
default: {tags: [t], before_script: [b]}
a: {script: x, inherit: {default: false}}
b: {script: x, inherit: {default: [tags]}}
");
    assert!(job(&config, "a").spec.tags.is_empty());
    assert_eq!(job(&config, "b").spec.tags, ["t"]);
    assert!(job(&config, "b").spec.before_script.is_empty());
}

/// Wrong files with the place of the fault and a part of what is said about it.
#[test]
fn faults_say_where_what_and_what_is_allowed() {
    for (text, position, part) in [
        ("job:\n  scirpt: x\n", "2:3", "did you mean `script`?"),
        (
            "job:\n  script: x\n  stage: tset\n",
            "3:10",
            "did you mean `test`?",
        ),
        (
            "job:\n  script: x\n  when: sometimes\n",
            "3:9",
            "on_success, on_failure",
        ),
        (
            "job:\n  script: x\n  allow_failure: maybe\n",
            "3:18",
            "true or false",
        ),
        (
            "job:\n  script: x\n  rules:\n    - if: $A = 1\n",
            "4:14",
            "operators are",
        ),
        (
            "job:\n  script: x\n  rules:\n    - if: '$A = 1'\n",
            "4:15",
            "operators are",
        ),
        (
            "job:\n  script:\n    - echo a: b\n",
            "3:7",
            "quote the whole line",
        ),
        ("stage: [a]\njob: {script: x}\n", "1:1", "did you mean `stages`?"),
        ("job:\n  stage: test\n", "1:1", "no `script`"),
        ("varables:\n  A: b\n", "2:3", "unknown in `varables`"),
        (
            "varables:\n  stage: test\n",
            "1:1",
            "did you mean the top-level key `variables`?",
        ),
        ("job:\n  script: []\n", "2:11", "empty"),
        (
            "job:\n  extends: .bsae\n  script: x\n.base: {}\n",
            "2:12",
            "did you mean `.base`?",
        ),
        (
            "a: {extends: b, script: x}\nb: {extends: a}\n",
            "1:14",
            "extends itself",
        ),
        (
            "job:\n  script: [!reference [.x, script]]\n",
            "2:12",
            "names `.x`",
        ),
        ("a: {script: !reference [a, script]}\n", "1:13", "too many others"),
        ("job:\n  script: x\n  timeout: soon\n", "3:12", "a duration"),
        ("job:\n  script: x\n  retry: 7\n", "3:10", "from 0 to 2"),
        (
            "job:\n  script: x\n  artifacts: {paths: [../../etc]}\n",
            "3:22",
            "leaves the job's workspace",
        ),
        (
            "job:\n  script: x\n  parallel: {matrix: [{A: [1,2,3,4,5,6,7,8,9,10], B: [1,2,3,4,5,6,7,8,9,10], C: [1,2,3]}]}\n",
            "3:78",
            "at most 200",
        ),
        ("job: {script: x, trigger: other}\n", "1:7", "starts a pipeline"),
        (
            "include: {remote: 'https://x/y.yml'}\njob: {script: x}\n",
            "1:19",
            "does not exist",
        ),
        (
            "include: ../secrets.yml\njob: {script: x}\n",
            "1:10",
            "inside the project",
        ),
        (
            "variables: {A-B: 1}\njob: {script: x}\n",
            "1:13",
            "letters, digits",
        ),
        (
            "variables: {A: [1]}\njob: {script: x}\n",
            "1:16",
            "a text or number",
        ),
        (
            "job: {script: x, rules: [{if: $A}], only: [main]}\n",
            "1:43",
            "`rules` alone",
        ),
        (
            "job: {script: x, release: {tag_name: v1}}\n",
            "1:27",
            "no `description`",
        ),
        ("job: {script: x\n", "2:1", "not YAML"),
        ("", "1:1", "empty"),
        ("- a\n", "1:1", "a map of jobs"),
        (".hidden: {script: x}\n", "1:1", "no job"),
        ("a: &a [*a]\n", "1:8", "alias"),
    ] {
        let fault = parse(text).unwrap_err().first();
        assert!(fault.to_string().contains(part), "{text}\n{fault}");
        assert_eq!(fault.position(), position, "{text}\n{fault}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let faults = parse("a: {scirpt: x, script: y}\nb: {stage: nix, script: x}\nc: {script: x, when: 7}\n")
        .unwrap_err();
    assert_eq!(faults.0.len(), 3, "{faults}");
}

/// Puts a file together with others that lie beside it.
fn together(text: &str, files: &[(&str, &str)]) -> Result<Config, Faults> {
    let mut assembly = Assembly::new(text)?;
    while let Some(wanted) = assembly.wanted()? {
        let find = |path: &String| files.iter().find(|(name, _)| name == path);
        let answer = match &wanted {
            Wanted::File { paths, .. } => match paths.iter().find_map(find) {
                Some((_, text)) => Answer::Text((*text).to_owned()),
                None => Answer::missing(&paths[0]),
            },
            Wanted::Paths(_) => {
                Answer::Paths(Some(files.iter().map(|(name, _)| (*name).to_owned()).collect()))
            }
            _ => Answer::Paths(None),
        };
        assembly.supply(wanted, answer);
    }
    assembly.finish()
}

#[test]
fn included_files_are_merged_under_the_project_s_own() {
    let config = together(
        "include: [ci/a.yml, {local: /ci/b.yml}]\njob: {script: own}\n",
        &[
            (
                "ci/a.yml",
                "include: ci/b.yml\njob: {script: a, tags: [t]}\nother: {script: a}\n",
            ),
            ("ci/b.yml", "other: {script: b}\nthird: {script: b}\n"),
        ],
    )
    .unwrap();
    assert_eq!(config.files, [".gitlab-ci.yml", "ci/a.yml", "ci/b.yml"]);
    assert_eq!(job(&config, "job").spec.script, ["own"]);
    assert_eq!(job(&config, "job").spec.tags, ["t"]);
    assert_eq!(job(&config, "third").spec.script, ["b"]);
    assert_eq!(job(&config, "other").spec.script, ["b"]);
}

#[test]
fn a_fault_in_an_included_file_names_that_file() {
    let file = |text| [("a.yml", text)];
    let fault = together("include: a.yml\n", &file("\njob: {script: x, nonsense: 1}\n")).unwrap_err();
    assert_eq!(fault.first().position(), "a.yml:2:18");
    let circle = together("include: a.yml\njob: {script: x}\n", &file("include: a.yml\n")).unwrap_err();
    assert!(circle.to_string().contains("includes itself"), "{circle}");
    let missing = together("include: a.yml\njob: {script: x}\n", &[]).unwrap_err();
    assert!(missing.to_string().contains("does not exist"), "{missing}");
}

#[test]
fn files_that_include_each_other_twice_do_not_multiply() {
    let names: Vec<String> = (0..100).map(|i| format!("f{i}.yml")).collect();
    let texts: Vec<String> = (0..100)
        .map(|i| match names.get(i + 1) {
            Some(next) => format!("include: [{next}, {next}]\n"),
            None => "job: {script: x}\n".to_owned(),
        })
        .collect();
    let files: Vec<(&str, &str)> = names
        .iter()
        .map(String::as_str)
        .zip(texts.iter().map(String::as_str))
        .collect();
    let fault = together("include: f0.yml\n", &files).unwrap_err();
    assert!(fault.to_string().contains("at most 100 levels"), "{fault}");
    let config = together("include: f5.yml\n", &files).unwrap();
    assert_eq!(config.jobs.len(), 1);
}

#[test]
fn inputs_are_typed_checked_and_put_in() {
    let template = "\
spec:
  inputs:
    name: {description: what it is called, regex: '^[a-z]+$'}
    tags: {type: array, default: [linux]}
    times: {type: number, default: 2}
    gate: {type: boolean, default: false}
    level: {default: low, options: [low, high]}
---
\"$[[ inputs.name ]]-job\":
  script: [echo $[[ inputs.name | truncate(0, 3) ]] $[[ inputs.level ]]]
  tags: $[[ inputs.tags ]]
  retry: $[[ inputs.times ]]
  interruptible: $[[ inputs.gate ]]
";
    let run = |inputs: &str| {
        together(
            &format!("include: {{local: t.yml, inputs: {inputs}}}\n"),
            &[("t.yml", template)],
        )
    };
    let config = run("{name: build, tags: [a, b], gate: true}").unwrap();
    let job = job(&config, "build-job");
    assert_eq!(job.spec.script, ["echo bui low"]);
    assert_eq!(job.spec.tags, ["a", "b"]);
    assert_eq!(job.spec.retry.max, 2);
    assert!(job.spec.interruptible);
    for (inputs, part) in [
        ("{}", "`name` (what it is called) is needed"),
        ("{name: UP}", "must match"),
        ("{name: a, nmae: b}", "did you mean `name`"),
        ("{name: a, level: middle}", "one of: low, high"),
        ("{name: a, times: many}", "must be a number"),
        ("{name: a, tags: x}", "must be a list"),
    ] {
        let fault = run(inputs).unwrap_err().first();
        assert!(fault.to_string().contains(part), "{inputs}: {fault}");
        assert_eq!(fault.pos.line, 1, "{inputs}: {fault}");
    }
}

#[test]
fn extends_cannot_multiply_without_end() {
    let mut text = format!(".h: {{variables: {{A: '{}'}}}}\n", "x".repeat(400_000));
    for i in 0..400 {
        text += &format!("j{i}: {{extends: .h, script: x}}\n");
    }
    let fault = parse(&text).unwrap_err().first();
    assert!(fault.allowed.contains("bytes of text"), "{fault}");
    let many: String = (0..10_000).map(|i| format!("j{i}: {{script: x}}\n")).collect();
    assert!(parse(&many).unwrap_err().to_string().contains("at most 5000"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "\\PC{0,200}") {
        let _ = parse(&text);
    }

    #[test]
    fn no_near_valid_file_makes_the_parser_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "job:", "  script: x", "  - a", "  needs: [job]", "stages: [a]", "  <<: *a", "a: &a {script: x}",
                "  rules:", "    - if: $A == ", "!reference [a, b]", "  extends: [job, .x]", "variables:", "  A: $B",
                "include: x.yml", "  parallel: {matrix: [{A: [1]}]}", "  artifacts: {paths: [", "]}", "\t", "? x", "|",
                "  cache: [{}, []]", "- - -", "'", "\"", "  environment: {}", "  release: {}", "  image: {name: }",
            ]),
            0..20,
        )
    ) {
        let _ = parse(&parts.join("\n"));
    }
}

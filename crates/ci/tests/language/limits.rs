//! Files that try to use up time or memory are refused soon, and the refusal names the limit.

use bascule_ci::{
    config::{Answer, Assembly, Config, Wanted, parse},
    fault::Faults,
    plan::{Context, plan},
    rules::Surroundings,
};
use bascule_wire::runner::Variable;
use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

/// What a refusal may take here, where nothing is optimised; the release build takes a tenth of it.
const WITHIN: Duration = Duration::from_secs(20);

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let done = work();
    let took = begun.elapsed();
    assert!(took < WITHIN, "{what} took {took:?}");
    done
}

fn refused(what: &str, text: &str, says: &str) {
    let faults = timed(what, || parse(text)).expect_err(what);
    assert!(faults.to_string().contains(says), "{what}: {faults}");
}

fn many(count: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0..count {
        writeln!(text, "{}", line(number)).unwrap();
    }
    text
}

#[test]
fn bombs_of_aliases_and_merges() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let below = format!("*a{}, ", level - 1).repeat(10);
        writeln!(bomb, "a{level}: &a{level} [{below}]").unwrap();
    }
    refused("aliases", &bomb, "at most 200000 values");
    let mut merges = ".m0: &m0 {a: &t [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]}\n".to_owned();
    for level in 1..40 {
        let below = level - 1;
        writeln!(merges, ".m{level}: &m{level} {{x: *m{below}, y: *m{below}}}").unwrap();
    }
    refused("merged maps", &merges, "at most");
    let mut references = ".r0: {x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]}\n".to_owned();
    for level in 1..10 {
        let part = format!("!reference [.r{}, x], ", level - 1).repeat(10);
        writeln!(references, ".r{level}: {{x: [{part}]}}").unwrap();
    }
    references.push_str("job: {script: !reference [.r9, x]}\n");
    refused("references", &references, "at most");
}

#[test]
fn what_is_large_long_or_deep() {
    refused("a huge file", &"#".repeat(1024 * 1024 + 1), "at most 1048576");
    refused(
        "a huge text",
        &format!("a: {{script: \"{}\"}}", "x".repeat(1024 * 1024)),
        "at most 1048576",
    );
    let deep = format!("a: {}{}\n", "[".repeat(100_000), "]".repeat(100_000));
    refused("deep lists", &deep, "at most 64");
    let maps = format!("a: {}x{}\n", "{b: ".repeat(5_000), "}".repeat(5_000));
    refused("deep maps", &maps, "at most 64");
    let indents = many(2_000, |level| format!("{}a:", " ".repeat(level % 400)));
    timed("indents", || parse(&indents)).unwrap_err();
    refused(
        "parentheses",
        &format!("a: {{script: x, rules: [{{if: '{}$A'}}]}}\n", "(".repeat(50_000)),
        "at most",
    );
}

#[test]
fn jobs_and_matrices() {
    let jobs = many(10_000, |number| format!("j{number}: {{script: x}}"));
    refused("ten thousand jobs", &jobs, "at most 5000");
    let rows = (0..40)
        .map(|v| format!("V{v}: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"))
        .collect::<Vec<_>>();
    let matrix = format!(
        "a: {{script: x, parallel: {{matrix: [{{{}}}]}}}}\n",
        rows.join(", ")
    );
    refused("a matrix of 10^40 jobs", &matrix, "at most 200");
    let copies =
        ".p: &p {script: x, parallel: 200}\n".to_owned() + &many(400, |number| format!("j{number}: *p"));
    let config = timed("many copies", || parse(&copies)).unwrap();
    let faults = timed("planning them", || planned(&config, Vec::new(), &[])).unwrap_err();
    assert!(faults.to_string().contains("at most 2000"), "{faults}");
}

fn planned(
    config: &Config,
    given: Vec<Variable>,
    files: &[String],
) -> Result<bascule_ci::plan::Plan, Faults> {
    let around = Surroundings::new("main", false, "push", Some(files), files);
    plan(config, &Context::new(around, Vec::new(), given))
}

#[test]
fn patterns_that_blow_up() {
    refused(
        "nested repeats",
        "a: {script: x, rules: [{if: '$A =~ /((a{100}){100}){100}/'}]}\n",
        "too large",
    );
    refused(
        "coverage",
        "a: {script: x, coverage: '/(\\w{1000}){1000}/'}\n",
        "too large",
    );
    refused(
        "an input's pattern",
        "spec: {inputs: {a: {regex: '(\\w{1000}){1000}'}}}\n---\na: {script: x}\n",
        "no regular expression",
    );
    refused(
        "a pattern of paths",
        &format!(
            "a: {{script: x, rules: [{{changes: ['{}']}}]}}\n",
            "*a".repeat(2_000)
        ),
        "at most 1024",
    );
    // What other engines take for ever over is linear here.
    let config = parse("a: {script: x, rules: [{if: '$A =~ /^(a+)+$/'}]}\nb: {script: x}\n").unwrap();
    let value = Variable::public("A", format!("{}!", "a".repeat(60_000)));
    let made = timed("a pattern that backtracks elsewhere", || {
        planned(&config, vec![value], &[])
    })
    .unwrap();
    assert_eq!(made.jobs.len(), 1);
    let heavy = many(10_000, |n| {
        format!(
            "j{}: {{script: x, rules: [{{if: '$A =~ /\\w{{2}}{n}/'}}]}}",
            n % 4_999
        )
    });
    timed("thousands of large patterns", || parse(&heavy)).unwrap_err();
    let differing = many(4_000, |n| {
        format!("j{n}: {{script: x, rules: [{{if: '$A =~ /\\w{{2}}{n}/'}}]}}")
    });
    refused("thousands of large patterns", &differing, "at most 1000");
    let given = many(500, |n| {
        format!("j{n}: {{script: x, variables: {{P: '/\\w{{6}}{n}/'}}, rules: [{{if: '$A =~ $P'}}]}}")
    });
    let config = parse(&given).unwrap();
    let value = Variable::public("A", "a".repeat(100));
    timed("patterns in variables", || planned(&config, vec![value], &[])).unwrap();
}

#[test]
fn patterns_against_many_files() {
    let files: Vec<String> = (0..100_000)
        .map(|n| format!("src/deep/folder/number/{n}/file.rs"))
        .collect();
    let text = many(1_000, |n| {
        format!("j{n}: {{script: x, rules: [{{exists: ['**/*{n}/nothing*.c']}}]}}")
    });
    let config = parse(&text).unwrap();
    let faults = timed("many patterns and files", || planned(&config, Vec::new(), &files)).unwrap_err();
    assert!(faults.to_string().contains("comparisons are allowed"), "{faults}");
}

#[test]
fn variables_that_name_each_other() {
    let mut text = "variables:\n".to_owned();
    for n in 0..200 {
        writeln!(text, "  V{n}: $V{}$V{}", n + 1, n + 1).unwrap();
    }
    text.push_str("  V200: boom\na: {script: x, rules: [{if: '$V0 == \"x\"'}]}\nb: {script: x}\n");
    let config = parse(&text).unwrap();
    let made = timed("doubling variables", || planned(&config, Vec::new(), &[])).unwrap();
    assert_eq!(made.jobs.len(), 1);
}

/// Puts a file together where every file that is asked for is the same.
fn endless(text: &str, each: impl Fn(&str) -> String) -> Faults {
    let mut assembly = match Assembly::new(text) {
        Ok(assembly) => assembly,
        Err(faults) => return faults,
    };
    for asked in 0..10_000 {
        match assembly.wanted() {
            Err(faults) => return faults,
            Ok(None) => return assembly.finish().unwrap_err(),
            Ok(Some(wanted)) => {
                assert!(asked < 1_000, "no end of questions");
                let answer = match &wanted {
                    Wanted::File { paths, .. } => Answer::Text(each(&paths[0])),
                    Wanted::Paths(_) => {
                        Answer::Paths(Some((0..100_000).map(|n| format!("f/{n}.yml")).collect()))
                    }
                    _ => Answer::Paths(None),
                };
                assembly.supply(wanted, answer);
            }
        }
    }
    panic!("no end of questions");
}

#[test]
fn includes_without_end() {
    let list = format!("include:\n{}", many(20_000, |n| format!("  - f{n}.yml")));
    for (what, text, says) in [
        ("twenty thousand files", list.as_str(), "at most 150"),
        ("all of a huge folder", "include: 'f/**.yml'\n", "at most 150"),
        ("a circle", "include: a.yml\n", "includes itself"),
        (
            "files that declare inputs",
            "spec: {include: [{local: 'f/*.yml'}]}\n---\na: {script: x}\n",
            "at most 150",
        ),
    ] {
        let faults = timed(what, || {
            endless(text, |path| match path {
                "a.yml" => "include: a.yml\n".to_owned(),
                _ if what.contains("inputs") => "inputs: {}\n".to_owned(),
                _ => ".x: {}\n".to_owned(),
            })
        });
        assert!(faults.to_string().contains(says), "{what}: {faults}");
    }
    // Each file includes the next: the chain, or the number of files, ends it.
    let next = |path: &str| {
        let number: usize = path.trim_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        format!("include: f{}.yml\n", number + 1)
    };
    let faults = timed("a chain", || endless("include: f0.yml\n", next));
    assert!(faults.to_string().contains("at most"), "{faults}");
    // With inputs that grow, the same file is another one each time.
    let grows = |_: &str| {
        "spec: {inputs: {n: {default: x}}}\n---\ninclude: {local: a.yml, inputs: {n: 'x$[[ inputs.n ]]'}}\n"
            .to_owned()
    };
    let faults = timed("a circle whose inputs grow", || {
        endless("include: a.yml\n", grows)
    });
    assert!(faults.to_string().contains("at most 150"), "{faults}");
    let doubles = |_: &str| {
        "spec: {inputs: {n: {default: xxxxxxxxxx}}}\n---\ninclude: {local: a.yml, inputs: {n: '$[[ inputs.n ]]$[[ inputs.n ]]'}}\n".to_owned()
    };
    let faults = timed("inputs that double", || endless("include: a.yml\n", doubles));
    assert!(faults.to_string().contains("bytes"), "{faults}");
}

#[test]
fn a_tag_that_grows_as_its_variables_are_filled_in() {
    let mut text = "variables:\n  A0: xxxxxxxxxx\n".to_owned();
    for level in 1..10 {
        let below = level - 1;
        writeln!(text, "  A{level}: $A{below}$A{below}").unwrap();
    }
    for what in ["tags: [$A9]", "resource_group: $A9"] {
        let config = parse(&format!("{text}job: {{script: x, {what}}}\n")).unwrap();
        let faults = planned(&config, Vec::new(), &[]).unwrap_err().to_string();
        assert!(
            faults.contains("at most 255 bytes") && faults.contains("`job`"),
            "{what}: {faults}"
        );
    }
}

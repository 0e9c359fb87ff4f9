//! What a group requires, read and put beside what a project has.

use super::*;
use crate::{config, plan::Context, rules::Surroundings};
use proptest::prelude::*;

fn plan(text: &str) -> Plan {
    let config = config::parse(text).unwrap();
    let around = Surroundings::new("main", false, "push", None, &[]);
    let context = Context::new(around, Vec::new(), Vec::new());
    crate::plan::plan(&config, &context).unwrap()
}

fn entry(name: &str, gate: bool) -> Entry {
    Entry {
        name: name.into(),
        file: "a.yml".into(),
        gate,
        projects: vec![],
        except: vec![],
    }
}

fn names(placed: &PlacedPlan) -> Vec<(&str, &str)> {
    placed
        .jobs
        .iter()
        .map(|placed| (placed.job.stage.as_str(), placed.job.name.as_str()))
        .collect()
}

#[test]
fn the_list_is_read_and_its_faults_name_the_place() {
    let list = read(
        "pipelines:\n  - name: security\n    file: /security.yml\n    gate: true\n    except: ['sandbox-*']\n  - {name: licences, file: licences.yml, projects: [app]}\n",
    )
    .unwrap();
    assert_eq!(list[0].file, "security.yml");
    assert!(list[0].gate && list[0].is_for("app") && !list[0].is_for("sandbox-7"));
    assert!(list[1].is_for("app") && !list[1].is_for("other"));
    assert!(read("pipelines: []").unwrap().is_empty());
    for (text, says) in [
        ("pipelines: 5", "list of maps"),
        ("pipeline: []", "did you mean `pipelines`"),
        ("pipelines: [{name: a}]", "has no `file`"),
        ("pipelines: [{name: a b, file: x.yml}]", "cannot be"),
        (
            "pipelines: [{name: a, file: x.yml}, {name: a, file: y.yml}]",
            "two required",
        ),
        ("- a", "map"),
    ] {
        let faults = read(text).unwrap_err();
        let first = faults.first();
        assert!(first.to_string().contains(says), "{text}: {faults}");
        assert_eq!(first.file, FILE);
    }
}

#[test]
fn required_jobs_have_names_and_stages_of_their_own() {
    let own = plan("security/scan: {script: fake, stage: build}\nscan: {script: x}\n");
    let required = plan(
        "stages: [look, tell]\nscan: {stage: look, script: y}\nreport: {stage: tell, script: z, needs: [scan]}\n",
    );
    let placed = place(own, vec![(entry("security", false), required)]);
    assert_eq!(
        names(&placed),
        [
            ("build", "security/scan"),
            ("test", "scan"),
            ("security/look", "security/scan (required)"),
            ("security/tell", "security/report"),
        ]
    );
    assert_eq!(
        placed.jobs[3].job.needs.as_ref().unwrap()[0].job,
        "security/scan (required)",
        "needs follow the new name"
    );
    assert_eq!(placed.stages, ["build", "test", "security/look", "security/tell"]);
    assert!(placed.jobs.iter().map(|p| p.job.stage_index).is_sorted());
}

#[test]
fn a_gate_stands_before_the_project() {
    let placed = place(
        plan("a: {script: x}\n"),
        vec![
            (entry("late", false), plan("b: {script: x}\n")),
            (entry("first", true), plan("c: {script: x}\n")),
        ],
    );
    assert_eq!(placed.stages, ["first", "test", "late"]);
    assert_eq!(
        names(&placed),
        [("first", "first/c"), ("test", "a"), ("late", "late/b")]
    );
    assert!(placed.jobs[0].gate && !placed.jobs[2].gate);
}

#[test]
fn a_template_without_its_file_or_with_a_bridge_is_faulty() {
    let mut template = Template {
        entry: entry("security", false),
        files: vec![],
    };
    let faults = template.config().unwrap_err();
    assert!(
        faults
            .to_string()
            .contains("does not exist in the policy project"),
        "{faults}"
    );
    template.files = vec![("a.yml".into(), "x: {trigger: {include: y.yml}}\n".into())];
    let faults = template.config().unwrap_err();
    assert!(faults.to_string().contains("have a `script`"), "{faults}");
    assert!(faults.first().file.contains("security: a.yml"));
    template.files = vec![
        ("a.yml".into(), "include: b.yml\n".into()),
        ("b.yml".into(), "x: {script: y}\n".into()),
    ];
    assert_eq!(template.config().unwrap().jobs.len(), 1);
}

proptest! {
    /// No text of a list makes it panic, and what it accepts has usable names.
    #[test]
    fn any_list_is_read_or_refused(text in "[a-z:\\[\\]{} ,'*\\-\n]{0,200}") {
        if let Ok(list) = read(&text) {
            prop_assert!(list.iter().all(|entry| !entry.name.is_empty() && !entry.file.is_empty()));
        }
    }

    /// Whatever the project calls its jobs, every name is there once and every required job is there.
    #[test]
    fn names_stay_apart(own in prop::collection::btree_set("(security/)?[ab]( \\(required\\))?", 1..6)) {
        let text: String = own.iter().map(|name| format!("{name:?}: {{script: x}}\n")).collect();
        let required = plan("a: {script: x}\nb: {script: x}\n");
        let placed = place(plan(&text), vec![(entry("security", false), required)]);
        let all: HashSet<&str> = placed.jobs.iter().map(|placed| placed.job.name.as_str()).collect();
        prop_assert_eq!(all.len(), placed.jobs.len());
        prop_assert_eq!(placed.jobs.iter().filter(|placed| placed.required.is_some()).count(), 2);
        for name in &own {
            let mine = placed.jobs.iter().find(|placed| &placed.job.name == name);
            prop_assert!(mine.is_some_and(|placed| placed.required.is_none()));
        }
    }
}

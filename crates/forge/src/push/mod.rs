//! What may be pushed, and what is made of it.
//!
//! A push goes: objects into quarantine, then the hook asks [`service`] with the project's lock taken; an
//! intent is written before any reference moves; once git has ended, the intents are compared with the
//! references and become facts. A crash in between loses nothing: the intents are compared at the next
//! start.

mod ahead;
pub mod hook;
mod keeper;
mod service;
mod sessions;
mod store;

pub(crate) use ahead::Lookout;
pub(crate) use service::Move;
pub(crate) use sessions::{Pushes, Session};

use crate::workflow::Bypass;
use bascule_core::{Problem, any_covers};

/// The trunk of a project that had no branch yet, where one of the usual names is pushed.
pub(crate) fn usual_trunk(has: impl Fn(&str) -> bool) -> Option<&'static str> {
    ["main", "master", "trunk"].into_iter().find(|name| has(name))
}

/// One reference that a push wants to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Update {
    /// Its full name.
    pub(crate) reference: String,
    /// Where the client believes it stands; `None` if it is to be new.
    pub(crate) old: Option<String>,
    /// Where it shall stand; `None` if it is to go.
    pub(crate) new: Option<String>,
}

/// What a rule needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Context<'a> {
    /// `group/project`.
    pub(crate) project: &'a str,
    /// Names and patterns of protected branches.
    pub(crate) protected: &'a [String],
    /// Whether the pusher may push to protected branches and move version tags.
    pub(crate) may_protected: bool,
    /// Whether protected branches move by merge requests alone.
    pub(crate) by_request: bool,
}

/// A rule's no.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The reference.
    pub(crate) reference: String,
    /// The rule, for the ledger.
    pub(crate) rule: &'static str,
    /// What the person is told.
    pub(crate) problem: Problem,
}

impl Update {
    /// Reads a line as git gives them to hooks: `old new reference`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (old, rest) = line.split_once(' ')?;
        let (new, reference) = rest.split_once(' ')?;
        let sha = |text: &str| {
            let hex = (text.len() == 40 || text.len() == 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then(|| text.bytes().any(|b| b != b'0').then(|| text.to_owned()))
        };
        let known = reference.starts_with("refs/") && !reference.chars().any(char::is_control);
        known.then_some(())?;
        Some(Self {
            reference: reference.to_owned(),
            old: sha(old)?,
            new: sha(new)?,
        })
    }

    /// The branch, if it is one.
    pub(crate) fn branch(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/heads/")
    }

    /// The tag, if it is one.
    pub(crate) fn tag(&self) -> Option<&str> {
        self.reference.strip_prefix("refs/tags/")
    }

    /// Whether it moves a protected branch, so that its history has to be looked at.
    pub(crate) fn moves_protected(&self, context: &Context<'_>) -> bool {
        self.old.is_some()
            && self.new.is_some()
            && self.branch().is_some_and(|branch| context.protects(branch))
    }
}

impl Context<'_> {
    fn protects(&self, branch: &str) -> bool {
        any_covers(self.protected, branch)
    }
}

/// Whether a push asks for no pipeline: `git push -o ci.skip`.
pub(crate) fn skips_ci(options: &[String]) -> bool {
    options
        .iter()
        .any(|option| matches!(option.trim(), "ci.skip" | "ci.skip=true"))
}

/// Most branches and tags of one push that get a pipeline each. Whoever brings a whole history has not changed all of it.
const PIPELINES: usize = 4;

/// Whether a push brings so many branches and tags that the trunk alone gets a pipeline.
pub(crate) fn brings_many(updates: &[Update]) -> bool {
    let made =
        |update: &&Update| update.new.is_some() && (update.branch().is_some() || update.tag().is_some());
    updates.iter().filter(made).count() > PIPELINES
}

/// What is said where pipelines are left out.
pub(crate) fn left_out(updates: &[Update], options: &[String], trunk: &str) -> String {
    if skips_ci(options) || !brings_many(updates) {
        return String::new();
    }
    let left = updates
        .iter()
        .filter(|update| update.new.is_some() && update.branch() != Some(trunk));
    format!(
        "\nNo pipeline runs for {} of these branches and tags: a push of more than {PIPELINES} starts one for `{trunk}` alone.\n  \
         next: Run one where you want it: bascule pipeline run --ref BRANCH.\n\n",
        left.count()
    )
}

/// Most variables, and most inputs, of one push.
const GIVEN: usize = 50;
/// Longest value, in bytes.
const VALUE: usize = 10_000;

/// What a push gives its pipeline: `git push -o ci.variable="NAME=value" -o ci.input="name=value"`.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default)]
pub struct CiOptions {
    /// Variables for all jobs.
    pub variables: std::collections::BTreeMap<String, String>,
    /// Values for the file's inputs, as texts.
    pub inputs: std::collections::BTreeMap<String, String>,
    /// Whether who pushed holds the right to push to protected branches.
    pub may_protected: bool,
}

impl CiOptions {
    /// Reads a push's options; what is no `NAME=value` is told.
    pub(crate) fn parse(options: &[String]) -> std::result::Result<Self, Problem> {
        let mut found = Self::default();
        for option in options {
            let (what, into) = match option.split_once('=') {
                Some(("ci.variable", rest)) => (rest, &mut found.variables),
                Some(("ci.input", rest)) => (rest, &mut found.inputs),
                _ => continue,
            };
            let Some((name, value)) = what.split_once('=').filter(|(name, _)| !name.is_empty()) else {
                return Err(Problem::invalid(
                    "bad_push_option",
                    format!("The push option `{}` gives no value.", limited(option)),
                )
                .why("What is given to a pipeline has a name and a value.")
                .next("Write -o ci.variable=\"NAME=value\" or -o ci.input=\"name=value\"."));
            };
            if value.len() > VALUE {
                return Err(Problem::invalid(
                    "long_push_option",
                    format!("The value of `{}` is longer than {VALUE} bytes.", limited(name)),
                )
                .next("Put it into a file of the repository."));
            }
            into.insert(name.to_owned(), value.to_owned());
        }
        if found.variables.len() > GIVEN || found.inputs.len() > GIVEN {
            return Err(Problem::invalid(
                "many_push_options",
                format!("A push gives at most {GIVEN} variables and {GIVEN} inputs."),
            )
            .next("Put what is the same each time into the file."));
        }
        Ok(found)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.variables.is_empty() && self.inputs.is_empty()
    }
}

fn limited(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(60).collect()
}

/// Whether a tag names a version (`v1`, `1.2.3`, `v1.2.3-rc.1`), from which a release may be made.
pub(crate) fn is_version_tag(tag: &str) -> bool {
    let number = tag.strip_prefix('v').unwrap_or(tag);
    semver::Version::parse(number).is_ok()
        || (tag.starts_with('v') && number.starts_with(|c: char| c.is_ascii_digit()))
}

/// What is said where a branch moves by merge requests alone.
pub(crate) fn request_required(branch: &str) -> Problem {
    Problem::new(
        403,
        "request_required",
        format!("`{branch}` moves by merge requests alone."),
    )
    .why("The project asks that every change to it be looked at, by whoever it comes.")
    .next("Push to a branch of its own (`git push origin HEAD:my-change`) and open a merge request.")
}

/// Judges one update. `rewrites`: whether it takes commits out of a protected branch's history.
pub(crate) fn judge(update: &Update, context: &Context<'_>, rewrites: bool) -> Option<Refusal> {
    let refuse = |rule, problem| {
        Some(Refusal {
            reference: update.reference.clone(),
            rule,
            problem,
        })
    };
    if let Some(branch) = update.branch() {
        if let Err(problem) = crate::project::branch_name(branch)
            && update.new.is_some()
        {
            return refuse("reference_name", problem);
        }
        if !context.protects(branch) {
            return None;
        }
        if update.new.is_none() {
            let problem = Problem::new(
                403,
                "branch_protected",
                format!("`{branch}` is protected and cannot be deleted."),
            )
            .why("Pipelines, releases and measures of this project stand on its history.")
            .next(format!(
                "If it has to go, a maintainer first takes the protection off: {}/-/settings.",
                context.project
            ));
            return refuse("protected_branch_delete", problem);
        }
        if rewrites {
            let problem = Problem::new(403, "branch_protected", format!("`{branch}` is protected; its history cannot be rewritten."))
                .why("A forced push would take away commits that others have built on and that releases were made from.")
                .next(format!("Fetch, put your work on top (`git pull --rebase origin {branch}`), and push without force; undo a commit with `git revert`."));
            return refuse("protected_branch_force", problem);
        }
        if !context.may_protected {
            let problem = Problem::new(403, "branch_protected", format!("`{branch}` is protected; you may not push to it."))
                .why("Only maintainers push to a protected branch, because what is on it gets built and deployed.")
                .next(format!("Push to a branch of your own (`git push origin HEAD:my-change`) and ask a maintainer of {} to take it over.", context.project));
            return refuse("protected_branch", problem);
        }
        // A project's first push has nothing to ask to be merged into.
        if context.by_request && update.old.is_some() {
            return refuse("merge_request_required", request_required(branch));
        }
        return None;
    }
    if let Some(tag) = update.tag() {
        if update.old.is_none() && update.new.is_some() {
            if let Err(problem) = crate::project::unmistakable(tag) {
                return refuse("reference_name", problem);
            }
            if context.protects(tag) {
                let problem = Problem::invalid("name_of_a_branch", format!("`{tag}` is the name of a protected branch."))
                    .why("git takes the tag for the branch, in everybody's clone, and does not know which of the two a push means.")
                    .next("Choose another name for the tag.");
                return refuse("reference_name", problem);
            }
        }
        if update.old.is_some() && is_version_tag(tag) && !context.may_protected {
            let verb = if update.new.is_some() { "moved" } else { "deleted" };
            let problem = Problem::new(403, "tag_protected", format!("The version tag `{tag}` cannot be {verb} by you."))
                .why("A release stands for one commit for ever; whoever relies on it must get the same bytes again.")
                .next(format!("Tag the new commit with the next version, or ask a maintainer of {}.", context.project));
            return refuse("protected_tag", problem);
        }
        return None;
    }
    if update.reference.starts_with("refs/notes/") {
        return None;
    }
    let shown: String = update.reference.chars().take(100).collect();
    let problem = Problem::new(403, "reference_refused", format!("`{shown}` cannot be pushed here."))
        .why("A project takes branches (refs/heads/), tags (refs/tags/) and notes (refs/notes/); others belong to tools or to the platform.")
        .next("Push branches and tags only: `git push origin --all` and `git push origin --tags`, not `--mirror`.");
    refuse("reference_name", problem)
}

/// What the pusher reads on their own screen.
pub(crate) fn explain(refusals: &[Refusal], footer: &str) -> String {
    let mut text = String::from("\n");
    for refusal in refusals.iter().take(10) {
        text.push_str(&format!("Refused: {}\n\n", refusal.problem));
    }
    if refusals.len() > 10 {
        text.push_str(&format!(
            "… and {} more for like reasons.\n\n",
            refusals.len() - 10
        ));
    }
    text.push_str(footer);
    text.push_str("Nothing was changed: a push is taken whole or not at all.\n\n");
    text
}

/// What the pusher reads of a push that is let through; mostly nothing.
pub(crate) fn remark(warnings: &[Refusal], bypass: Option<&Bypass>) -> String {
    let mut text = String::new();
    for warning in warnings.iter().take(10) {
        text.push_str(&format!("\nWarning: {}\n", warning.problem));
    }
    if warnings.len() > 10 {
        text.push_str(&format!(
            "\n… and {} more for like reasons.\n",
            warnings.len() - 10
        ));
    }
    if let Some(bypass) = bypass {
        let rules: Vec<&str> = bypass.rules.iter().map(|rule| rule.key()).collect();
        text.push_str(&format!(
            "\nLet through as asked, and recorded: {}.\n",
            rules.join(", ")
        ));
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

    fn rule(reference: &str, old: bool, new: bool, may: bool, rewrites: bool) -> Option<&'static str> {
        let protected = ["main".to_owned(), "release/*".to_owned()];
        let context = Context {
            project: "g/p",
            protected: &protected,
            may_protected: may,
            by_request: false,
        };
        let update = Update {
            reference: reference.to_owned(),
            old: old.then(|| A.to_owned()),
            new: new.then(|| B.to_owned()),
        };
        judge(&update, &context, rewrites).map(|refusal| refusal.rule)
    }

    #[test]
    fn protected_branches_are_for_maintainers_and_never_rewritten_or_deleted() {
        assert_eq!(
            rule("refs/heads/main", true, true, false, false),
            Some("protected_branch")
        );
        assert_eq!(rule("refs/heads/main", true, true, true, false), None);
        assert_eq!(
            rule("refs/heads/main", true, true, true, true),
            Some("protected_branch_force")
        );
        assert_eq!(
            rule("refs/heads/main", true, false, true, false),
            Some("protected_branch_delete")
        );
        assert_eq!(
            rule("refs/heads/release/1", false, true, false, false),
            Some("protected_branch")
        );
        assert_eq!(rule("refs/heads/topic", true, false, false, false), None);
    }

    #[test]
    fn version_tags_are_made_by_developers_and_moved_by_maintainers_only() {
        assert_eq!(rule("refs/tags/v1.0.0", false, true, false, false), None);
        assert_eq!(
            rule("refs/tags/v1.0.0", true, true, false, false),
            Some("protected_tag")
        );
        assert_eq!(
            rule("refs/tags/1.0.0", true, false, false, false),
            Some("protected_tag")
        );
        assert_eq!(rule("refs/tags/v1.0.0", true, true, true, false), None);
        assert_eq!(rule("refs/tags/nightly", true, true, false, false), None);
    }

    #[test]
    fn other_references_are_refused() {
        for reference in [
            "refs/bascule/x",
            "refs/remotes/origin/main",
            "refs/pull/1/head",
            "refs/heads/HEAD",
            "refs/heads/0123456789abcdef0123456789abcdef01234567",
            "refs/tags/0123456789abcdef0123456789abcdef01234567",
            "refs/heads/refs/heads/main",
            "refs/tags/main",
        ] {
            assert_eq!(
                rule(reference, false, true, true, false),
                Some("reference_name"),
                "{reference}"
            );
        }
    }

    #[test]
    fn a_refusal_tells_rule_reason_and_next_step() {
        let protected = ["main".to_owned()];
        let context = Context {
            project: "g/p",
            protected: &protected,
            may_protected: false,
            by_request: false,
        };
        let update = Update {
            reference: "refs/heads/main".into(),
            old: None,
            new: Some(B.into()),
        };
        let text = explain(&[judge(&update, &context, false).unwrap()], "");
        assert!(
            text.contains("Refused: `main` is protected") && text.contains("why:") && text.contains("next:"),
            "{text}"
        );
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused_without_panic(line in ".{0,200}") {
            drop(Update::parse(&line));
        }

        #[test]
        fn lines_of_git_are_read(name in "[a-z]{1,20}") {
            let zero = "0".repeat(40);
            let update = Update::parse(&format!("{zero} {B} refs/heads/{name}")).unwrap();
            prop_assert_eq!(update.old.as_deref(), None);
            prop_assert_eq!(update.branch(), Some(name.as_str()));
        }
    }
}

//! What rules are judged by, and the judgement.

use super::{Changes, Exists, Glob, Refs, Rule};
use crate::variables::{Lookup, expand};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
};

/// Most comparisons of a pattern with a path that the rules of one configuration may ask for: some seconds of work.
/// (GitLab stops at 50,000 and then takes the rule to match.)
pub const COMPARISONS: usize = 20_000_000;

/// What rules ask of other commits and projects, by the texts (expanded) that name them.
#[derive(Debug, Default)]
pub struct Elsewhere {
    /// Files that differ from a branch, tag or commit (`changes:compare_to`).
    pub changes: HashMap<String, Vec<String>>,
    /// Files of a project and branch (`exists:project`, `exists:ref`).
    pub files: HashMap<(String, Option<String>), Vec<String>>,
}

/// What rules are judged by.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// Branch or tag name.
    pub reference: &'a str,
    /// Whether it is a tag.
    pub tag: bool,
    /// What started the pipeline: `push`, `web`, `api`, `schedule`, `trigger`, `pipeline`, `parent_pipeline`,
    /// `merge_request_event`.
    pub source: &'a str,
    /// Changed files; `None` where there is nothing to compare with, and then every `changes` holds.
    pub changed: Option<&'a [String]>,
    /// All files of the commit.
    pub files: &'a [String],
    /// `group/project`, for `only: branches@group/project`.
    pub project: &'a str,
    /// Whether the pipeline is a merge request's, which jobs without rules are not part of.
    pub merge_request: bool,
    /// Answers about other commits and projects.
    pub elsewhere: Option<&'a Elsewhere>,
    found: RefCell<HashMap<(Among, String), bool>>,
    /// For patterns that are plain paths.
    paths: RefCell<HashMap<Among, HashSet<&'a str>>>,
    compared: Cell<usize>,
}

/// Which list of files is searched.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Among {
    Changed(Option<String>),
    Files(Option<(String, Option<String>)>),
}

/// Whether a rule matches, and otherwise which of its parts does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It matches.
    Matches,
    /// `if` does not hold.
    Condition,
    /// No changed file matches.
    Changes,
    /// No file matches.
    Exists,
}

impl<'a> Surroundings<'a> {
    /// What rules are judged by.
    #[must_use]
    pub fn new(
        reference: &'a str,
        tag: bool,
        source: &'a str,
        changed: Option<&'a [String]>,
        files: &'a [String],
    ) -> Self {
        Self {
            reference,
            tag,
            source,
            changed,
            files,
            project: "",
            merge_request: false,
            elsewhere: None,
            found: RefCell::default(),
            paths: RefCell::default(),
            compared: Cell::new(0),
        }
    }

    /// How many comparisons the rules asked for.
    #[must_use]
    pub fn compared(&self) -> usize {
        self.compared.get()
    }

    fn count(&self, more: usize) {
        self.compared.set(self.compared.get().saturating_add(more));
    }

    /// Whether the rules asked for more than [`COMPARISONS`]; what they were answered then means nothing.
    #[must_use]
    pub fn is_spent(&self) -> bool {
        self.compared.get() > COMPARISONS
    }

    fn any_matches(&self, patterns: &[String], among: &Among, variables: &dyn Lookup) -> bool {
        let files: &'a [String] = match (among, self.elsewhere) {
            (Among::Changed(None), _) => self.changed.unwrap_or_default(),
            (Among::Files(None), _) => self.files,
            (Among::Changed(Some(to)), Some(known)) => known.changes.get(to).map_or(&[], Vec::as_slice),
            (Among::Files(Some(place)), Some(known)) => known.files.get(place).map_or(&[], Vec::as_slice),
            (_, None) => &[],
        };
        patterns.iter().any(|pattern| {
            let pattern = expand(pattern, variables);
            let pattern = pattern.trim_start_matches("./").trim_start_matches('/');
            // Many jobs ask for the same patterns; each is searched once.
            let key = (among.clone(), pattern.to_owned());
            if let Some(known) = self.found.borrow().get(&key) {
                return *known;
            }
            let found = if pattern.contains(['*', '?', '[', '{', '\\']) {
                self.count(files.len());
                !self.is_spent()
                    && Glob::new(pattern).is_ok_and(|glob| files.iter().any(|file| glob.matches(file)))
            } else {
                let mut paths = self.paths.borrow_mut();
                let set = paths.entry(among.clone()).or_insert_with(|| {
                    self.count(files.len());
                    files.iter().map(String::as_str).collect()
                });
                set.contains(pattern)
            };
            self.found.borrow_mut().insert(key, found);
            found
        })
    }

    fn changed(&self, changes: &Changes, variables: &dyn Lookup) -> bool {
        let to = changes.compare_to.as_ref().map(|to| expand(to, variables));
        // A new branch has nothing to compare with: then all counts as changed.
        (to.is_none() && self.changed.is_none())
            || self.any_matches(&changes.paths, &Among::Changed(to), variables)
    }

    fn exists(&self, exists: &Exists, variables: &dyn Lookup) -> bool {
        let place = exists.project.as_ref().map(|project| {
            let reference = exists.reference.as_ref().map(|text| expand(text, variables));
            (expand(project, variables), reference)
        });
        self.any_matches(&exists.paths, &Among::Files(place), variables)
    }
}

impl Rule {
    /// Whether the rule matches, and why not.
    #[must_use]
    pub fn judge(&self, around: &Surroundings<'_>, variables: &dyn Lookup) -> Verdict {
        let condition = self.condition.as_ref();
        if !condition.is_none_or(|condition| condition.holds(variables)) {
            return Verdict::Condition;
        }
        if !self
            .changes
            .as_ref()
            .is_none_or(|changes| around.changed(changes, variables))
        {
            return Verdict::Changes;
        }
        if !self
            .exists
            .as_ref()
            .is_none_or(|exists| around.exists(exists, variables))
        {
            return Verdict::Exists;
        }
        Verdict::Matches
    }

    /// Whether the rule matches.
    #[must_use]
    pub fn matches(&self, around: &Surroundings<'_>, variables: &dyn Lookup) -> bool {
        self.judge(around, variables) == Verdict::Matches
    }

    /// The rule without what names another commit or project.
    pub(crate) fn plain(&self) -> Self {
        let mut rule = self.clone();
        if let Some(changes) = &mut rule.changes {
            changes.compare_to = None;
        }
        if let Some(exists) = &mut rule.exists {
            (exists.project, exists.reference) = (None, None);
        }
        rule
    }
}

/// Whether jobs have a cluster: somebody gave them what `kubectl` asks for.
fn cluster(variables: &dyn Lookup) -> bool {
    ["KUBECONFIG", "CI_KUBERNETES_ACTIVE"]
        .iter()
        .any(|name| variables.value(name).is_some_and(|value| !value.is_empty()))
}

impl Refs {
    /// Whether `only` lets the job in: each part that is written holds.
    #[must_use]
    pub fn allows(&self, around: &Surroundings<'_>, variables: &dyn Lookup) -> bool {
        let refs = self.refs.as_ref();
        let conditions = self.variables.as_ref();
        let changes = self.changes.as_ref();
        refs.is_none_or(|refs| refs.iter().any(|name| name.holds(around)))
            && conditions.is_none_or(|list| list.iter().any(|condition| condition.holds(variables)))
            && changes.is_none_or(|changes| around.changed(changes, variables))
            && (!self.kubernetes || cluster(variables))
    }

    /// Whether `except` keeps the job out: any part that is written holds.
    #[must_use]
    pub fn forbids(&self, around: &Surroundings<'_>, variables: &dyn Lookup) -> bool {
        let refs = self.refs.as_ref();
        let conditions = self.variables.as_ref();
        let changes = self.changes.as_ref();
        refs.is_some_and(|refs| refs.iter().any(|name| name.holds(around)))
            || conditions.is_some_and(|list| list.iter().any(|condition| condition.holds(variables)))
            || changes.is_some_and(|changes| around.changed(changes, variables))
            || (self.kubernetes && cluster(variables))
    }
}

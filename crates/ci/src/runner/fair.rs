//! Who is next: pure rules over what waits, what is held and what is allowed. The project with the fewest jobs held by
//! runners comes first, and within a project who has waited longest, as GitLab has it.

use super::{Reach, Runner};
use bascule_core::{JobId, ProjectId, RunnerId, Timestamp};
use std::collections::HashMap;

/// What a waiting job asks of a runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Its project.
    pub project: ProjectId,
    /// Whether its branch or tag is protected.
    pub protected: bool,
    /// Tags that the runner must have.
    pub tags: Vec<String>,
    /// The resource group that it needs for itself.
    pub resource_group: Option<String>,
    /// Whether its group requires it: then no runner of the project itself may take it, since whoever runs that could
    /// say that the job succeeded without running it.
    pub required: bool,
}

impl Demand {
    /// Reads a job's `queue_key`: project, `p` or `-` (with `!` behind it where it is required), tags as JSON, resource group,
    /// with tabs between. JSON holds no tab, and the resource group comes last, so that it may.
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.splitn(4, '\t');
        let project = parts.next()?.parse().ok()?;
        let marks = parts.next()?;
        let tags = serde_json::from_str(parts.next()?).ok()?;
        let group = parts.next()?;
        Some(Self {
            project,
            protected: marks.starts_with('p'),
            required: marks.ends_with('!'),
            tags,
            resource_group: (!group.is_empty()).then(|| group.to_owned()),
        })
    }
}

/// Waiting jobs of one demand, as the first of them stands.
#[derive(Clone, Debug)]
pub(crate) struct Waiting {
    /// The longest waiting job.
    pub job: JobId,
    /// Since when.
    pub since: Timestamp,
    /// What it asks for.
    pub demand: Demand,
    /// The group of its project.
    pub group: String,
}

/// What runners have at the moment, also what they were only offered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// Jobs by project.
    pub by_project: HashMap<ProjectId, i64>,
    /// Jobs by group.
    pub by_group: HashMap<String, i64>,
    /// Jobs by runner.
    pub by_runner: HashMap<RunnerId, i64>,
    /// Who has a resource group.
    pub resources: HashMap<(ProjectId, String), JobId>,
    /// Most jobs that a group may have at once.
    pub limits: HashMap<String, i64>,
    /// When runners last said something of their jobs.
    pub heard: HashMap<RunnerId, Option<Timestamp>>,
}

impl Held {
    /// A runner with when it was last heard of, also by what it said of its jobs: one that has as many as it can
    /// does not ask for more.
    pub fn heard_with(&self, runner: Runner) -> Runner {
        let heard = self.heard.get(&runner.id).copied().flatten();
        Runner {
            contacted_at: runner.contacted_at.max(heard),
            ..runner
        }
    }

    /// The job that has the resource group that this demand needs.
    pub fn holder(&self, demand: &Demand) -> Option<JobId> {
        let name = demand.resource_group.clone()?;
        self.resources.get(&(demand.project, name)).copied()
    }

    /// The group's limit, if it is reached.
    pub fn reached(&self, group: &str) -> Option<i64> {
        let limit = *self.limits.get(group)?;
        (self.by_group.get(group).copied().unwrap_or_default() >= limit).then_some(limit)
    }
}

/// The jobs that a runner may have now, best first: one of each demand.
pub(crate) fn order<'w>(
    waiting: &'w [Waiting],
    held: &Held,
    runner: &Runner,
    reach: &Reach,
) -> Vec<&'w Waiting> {
    let mut list: Vec<&Waiting> = waiting
        .iter()
        .filter(|w| runner.takes(&w.demand.tags, w.demand.protected) && reach.serves(&w.demand, &w.group))
        .filter(|w| held.holder(&w.demand).is_none() && held.reached(&w.group).is_none())
        .collect();
    let running = |w: &Waiting| {
        held.by_project
            .get(&w.demand.project)
            .copied()
            .unwrap_or_default()
    };
    list.sort_by_key(|w| (running(w), w.since, w.job));
    list
}

/// A runner with the projects that it serves.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub runner: Runner,
    pub reach: Reach,
}

/// Why a job waits. Told to people in [`Why::text`]; programs read [`Why::code`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Another job has its resource group.
    Resource { name: String, job: JobId },
    /// The group has as many jobs as it may.
    GroupLimit { group: String, limit: i64 },
    /// No runner serves its project.
    NoRunner,
    /// It is required by the group, and only runners of the project itself serve it.
    OwnRunners,
    /// No runner that serves it has these tags.
    NoTag { tags: Vec<String> },
    /// Runners have each of the tags, but none has all.
    NoTagsTogether { tags: Vec<String> },
    /// It has no tags, and no runner takes such jobs.
    Untagged,
    /// Those that have its tags take jobs of protected branches and tags only.
    Protected,
    /// Those that could are paused.
    Paused { runners: Vec<String> },
    /// Those that could were not heard of lately.
    Offline { runners: Vec<String> },
    /// Those that could have other jobs.
    Busy { runners: usize, jobs: i64 },
    /// A runner that could is free and has not asked yet.
    Next,
}

/// Most runners named in a reason.
const NAMED: usize = 3;

fn names(members: &[&Member]) -> Vec<String> {
    let mut list: Vec<String> = members
        .iter()
        .take(NAMED)
        .map(|m| format!("#{} {}", m.runner.number, m.runner.description))
        .collect();
    if members.len() > NAMED {
        list.push(format!("{} more", members.len() - NAMED));
    }
    list
}

/// Why a job waits, by what holds it back first.
pub(crate) fn why(demand: &Demand, group: &str, held: &Held, runners: &[Member], now: Timestamp) -> Why {
    if let (Some(job), Some(name)) = (held.holder(demand), &demand.resource_group) {
        return Why::Resource {
            name: name.clone(),
            job,
        };
    }
    if let Some(limit) = held.reached(group) {
        return Why::GroupLimit {
            group: group.to_owned(),
            limit,
        };
    }
    let covering = runners.iter().filter(|m| m.reach.covers(demand.project, group));
    let serving: Vec<&Member> = covering
        .clone()
        .filter(|m| m.reach.serves(demand, group))
        .collect();
    if serving.is_empty() {
        return if covering.count() > 0 {
            Why::OwnRunners
        } else {
            Why::NoRunner
        };
    }
    let fitting: Vec<&Member> = serving
        .iter()
        .copied()
        .filter(|m| m.runner.matches(&demand.tags))
        .collect();
    if fitting.is_empty() {
        return no_tag(demand, &serving);
    }
    let allowed: Vec<&Member> = fitting
        .into_iter()
        .filter(|m| demand.protected || !m.runner.protected)
        .collect();
    if allowed.is_empty() {
        return Why::Protected;
    }
    let awake: Vec<&Member> = allowed.iter().copied().filter(|m| !m.runner.paused).collect();
    if awake.is_empty() {
        return Why::Paused {
            runners: names(&allowed),
        };
    }
    let online: Vec<&Member> = awake
        .iter()
        .copied()
        .filter(|m| m.runner.is_online(now))
        .collect();
    if online.is_empty() {
        return Why::Offline {
            runners: names(&awake),
        };
    }
    let jobs_of = |m: &&Member| held.by_runner.get(&m.runner.id).copied().unwrap_or_default();
    let busy = online.iter().filter(|m| jobs_of(m) > 0).count();
    if busy == online.len() {
        return Why::Busy {
            runners: busy,
            jobs: online.iter().map(jobs_of).sum(),
        };
    }
    Why::Next
}

fn no_tag(demand: &Demand, serving: &[&Member]) -> Why {
    if demand.tags.is_empty() {
        return Why::Untagged;
    }
    let missing: Vec<String> = demand
        .tags
        .iter()
        .filter(|tag| !serving.iter().any(|m| m.runner.tags.0.contains(tag)))
        .cloned()
        .collect();
    if missing.is_empty() {
        Why::NoTagsTogether {
            tags: demand.tags.clone(),
        }
    } else {
        Why::NoTag { tags: missing }
    }
}

fn quoted(tags: &[String]) -> String {
    let list: Vec<String> = tags.iter().map(|tag| format!("`{tag}`")).collect();
    format!(
        "{} {}",
        if tags.len() == 1 { "tag" } else { "tags" },
        list.join(", ")
    )
}

impl Why {
    /// For programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Resource { .. } => "resource_group",
            Self::GroupLimit { .. } => "group_limit",
            Self::NoRunner => "no_runner",
            Self::OwnRunners => "no_runner_for_required",
            Self::NoTag { .. } | Self::NoTagsTogether { .. } => "no_runner_with_tags",
            Self::Untagged => "no_runner_for_untagged",
            Self::Protected => "protected_runners_only",
            Self::Paused { .. } => "runners_paused",
            Self::Offline { .. } => "runners_offline",
            Self::Busy { .. } => "runners_busy",
            Self::Next => "next",
        }
    }

    /// For people: what holds the job, and what would let it go on.
    pub fn text(&self) -> String {
        match self {
            Self::Resource { name, job } => {
                format!("Job {job} has the resource group `{name}`; this one follows when that ends.")
            }
            Self::GroupLimit { group, limit } => {
                format!("Group `{group}` runs {limit} jobs, which is its limit; this one follows when one of them ends.")
            }
            Self::NoRunner => {
                "No runner serves this project. Start one, or ask an administrator for one.".to_owned()
            }
            Self::OwnRunners => {
                "The group requires this job, so no runner of the project itself may take it. Ask for a runner of the group or of the instance."
                    .to_owned()
            }
            Self::NoTag { tags } => format!(
                "No runner has the {}. Start one that has, or correct the job's `tags`.",
                quoted(tags)
            ),
            Self::NoTagsTogether { tags } => format!(
                "No single runner has the {} together. Give one of them all, or ask for fewer.",
                quoted(tags)
            ),
            Self::Untagged => {
                "No runner takes jobs without tags. Give the job the tags of a runner, or let one take untagged jobs."
                    .to_owned()
            }
            Self::Protected => {
                "The runners that fit take jobs of protected branches and tags only, and this is neither.".to_owned()
            }
            Self::Paused { runners } => format!("What could take it is paused: {}.", runners.join(", ")),
            Self::Offline { runners } => {
                format!("What could take it was not heard of lately: {}.", runners.join(", "))
            }
            Self::Busy { runners: 1, jobs } => format!(
                "The only runner that may take it is busy ({jobs} {}).",
                if *jobs == 1 { "job" } else { "jobs" }
            ),
            Self::Busy { runners, jobs } => {
                format!("All {runners} runners that may take it are busy ({jobs} jobs).")
            }
            Self::Next => "It goes to the next runner that asks.".to_owned(),
        }
    }

    /// Whether the job only waits its turn, so that a place in the queue means something.
    pub fn is_turn(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Next)
    }

    /// Whether someone has to do something before the job starts.
    pub fn is_stuck(&self) -> bool {
        !self.is_turn() && !matches!(self, Self::Resource { .. } | Self::GroupLimit { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bascule_store::Json;

    const NOW: Timestamp = Timestamp::from_seconds(1_750_000_000);

    fn runner(number: i64, tags: &[&str]) -> Member {
        Member {
            runner: Runner {
                id: RunnerId::new(),
                number,
                description: format!("r{number}"),
                tags: Json(tags.iter().map(|t| (*t).to_owned()).collect()),
                run_untagged: true,
                paused: false,
                protected: false,
                locked: false,
                scope: "instance".to_owned(),
                group_name: None,
                executor: String::new(),
                maximum_timeout: None,
                version: String::new(),
                platform: String::new(),
                created_at: NOW,
                contacted_at: Some(NOW),
            },
            reach: Reach::Instance,
        }
    }

    fn demand(project: ProjectId, tags: &[&str]) -> Demand {
        Demand {
            required: false,
            project,
            protected: false,
            tags: tags.iter().map(|t| (*t).to_owned()).collect(),
            resource_group: None,
        }
    }

    fn waiting(job: i64, project: ProjectId, group: &str) -> Waiting {
        Waiting {
            job: JobId(job),
            since: Timestamp::from_seconds(job),
            demand: demand(project, &[]),
            group: group.to_owned(),
        }
    }

    #[test]
    fn keys_read_back_as_written() {
        let project = ProjectId::new();
        let read = Demand::parse(&format!("{project}\tp\t[\"a\",\"b\"]\tprod\tuction")).unwrap();
        assert_eq!(
            (
                read.project,
                read.protected,
                read.tags.len(),
                read.resource_group.as_deref()
            ),
            (project, true, 2, Some("prod\tuction"))
        );
        let plain = Demand::parse(&format!("{project}\t-\t[]\t")).unwrap();
        assert_eq!((plain.protected, plain.resource_group), (false, None));
        assert!(!plain.required && !read.required);
        let required = Demand::parse(&format!("{project}\tp!\t[]\t")).unwrap();
        assert!(required.required && required.protected);
        assert!(Demand::parse("x").is_none());
    }

    #[test]
    fn who_runs_least_comes_first_and_then_who_waited_longest() {
        let (flood, small, idle) = (ProjectId::new(), ProjectId::new(), ProjectId::new());
        let list = [
            waiting(1, flood, "a"),
            waiting(8, small, "b"),
            waiting(9, idle, "b"),
        ];
        let mut held = Held::default();
        held.by_project.insert(flood, 3);
        held.by_project.insert(small, 1);
        let me = runner(1, &[]);
        let jobs = |held: &Held| {
            order(&list, held, &me.runner, &me.reach)
                .iter()
                .map(|w| w.job.0)
                .collect::<Vec<_>>()
        };
        assert_eq!(jobs(&held), [9, 8, 1]);
        held.limits.insert("b".to_owned(), 1);
        held.by_group.insert("b".to_owned(), 1);
        assert_eq!(jobs(&held), [1], "a group at its limit steps back");
    }

    #[test]
    fn a_runner_of_a_project_or_group_takes_nothing_else() {
        let (mine, other) = (ProjectId::new(), ProjectId::new());
        let list = [waiting(1, other, "b"), waiting(2, mine, "a")];
        let me = runner(1, &[]);
        for reach in [Reach::Projects(vec![mine]), Reach::Group("a".to_owned())] {
            let got = order(&list, &Held::default(), &me.runner, &reach);
            assert_eq!(got.iter().map(|w| w.job.0).collect::<Vec<_>>(), [2], "{reach:?}");
        }
    }

    #[test]
    fn each_reason_is_named() {
        let project = ProjectId::new();
        let mut held = Held::default();
        let ask =
            |demand: &Demand, held: &Held, runners: &[Member]| why(demand, "g", held, runners, NOW).text();
        let plain = demand(project, &[]);
        let gpu = demand(project, &["gpu"]);
        assert!(ask(&plain, &held, &[]).starts_with("No runner serves this project"));
        assert!(ask(&gpu, &held, &[runner(1, &["cpu"])]).starts_with("No runner has the tag `gpu`"));
        let both = demand(project, &["gpu", "cpu"]);
        let apart = [runner(1, &["cpu"]), runner(2, &["gpu"])];
        assert!(ask(&both, &held, &apart).starts_with("No single runner has the tags `gpu`, `cpu`"));
        let mut tagged = runner(1, &["gpu"]);
        tagged.runner.run_untagged = false;
        assert!(ask(&plain, &held, &[tagged.clone()]).starts_with("No runner takes jobs without tags"));
        tagged.runner.protected = true;
        assert!(ask(&gpu, &held, &[tagged.clone()]).contains("protected branches and tags only"));
        let mut on_main = gpu.clone();
        on_main.protected = true;
        assert_eq!(why(&on_main, "g", &held, &[tagged.clone()], NOW), Why::Next);
        let mut paused = runner(7, &["gpu"]);
        paused.runner.paused = true;
        assert_eq!(
            ask(&gpu, &held, &[paused]),
            "What could take it is paused: #7 r7."
        );
        let mut silent = runner(8, &["gpu"]);
        silent.runner.contacted_at = None;
        assert!(ask(&gpu, &held, &[silent]).contains("was not heard of lately: #8 r8"));
        let two = [runner(1, &[]), runner(2, &[])];
        held.by_runner.insert(two[0].runner.id, 1);
        assert_eq!(why(&plain, "g", &held, &two, NOW), Why::Next);
        held.by_runner.insert(two[1].runner.id, 1);
        assert_eq!(
            ask(&plain, &held, &two),
            "All 2 runners that may take it are busy (2 jobs)."
        );
        held.limits.insert("g".to_owned(), 5);
        held.by_group.insert("g".to_owned(), 5);
        assert!(ask(&plain, &held, &two).starts_with("Group `g` runs 5 jobs, which is its limit"));
        held.resources
            .insert((project, "production".to_owned()), JobId(41));
        let mut deploy = plain;
        deploy.resource_group = Some("production".to_owned());
        assert!(ask(&deploy, &held, &two).starts_with("Job 41 has the resource group `production`"));
    }
}

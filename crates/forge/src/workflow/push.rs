//! Judging what is pushed, while it is in quarantine.

use super::{
    Bypass, Change, Commit, Finding, Level, Policy, Rule,
    ask::{PATCHES, Place, Range},
    broken, bypass, gather, issue, judge, judge_tag,
    look::Look,
    release, secret,
};
use crate::{
    Forge, ProjectInfo, code,
    push::{Refusal, Session, Update, is_version_tag, usual_trunk},
    storage::Files,
};
use bascule_core::{ProjectId, Result, UserId};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::Path,
};

/// Rules that look at commits.
const OF_COMMITS: &[Rule] = &[
    Rule::IssueInCommit,
    Rule::OneBranchOneIssue,
    Rule::NoTrunkMerge,
    Rule::ChangeSize,
    Rule::SignedCommits,
    Rule::AuthorIsPusher,
    Rule::NoSecrets,
];
/// Those of them that each commit has to keep.
const OF_EACH: &[Rule] = &[
    Rule::IssueInCommit,
    Rule::OneBranchOneIssue,
    Rule::NoTrunkMerge,
    Rule::SignedCommits,
    Rule::AuthorIsPusher,
];
/// Most tips at which it is looked what is no secret.
const TIPS: usize = 50;
/// Most version tags whose manifests are read.
const TAGS: usize = 200;
/// Most issues that are asked for.
const ISSUES: usize = 2_000;

/// What the policy says to a push.
#[derive(Debug, Default)]
pub(crate) struct Weighed {
    /// What lets nothing through.
    pub(crate) refusals: Vec<Refusal>,
    /// What is only said.
    pub(crate) warnings: Vec<Refusal>,
    /// What was let through as asked.
    pub(crate) bypass: Option<Bypass>,
    /// Who may let a refused push through, and how.
    pub(crate) footer: String,
    /// The project's default branch.
    pub(crate) trunk: String,
}

/// A reference that is pushed, and the commit that it stands for.
struct Tip<'a> {
    update: &'a Update,
    commit: String,
}

/// The project's trunk.
struct Trunk {
    name: String,
    /// Where it stands.
    stands: Option<String>,
    /// Where it will stand after the push.
    tip: Option<String>,
}

/// A finding, and the reference at which it was made.
type Found = (String, Finding);

fn refusal((reference, finding): Found) -> Refusal {
    Refusal {
        reference,
        rule: finding.rule.key(),
        problem: finding.problem,
    }
}

impl Forge {
    /// Judges a push by the project's policy.
    pub(crate) async fn weigh_workflow(
        &self,
        session: &Session,
        project: &ProjectInfo,
        updates: &[Update],
        quarantine: Option<&Path>,
        files: Option<Files>,
    ) -> Result<Weighed> {
        let policy = self.policy_of(project.group_id, project.id).await?;
        let place = Place::new(self, project.id, quarantine).with_files(files);
        let found = self
            .judge_push(&policy, project, session.user, updates, place)
            .await?;
        let (refused, warned): (Vec<Found>, Vec<Found>) = found
            .into_iter()
            .partition(|(_, finding)| finding.level == Level::Refuse);
        let mut weighed = Weighed {
            warnings: warned.into_iter().map(refusal).collect(),
            trunk: project.default_branch.clone(),
            ..Weighed::default()
        };
        if refused.is_empty() {
            return Ok(weighed);
        }
        let asked = bypass::asked(session.options());
        // Somebody answers for what is let through: no program does.
        let may = session.may_protected && session.user.is_some();
        match asked {
            Some(text) if may => {
                let rules: BTreeSet<Rule> = refused.iter().map(|(_, finding)| finding.rule).collect();
                let references: BTreeSet<&String> = refused.iter().map(|(reference, _)| reference).collect();
                weighed.bypass = Some(Bypass {
                    rules: rules.into_iter().collect(),
                    reason: bypass::reason(text)?,
                    references: references.into_iter().cloned().collect(),
                });
            }
            _ => {
                weighed.refusals = refused.into_iter().map(refusal).collect();
                weighed.footer = if may {
                    format!(
                        "As a maintainer you may let it through, which is recorded: git push -o {}=\"REASON\".\n",
                        bypass::OPTION
                    )
                } else {
                    let who = self.who_may_bypass(project).await?;
                    let asked = if asked.is_some() {
                        "You may not let it through. "
                    } else {
                        ""
                    };
                    format!(
                        "{asked}Where the rule does not fit, {who} may let it through, with a reason that is recorded.\n"
                    )
                };
            }
        }
        Ok(weighed)
    }

    async fn judge_push(
        &self,
        policy: &Policy,
        project: &ProjectInfo,
        user: Option<UserId>,
        updates: &[Update],
        place: Place<'_>,
    ) -> Result<Vec<Found>> {
        let made: Vec<&Update> = updates
            .iter()
            .filter(|update| update.new.is_some() && (update.branch().is_some() || update.tag().is_some()))
            .collect();
        if made.is_empty() {
            return Ok(Vec::new());
        }
        let tips = tips(&place, &made).await?;
        let trunk = self.trunk(project, &made).await?;
        let versions = judge_versions(policy, &place, &trunk, &tips);
        if policy.asks(OF_COMMITS) {
            // At once, since both walk through the history.
            let commits = self.judge_commits(policy, project, user, &place, &trunk, &tips);
            let (mut found, more) = tokio::try_join!(versions, commits)?;
            found.extend(more);
            return Ok(found);
        }
        let mut found = versions.await?;
        for tip in &tips {
            found.extend(judged(policy, tip, &change(&trunk, tip)));
        }
        Ok(found)
    }

    /// An empty project takes a branch that comes first as its trunk, by the same choice as when it is adopted.
    async fn trunk(&self, project: &ProjectInfo, made: &[&Update]) -> Result<Trunk> {
        let pushed = |name: &str| {
            let found = made.iter().find(|update| update.branch() == Some(name));
            found.and_then(|update| update.new.clone())
        };
        let name = project.default_branch.clone();
        let stands = self.resolve_branch(project.id, &name).await?;
        let tip = pushed(&name).or_else(|| stands.clone());
        if tip.is_none()
            && self
                .repositories()
                .read(project.id, code::heads)
                .await?
                .is_empty()
        {
            let first = made.iter().find_map(|update| update.branch());
            let usual = usual_trunk(|name| pushed(name).is_some());
            if let Some(name) = usual.or(first) {
                return Ok(Trunk {
                    name: name.to_owned(),
                    stands: None,
                    tip: pushed(name),
                });
            }
        }
        Ok(Trunk { name, stands, tip })
    }

    async fn judge_commits(
        &self,
        policy: &Policy,
        project: &ProjectInfo,
        user: Option<UserId>,
        place: &Place<'_>,
        trunk: &Trunk,
        tips: &[Tip<'_>],
    ) -> Result<Vec<Found>> {
        let unique: BTreeSet<&String> = tips.iter().map(|tip| &tip.commit).collect();
        let range = Range {
            tips: unique.into_iter().cloned().collect(),
            fresh: true,
        };
        // Of what goes to the trunk itself, nobody asks how large it is.
        let sized: Vec<&Tip<'_>> = tips
            .iter()
            .filter(|tip| {
                policy.asks(&[Rule::ChangeSize]) && tip.update.branch().is_some_and(|name| name != trunk.name)
            })
            .collect();
        let reads = !sized.is_empty();
        let looked = async {
            let asked = policy.asks(&[Rule::NoSecrets]);
            let look = if asked { place.look().await } else { Look::Clean };
            if look != Look::Clean {
                let (gathered, whole) = place.patches(&range).await?;
                return Ok((gathered, (!whole).then_some(look)));
            }
            if sized.is_empty() {
                return Ok((gather::Gathered::default(), None));
            }
            let mut tips: Vec<String> = sized.iter().map(|tip| tip.commit.clone()).collect();
            tips.extend(trunk.tip.iter().map(|tip| format!("^{tip}")));
            let (gathered, _) = place.patches(&Range { tips, fresh: true }).await?;
            // Lines may be missing of what is too large to count anyway; no secret is.
            Ok((gathered, None))
        };
        // At once: whoever pushes waits for the longer of the two alone.
        let ((mut commits, whole), (gathered, left)) = tokio::try_join!(place.commits(&range), looked)?;
        let mut found = Vec::new();
        let names: Vec<&str> = tips.iter().map(|tip| tip.commit.as_str()).collect();
        let brought = gather::brought(&names, &commits);
        if let Some(first) = tips.first().filter(|_| !whole || brought.is_none()) {
            let finding = too_many(policy);
            found.extend(finding.map(|finding| (first.update.reference.clone(), finding)));
        }
        // Where they cannot be told apart, the first reference answers for all.
        let brought = brought.unwrap_or_else(|| vec![(0..commits.len()).collect()]);
        if policy.asks(&[Rule::SignedCommits]) {
            self.verify_commits(place, &mut commits).await?;
        }
        if let (Some(first), Some(look)) = (tips.first(), left) {
            found.push((first.update.reference.clone(), not_whole(look, policy)));
        }
        let mut secrets: HashMap<String, Vec<secret::Found>> = HashMap::new();
        // The lists of what is none, at what is pushed and where the trunk stands.
        let lists: BTreeSet<String> = tips
            .iter()
            .map(|tip| &tip.commit)
            .take(TIPS)
            .chain(&trunk.stands)
            .map(|commit| format!("{commit}:{}", gather::ALLOWED))
            .collect();
        let lists: Vec<String> = lists.into_iter().collect();
        for one in place.not_allowed(&lists, gathered.secrets).await? {
            secrets.entry(one.commit.clone()).or_default().push(one);
        }
        let open_issues = if policy.asks(&[Rule::IssueInCommit]) {
            self.open_issues(project.id, &commits).await?
        } else {
            None
        };
        let on_trunk = if policy.asks(&[Rule::NoTrunkMerge]) {
            merged_from(place, &commits, trunk.stands.as_deref()).await?
        } else {
            HashSet::new()
        };
        let pusher = match user {
            Some(user) if policy.asks(&[Rule::AuthorIsPusher]) => self.addresses_of(user).await?,
            _ => Vec::new(),
        };
        let mut brought = brought.into_iter();
        for tip in tips {
            let mine = brought.next().unwrap_or_default();
            let mine: Vec<&Commit> = mine.into_iter().filter_map(|at| commits.get(at)).collect();
            let lines = mine
                .iter()
                .filter_map(|commit| gathered.lines.get(&commit.sha))
                .sum();
            let change = Change {
                on_trunk: on_trunk.clone(),
                lines: reads.then_some(lines),
                secrets: mine
                    .iter()
                    .filter_map(|commit| secrets.get(&commit.sha))
                    .flatten()
                    .cloned()
                    .collect(),
                open_issues: open_issues.clone(),
                pusher: pusher.clone(),
                commits: mine.into_iter().cloned().collect(),
                ..change(trunk, tip)
            };
            found.extend(judged(policy, tip, &change));
        }
        // What lies deeper than the commits that were told apart is nobody's, and no less a secret for that.
        let known: HashSet<&str> = commits.iter().map(|commit| commit.sha.as_str()).collect();
        let deep: Vec<secret::Found> = secrets
            .into_iter()
            .filter(|(commit, _)| !known.contains(commit.as_str()))
            .flat_map(|(_, found)| found)
            .collect();
        if let Some(first) = tips.first().filter(|_| !deep.is_empty()) {
            let change = Change {
                secrets: deep,
                branch: trunk.name.clone(),
                trunk: trunk.name.clone(),
                ..Change::default()
            };
            found.extend(judged(policy, first, &change));
        }
        Ok(found)
    }

    /// Which of the issues that commits name are open; `None` where there is nobody to ask, or too many are named.
    pub(super) async fn open_issues(
        &self,
        project: ProjectId,
        commits: &[Commit],
    ) -> Result<Option<super::OpenIssues>> {
        let Some(issues) = self.issues() else {
            return Ok(None);
        };
        let numbers: Vec<i64> = issue::numbers(commits).into_iter().collect();
        if numbers.len() > ISSUES {
            return Ok(None);
        }
        Ok(Some(issues.open(project, &numbers).await?))
    }

    /// The addresses under which an account commits: its own, and the one that the platform gives it.
    async fn addresses_of(&self, user: UserId) -> Result<Vec<String>> {
        let Some(person) = self.sight().person(user).await? else {
            return Ok(Vec::new());
        };
        let mut addresses = vec![person.email, format!("{}@users.noreply.invalid", person.username)];
        addresses.retain(|address| !address.is_empty());
        Ok(addresses)
    }
}

async fn tips<'a>(place: &Place<'_>, made: &[&'a Update]) -> Result<Vec<Tip<'a>>> {
    let tags: Vec<&str> = made
        .iter()
        .filter(|update| update.tag().is_some())
        .filter_map(|update| update.new.as_deref())
        .collect();
    let mut peeled = place.peeled(&tags).await?.into_iter();
    let tip = |update: &&'a Update| {
        let commit = match update.tag() {
            Some(_) => peeled.next().flatten(),
            None => update.new.clone(),
        };
        commit.map(|commit| Tip { update, commit })
    };
    Ok(made.iter().filter_map(tip).collect())
}

/// What a reference brings, before its commits are known. A tag brings its commits as the trunk does: for no task.
fn change(trunk: &Trunk, tip: &Tip<'_>) -> Change {
    Change {
        branch: tip.update.branch().unwrap_or(&trunk.name).to_owned(),
        trunk: trunk.name.clone(),
        ..Change::default()
    }
}

fn judged(policy: &Policy, tip: &Tip<'_>, change: &Change) -> Vec<Found> {
    let findings = judge(policy, change).into_iter();
    findings
        .map(|finding| (tip.update.reference.clone(), finding))
        .collect()
}

/// Second parents of merges that stand on the trunk.
pub(super) async fn merged_from(
    place: &Place<'_>,
    commits: &[Commit],
    trunk: Option<&str>,
) -> Result<HashSet<String>> {
    let fresh: HashSet<&str> = commits.iter().map(|commit| commit.sha.as_str()).collect();
    let merged: HashSet<String> = commits
        .iter()
        .flat_map(|commit| commit.parents.iter().skip(1))
        .filter(|parent| !fresh.contains(parent.as_str()))
        .cloned()
        .collect();
    let Some(trunk) = trunk.filter(|_| !merged.is_empty()) else {
        return Ok(HashSet::new());
    };
    let outside = place.outside(&merged, trunk).await?;
    Ok(merged.into_iter().filter(|sha| !outside.contains(sha)).collect())
}

async fn judge_versions(
    policy: &Policy,
    place: &Place<'_>,
    trunk: &Trunk,
    tips: &[Tip<'_>],
) -> Result<Vec<Found>> {
    let versions: Vec<(&str, &Tip<'_>)> = tips
        .iter()
        .filter_map(|tip| Some((tip.update.tag().filter(|tag| is_version_tag(tag))?, tip)))
        .collect();
    if versions.is_empty() || !policy.asks(&[Rule::ReleaseFromTrunk]) {
        return Ok(Vec::new());
    }
    let commits: HashSet<String> = versions.iter().map(|(_, tip)| tip.commit.clone()).collect();
    let outside = match &trunk.tip {
        Some(tip) => place.outside(&commits, tip).await?,
        // Where there is no trunk there is nothing that a release could come from.
        None => commits,
    };
    let names: Vec<String> = versions
        .iter()
        .take(TAGS)
        .flat_map(|(_, tip)| {
            release::MANIFESTS
                .iter()
                .map(|file| format!("{}:{file}", tip.commit))
        })
        .collect();
    let files = place.objects(&names).await?;
    let mut manifests = files.chunks(release::MANIFESTS.len());
    let mut found = Vec::new();
    for (name, tip) in versions {
        let files = manifests
            .next()
            .unwrap_or_default()
            .iter()
            .zip(release::MANIFESTS);
        let version = |(bytes, file): (&Option<Vec<u8>>, &&str)| {
            let text = String::from_utf8_lossy(bytes.as_ref()?).into_owned();
            Some(((*file).to_owned(), release::version_in(file, &text)?))
        };
        let tag = release::Tag {
            name: name.to_owned(),
            trunk: trunk.name.clone(),
            on_trunk: !outside.contains(&tip.commit),
            manifests: files.filter_map(version).collect(),
        };
        let finding = judge_tag(policy, &tag);
        found.extend(finding.map(|finding| (tip.update.reference.clone(), finding)));
    }
    Ok(found)
}

/// More commits than are judged: what was not looked at does not pass for good.
pub(super) fn too_many(policy: &Policy) -> Option<Finding> {
    let rules = OF_EACH.iter().copied();
    let rule = rules.max_by_key(|rule| policy.level(*rule))?;
    let level = policy.level(rule);
    (level != Level::Off).then(|| {
        let problem = broken(
            rule,
            format!(
                "It brings more than {} commits, the most that are judged at once.",
                gather::COMMITS
            ),
        )
        .next("Push in parts, from older commits to newer ones: git push origin COMMIT:refs/heads/BRANCH.");
        Finding::new(rule, level, problem)
    })
}

/// What is said where git could not name every line that a push adds; by itself that is no reason to refuse it.
fn not_whole(look: Look, policy: &Policy) -> Finding {
    if look == Look::Suspect {
        let what =
            "Something in the push looks like a secret, and the push is too large for the line to be found.";
        let problem = broken(Rule::NoSecrets, what.to_owned())
            .next("Push in parts, from older commits to newer ones: then the file and the line are named.");
        return Finding::new(Rule::NoSecrets, policy.level(Rule::NoSecrets), problem);
    }
    let problem = broken(
        Rule::NoSecrets,
        format!("The push is too large to be looked through whole: at most {} MiB of changes are, the newest first.", PATCHES >> 20),
    )
    .next("Look through the rest yourself, with a scanner such as gitleaks.");
    Finding::new(Rule::NoSecrets, Level::Warn, problem)
}

//! Making suggestions a commit on the source branch, in the name of whoever applies them.

use super::{Anchor, store};
use crate::{
    FileToCommit, Forge, ProjectInfo, Signature,
    code::{Reading, read},
    merge_request::{MergeRequest, State, ended, source_gone},
    review::{
        position::Side,
        suggestion::{self, Edit},
        text,
    },
};
use bascule_core::{
    Caller, Permission, Problem, Result, UserId,
    reference::{issues_in, of_branch},
};
use bascule_ledger::facts::review::{SuggestionsApplied, ThreadResolved};
use bascule_wire::review as wire;
use std::collections::{BTreeMap, BTreeSet};

/// Most suggestions in one commit.
const TOGETHER: usize = 100;
/// Largest file that suggestions change, in bytes.
const FILE: u64 = 1024 * 1024;

/// A suggestion with the lines that it was made for.
struct Wanted {
    anchor: Anchor,
    text: String,
}

impl Forge {
    /// Applies suggestions in one commit, all or none.
    pub(crate) async fn apply_suggestions(
        &self,
        caller: &Caller,
        request: &MergeRequest,
        order: &wire::ApplySuggestions,
    ) -> Result<String> {
        let source = self.may_apply(caller, request).await?;
        let mut refs = order.suggestions.clone();
        refs.sort_by_key(|one| (one.comment, one.number));
        refs.dedup();
        if refs.is_empty() || refs.len() > TOGETHER {
            return Err(Problem::invalid(
                "bad_count",
                format!("Name 1 to {TOGETHER} suggestions."),
            ));
        }
        let done = store::applied(self.db(), request.id).await?;
        let (mut wanted, mut authors, mut threads) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        for one in &refs {
            if done
                .iter()
                .any(|done| done.comment_id == one.comment && done.number == i64::from(one.number))
            {
                return Err(Problem::conflict(
                    "applied_already",
                    "The suggestion was applied already.",
                ));
            }
            let comment = store::comment(self.db(), request.id, one.comment)
                .await?
                .filter(|comment| !comment.deleted && !comment.draft)
                .ok_or_else(|| Problem::not_found("comment"))?;
            let thread = self.thread(caller, request.id, comment.thread_id).await?;
            let block = usize::try_from(one.number)
                .ok()
                .and_then(|number| suggestion::find(&comment.body).into_iter().nth(number))
                .ok_or_else(|| Problem::not_found("suggestion"))?;
            let anchor = thread
                .anchor()
                .filter(|anchor| anchor.side == Side::New)
                .ok_or_else(no_lines)?;
            let lines = block.lines(anchor.lines).ok_or_else(no_lines)?;
            wanted.push(Wanted {
                anchor: Anchor { lines, ..anchor },
                text: block.text,
            });
            if comment.person
                && let Ok(author) = comment.author_id.parse::<UserId>()
            {
                authors.insert(author);
            }
            threads.insert(comment.thread_id);
        }
        let files = self.changed_files(request, wanted).await?;
        let user = caller.user.ok_or_else(Problem::internal)?;
        authors.remove(&user);
        let mut message = self.apply_message(order, &files, refs.len(), authors).await?;
        // Before the trailers, which git reads from the end.
        if issues_in(&message).is_empty()
            && let Some(number) = self.issue_of(request).await?
        {
            let (title, rest) = message.split_once('\n').unwrap_or((&message, ""));
            message = format!("{title}\n\nFor #{number}.\n{rest}");
        }
        let by = self.people()?.signature(user).await?.unwrap_or(Signature {
            name: caller.actor.name.clone(),
            email: String::new(),
        });
        let commit = self
            .commit_onto(
                source.id,
                &request.source_branch,
                Some(&request.head),
                files,
                &message,
                &by,
                &caller.actor,
            )
            .await?;
        let now = self.now();
        let tx = self.db().begin().await?;
        for one in &refs {
            store::apply(&tx, one.comment, one.number, &commit, &caller.actor.name, now).await?;
        }
        let fact = SuggestionsApplied {
            project: request.project_id,
            merge_request: request.id,
            iid: request.iid,
            comments: refs.iter().map(|one| one.comment).collect(),
            commit: commit.clone(),
        };
        self.ledger().append(&tx, &caller.actor, &fact).await?;
        for thread in threads {
            if store::resolve(&tx, thread, Some(&caller.actor.name), Some(now)).await? > 0 {
                let fact = ThreadResolved {
                    project: request.project_id,
                    merge_request: request.id,
                    iid: request.iid,
                    thread,
                    resolved: true,
                };
                self.ledger().append(&tx, &caller.actor, &fact).await?;
            }
        }
        tx.commit().await?;
        Ok(commit)
    }

    /// The issue that a request is for, so that a commit of the platform names it as those of people do: what its
    /// branch carries, or else the first that its title, description or newest commit names.
    async fn issue_of(&self, request: &MergeRequest) -> Result<Option<i64>> {
        if let Some(number) = of_branch(&request.source_branch) {
            return Ok(Some(number));
        }
        let newest = self.commit_message(request.project_id, &request.head).await?;
        let texts = [request.title.as_str(), &request.description]
            .into_iter()
            .chain(newest.as_deref());
        let mut issues = texts.flat_map(issues_in);
        Ok(issues
            .find(|issue| issue.project.is_none())
            .map(|issue| issue.number))
    }

    /// Refuses whoever could not push this to the source branch themselves.
    pub(crate) async fn may_apply(&self, caller: &Caller, request: &MergeRequest) -> Result<ProjectInfo> {
        if request.state != State::Open {
            return Err(ended(request));
        }
        let Some(user) = caller.person() else {
            return Err(
                Problem::new(403, "not_a_person", "Only a person applies suggestions.")
                    .why("The commit is made in the name of whoever applies them.")
                    .next("Sign in, or use a personal token."),
            );
        };
        let source = self
            .project_by_id(request.source_project_id)
            .await?
            .ok_or_else(|| source_gone(request))?;
        let role = self.people()?.role(user, &source).await?;
        let needed = if self
            .is_protected(source.id, &request.source_branch, false)
            .await?
        {
            Permission::ProtectedPush
        } else {
            Permission::CodePush
        };
        if role.is_some_and(|role| role.holds(needed)) && caller.scope_allows(needed) {
            return Ok(source);
        }
        Err(Problem::forbidden(needed).why(
            "Applying a suggestion is a commit on the source branch, which takes the right to push there.",
        ))
    }

    /// The files as they will be.
    async fn changed_files(&self, request: &MergeRequest, wanted: Vec<Wanted>) -> Result<Vec<FileToCommit>> {
        let anchors = wanted.iter().map(|one| Some(one.anchor.clone())).collect();
        let places = self.place_all(request, anchors).await?;
        let mut edits: BTreeMap<String, Vec<Edit>> = BTreeMap::new();
        for (one, place) in wanted.into_iter().zip(places) {
            let place = place
                .filter(|place| !place.outdated)
                .ok_or_else(suggestion::gone)?;
            edits.entry(place.path).or_default().push(Edit {
                lines: place.lines,
                text: one.text,
            });
        }
        let head = request.head.clone();
        self.repositories()
            .read(request.project_id, move |repo| {
                edits
                    .into_iter()
                    .map(|(path, edits)| edited(repo, &head, path, &edits))
                    .collect()
            })
            .await
    }

    async fn apply_message(
        &self,
        order: &wire::ApplySuggestions,
        files: &[FileToCommit],
        count: usize,
        authors: BTreeSet<UserId>,
    ) -> Result<String> {
        let given = order.message.as_deref().map_or("", str::trim);
        let mut message = if given.is_empty() {
            let what = if count == 1 {
                "a suggestion".to_owned()
            } else {
                format!("{count} suggestions")
            };
            match files {
                [one] => format!("Apply {what} to {}", one.path),
                several => format!("Apply {what} to {} files", several.len()),
            }
        } else {
            text::body(given)?
        };
        let mut trailers = String::new();
        for author in authors {
            if let Some(signature) = self.people()?.signature(author).await? {
                let clean = |text: &str| -> String {
                    text.chars()
                        .filter(|c| !c.is_control() && !matches!(c, '<' | '>'))
                        .collect()
                };
                let address = match clean(&signature.email) {
                    address if address.is_empty() => "noreply@bascule.invalid".to_owned(),
                    address => address,
                };
                trailers.push_str(&format!(
                    "\nCo-authored-by: {} <{address}>",
                    clean(&signature.name)
                ));
            }
        }
        if !trailers.is_empty() {
            message.push('\n');
            message.push_str(&trailers);
        }
        Ok(message)
    }
}

/// One file with its edits. Only whole text is edited: anything else would come back changed elsewhere too.
fn edited(repo: &gix::Repository, head: &str, path: String, edits: &[Edit]) -> Reading<FileToCommit> {
    let commit = read::object_id(head).ok_or_else(suggestion::gone)?;
    let bytes = read::file(repo, commit, path.as_bytes(), FILE)?.ok_or_else(suggestion::gone)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Problem::invalid("no_text", format!("`{path}` is not UTF-8 text."))
            .why("Put together anew, bytes that are no text would be lost.")
            .next("Make the change by hand.")
    })?;
    Ok(FileToCommit {
        bytes: suggestion::apply(&text, edits)?.into_bytes(),
        path,
    })
}

fn no_lines() -> Problem {
    Problem::invalid(
        "no_lines",
        "The suggestion does not stand on lines of the new text.",
    )
    .why("It replaces the lines that its comment is about.")
    .next("Comment on the lines and suggest there.")
}

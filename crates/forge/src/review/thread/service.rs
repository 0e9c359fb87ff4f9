//! Beginning threads, answering, changing one's words, settling.

use super::{Anchor, Comment, Talk, Thread, me, place, store};
use crate::{
    Forge, ProjectInfo,
    merge_request::MergeRequest,
    review::{
        position::{LINES, Lines, Side, text_of},
        text,
    },
};
use bascule_core::{Caller, CommentId, MergeRequestId, Permission, Problem, ProjectScope, Result, ThreadId};
use bascule_ledger::facts::review::{CommentAdded, CommentDeleted, CommentEdited, ThreadResolved};
use bascule_store::Tx;
use bascule_wire::review as wire;

/// Most threads of one request.
const THREADS: i64 = 3_000;
/// Most comments of one thread.
const COMMENTS: i64 = 500;
/// Most comments that one person keeps back.
pub(super) const DRAFTS: usize = 500;

impl Forge {
    /// A page of a request's threads as a caller sees them, with where they stand.
    pub(crate) async fn talks(
        &self,
        caller: &Caller,
        request: &MergeRequest,
        after: Option<ThreadId>,
        limit: i64,
    ) -> Result<Vec<Talk>> {
        let me = me(caller);
        let threads = store::threads(self.db(), request.id, &me, after, limit).await?;
        let (Some(first), Some(last)) = (threads.first(), threads.last()) else {
            return Ok(Vec::new());
        };
        let most = limit.saturating_mul(COMMENTS).min(50_000);
        let comments = store::comments(self.db(), request.id, &me, first.id, last.id, most).await?;
        let places = self
            .place_all(request, threads.iter().map(Thread::anchor).collect())
            .await?;
        let mut comments = comments.into_iter().peekable();
        let mut talks: Vec<Talk> = Vec::new();
        for (thread, place) in threads.into_iter().zip(places) {
            let mut own = Vec::new();
            while let Some(comment) = comments.next_if(|comment| comment.thread_id <= thread.id) {
                if comment.thread_id == thread.id {
                    own.push(comment);
                }
            }
            talks.push(Talk {
                thread,
                comments: own,
                place,
            });
        }
        Ok(talks)
    }

    /// A thread that the caller may see.
    pub(crate) async fn thread(
        &self,
        caller: &Caller,
        request: MergeRequestId,
        id: ThreadId,
    ) -> Result<Thread> {
        store::thread(self.db(), request, id)
            .await?
            .filter(|thread| !thread.draft || thread.opened_by == me(caller))
            .ok_or_else(|| Problem::not_found("thread"))
    }

    /// Begins a thread. Returns it with the comment.
    pub(crate) async fn begin_thread(
        &self,
        caller: &Caller,
        project: &ProjectInfo,
        request: &MergeRequest,
        new: &wire::NewThread,
    ) -> Result<Thread> {
        let made = self.make_thread(caller, request, new).await?;
        let mentions = self.mentions(project, &made.1.body).await?;
        let tx = self.db().begin().await?;
        self.write_thread(&tx, caller, request, &made, mentions).await?;
        tx.commit().await?;
        Ok(made.0)
    }

    /// Checks a thread to be; nothing is written.
    pub(super) async fn make_thread(
        &self,
        caller: &Caller,
        request: &MergeRequest,
        new: &wire::NewThread,
    ) -> Result<(Thread, Comment)> {
        let body = text::body(&new.body)?;
        if store::count_threads(self.db(), request.id).await? >= THREADS {
            return Err(Problem::conflict(
                "too_many_threads",
                format!("A merge request has at most {THREADS} threads."),
            )
            .next("Answer in one that is there."));
        }
        let anchor = match &new.position {
            Some(position) => Some(self.anchor(request, position).await?),
            None => None,
        };
        let now = self.now();
        let thread = Thread {
            id: ThreadId::new(),
            merge_request_id: request.id,
            project_id: request.project_id,
            opened_by: me(caller),
            draft: new.draft,
            side: anchor.as_ref().map(|anchor| anchor.side.as_str().to_owned()),
            start_line: anchor.as_ref().map(|anchor| i64::from(anchor.lines.start)),
            end_line: anchor.as_ref().map(|anchor| i64::from(anchor.lines.end)),
            path: anchor.map(|anchor| anchor.path),
            base: request.base.clone(),
            head: request.head.clone(),
            resolved_by: None,
            resolved_at: None,
            created_at: now,
        };
        let comment = comment(caller, &thread, body, new.draft, now);
        if new.draft {
            self.room_for_drafts(caller, request).await?;
        }
        Ok((thread, comment))
    }

    async fn room_for_drafts(&self, caller: &Caller, request: &MergeRequest) -> Result<()> {
        if store::drafts(self.db(), request.id, &me(caller)).await?.len() >= DRAFTS {
            return Err(Problem::conflict(
                "too_many_drafts",
                format!("You keep {DRAFTS} comments back already."),
            )
            .next("Send your review, then go on."));
        }
        Ok(())
    }

    /// Writes a thread, and its fact unless it is kept back.
    pub(super) async fn write_thread(
        &self,
        tx: &Tx,
        caller: &Caller,
        request: &MergeRequest,
        (thread, comment): &(Thread, Comment),
        mentions: Vec<bascule_core::UserId>,
    ) -> Result<()> {
        store::insert_thread(tx, thread).await?;
        store::insert_comment(tx, comment).await?;
        if !comment.draft {
            let fact = CommentAdded {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                thread: thread.id,
                comment: comment.id,
                author: caller.user,
                mentions,
                participants: Vec::new(),
            };
            self.ledger().append(tx, &caller.actor, &fact).await?;
        }
        Ok(())
    }

    /// The lines that a position means in the request's present version. They must be there.
    async fn anchor(&self, request: &MergeRequest, position: &wire::Position) -> Result<Anchor> {
        if !position.head.is_empty() && position.head != request.head {
            return Err(Problem::conflict(
                "stale_head",
                "The merge request has changed since you looked at it.",
            )
            .why("The numbers of lines may mean others by now.")
            .next("Look at the changes again and comment there."));
        }
        let side = match position.side.as_str() {
            "" | "new" => Side::New,
            "old" => Side::Old,
            _ => {
                return Err(Problem::invalid("bad_side", "A side is `new` or `old`."));
            }
        };
        let end = if position.end == 0 {
            position.start
        } else {
            position.end
        };
        let lines = Lines::new(position.start, end).ok_or_else(|| {
            Problem::invalid(
                "bad_lines",
                format!("A comment is about 1 to {LINES} lines, counted from 1."),
            )
        })?;
        let sha = match side {
            Side::Old => request.base.clone(),
            Side::New => request.head.clone(),
        };
        let anchor = Anchor {
            path: position.path.clone(),
            side,
            lines,
            sha: sha.clone(),
        };
        let path = anchor.path.clone();
        let found = self
            .repositories()
            .read(request.project_id, move |repo| place::text_at(repo, &sha, &path))
            .await?;
        if found.is_some_and(|text| text_of(&text, lines).is_some()) {
            return Ok(anchor);
        }
        Err(
            Problem::invalid("no_such_lines", "There are no such lines in this version.")
                .why("A comment stands on lines that are there: of the new text, or of the old one.")
                .next("Name a file and lines of the change; say `side: old` for removed lines."),
        )
    }

    /// Answers in a thread.
    pub(crate) async fn reply(
        &self,
        caller: &Caller,
        project: &ProjectInfo,
        request: &MergeRequest,
        id: ThreadId,
        new: &wire::NewReply,
    ) -> Result<CommentId> {
        let thread = self.thread(caller, request.id, id).await?;
        let body = text::body(&new.body)?;
        if store::count_comments(self.db(), id).await? >= COMMENTS {
            return Err(Problem::conflict(
                "too_many_comments",
                format!("A thread has at most {COMMENTS} comments."),
            )
            .next("Begin a new thread."));
        }
        // In a thread that is kept back nothing can be said aloud.
        let draft = new.draft || thread.draft;
        if draft {
            self.room_for_drafts(caller, request).await?;
        }
        let comment = comment(caller, &thread, body, draft, self.now());
        let mentions = self.mentions(project, &comment.body).await?;
        let participants = store::participants(self.db(), id).await?;
        let tx = self.db().begin().await?;
        store::insert_comment(&tx, &comment).await?;
        if !draft {
            let fact = CommentAdded {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                thread: id,
                comment: comment.id,
                author: caller.user,
                mentions,
                participants,
            };
            self.ledger().append(&tx, &caller.actor, &fact).await?;
        }
        tx.commit().await?;
        Ok(comment.id)
    }

    /// One's own comment.
    pub(crate) async fn own_comment(
        &self,
        caller: &Caller,
        request: &MergeRequest,
        id: CommentId,
    ) -> Result<Comment> {
        let me = me(caller);
        let comment = store::comment(self.db(), request.id, id)
            .await?
            .filter(|comment| !comment.deleted && (!comment.draft || comment.author_id == me))
            .ok_or_else(|| Problem::not_found("comment"))?;
        if comment.author_id == me {
            return Ok(comment);
        }
        Err(Problem::new(403, "not_yours", "This is someone else's comment.")
            .why("Nobody puts words into another's mouth.")
            .next("Answer it instead."))
    }

    /// Changes one's own words.
    pub(crate) async fn edit_comment(
        &self,
        caller: &Caller,
        project: &ProjectInfo,
        request: &MergeRequest,
        id: CommentId,
        body: &str,
    ) -> Result<()> {
        let comment = self.own_comment(caller, request, id).await?;
        let body = text::body(body)?;
        let mentions = self.mentions(project, &body).await?;
        let tx = self.db().begin().await?;
        store::edit(&tx, id, &body, self.now()).await?;
        if !comment.draft {
            let fact = CommentEdited {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                thread: comment.thread_id,
                comment: id,
                mentions,
            };
            self.ledger().append(&tx, &caller.actor, &fact).await?;
        }
        Ok(tx.commit().await?)
    }

    /// Takes one's own words back.
    pub(crate) async fn delete_comment(
        &self,
        caller: &Caller,
        request: &MergeRequest,
        id: CommentId,
    ) -> Result<()> {
        let comment = self.own_comment(caller, request, id).await?;
        let tx = self.db().begin().await?;
        if comment.draft {
            store::discard(&tx, &comment).await?;
        } else if store::blank(&tx, id, self.now()).await? > 0 {
            let fact = CommentDeleted {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                thread: comment.thread_id,
                comment: id,
            };
            self.ledger().append(&tx, &caller.actor, &fact).await?;
        }
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }

    /// Settles a thread, or opens it again.
    pub(crate) async fn resolve_thread(
        &self,
        caller: &Caller,
        scope: &ProjectScope,
        request: &MergeRequest,
        id: ThreadId,
        resolved: bool,
    ) -> Result<()> {
        let thread = self.thread(caller, request.id, id).await?;
        let own = thread.opened_by == me(caller) || request.author_id.is_some_and(|a| caller.user == Some(a));
        if !own && !scope.holds(Permission::CodePush) {
            return Err(Problem::forbidden(Permission::CodePush).why(
                "A thread is settled by whoever began it, whoever opened the request, and developers of the project.",
            ));
        }
        let tx = self.db().begin().await?;
        let (by, at) = if resolved {
            (Some(caller.actor.name.as_str()), Some(self.now()))
        } else {
            (None, None)
        };
        if store::resolve(&tx, id, by, at).await? > 0 {
            let fact = ThreadResolved {
                project: request.project_id,
                merge_request: request.id,
                iid: request.iid,
                thread: id,
                resolved,
            };
            self.ledger().append(&tx, &caller.actor, &fact).await?;
        }
        tx.commit().await?;
        self.wake_merges();
        Ok(())
    }
}

fn comment(
    caller: &Caller,
    thread: &Thread,
    body: String,
    draft: bool,
    now: bascule_core::Timestamp,
) -> Comment {
    Comment {
        id: CommentId::new(),
        thread_id: thread.id,
        merge_request_id: thread.merge_request_id,
        author_id: me(caller),
        author_name: caller.actor.name.clone(),
        person: caller.user.is_some(),
        body,
        draft,
        deleted: false,
        created_at: now,
        edited_at: None,
    }
}

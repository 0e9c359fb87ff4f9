//! Discussions: on lines of a change, or about a request as a whole.

pub(crate) mod api;
pub(crate) mod apply;
pub(crate) mod place;
mod service;
pub(crate) mod store;
mod submit;

use super::position::{Lines, Side};
use bascule_core::{Caller, CommentId, MergeRequestId, ProjectId, ThreadId, Timestamp};
use bascule_store::row;

row! {
    /// A discussion.
    #[derive(Clone, Debug)]
    pub(crate) struct Thread {
        pub(crate) id: ThreadId,
        pub(crate) merge_request_id: MergeRequestId,
        pub(crate) project_id: ProjectId,
        /// Who began it, by [`me`].
        pub(crate) opened_by: String,
        /// Whether it waits for its review to be sent.
        pub(crate) draft: bool,
        /// The file, if it is about lines: on the old side as it was called then.
        pub(crate) path: Option<String>,
        pub(crate) side: Option<String>,
        pub(crate) start_line: Option<i64>,
        pub(crate) end_line: Option<i64>,
        /// The commits whose difference was looked at.
        pub(crate) base: String,
        pub(crate) head: String,
        pub(crate) resolved_by: Option<String>,
        pub(crate) resolved_at: Option<Timestamp>,
        pub(crate) created_at: Timestamp,
    }
}

row! {
    /// One comment.
    #[derive(Clone, Debug)]
    pub(crate) struct Comment {
        pub(crate) id: CommentId,
        pub(crate) thread_id: ThreadId,
        pub(crate) merge_request_id: MergeRequestId,
        /// Who wrote it, by [`me`].
        pub(crate) author_id: String,
        pub(crate) author_name: String,
        /// Whether that is a person.
        pub(crate) person: bool,
        pub(crate) body: String,
        pub(crate) draft: bool,
        pub(crate) deleted: bool,
        pub(crate) created_at: Timestamp,
        pub(crate) edited_at: Option<Timestamp>,
    }
}

/// Lines that a thread is about, as it was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) path: String,
    pub(crate) side: Side,
    pub(crate) lines: Lines,
    /// The commit in which the lines are counted.
    pub(crate) sha: String,
}

/// A discussion with what was said.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) thread: Thread,
    pub(crate) comments: Vec<Comment>,
    /// Where it stands now.
    pub(crate) place: Option<place::Placed>,
}

impl Thread {
    /// The lines that it is about.
    pub(crate) fn anchor(&self) -> Option<Anchor> {
        let number = |line: Option<i64>| u32::try_from(line?).ok();
        let side = Side::parse(self.side.as_deref()?);
        Some(Anchor {
            path: self.path.clone()?,
            side,
            lines: Lines::new(number(self.start_line)?, number(self.end_line)?)?,
            sha: match side {
                Side::Old => self.base.clone(),
                Side::New => self.head.clone(),
            },
        })
    }
}

impl Talk {
    /// Whether anything is left of it that may be settled.
    pub(crate) fn is_live(&self) -> bool {
        self.comments.iter().any(|comment| !comment.deleted)
    }
}

/// What a caller's comments are known by: the account, or the token where none stands behind it.
pub(crate) fn me(caller: &Caller) -> String {
    match caller.user {
        Some(user) => user.to_string(),
        None => caller.actor.id.clone(),
    }
}

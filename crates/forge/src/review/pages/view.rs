//! A thread as pages show it.

use crate::{
    Forge,
    merge_request::MergeRequest,
    review::{
        position::{Lines, Side, text_of},
        suggestion,
        thread::{Comment, Talk, api::suggestions, me, place::text_at, store},
    },
};
use askama::Template;
use bascule_core::{Caller, Permission, ProjectScope, Result};
use bascule_web::{Markup, markdown, when};
use std::collections::HashMap;

/// A suggestion, as a change of lines.
pub(super) struct Suggested {
    pub(super) number: u32,
    pub(super) old: Vec<String>,
    pub(super) new: Vec<String>,
    pub(super) first: u32,
    /// Where it is a commit by now.
    pub(super) applied: Option<(String, String)>,
    pub(super) may_apply: bool,
}

/// One comment.
pub(super) struct Said {
    pub(super) id: String,
    pub(super) author: String,
    pub(super) bot: bool,
    pub(super) when: Markup,
    pub(super) edited: Option<Markup>,
    pub(super) draft: bool,
    pub(super) deleted: bool,
    pub(super) own: bool,
    pub(super) body: Markup,
    pub(super) suggestions: Vec<Suggested>,
}

/// A thread.
#[derive(Template)]
#[template(path = "review/pages/thread.html")]
pub(super) struct View {
    pub(super) id: String,
    /// The request's page.
    pub(super) base: String,
    /// The lines that it is about, and where they are shown.
    pub(super) place: Option<(String, String)>,
    pub(super) outdated: bool,
    pub(super) resolved: Option<(String, Markup)>,
    pub(super) draft: bool,
    pub(super) comments: Vec<Said>,
    pub(super) may_write: bool,
    pub(super) may_resolve: bool,
    pub(super) previous: Option<String>,
    pub(super) next: Option<String>,
    /// Where forms lead back to: `overview`, or `changes` from a file on.
    pub(super) back: &'static str,
    pub(super) from: usize,
}

/// What is asked of all threads of a page.
pub(super) struct Scene<'a> {
    pub(super) caller: &'a Caller,
    pub(super) scope: &'a ProjectScope,
    pub(super) request: &'a MergeRequest,
    pub(super) base: String,
    pub(super) back: &'static str,
    pub(super) from: usize,
}

impl Forge {
    /// Threads as a page shows them. Those in which nothing is left are left out.
    pub(super) async fn views(&self, scene: &Scene<'_>, talks: Vec<Talk>) -> Result<Vec<View>> {
        let talks: Vec<Talk> = talks.into_iter().filter(Talk::is_live).collect();
        let applied = store::applied(self.db(), scene.request.id).await?;
        let may_apply = talks.iter().any(|talk| talk.place.is_some())
            && self.may_apply(scene.caller, scene.request).await.is_ok();
        let texts = self.texts_of(scene.request, &talks).await?;
        let me = me(scene.caller);
        let ids: Vec<String> = talks
            .iter()
            .map(|talk| format!("#thread-{}", talk.thread.id))
            .collect();
        let mut views = Vec::new();
        for (at, talk) in talks.iter().enumerate() {
            let comments = talk
                .comments
                .iter()
                .map(|comment| said(scene, talk, comment, &applied, &texts, may_apply, &me))
                .collect();
            let own = talk.thread.opened_by == me
                || (scene.caller.user.is_some() && scene.caller.user == scene.request.author_id);
            let may_write = scene.scope.holds(Permission::MergeRequestWrite);
            views.push(View {
                id: talk.thread.id.to_string(),
                base: scene.base.clone(),
                place: talk.place.as_ref().map(|place| {
                    let lines = lines_text(place.lines, place.side);
                    (
                        format!("{}, {lines}", crate::code::shown(place.path.as_bytes())),
                        format!("{}/changes#thread-{}", scene.base, talk.thread.id),
                    )
                }),
                outdated: talk.place.as_ref().is_some_and(|place| place.outdated),
                resolved: talk
                    .thread
                    .resolved_by
                    .clone()
                    .zip(talk.thread.resolved_at.map(when)),
                draft: talk.thread.draft,
                comments,
                may_write,
                may_resolve: may_write && (own || scene.scope.holds(Permission::CodePush)),
                previous: at.checked_sub(1).and_then(|at| ids.get(at)).cloned(),
                next: ids.get(at + 1).cloned(),
                back: scene.back,
                from: scene.from,
            });
        }
        Ok(views)
    }

    /// The texts of files in which something is suggested.
    async fn texts_of(&self, request: &MergeRequest, talks: &[Talk]) -> Result<HashMap<String, String>> {
        let mut paths: Vec<String> = talks
            .iter()
            .filter(|talk| {
                talk.comments
                    .iter()
                    .any(|comment| comment.body.contains("suggestion"))
            })
            .filter_map(|talk| talk.place.as_ref())
            .filter(|place| !place.outdated && place.side == Side::New)
            .map(|place| place.path.clone())
            .collect();
        paths.sort();
        paths.dedup();
        paths.truncate(100);
        if paths.is_empty() {
            return Ok(HashMap::new());
        }
        let head = request.head.clone();
        self.repositories()
            .read(request.project_id, move |repo| {
                let mut texts = HashMap::new();
                for path in paths {
                    if let Some(text) = text_at(repo, &head, &path)? {
                        texts.insert(path, text);
                    }
                }
                Ok(texts)
            })
            .await
    }
}

/// A part of a page as HTML.
pub(super) fn html(part: &impl Template) -> Result<String> {
    part.render().map_err(|error| {
        tracing::error!(%error, "a part of a page could not be made");
        bascule_core::Problem::internal()
    })
}

pub(super) fn lines_text(lines: Lines, side: Side) -> String {
    let old = if side == Side::Old { "old " } else { "" };
    if lines.start == lines.end {
        format!("{old}line {}", lines.start)
    } else {
        format!("{old}lines {} to {}", lines.start, lines.end)
    }
}

fn said(
    scene: &Scene<'_>,
    talk: &Talk,
    comment: &Comment,
    applied: &[store::Applied],
    texts: &HashMap<String, String>,
    may_apply: bool,
    me: &str,
) -> Said {
    let project = scene.scope.path();
    let found = suggestions(comment, talk, applied);
    // Where suggestions cannot be shown as changes, they stay in the text.
    let text = if found.is_empty() {
        comment.body.clone()
    } else {
        suggestion::without(&comment.body, &suggestion::find(&comment.body))
    };
    let lines = |text: &str| -> Vec<String> { text.lines().map(str::to_owned).collect() };
    Said {
        id: comment.id.to_string(),
        author: comment.author_name.clone(),
        bot: !comment.person,
        when: when(comment.created_at),
        edited: comment.edited_at.filter(|_| !comment.deleted).map(when),
        draft: comment.draft,
        deleted: comment.deleted,
        own: comment.author_id == me && !comment.deleted,
        body: markdown::of_project(&text, &project, &scene.request.head),
        suggestions: found
            .into_iter()
            .map(|one| {
                let range = one
                    .start
                    .zip(one.end)
                    .and_then(|(start, end)| Lines::new(start, end));
                let old = talk
                    .place
                    .as_ref()
                    .and_then(|place| texts.get(&place.path))
                    .zip(range)
                    .and_then(|(text, lines)| text_of(text, lines));
                Suggested {
                    number: one.number,
                    first: range.map_or(0, |lines| lines.start),
                    may_apply: may_apply && old.is_some(),
                    old: old.as_deref().map(lines).unwrap_or_default(),
                    new: lines(&one.text),
                    applied: one.applied.map(|sha| {
                        let short = sha.chars().take(8).collect();
                        (format!("/{project}/-/commit/{sha}"), short)
                    }),
                }
            })
            .collect(),
    }
}

//! Messages of the commits that merging makes.

use super::Approver;
use crate::merge_request::{MergeRequest, Settings, Strategy, text};

/// Who wrote one of the commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Writer {
    pub(crate) name: String,
    pub(crate) email: String,
}

/// What a message is made of.
pub(crate) struct Words<'a> {
    pub(crate) request: &'a MergeRequest,
    /// `group/project` of the target.
    pub(crate) project: &'a str,
    /// Titles of the commits, oldest first.
    pub(crate) titles: &'a [String],
    /// Who wrote them, save who the commit names as its author.
    pub(crate) writers: &'a [Writer],
    pub(crate) approvers: &'a [Approver],
}

const MERGE: &str = "Merge branch '%{source_branch}' into '%{target_branch}'\n\n%{title}";
const SQUASH: &str = "%{title}\n\n%{description}";
/// Longest description taken into a message, in characters.
const DESCRIPTION: usize = 10_000;

/// The message of a merge or of a squashed commit.
pub(crate) fn message(settings: &Settings, strategy: Strategy, words: &Words<'_>) -> String {
    let request = words.request;
    let reference = format!("{}!{}", words.project, request.iid);
    let (template, squash) = match strategy {
        Strategy::Squash => (settings.squash_message.as_str(), true),
        _ => (settings.merge_message.as_str(), false),
    };
    let template = match (template.is_empty(), squash) {
        (false, _) => template,
        (true, true) => SQUASH,
        (true, false) => MERGE,
    };
    let filled = text::fill(template, |word| match word {
        "title" => request.title.clone(),
        "description" => cut(&request.description),
        "source_branch" => request.source_branch.clone(),
        "target_branch" => request.target_branch.clone(),
        "reference" => reference.clone(),
        "author" => request.author_name.clone(),
        "commits" => words
            .titles
            .iter()
            .map(|title| format!("* {title}"))
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    });
    // A line that looks like a trailer inside the text stays text: git reads trailers in the last paragraph alone.
    let mut message = plain(&filled).trim().to_owned();
    if message.is_empty() {
        message.clone_from(&request.title);
    }
    message.push_str("\n\n");
    if squash {
        for writer in words.writers {
            message.push_str(&format!(
                "Co-authored-by: {} <{}>\n",
                one_line(&writer.name),
                one_line(&writer.email)
            ));
        }
    }
    for approver in words.approvers {
        message.push_str(&format!("Approved-by: {}\n", one_line(&approver.name)));
    }
    message.push_str(&format!("See merge request {reference}\n"));
    message
}

fn cut(text: &str) -> String {
    text.chars().take(DESCRIPTION).collect()
}

fn plain(text: &str) -> String {
    text.chars()
        .filter(|c| *c == '\n' || *c == '\t' || !c.is_control())
        .collect()
}

fn one_line(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_control() && !matches!(c, '<' | '>'))
        .collect()
}

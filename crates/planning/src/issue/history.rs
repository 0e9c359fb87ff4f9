//! What happened to an issue: facts of the ledger, merged with what people wrote.

use super::{Issue, store};
use crate::Planning;
use bascule_core::Result;
use bascule_ledger::{Filter, Page};
use bascule_wire::planning::HistoryEntry;

/// Newest facts and comments that are shown.
const FACTS: i64 = 300;
const COMMENTS: i64 = 500;

impl Planning {
    /// The history of an issue, oldest first.
    pub(crate) async fn history(&self, issue: &Issue) -> Result<Vec<HistoryEntry>> {
        let filter = Filter {
            subject: Some(format!("issue:{}", issue.row.id)),
            ..Filter::default()
        };
        let newest = Page::Newest {
            before: None,
            limit: FACTS,
        };
        let mut lines: Vec<HistoryEntry> = self
            .ledger
            .read(&filter, newest)
            .await?
            .into_iter()
            .rev()
            // The comment itself says more than the fact that there is one.
            .filter(|entry| entry.kind != "issue.commented")
            .map(|entry| HistoryEntry {
                at: entry.at,
                actor: entry.actor.name,
                kind: entry.kind,
                text: entry.summary,
                seq: Some(entry.seq),
                comment: None,
            })
            .collect();
        for comment in store::comments(&self.db, issue.row.id, COMMENTS).await? {
            lines.push(HistoryEntry {
                at: comment.at,
                actor: comment.actor,
                kind: "comment".to_owned(),
                text: comment.body,
                seq: None,
                comment: Some(comment.number),
            });
        }
        // Stable: facts of one instant stay in the ledger's order.
        lines.sort_by_key(|line| line.at);
        Ok(lines)
    }
}

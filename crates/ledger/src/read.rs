use crate::{
    Entry, Ledger,
    entry::{COLUMNS, EntryRow},
};
use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Query as _, Result, ToSql as _, Value, args};

/// Which facts to read. Every field narrows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these kinds; empty for all. An ending `.*` stands for every kind of that noun.
    pub kinds: Vec<String>,
    /// Of this project.
    pub project: Option<ProjectId>,
    /// Of these projects and of none else; `None` for all, and for facts that belong to no project.
    pub projects: Option<Vec<ProjectId>>,
    /// About this subject.
    pub subject: Option<String>,
    /// By this actor's name.
    pub actor: Option<String>,
    /// At or after this instant.
    pub from: Option<Timestamp>,
    /// Before this instant.
    pub to: Option<Timestamp>,
    /// With this text in the summary, any case.
    pub text: Option<String>,
}

/// Which part of the answer.
#[derive(Clone, Copy, Debug)]
pub enum Page {
    /// The newest `limit` facts, or those older than the given number; newest first.
    Newest {
        /// Only facts before this one.
        before: Option<i64>,
        /// How many at most.
        limit: i64,
    },
    /// Facts after the given number, oldest first.
    After {
        /// Only facts after this one.
        after: i64,
        /// How many at most.
        limit: i64,
    },
}

impl Ledger {
    /// Reads facts.
    ///
    /// # Errors
    /// The database refused.
    pub async fn read(&self, filter: &Filter, page: Page) -> Result<Vec<Entry>> {
        let mut query = Conditions::default();
        query.filter(filter);
        let (order, limit) = match page {
            Page::Newest { before, limit } => {
                if let Some(before) = before {
                    query.and("seq < ?", before.to_sql());
                }
                ("DESC", limit)
            }
            Page::After { after, limit } => {
                query.and("seq > ?", after.to_sql());
                ("ASC", limit)
            }
        };
        let limit_at = query.bind(limit.to_sql());
        let sql = format!("SELECT {COLUMNS} FROM fact{} ORDER BY seq {order} LIMIT ${limit_at}", query.clause());
        let rows: Vec<EntryRow> = self.db.all(&sql, query.args).await?;
        Ok(rows.into_iter().map(Entry::from).collect())
    }

    /// One fact by its number.
    ///
    /// # Errors
    /// The database refused.
    pub async fn entry(&self, seq: i64) -> Result<Option<Entry>> {
        let sql = format!("SELECT {COLUMNS} FROM fact WHERE seq = $1");
        Ok(self.db.one::<EntryRow>(&sql, args![seq]).await?.map(Entry::from))
    }

    /// The number of the newest fact dated before an instant; zero if there is none. Turns a question about
    /// time into one about numbers, which every index carries.
    ///
    /// # Errors
    /// The database refused.
    pub async fn seq_before(&self, at: Timestamp) -> Result<i64> {
        self.db.count("SELECT seq AS n FROM fact WHERE at < $1 ORDER BY at DESC, seq DESC LIMIT 1", args![at]).await
    }

    /// The number of the newest fact; zero for an empty ledger.
    ///
    /// # Errors
    /// The database refused.
    pub async fn head(&self) -> Result<i64> {
        self.db.count("SELECT seq AS n FROM ledger_head WHERE one = 1", args![]).await
    }
}

/// Most projects one question may name; both engines take at least so many values.
const PROJECTS_AT_MOST: usize = 30_000;

#[derive(Default)]
struct Conditions {
    parts: Vec<String>,
    args: Vec<Value>,
}

impl Conditions {
    fn bind(&mut self, value: Value) -> usize {
        self.args.push(value);
        self.args.len()
    }

    fn and(&mut self, condition: &str, value: Value) {
        let at = self.bind(value);
        self.parts.push(condition.replace('?', &format!("${at}")));
    }

    fn filter(&mut self, filter: &Filter) {
        if !filter.kinds.is_empty() {
            let mut any = Vec::new();
            for kind in &filter.kinds {
                if let Some(noun) = kind.strip_suffix(".*") {
                    // A range and not LIKE, so that the index serves: '/' follows '.' in every collation we use.
                    let from = self.bind(format!("{noun}.").to_sql());
                    let to = self.bind(format!("{noun}/").to_sql());
                    any.push(format!("(kind >= ${from} AND kind < ${to})"));
                } else {
                    let at = self.bind(kind.to_sql());
                    any.push(format!("kind = ${at}"));
                }
            }
            self.parts.push(format!("({})", any.join(" OR ")));
        }
        if let Some(project) = filter.project {
            self.and("project_id = ?", project.to_sql());
        }
        if let Some(projects) = &filter.projects {
            let mut places = Vec::new();
            for project in projects.iter().take(PROJECTS_AT_MOST) {
                places.push(format!("${}", self.bind(project.to_sql())));
            }
            // COALESCE keeps the planner on the order of seq: sorting all facts of a thousand projects to
            // show fifty would take seconds. One project alone is found by its index.
            let column = if places.len() == 1 { "project_id" } else { "COALESCE(project_id, '')" };
            self.parts.push(format!("{column} IN ({})", if places.is_empty() { "NULL".to_owned() } else { places.join(", ") }));
        }
        if let Some(subject) = &filter.subject {
            self.and("subject = ?", subject.to_sql());
        }
        if let Some(actor) = &filter.actor {
            self.and("actor_name = ?", actor.to_sql());
        }
        if let Some(from) = filter.from {
            self.and("at >= ?", from.to_sql());
        }
        if let Some(to) = filter.to {
            self.and("at < ?", to.to_sql());
        }
        if let Some(text) = filter.text.as_ref().filter(|text| !text.trim().is_empty()) {
            let escaped = text.to_lowercase().replace('!', "!!").replace('%', "!%").replace('_', "!_");
            self.and("LOWER(summary) LIKE ? ESCAPE '!'", format!("%{escaped}%").to_sql());
        }
    }

    fn clause(&self) -> String {
        if self.parts.is_empty() { String::new() } else { format!(" WHERE {}", self.parts.join(" AND ")) }
    }
}

use crate::{
    Entry, Ledger,
    entry::{COLUMNS, EntryRow},
};
use bascule_core::{ProjectId, Timestamp};
use bascule_store::{Query as _, Result, ToSql as _, Value, args, bind_all};

/// Which facts to read. Every field narrows.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these kinds; empty for all. An ending `.*` stands for every kind of that noun.
    pub kinds: Vec<String>,
    /// And of none of these, which are spelled out.
    pub except: Vec<String>,
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
        let filter = &self.narrowed(filter).await?;
        let mut query = Conditions::default();
        query.filter(filter);
        // Facts are dated in the ledger's order (but for a clock set back), so a time is a number, and the walk
        // along the numbers stops early where a sort by time could not. `+ 0` keeps the index on time out.
        if let Some(from) = filter.from {
            query.and("seq > ?", self.seq_before(from).await?.to_sql());
            query.and("at + 0 >= ?", from.to_sql());
        }
        if let Some(to) = filter.to {
            query.and("seq <= ?", self.seq_before(to).await?.to_sql());
            query.and("at + 0 < ?", to.to_sql());
        }
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
        let sql = format!(
            "SELECT {COLUMNS} FROM fact{} ORDER BY seq {order} LIMIT ${limit_at}",
            query.clause()
        );
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

    /// The filter with every `noun.*` replaced by the kinds of that noun that occur: for a list of kinds the
    /// index yields the newest facts at once, for a range of kinds all of them would be sorted.
    async fn narrowed(&self, filter: &Filter) -> Result<Filter> {
        let mut narrowed = filter.clone();
        if !filter.kinds.iter().any(|kind| kind.ends_with(".*")) {
            return Ok(narrowed);
        }
        let mut kinds = Vec::new();
        for kind in &filter.kinds {
            let Some(noun) = kind.strip_suffix(".*") else {
                kinds.push(kind.clone());
                continue;
            };
            // '/' follows '.' in every collation we use.
            let (mut after, end) = (format!("{noun}."), format!("{noun}/"));
            while kinds.len() < KINDS_AT_MOST {
                let next = "SELECT MIN(kind) AS kind FROM fact WHERE kind > $1 AND kind < $2";
                let found = self
                    .db
                    .one::<KindRow>(next, args![after, end])
                    .await?
                    .and_then(|row| row.kind);
                let Some(found) = found else { break };
                kinds.push(found.clone());
                after = found;
            }
        }
        if kinds.is_empty() {
            // None of these occurred; an empty list would stand for all kinds.
            kinds.clone_from(&filter.kinds);
        }
        narrowed.kinds = kinds;
        Ok(narrowed)
    }

    /// Facts by their numbers, at most 1000, in the ledger's order.
    ///
    /// # Errors
    /// The database refused.
    pub async fn entries(&self, seqs: &[i64]) -> Result<Vec<Entry>> {
        if seqs.is_empty() {
            return Ok(Vec::new());
        }
        let mut values = args![];
        let places = bind_all(&mut values, seqs.get(..1000).unwrap_or(seqs));
        let sql = format!("SELECT {COLUMNS} FROM fact WHERE seq IN ({places}) ORDER BY seq");
        Ok(self
            .db
            .all::<EntryRow>(&sql, values)
            .await?
            .into_iter()
            .map(Entry::from)
            .collect())
    }

    /// The number of the newest fact dated before an instant; zero if there is none. Turns a question about
    /// time into one about numbers, which every index carries.
    ///
    /// # Errors
    /// The database refused.
    pub async fn seq_before(&self, at: Timestamp) -> Result<i64> {
        self.db
            .count(
                "SELECT seq AS n FROM fact WHERE at < $1 ORDER BY at DESC, seq DESC LIMIT 1",
                args![at],
            )
            .await
    }

    /// The number of the newest fact; zero for an empty ledger.
    ///
    /// # Errors
    /// The database refused.
    pub async fn head(&self) -> Result<i64> {
        self.db
            .count("SELECT seq AS n FROM ledger_head WHERE one = 1", args![])
            .await
    }
}

/// Most projects one question may name; both engines take at least so many values.
const PROJECTS_AT_MOST: usize = 30_000;
/// Up to so many projects, asking each for its newest facts is faster than walking along all facts.
const FEW_PROJECTS: usize = 64;
/// Most kinds that a question is spread into.
const KINDS_AT_MOST: usize = 200;

bascule_store::row! { struct KindRow { kind: Option<String> } }

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
            let places = bind_all(&mut self.args, &filter.kinds);
            self.parts.push(format!("kind IN ({places})"));
        }
        if !filter.except.is_empty() {
            let places = bind_all(&mut self.args, &filter.except);
            self.parts.push(format!("kind NOT IN ({places})"));
        }
        if let Some(project) = filter.project {
            self.and("project_id = ?", project.to_sql());
        }
        if let Some(projects) = &filter.projects {
            let projects = projects.get(..PROJECTS_AT_MOST).unwrap_or(projects);
            let places = bind_all(&mut self.args, projects);
            // A few projects are found by their index, however rarely something happens there. Of many, some
            // fact is always near: COALESCE keeps the planner on the order of numbers.
            let column = if projects.len() <= FEW_PROJECTS {
                "project_id"
            } else {
                "COALESCE(project_id, '')"
            };
            self.parts.push(format!("{column} IN ({places})"));
        }
        if let Some(subject) = &filter.subject {
            self.and("subject = ?", subject.to_sql());
        }
        if let Some(actor) = &filter.actor {
            self.and("actor_name = ?", actor.to_sql());
        }
        if let Some(text) = filter.text.as_ref().filter(|text| !text.trim().is_empty()) {
            let escaped = text
                .to_lowercase()
                .replace('!', "!!")
                .replace('%', "!%")
                .replace('_', "!_");
            self.and(
                "LOWER(summary) LIKE ? ESCAPE '!'",
                format!("%{escaped}%").to_sql(),
            );
        }
    }

    fn clause(&self) -> String {
        if self.parts.is_empty() {
            String::new()
        } else {
            format!(" WHERE {}", self.parts.join(" AND "))
        }
    }
}

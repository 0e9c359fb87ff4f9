//! Parity: how each product differs between its environments, in version, platform services and configuration.
//! Values of variables are compared and never shown.

use super::store::{self, Runs};
use crate::{Delivery, environment, environment::Environment, secret};
use bascule_core::{Caller, EnvironmentId, Result};
use bascule_wire::{agent::Driver, environments as dto};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Environments that are read for one page: more than one product can have.
const ROWS: i64 = 5_200;
/// Products on one page.
pub(super) const PRODUCTS: usize = 50;
/// Environments of one product that are compared.
const COLUMNS: usize = 200;

/// What stands in a cell where nothing runs.
const NOTHING: &str = "nothing runs";
/// What stands where a site's report tells what runs, and nothing more.
const UNTOLD: &str = "not reported";
const UNSET: &str = "unset";
const SECRET: &str = "secret";

impl Delivery {
    /// How products differ between their environments, as far as the caller may read them: one product, or a page
    /// of them after a path.
    ///
    /// # Errors
    /// The database refused.
    pub async fn parity(
        &self,
        caller: &Caller,
        product: Option<&str>,
        after: &str,
    ) -> Result<dto::ParityPage> {
        let visible = self.ports.projects.visible(caller).await?;
        let environments = match (product, visible) {
            (Some(path), visible) => {
                let id = self.ports.projects.find(path).await?;
                let id = id.filter(|id| visible.as_ref().is_none_or(|all| all.contains(id)));
                match id {
                    Some(id) => environment::store::of_projects(&self.db, &[id], "", ROWS).await?,
                    None => Vec::new(),
                }
            }
            (None, None) => environment::store::all(&self.db, after, ROWS).await?,
            (None, Some(ids)) => environment::store::of_projects(&self.db, &ids, after, ROWS).await?,
        };
        let cut = i64::try_from(environments.len()).unwrap_or(i64::MAX) >= ROWS;
        let mut groups: Vec<(String, Vec<Environment>)> = Vec::new();
        for environment in environments {
            match groups.last_mut() {
                Some((path, group)) if *path == environment.project_path => group.push(environment),
                _ => groups.push((environment.project_path.clone(), vec![environment])),
            }
        }
        // The last one may go on beyond what was read.
        if cut && groups.len() > 1 {
            groups.pop();
        }
        let more = cut || groups.len() > PRODUCTS;
        groups.truncate(PRODUCTS);
        let next = groups.last().filter(|_| more).map(|(path, _)| path.clone());
        for (_, group) in &mut groups {
            group.truncate(COLUMNS);
        }
        let ids: Vec<EnvironmentId> = groups.iter().flat_map(|(_, group)| group).map(|e| e.id).collect();
        let mut runs: HashMap<EnvironmentId, Runs> = store::runs(&self.db, &ids)
            .await?
            .into_iter()
            .map(|runs| (runs.id, runs))
            .collect();
        let apart = groups.iter().flat_map(|(_, group)| group);
        let apart: BTreeSet<String> = apart
            .filter(|environment| environment.agent_id.is_none())
            .map(|environment| environment.name.clone())
            .collect();
        let reports = self.reports(apart).await?;
        for environment in groups.iter().flat_map(|(_, group)| group) {
            if let (Some(runs), Some(told), None) = (
                runs.get_mut(&environment.id),
                reports.get(&environment.name),
                environment.agent_id,
            ) {
                let mut installs = told.body.0.installs.iter();
                let install =
                    installs.find(|i| i.product == environment.project_path && !i.version.is_empty());
                runs.version = install.map(|install| install.version.clone());
                runs.reported_at = Some(told.body.0.at);
            }
        }
        let mut items: Vec<dto::Parity> = groups
            .into_iter()
            .map(|(path, group)| compare(path, &group, &runs))
            .collect();
        items.sort_by(|a, b| (b.differences, &a.product).cmp(&(a.differences, &b.product)));
        Ok(dto::ParityPage { items, next })
    }
}

fn compare(product: String, group: &[Environment], runs: &HashMap<EnvironmentId, Runs>) -> dto::Parity {
    let columns: Vec<Option<&Runs>> = group
        .iter()
        .map(|environment| runs.get(&environment.id))
        .collect();
    let serving: Vec<bool> = columns
        .iter()
        .map(|runs| runs.is_some_and(|runs| runs.version.is_some()))
        .collect();
    // Where nobody declared it and nothing runs, nothing is missing: every product has a staging and a production.
    let belongs: Vec<bool> = columns
        .iter()
        .zip(&serving)
        .map(|(runs, serves)| *serves || runs.is_some_and(|runs| runs.declared))
        .collect();
    let mut lines = vec![line("version", "version", &columns, &belongs, |runs| {
        runs.version.clone().unwrap_or_else(|| NOTHING.to_owned())
    })];
    lines.push(line("service", "agent's version", &columns, &serving, |runs| {
        or_none(runs.agent_version.clone())
    }));
    lines.push(line("service", "drivers", &columns, &serving, |runs| {
        let drivers = runs
            .drivers
            .as_ref()
            .map(|drivers| drivers.0.as_slice())
            .unwrap_or_default();
        or_none(Some(
            drivers
                .iter()
                .copied()
                .map(Driver::as_str)
                .collect::<Vec<_>>()
                .join(", "),
        ))
    }));
    lines.push(line("service", "machine", &columns, &serving, |runs| {
        let text = runs.machine.as_ref().map(|machine| {
            format!("{} {}", machine.0.os, machine.0.architecture)
                .trim()
                .to_owned()
        });
        or_none(text)
    }));
    lines.push(line("service", "traffic", &columns, &serving, |runs| {
        if runs.url.is_some() { "an edge" } else { "no edge" }.to_owned()
    }));
    lines.extend(variables(&columns, &serving, group));
    // Differences first; within both by kind, then name.
    let rank = |kind: &str| {
        ["version", "service", "variable"]
            .iter()
            .position(|known| *known == kind)
    };
    lines.sort_by(|a, b| (!a.differs, rank(&a.kind), &a.name).cmp(&(!b.differs, rank(&b.kind), &b.name)));
    let differences = lines.iter().filter(|line| line.differs).count();
    dto::Parity {
        product,
        environments: group
            .iter()
            .zip(&columns)
            .map(|(environment, runs)| dto::ParityEnvironment {
                name: environment.name.clone(),
                tier: environment.tier.clone(),
                declared: runs.is_some_and(|runs| runs.declared),
                reported_at: runs.and_then(|runs| runs.reported_at),
            })
            .collect(),
        differences: u64::try_from(differences).unwrap_or(u64::MAX),
        lines,
    }
}

fn or_none(text: Option<String>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or_else(|| "none".to_owned())
}

/// One line, of the environments that are compared; versions also where nothing runs that should.
fn line(
    kind: &str,
    name: &str,
    columns: &[Option<&Runs>],
    compared: &[bool],
    cell: impl Fn(&Runs) -> String,
) -> dto::ParityLine {
    let cells: Vec<String> = columns
        .iter()
        .zip(compared)
        .map(|(runs, compared)| match runs {
            Some(runs) if kind != "version" && *compared && runs.reported_at.is_some() => UNTOLD.to_owned(),
            Some(runs) if *compared => cell(runs),
            _ => NOTHING.to_owned(),
        })
        .collect();
    let unlike: BTreeSet<&String> = cells
        .iter()
        .zip(compared)
        .filter(|(cell, compared)| **compared && *cell != UNTOLD)
        .map(|(cell, _)| cell)
        .collect();
    dto::ParityLine {
        kind: kind.to_owned(),
        name: name.to_owned(),
        differs: unlike.len() > 1,
        cells,
    }
}

/// A variable's line: equal values have the same letter, and no value is told.
fn variables(columns: &[Option<&Runs>], serving: &[bool], group: &[Environment]) -> Vec<dto::ParityLine> {
    let each: Vec<BTreeMap<String, Value>> = columns
        .iter()
        .zip(group)
        .map(|(runs, environment)| {
            runs.map(|runs| values(runs, &environment.name))
                .unwrap_or_default()
        })
        .collect();
    let names: BTreeSet<&String> = each.iter().flat_map(BTreeMap::keys).collect();
    names
        .into_iter()
        .map(|name| {
            let mut seen: Vec<&str> = Vec::new();
            let cells: Vec<String> = each
                .iter()
                .zip(serving)
                .zip(columns)
                .map(|((values, serves), runs)| match values.get(name) {
                    _ if !serves => NOTHING.to_owned(),
                    _ if runs.is_some_and(|runs| runs.reported_at.is_some()) => UNTOLD.to_owned(),
                    None => UNSET.to_owned(),
                    Some(Value::Secret) => SECRET.to_owned(),
                    Some(Value::Plain(value)) => {
                        let at = seen.iter().position(|known| known == value).unwrap_or_else(|| {
                            seen.push(value);
                            seen.len() - 1
                        });
                        format!("value {}", letter(at))
                    }
                })
                .collect();
            let compared: BTreeSet<&String> = cells
                .iter()
                .zip(serving)
                .filter(|(cell, serves)| **serves && *cell != UNTOLD)
                .map(|(cell, _)| cell)
                .collect();
            dto::ParityLine {
                kind: "variable".to_owned(),
                name: name.clone(),
                differs: compared.len() > 1,
                cells,
            }
        })
        .collect()
}

enum Value {
    Plain(String),
    Secret,
}

fn values(runs: &Runs, environment: &str) -> BTreeMap<String, Value> {
    let Some(product) = &runs.product else {
        return BTreeMap::new();
    };
    let settings = runs.settings.as_ref().map(|settings| &settings.0);
    product
        .0
        .variables_in(environment)
        .into_iter()
        .map(|(name, value)| {
            let refers = settings
                .and_then(|settings| settings.get(&name))
                .is_some_and(|value| secret::reference(value).is_some());
            let value = if refers {
                Value::Secret
            } else {
                Value::Plain(value)
            };
            (name, value)
        })
        .collect()
}

/// A, B, …, Z, AA, AB, …
fn letter(mut at: usize) -> String {
    let mut text = String::new();
    loop {
        let letter = u8::try_from(at % 26).unwrap_or(0);
        text.insert(0, char::from(b'A' + letter));
        if at < 26 {
            return text;
        }
        at = at / 26 - 1;
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn letters_go_on_after_z() {
        let texts: Vec<String> = [0, 1, 25, 26, 27, 51, 52, 701, 702].map(super::letter).into();
        assert_eq!(texts, ["A", "B", "Z", "AA", "AB", "AZ", "BA", "ZZ", "AAA"]);
    }
}

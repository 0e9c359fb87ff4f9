//! The form of a schedule: its fields as people write them.

use bascule_core::{Problem, Result};
use bascule_wire::pipelines::{ChangeSchedule, NewSchedule};
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the form sends.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Form {
    #[serde(default)]
    pub description: String,
    #[serde(default, rename = "ref")]
    pub reference: String,
    #[serde(default)]
    pub cron: String,
    #[serde(default)]
    pub timezone: String,
    #[serde(default)]
    pub variables: String,
    #[serde(default)]
    pub active: Option<String>,
}

impl Form {
    pub fn new_schedule(&self) -> Result<NewSchedule> {
        Ok(NewSchedule {
            description: self.description.clone(),
            reference: self.reference.clone(),
            cron: self.cron.clone(),
            timezone: self.timezone.clone(),
            variables: lines(&self.variables)?,
            active: self.active.is_some(),
        })
    }

    pub fn change(&self) -> Result<ChangeSchedule> {
        Ok(ChangeSchedule {
            description: Some(self.description.clone()),
            reference: Some(self.reference.clone()),
            cron: Some(self.cron.clone()),
            timezone: Some(self.timezone.clone()),
            variables: Some(lines(&self.variables)?),
            active: Some(self.active.is_some()),
        })
    }
}

/// `NAME=value`, one in each line.
fn lines(text: &str) -> Result<BTreeMap<String, String>> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (key, value) = line.split_once('=').ok_or_else(|| {
                Problem::invalid(
                    "bad_variable",
                    format!("`{}` is no variable.", crate::fault::shown(line)),
                )
                .next("Write NAME=value, one in each line.")
            })?;
            Ok((key.trim().to_owned(), value.to_owned()))
        })
        .collect()
}

/// Variables as the form shows them.
pub(super) fn shown(variables: &BTreeMap<String, String>) -> String {
    variables
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_variables_and_back() {
        let read = lines("A=1\n\n B = x=y\r\n").unwrap();
        assert_eq!(read["A"], "1");
        assert_eq!(read["B"], " x=y");
        assert_eq!(
            lines(&shown(&read)).unwrap(),
            BTreeMap::from([("A".into(), "1".into()), ("B".into(), " x=y".into())])
        );
        assert!(lines("no").is_err());
    }
}

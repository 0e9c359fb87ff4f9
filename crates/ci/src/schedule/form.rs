//! The form of a schedule: its fields as people write them.

use crate::{
    config::{Inputs, JobInput},
    job::InputField,
    pipeline::run,
};
use bascule_core::{Problem, Result};
use bascule_wire::pipelines::{ChangeSchedule, NewSchedule};
use std::collections::BTreeMap;

/// What the form sends.
#[derive(Clone, Debug, Default)]
pub(super) struct Form {
    pub description: String,
    pub reference: String,
    pub cron: String,
    pub timezone: String,
    pub variables: String,
    pub active: bool,
    /// Values of the file's inputs that are not the file's own.
    pub inputs: Inputs,
}

impl Form {
    /// Of the fields of a form, or of an address that keeps them.
    pub fn read(fields: &[(String, String)]) -> Self {
        let field = |name: &str| {
            let found = fields.iter().find(|(field, _)| field == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        Self {
            description: field("description"),
            reference: field("ref"),
            cron: field("cron"),
            timezone: field("timezone"),
            variables: field("variables"),
            active: !field("active").is_empty(),
            inputs: run::inputs(fields),
        }
    }

    pub fn new_schedule(&self) -> Result<NewSchedule> {
        Ok(NewSchedule {
            description: self.description.clone(),
            reference: self.reference.clone(),
            cron: self.cron.clone(),
            timezone: self.timezone.clone(),
            variables: lines(&self.variables)?,
            inputs: self.inputs.clone(),
            active: self.active,
        })
    }

    pub fn change(&self) -> Result<ChangeSchedule> {
        Ok(ChangeSchedule {
            description: Some(self.description.clone()),
            reference: Some(self.reference.clone()),
            cron: Some(self.cron.clone()),
            timezone: Some(self.timezone.clone()),
            variables: Some(lines(&self.variables)?),
            inputs: Some(self.inputs.clone()),
            active: Some(self.active),
        })
    }

    /// The inputs that the file declares, with what this form says of them.
    pub fn fields(&self, declared: &[JobInput]) -> Vec<InputField> {
        declared
            .iter()
            .map(|input| InputField::new(input, self.inputs.get(&input.name).unwrap_or(&input.default)))
            .collect()
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

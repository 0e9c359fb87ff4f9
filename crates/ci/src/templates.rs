//! Templates that `include: template` names: this platform's own, in the program, so that an air-gapped site
//! has them. Where GitLab has one by the same name, it does the same job with what is at hand here.

macro_rules! templates {
    ($($name:literal),* $(,)?) => {
        const TEMPLATES: &[(&str, &str)] = &[$(($name, include_str!(concat!("../templates/", $name)))),*];
    };
}

templates![
    "Bash.gitlab-ci.yml",
    "Go.gitlab-ci.yml",
    "Nodejs.gitlab-ci.yml",
    "Python.gitlab-ci.yml",
    "Rust.gitlab-ci.yml",
    "Workflows/Branch-Pipelines.gitlab-ci.yml",
    "Workflows/MergeRequest-Pipelines.gitlab-ci.yml",
];

/// A template's text.
#[must_use]
pub fn find(name: &str) -> Option<&'static str> {
    let name = name.trim_start_matches('/');
    TEMPLATES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, text)| *text)
}

/// All names, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_can_be_included() {
        for name in names() {
            let text = format!("include: {{template: {name}}}\njob: {{script: x}}\n");
            crate::config::parse(&text).unwrap_or_else(|faults| panic!("{name}: {faults}"));
        }
    }
}

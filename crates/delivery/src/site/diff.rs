//! What two sets of declarations differ in, in plain words. Pure.

use super::{Site, SiteInstall};
use bascule_planner::calendar::WindowSpec;
use bascule_wire::agent::Driver;
use std::collections::{BTreeMap, BTreeSet};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub kind: &'static str,
    pub environment: String,
    /// `group/project`; empty: the environment itself.
    pub product: String,
    pub text: String,
}

/// What `after` declares otherwise than `before`.
pub(crate) fn diff(before: &BTreeMap<String, Site>, after: &BTreeMap<String, Site>) -> Vec<Change> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut all = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (None, Some(site)) => added(site, &mut all),
            (Some(site), None) => removed(site, &mut all),
            (Some(old), Some(new)) => changed(old, new, &mut all),
            (None, None) => {}
        }
    }
    all
}

fn change(kind: &'static str, site: &Site, product: &str, text: String) -> Change {
    Change {
        kind,
        environment: site.name.clone(),
        product: product.to_owned(),
        text,
    }
}

fn added(site: &Site, all: &mut Vec<Change>) {
    let text = format!(
        "{} is a new environment ({}, follows {})",
        site.name, site.tier, site.channel
    );
    all.push(change("environment_added", site, "", text));
    for install in &site.installs {
        all.push(install_added(site, install));
    }
}

fn install_added(site: &Site, install: &SiteInstall) -> Change {
    let mut text = format!("{} is installed in {}", install.product, site.name);
    if !install.pin.is_empty() {
        text.push_str(&format!(", pinned to {}", install.pin));
    }
    change("install_added", site, &install.product, text)
}

fn removed(site: &Site, all: &mut Vec<Change>) {
    let text = format!("{} is no longer declared", site.name);
    all.push(change("environment_removed", site, "", text));
    for install in &site.installs {
        all.push(install_removed(site, site.prune, install));
    }
}

fn install_removed(site: &Site, prune: bool, install: &SiteInstall) -> Change {
    let then = if prune {
        "it is drained and taken away, within the limit of what may go at once"
    } else {
        "what runs is left as it is, and is not moved any more"
    };
    let text = format!(
        "{} is no longer declared in {}; {then}",
        install.product, site.name
    );
    change("install_removed", site, &install.product, text)
}

fn changed(old: &Site, new: &Site, all: &mut Vec<Change>) {
    for (field, before, after) in fields(old, new) {
        if before != after {
            let text = format!("{field} of {} changes from {before} to {after}", new.name);
            all.push(change("environment_changed", new, "", text));
        }
    }
    variables(new, "", &old.variables, &new.variables, all);
    for install in &new.installs {
        match old.install(&install.product) {
            None => all.push(install_added(new, install)),
            Some(before) => install_changed(new, before, install, all),
        }
    }
    for install in &old.installs {
        if new.install(&install.product).is_none() {
            all.push(install_removed(new, new.prune, install));
        }
    }
}

type Field = (&'static str, String, String);

fn fields(old: &Site, new: &Site) -> Vec<Field> {
    let yes = |yes: bool| if yes { "true" } else { "false" }.to_owned();
    let drift = |heal: bool| if heal { "heal" } else { "show" }.to_owned();
    let agent = |site: &Site| {
        if site.agent.is_empty() {
            "the first that enrolled".to_owned()
        } else {
            site.agent.clone()
        }
    };
    let network = |site: &Site| if site.disconnected { "none" } else { "agent" }.to_owned();
    vec![
        ("tier", old.tier.clone(), new.tier.clone()),
        ("agent", agent(old), agent(new)),
        ("network", network(old), network(new)),
        ("driver", driver(old.driver), driver(new.driver)),
        ("disconnected", yes(old.disconnected), yes(new.disconnected)),
        ("channel", old.channel.clone(), new.channel.clone()),
        ("prereleases", yes(old.prereleases), yes(new.prereleases)),
        ("windows", windows(&old.windows), windows(&new.windows)),
        ("holidays", list(&old.holidays), list(&new.holidays)),
        ("approvals", list(&old.approvals), list(&new.approvals)),
        (
            "budget",
            format!("{} %", old.budget_percent),
            format!("{} %", new.budget_percent),
        ),
        ("findings", findings(old), findings(new)),
        ("drift", drift(old.heal), drift(new.heal)),
        ("prune", yes(old.prune), yes(new.prune)),
        (
            "prune_limit",
            format!("{} %", old.prune_limit_percent),
            format!("{} %", new.prune_limit_percent),
        ),
    ]
}

fn findings(site: &Site) -> String {
    let level = site
        .findings
        .map(|level| format!("{level} and worse are kept out"));
    level.unwrap_or_else(|| "let in".to_owned())
}

fn driver(driver: Option<Driver>) -> String {
    driver.map_or("as the product says", Driver::as_str).to_owned()
}

fn list(words: &[String]) -> String {
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

fn windows(all: &[WindowSpec]) -> String {
    let texts: Vec<String> = all
        .iter()
        .map(|window| {
            format!(
                "`{}` {} for {} minutes",
                window.cron,
                window.timezone,
                window.duration_ms / 60_000
            )
        })
        .collect();
    if texts.is_empty() {
        "always".to_owned()
    } else {
        texts.join(" and ")
    }
}

fn install_changed(site: &Site, old: &SiteInstall, new: &SiteInstall, all: &mut Vec<Change>) {
    let text = |text: &str, none: &str| if text.is_empty() { none } else { text }.to_owned();
    let of_site = format!("{}, as the environment", site.channel);
    let fields = [
        (
            "channel",
            text(&old.channel, &of_site),
            text(&new.channel, &of_site),
        ),
        ("pin", text(&old.pin, "none"), text(&new.pin, "none")),
        (
            "reason of the pin",
            text(&old.pin_reason, "none"),
            text(&new.pin_reason, "none"),
        ),
        ("approvals", list(&old.approvals), list(&new.approvals)),
        ("wave", old.wave.to_string(), new.wave.to_string()),
        ("driver", driver(old.driver), driver(new.driver)),
        (
            "hooks before deployments",
            list(&old.hooks.before),
            list(&new.hooks.before),
        ),
        (
            "hooks after deployments",
            list(&old.hooks.after),
            list(&new.hooks.after),
        ),
    ];
    for (field, before, after) in fields {
        if before != after {
            let text = format!(
                "{field} of {} in {} changes from {before} to {after}",
                new.product, site.name
            );
            all.push(change("install_changed", site, &new.product, text));
        }
    }
    variables(site, &new.product, &old.variables, &new.variables, all);
}

fn variables(
    site: &Site,
    product: &str,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
    all: &mut Vec<Change>,
) {
    let (kind, of) = if product.is_empty() {
        ("environment_changed", format!("of {}", site.name))
    } else {
        ("install_changed", format!("of {product} in {}", site.name))
    };
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let text = match (old.get(name), new.get(name)) {
            (before, after) if before == after => continue,
            (None, Some(value)) => format!("the variable {name} {of} is set to `{value}`"),
            (Some(value), None) => format!("the variable {name} {of}, which was `{value}`, is unset"),
            (Some(before), Some(after)) => {
                format!("the variable {name} {of} changes from `{before}` to `{after}`")
            }
            (None, None) => continue,
        };
        all.push(change(kind, site, product, text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::parse;

    fn site(text: &str) -> BTreeMap<String, Site> {
        let site = parse("environments/site-7.yaml", text.as_bytes()).unwrap();
        BTreeMap::from([(site.name.clone(), site)])
    }

    fn told(before: &str, after: &str) -> Vec<String> {
        diff(&site(before), &site(after))
            .into_iter()
            .map(|change| format!("{}: {}", change.kind, change.text))
            .collect()
    }

    #[test]
    fn every_field_that_differs_is_told_and_nothing_else() {
        let before =
            "environment: site-7\nvariables: {A: one}\ninstall:\n  - product: g/a\n  - product: g/b\n";
        assert_eq!(told(before, before), Vec::<String>::new());
        let after = "environment: site-7\nchannel: beta\nprune: true\nvariables: {A: two, S: \"secret:DB\"}
windows: [{cron: \"0 22 * * SAT\", duration: 4h}]
install:\n  - {product: g/a, pin: 1.x.x, wave: 2}\n  - product: g/c\n";
        assert_eq!(
            told(before, after),
            [
                "environment_changed: channel of site-7 changes from stable to beta",
                "environment_changed: windows of site-7 changes from always to `0 22 * * SAT` UTC for 240 minutes",
                "environment_changed: prune of site-7 changes from false to true",
                "environment_changed: the variable A of site-7 changes from `one` to `two`",
                "environment_changed: the variable S of site-7 is set to `secret:DB`",
                "install_changed: pin of g/a in site-7 changes from none to 1.x.x",
                "install_changed: wave of g/a in site-7 changes from 0 to 2",
                "install_added: g/c is installed in site-7",
                "install_removed: g/b is no longer declared in site-7; it is drained and taken away, within the \
                 limit of what may go at once",
            ]
        );
    }

    #[test]
    fn an_environment_that_comes_or_goes_is_told_with_its_installs() {
        let one = site("environment: site-7\ninstall:\n  - {product: g/a, pin: 1.2.0}\n");
        let none = BTreeMap::new();
        let texts = |all: Vec<Change>| all.into_iter().map(|c| c.text).collect::<Vec<_>>();
        assert_eq!(
            texts(diff(&none, &one)),
            [
                "site-7 is a new environment (production, follows stable)",
                "g/a is installed in site-7, pinned to 1.2.0"
            ]
        );
        assert_eq!(
            texts(diff(&one, &none)),
            [
                "site-7 is no longer declared",
                "g/a is no longer declared in site-7; what runs is left as it is, and is not moved any more"
            ]
        );
    }
}

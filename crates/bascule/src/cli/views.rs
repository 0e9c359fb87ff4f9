//! `where`, and what the pages of environments and products show: `environment map|fleet|windows|tree`, `product
//! list|show`.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_core::Result;
use bascule_web::url_encode as segment;
use clap::Args;
use serde_json::{Value, json};
use std::process::Command;

const PLACES: &[output::Column] = &[
    ("ENVIRONMENT", "environment"),
    ("HERE", "here"),
    ("RUNS", "runs"),
    ("SINCE", "since"),
    ("WHY NOT YET", "why"),
];
const RELEASES: &[output::Column] = &[
    ("RELEASE", "version"),
    ("CHANNELS", "channels"),
    ("SERVES IN", "runs_in"),
    ("RECALLED", "recalled"),
];

const TILES: &[output::Column] = &[
    ("ENVIRONMENT", "environment"),
    ("HEALTH", "health"),
    ("PRODUCTS", "installs"),
    ("STAND", "stand"),
    ("HELD", "held"),
    ("REPORTED", "reported.at"),
];
const FLEET: &[output::Column] = &[
    ("ENVIRONMENT", "environment"),
    ("PRODUCT", "product"),
    ("RUNS", "current"),
    ("SHOULD", "target"),
    ("STATE", "state"),
    ("WHY", "why"),
    ("NEXT", "rollout.next"),
];
const OPENINGS: &[output::Column] = &[("WINDOW", "label"), ("FROM", "from"), ("TO", "to")];
const INSTANCES: &[output::Column] = &[
    ("AGENT", "agent"),
    ("PRODUCT", "product"),
    ("VERSION", "version"),
    ("PART", "part"),
    ("STATE", "state"),
    ("TRAFFIC %", "weight"),
    ("RESTARTS", "restarts"),
    ("MESSAGE", "message"),
];
const PRODUCTS: &[output::Column] = &[
    ("PRODUCT", "project"),
    ("NEWEST", "newest"),
    ("ENVIRONMENTS", "installs"),
    ("STAND", "stand"),
    ("RECALLED", "recalled"),
];
const PRODUCT_PLACES: &[output::Column] = &[
    ("ENVIRONMENT", "environment"),
    ("RUNS", "runs"),
    ("HEALTH", "health"),
    ("SHOULD", "target"),
    ("STATE", "state"),
    ("WHY", "why"),
    ("REPORTED", "reported.at"),
];
const APPROVALS: &[output::Column] = &[
    ("WAITS FOR", "team"),
    ("VERSION", "version"),
    ("IN", "environment"),
];

/// Which rows of a list.
#[derive(Debug, Args)]
pub struct Filter {
    /// Words, each of which stands in a row
    words: Vec<String>,
    /// In this state alone, such as held
    #[arg(long, default_value = "")]
    state: String,
}

/// All pages of a list; `mark` is the parameter that the last page's `next` is given in.
async fn pages(context: &Context, path: &str, mark: &str) -> Result<(Vec<Value>, Value)> {
    let (mut items, mut next) = (Vec::new(), String::new());
    loop {
        let mut page = context.get(&format!("{path}&{mark}={}", segment(&next))).await?;
        items.extend(
            page["items"]
                .take()
                .as_array_mut()
                .map(std::mem::take)
                .unwrap_or_default(),
        );
        match page["next"].as_str() {
            Some(more) => more.clone_into(&mut next),
            None => return Ok((items, page)),
        }
    }
}

/// Shows a list; for people with `stand` written out: "3 up to date, 1 held".
fn show(context: &Context, mut items: Vec<Value>, columns: &[output::Column]) {
    for item in &mut items {
        let counts = item["counts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told: Vec<String> = counts
            .iter()
            .map(|counted| {
                let state = match (counted["state"].as_str().unwrap_or_default(), &counted["count"]) {
                    ("waiting", count) if count == 1 => "waits for a person".to_owned(),
                    ("waiting", _) => "wait for a person".to_owned(),
                    (state, _) => state.replace('_', " "),
                };
                format!("{} {state}", counted["count"])
            })
            .collect();
        if !context.out.is_json() {
            item["stand"] = told.join(", ").into();
        }
    }
    context.out.table(&Value::Array(items), columns);
}

fn query(filter: &Filter) -> String {
    format!(
        "q={}&state={}",
        segment(&filter.words.join(" ")),
        segment(&filter.state)
    )
}

/// `bascule environment map`.
pub async fn map(context: &Context, filter: &Filter) -> Result<u8> {
    let path = format!("/api/v1/environments?{}", query(filter));
    let (items, _) = pages(context, &path, "from").await?;
    show(context, items, TILES);
    Ok(code::DONE)
}

/// `bascule environment fleet`.
pub async fn fleet(context: &Context, filter: &Filter) -> Result<u8> {
    let path = format!("/api/v1/fleet?{}", query(filter));
    let (items, last) = pages(context, &path, "after").await?;
    if let Some(sentence) = last["refused"]["sentence"].as_str() {
        output::warn(sentence);
    }
    show(context, items, FLEET);
    Ok(code::DONE)
}

/// `bascule environment windows`.
pub async fn windows(context: &Context, environment: &str) -> Result<u8> {
    let windows = context
        .get(&format!("/api/v1/plans/{}/windows", segment(environment)))
        .await?;
    if context.out.is_json() {
        context.out.record(&windows, &[]);
        return Ok(code::DONE);
    }
    context.out.say(match (&windows["always"], &windows["open"]) {
        (Value::Bool(true), _) => "no windows are declared: changes may happen at any time",
        (_, Value::Bool(true)) => "a window is open",
        _ => "no window is open",
    });
    for held in windows["held"].as_array().into_iter().flatten() {
        let reason = output::printable(held["reason"].as_str().unwrap_or_default());
        context.out.say(&format!("and yet changes are held: {reason}"));
    }
    if windows["openings"].as_array().is_some_and(|all| !all.is_empty()) {
        context.out.table(&windows["openings"], OPENINGS);
    }
    Ok(code::DONE)
}

/// `bascule environment tree`.
pub async fn tree(context: &Context, environment: &str) -> Result<u8> {
    let tree = context
        .get(&format!("/api/v1/plans/{}/tree", segment(environment)))
        .await?;
    if context.out.is_json() {
        context.out.record(&tree, &[]);
        return Ok(code::DONE);
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for machine in list(&tree["machines"]) {
        let agent = match (machine["agent"].as_str(), machine["reported"]["at"].as_str()) {
            (Some(""), Some(at)) => format!("(as reported {at})"),
            (Some("") | None, _) => "(none)".to_owned(),
            (Some(agent), _) if machine["online"] == true => agent.to_owned(),
            (Some(agent), _) => format!("{agent} (silent)"),
        };
        for product in list(&machine["products"]) {
            let instances = list(&product["instances"]);
            if instances.is_empty() {
                rows.push(json!({
                    "agent": agent, "product": product["product"], "version": product["runs"],
                    "state": product["health"],
                }));
            }
            for mut instance in instances {
                instance["agent"] = agent.clone().into();
                instance["product"] = product["product"].clone();
                rows.push(instance);
            }
        }
    }
    context.out.table(&Value::Array(rows), INSTANCES);
    Ok(code::DONE)
}

/// `bascule product list`.
pub async fn products(context: &Context, words: &[String]) -> Result<u8> {
    let path = format!("/api/v1/products?q={}", segment(&words.join(" ")));
    let (items, _) = pages(context, &path, "after").await?;
    show(context, items, PRODUCTS);
    Ok(code::DONE)
}

/// `bascule product show`.
pub async fn product(context: &Context, project: &str) -> Result<u8> {
    output::project(project)?;
    let view = context
        .get(&format!("/api/v1/projects/{project}/product"))
        .await?;
    if context.out.is_json() {
        context.out.record(&view, &[]);
        return Ok(code::DONE);
    }
    context.out.table(&view["releases"], RELEASES);
    context.out.say("");
    context.out.table(&view["places"], PRODUCT_PLACES);
    if view["approvals"].as_array().is_some_and(|all| !all.is_empty()) {
        context.out.say("");
        context.out.table(&view["approvals"], APPROVALS);
    }
    Ok(code::DONE)
}

/// `bascule where …`
#[derive(Debug, Args)]
pub struct Where {
    /// The beginning of its identifier, a branch, a tag, or a release's version
    commit: String,
    /// group/project; left out in a clone: where its `origin` leads
    #[arg(long, short)]
    project: Option<String>,
}

impl Where {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let project = match self.project {
            Some(project) => project,
            None => of_clone()?,
        };
        output::project(&project)?;
        // What only the clone knows, such as HEAD~1, is put in words that the server knows.
        let commit = if self.commit.starts_with("HEAD") || self.commit.contains(['~', '^']) {
            git(&["rev-parse", "--verify", &self.commit]).ok_or_else(|| {
                output::usage(
                    &format!("`{}` is no commit here.", self.commit),
                    "Name one that is in this clone.",
                )
            })?
        } else {
            self.commit
        };
        let path = format!("/api/v1/projects/{project}/where?commit={}", segment(&commit));
        let found = context.get(&path).await?;
        if context.out.is_json() {
            context.out.record(&found, &[]);
        } else {
            context.out.say(found["sentence"].as_str().unwrap_or_default());
            context.out.say("");
            context.out.table(&found["releases"], RELEASES);
            context.out.say("");
            context.out.table(&found["environments"], PLACES);
        }
        let here = found["environments"]
            .as_array()
            .is_some_and(|places| places.iter().any(|place| place["here"] == true));
        Ok(if here { code::DONE } else { code::REFUSED })
    }
}

pub(super) fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The project that the present folder was cloned from.
pub(super) fn of_clone() -> Result<String> {
    git(&["remote", "get-url", "origin"])
        .and_then(|url| project_of(&url))
        .ok_or_else(|| {
            output::usage(
                "This folder is no clone of a project, and none is named.",
                "Name one: --project GROUP/PROJECT.",
            )
        })
}

/// The last two parts of an address, without `.git`.
fn project_of(url: &str) -> Option<String> {
    let path = url.trim_end_matches('/').trim_end_matches(".git");
    let mut parts = path.rsplit(['/', ':']);
    let (name, group) = (parts.next()?, parts.next()?);
    (!name.is_empty() && !group.is_empty()).then(|| format!("{group}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::project_of;

    #[test]
    fn a_clone_names_its_project() {
        for url in [
            "http://git:token@127.0.0.1:8080/health/clinic.git",
            "https://example.org/health/clinic/",
            "git@example.org:health/clinic.git",
        ] {
            assert_eq!(project_of(url).as_deref(), Some("health/clinic"), "{url}");
        }
        assert_eq!(project_of("clinic"), None);
    }
}

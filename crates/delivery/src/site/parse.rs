//! From a file's text to a [`Site`], with line and column where it is wrong.

use super::{
    FILE_BYTES, Site, SiteInstall,
    hooks::{COMMAND_BYTES, COMMANDS, Hooks},
    usual_prune_limit,
};
use crate::product::{
    Position, STABLE_CHANNEL,
    image::driver,
    relations::{level, product_path, word, yes},
    values::{Fields, duration, list, text, variables, whole},
    yaml::{self, Node, error},
};
use crate::secret;
use bascule_planner::{
    Matcher,
    calendar::{BadWindow, Calendar, WindowSpec},
};
use std::collections::BTreeMap;

/// Why a file declares no site.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{at}: {what}{}{allowed}", if allowed.is_empty() { "" } else { "; allowed: " })]
pub struct SiteError {
    /// The file.
    pub file: String,
    /// Where.
    pub at: Position,
    /// What is wrong.
    pub what: String,
    /// What is allowed there.
    pub allowed: String,
}

type Read<T> = Result<T, crate::product::ProductError>;

const START: Position = Position { line: 1, column: 1 };

/// Reads `environments/NAME.yaml`.
///
/// # Errors
/// Says where the file is wrong and what is allowed there.
pub fn parse(file: &str, bytes: &[u8]) -> Result<Site, SiteError> {
    read(file, bytes).map_err(|fault| SiteError {
        file: file.to_owned(),
        at: fault.at,
        what: fault.what,
        allowed: fault.allowed,
    })
}

const KEYS: &[&str] = &[
    "environment",
    "tier",
    "agent",
    "driver",
    "network",
    "channel",
    "prereleases",
    "windows",
    "holidays",
    "approvals",
    "budget",
    "findings",
    "drift",
    "variables",
    "prune",
    "prune_limit",
    "install",
];

fn read(file: &str, bytes: &[u8]) -> Read<Site> {
    if bytes.len() > FILE_BYTES {
        let allowed = format!("at most {FILE_BYTES} bytes");
        return Err(error(START, "the file is too large", allowed));
    }
    let text_of =
        std::str::from_utf8(bytes).map_err(|_| error(START, "the file is not UTF-8", "text in UTF-8"))?;
    let root = yaml::read(text_of)?
        .ok_or_else(|| error(START, "the file is empty", "environment, tier and install"))?;
    let mut fields = Fields::of(root, "the file", KEYS)?;
    let name_node = fields.need("environment", "its name: `environment: site-7`")?;
    let name = word(&name_node, "environment")?;
    if crate::preview::is_environment_name(&name) {
        return Err(error(
            name_node.at,
            format!("{name} is a name that previews of merge requests have"),
            "another name",
        ));
    }
    let expected = file
        .rsplit('/')
        .next()
        .and_then(|file| file.strip_suffix(".yaml").or_else(|| file.strip_suffix(".yml")));
    if expected != Some(name.as_str()) {
        return Err(error(
            name_node.at,
            format!("the file is named otherwise than the environment {name}"),
            format!("environments/{name}.yaml"),
        ));
    }
    let windows_node = fields.take("windows");
    let at = windows_node.as_ref().map_or(START, |node| node.at);
    let windows = windows(windows_node)?;
    let holidays = words(fields.take("holidays"), "holidays", |node| {
        text(node, "a holiday", 20)
    })?;
    Calendar::new(&windows, &holidays).map_err(|bad| error(at, bad.to_string(), ""))?;
    let budget = fields.take("budget");
    let prune_limit = fields.take("prune_limit");
    Ok(Site {
        name,
        tier: tier(fields.take("tier").as_ref())?,
        agent: fields
            .take("agent")
            .map_or(Ok(String::new()), |n| word(&n, "agent"))?,
        driver: driver(fields.take("driver"))?,
        disconnected: disconnected(fields.take("network").as_ref())?,
        channel: channel(fields.take("channel"))?.unwrap_or_else(|| STABLE_CHANNEL.to_owned()),
        prereleases: flag(fields.take("prereleases"), "prereleases")?,
        windows,
        holidays,
        approvals: teams(fields.take("approvals"))?,
        budget_percent: budget
            .map_or(Ok(0), |n| whole(&n, "budget", 0, 100))
            .map(|percent| u8::try_from(percent).unwrap_or(100))?,
        findings: fields
            .take("findings")
            .map_or(Ok(None), |n| level(&n, "findings"))?,
        heal: heal(fields.take("drift").as_ref())?,
        variables: environment_variables(fields.take("variables"), "variables")?,
        prune: flag(fields.take("prune"), "prune")?,
        prune_limit_percent: prune_limit
            .map_or(Ok(u64::from(usual_prune_limit())), |n| {
                whole(&n, "prune_limit", 1, 100)
            })
            .map(|percent| u8::try_from(percent).unwrap_or(100))?,
        installs: installs(fields.take("install"))?,
    })
}

fn flag(node: Option<Node>, what: &str) -> Read<bool> {
    node.map_or(Ok(false), |node| yes(&node, what))
}

fn one_of(node: Option<&Node>, what: &str, usual: &str, choices: &[&str]) -> Read<String> {
    let Some(node) = node else {
        return Ok(usual.to_owned());
    };
    let word = text(node, what, 40)?;
    if choices.contains(&word.as_str()) {
        return Ok(word);
    }
    let what = format!("{what} cannot be `{}`", yaml::cut(&word));
    Err(error(node.at, what, choices.join(", ")))
}

fn tier(node: Option<&Node>) -> Read<String> {
    one_of(node, "tier", "production", &["staging", "production"])
}

fn disconnected(node: Option<&Node>) -> Read<bool> {
    Ok(one_of(node, "network", "agent", &["agent", "none"])? == "none")
}

fn heal(node: Option<&Node>) -> Read<bool> {
    Ok(one_of(node, "drift", "heal", &["heal", "show"])? == "heal")
}

fn channel(node: Option<Node>) -> Read<Option<String>> {
    node.map(|node| word(&node, "channel")).transpose()
}

fn words<T>(node: Option<Node>, what: &str, each: impl Fn(&Node) -> Read<T>) -> Read<Vec<T>> {
    let Some(node) = node else { return Ok(Vec::new()) };
    list(node, what, "a list", 400)?.iter().map(each).collect()
}

fn teams(node: Option<Node>) -> Read<Vec<String>> {
    words(node, "approvals", |node| word(node, "a team"))
}

fn environment_variables(node: Option<Node>, what: &str) -> Read<BTreeMap<String, String>> {
    let Some(node) = node else {
        return Ok(BTreeMap::new());
    };
    let at = node.at;
    let all = variables(node, what)?;
    for (name, value) in &all {
        if secret::reference(value).is_some_and(|secret| !secret::is_name(secret)) {
            let what = format!("the variable {name} refers to no secret");
            return Err(error(
                at,
                what,
                "secret:NAME, of letters, digits, `_`, `-` and `.`",
            ));
        }
    }
    Ok(all)
}

fn windows(node: Option<Node>) -> Read<Vec<WindowSpec>> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let allowed = "entries such as `- {cron: \"0 22 * * SAT\", timezone: Europe/Paris, duration: 4h}`";
    let mut all = Vec::new();
    for node in list(node, "windows", allowed, 50)? {
        let at = node.at;
        let mut fields = Fields::of(node, "a window", &["cron", "timezone", "duration"])?;
        let spec = WindowSpec {
            cron: text(&fields.need("cron", "`cron: \"0 22 * * SAT\"`")?, "cron", 100)?,
            timezone: fields
                .take("timezone")
                .map_or(Ok("UTC".to_owned()), |n| text(&n, "timezone", 60))?,
            duration_ms: duration(
                &fields.need("duration", "`duration: 4h`")?,
                "duration",
                "1m",
                "28d",
            )?,
        };
        let check: Result<_, BadWindow> = Calendar::new(std::slice::from_ref(&spec), &[]);
        check.map_err(|bad| error(at, bad.to_string(), ""))?;
        all.push(spec);
    }
    Ok(all)
}

fn installs(node: Option<Node>) -> Read<Vec<SiteInstall>> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let allowed = "entries such as `- product: group/project`";
    let mut all: Vec<SiteInstall> = Vec::new();
    for node in list(node, "install", allowed, 2_000)? {
        let at = node.at;
        let known = [
            "product",
            "driver",
            "channel",
            "pin",
            "reason",
            "approvals",
            "variables",
            "wave",
            "hooks",
        ];
        let mut fields = Fields::of(node, "an install", &known)?;
        let product = product_path(&fields.need("product", "`product: group/project`")?)?;
        if all.iter().any(|known| known.product == product) {
            let what = format!("{product} is installed twice");
            return Err(error(at, what, "each product once"));
        }
        let pin = match fields.take("pin") {
            None => String::new(),
            Some(node) => {
                let pin = text(&node, "pin", 100)?.trim().to_owned();
                pin.parse::<Matcher>()
                    .map_err(|bad| error(node.at, bad.to_string(), "a version or a matcher such as 2.1.x"))?;
                pin
            }
        };
        all.push(SiteInstall {
            product,
            driver: driver(fields.take("driver"))?,
            channel: channel(fields.take("channel"))?.unwrap_or_default(),
            pin,
            pin_reason: fields
                .take("reason")
                .map_or(Ok(String::new()), |n| text(&n, "reason", 500))?,
            approvals: teams(fields.take("approvals"))?,
            variables: environment_variables(fields.take("variables"), "an install's variables")?,
            wave: fields
                .take("wave")
                .map_or(Ok(0), |n| whole(&n, "wave", 0, 1_000))
                .map(|wave| u32::try_from(wave).unwrap_or(0))?,
            hooks: hooks(fields.take("hooks"))?,
        });
    }
    Ok(all)
}

fn hooks(node: Option<Node>) -> Read<Hooks> {
    let Some(node) = node else {
        return Ok(Hooks::default());
    };
    let mut fields = Fields::of(node, "hooks", &["before", "after"])?;
    let mut commands = |key: &str| {
        let Some(node) = fields.take(key) else {
            return Ok(Vec::new());
        };
        list(node, key, "commands such as `[./manage migrate]`", COMMANDS)?
            .iter()
            .map(|node| text(node, "a command", COMMAND_BYTES))
            .collect::<Read<Vec<String>>>()
    };
    Ok(Hooks {
        before: commands("before")?,
        after: commands("after")?,
    })
}

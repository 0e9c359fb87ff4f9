//! The story: three releases of one service, the third of which harms its users.

use crate::{Error, load::Load, platform::Platform, tell};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub(crate) const PROJECT: &str = "demo/appointments";
/// Written in the README: these accounts exist in the demo's own temporary data alone.
const PASSWORD: &str = "bascule-demo-only";
const REQUESTS_PER_SECOND: u32 = 80;

/// Someone with an account and a token.
pub(crate) struct Person {
    pub name: &'static str,
    pub token: String,
}

pub async fn play(platform: &Platform) -> Result<(), Error> {
    let (developer, sre) = people(platform).await?;
    let code = project(platform, &developer)?;
    first_release(platform, &developer, &code).await?;
    let url = production(platform, &sre, "1.0.0").await?;

    tell::chapter("Users come: 80 requests a second through the edge");
    let load = Load::start(&url, REQUESTS_PER_SECOND);
    let outcome = good_and_bad(platform, &developer, &sre, &code).await;
    let (good, bad, lost) = load.stop().await;
    outcome?;
    tell::say(&format!(
        "Users got {good} good answers, {bad} errors, and {lost} requests were lost."
    ));
    check(lost == 0, "no request was lost by switching or undoing")?;
    check(
        bad > 0 && (bad as f64) < 0.02 * good as f64,
        "fewer than 2 % of all requests failed, although 1.2.0 fails 8 % of its own",
    )?;

    incident(platform, &sre).await?;
    insights(platform, &sre).await?;
    crate::act_two::play(platform, &developer).await
}

pub(crate) fn check(holds: bool, what: &str) -> Result<(), Error> {
    if holds {
        tell::checked(what);
        Ok(())
    } else {
        Err(format!("it does not hold that {what}").into())
    }
}

pub(crate) async fn until<T>(
    what: &str,
    seconds: u64,
    mut look: impl FnMut() -> Result<Option<T>, Error>,
) -> Result<T, Error> {
    let end = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(format!("waited {seconds} s in vain for: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn people(platform: &Platform) -> Result<(Person, Person), Error> {
    tell::chapter("Accounts, a group and a project");
    let admin = platform.admin_token.clone();
    platform.bascule(
        &admin,
        &[
            "group",
            "create",
            "demo",
            "--description",
            "Services of the clinic",
        ],
    )?;
    for (name, standing, role) in [
        ("developer", "member", "maintainer"),
        ("sre", "member", "maintainer"),
        ("security", "auditor", "reporter"),
    ] {
        let output = platform.run(
            &admin,
            &["user", "create", name, "--role", standing, "--password-stdin"],
            PASSWORD,
        )?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        platform.bascule(&admin, &["group", "set-member", "demo", name, "--role", role])?;
    }
    platform.bascule(
        &admin,
        &[
            "project",
            "create",
            PROJECT,
            "--description",
            "Free appointments by month",
        ],
    )?;
    let developer = Person {
        name: "developer",
        token: token_for(platform, "developer").await?,
    };
    let sre = Person {
        name: "sre",
        token: token_for(platform, "sre").await?,
    };
    Ok((developer, sre))
}

/// Signs in as a browser does and creates a token, as a person would under Settings.
async fn token_for(platform: &Platform, name: &str) -> Result<String, Error> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let answer = http
        .post(format!("{}/sign-in", platform.url))
        .header("origin", &platform.url)
        .form(&[("username", name), ("password", PASSWORD), ("next", "/")])
        .send()
        .await?;
    let cookie = answer
        .headers()
        .get("set-cookie")
        .and_then(|value| value.to_str().ok()?.split(';').next())
        .ok_or_else(|| format!("{name} could not sign in: {}", answer.status()))?
        .to_owned();
    let answer = http
        .post(format!("{}/api/v1/user/tokens", platform.url))
        .header("cookie", cookie)
        .header("origin", &platform.url)
        .json(&json!({ "name": "laptop", "scopes": ["api", "write_repository"] }))
        .send()
        .await?;
    let status = answer.status();
    let body: Value = answer.json().await?;
    body["secret"]
        .as_str()
        .map(str::to_owned)
        .ok_or_else(|| format!("{name} got no token: {status} {body}").into())
}

/// Stock git, told.
fn git(person: &Person, folder: &Path, args: &[&str]) -> Result<(bool, String), Error> {
    let shown = args.join(" ").replace(&person.token, "…");
    tell::command(&format!("git {shown}"));
    let output = Command::new("git")
        .args([
            "-c",
            &format!("user.name={}", person.name),
            "-c",
            &format!("user.email={}@example.org", person.name),
        ])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()?;
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    tell::output(&text.replace(&person.token, "…"));
    Ok((output.status.success(), text))
}

pub(crate) fn git_ok(person: &Person, folder: &Path, args: &[&str]) -> Result<String, Error> {
    match git(person, folder, args)? {
        (true, text) => Ok(text),
        (false, text) => Err(format!("git {}: {text}", args.first().unwrap_or(&"")).into()),
    }
}

pub(crate) fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")
}

pub(crate) fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "node_modules" || name == ".npm" || name == "dist" {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

pub(crate) fn remote(platform: &Platform, person: &Person, project: &str) -> String {
    let host = platform.url.trim_start_matches("http://");
    format!("http://{}:{}@{host}/{project}.git", person.name, person.token)
}

fn project(platform: &Platform, developer: &Person) -> Result<PathBuf, Error> {
    tell::chapter("First push, with stock git");
    let code = platform.scratch().join("appointments");
    copy(&examples().join("appointments"), &code)?;
    git_ok(developer, &code, &["init", "-q", "-b", "main"])?;
    git_ok(developer, &code, &["add", "-A"])?;
    git_ok(
        developer,
        &code,
        &["commit", "-q", "-m", "Tell which days are free"],
    )?;
    git_ok(
        developer,
        &code,
        &["remote", "add", "origin", &remote(platform, developer, PROJECT)],
    )?;
    git_ok(developer, &code, &["push", "-u", "origin", "main"])?;

    tell::say("\nHistory on the default branch is not rewritten, whoever asks. The refusal says why:");
    git_ok(
        developer,
        &code,
        &[
            "commit",
            "-q",
            "--amend",
            "-m",
            "Tell which days are free, rewritten",
        ],
    )?;
    let (pushed, said) = git(developer, &code, &["push", "--force", "origin", "main"])?;
    check(
        !pushed && said.contains("protected"),
        "the force push was refused with its rule and reason",
    )?;
    git_ok(developer, &code, &["reset", "-q", "--hard", "origin/main"])?;
    Ok(code)
}

/// Waits for the pipeline of a branch or tag and shows it; it must be green.
async fn pipeline(platform: &Platform, person: &Person, reference: &str) -> Result<(), Error> {
    let id = until(&format!("a pipeline for {reference}"), 20, || {
        let list = platform.json(&person.token, &["pipeline", "list", PROJECT, "--ref", reference])?;
        Ok(list["pipelines"][0]["id"].as_i64())
    })
    .await?;
    platform.bascule(
        &person.token,
        &["pipeline", "show", PROJECT, &id.to_string(), "--wait"],
    )?;
    Ok(())
}

/// Tags and pushes; returns when the release exists and staging serves it.
async fn release(platform: &Platform, developer: &Person, code: &Path, version: &str) -> Result<(), Error> {
    git_ok(developer, code, &["tag", version])?;
    git_ok(developer, code, &["push", "origin", "main", version])?;
    pipeline(platform, developer, version).await?;
    until(&format!("release {version}"), 30, || {
        let list = platform.json(&developer.token, &["release", "list", PROJECT])?;
        let items = list["items"].as_array().cloned().unwrap_or_default();
        Ok(items.iter().any(|item| item["version"] == version).then_some(()))
    })
    .await?;
    tell::checked(&format!("release {version} is published"));
    until(&format!("staging to serve {version}"), 60, || {
        Ok((serving(platform, developer, "staging")?.0.as_deref() == Some(version)).then_some(()))
    })
    .await?;
    tell::checked(&format!("staging serves {version}, which went there by itself"));
    Ok(())
}

/// Which version an environment serves, and where.
fn serving(
    platform: &Platform,
    person: &Person,
    name: &str,
) -> Result<(Option<String>, Option<String>), Error> {
    let list = platform.json(&person.token, &["environment", "list", PROJECT])?;
    let rows = list
        .as_array()
        .cloned()
        .or_else(|| list["items"].as_array().cloned())
        .unwrap_or_default();
    let Some(environment) = rows.into_iter().find(|row| row["name"] == name) else {
        return Ok((None, None));
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok((
        text(&environment["serving"]["version"]),
        text(&environment["url"]),
    ))
}

async fn first_release(platform: &Platform, developer: &Person, code: &Path) -> Result<(), Error> {
    tell::chapter("The pipeline runs the tests in a sandbox");
    pipeline(platform, developer, "main").await?;

    tell::chapter("Release 1.0.0: a tag, then artifacts, SBOM and provenance, signed");
    release(platform, developer, code, "1.0.0").await?;
    let folder = platform.scratch().join("appointments-1.0.0");
    let folder = folder.to_string_lossy();
    platform.bascule(&developer.token, &["release", "show", PROJECT, "1.0.0"])?;
    platform.json(
        &developer.token,
        &["release", "download", PROJECT, "1.0.0", "--output", &folder],
    )?;
    let report = platform.bascule(&developer.token, &["release", "verify", &folder])?;
    check(
        report.contains("whole and signed"),
        "the release was verified offline",
    )?;
    Ok(())
}

async fn production(platform: &Platform, sre: &Person, version: &str) -> Result<String, Error> {
    tell::chapter("Production, by promotion");
    platform.bascule(
        &sre.token,
        &["deploy", PROJECT, version, "--to", "production", "--wait"],
    )?;
    platform.bascule(&sre.token, &["environment", "list", PROJECT])?;
    let (serves, url) = serving(platform, sre, "production")?;
    check(
        serves.as_deref() == Some(version),
        &format!("production serves {version}"),
    )?;
    url.ok_or_else(|| "production has no address".into())
}

fn change(developer: &Person, code: &Path, version: &str, message: &str) -> Result<(), Error> {
    copy(&examples().join("appointments-changes").join(version), code)?;
    git_ok(developer, code, &["add", "-A"])?;
    git_ok(developer, code, &["commit", "-q", "-m", message])?;
    Ok(())
}

async fn good_and_bad(
    platform: &Platform,
    developer: &Person,
    sre: &Person,
    code: &Path,
) -> Result<(), Error> {
    tell::chapter("1.1.0 is good: rolled out beside 1.0.0, judged, kept");
    change(developer, code, "1.1.0", "Give the month its name")?;
    release(platform, developer, code, "1.1.0").await?;
    platform.bascule(
        &sre.token,
        &["deploy", PROJECT, "1.1.0", "--to", "production", "--wait"],
    )?;
    check(
        serving(platform, sre, "production")?.0.as_deref() == Some("1.1.0"),
        "production serves 1.1.0",
    )?;

    tell::chapter("1.2.0 is bad: its tests pass, but one request in twelve fails");
    change(developer, code, "1.2.0", "Shorten the months' names")?;
    release(platform, developer, code, "1.2.0").await?;
    let output = platform.run(
        &sre.token,
        &["deploy", PROJECT, "1.2.0", "--to", "production", "--wait"],
        "",
    )?;
    tell::output(&String::from_utf8_lossy(&output.stdout));
    check(
        !output.status.success(),
        "the deployment of 1.2.0 did not succeed",
    )?;
    check(
        serving(platform, sre, "production")?.0.as_deref() == Some("1.1.0"),
        "production still serves 1.1.0",
    )?;
    let rollouts = platform.json(&sre.token, &["rollout", "list", PROJECT])?;
    let rows = rollouts
        .as_array()
        .cloned()
        .or_else(|| rollouts["items"].as_array().cloned())
        .unwrap_or_default();
    let undone = rows
        .iter()
        .find(|row| row["version"] == "1.2.0")
        .ok_or("the rollout of 1.2.0 is not listed")?;
    let id = undone["id"].as_str().unwrap_or_default();
    platform.bascule(&sre.token, &["rollout", "show", PROJECT, id])?;
    check(
        undone["cause"] == "judge",
        "the judge caught it, and nobody had to",
    )?;
    Ok(())
}

async fn incident(platform: &Platform, sre: &Person) -> Result<(), Error> {
    tell::chapter("The incident opened itself; a person takes it, finds the cause, resolves it");
    let number = until("an incident", 20, || {
        let list = platform.json(&sre.token, &["incident", "list", PROJECT])?;
        let rows = list
            .as_array()
            .cloned()
            .or_else(|| list["items"].as_array().cloned())
            .unwrap_or_default();
        Ok(rows.first().and_then(|row| row["number"].as_i64()))
    })
    .await?
    .to_string();
    platform.bascule(&sre.token, &["incident", "acknowledge", PROJECT, &number])?;
    let cause = "December is missing in the table of names, so one month in twelve throws.";
    platform.bascule(&sre.token, &["incident", "identify", PROJECT, &number, cause])?;
    platform.bascule(&sre.token, &["incident", "resolve", PROJECT, &number])?;
    platform.bascule(&sre.token, &["incident", "show", PROJECT, &number])?;

    tell::chapter("The post-mortem's draft is in git");
    let admin = Person {
        name: "admin",
        token: platform.admin_token.clone(),
    };
    let folder = platform.scratch().join("postmortems");
    let url = remote(platform, &admin, "platform/postmortems");
    let draft = {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let facts = platform.json(
                &admin.token,
                &["ledger", "list", "--kind", "postmortem.committed"],
            )?;
            let rows = facts
                .as_array()
                .cloned()
                .or_else(|| facts["items"].as_array().cloned())
                .unwrap_or_default();
            if let Some(fact) = rows.first() {
                break fact["summary"].as_str().unwrap_or_default().to_owned();
            }
            if Instant::now() > end {
                return Err("no post-mortem was committed within 30 s".into());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tell::say(&format!("The ledger says: {draft}"));
    git_ok(
        &admin,
        platform.scratch(),
        &["clone", "-q", &url, &folder.to_string_lossy()],
    )?;
    let file = find_markdown(&folder)?.ok_or("the clone holds no post-mortem")?;
    let text = std::fs::read_to_string(&file)?;
    tell::output(&text.lines().take(30).collect::<Vec<_>>().join("\n"));
    check(text.contains("1.2.0"), "the post-mortem tells of 1.2.0")?;
    Ok(())
}

fn find_markdown(folder: &Path) -> Result<Option<PathBuf>, Error> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != ".git") {
            if let Some(found) = find_markdown(&path)? {
                return Ok(Some(found));
            }
        } else if path.extension().is_some_and(|e| e == "md")
            && path.file_name().is_some_and(|n| n != "README.md")
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

async fn insights(platform: &Platform, sre: &Person) -> Result<(), Error> {
    tell::chapter("The measures, and the facts that each was computed from");
    let measured = until("the measures to know the incident", 30, || {
        let text = platform.json(&sre.token, &["insights", PROJECT])?;
        let knows = text["dora"]["change_failure_rate"]["failed"].as_i64() == Some(1)
            && text["mttx"].as_array().is_some_and(|months| !months.is_empty());
        Ok(knows.then_some(text))
    })
    .await?;
    platform.bascule(&sre.token, &["insights", PROJECT, "--facts"])?;
    let dora = &measured["dora"];
    check(
        dora["deployment_frequency"]["deployments"] == 2,
        "two deployments to production succeeded",
    )?;
    check(
        dora["change_failure_rate"]["exposed"] == 3,
        "one of three changes that users met failed",
    )?;
    check(
        measured["rci"].as_array().is_some_and(|rci| !rci.is_empty()),
        "the resilient collaboration index is there",
    )?;
    let verified = platform.bascule(&platform.admin_token, &["ledger", "verify"])?;
    check(verified.starts_with("Clean"), "the ledger is whole")?;
    Ok(())
}

//! The second act: two products, one of which needs the other, in an environment that is declared in git.

use crate::{
    Error,
    platform::Platform,
    story::{PROJECT, Person, check, copy, examples, git_ok, remote, until},
    tell,
};
use std::path::{Path, PathBuf};

pub const REMINDERS: &str = "demo/reminders";
const HOME: &str = "platform/fleet";
const SITE: &str = "site-7";

pub async fn play(platform: &Platform, developer: &Person) -> Result<(), Error> {
    recall(platform, developer)?;
    second_product(platform, developer).await?;
    let folder = declare(platform).await?;
    open(platform, &folder).await?;
    crate::carried::play(platform, &folder).await
}

/// 1.2.0 harmed users: it is called back, so that no environment takes it.
fn recall(platform: &Platform, developer: &Person) -> Result<(), Error> {
    tell::chapter("Act two: 1.2.0 is recalled");
    platform.bascule(
        &developer.token,
        &[
            "recall",
            PROJECT,
            "1.2.0",
            "--reason",
            "one request in twelve fails",
        ],
    )?;
    tell::checked("no environment takes 1.2.0 any more");
    Ok(())
}

async fn second_product(platform: &Platform, developer: &Person) -> Result<(), Error> {
    tell::chapter("A second product, which needs appointments from 1.1.0 on");
    let code = platform.scratch().join("reminders");
    copy(&examples().join("reminders"), &code)?;
    platform.bascule(&developer.token, &["project", "create", REMINDERS])?;
    git_ok(developer, &code, &["init", "-q", "-b", "main"])?;
    git_ok(developer, &code, &["add", "-A"])?;
    git_ok(
        developer,
        &code,
        &["commit", "-q", "-m", "Remind people of their appointments"],
    )?;
    git_ok(developer, &code, &["tag", "1.0.0"])?;
    let to = remote(platform, developer, REMINDERS);
    git_ok(developer, &code, &["push", "-q", &to, "main", "1.0.0"])?;
    until("reminders in staging", 90, || {
        let list = platform.json(&developer.token, &["environment", "list", REMINDERS])?;
        let rows = list.as_array().cloned().unwrap_or_default();
        let serves = rows
            .iter()
            .any(|row| row["name"] == "staging" && row["serving"]["version"] == "1.0.0");
        Ok(serves.then_some(()))
    })
    .await?;
    tell::checked("reminders 1.0.0 serves in staging, and so is in the channel stable");
    Ok(())
}

/// An environment with both, whose only window opens at New Year.
async fn declare(platform: &Platform) -> Result<PathBuf, Error> {
    tell::chapter("An environment is declared in git: both products, changes at New Year only");
    let admin = admin(platform);
    platform.bascule(&admin.token, &["project", "create", HOME])?;
    let folder = platform.scratch().join("environments");
    std::fs::create_dir_all(folder.join("environments"))?;
    write(
        &folder,
        "windows:\n  - { cron: \"0 0 1 1 *\", timezone: Europe/Paris, duration: 1m }\n",
    )?;
    git_ok(&admin, &folder, &["init", "-q", "-b", "main"])?;
    commit(platform, &admin, &folder, "Declare site-7")?;
    let question = format!("{REMINDERS}@1.0.0");
    let sentence = until("the plan to know why", 30, || {
        let output = platform.run(
            &admin.token,
            &["--json", "plan", "--in", SITE, "--why", &question],
            "",
        )?;
        let why: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let sentence = why["sentence"].as_str().unwrap_or_default().to_owned();
        Ok(sentence.contains("waits for the window").then_some(sentence))
    })
    .await?;
    platform.bascule(&admin.token, &["plan", "--in", SITE])?;
    tell::command(&format!("bascule plan --in {SITE} --why {question}"));
    tell::output(&sentence);
    check(
        sentence.contains("needs demo/appointments ≥ 1.1.0"),
        "the plan says what holds reminders: the other product, and the window that holds that one",
    )?;
    Ok(folder)
}

/// The window is taken out of the file; the plan is carried out, in an order that is safe.
async fn open(platform: &Platform, folder: &Path) -> Result<(), Error> {
    tell::chapter("The window is taken out of the file, by a commit");
    let admin = admin(platform);
    write(folder, "")?;
    commit(platform, &admin, folder, "site-7 may change at any time")?;
    until("both products in site-7", 90, || {
        let plans = platform.json(&admin.token, &["plan", "--in", SITE])?;
        let rows = plans.as_array().cloned().unwrap_or_default();
        let done = rows.len() == 2
            && rows
                .iter()
                .all(|row| row["state"] == "up_to_date" && row["current"] != "");
        Ok(done.then_some(()))
    })
    .await?;
    platform.bascule(&admin.token, &["plan", "--in", SITE])?;
    let facts = platform.json(&admin.token, &["ledger", "list", "--kind", "deployment.created"])?;
    let rows = facts
        .as_array()
        .cloned()
        .or_else(|| facts["items"].as_array().cloned())
        .unwrap_or_default();
    let mut order: Vec<(i64, String)> = rows
        .iter()
        .filter_map(|row| Some((row["seq"].as_i64()?, row["summary"].as_str()?.to_owned())))
        .filter(|(_, summary)| summary.ends_with(SITE))
        .collect();
    order.sort();
    let told: Vec<String> = order.into_iter().map(|(_, summary)| summary).collect();
    for (product, said) in ["appointments", "reminders"].iter().zip(&told) {
        tell::output(&format!("{product}: {said}"));
    }
    check(
        told == ["deploys 1.1.0 to site-7", "deploys 1.0.0 to site-7"],
        "appointments 1.1.0 went first, reminders 1.0.0 after it; 1.2.0 was not taken",
    )
}

pub fn admin(platform: &Platform) -> Person {
    Person {
        name: "admin",
        token: platform.admin_token.clone(),
    }
}

fn write(folder: &Path, windows: &str) -> Result<(), Error> {
    let text = format!(
        "environment: {SITE}\ntier: staging\nchannel: stable\n{windows}install:\n  - product: {PROJECT}\n  - product: {REMINDERS}\n"
    );
    Ok(std::fs::write(folder.join("environments/site-7.yaml"), text)?)
}

pub fn commit(platform: &Platform, admin: &Person, folder: &Path, message: &str) -> Result<(), Error> {
    git_ok(admin, folder, &["add", "-A"])?;
    git_ok(admin, folder, &["commit", "-q", "-m", message])?;
    git_ok(
        admin,
        folder,
        &["push", "-q", &remote(platform, admin, HOME), "main"],
    )?;
    Ok(())
}

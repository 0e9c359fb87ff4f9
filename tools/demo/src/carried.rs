//! A site that no network reaches: a second instance, and a folder that is carried between the two.

use crate::{
    Error,
    act_two::{REMINDERS, admin, commit},
    platform::Platform,
    story::{PROJECT, check, until},
    tell,
};
use serde_json::Value;
use std::path::Path;

const CLINIC: &str = "clinic";

pub async fn play(hub: &Platform, environments: &Path) -> Result<(), Error> {
    tell::chapter("A clinic without a network: an instance of its own, and files that are carried");
    let site = Platform::start_apart().await?;
    let stick = hub.scratch().join("stick");
    std::fs::create_dir_all(&stick)?;
    let file = |name: &str| stick.join(name).to_string_lossy().into_owned();
    for (from, to, name, how) in [
        (hub, &site, "hub.pem", "--as"),
        (&site, hub, "clinic.pem", "--of"),
    ] {
        let key = from.bascule(&from.admin_token, &["release", "key"])?;
        std::fs::write(stick.join(name), key)?;
        to.bascule(&to.admin_token, &["bundle", "trust", &file(name), how, CLINIC])?;
    }
    let text = format!(
        "environment: {CLINIC}\ntier: staging\nnetwork: none\ninstall:\n  - product: {PROJECT}\n  - product: {REMINDERS}\n"
    );
    std::fs::write(environments.join("environments/clinic.yaml"), text)?;
    commit(hub, &admin(hub), environments, "Declare the clinic")?;
    until("the hub to plan for the clinic", 60, || {
        let plans = hub.json(&hub.admin_token, &["plan", "--in", CLINIC])?;
        let rows = plans.as_array().cloned().unwrap_or_default();
        let planned = rows.len() == 2 && rows.iter().all(|row| row["target"] != "");
        Ok(planned.then_some(()))
    })
    .await?;
    hub.bascule(&hub.admin_token, &["plan", "--in", CLINIC])?;

    tell::chapter("The bundle is carried: signed by the hub, checked at the clinic, and deployed there");
    let bundle = file("clinic.bundle.tar");
    hub.bascule(
        &hub.admin_token,
        &["bundle", "export", "--to", CLINIC, "-o", &bundle],
    )?;
    site.bascule(&site.admin_token, &["bundle", "import", &bundle])?;
    until("both products in the clinic", 90, || {
        let plans = site.json(&site.admin_token, &["plan", "--in", CLINIC])?;
        let rows = plans.as_array().cloned().unwrap_or_default();
        let runs = rows.len() == 2
            && rows
                .iter()
                .all(|row| row["state"] == "up_to_date" && row["current"] != "");
        Ok(runs.then_some(()))
    })
    .await?;
    site.bascule(&site.admin_token, &["plan", "--in", CLINIC])?;
    let again = site.run(&site.admin_token, &["bundle", "import", &bundle], "")?;
    tell::output(String::from_utf8_lossy(&again.stderr).trim());
    check(
        again.status.code() == Some(3),
        "both products run in the clinic; the same bundle brought again is refused",
    )?;

    tell::chapter("The clinic's report is carried back");
    let report = file("clinic-report.bundle.tar");
    site.bascule(&site.admin_token, &["bundle", "report", "-o", &report])?;
    hub.bascule(&hub.admin_token, &["bundle", "import", &report])?;
    hub.bascule(&hub.admin_token, &["bundle", "status"])?;
    let status = hub.json(&hub.admin_token, &["bundle", "status"])?;
    let installs = status["sites"][0]["observed"]["installs"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let version = |product: &str| -> Value {
        let install = installs.iter().find(|install| install["product"] == product);
        install.map_or(Value::Null, |install| install["version"].clone())
    };
    check(
        version(PROJECT) == "1.1.0" && version(REMINDERS) == "1.0.0",
        "the hub knows what runs in the clinic, and leaves out of the next bundle what is there",
    )
}

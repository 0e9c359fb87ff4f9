use super::parse;
use proptest::prelude::*;

fn read(text: &str) -> Result<super::Site, String> {
    parse("environments/site-7.yaml", text.as_bytes()).map_err(|error| error.to_string())
}

#[test]
fn a_declaration_reads_with_what_is_usual_left_out() {
    let site = read("environment: site-7\ninstall: [{product: health/foo}]\n").unwrap();
    assert_eq!(
        (site.tier.as_str(), site.channel.as_str(), site.heal),
        ("production", "stable", true)
    );
    let site = read(
        "environment: site-7\ntier: staging\nagent: site-7\nchannel: beta\nprereleases: true\n\
         windows: [{cron: \"0 22 * * SAT\", timezone: Europe/Paris, duration: 4h}]\nholidays: [2026-12-25]\n\
         approvals: [security]\nbudget: 20\ndrift: show\ndriver: podman\nvariables: {LOG: info}\n\
         install: [{product: health/bar, driver: process}, {product: health/foo, pin: 1.0.x, reason: audit, variables: {LOG: debug}}]\n",
    )
    .unwrap();
    assert_eq!(
        site.variables_of("health/foo").get("LOG").map(String::as_str),
        Some("debug")
    );
    assert_eq!(
        (site.installs[1].pin.as_str(), site.budget_percent),
        ("1.0.x", 20)
    );
    let driver =
        |product| super::driver_in(&site.settings_of(product)).map(bascule_wire::agent::Driver::as_str);
    assert_eq!(
        (driver("health/foo"), driver("health/bar"), driver("health/other")),
        (Some("podman"), Some("process"), None)
    );
    assert!(!site.calendar().unwrap().is_always());
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, says) in [
        ("", "environments/site-7.yaml:1:1: the file is empty"),
        (
            "environment: site-8\n",
            "named otherwise than the environment site-8",
        ),
        ("environment: site-7\nwindow: []\n", "did you mean `windows`?"),
        (
            "environment: site-7\nwindows: [{cron: \"61 * * * *\", duration: 1h}]\n",
            "is no cron expression",
        ),
        (
            "environment: site-7\ninstall: [{product: foo}]\n",
            "as group/project",
        ),
        (
            "environment: site-7\ninstall: [{product: a/b}, {product: a/b}]\n",
            "a/b is installed twice",
        ),
        (
            "environment: site-7\ninstall: [{product: a/b, pin: new}]\n",
            "is no matcher",
        ),
        ("environment: site-7\nholidays: [christmas]\n", "is no date"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(says), "{text:?}: {error}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "[ -~\n]{0,200}") {
        let _ = read(&text);
        let _ = read(&format!("environment: site-7\n{text}"));
    }
}

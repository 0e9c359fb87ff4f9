//! The draft of a post-mortem: what the platform knows is filled in, what only people know is asked. Blameless
//! by its wording: it asks what made an act seem right, never who was wrong. Pure.

pub(crate) mod service;

use crate::incident::{Incident, cut};
use bascule_core::Timestamp;
use bascule_ledger::{Entry, facts::delivery::RolloutJudged};
use bascule_wire::incidents::TimelineEntry;
use std::fmt::Write as _;

/// Where an incident's post-mortem stands in its home.
#[must_use]
pub fn path(incident: &Incident) -> String {
    let mut slug = String::new();
    for character in incident.title.to_lowercase().chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= 50 {
            break;
        }
    }
    let slug = slug.trim_matches('-');
    let year = incident.detected_at.to_jiff().strftime("%Y");
    let slug = if slug.is_empty() { "incident" } else { slug };
    format!("postmortems/{year}/{:04}-{slug}.md", incident.number)
}

/// Text from outside, as one line of a Markdown table or heading: it starts no markup, cell or line.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut out = String::new();
    for character in text.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '!' | '#' | '~' => {
                out.push('\\');
                out.push(character);
            }
            other => out.push(other),
        }
    }
    out
}

fn time(at: Timestamp) -> String {
    at.to_jiff().strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn between(from: Option<Timestamp>, to: Option<Timestamp>) -> String {
    match (from, to) {
        (Some(from), Some(to)) => bascule_web::duration(to.since(from)),
        _ => "not recorded".to_owned(),
    }
}

/// The draft.
#[must_use]
pub fn draft(incident: &Incident, timeline: &[TimelineEntry], facts: &[Entry]) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail.
    let _ = write(&mut out, incident, timeline, facts);
    out
}

fn write(
    out: &mut String,
    incident: &Incident,
    timeline: &[TimelineEntry],
    facts: &[Entry],
) -> std::fmt::Result {
    let place = incident
        .environment_name
        .as_deref()
        .map_or_else(|| "no one environment".to_owned(), plain);
    let version = incident
        .version
        .as_deref()
        .map_or_else(|| "not known".to_owned(), plain);
    let noticed = match incident.cause.as_str() {
        "rollout" => "by the platform: the rollout's judge or guardrail undid the new version",
        "alert" => "by the platform: the error budget burned too fast",
        _ => "by a person",
    };
    writeln!(
        out,
        "# Post-mortem of incident {}: {}\n",
        incident.number,
        plain(&incident.title)
    )?;
    writeln!(
        out,
        "> Draft written by the platform from recorded facts. Correct it, answer the questions, and have"
    )?;
    writeln!(
        out,
        "> it reviewed. It looks for causes in systems and circumstances, never for someone to blame.\n"
    )?;
    writeln!(out, "## Summary\n")?;
    writeln!(out, "| Question | Answer |\n|---|---|")?;
    writeln!(out, "| What happened | {} |", plain(&incident.title))?;
    writeln!(out, "| Where | {}, {place} |", plain(&incident.path))?;
    writeln!(out, "| When | from {} |", time(incident.began_at))?;
    writeln!(out, "| How it was noticed | {noticed} |")?;
    writeln!(out, "| Who worked on it | {} |", people(incident, timeline))?;
    writeln!(out, "| Version at fault | {version} |")?;
    writeln!(
        out,
        "| Severity | {}{} |\n",
        incident.severity,
        if incident.drill { " (drill)" } else { "" }
    )?;
    writeln!(out, "## Impact\n")?;
    writeln!(out, "| Measure | Value |\n|---|---|")?;
    writeln!(
        out,
        "| Users were affected for | {} |",
        between(Some(incident.began_at), incident.restored_at)
    )?;
    writeln!(
        out,
        "| Time to detect | {} |",
        between(Some(incident.began_at), Some(incident.detected_at))
    )?;
    writeln!(
        out,
        "| Time to acknowledge | {} |",
        between(Some(incident.detected_at), incident.acknowledged_at)
    )?;
    writeln!(
        out,
        "| Time to identify the cause | {} |",
        between(incident.acknowledged_at, incident.identified_at)
    )?;
    writeln!(
        out,
        "| Service was back | {} |",
        incident
            .restored_at
            .map_or_else(|| "not recorded".to_owned(), time)
    )?;
    writeln!(
        out,
        "| Resolved | {} |",
        incident.resolved_at.map_or_else(|| "not yet".to_owned(), time)
    )?;
    if let Some(judged) = facts.iter().rev().find_map(Entry::fact::<RolloutJudged>) {
        let n = &judged.numbers;
        writeln!(
            out,
            "| Requests the new version answered while judged | {} |",
            n.new_requests
        )?;
        writeln!(
            out,
            "| Of these, failed | {} ({}) |",
            n.new_errors,
            share(n.new_errors, n.new_requests)
        )?;
        writeln!(
            out,
            "| Failed on the old version meanwhile | {} of {} ({}) |",
            n.old_errors,
            n.old_requests,
            share(n.old_errors, n.old_requests)
        )?;
    }
    writeln!(out, "\nWhich users, and what could they not do? …\n")?;
    writeln!(out, "## Timeline\n")?;
    writeln!(out, "| Time (UTC) | Who | What |\n|---|---|---|")?;
    for line in timeline {
        let at = line.at.to_jiff().strftime("%Y-%m-%d %H:%M:%S");
        writeln!(
            out,
            "| {at} | {} | {} |",
            plain(&line.actor),
            plain(&cut(&line.text, 300))
        )?;
    }
    writeln!(out, "\n## Detection\n")?;
    writeln!(
        out,
        "Noticed {noticed}, {} after it began.",
        between(Some(incident.began_at), Some(incident.detected_at))
    )?;
    writeln!(
        out,
        "\n- What would have shown it sooner?\n- Did anyone outside notice first?\n"
    )?;
    writeln!(out, "## Causes\n")?;
    if incident.root_cause.is_empty() {
        writeln!(out, "No cause was named during the incident.\n")?;
    } else {
        for line in incident.root_cause.lines() {
            writeln!(out, "> {}", plain(line))?;
        }
        out.push('\n');
    }
    writeln!(
        out,
        "Five whys. Each answer names a circumstance that can be changed, not a person.\n"
    )?;
    for (number, why) in [
        "did users meet the failing",
        "did that happen",
        "was that possible",
        "did nothing prevent it",
        "was that so",
    ]
    .iter()
    .enumerate()
    {
        writeln!(out, "### {}. Why {why}?\n\n…\n", number + 1)?;
    }
    writeln!(out, "## What went well\n\n- …\n")?;
    writeln!(out, "## What went badly\n\n- …\n")?;
    writeln!(out, "## Where we were lucky\n\n- …\n")?;
    writeln!(out, "## Action items\n")?;
    writeln!(
        out,
        "- [ ] Prevent: a test that fails on the faulty version (owner, date)"
    )?;
    writeln!(out, "- [ ] Detect: … (owner, date)")?;
    writeln!(out, "- [ ] Limit: … (owner, date)")?;
    writeln!(
        out,
        "- [ ] Review this document with everyone concerned (owner, date)"
    )
}

fn people(incident: &Incident, timeline: &[TimelineEntry]) -> String {
    let mut names: Vec<&str> = timeline
        .iter()
        .filter(|line| line.kind == "comment" || line.kind.starts_with("incident."))
        .map(|line| line.actor.as_str())
        .chain(incident.acknowledged_by.as_deref())
        .chain(incident.resolved_by.as_deref())
        .filter(|name| *name != "bascule")
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        "nobody yet".to_owned()
    } else {
        plain(&names.join(", "))
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        "–".to_owned()
    } else {
        bascule_web::percent(part as f64 / whole as f64)
    }
}

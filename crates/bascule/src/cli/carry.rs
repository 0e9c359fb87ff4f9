//! The verbs of `bundle` that ask a server.

use super::{
    bundle::{Bundle, inspect_files},
    context::Context,
    identity::done,
    output::{self, Output, code, line},
};
use bascule_client::Method;
use bascule_core::{Problem, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const KEY: &[output::Column] = &[("KEY", "id"), ("ROLE", "role"), ("SITE", "site"), ("SINCE", "at")];
const SITE: &[output::Column] = &[
    ("SITE", "site"),
    ("EXPORTED", "exported"),
    ("AT", "exported_at"),
    ("APPLIED THERE", "applied"),
    ("REPORTED", "reported_at"),
];
const GATHERED: &[output::Column] = &[
    ("SITE", "site"),
    ("SEQUENCE", "sequence"),
    ("KIND", "kind"),
    ("FILES HERE", "here"),
    ("MISSING", "missing"),
    ("WAITS", "waits"),
];
const OBSERVED: &[output::Column] = &[
    ("PRODUCT", "product"),
    ("RUNS", "version"),
    ("HEALTH", "health"),
    ("PLAN", "plan"),
    ("WHY", "why"),
];

impl Bundle {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let out = context.out;
        match self {
            Self::Inspect(inspect) => return inspect_files(&inspect, out.is_json()),
            Self::Export(export) => {
                let kind = match (export.full, export.checkpoint) {
                    (true, _) => "full",
                    (_, true) => "checkpoint",
                    _ => "auto",
                };
                let wanted = json!({
                    "site": export.to, "kind": kind, "since": export.since, "chunk": export.chunk, "days": export.days,
                });
                let client = context.client.clone().patient()?;
                let made: Value = client.post("/api/v1/bundles/exports", &wanted).await?;
                fetch(context, &made, &export.output).await?;
            }
            Self::Report { output, chunk, days } => {
                let wanted = json!({ "chunk": chunk, "days": days });
                let made = context.post("/api/v1/bundles/reports", &wanted).await?;
                fetch(context, &made, &output).await?;
            }
            Self::Import { files } => return import(context, &files).await,
            Self::Trust { key, here, of } => {
                let (role, site) = match (here, of) {
                    (Some(site), _) => ("hub", site),
                    (None, site) => ("site", site.unwrap_or_default()),
                };
                let new = json!({ "pem": super::read_file(&key)?, "role": role, "site": site });
                let key = context.post("/api/v1/bundles/keys", &new).await?;
                out.record(&key, KEY);
            }
            Self::Keys => out.table(&context.get("/api/v1/bundles/keys").await?, KEY),
            Self::Distrust { key } => {
                let path = format!("/api/v1/bundles/keys/{}", bascule_web::url_encode(&key));
                let answer: Value = context.client.delete(&path).await?;
                done(out, &answer, &format!("The key {key} is believed no longer."));
            }
            Self::Status => {
                let sites = context.get("/api/v1/bundles/sites").await?;
                let gathered = context.get("/api/v1/bundles/gathered").await?;
                let waits = gathered.as_array().is_some_and(|sets| !sets.is_empty());
                if out.is_json() {
                    out.record(&json!({ "sites": sites, "gathered": gathered }), &[]);
                    return Ok(code::DONE);
                }
                // A site has none of its own; what it is gathering is all that there is to say.
                if !waits || sites.as_array().is_some_and(|sites| !sites.is_empty()) {
                    out.table(&sites, SITE);
                }
                if waits {
                    line("gathered here and not applied yet:");
                    out.table(&Value::Array(told_sets(&gathered)), GATHERED);
                }
                for site in sites.as_array().into_iter().flatten() {
                    if site["observed"].is_object() {
                        line("");
                        line(&format!(
                            "{}, as it told at {}:",
                            output::printable(site["site"].as_str().unwrap_or_default()),
                            output::printable(site["observed"]["at"].as_str().unwrap_or_default())
                        ));
                        out.table(&site["observed"]["installs"], OBSERVED);
                    }
                }
            }
        }
        Ok(code::DONE)
    }
}

/// Sets that are gathered, with the numbers of their files as people write them.
fn told_sets(gathered: &Value) -> Vec<Value> {
    let numbers = |list: &Value| {
        let all: Vec<String> = list
            .as_array()
            .into_iter()
            .flatten()
            .map(Value::to_string)
            .collect();
        match all.len() {
            0 => "none".to_owned(),
            1..=10 => all.join(", "),
            many => format!("{many} files"),
        }
    };
    gathered
        .as_array()
        .into_iter()
        .flatten()
        .map(|set| {
            let mut told = set.clone();
            told["here"] = numbers(&set["here"]).into();
            told["missing"] = numbers(&set["missing"]).into();
            told
        })
        .collect()
}

/// Fetches all files of a bundle that was made.
async fn fetch(context: &Context, made: &Value, to: &Path) -> Result<()> {
    let files: Vec<&Value> = made["files"].as_array().into_iter().flatten().collect();
    for (number, file) in (1..).zip(&files) {
        let name = file["name"].as_str().unwrap_or_default();
        let place = place(to, name, number, files.len())?;
        let size = file["size"].as_u64().unwrap_or(u64::MAX);
        let path = file["path"].as_str().unwrap_or_default();
        let (_, written) = context
            .client
            .request(Method::GET, path)
            .download(&place, None, size)
            .await?;
        context
            .out
            .say(&format!("wrote {} ({written} bytes)", place.display()));
    }
    if context.out.is_json() {
        context.out.record(made, &[]);
        return Ok(());
    }
    for note in made["notes"].as_array().into_iter().flatten() {
        line(&format!(
            "note: {}",
            output::printable(note.as_str().unwrap_or_default())
        ));
    }
    let base = made["base"]
        .as_i64()
        .map(|base| format!(", builds upon {base}"))
        .unwrap_or_default();
    line(&format!(
        "{} {} of the site {}{base}, use before {}",
        made["kind"].as_str().unwrap_or_default(),
        made["sequence"],
        made["site"].as_str().unwrap_or_default(),
        made["expires_at"].as_str().unwrap_or_default()
    ));
    for release in made["releases"].as_array().into_iter().flatten() {
        line(&format!(
            "  {}",
            output::printable(release.as_str().unwrap_or_default())
        ));
    }
    Ok(())
}

/// Where a file goes: into a folder under its own name, or to the name given, numbered where there are several.
fn place(to: &Path, name: &str, number: usize, count: usize) -> Result<PathBuf> {
    if to.is_dir() {
        if !bascule_core::is_safe_path(name) || name.contains('/') {
            return Err(Problem::new(502, "bad_answer", "The server names a file badly."));
        }
        return Ok(to.join(name));
    }
    if count == 1 {
        return Ok(to.to_owned());
    }
    let given = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (stem, ending) = given.split_once('.').unwrap_or((&given, "bundle.tar"));
    let width = count.to_string().len().max(2);
    Ok(to.with_file_name(format!("{stem}-{number:0width$}-of-{count:0width$}.{ending}")))
}

/// Brings files in, each for itself: one that is refused leaves the others. Refused in the end is what one of them was,
/// except for what was applied before, where something else was taken.
async fn import(context: &Context, files: &[PathBuf]) -> Result<u8> {
    // A server that takes a large file in says nothing until it has applied it.
    let client = context.client.clone().patient()?;
    let mut all = Vec::new();
    let (mut refused, mut applied): (Option<Problem>, Option<Problem>) = (None, None);
    for file in files {
        let taken = client
            .request(Method::POST, "/api/v1/bundles/imports")
            .header("content-type", "application/x-tar")
            .file(file)
            .send()
            .await;
        let taken: Value = match taken {
            Ok(answer) => answer.json().await?,
            // Without an answer the others would have none either.
            Err(problem) if problem.status >= 500 => return Err(named(file, problem)),
            Err(problem) => {
                let problem = named(file, problem);
                if files.len() > 1 {
                    context.out.say(&problem.what);
                }
                let kept = if matches!(problem.code.as_str(), "bundle_replayed" | "bundle_stale") {
                    &mut applied
                } else {
                    &mut refused
                };
                kept.get_or_insert(problem);
                continue;
            }
        };
        tell_import(context.out, file, &taken);
        all.push(taken);
    }
    if let Some(problem) = refused.or_else(|| applied.filter(|_| all.is_empty())) {
        return Err(problem);
    }
    if context.out.is_json() {
        context.out.record(&Value::Array(all), &[]);
    }
    Ok(code::DONE)
}

fn named(file: &Path, mut problem: Problem) -> Problem {
    problem.what = format!("{}: {}", file.display(), problem.what);
    problem
}

fn tell_import(out: Output, file: &Path, taken: &Value) {
    let text = |value: &Value| output::printable(value.as_str().unwrap_or_default());
    let already = if taken["already"] == true {
        ", taken before"
    } else {
        ""
    };
    out.say(&format!(
        "{}: {} {} of the site {}, file {} of {}{already}",
        file.display(),
        text(&taken["kind"]),
        taken["sequence"],
        text(&taken["site"]),
        taken["chunk"],
        taken["chunks"]
    ));
    for set in taken["applied"].as_array().into_iter().flatten() {
        out.say(&format!("  applied: {} {}", text(&set["kind"]), set["sequence"]));
        for release in set["releases"].as_array().into_iter().flatten() {
            out.say(&format!("    new       {}", text(release)));
        }
        for recall in set["recalls"].as_array().into_iter().flatten() {
            out.say(&format!("    recalled  {}", text(recall)));
        }
    }
    let waits = text(&taken["waits"]);
    if !waits.is_empty() {
        out.say(&format!("  {waits}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_files_have_numbers_and_a_folder_names_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("clinic.bundle.tar");
        assert_eq!(place(&file, "x", 1, 1), Ok(file.clone()));
        assert_eq!(
            place(&file, "x", 2, 12),
            Ok(folder.path().join("clinic-02-of-12.bundle.tar"))
        );
        assert_eq!(
            place(folder.path(), "a.tar", 2, 12),
            Ok(folder.path().join("a.tar"))
        );
        assert!(place(folder.path(), "../a.tar", 1, 1).is_err());
    }
}

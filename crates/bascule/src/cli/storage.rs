//! What `project` and `group` say about storage, and upkeep of repositories.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_core::Result;
use serde_json::{Value, json};
use std::time::Duration;

pub const PROJECT: &[(&str, &str)] = &[
    ("BYTES", "bytes"),
    ("LARGEST FILE", "file_bytes"),
    ("LARGEST PUSH", "push_bytes"),
    ("QUOTA", "quota_bytes"),
    ("QUOTA OF THE GROUP", "group_quota_bytes"),
];

pub const GROUP: &[(&str, &str)] = &[
    ("BYTES", "bytes"),
    ("LARGEST FILE", "file_bytes"),
    ("LARGEST PUSH", "push_bytes"),
    ("QUOTA", "quota_bytes"),
];

/// How often it is asked whether work has ended.
const ASK_EVERY: Duration = Duration::from_millis(300);

/// Limits on the command line, such as `50MiB`.
#[derive(Clone, Debug, clap::Args)]
pub struct Limits {
    /// Largest file in a push, such as 50MiB
    #[arg(long, value_name = "SIZE")]
    file: Option<String>,
    /// Largest push
    #[arg(long, value_name = "SIZE")]
    push: Option<String>,
    /// Quota: of the project, or of all projects of the group together
    #[arg(long, value_name = "SIZE")]
    quota: Option<String>,
}

impl Limits {
    /// As the API takes them.
    pub fn body(&self) -> Result<Value> {
        let mut body = json!({});
        for (name, text) in [
            ("file_bytes", &self.file),
            ("push_bytes", &self.push),
            ("quota_bytes", &self.quota),
        ] {
            if let Some(text) = text {
                let bytes = bytes(text).ok_or_else(|| {
                    output::usage(
                        &format!("`{text}` is no size."),
                        "Write a number of bytes, or one with KiB, MiB, GiB or TiB, such as 50MiB.",
                    )
                })?;
                body[name] = json!(bytes);
            }
        }
        Ok(body)
    }
}

fn bytes(text: &str) -> Option<i64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(1 << shift)
}

/// Asks for work on a repository and waits for its end.
pub async fn upkeep(context: &Context, project: &str, verb: &str, kind: &str) -> Result<u8> {
    output::project(project)?;
    let path = format!("/api/v1/projects/{project}/upkeep");
    context.post(&format!("{path}/{verb}"), &json!({})).await?;
    loop {
        let answer = context.get(&path).await?;
        let runs = answer["runs"].as_array().map_or(&[][..], Vec::as_slice);
        let run = runs.iter().find(|run| run["kind"] == kind);
        if let Some(run) = run.filter(|run| !run["ended_at"].is_null()) {
            let columns = [("ENDED", "ended_at"), ("GOOD", "good"), ("RESULT", "told")];
            context.out.record(run, &columns);
            return Ok(if run["good"] == true {
                code::DONE
            } else {
                code::FAILED
            });
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read() {
        assert_eq!(bytes("50MiB"), Some(50 << 20));
        assert_eq!(bytes("7"), Some(7));
        assert_eq!(bytes("2 g"), Some(2 << 30));
        for bad in ["", "MiB", "-1", "1.5MiB", "99999999TiB", "5 apples"] {
            assert_eq!(bytes(bad), None, "{bad}");
        }
    }
}

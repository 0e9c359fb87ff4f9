//! `insights`.

use super::{
    context::Context,
    output::{self, code},
};
use bascule_core::Result;
use bascule_web::{duration, percent};
use bascule_wire::insights::{FactsBehind, Insights as Measured, Spread};
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// `bascule insights …`
#[derive(Debug, Args)]
pub struct Insights {
    /// group/project; the whole instance if left out
    project: Option<String>,
    /// Beginning of the period (RFC 3339)
    #[arg(long)]
    from: Option<String>,
    /// End of the period
    #[arg(long)]
    to: Option<String>,
    /// Also print the facts behind each number
    #[arg(long)]
    facts: bool,
}

/// One line of the answer.
struct Measure<'a> {
    title: String,
    value: Option<String>,
    class: Option<&'a str>,
    count: i64,
    facts: &'a FactsBehind,
}

/// Facts printed for one number; the page shows all.
const FACTS: usize = 10;

impl Insights {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let mut path = match &self.project {
            Some(project) => {
                output::project(project)?;
                format!("/api/v1/projects/{project}/insights?")
            }
            None => "/api/v1/insights?".to_owned(),
        };
        for (name, value) in [("from", &self.from), ("to", &self.to)] {
            if let Some(value) = value {
                path = format!("{path}{name}={}&", bascule_web::url_encode(value));
            }
        }
        let path = path.trim_end_matches(['?', '&']);
        if context.out.is_json() {
            context.out.record(&context.get(path).await?, &[]);
            return Ok(code::DONE);
        }
        let measured: Measured = context.client.get(path).await?;
        let measures = measures(&measured);
        let rows: Vec<_> = measures
            .iter()
            .map(|m| {
                let value = m.value.as_deref().unwrap_or("no data");
                json!({ "title": m.title, "value": value, "class": m.class, "count": m.count, "facts": m.facts.count })
            })
            .collect();
        let columns = [
            ("MEASURE", "title"),
            ("VALUE", "value"),
            ("CLASS", "class"),
            ("OF", "count"),
            ("FACTS", "facts"),
        ];
        context.out.table(&rows.into(), &columns);
        if self.facts {
            for measure in &measures {
                tell(context, measure).await?;
            }
        }
        Ok(code::DONE)
    }
}

async fn tell(context: &Context, measure: &Measure<'_>) -> Result<()> {
    if measure.facts.seqs.is_empty() {
        return Ok(());
    }
    context.out.say(&format!("\n{} is computed from:", measure.title));
    for seq in measure.facts.seqs.iter().take(FACTS) {
        let fact = context.get(&format!("/api/v1/ledger/{seq}")).await?;
        context.out.say(&format!(
            "  #{seq} {} {} {}",
            fact["at"].as_str().unwrap_or_default(),
            output::printable(fact["actor"]["name"].as_str().unwrap_or_default()),
            output::printable(fact["summary"].as_str().unwrap_or_default())
        ));
    }
    if let Some(more) = usize::try_from(measure.facts.count)
        .unwrap_or(0)
        .checked_sub(FACTS)
        .filter(|more| *more > 0)
    {
        context
            .out
            .say(&format!("  … and {more} more: {}", measure.facts.href));
    }
    Ok(())
}

fn seconds(value: Option<f64>) -> Option<String> {
    value.map(|seconds| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()))
}

/// Every number, in the order in which people ask for them.
fn measures(m: &Measured) -> Vec<Measure<'_>> {
    let dora = &m.dora;
    let mut list = vec![
        Measure {
            title: "Deployment frequency".to_owned(),
            value: Some(format!("{:.2} a day", dora.deployment_frequency.per_day)),
            class: dora.deployment_frequency.class.as_deref(),
            count: dora.deployment_frequency.deployments,
            facts: &dora.deployment_frequency.facts,
        },
        Measure {
            title: "Lead time for changes (median)".to_owned(),
            value: seconds(dora.lead_time.median_seconds),
            class: dora.lead_time.class.as_deref(),
            count: dora.lead_time.changes,
            facts: &dora.lead_time.facts,
        },
        Measure {
            title: "Change failure rate".to_owned(),
            value: dora.change_failure_rate.share.map(percent),
            class: dora.change_failure_rate.class.as_deref(),
            count: dora.change_failure_rate.exposed,
            facts: &dora.change_failure_rate.facts,
        },
        Measure {
            title: "Time to restore (median)".to_owned(),
            value: seconds(dora.time_to_restore.median_seconds),
            class: dora.time_to_restore.class.as_deref(),
            count: dora.time_to_restore.failures,
            facts: &dora.time_to_restore.facts,
        },
        Measure {
            title: "Reliability (availability)".to_owned(),
            value: dora.reliability.availability.map(percent),
            class: None,
            count: dora.reliability.requests,
            facts: &dora.reliability.facts,
        },
    ];
    for month in &m.mttx {
        let spread = |name: &str, spread: &Spread| Measure {
            title: format!("{name} {}", month.month),
            value: seconds(spread.mean_seconds),
            class: None,
            count: spread.count,
            facts: &month.facts,
        };
        list.push(spread("MTTD", &month.detect));
        list.push(spread("MTTA", &month.acknowledge));
        list.push(spread("MTTI", &month.identify));
        list.push(spread("MTTR", &month.repair));
        list.push(spread("MTBF", &month.between));
    }
    for rci in &m.rci {
        let trend = rci
            .trend
            .map(|trend| format!(" ({:+.1} %)", trend * 100.0))
            .unwrap_or_default();
        list.push(Measure {
            title: format!("RCI {}", rci.quarter),
            value: rci.value.map(|value| format!("{value:.0}{trend}")),
            class: None,
            count: rci.deployments,
            facts: &rci.facts,
        });
    }
    list
}

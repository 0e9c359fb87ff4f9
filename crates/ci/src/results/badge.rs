//! Badges: how the newest pipeline of a branch stands, and its coverage, as a picture.

use super::coverage::Share;
use crate::{Ci, pipeline};
use axum::{
    extract::State,
    response::{IntoResponse as _, Response},
};
use bascule_core::Problem;
use bascule_web::{Answer, InProject, Params, PathOf};
use http::header;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Which {
    /// What the name means that a branch and a tag have: `heads` or `tags`; left out, the branch.
    #[serde(default)]
    ref_type: String,
}

/// `BRANCH/pipeline.svg` or `BRANCH/coverage.svg`, with the access that the project's pipelines have.
pub(super) async fn serve(
    State(ci): State<Ci>,
    project: InProject,
    PathOf((_, _, place)): PathOf<(String, String, String)>,
    Params(query): Params<Which>,
) -> Answer<Response> {
    let none = || Problem::not_found("badge").next("Ask for `BRANCH/pipeline.svg` or `BRANCH/coverage.svg`.");
    let (reference, file) = place.rsplit_once('/').ok_or_else(none)?;
    let tag = match query.ref_type.as_str() {
        "" => ci.is_tag(project.id, reference).await?,
        "heads" | "branch" => false,
        "tags" | "tag" => true,
        _ => {
            return Err(Problem::bad_request("bad_query", "There is no such `ref_type`.")
                .next("Give `heads` for a branch or `tags` for a tag.")
                .into());
        }
    };
    let newest = pipeline::store::newest_of(&ci.db, project.id, (reference, tag), 20).await?;
    let (label, value, colour) = match file {
        "pipeline.svg" => {
            let status = newest.first().map_or("unknown", |found| found.status.as_str());
            ("pipeline", status.to_owned(), colour_of(status))
        }
        "coverage.svg" => {
            let ids: Vec<_> = newest.iter().map(|found| found.id).collect();
            let shares = ci.coverage_of(&ids).await?;
            let share = ids.iter().find_map(|id| shares.get(id).copied());
            let setting = ci.ci_settings(project.id).await?;
            let floor = Share::parse(&setting.coverage_floor).unwrap_or(Share(8_000));
            match share {
                Some(share) => ("coverage", format!("{share} %"), shade(share, floor)),
                None => ("coverage", "unknown".to_owned(), GREY),
            }
        }
        _ => return Err(none().into()),
    };
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        // What a page elsewhere shows must not stay green for long.
        (header::CACHE_CONTROL, "private, no-cache"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, draw(label, &value, colour)).into_response())
}

const GREEN: &str = "#2a7d3c";
const RED: &str = "#b02a2a";
const AMBER: &str = "#8a5a00";
const BLUE: &str = "#0b56a3";
const GREY: &str = "#5c6670";

fn colour_of(status: &str) -> &'static str {
    match status {
        "success" => GREEN,
        "failed" => RED,
        "warning" => AMBER,
        "running" | "pending" => BLUE,
        _ => GREY,
    }
}

fn shade(share: Share, floor: Share) -> &'static str {
    if share >= floor {
        GREEN
    } else if share.0 * 10 >= floor.0 * 8 {
        AMBER
    } else {
        RED
    }
}

/// Width of a text in pixels, roughly: badges are told how wide their text is to be drawn.
fn width(text: &str) -> usize {
    let tenths: usize = text
        .chars()
        .map(|c| match c {
            'i' | 'l' | 'j' | '.' | ' ' | 't' | 'f' | 'r' => 42,
            'm' | 'w' | '%' => 98,
            _ => 68,
        })
        .sum();
    tenths.div_ceil(10)
}

/// A badge. The words come from here alone: statuses and numbers.
fn draw(label: &str, value: &str, colour: &str) -> String {
    let (left, right) = (width(label) + 12, width(value) + 12);
    let all = left + right;
    let (at_label, at_value) = (left / 2, left + right / 2);
    let (long_label, long_value) = (left - 12, right - 12);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"20\" role=\"img\" aria-label=\"{label}: {value}\">\
         <title>{label}: {value}</title>\
         <clipPath id=\"r\"><rect width=\"{all}\" height=\"20\" rx=\"3\"/></clipPath>\
         <g clip-path=\"url(#r)\"><rect width=\"{left}\" height=\"20\" fill=\"#3c434b\"/>\
         <rect x=\"{left}\" width=\"{right}\" height=\"20\" fill=\"{colour}\"/></g>\
         <g fill=\"#fff\" text-anchor=\"middle\" font-family=\"Verdana,DejaVu Sans,sans-serif\" font-size=\"11\">\
         <text x=\"{at_label}\" y=\"14\" textLength=\"{long_label}\">{label}</text>\
         <text x=\"{at_value}\" y=\"14\" textLength=\"{long_value}\">{value}</text></g></svg>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn badges_are_well_formed_and_coloured() {
        let badge = draw("coverage", "83.10 %", shade(Share(8_310), Share(8_000)));
        assert!(badge.contains(">83.10 %</text>") && badge.contains(GREEN));
        let mut reader = quick_xml::Reader::from_str(&badge);
        while !matches!(reader.read_event().unwrap(), quick_xml::events::Event::Eof) {}
        assert_eq!(shade(Share(7_900), Share(8_000)), AMBER);
        assert_eq!(shade(Share(1_000), Share(8_000)), RED);
        assert_eq!(colour_of("failed"), RED);
    }
}

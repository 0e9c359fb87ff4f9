//! Which releases a site can take. Pure.

use crate::{
    catalogue::{Listed, service::one_by_one},
    site::{Site, SiteInstall},
};
use bascule_planner::{Matcher, Version};
use std::collections::BTreeSet;

/// Releases of one product for a site that has told of none yet.
pub(super) const FRESH: usize = 10;
/// Most releases of one product in one bundle.
pub(super) const MOST: usize = 50;

/// A release with the channels that it is in.
pub(super) struct Offered<'a> {
    pub(super) listed: &'a Listed,
    pub(super) channels: BTreeSet<String>,
}

/// The releases of a product that an install can take, oldest first: in its channel, let in by its pin, not recalled,
/// and none older than what runs. The newest ones where there are too many; of a product whose versions are taken
/// one by one, the next ones.
pub(super) fn choose<'a, 'b>(
    site: &Site,
    install: &SiteInstall,
    runs: Option<&Version>,
    offered: &'b [Offered<'a>],
) -> Vec<&'b Offered<'a>> {
    let channel = site.channel_of(Some(install));
    let pin: Option<Matcher> = install.pin.parse().ok();
    let mut fitting: Vec<(Version, &Offered<'_>)> = offered
        .iter()
        .filter(|offer| offer.listed.recall_reason.is_none() && offer.channels.contains(channel))
        .filter_map(|offer| Some((offer.listed.version.parse::<Version>().ok()?, offer)))
        .filter(|(version, _)| site.prereleases || !version.is_prerelease())
        .filter(|(version, _)| pin.as_ref().is_none_or(|pin| pin.admits(version)))
        .filter(|(version, _)| runs.is_none_or(|runs| version >= runs))
        .collect();
    fitting.sort_by(|(one, _), (other, _)| one.cmp(other));
    let stepwise = fitting
        .last()
        .is_some_and(|(_, newest)| one_by_one(newest.listed));
    let most = if runs.is_none() { FRESH } else { MOST };
    let surplus = fitting.len().saturating_sub(most);
    let chosen = fitting.into_iter().map(|(_, offer)| offer);
    if stepwise && runs.is_some() {
        chosen.take(most).collect()
    } else {
        chosen.skip(surplus).collect()
    }
}

/// Leaves out what is newer than what runs: an open incident holds it here.
pub(super) fn hold_back(chosen: &mut Vec<&Offered<'_>>, runs: &Version) {
    chosen.retain(|offer| {
        let version = offer.listed.version.parse::<Version>();
        version.is_ok_and(|version| version <= *runs)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::Relations;
    use bascule_core::{ProjectId, ReleaseId, Timestamp};
    use bascule_store::Json;

    fn listed(version: &str, stepwise: bool, recalled: bool) -> Listed {
        let relations = Relations {
            one_by_one: stepwise,
            ..Relations::default()
        };
        Listed {
            release_id: ReleaseId::new(),
            project_id: ProjectId::new(),
            version: version.to_owned(),
            sha: String::new(),
            relations: Json(relations),
            published_at: Timestamp::default(),
            recall_reason: recalled.then(|| "bad".to_owned()),
            recall_floor: None,
            recall_cause: String::new(),
        }
    }

    fn chosen(listed: &[Listed], pin: &str, runs: Option<&str>) -> Vec<String> {
        let site = crate::site::parse(
            "environments/clinic.yaml",
            format!("environment: clinic\nnetwork: none\ninstall:\n- product: a/b\n  pin: \"{pin}\"\n")
                .as_bytes(),
        )
        .unwrap();
        assert!(site.disconnected);
        let offered: Vec<Offered<'_>> = listed
            .iter()
            .map(|listed| Offered {
                listed,
                channels: if listed.version.starts_with("9.") {
                    ["dev".to_owned()].into()
                } else {
                    ["dev".to_owned(), "stable".to_owned()].into()
                },
            })
            .collect();
        let runs: Option<Version> = runs.map(|text| text.parse().unwrap());
        choose(&site, &site.installs[0], runs.as_ref(), &offered)
            .into_iter()
            .map(|offer| offer.listed.version.clone())
            .collect()
    }

    #[test]
    fn what_may_run_there_travels_and_nothing_else() {
        let all = [
            listed("1.10.0", false, false),
            listed("1.9.0", false, false),
            listed("1.8.0", false, false),
            listed("2.0.0", false, true),
            listed("2.1.0-rc.1", false, false),
            listed("9.0.0", false, false),
        ];
        assert_eq!(chosen(&all, "*", None), ["1.8.0", "1.9.0", "1.10.0"]);
        assert_eq!(chosen(&all, "*", Some("1.9.0")), ["1.9.0", "1.10.0"]);
        assert_eq!(chosen(&all, "1.9.x", Some("1.8.0")), ["1.9.0"]);
    }

    #[test]
    fn what_an_incident_holds_is_left_out_and_what_runs_is_not() {
        let all = [listed("1.9.0", false, false), listed("1.10.0", false, false)];
        let offered: Vec<Offered<'_>> = all
            .iter()
            .map(|listed| Offered {
                listed,
                channels: BTreeSet::new(),
            })
            .collect();
        let mut chosen = offered.iter().collect();
        hold_back(&mut chosen, &"1.9.0".parse().unwrap());
        let left: Vec<&str> = chosen.iter().map(|offer| offer.listed.version.as_str()).collect();
        assert_eq!(left, ["1.9.0"]);
    }

    #[test]
    fn of_many_the_newest_travel_or_the_next_where_none_is_skipped() {
        let many = |stepwise| -> Vec<Listed> {
            (0..80)
                .map(|minor| listed(&format!("1.{minor}.0"), stepwise, false))
                .collect()
        };
        let fresh = chosen(&many(false), "*", None);
        assert_eq!((fresh.len(), fresh[0].as_str()), (FRESH, "1.70.0"));
        let behind = chosen(&many(false), "*", Some("1.3.0"));
        assert_eq!((behind.len(), behind[MOST - 1].as_str()), (MOST, "1.79.0"));
        let stepwise = chosen(&many(true), "*", Some("1.3.0"));
        assert_eq!((stepwise.len(), stepwise[0].as_str()), (MOST, "1.3.0"));
    }
}

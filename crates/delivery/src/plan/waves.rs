//! Waves: who waits for whom in an environment, found by planning it as if there were none.

use super::{assemble::Scene, bearings::recalled};
use bascule_planner::{Catalogue, State, constraint::Wave, plan};
use std::sync::Arc;

/// Makes installs of later waves wait for those of earlier ones that are not up to date or not healthy.
///
/// One that is blocked by another product is not waited for: either what blocks it is in an earlier wave, and
/// then that is waited for, or it is in a later one, which has to go first.
pub(super) fn hold(catalogue: &Catalogue, scene: &mut Scene) {
    let Some(site) = &scene.site else { return };
    let wave_of = |path: &str| site.install(path).map_or(0, |install| install.wave);
    if site.installs.iter().all(|install| install.wave == 0) {
        return;
    }
    let found = plan(catalogue, &scene.environment);
    let undone: Vec<(u32, String, &str)> = scene
        .places
        .iter()
        .zip(&found.installs)
        .filter(|(place, _)| place.declared)
        .filter_map(|(place, planned)| {
            let sick = place.serving_version.is_some()
                && place
                    .instance_state
                    .as_deref()
                    .is_some_and(|state| !matches!(state, "healthy" | "draining"));
            let lacks = match planned.state {
                State::Ready | State::Held | State::Coupled => "is not up to date",
                State::Moving => "is being deployed",
                State::UpToDate if place.moving_version.is_some() => "is being deployed",
                _ if sick => "is not healthy",
                State::UpToDate | State::Blocked => return None,
            };
            Some((wave_of(&place.project_path), place.project_path.clone(), lacks))
        })
        .collect();
    for (place, install) in scene.places.iter().zip(&mut scene.environment.installs) {
        let number = wave_of(&place.project_path);
        let before: Vec<(String, String)> = undone
            .iter()
            .filter(|(wave, ..)| *wave < number)
            .map(|(_, key, lacks)| (key.clone(), (*lacks).to_owned()))
            .collect();
        // Away from a recalled version nothing of the others' standing holds it.
        if place.declared && !before.is_empty() && !recalled(catalogue, install) {
            install.constraints.push(Arc::new(Wave { number, before }));
        }
    }
}

//! Why a version is not somewhere, what publishing one would do, and whether a person's wish fits.

use super::{remarks::beside, store, words::lift};
use crate::{Delivery, catalogue, environment::Environment, site};
use bascule_core::{Caller, Problem, ProjectId, Result};
use bascule_planner::{Lift, Link, Version, against, explain, strand};
use bascule_store::Json;
use bascule_wire::delivery as dto;
use std::collections::HashSet;

impl Delivery {
    /// Why a version does not run in an environment. The product is named by its path, or by its last part where
    /// only one there is called so.
    ///
    /// # Errors
    /// The environment or the product is not there, or the version is none.
    pub async fn why_not(
        &self,
        caller: &Caller,
        site: &str,
        product: &str,
        version: &str,
    ) -> Result<dto::WhyNot> {
        let version: Version = version.parse().map_err(|bad| {
            Problem::invalid("bad_version", format!("{bad}.")).next("Name a version such as 1.1.0.")
        })?;
        let world = self.world_in(&[site.to_owned()]).await?;
        let visible = self.visible(caller).await?;
        let seen = |project: &ProjectId| visible.as_ref().is_none_or(|all| all.contains(project));
        let scene = world
            .scenes
            .iter()
            .find(|scene| scene.environment.name == site && scene.places.iter().any(|p| seen(&p.project_id)))
            .ok_or_else(|| site::service::unknown_site(site))?;
        let named: Vec<&store::Place> = scene
            .places
            .iter()
            .filter(|place| seen(&place.project_id))
            .filter(|place| {
                place.project_path == product || place.project_path.rsplit('/').next() == Some(product)
            })
            .collect();
        let place = match named.as_slice() {
            [place] => *place,
            [] => {
                return Err(Problem::invalid(
                    "unknown_product",
                    format!("{product} does not belong in {site}."),
                )
                .next(format!("`bascule plan --in {site}` lists what does.")));
            }
            [..] => {
                let all: Vec<&str> = named.iter().map(|place| place.project_path.as_str()).collect();
                return Err(Problem::invalid(
                    "ambiguous_product",
                    format!("More than one product is called {product}."),
                )
                .next(format!("Name one of {}.", all.join(", "))));
            }
        };
        let why = explain(
            &world.catalogue,
            &scene.environment,
            &place.project_path,
            &version,
        );
        let mut sentence = why.sentence;
        if place.serving_version == Some(version.to_string()) {
            for remark in beside(&world, scene, place) {
                sentence = format!("{sentence}; {remark}");
            }
        }
        let mut told = dto::WhyNot {
            environment: site.to_owned(),
            product: place.project_path.clone(),
            version: version.to_string(),
            clear: why.clear,
            sentence,
            links: why.links.into_iter().map(link).collect(),
        };
        self.veil_why(visible.as_ref(), &mut told).await?;
        Ok(told)
    }

    /// Takes the names out of an answer that its reader may not read.
    async fn veil_why(&self, visible: Option<&HashSet<ProjectId>>, told: &mut dto::WhyNot) -> Result<()> {
        let mut texts: Vec<&str> = vec![&told.sentence];
        for link in &told.links {
            texts.extend([link.product.as_str(), &link.text, &link.lifts]);
            texts.extend(
                link.holds
                    .iter()
                    .flat_map(|hold| [hold.text.as_str(), &hold.lifts]),
            );
        }
        let veil = self.veil(visible, &texts).await?;
        told.sentence = veil.over(&told.sentence);
        for link in &mut told.links {
            if veil.hides(&link.product) {
                link.version.clear();
            }
            let holds = link.holds.iter_mut();
            let texts = holds.flat_map(|hold| [&mut hold.text, &mut hold.lifts]);
            for text in texts.chain([&mut link.product, &mut link.text, &mut link.lifts]) {
                *text = veil.over(text);
            }
        }
        Ok(())
    }

    /// What publishing a release with this `bascule.yaml` would do to the environments that run the product.
    ///
    /// # Errors
    /// The version is none, or the file is wrong.
    pub async fn publish_check(
        &self,
        caller: &Caller,
        project: ProjectId,
        path: &str,
        new: &dto::NewPublishCheck,
    ) -> Result<dto::PublishCheck> {
        let version: Version = new.version.trim().parse().map_err(|bad| {
            Problem::invalid("bad_version", format!("{bad}.")).next("Name a version such as 1.1.0.")
        })?;
        let product = crate::product::parse(new.file.as_bytes()).map_err(|bad| {
            Problem::invalid("bad_product", format!("{bad}.")).next("Correct bascule.yaml.")
        })?;
        let mut world = self.world().await?;
        let listed = catalogue::Listed {
            release_id: bascule_core::ReleaseId::new(),
            project_id: project,
            version: version.to_string(),
            sha: String::new(),
            relations: Json(product.relations),
            published_at: self.now(),
            recall_reason: None,
            recall_floor: None,
            recall_cause: String::new(),
        };
        let release = listed.to_release(Vec::new()).ok_or_else(Problem::internal)?;
        let environments = super::checks::environments(&world, path, &release);
        let stranded = strand::strands(&world.catalogue, &environments, path, &release);
        let index = world.catalogue.product(path);
        world.catalogue.publish(index, release);
        let warnings = strand::falling(&world.catalogue, path, &version);
        let visible = self.visible(caller).await?;
        let mut texts: Vec<&str> = stranded.iter().map(|stranded| stranded.why.as_str()).collect();
        texts.extend(warnings.as_deref());
        let veil = self.veil(visible.as_ref(), &texts).await?;
        Ok(dto::PublishCheck {
            stranded: stranded.iter().map(|stranded| veil.over(&stranded.why)).collect(),
            warnings: warnings.iter().map(|text| veil.over(text)).collect(),
        })
    }

    /// Refuses what a person asks for where something stands against it. In a declared environment that is all that
    /// would hold a plan, but what a person's word is for: going back, another try, another order. `forced` sets aside
    /// what is a rule; what cannot be is refused all the same.
    pub(crate) async fn fits(
        &self,
        caller: &Caller,
        environment: &Environment,
        version: &str,
        forced: bool,
    ) -> Result<()> {
        let Ok(wanted) = version.parse::<Version>() else {
            return Ok(());
        };
        let world = self.world_in(std::slice::from_ref(&environment.name)).await?;
        let Some(scene) = world
            .scenes
            .iter()
            .find(|scene| scene.environment.name == environment.name)
        else {
            return Ok(());
        };
        let place = scene
            .places
            .iter()
            .find(|place| place.id == environment.id && place.declared);
        if place.is_some() {
            self.can_be_run(environment, scene)?;
        }
        if forced {
            return Ok(());
        }
        let links = against(
            &world.catalogue,
            &scene.environment,
            &environment.project_path,
            &wanted,
        );
        // Where nobody declared what belongs together, only what the version itself asks for counts: a stranger's
        // range must not hold up a project's own work.
        let counts = |link: &&Link| {
            let mut kinds = link.kind.split('+');
            if place.is_some() {
                kinds.any(|kind| !matches!(kind, "rolled_back" | "failed" | "wave" | "ramp"))
            } else {
                link.product == environment.project_path
                    && kinds.any(|kind| {
                        matches!(
                            kind,
                            "dependency"
                                | "missing"
                                | "incompatible"
                                | "recall"
                                | "coupled"
                                | "suppression_window"
                        )
                    })
            }
        };
        let against: Vec<&str> = links
            .iter()
            .filter(counts)
            .map(|link| link.text.as_str())
            .collect();
        if against.is_empty() {
            return Ok(());
        }
        let visible = self.visible(caller).await?;
        let veil = self.veil(visible.as_ref(), &against).await?;
        Err(Problem::conflict(
            "held",
            format!(
                "{version} cannot be put in {}: {}.",
                environment.name,
                veil.over(&against.join("; "))
            ),
        )
        .why("What a person puts somewhere keeps to the rules that hold a plan: windows, approvals, ranges, recalls.")
        .next("Wait for what is named, or force it and say why."))
    }

    /// Refuses where nothing could come of it, whatever is forced.
    fn can_be_run(&self, environment: &Environment, scene: &super::assemble::Scene) -> Result<()> {
        let name = &environment.name;
        if scene.site.as_ref().is_some_and(|site| site.disconnected) {
            return Err(
                Problem::conflict("air_gap", format!("No network reaches {name}."))
                    .why("What changes there comes in bundles that people carry.")
                    .next(format!("Export one: bascule bundle export --to {name} -o FOLDER")),
            );
        }
        if environment.agent_id.is_some() {
            return Ok(());
        }
        let named = scene
            .site
            .as_ref()
            .map(|site| site.agent.as_str())
            .filter(|agent| !agent.is_empty());
        Err(match named {
            Some(agent) => Problem::conflict(
                "no_agent",
                format!("{name} is to be run by the agent {agent}, which is not enrolled."),
            ),
            None => Problem::conflict("no_agent", format!("No agent runs {name}.")),
        }
        .why("An agent starts what is deployed; without one it would wait for ever.")
        .next("Enrol the agent (bascule agents create), or name another in the environment's file."))
    }
}

/// A link of the chain as it is told. Where several things hold at once, each is named with what would lift it.
fn link(link: Link) -> dto::WhyLink {
    let mut ends: Vec<String> = Vec::new();
    for end in link
        .holds
        .iter()
        .map(|hold| &hold.lifts)
        .chain(&link.lifts)
        .map(lift)
    {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    let one = link.holds.len() < 2;
    let holds = link.holds.into_iter().map(|hold| dto::WhyHold {
        text: if one {
            link.text.clone()
        } else {
            format!("{} {}", link.version, hold.why)
        },
        kind: hold.kind,
        lifts: lift(&hold.lifts),
        until: match hold.lifts {
            Lift::At(at) => Some(at),
            Lift::When(_) => None,
        },
    });
    dto::WhyLink {
        holds: holds.collect(),
        kind: link.kind,
        product: link.product,
        version: link.version,
        text: link.text,
        lifts: ends.join(" and "),
    }
}

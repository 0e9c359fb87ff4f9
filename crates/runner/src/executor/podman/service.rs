//! Services: containers beside the job, found by name and waited for.

use super::{Containers, SOON, image::Image, names, step};
use crate::{
    job::{Failure, Ground},
    vars::Vars,
    workspace,
};
use bascule_sandbox::podman::Podman;
use bascule_wire::runner::{Image as Wanted, Variable};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};
use tokio::time::Instant;

/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of its log shown where a service does not answer.
const SHOWN: &str = "40";
/// Names a variable of a service that says which port shows that it is ready.
pub(crate) const PORT: &str = "HEALTHCHECK_TCP_PORT";

/// A service of a job.
#[derive(Debug, Default)]
pub(super) struct Service {
    /// Host names under which it is found.
    pub(super) names: Vec<String>,
    pub(super) id: String,
    pub(super) image: Option<Image>,
    port: Option<u16>,
}

/// A service that is yet to start, with the names that are still free.
pub(super) fn named(on: &Ground<'_>, wanted: &Wanted, taken: &mut BTreeMap<String, ()>) -> Service {
    let alias = on.vars.expand(&wanted.alias);
    let aliases = alias
        .split([',', ' ', '\t', '\n'])
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let mut all = names::hosts(&on.vars.expand(&wanted.name));
    all.extend(aliases);
    let mut service = Service::default();
    for name in all {
        if !names::is_host(&name) {
            on.trace.warn(&format!(
                "`{}` is no host name, so the service is not found by it.",
                name.escape_debug()
            ));
        } else if taken.insert(name.clone(), ()).is_none() {
            service.names.push(name);
        } else if !service.names.contains(&name) {
            on.trace.warn(&format!(
                "Two services are called `{name}`; the first has the name. Give the other an `alias`."
            ));
        }
    }
    let own = variables(&on.vars, wanted);
    service.port = own.get(PORT).and_then(|port| port.trim().parse().ok());
    service
}

/// What a service sees of the job's variables, and its own over them. Secrets it gets by its own `variables` alone.
pub(crate) fn variables(vars: &Vars, wanted: &Wanted) -> Vars {
    let mut all = Vars::default();
    for (key, value) in vars.public() {
        all.set(Variable {
            raw: true,
            ..Variable::public(key, value)
        });
    }
    for own in &wanted.variables {
        let value = if own.raw {
            own.value.clone()
        } else {
            vars.expand(&own.value)
        };
        all.set(Variable {
            raw: true,
            ..Variable::public(own.key.clone(), value)
        });
    }
    all
}

impl Containers {
    /// Starts the `number`th service; its container.
    pub(super) async fn start_service(
        &self,
        on: &Ground<'_>,
        number: usize,
        wanted: &Wanted,
        image: &Image,
    ) -> Result<String, Failure> {
        let path = on.space.meta().join(format!("service-{number}"));
        let mut text = String::new();
        let all = variables(&on.vars, wanted).environment();
        for (name, value) in all.iter().filter(|(_, value)| !value.contains(['\n', '\r'])) {
            let _ = writeln!(text, "{name}={value}");
        }
        workspace::write_private(&path, text.as_bytes()).map_err(|e| workspace::unwritable(&path, &e))?;
        let mut words = [
            "run",
            "--detach",
            "--log-driver",
            "k8s-file",
            "--log-opt",
            "max-size=1mb",
        ]
        .map(str::to_owned)
        .to_vec();
        words.extend(self.common(on));
        words.extend(self.joins(number));
        words.extend(["--env-file".to_owned(), path.display().to_string()]);
        words.extend([
            "--volume".to_owned(),
            format!("{}:{}:rw", on.space.build().display(), on.project_dir),
        ]);
        if let Some(name) = self
            .services
            .get(number)
            .and_then(|service| service.names.first())
        {
            let name: String = name.chars().take(63).collect();
            words.extend(["--hostname".to_owned(), name.replace('_', "-")]);
        }
        if !image.user.is_empty() {
            words.extend(["--user".to_owned(), image.user.clone()]);
        }
        if let Some(entrypoint) = &image.entrypoint {
            words.extend(["--entrypoint".to_owned(), entrypoint.clone()]);
        }
        words.push(image.id.clone());
        // As it stands: a shell in the image finds the variables in its environment.
        words.extend(wanted.command.iter().cloned());
        match self.call(&words).await {
            Ok(id) => Ok(id.trim().to_owned()),
            Err(failed) if failed.bad_command() => Err(super::image::refused(&format!(
                "the service {} cannot start: {failed}",
                image.name
            ))),
            Err(failed) => Err(Failure::System(
                failed.problem(&format!("The service {} cannot be started.", image.name)),
            )),
        }
    }
}

/// Waits until each service listens. One that does not is told of with its log, and the job goes on.
pub(super) async fn wait_for(podman: &Podman, on: &Ground<'_>, services: &[Service]) {
    let until = Instant::now() + on.shared.config.podman.service_wait;
    for service in services {
        let Some(image) = &service.image else { continue };
        let Some(port) = service.port.or(image.ports.first().copied()) else {
            on.trace.line(&format!(
                "{} tells of no port, so it is not waited for",
                image.name
            ));
            continue;
        };
        let why = loop {
            let Ok(state) = step::state(podman, &service.id).await else {
                break "podman lost it".to_owned();
            };
            if !state.running {
                break format!("it ended with code {}", state.exit_code);
            }
            let listens = async {
                while !step::listens(state.pid, port) && step::lives(state.pid) {
                    tokio::time::sleep(LOOK).await;
                }
            };
            match tokio::time::timeout_at(until, listens).await {
                Err(_) => {
                    break format!(
                        "nothing listens on its port {port} after {} s",
                        on.shared.config.podman.service_wait.as_secs()
                    );
                }
                Ok(()) if step::listens(state.pid, port) => break String::new(),
                // It ended; podman knows a moment later.
                Ok(()) => tokio::time::sleep(LOOK).await,
            }
        };
        if why.is_empty() {
            on.trace.line(&format!(
                "The service {} listens on {port}: {}",
                image.name,
                service.names.join(", ")
            ));
        } else {
            on.trace.warn(&format!(
                "The service {} may not work: {why}. Its log:",
                image.name
            ));
            let log = podman.command(&["logs", "--tail", SHOWN, &service.id]).output();
            if let Ok(Ok(log)) = tokio::time::timeout(SOON, log).await {
                for text in [log.stdout, log.stderr] {
                    for line in String::from_utf8_lossy(&text).lines() {
                        on.trace.line(line);
                    }
                }
            }
        }
    }
}

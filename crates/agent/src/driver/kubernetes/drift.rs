//! What someone changes or deletes by hand is put right, and told.

use super::{
    faults::Fault,
    life::{LAG, Life},
    objects,
};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::Service};
use kube::{Api, api::PostParams};
use std::time::Duration;
use tokio::time::Instant;

/// Shortest time between two times that something is put right: whoever changes it without end is not to keep
/// the cluster busy.
const CALM: Duration = Duration::from_secs(2);

impl Life {
    /// Puts right what someone changed or deleted.
    pub(super) async fn put_right(&mut self) {
        let Some((deployment, service)) = self.applied.clone() else {
            return;
        };
        let Some(what) = self.wrong(&deployment, &service) else {
            self.suspect = None;
            return;
        };
        // What was just made may not have been told of yet.
        let since = *self.suspect.get_or_insert_with(Instant::now);
        if since.elapsed() < LAG || self.put_right.is_some_and(|at| at.elapsed() < CALM) {
            return;
        }
        (self.suspect, self.put_right) = (None, Some(Instant::now()));
        tracing::warn!(instance = self.id, what, "an instance is put right");
        if let Err(fault) = self.restore(&deployment).await {
            tracing::warn!(instance = self.id, why = fault.words, "it cannot be put right");
            return;
        }
        self.notice = what;
    }

    /// What is not as it was applied, and how that came.
    fn wrong(&self, deployment: &Deployment, service: &Service) -> Option<String> {
        let name = objects::name_of(&self.id);
        let held = self.mirror.held();
        if !held.known() {
            return None;
        }
        let (found, before) = (held.deployments.all.get(&name), &deployment.metadata);
        let behind = |found: &Deployment| {
            let number = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<u64>().ok());
            let both = number(&found.metadata.resource_version).zip(number(&before.resource_version));
            both.is_some_and(|(found, ours)| found < ours)
        };
        let ports = |service: &Service| service.spec.clone().map(|spec| (spec.selector, spec.ports));
        match (found, held.services.all.get(&name)) {
            (Some(found), _) if behind(found) || found.metadata.deletion_timestamp.is_some() => None,
            (Some(found), _) if found.spec != deployment.spec => {
                let who = changed_by(found)
                    .map(|who| format!(" (by {who})"))
                    .unwrap_or_default();
                Some(format!("It was changed by hand{who}, and was put back."))
            }
            (Some(_), Some(found)) if ports(found) != ports(service) => {
                Some("Its Service was changed by hand, and was put back.".to_owned())
            }
            (Some(_), Some(_)) => None,
            (None, _) => Some("It was deleted by hand, and was made again.".to_owned()),
            (_, None) => Some("Its Service was deleted by hand, and was made again.".to_owned()),
        }
    }

    async fn restore(&mut self, before: &Deployment) -> Result<(), Fault> {
        Box::pin(self.apply()).await?;
        let Some((made, service)) = self.applied.take() else {
            return Ok(());
        };
        let fresh = made.metadata.uid != before.metadata.uid;
        let mut made = made;
        // Applying sets our own fields; what was added beside them goes by putting all of it back.
        if !fresh && made.spec != before.spec {
            made.spec.clone_from(&before.spec);
            made.metadata.managed_fields = None;
            let name = objects::name_of(&self.id);
            let api: Api<Deployment> = self.cluster.api(&self.namespace);
            let params = PostParams {
                field_manager: Some(objects::MANAGER.to_owned()),
                ..PostParams::default()
            };
            let replaced = api.replace(&name, &params, &made).await;
            match replaced {
                Ok(replaced) => made = replaced,
                Err(error) => {
                    self.applied = Some((before.clone(), service));
                    return Err(Fault::of("It cannot be put back", &error));
                }
            }
        }
        self.applied = Some((made, service));
        Ok(())
    }
}

/// Who changed it last, besides us and the cluster itself.
fn changed_by(found: &Deployment) -> Option<String> {
    let fields = found.metadata.managed_fields.as_ref()?;
    fields
        .iter()
        .filter(|one| one.subresource.is_none() && one.manager.as_deref() != Some(objects::MANAGER))
        .max_by_key(|one| one.time.clone())
        .and_then(|one| one.manager.clone())
}

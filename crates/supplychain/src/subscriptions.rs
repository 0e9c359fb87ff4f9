//! What others' facts do here.

use crate::Releases;
use async_trait::async_trait;
use bascule_ledger::{BoxError, Entry, Fact as _, Subscriber, decode, facts::ci::ReleaseRequested};

/// Makes a release when CI asks for one.
#[derive(Clone)]
pub struct ReleaseSubscriber(Releases);

impl ReleaseSubscriber {
    /// Answers requests by this service.
    #[must_use]
    pub fn new(releases: Releases) -> Self {
        Self(releases)
    }
}

#[async_trait]
impl Subscriber for ReleaseSubscriber {
    fn name(&self) -> &'static str {
        "supplychain.releases"
    }

    fn kinds(&self) -> Vec<&'static str> {
        vec![ReleaseRequested::KIND]
    }

    async fn handle(&self, entry: &Entry) -> Result<(), BoxError> {
        let request: ReleaseRequested = decode(entry)?;
        self.0
            .answer(entry.id, &entry.actor, &request)
            .await
            .map_err(BoxError::from)
    }
}

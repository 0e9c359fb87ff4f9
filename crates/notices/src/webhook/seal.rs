//! Secrets of webhooks, sealed under the instance's key and bound to the webhook.

use bascule_core::{Result, WebhookId};
use bascule_ledger::InstanceKey;

const PURPOSE: &str = "notices.webhooks";

/// Seals a secret.
pub(super) fn seal(instance: &InstanceKey, hook: WebhookId, secret: &str) -> Result<String> {
    instance.seal(PURPOSE, hook.to_string().as_bytes(), secret)
}

/// Opens a sealed secret; `None` where it was sealed by another key, for another webhook, or changed.
pub(super) fn open(instance: &InstanceKey, hook: WebhookId, sealed: &str) -> Option<String> {
    instance.open(PURPOSE, hook.to_string().as_bytes(), sealed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_for_its_own_webhook_alone() {
        let (key, hook) = (InstanceKey::generate(), WebhookId::new());
        let sealed = seal(&key, hook, "whsec_x").unwrap();
        assert!(!sealed.contains("whsec"));
        assert_eq!(open(&key, hook, &sealed).as_deref(), Some("whsec_x"));
        assert_eq!(open(&key, WebhookId::new(), &sealed), None);
        assert_eq!(open(&InstanceKey::generate(), hook, &sealed), None);
        assert_eq!(open(&key, hook, "AAAA"), None);
    }
}

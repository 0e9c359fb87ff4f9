//! An environment follows a channel: only releases in it may be chosen.

use super::{Candidate, Constraint, Hold, Scope};

/// The channel that an install follows.
#[derive(Clone, Debug)]
pub struct Channel(pub String);

impl Constraint for Channel {
    fn kind(&self) -> &'static str {
        "channel"
    }

    fn scope(&self) -> Scope {
        Scope::Version
    }

    fn judge(&self, candidate: &Candidate<'_>) -> Option<Hold> {
        let inside = candidate.release.channels.contains(&self.0);
        (!inside).then(|| {
            let channel = &self.0;
            Hold::when(
                self.kind(),
                format!("is not in the channel {channel}, which is followed here"),
                format!("its promotion to {channel}"),
            )
        })
    }
}

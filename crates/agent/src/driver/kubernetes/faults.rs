//! What a cluster's API answers when it does not do what was asked, in plain words.

use bascule_core::Problem;
use kube::Error;

/// Why a call came to nothing.
#[derive(Debug)]
pub(super) struct Fault {
    /// Whether trying again can help.
    pub(super) for_now: bool,
    /// In plain words, as a sentence.
    pub(super) words: String,
}

impl Fault {
    /// Of a call to the cluster.
    pub(super) fn of(what: &str, error: &Error) -> Self {
        let for_now = match error {
            // The request itself is wrong; the same one will be wrong again.
            Error::Api(status) => !matches!(status.code, 400 | 413 | 422),
            _ => true,
        };
        Self {
            for_now,
            words: format!("{what}: {}.", reason(error)),
        }
    }

    /// For who asks by problems.
    pub(super) fn problem(&self) -> Problem {
        Problem::new(
            if self.for_now { 503 } else { 422 },
            "cluster",
            self.words.clone(),
        )
    }
}

/// A status that the API gave, if it did answer.
pub(super) fn code(error: &Error) -> Option<u16> {
    match error {
        Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Who else holds a field, where that is why it was refused.
pub(super) fn rival(error: &Error) -> Option<String> {
    let Error::Api(status) = error else { return None };
    let (_, after) = status.message.split_once("conflict with \"")?;
    let (who, _) = after.split_once('"')?;
    (status.code == 409).then(|| who.to_owned())
}

/// Why, without the noise.
pub(super) fn reason(error: &Error) -> String {
    match error {
        Error::Api(status) => match status.code {
            401 => "the cluster does not know the agent's credentials".to_owned(),
            403 => format!(
                "the agent lacks a right in the cluster: {}",
                plain(&status.message)
            ),
            404 => format!("there is no such thing: {}", plain(&status.message)),
            429 => "the cluster has too much to do".to_owned(),
            code => format!("the cluster answered {code}: {}", plain(&status.message)),
        },
        other => {
            let mut words = vec![other.to_string()];
            let mut next = std::error::Error::source(other);
            while let Some(error) = next {
                let text = error.to_string();
                if !words.iter().any(|known| known.contains(&text)) {
                    words.push(text);
                }
                next = error.source();
            }
            format!("the cluster does not answer ({})", words.join(": "))
        }
    }
}

fn plain(message: &str) -> &str {
    message.trim().trim_end_matches('.')
}

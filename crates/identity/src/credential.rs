//! What a request carries to say who it comes from.

use bascule_core::{Problem, Result};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header};

/// The session cookie's name.
pub const SESSION_COOKIE: &str = "bascule_session";

/// What a request carries to say who it comes from, not yet checked.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A browser's session cookie.
    Session(String),
    /// `Authorization: Bearer …` or `PRIVATE-TOKEN: …`.
    Token(String),
    /// HTTP Basic, as git sends it. A job's token comes here under the name `gitlab-ci-token`.
    Basic {
        /// The user name.
        username: String,
        /// The password: a token.
        password: String,
    },
}

/// Never prints the secret.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Session(_) => f.write_str("Session"),
            Self::Token(_) => f.write_str("Token"),
            Self::Basic { username, .. } => write!(f, "Basic({username:?})"),
        }
    }
}

impl Credential {
    /// Reads what the headers carry. What is sent on purpose goes before the cookie, which browsers send by
    /// themselves.
    ///
    /// # Errors
    /// There is an `Authorization` that cannot be read.
    pub fn of(headers: &HeaderMap) -> Result<Option<Self>> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            return authorization(value.to_str().unwrap_or_default()).map(Some);
        }
        const PRIVATE: HeaderName = HeaderName::from_static("private-token");
        if let Some(value) = headers.get(PRIVATE) {
            return Ok(Some(Self::Token(
                value.to_str().unwrap_or_default().trim().to_owned(),
            )));
        }
        Ok(session_cookie(headers).map(|secret| Self::Session(secret.to_owned())))
    }
}

fn authorization(value: &str) -> Result<Credential> {
    let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !rest.is_empty() {
        return Ok(Credential::Token(rest.to_owned()));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let text = STANDARD
            .decode(rest)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some((username, password)) = text.as_deref().and_then(|text| text.split_once(':')) {
            return Ok(Credential::Basic {
                username: username.to_owned(),
                password: password.to_owned(),
            });
        }
    }
    Err(Problem::new(
        401,
        "bad_authorization",
        "The Authorization header cannot be read.",
    )
    .why("Bascule reads `Bearer TOKEN`, and `Basic` with base64 of `username:TOKEN`.")
    .next("Send an access token in one of these forms, or as `PRIVATE-TOKEN: TOKEN`."))
}

/// The session's secret, from the first cookie of that name.
pub(crate) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == SESSION_COOKIE)
        .map(|(_, value)| value)
        .filter(|value| !value.is_empty() && value.len() <= 128)
}

/// The `Set-Cookie` that gives a browser its session, or takes it away where there is no secret.
pub(crate) fn set_cookie(secret: Option<&str>, secure: bool, lasts: std::time::Duration) -> String {
    let secure = if secure { "; Secure" } else { "" };
    let (value, age) = secret.map_or(("", 0), |secret| (secret, lasts.as_secs()));
    format!("{SESSION_COOKIE}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    #[test]
    fn every_way_of_sending_a_token_is_read() {
        let read = |pairs: &[_]| Credential::of(&headers(pairs)).unwrap();
        assert_eq!(
            read(&[("authorization", "bearer  bsc_x")]),
            Some(Credential::Token("bsc_x".into()))
        );
        assert_eq!(
            read(&[("private-token", "bsc_x")]),
            Some(Credential::Token("bsc_x".into()))
        );
        let basic = Credential::Basic {
            username: "ann".into(),
            password: "a:b".into(),
        };
        assert_eq!(read(&[("authorization", "Basic YW5uOmE6Yg==")]), Some(basic));
        let cookie = [("cookie", "other=1; bascule_session=s3; x=y")];
        assert_eq!(read(&cookie), Some(Credential::Session("s3".into())));
        assert_eq!(
            read(&[("authorization", "Bearer t"), cookie[0]]),
            Some(Credential::Token("t".into()))
        );
        assert_eq!(read(&[]), None);
        assert!(Credential::of(&headers(&[("authorization", "Negotiate abc")])).is_err());
    }

    #[test]
    fn a_credential_never_shows_its_secret_in_a_log() {
        let shown = format!(
            "{:?}",
            Credential::Basic {
                username: "ann".into(),
                password: "bsc_secret".into()
            }
        );
        assert!(!shown.contains("secret"));
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "[ -~]{0,60}") {
            drop(Credential::of(&headers(&[("authorization", &text), ("cookie", &text)])));
        }
    }
}

//! The pages to sign in and out.

use super::{
    safe_next,
    service::{Attempt, Refused, is_present},
    store::Session,
};
use crate::{Identity, credential, notice::Done};
use askama::Template;
use axum::{
    extract::{ConnectInfo, FromRequestParts, State},
    response::{IntoResponse as _, Redirect, Response},
    routing::{get, post},
};
use bascule_core::{SessionId, limits};
use bascule_web::{Access, Answer, Crumb, Failure, FormBody, Params, PathOf, Routes, Section, Ui, Who};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use serde::Deserialize;
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
};

pub(crate) fn routes() -> Routes<Identity> {
    Routes::new()
        .page("GET,POST", "/sign-in", Access::Public, get(form).post(sign_in))
        // Where bookmarks and habits of other platforms lead.
        .page("GET", "/login", Access::Public, get(to_sign_in))
        .page("GET", "/users/sign_in", Access::Public, get(to_sign_in))
        .page("POST", "/sign-out", Access::Public, post(sign_out))
        .page("GET", "/settings/sessions", Access::SignedIn, get(sessions))
        .page(
            "POST",
            "/settings/sessions/{session}/end",
            Access::SignedIn,
            post(end),
        )
}

async fn to_sign_in() -> Redirect {
    Redirect::to("/sign-in")
}

/// What the network tells of who asks.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) address: Option<IpAddr>,
    pub(crate) user_agent: String,
    /// Whether the browser came by https, also where a proxy before us ended it.
    pub(crate) https: bool,
    /// The session cookie's value.
    pub(crate) session: Option<String>,
}

impl FromRequestParts<Identity> for Client {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, identity: &Identity) -> Result<Self, Infallible> {
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(peer)| peer.ip());
        // Anyone can write this header; only a proxy that is known to be there is believed, and of several
        // entries only the last, which that proxy added.
        let forwarded = || last_of(&parts.headers, "x-forwarded-for").and_then(|text| text.parse().ok());
        let address = if identity.config().behind_proxy {
            forwarded().or(peer)
        } else {
            peer
        };
        // Believing this one does no harm: it only makes the sender's own cookie stricter.
        let proto = last_of(&parts.headers, "x-forwarded-proto");
        Ok(Self {
            address,
            user_agent: text(&parts.headers, header::USER_AGENT.as_str())
                .unwrap_or_default()
                .to_owned(),
            https: proto == Some("https") || parts.uri.scheme_str() == Some("https"),
            session: credential::session_cookie(&parts.headers).map(str::to_owned),
        })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn last_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let last = headers.get_all(name).iter().next_back()?.to_str().ok()?;
    last.rsplit(',').next().map(str::trim)
}

impl Client {
    /// Gives the browser its session, or takes it away.
    pub(crate) fn with_cookie(&self, mut response: Response, secret: Option<&str>) -> Response {
        let cookie = credential::set_cookie(secret, self.https, limits::SESSION_IDLE);
        if let Ok(value) = HeaderValue::from_str(&cookie) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        response
    }
}

#[derive(Template)]
#[template(path = "session/sign_in.html")]
struct SignInPage<'a> {
    next: &'a str,
    username: &'a str,
    error: Option<&'a str>,
    hint: &'a str,
}

#[derive(Deserialize)]
struct Next {
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct SignInForm {
    username: String,
    password: String,
    #[serde(default)]
    next: String,
}

async fn form(ui: Ui, Params(next): Params<Next>) -> Answer {
    let next = safe_next(&next.next);
    if !ui.caller().is_anonymous() {
        return Ok(Redirect::to(next).into_response());
    }
    ui.plain(
        "Sign in",
        &SignInPage {
            next,
            username: "",
            error: None,
            hint: "",
        },
    )
}

async fn sign_in(
    State(identity): State<Identity>,
    ui: Ui,
    client: Client,
    headers: HeaderMap,
    FormBody(form): FormBody<SignInForm>,
) -> Answer {
    let next = safe_next(&form.next);
    let username = form.username.trim().to_ascii_lowercase();
    let attempt = Attempt {
        username: &username,
        password: &form.password,
        address: client.address,
        user_agent: &client.user_agent,
        old_session: client.session.as_deref(),
    };
    match identity.sign_in(attempt).await {
        Ok(secret) => Ok(client.with_cookie(Redirect::to(next).into_response(), Some(&secret))),
        Err(Refused::Credentials)
            if text(&headers, "accept").is_some_and(|kinds| kinds.contains("text/html")) =>
        {
            let (problem, _) = Refused::Credentials.problem();
            let hint = format!("{} {}", problem.why, problem.next);
            let page = SignInPage {
                next,
                username: &username,
                error: Some(&problem.what),
                hint: &hint,
            };
            let mut response = ui.plain("Sign in", &page)?;
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            Ok(response)
        }
        Err(refused) => Err(failure(refused)),
    }
}

/// A refusal as an answer.
pub(crate) fn failure(refused: Refused) -> Failure {
    let (problem, seconds) = refused.problem();
    let failure = Failure::from(problem);
    match seconds {
        Some(seconds) => failure.retry_after(seconds),
        None => failure,
    }
}

async fn sign_out(State(identity): State<Identity>, client: Client) -> Answer {
    if let Some(secret) = &client.session {
        identity.sign_out(secret).await?;
    }
    Ok(client.with_cookie(Redirect::to("/sign-in").into_response(), None))
}

struct Line {
    session: Session,
    present: bool,
}

#[derive(Template)]
#[template(path = "session/sessions.html")]
struct SessionsPage {
    nav: &'static str,
    notice: &'static str,
    lines: Vec<Line>,
}

async fn sessions(
    State(identity): State<Identity>,
    who: Who,
    client: Client,
    ui: Ui,
    Params(done): Params<Done>,
) -> Answer {
    let line = |session: Session| Line {
        present: is_present(&session, client.session.as_deref()),
        session,
    };
    let lines = identity.sessions(&who).await?.into_iter().map(line).collect();
    let page = SessionsPage {
        nav: "sessions",
        notice: done.text(),
        lines,
    };
    let crumbs = [Crumb::to("Settings", "/settings"), Crumb::here("Sessions")];
    ui.page(Section::Settings, "Sessions", &crumbs, &page)
}

async fn end(State(identity): State<Identity>, who: Who, PathOf(id): PathOf<SessionId>) -> Answer<Redirect> {
    identity.end_session(&who, id).await?;
    Ok(Redirect::to("/settings/sessions?done=ended"))
}

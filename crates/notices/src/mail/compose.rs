//! How a mail reads. Pure.

use super::{Mail, Settings};
use crate::{
    ports::{Person, Seen, Target},
    todo::Action,
};
use bascule_core::Problem;
use lettre::{
    Message,
    message::{
        Mailbox,
        header::{ContentType, HeaderName, HeaderValue},
    },
};

/// Largest text of people in a mail, in bytes.
const TEXT: usize = 16 * 1024;

/// What a mail is made of.
pub(super) struct Parts<'a> {
    pub(super) url: &'a str,
    pub(super) settings: &'a Settings,
    pub(super) mail: &'a Mail,
    pub(super) to: &'a Person,
    pub(super) seen: &'a Seen,
    /// What was said; empty where nothing was, or it was taken back.
    pub(super) text: &'a str,
}

/// The instance's host, which stands behind the `@` of identifiers.
pub(super) fn host(url: &str) -> String {
    let url = url::Url::parse(url).ok();
    url.and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_else(|| "localhost".to_owned())
}

/// The sender's address.
pub(super) fn sender(settings: &Settings) -> Result<Mailbox, String> {
    settings
        .from
        .parse::<Mailbox>()
        .map_err(|error| format!("`{}` is no sender: {error}", settings.from))
}

fn raw(name: &'static str, value: String) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value)
}

/// Text within a line: nothing in it ends the line.
fn line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT {
        return text.to_owned();
    }
    let mut end = TEXT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

fn why(mail: &Mail) -> &'static str {
    match Action::parse(&mail.action) {
        Some(Action::Assigned) => "it was given to you",
        Some(Action::ReviewRequested) => "your review is asked",
        Some(Action::ApprovalRequired) => "your approval is waited for",
        Some(Action::Mentioned) => "you were mentioned",
        Some(Action::Replied) => "you spoke in this thread",
        Some(_) => "the request is yours",
        None => "you have to do with it, or subscribed to its label, and want to hear of everything",
    }
}

/// What happened, in one line.
fn told(mail: &Mail) -> String {
    match Action::parse(&mail.action) {
        Some(action) if action.of_platform() => format!("{}.", action.told()),
        Some(Action::ApprovalRequired) => "It waits for your approval.".to_owned(),
        Some(Action::Mentioned) => format!("{} mentioned you.", line(&mail.actor)),
        _ => format!("{} {}.", line(&mail.actor), line(&mail.summary)),
    }
}

/// The identifier under which all mails about a target hang together.
fn root(target: Target, host: &str) -> String {
    format!("<{}-{}@{host}>", target.kind().replace('_', "-"), target.id())
}

/// Puts a mail together.
pub(super) fn compose(parts: &Parts<'_>) -> Result<Message, String> {
    let Parts {
        url,
        settings,
        mail,
        to,
        seen,
        text,
    } = parts;
    let host = host(url);
    let from = sender(settings)?;
    let address = to
        .email
        .parse()
        .map_err(|_| "the address cannot be read".to_owned())?;
    let sign = match seen.target {
        Target::Issue(_) => '#',
        Target::Request(_) => '!',
    };
    let first = mail.kind.ends_with(".opened");
    let subject = format!(
        "{}[{}] {} ({sign}{})",
        if first { "" } else { "Re: " },
        seen.project,
        line(&seen.title),
        seen.number
    );
    let root = root(seen.target, &host);
    let id = if first {
        root.clone()
    } else {
        format!("<{}@{host}>", mail.id)
    };
    let said = if text.trim().is_empty() {
        String::new()
    } else {
        format!("{}\n\n", cut(text.trim()))
    };
    let href = seen.target.href(&seen.project, seen.number, &mail.anchor);
    let body = format!(
        "{}\n\n{said}{url}{href}\n\n-- \nYou get this because {}. What you hear of by mail: {url}/settings/mail\n",
        told(mail),
        why(mail)
    );
    let by = Action::parse(&mail.action).is_some_and(Action::of_platform) || mail.actor.is_empty();
    let name = if by {
        from.name.clone().unwrap_or_else(|| "Bascule".to_owned())
    } else {
        format!(
            "{} via {}",
            line(&mail.actor),
            from.name.as_deref().unwrap_or("Bascule")
        )
    };
    let (group, project) = seen.project.split_once('/').unwrap_or_default();
    let name_of = if to.display_name.is_empty() {
        &to.username
    } else {
        &to.display_name
    };
    let mut message = Message::builder()
        .from(Mailbox::new(Some(name), from.email))
        .to(Mailbox::new(Some(line(name_of)), address))
        .subject(subject)
        .date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(mail.at.seconds().unsigned_abs()))
        .message_id(Some(id));
    if !first {
        message = message.in_reply_to(root.clone()).references(root);
    }
    for header in [
        raw("Auto-Submitted", "auto-generated".to_owned()),
        raw("List-Id", format!("<{project}.{group}.{host}>")),
        raw("List-Unsubscribe", format!("<{url}/settings/mail>")),
        raw("X-Bascule-Project", seen.project.clone()),
        raw(
            "X-Bascule-Reason",
            if mail.action.is_empty() {
                "all"
            } else {
                mail.action.as_str()
            }
            .to_owned(),
        ),
    ] {
        message = message.raw_header(header);
    }
    message
        .header(ContentType::TEXT_PLAIN)
        .body(body)
        .map_err(|error| format!("the mail cannot be put together: {error}"))
}

/// A mail by which an administrator sees whether mail works.
pub(super) fn test(url: &str, settings: &Settings, to: &Person) -> Result<Message, Problem> {
    let bad = |error: String| {
        Problem::invalid(
            "bad_mail",
            format!("The test mail cannot be put together: {error}."),
        )
        .next("Set your address in your profile, and check `mail_from`.")
    };
    let from = sender(settings).map_err(bad)?;
    let address = to
        .email
        .parse()
        .map_err(|_| bad("your account has no address that can be written to".to_owned()))?;
    Message::builder()
        .from(from)
        .to(Mailbox::new(None, address))
        .subject("A test of Bascule's mail")
        .message_id(Some(format!("<{}@{}>", super::store::id(), host(url))))
        .raw_header(raw("Auto-Submitted", "auto-generated".to_owned()))
        .header(ContentType::TEXT_PLAIN)
        .body(format!("It works.\n\n{url}\n"))
        .map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::Security;
    use bascule_core::{Caller, IssueId, MailId, ProjectId, Timestamp, UserId};

    fn settings() -> Settings {
        Settings {
            host: "mail.example.org".to_owned(),
            port: 25,
            security: Security::None,
            user: String::new(),
            password: "hunter2".to_owned(),
            from: "Forge <forge@example.org>".to_owned(),
            ca: Vec::new(),
        }
    }

    fn written(title: &str, kind: &str, action: &str, text: &str) -> String {
        let target = Target::Issue(IssueId::new());
        let at = Timestamp::from_seconds(1_700_000_000);
        let mail = Mail {
            id: MailId::new(),
            user_id: UserId::new(),
            project_id: ProjectId::new(),
            action: action.to_owned(),
            kind: kind.to_owned(),
            target: "issue".to_owned(),
            target_id: target.id(),
            anchor: "comment-2".to_owned(),
            actor: "developer\r\nBcc: evil@example.org".to_owned(),
            summary: "commented on issue #7".to_owned(),
            at,
            state: "waiting".to_owned(),
            tries: 0,
            due_at: at,
            tried_at: None,
            error: String::new(),
        };
        let seen = Seen {
            target,
            project: "ward/app".to_owned(),
            number: 7,
            title: title.to_owned(),
            state: "open".to_owned(),
        };
        let to = Person {
            id: mail.user_id,
            username: "sre".to_owned(),
            display_name: "On, \"call\"\r\nX: y".to_owned(),
            email: "sre@example.org".to_owned(),
            caller: Caller::anonymous(),
        };
        let parts = Parts {
            url: "https://forge.example.org",
            settings: &settings(),
            mail: &mail,
            to: &to,
            seen: &seen,
            text,
        };
        String::from_utf8(compose(&parts).unwrap().formatted()).unwrap()
    }

    #[test]
    fn mails_of_one_target_hang_together_and_say_why_they_come() {
        let mail = written("Nobody can sign in", "issue.commented", "mentioned", "Look @sre");
        assert!(
            mail.contains("Subject: Re: [ward/app] Nobody can sign in (#7)\r\n"),
            "{mail}"
        );
        assert!(
            mail.contains("\r\nIn-Reply-To: <issue-") && mail.contains("\r\nReferences: <issue-"),
            "{mail}"
        );
        assert!(mail.contains("\r\nAuto-Submitted: auto-generated\r\n"), "{mail}");
        assert!(
            mail.contains("\r\nList-Unsubscribe: <https://forge.example.org/settings/mail>\r\n"),
            "{mail}"
        );
        assert!(
            mail.contains("https://forge.example.org/ward/app/-/issues/7#comment-2"),
            "{mail}"
        );
        assert!(mail.contains("because you were mentioned"), "{mail}");
        let opened = written("New", "issue.opened", "assigned", "");
        assert!(
            opened.contains("\r\nMessage-ID: <issue-") && !opened.contains("References"),
            "{opened}"
        );
    }

    #[test]
    fn nothing_written_by_people_makes_a_header() {
        let mail = written(
            "a\r\nBcc: x@example.org\r\n\r\nbody",
            "issue.commented",
            "",
            "text\r\n.\r\nMAIL FROM:<x>",
        );
        let (head, _) = mail.split_once("\r\n\r\n").unwrap();
        for bad in ["\r\nBcc", "\r\nX:"] {
            assert!(!head.contains(bad), "{head}");
        }
        assert!(!format!("{:?}", settings()).contains("hunter2"));
    }
}

//! A form that is refused is shown again, with what was written and the reason above it.

use crate::{Answer, Markup};
use bascule_core::Problem;
use http::StatusCode;

/// What stands above a form that was refused: what is wrong, why, and how to go on.
#[must_use]
pub fn told(problem: &Problem) -> Markup {
    let part = |text: &str| Markup::text(text).to_string();
    let mut html = format!(
        "<div class=\"alert alert-danger\" role=\"alert\"><div><strong>{}</strong>",
        part(&problem.what)
    );
    for text in [&problem.why, &problem.next] {
        if !text.is_empty() {
            html.push_str(&format!(" {}", part(text)));
        }
    }
    html.push_str("</div></div>");
    Markup::trusted(html)
}

/// Shows the page again with the reason, under the refusal's status. What is the server's fault is no matter of the
/// form and goes on as it is.
///
/// # Errors
/// The server is at fault, or the page fails.
pub async fn again<F: Future<Output = Answer>>(problem: Problem, page: impl FnOnce(Markup) -> F) -> Answer {
    if problem.is_server_fault() {
        return Err(problem.into());
    }
    let mut response = page(told(&problem)).await?;
    *response.status_mut() = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_REQUEST);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::{Html, IntoResponse as _};

    #[tokio::test]
    async fn a_refused_form_is_shown_again_and_a_fault_is_not_hidden() {
        let refused = Problem::invalid("bad_name", "No <such> name.").next("Choose another.");
        let page = |told: Markup| async move { Ok(Html(told.to_string()).into_response()) };
        let response = again(refused, page).await.unwrap();
        assert_eq!(response.status(), 422);
        let body = axum::body::to_bytes(response.into_body(), 10_000).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        assert!(
            text.contains("No &#60;such&#62; name.</strong> Choose another."),
            "{text}"
        );
        let failure = again(Problem::internal(), page).await.unwrap_err();
        assert_eq!(failure.problem().status, 500);
    }
}

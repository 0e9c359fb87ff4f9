//! Files that people and jobs bring, as they are: never as something that a browser would run.

use crate::url_encode;
use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, header};

/// The kind of picture, told by its first bytes and never by its name.
#[must_use]
pub fn picture(bytes: &[u8]) -> Option<&'static str> {
    let starts: [(&[u8], &str); 4] = [
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"\xff\xd8\xff", "image/jpeg"),
        (b"GIF87a", "image/gif"),
        (b"GIF89a", "image/gif"),
    ];
    let webp = bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP");
    starts
        .iter()
        .find(|(start, _)| bytes.starts_with(start))
        .map(|(_, kind)| *kind)
        .or(webp.then_some("image/webp"))
}

/// An answer with a file: shown where it is of a `kind` that a browser runs nothing of, else saved under its name.
#[must_use]
pub fn untrusted(body: Body, name: &str, kind: Option<&'static str>) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, kind.unwrap_or("application/octet-stream")),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; sandbox"),
    ];
    for (header, value) in fixed {
        headers.insert(header, HeaderValue::from_static(value));
    }
    let how = if kind.is_some() { "inline" } else { "attachment" };
    if let Ok(value) = HeaderValue::from_str(&format!("{how}; filename*=UTF-8''{}", url_encode(name))) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_told_by_their_first_bytes() {
        assert_eq!(picture(b"\x89PNG\r\n\x1a\nxxxx"), Some("image/png"));
        assert_eq!(picture(b"RIFF\0\0\0\0WEBPVP8 "), Some("image/webp"));
        assert_eq!(picture(b"<svg onload=alert(1)>"), None);
        assert_eq!(picture(b"<html>"), None);
    }

    #[test]
    fn what_is_no_picture_is_saved_and_not_run() {
        let answer = untrusted(Body::empty(), "a\".html", None);
        let header = |name: header::HeaderName| answer.headers()[name].to_str().unwrap();
        assert_eq!(header(header::CONTENT_TYPE), "application/octet-stream");
        assert_eq!(
            header(header::CONTENT_DISPOSITION),
            "attachment; filename*=UTF-8''a%22.html"
        );
        assert_eq!(
            header(header::CONTENT_SECURITY_POLICY),
            "default-src 'none'; sandbox"
        );
    }
}

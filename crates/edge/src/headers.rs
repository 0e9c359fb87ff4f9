//! What a proxy must take out of a message, and what it adds (RFC 9110, section 7.6).

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
        TRANSFER_ENCODING, UPGRADE,
    },
    uri::PathAndQuery,
};

static FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
static FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
static KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
static PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes what is meant for this connection only, with all that `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if let Some(first) = headers.remove(CONNECTION) {
        // Rare enough to look at by value: `keep-alive` and `close` name no header of interest.
        let named = |value: &HeaderValue| -> Vec<HeaderName> {
            let text = value.to_str().unwrap_or_default();
            text.split(',')
                .filter_map(|name| name.trim().parse().ok())
                .collect()
        };
        for name in named(&first) {
            // A request must not be able to take away what the edge and HTTP's framing rely on.
            if name != HOST && name != CONTENT_LENGTH {
                headers.remove(name);
            }
        }
    }
    headers.remove(&KEEP_ALIVE);
    headers.remove(&PROXY_CONNECTION);
    headers.remove(TRANSFER_ENCODING);
    headers.remove(UPGRADE);
    headers.remove(TE);
    headers.remove(PROXY_AUTHENTICATE);
    headers.remove(PROXY_AUTHORIZATION);
}

/// What is wrong with a request that the edge will not pass on; `None` for a good one.
pub(crate) fn fault<B>(request: &Request<B>) -> Option<&'static str> {
    if request.method() == Method::CONNECT {
        return Some("CONNECT asks for a tunnel, and this is no forward proxy.");
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next(), request.version()) {
        (_, Some(_), _) => Some("The request has more than one Host header."),
        (None, _, Version::HTTP_11) if request.uri().host().is_none() => {
            Some("The request has no Host header.")
        }
        _ => None,
    }
}

/// Turns a client's request head into the one that goes to an instance.
///
/// `X-Forwarded-*` from outside are replaced unless `trusted` (another proxy stands in front).
pub(crate) fn outgoing<B>(request: &mut Request<B>, client: &HeaderValue, address: &str, trusted: bool) {
    if request.uri().scheme().is_some() {
        // Absolute form: its authority stands above the Host header (RFC 9112, section 3.2.2).
        let authority = request
            .uri()
            .authority()
            .and_then(|a| HeaderValue::from_str(a.as_str()).ok());
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
        if let Some(authority) = authority {
            request.headers_mut().insert(HOST, authority);
        }
    }
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    strip_hop_by_hop(headers);
    // Answered here already, when the body is first asked for.
    headers.remove(EXPECT);
    if !headers.contains_key(HOST) {
        headers.insert(
            HOST,
            HeaderValue::from_str(address).unwrap_or(HeaderValue::from_static("localhost")),
        );
    }
    let host = headers.get(HOST).cloned();
    if trusted {
        headers.append(&FORWARDED_FOR, client.clone());
        headers
            .entry(&FORWARDED_PROTO)
            .or_insert(HeaderValue::from_static("http"));
        if let Some(host) = host {
            headers.entry(&FORWARDED_HOST).or_insert(host);
        }
    } else {
        headers.insert(&FORWARDED_FOR, client.clone());
        headers.insert(&FORWARDED_PROTO, HeaderValue::from_static("http"));
        if let Some(host) = host {
            headers.insert(&FORWARDED_HOST, host);
        }
    }
}

/// The protocol to which a request asks to change, if it does so in earnest.
pub(crate) fn upgrade<B>(request: &Request<B>) -> Option<HeaderValue> {
    let protocol = request.headers().get(UPGRADE)?;
    let asks = request.headers().get_all(CONNECTION).iter().any(|value| {
        let text = value.to_str().unwrap_or_default();
        text.split(',')
            .any(|name| name.trim().eq_ignore_ascii_case("upgrade"))
    });
    asks.then(|| protocol.clone())
}

/// Whether sending a request twice does what sending it once does (RFC 9110, section 9.2.2).
pub(crate) fn repeatable(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&str, &str)]) -> Request<()> {
        let mut builder = Request::builder().uri("/path?q=1");
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).unwrap()
    }

    #[test]
    fn hop_by_hop_headers_and_all_that_connection_names_are_taken_out() {
        let mut request = request(&[
            ("host", "clinic.demo"),
            ("connection", "keep-alive, X-Private, host"),
            ("keep-alive", "timeout=5"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "Basic x"),
            ("x-kept", "1"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
        ]);
        outgoing(
            &mut request,
            &HeaderValue::from_static("10.0.0.7"),
            "127.0.0.1:9",
            false,
        );
        let mut names: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "host",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-kept"
            ]
        );
        assert_eq!(request.headers()["x-forwarded-for"], "10.0.0.7");
        assert_eq!(request.headers()["x-forwarded-proto"], "http");
        assert_eq!(request.headers()["x-forwarded-host"], "clinic.demo");
    }

    #[test]
    fn a_trusted_proxy_in_front_is_believed() {
        let mut request = request(&[
            ("host", "a"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-forwarded-proto", "https"),
        ]);
        outgoing(
            &mut request,
            &HeaderValue::from_static("10.0.0.7"),
            "127.0.0.1:9",
            true,
        );
        let chain: Vec<_> = request.headers().get_all("x-forwarded-for").iter().collect();
        assert_eq!(chain, ["6.6.6.6", "10.0.0.7"]);
        assert_eq!(request.headers()["x-forwarded-proto"], "https");
    }

    #[test]
    fn absolute_form_becomes_origin_form() {
        let mut request = request(&[("host", "evil")]);
        *request.uri_mut() = Uri::from_static("http://clinic.demo/a?b=c");
        outgoing(
            &mut request,
            &HeaderValue::from_static("::1"),
            "127.0.0.1:9",
            false,
        );
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.headers()["host"], "clinic.demo");
    }

    #[test]
    fn two_hosts_none_and_connect_are_refused() {
        assert!(fault(&request(&[])).is_some());
        assert!(fault(&request(&[("host", "a"), ("host", "b")])).is_some());
        assert!(fault(&request(&[("host", "a")])).is_none());
    }
}

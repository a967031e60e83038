//! URLs as they may be shown: in errors, in logs, on the console.

/// What stands in place of a secret.
const REMOVED: &str = "[removed]";

/// A URL without what is secret in one: user and password (RFC 3986 §3.2.1), and all of query and fragment,
/// because a presigned URL is as good as a key. What is no URL loses the same.
pub fn shown_url(url: &str) -> String {
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |at| at + 3));
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let user = match authority.rfind('@') {
        Some(at) => Some(at),
        None if names_a_host(authority) => None,
        // A password that has one of these letters in it ends what looks like the authority.
        None => rest.rfind('@'),
    };
    let (user, rest) = user.map_or(("", rest), |at| (REMOVED, &rest[at..]));
    match rest.find(['?', '#']) {
        Some(at) => format!("{scheme}{user}{}{REMOVED}", &rest[..=at]),
        None => format!("{scheme}{user}{rest}"),
    }
}

/// Whether it is a host, perhaps with a port.
fn names_a_host(authority: &str) -> bool {
    // An IPv6 address is in brackets.
    let host = authority.rsplit(']').next().unwrap_or_default();
    host.split_once(':').is_none_or(|(_, port)| port.chars().all(|c| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("https://host/a/b.update", "https://host/a/b.update"),
            ("http://[2001:db8::1]:80/a@b", "http://[2001:db8::1]:80/a@b"),
            ("https://me:hush@host:1/a", "https://[removed]@host:1/a"),
            ("https://me@host", "https://[removed]@host"),
            ("https://host/a?X-Amz-Signature=hush&b=1", "https://host/a?[removed]"),
            ("https://host?sig=hush", "https://host?[removed]"),
            ("https://host/a#hush", "https://host/a#[removed]"),
            ("https://me:hu/sh@host/a", "https://[removed]@host/a"),
            ("https://me:hu?sh@host/a?b", "https://[removed]@host/a?[removed]"),
            ("https://me:hu@sh@host/a", "https://[removed]@host/a"),
            ("me:hush@host/a?hush", "[removed]@host/a?[removed]"),
            ("", ""),
            ("://", "://"),
        ] {
            assert_eq!(shown_url(url), shown, "{url}");
        }
    }
}

//! Takes secrets out of text that nobody wrote to be shown: logs, command lines, documents. Pure.
//!
//! What is named like a secret loses its value, and so does what is shaped like one. It takes out too
//! much rather than too little.
mod misspelt;

use gateway_api::shown_url;

/// What stands in place of a secret.
const REMOVED: &str = "[removed]";
/// Words that name a secret, in lower case, where `=` or `:` and a value follow. In headers the whole
/// rest of the line is the value.
const NAMES: [&str; 14] = [
    "secret",
    "secret_access_key",
    "secretaccesskey",
    "session_token",
    "sessiontoken",
    "security-token",
    "password",
    "passwd",
    "password_hash",
    "signature",
    "handle_key",
    "private_key",
    "tidegate.seed",
    "token",
];
const HEADERS: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];
/// Length of a secret access key of AWS.
const AWS_SECRET_CHARS: usize = 40;
/// Base64 of this length says nothing to anybody who reads a log: session tokens, seeds.
const BASE64_CHARS_MIN: usize = 100;

/// The text without secrets.
pub(crate) fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        // A private key in PEM: its lines are base64 of any length.
        let begins = line.contains("-----BEGIN") && line.contains("PRIVATE KEY");
        if begins {
            out.push_str(REMOVED);
            out.push('\n');
        }
        in_key |= begins;
        if in_key {
            in_key = !line.contains("-----END");
            continue;
        }
        out.push_str(&by_shape(&by_name(without_quoted(line))));
        if without_quoted(line) != line {
            out.push_str(REMOVED);
            out.push('\n');
        }
    }
    out
}

/// A line without what it quotes of a document that is not TOML: `9 | secret = hush`.
fn without_quoted(line: &str) -> &str {
    match line.split_once(" | ") {
        Some((number, _))
            if !number.trim().is_empty() && number.trim().bytes().all(|b| b.is_ascii_digit()) =>
        {
            &line[..number.len() + " | ".len()]
        }
        _ => line,
    }
}

/// A line whose values of secret names are gone.
fn by_name(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    for header in HEADERS {
        if let Some(value) =
            lower.find(header).and_then(|at| value_after(&lower, at + header.len()))
        {
            let end = if line.ends_with('\n') { "\n" } else { "" };
            return format!("{}{REMOVED}{end}", by_name(&line[..value]));
        }
    }
    let mut out = String::new();
    let mut from = 0;
    while let Some((start, end)) = next_value(&lower, from) {
        out.push_str(&line[from..start]);
        out.push_str(REMOVED);
        from = end;
    }
    out.push_str(&line[from..]);
    out
}

/// The first value of a secret name at or after `from`.
fn next_value(lower: &str, from: usize) -> Option<(usize, usize)> {
    let mut found = misspelt::next_value(lower, from);
    for name in NAMES {
        let mut at = from;
        while let Some(place) = lower[at..].find(name).map(|place| at + place) {
            at = place + name.len();
            let Some(start) = value_after(lower, at) else { continue };
            let end = value_end(lower, start);
            if end > start {
                if found.is_none_or(|(first, _)| start < first) {
                    found = Some((start, end));
                }
                break;
            }
        }
    }
    found
}

/// Where the value begins, if `at` is the end of a name that has one: `name = "value"`, `"name":"value"`,
/// `name: value`, `name=value`. A quote before the value is not part of it.
fn value_after(text: &str, at: usize) -> Option<usize> {
    let mut rest = text[at..].char_indices().peekable();
    let mut separated = false;
    while let Some((offset, c)) = rest.peek().copied() {
        match c {
            '=' | ':' if !separated => separated = true,
            ' ' | '\t' | '"' | '\'' | '\\' => {}
            '\n' => return None,
            _ if separated => return Some(at + offset),
            _ => return None,
        }
        rest.next();
    }
    None
}

fn value_end(text: &str, start: usize) -> usize {
    // A quoted value may have blanks in it.
    let quote = text[..start].chars().next_back().filter(|c| matches!(c, '"' | '\''));
    let ends = |c: char| match quote {
        Some(quote) => c == quote || c == '\n',
        None => c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '&' | ';' | '}' | ')'),
    };
    text[start..].find(ends).map_or(text.len(), |length| start + length)
}

/// A line without what is shaped like a secret: hashes of passwords, users and queries of URLs, keys.
fn by_shape(line: &str) -> String {
    let line = without_url_secrets(line);
    let line = without_words(&line, |c| is_base64(c) || matches!(c, '=' | '$' | '.'), is_hash);
    without_words(&line, is_base64, is_key)
}

/// A text without the words that are secret; `belongs` says of which letters a word is made.
fn without_words(text: &str, belongs: fn(char) -> bool, is_secret: fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(belongs) {
        let (before, from) = rest.split_at(at);
        let (word, after) = from.split_at(from.find(|c| !belongs(c)).unwrap_or(from.len()));
        out.push_str(before);
        out.push_str(if is_secret(word) { REMOVED } else { word });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Both alphabets of RFC 4648, without the padding.
fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_')
}

/// A password's hash (crypt(5)): `$6$salt$hash`, also where it follows `name=`.
fn is_hash(word: &str) -> bool {
    let Some(at) = word.find('$') else { return false };
    let mut fields = word[at + 1..].split('$');
    let method = fields.next().unwrap_or_default();
    (1..=3).contains(&method.len()) && fields.next_back().is_some_and(|hash| hash.len() >= 13)
}

fn is_key(word: &str) -> bool {
    let mixed = word.chars().any(|c| c.is_ascii_lowercase())
        && word.chars().any(|c| c.is_ascii_uppercase())
        && word.chars().any(|c| c.is_ascii_digit());
    let length = word.len();
    mixed && (length == AWS_SECRET_CHARS || length >= BASE64_CHARS_MIN)
}

/// `http://user:password@host/path?query` without user, password and query.
fn without_url_secrets(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find("://") {
        let (before, url) = rest.split_at(at);
        out.push_str(before);
        let ends = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>' | '\\');
        let (url, after) = url.split_at(url.find(ends).unwrap_or(url.len()));
        out.push_str(&shown_url(url));
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_like_a_secret_loses_its_value() {
        for (line, left) in [
            ("secret_access_key = \"hush now\"\n", "secret_access_key = \"[removed]\"\n"),
            ("{\"session_token\":\"hush\",\"b\":1}", "{\"session_token\":\"[removed]\",\"b\":1}"),
            ("password: hush, user: me", "password: [removed], user: me"),
            ("PASSWORD=hush user=me", "PASSWORD=[removed] user=me"),
            ("GET /?X-Amz-Signature=hush&a=1", "GET /?X-Amz-Signature=[removed]&a=1"),
            ("x-amz-security-token: hush\n", "x-amz-security-token: [removed]\n"),
            ("Authorization: AWS4 Credential=a, b=hush\n", "Authorization: [removed]\n"),
            ("a=1 Proxy-Authorization: Basic hush", "a=1 Proxy-Authorization: [removed]"),
            ("quiet tidegate.seed=aHVzaA== ro", "quiet tidegate.seed=[removed] ro"),
            ("password = \"one\" secret = 'two'", "password = \"[removed]\" secret = '[removed]'"),
            ("password_hash = \"\"\n", "password_hash = \"\"\n"),
            (
                "a wrong password on the console, 3 in a row",
                "a wrong password on the console, 3 in a row",
            ),
            ("access_key_id = \"AKIDEXAMPLE\"", "access_key_id = \"AKIDEXAMPLE\""),
        ] {
            assert_eq!(redacted(line), left, "{line}");
        }
    }

    #[test]
    fn what_is_shaped_like_a_secret_goes() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let token = "Ab3+".repeat(40);
        for (line, left) in [
            (format!("refused {secret}.\n"), "refused [removed].\n".to_owned()),
            (format!("sent {token}== on"), "sent [removed]== on".to_owned()),
            ("set to $6$salt$abcdefghijklmnop".to_owned(), "set to [removed]".to_owned()),
            ("hash=$y$j9T$salt$abcdefghijklmnop\n".to_owned(), "[removed]\n".to_owned()),
            (
                "via http://me:hush@proxy:3128/".to_owned(),
                "via http://[removed]@proxy:3128/".to_owned(),
            ),
            (
                "{\"url\":\"https://b.example/f?sig=hu&sh\",\"b\":1}".to_owned(),
                "{\"url\":\"https://b.example/f?[removed]\",\"b\":1}".to_owned(),
            ),
            ("at https://s3.example/a@b".to_owned(), "at https://s3.example/a@b".to_owned()),
            ("commit 0123456789abcdef0123456789abcdef01234567".to_owned(), String::new()),
            ("price $5 and $6".to_owned(), String::new()),
        ] {
            let left = if left.is_empty() { &line } else { &left };
            assert_eq!(&redacted(&line), left, "{line}");
        }
    }

    #[test]
    fn private_keys_go_and_certificates_stay() {
        let text = "a\n-----BEGIN EC PRIVATE KEY-----\nhush\n-----END EC PRIVATE KEY-----\nb\n\
                    -----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        let left =
            "a\n[removed]\nb\n-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
        assert_eq!(redacted(text), left);
    }

    #[test]
    fn letters_of_any_script_do_no_harm() {
        for text in
            ["", "\u{130}password=\u{130}x \u{df}", "://", "token=", "\u{1f512}: \u{e9}@\u{e9}"]
        {
            let _whole = redacted(text);
        }
        assert_eq!(redacted("password=\u{130}x y"), "password=[removed] y");
    }
}

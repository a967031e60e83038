//! What a file of credentials says, in either of the two forms that tools write. Pure.
//!
//! Sources: AWS SDKs and Tools Reference Guide, "Shared config and credentials files" (INI) and
//! "Process credential provider" (JSON).
use gateway_api::{Secret, time::Moment};
use serde::Deserialize;

/// A set of keys.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Keys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: Secret,
    /// Empty for static keys.
    pub(super) session_token: Secret,
    /// When they end, if that is known.
    pub(super) expires_at: Option<Moment>,
}

/// The document that a `credential_process` prints.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ProcessOutput {
    version: u32,
    access_key_id: String,
    secret_access_key: Secret,
    #[serde(default)]
    session_token: Secret,
    #[serde(default)]
    expiration: Option<Moment>,
}

/// The keys that `text` holds.
///
/// # Errors
/// What is missing, without any of the text: it is secret.
pub(super) fn parse(text: &str) -> Result<Keys, String> {
    let keys = if text.trim_start().starts_with('{') { json(text)? } else { ini(text)? };
    if keys.access_key_id.is_empty() || keys.secret_access_key.is_empty() {
        return Err("holds an empty key".to_owned());
    }
    Ok(keys)
}

fn json(text: &str) -> Result<Keys, String> {
    let output: ProcessOutput = serde_json::from_str(text).map_err(|error| {
        // The error's own words may quote the document.
        format!(
            "is not JSON with Version, AccessKeyId and SecretAccessKey (line {}, column {})",
            error.line(),
            error.column()
        )
    })?;
    if output.version != 1 {
        return Err(format!("has version {}; version 1 is known", output.version));
    }
    Ok(Keys {
        access_key_id: output.access_key_id,
        secret_access_key: output.secret_access_key,
        session_token: output.session_token,
        expires_at: output.expiration,
    })
}

fn ini(text: &str) -> Result<Keys, String> {
    let (mut id, mut secret, mut token, mut end) = (None, None, Secret::default(), None);
    let mut in_default = false;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            in_default = section.trim() == "default";
            continue;
        }
        let Some((name, value)) = line.split_once('=').filter(|_| in_default) else { continue };
        let value = value.trim();
        match name.trim().to_ascii_lowercase().as_str() {
            "aws_access_key_id" => id = Some(value.to_owned()),
            "aws_secret_access_key" => secret = Some(Secret::new(value)),
            "aws_session_token" => token = Secret::new(value),
            // Not of the format's own, but what renewing tools write beside the keys.
            "expiration" | "aws_expiration" | "x_security_token_expires" => {
                end = Some(value.parse().map_err(|_| format!("{} is not RFC 3339", name.trim()))?);
            }
            _ => {}
        }
    }
    let missing = |name: &str| format!("has no {name} under [default]");
    Ok(Keys {
        access_key_id: id.ok_or_else(|| missing("aws_access_key_id"))?,
        secret_access_key: secret.ok_or_else(|| missing("aws_secret_access_key"))?,
        session_token: token,
        expires_at: end,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let ini = "# renewed hourly\n[other]\naws_access_key_id = WRONG\n\n[default]\n\
                   aws_access_key_id=AKID\naws_secret_access_key = s3cr=t\n\
                   aws_session_token = tok\nregion = eu-west-1\nexpiration = 2026-11-26T18:00:00Z\n\
                   [more]\naws_access_key_id = WRONG\n";
        let json = "{\"Version\": 1, \"AccessKeyId\": \"AKID\", \"SecretAccessKey\": \"s3cr=t\",\n\
                    \"SessionToken\": \"tok\", \"Expiration\": \"2026-11-26T19:00:00+01:00\"}";
        let expected = Keys {
            access_key_id: "AKID".to_owned(),
            secret_access_key: Secret::new("s3cr=t"),
            session_token: Secret::new("tok"),
            expires_at: Some("2026-11-26T18:00:00Z".parse().unwrap()),
        };
        assert_eq!(parse(ini).unwrap(), expected);
        assert_eq!(parse(json).unwrap(), expected);
        let short = "[default]\naws_access_key_id = A\naws_secret_access_key = b\n";
        assert_eq!(parse(short).unwrap().expires_at, None);
    }

    #[test]
    fn what_is_missing_is_said_and_nothing_secret_is() {
        for (text, says) in [
            ("", "aws_access_key_id"),
            ("[other]\naws_access_key_id = A\naws_secret_access_key = hush", "[default]"),
            ("[default]\naws_access_key_id = A", "aws_secret_access_key"),
            ("[default]\naws_access_key_id =\naws_secret_access_key = hush", "empty"),
            (
                "[default]\naws_access_key_id = A\naws_secret_access_key = hush\nexpiration = hush",
                "RFC 3339",
            ),
            ("{\"Version\": 1, \"AccessKeyId\": \"A\"}", "SecretAccessKey"),
            (
                "{\"Version\": 2, \"AccessKeyId\": \"A\", \"SecretAccessKey\": \"hush\"}",
                "version 2",
            ),
            ("{\"Version\": \"hush\"}", "not JSON with"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(says) && !why.contains("hush"), "{text:?} gave {why:?}");
        }
    }
}

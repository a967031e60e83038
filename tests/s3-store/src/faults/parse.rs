//! Fault rules as text, for the command line: `PutObject:prefix=a/:skip=2:times=3:fail-after=500/InternalError`.

use std::str::FromStr;
use std::time::Duration;

use super::{FaultAction, FaultRule};

/// A rule's text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "fault rule {rule:?}: {part:?} is not known; write OPERATION or *, then any of :prefix=P :skip=N :times=N \
     :chance=PERMILLE/SEED, then one of :fail-before=STATUS/CODE :fail-after=STATUS/CODE :slow-down :drop-before \
     :drop-after :short=BYTES :flip=OFFSET :delay-ms=N"
)]
pub struct ParseFaultError {
    rule: String,
    part: String,
}

impl FromStr for FaultRule {
    type Err = ParseFaultError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |part: &str| ParseFaultError { rule: text.to_owned(), part: part.to_owned() };
        let mut parts = text.split(':');
        let operation = parts.next().unwrap_or_default();
        let mut rule = Self::new(FaultAction::DropBefore);
        let mut action = None;
        if operation.is_empty() || operation.contains('=') {
            return Err(wrong(operation));
        }
        if operation != "*" {
            rule = rule.operation(operation);
        }
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let number = || value.parse::<u64>().map_err(|_| wrong(part));
            match name {
                "prefix" => rule = rule.key_prefix(value),
                "skip" => rule = rule.skip(number()?),
                "times" => rule = rule.times(number()?),
                "chance" => {
                    let (per_mille, seed) = value.split_once('/').ok_or_else(|| wrong(part))?;
                    let per_mille = per_mille.parse().map_err(|_| wrong(part))?;
                    rule = rule.chance(per_mille, seed.parse().map_err(|_| wrong(part))?);
                }
                "fail-before" | "fail-after" => {
                    let (status, code) = value.split_once('/').ok_or_else(|| wrong(part))?;
                    let status = status.parse().map_err(|_| wrong(part))?;
                    let code = code.to_owned();
                    action = Some(if name == "fail-before" {
                        FaultAction::FailBefore { status, code }
                    } else {
                        FaultAction::FailAfter { status, code }
                    });
                }
                "slow-down" => action = Some(Self::slow_down().action),
                "drop-before" => action = Some(FaultAction::DropBefore),
                "drop-after" => action = Some(FaultAction::DropAfter),
                "short" => action = Some(FaultAction::ShortBody { bytes: number()? }),
                "flip" => action = Some(FaultAction::FlipByte { offset: number()? }),
                "delay-ms" => action = Some(FaultAction::Delay(Duration::from_millis(number()?))),
                _ => return Err(wrong(part)),
            }
        }
        rule.action = action.ok_or_else(|| wrong(text))?;
        Ok(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_reads_back_as_built() {
        let built =
            FaultRule::fail_after().operation("PutObject").key_prefix("a/").skip(2).times(3);
        let read: FaultRule =
            "PutObject:prefix=a/:skip=2:times=3:fail-after=500/InternalError".parse().unwrap();
        assert_eq!(read, built);
        assert_eq!("*:slow-down".parse::<FaultRule>().unwrap(), FaultRule::slow_down());
    }

    #[test]
    fn what_is_not_known_is_named() {
        for text in [
            "",
            "PutObject",
            "PutObject:explode",
            "PutObject:skip=x:drop-after",
            "prefix=a:drop-after",
        ] {
            assert!(text.parse::<FaultRule>().is_err(), "{text}");
        }
    }
}

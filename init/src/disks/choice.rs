//! What becomes of the disks that are attached. Pure.
//!
//! Nothing is ever chosen to be formatted that holds anything. An appliance that has a primary cache disk
//! never takes another one by itself.
use gateway_api::ByteSize;

use super::{
    record::{FURTHER_MAX, Record},
    survey::Attached,
};
use crate::{machine::CacheDisks, signatures::Content};

/// Smallest cache disk.
pub(super) const CACHE_BYTES_MIN: u64 = 1 << 30;

/// What is to be done about the primary cache disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Primary {
    /// Mount this one, which was ours before.
    Mount { device: String, uuid: String },
    /// Make a file system on this one, which holds nothing.
    Format { device: String },
    /// Nothing can be used; why, and what to do.
    Nothing(String),
}

/// Chooses the primary cache disk.
pub(super) fn primary(disks: &[Attached], record: &Record, policy: CacheDisks) -> Primary {
    if let Some(recorded) = &record.primary {
        return match find(disks, recorded) {
            Found::One(disk) => {
                Primary::Mount { device: disk.device.clone(), uuid: recorded.clone() }
            }
            Found::None => Primary::Nothing(
                "the cache disk of this appliance is not attached: attach it again. It may hold \
                 files that are not in the bucket yet"
                    .to_owned(),
            ),
            Found::Several(names) => Primary::Nothing(format!(
                "{names} are copies of one cache disk: detach all but the one that was used last"
            )),
        };
    }
    let foreign: Vec<&Attached> =
        disks.iter().filter(|disk| disk.cache_uuid().is_some() && !disk.is_empty()).collect();
    match foreign.as_slice() {
        [] => {}
        [disk] => {
            return Primary::Nothing(format!(
                "{} is the cache disk of another appliance and was left alone: attach it there, or \
                 adopt it under Cache Disks, or add a blank disk here instead of it",
                disk.device
            ));
        }
        several => {
            return Primary::Nothing(format!(
                "{} are cache disks of other appliances and were left alone: adopt one under Cache \
                 Disks, or add a blank disk instead of them",
                names(several)
            ));
        }
    }
    let empty: Vec<&Attached> = disks.iter().filter(|disk| disk.is_empty()).collect();
    let begun = |disk: &&&Attached| matches!(disk.content, Ok(Content::Claimed(_)));
    // One whose formatting was begun goes first.
    let claimed: Vec<&Attached> = empty.iter().filter(begun).copied().collect();
    let open = if claimed.is_empty() { &empty } else { &claimed };
    let large: Vec<&Attached> =
        open.iter().filter(|disk| disk.size.0 >= CACHE_BYTES_MIN).copied().collect();
    match (policy, open.as_slice(), large.as_slice()) {
        (_, [], _) => Primary::Nothing(no_blank_disk(disks)),
        (_, [disk, ..], []) => Primary::Nothing(format!(
            "{} is too small ({}): add a blank disk of at least {}, better 150 GiB",
            disk.device,
            disk.size,
            ByteSize(CACHE_BYTES_MIN)
        )),
        (CacheDisks::Ask, open, _) => Primary::Nothing(format!(
            "blank: {}. Blank disks are not used without being asked here: allocate one under Cache \
             Disks",
            names(open)
        )),
        (CacheDisks::SingleBlank, [_], [disk]) | (CacheDisks::EveryBlank, _, [disk, ..]) => {
            Primary::Format { device: disk.device.clone() }
        }
        (CacheDisks::SingleBlank, several, _) => Primary::Nothing(format!(
            "{} blank disks are attached ({}): allocate one under Cache Disks, or leave only the one \
             that is to be the cache",
            several.len(),
            names(several)
        )),
    }
}

/// What is to be done about a further cache disk of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Further {
    /// Mount it.
    Mount { device: String, uuid: String },
    /// It is not there, or not for certain; why, and what to do.
    Missing { uuid: String, why: String },
}

/// The further cache disks of the record, in its order.
pub(super) fn further(disks: &[Attached], record: &Record) -> Vec<Further> {
    let one = |uuid: &String| match find(disks, uuid) {
        Found::One(disk) => Further::Mount { device: disk.device.clone(), uuid: uuid.clone() },
        Found::None => Further::Missing {
            uuid: uuid.clone(),
            why: format!(
                "the further cache disk {} is not attached: attach it again. It may hold files that \
                 are not in the bucket yet",
                short(uuid)
            ),
        },
        Found::Several(names) => Further::Missing {
            uuid: uuid.clone(),
            why: format!(
                "{names} are copies of one cache disk: detach all but the one that was used last"
            ),
        },
    };
    record.further.iter().map(one).collect()
}

/// Devices that become further cache disks without being asked.
pub(super) fn to_allocate(disks: &[Attached], record: &Record, policy: CacheDisks) -> Vec<String> {
    match policy {
        CacheDisks::SingleBlank | CacheDisks::Ask => return Vec::new(),
        CacheDisks::EveryBlank => {}
    }
    // One that was given back waits to be detached, or to be asked for.
    let wanted = |disk: &&Attached| {
        disk.is_empty()
            && disk.content != Ok(Content::Released)
            && disk.size.0 >= CACHE_BYTES_MIN
            && disk.cache_uuid().is_none_or(|uuid| !record.has(uuid))
    };
    let room = FURTHER_MAX.saturating_sub(record.further.len());
    disks.iter().filter(wanted).take(room).map(|disk| disk.device.clone()).collect()
}

/// How often a cache disk is there.
pub(super) enum Found<'a> {
    None,
    One(&'a Attached),
    /// Their names.
    Several(String),
}

/// Looks for the cache disk with this UUID.
pub(super) fn find<'a>(disks: &'a [Attached], uuid: &str) -> Found<'a> {
    let found: Vec<&Attached> =
        disks.iter().filter(|disk| disk.cache_uuid() == Some(uuid)).collect();
    match found.as_slice() {
        [] => Found::None,
        [disk] => Found::One(disk),
        several => Found::Several(names(several)),
    }
}

/// A UUID as it is shown: enough of it to tell disks apart.
pub(super) fn short(uuid: &str) -> &str {
    uuid.get(..8).unwrap_or(uuid)
}

fn names(disks: &[&Attached]) -> String {
    disks.iter().map(|disk| disk.device.as_str()).collect::<Vec<_>>().join(", ")
}

fn no_blank_disk(disks: &[Attached]) -> String {
    let mut words = "no blank disk is attached: add one of 150 GiB or more to the VM".to_owned();
    for disk in disks.iter().filter(|disk| !disk.is_system) {
        words.push_str(&format!("; {} {} and was left alone", disk.device, disk.words()));
    }
    words
}

#[cfg(test)]
mod tests;

//! What an operator may have done about the disks. Each order is checked against what is on them at that
//! moment: a disk may have another name by then.
use anyhow::{Context, Result, anyhow, bail};
use gateway_api::ByteSize;
use serde::{Deserialize, Serialize};

use super::{
    choice::{CACHE_BYTES_MIN, Found, find},
    file_system::{self, Place},
    record::{FURTHER_MAX, Record},
    survey::{self, Attached},
};
use crate::{
    gateway_disks::{self, GatewayDisk, Shutdown},
    sys,
};

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Order {
    /// Look for disks that came, grew, or are empty by now.
    Look,
    /// Make a disk that holds nothing a cache disk: the primary one if there is none.
    Allocate {
        /// `sdb`.
        name: String,
        /// As the operator saw it.
        size: ByteSize,
    },
    /// Make another appliance's cache disk the primary one of this appliance.
    Adopt {
        /// Its UUID.
        uuid: String,
    },
    /// Make a cache disk that is none of this appliance hold nothing.
    Wipe {
        /// Its UUID.
        uuid: String,
    },
    /// Do without a cache disk that is not attached; without the primary one, the further ones are of no
    /// use either.
    Forget {
        /// Its UUID.
        uuid: String,
    },
}

/// Carries it out, but for what follows from the record by itself. Answers what is to be said.
///
/// # Errors
/// It cannot be done; why, and what to do.
pub(super) fn carry_out(order: &Order) -> Result<String> {
    let mut record = match (Record::read(), order) {
        (Ok((record, said)), _) => {
            said.iter().for_each(|words| sys::say(words));
            record
        }
        // It needs none.
        (Err(_), Order::Look) => Record::default(),
        (Err(damage), _) => begin_anew(order, &survey::all(), &file_system::places()?, damage)?,
    };
    match order {
        Order::Look => {
            survey::rescan().context("looking for changes")?;
            Ok("The disks were looked through.".to_owned())
        }
        Order::Allocate { name, size } => {
            let device = to_allocate(&survey::all(), &record, name, *size)?;
            file_system::format(&device, |uuid| {
                match record.primary {
                    None => record.primary = Some(uuid.to_owned()),
                    Some(_) => record.further.push(uuid.to_owned()),
                }
                record.store()
            })?;
            Ok(format!("{device} is a cache disk of this appliance from now on."))
        }
        Order::Adopt { uuid } => {
            let known = gateway_disks::list_with_word();
            let device = to_adopt(&survey::all(), &record, uuid, &known)?;
            if !file_system::look_into(&device)?.has_catalog {
                bail!(
                    "{device} is a further cache disk of another appliance: adopt that one's primary disk, and \
                     attach this one beside it"
                );
            }
            record = Record { primary: Some(uuid.clone()), ..Record::default() };
            record.store()?;
            Ok(format!("{device} is the cache disk of this appliance from now on."))
        }
        Order::Wipe { uuid } => {
            let device = to_wipe(&survey::all(), &record, uuid)?;
            file_system::wipe(&device)?;
            Ok(format!("{device} is blank."))
        }
        Order::Forget { uuid } => {
            forget(&survey::all(), &mut record, uuid)?;
            // Only of a disk that is certainly not there are files given up. A gateway that runs forgets it
            // first: it must not wait for it.
            let is_known = gateway_disks::list()
                .is_ok_and(|disks| disks.iter().any(|disk| disk.name.as_str() == uuid));
            let lost = match is_known {
                true => gateway_disks::give_up(uuid).map_err(|why| anyhow!(why))?,
                false => 0,
            };
            record.store()?;
            Ok(match lost {
                0 => "The disk is forgotten.".to_owned(),
                lost => {
                    format!("The disk is forgotten. {lost} files were only there and are lost.")
                }
            })
        }
    }
}

/// The record of an order that mends a damaged one. Nothing is lost by it: adopted is what the operator names,
/// and a disk is allocated only where none is there that may be this appliance's.
fn begin_anew(
    order: &Order,
    disks: &[Attached],
    places: &[Place],
    damage: anyhow::Error,
) -> Result<Record> {
    // With the primary disk in use, the next look makes the record anew.
    let in_use = places.iter().any(|place| place.is_primary() && place.disk.is_some());
    let is_cache = |disk: &Attached| disk.cache_uuid().is_some() && !disk.is_empty();
    match order {
        Order::Adopt { .. } if !in_use => Ok(Record::default()),
        Order::Allocate { .. } if !in_use && !disks.iter().any(is_cache) => Ok(Record::default()),
        Order::Look
        | Order::Allocate { .. }
        | Order::Adopt { .. }
        | Order::Wipe { .. }
        | Order::Forget { .. } => Err(damage),
    }
}

fn to_allocate(disks: &[Attached], record: &Record, name: &str, size: ByteSize) -> Result<String> {
    let device = format!("/dev/{name}");
    let disk = disks.iter().find(|disk| disk.device == device);
    let disk = disk.with_context(|| format!("{device} is not attached any more"))?;
    if !disk.is_empty() || disk.cache_uuid().is_some_and(|uuid| record.has(uuid)) {
        bail!("{device} is not blank: {}", disk.words());
    }
    if disk.size != size {
        bail!("{device} is another disk than a moment ago ({})", disk.size);
    }
    if disk.size.0 < CACHE_BYTES_MIN {
        bail!("{device} is smaller than {}", ByteSize(CACHE_BYTES_MIN));
    }
    if let Some(primary) = &record.primary
        && !matches!(find(disks, primary), Found::One(_))
    {
        bail!("attach the cache disk of this appliance again first, or forget it");
    }
    if record.further.len() >= FURTHER_MAX {
        bail!("this appliance has {FURTHER_MAX} further cache disks already");
    }
    Ok(device)
}

/// Whether files of this appliance would be lost with its primary disk.
fn to_adopt(
    disks: &[Attached],
    record: &Record,
    uuid: &str,
    known: &Result<(Vec<GatewayDisk>, Shutdown), String>,
) -> Result<String> {
    let device = other_cache(disks, record, uuid)?;
    let Some(primary) = &record.primary else { return Ok(device) };
    if !matches!(find(disks, primary), Found::One(_)) {
        bail!(
            "the cache disk of this appliance is not attached: attach it again, or forget it first"
        );
    }
    if !record.further.is_empty() {
        bail!("this appliance has further cache disks: release them first");
    }
    let is_empty = |disk: &GatewayDisk| disk.primary && disk.files == 0 && disk.dirty_bytes.0 == 0;
    match known {
        Ok((disks, word)) if matches!(&disks[..], [disk] if is_empty(disk)) => match word {
            Shutdown::Safe => Ok(device),
            Shutdown::Uploading | Shutdown::Stuck => bail!(
                "changes of names or attributes, or empty files, are not in the bucket yet: wait until the \
                 appliance may be shut down"
            ),
        },
        Ok(_) => bail!("files are on the cache disk of this appliance: it keeps that one"),
        Err(why) => bail!("whether the cache disk of this appliance is empty is not known: {why}"),
    }
}

fn to_wipe(disks: &[Attached], record: &Record, uuid: &str) -> Result<String> {
    other_cache(disks, record, uuid)
}

/// The disk with this UUID, which is no cache disk of this appliance.
fn other_cache(disks: &[Attached], record: &Record, uuid: &str) -> Result<String> {
    if record.has(uuid) {
        bail!("it is a cache disk of this appliance");
    }
    match find(disks, uuid) {
        Found::One(disk) => Ok(disk.device.clone()),
        Found::None => bail!("it is not attached any more"),
        Found::Several(names) => bail!("{names} are copies of one cache disk: detach all but one"),
    }
}

fn forget(disks: &[Attached], record: &mut Record, uuid: &str) -> Result<()> {
    // One that the record has not, the gateway alone knew: it was not attached when its primary disk was
    // adopted.
    if !matches!(find(disks, uuid), Found::None) {
        bail!("it is attached: there is no need to do without it");
    }
    if record.primary.as_deref() == Some(uuid) {
        *record = Record::default();
    } else {
        record.further.retain(|one| one != uuid);
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Makes of the attached disks what record and policy say: mounts the cache disks, formats those that are
//! to become some, grows those that have grown, wipes those that were given back.
//!
//! Level-triggered: it compares and does the difference, whatever has happened since the last time. What
//! the gateway may hold is not unmounted; the report says that the gateway must end first.
use anyhow::{Result, anyhow, bail};
use gateway_api::ByteSize;

use super::{
    CACHE, CONFIG, FURTHER,
    choice::{self, Further, Primary},
    file_system::{self, Place},
    record::Record,
    report::{Disk, Mounted, Report, Role},
    size_of,
    survey::{self, Attached},
    task::{Gateway, Task},
};
use crate::{
    gateway_disks::{self, DiskState, GatewayDisk},
    modules::Modules,
    mounts, service,
    signatures::Content,
    sys,
};

const REMOVED: &str = "was removed while in use, or has failed: attach it again. It may hold files that \
                       are not in the bucket yet";

/// Does it, and says what came of it.
pub(super) fn look_through(task: Task) -> Report {
    let mut look = Look::default();
    if let Err(error) = look.run(task) {
        look.warn(&error);
    }
    look.report()
}

#[derive(Default)]
struct Look {
    record: Record,
    /// Whether it is damaged, with nothing to make it anew of.
    record_lost: bool,
    disks: Vec<Attached>,
    places: Vec<Place>,
    gateway_must_end: bool,
    draining: bool,
    gateway_silent: bool,
    problem: String,
    warnings: Vec<String>,
    missing: Vec<String>,
}

impl Look {
    fn run(&mut self, task: Task) -> Result<()> {
        Modules::open().load("xfs");
        self.places = file_system::places()?;
        // Until the record is read, what is mounted is right.
        self.record = of_places(&self.places);
        if !mounts::is_mounted(CONFIG) {
            bail!(
                "the config partition is not mounted, so it is not known which disks are the cache: \
                 no disk was touched. Mend the system disk first"
            );
        }
        self.disks = survey::all();
        self.take_record(Record::read(), Record::store)?;
        if task.gateway == Gateway::Runs {
            self.ask_gateway(gateway_disks::list(), Record::store);
        }
        self.unmount_stale(task.gateway);
        self.wipe_released();
        if !self.places.iter().any(Place::is_primary) {
            self.take_primary(task)?;
        }
        // Without the catalog nothing can be done with further ones.
        if self.primary().is_some() {
            self.take_further(task)?;
        }
        self.grow();
        Ok(())
    }

    /// Takes the record that was read. One that is damaged is made anew of what is mounted: the gateway knows the
    /// others, and its further disks are found by what it says.
    fn take_record(
        &mut self,
        read: Result<(Record, Option<String>)>,
        store: impl FnOnce(&Record) -> Result<()>,
    ) -> Result<()> {
        match read {
            Ok((record, said)) => {
                self.record = record;
                self.warnings.extend(said);
            }
            Err(damage) if self.record.primary.is_none() => {
                self.record_lost = true;
                return Err(damage);
            }
            Err(damage) => {
                store(&self.record)?;
                let words =
                    "the record of the cache disks was damaged, and is made anew of those in use";
                self.warnings.push(words.to_owned());
                sys::say(&format!("{words}: {damage:#}"));
            }
        }
        Ok(())
    }

    /// Follows what a gateway that runs has answered.
    fn ask_gateway(
        &mut self,
        answer: Result<Vec<GatewayDisk>, String>,
        store: impl FnOnce(&Record) -> Result<()>,
    ) {
        // It may be only starting; it may have emptied a disk, too: it is asked again. Why it does not answer,
        // the console's page of the disks says, which asks it as well.
        let Ok(known) = answer else {
            self.gateway_silent = true;
            return;
        };
        let before = self.record.clone();
        self.hear_gateway(&known, gateway_disks::forget);
        if self.record != before
            && let Err(error) = store(&self.record)
        {
            // What is not noted does not hold: the gateway is not ended for it.
            self.record = before;
            self.warn(&error);
        }
    }

    /// What the gateway says of its further disks: those that it has emptied are given back; those that it
    /// misses come with a primary one that was adopted, or were given back before.
    fn hear_gateway(&mut self, known: &[GatewayDisk], forget: impl Fn(&str) -> Result<(), String>) {
        for disk in known.iter().filter(|disk| !disk.primary) {
            let name = &disk.name.to_string();
            let is_ours = self.record.further.contains(name);
            match disk.state {
                DiskState::Draining => self.draining = true,
                DiskState::Empty if is_ours => self.record.release(name),
                DiskState::Missing if !is_ours => {
                    if disk.files > 0 && only(&mut self.disks, name).is_some() {
                        self.record.adopt(name);
                    } else if let Err(why) = forget(name) {
                        self.missing.push(name.clone());
                        self.warnings.push(format!("cache disk {}: {why}", choice::short(name)));
                    }
                }
                DiskState::Empty | DiskState::InUse | DiskState::Missing => {}
            }
        }
    }

    /// Unmounts what is gone, was given back, or was replaced.
    fn unmount_stale(&mut self, gateway: Gateway) {
        let stale: Vec<Place> =
            self.places.iter().filter(|place| is_stale(place, &self.record)).cloned().collect();
        if stale.is_empty() {
            return;
        }
        match gateway {
            Gateway::Runs => {
                self.gateway_must_end = true;
                if stale.iter().any(|place| place.is_primary() && place.disk.is_none()) {
                    REMOVED.clone_into(&mut self.problem);
                }
            }
            Gateway::Ended => {
                for place in &stale {
                    match place.unmount() {
                        Ok(()) => self.places.retain(|other| other != place),
                        // The others are of use all the same.
                        Err(error) => self.warn(&error),
                    }
                }
            }
        }
    }

    /// Disks that were given back hold nothing once they are not mounted any more. One that is not
    /// attached at this moment is left as it is, whenever it comes: it may be an older copy.
    ///
    /// The gateway's word that it was empty is older than the gateway's end: files that came after it make
    /// the disk one of ours again.
    fn wipe_released(&mut self) {
        let before = self.record.clone();
        let (mut mounted, mut failed) = (Vec::new(), Vec::new());
        for uuid in std::mem::take(&mut self.record.released) {
            if self.place_of(&uuid).is_some() {
                mounted.push(uuid);
                continue;
            }
            let Some(disk) = only(&mut self.disks, &uuid) else { continue };
            match file_system::look_into(&disk.device) {
                Ok(found) if found.has_files => {
                    failed.push(anyhow!(
                        "{} got files while it was given back, and is used again: release it once more",
                        disk.device
                    ));
                    self.record.adopt(&uuid);
                }
                Ok(_) => match file_system::wipe(&disk.device) {
                    Ok(()) => disk.content = Ok(Content::Released),
                    Err(error) => failed.push(error),
                },
                Err(error) => failed.push(error),
            }
        }
        for error in &failed {
            self.warn(error);
        }
        self.record.released = mounted;
        if self.record != before
            && let Err(error) = self.record.store()
        {
            self.warn(&error);
        }
    }

    fn take_primary(&mut self, task: Task) -> Result<()> {
        let (device, uuid) = match choice::primary(&self.disks, &self.record, task.policy) {
            Primary::Nothing(why) => {
                self.problem = why;
                return Ok(());
            }
            Primary::Mount { device, uuid } => (device, uuid),
            Primary::Format { device } => {
                let record = &mut self.record;
                let uuid = file_system::format(&device, |uuid| {
                    record.primary = Some(uuid.to_owned());
                    record.store()
                })?;
                self.now_ours(&device, &uuid);
                (device, uuid)
            }
        };
        self.mount(device, CACHE.to_owned(), uuid)
    }

    fn take_further(&mut self, task: Task) -> Result<()> {
        for device in choice::to_allocate(&self.disks, &self.record, task.policy) {
            let record = &mut self.record;
            let made = file_system::format(&device, |uuid| {
                record.further.push(uuid.to_owned());
                record.store()
            });
            match made {
                Ok(uuid) => self.now_ours(&device, &uuid),
                // The others are of use all the same.
                Err(error) => self.warn(&error),
            }
        }
        for one in choice::further(&self.disks, &self.record) {
            match one {
                Further::Mount { uuid, .. } if self.place_of(&uuid).is_some() => {}
                Further::Mount { device, uuid } => {
                    let target = format!("{FURTHER}/{uuid}");
                    if let Err(error) = self.mount(device, target, uuid) {
                        self.warn(&error);
                    }
                }
                Further::Missing { uuid, why } => {
                    self.missing.push(uuid);
                    self.warnings.push(why);
                }
            }
        }
        Ok(())
    }

    fn mount(&mut self, device: String, target: String, uuid: String) -> Result<()> {
        file_system::mount_disk(&device, &target, service::user("gateway")?)?;
        let disk = Some(file_system::Present { device, uuid });
        self.places.push(Place { target, disk });
        Ok(())
    }

    fn grow(&mut self) {
        let mut failed = Vec::new();
        for place in &self.places {
            if let Some(disk) = &place.disk
                && let Err(error) = file_system::grow(&disk.device, &place.target)
            {
                failed.push(error);
            }
        }
        for error in &failed {
            self.warn(error);
        }
    }

    fn warn(&mut self, error: &anyhow::Error) {
        self.warnings.push(format!("{error:#}"));
    }

    /// A disk has become a cache disk.
    fn now_ours(&mut self, device: &str, uuid: &str) {
        if let Some(disk) = self.disks.iter_mut().find(|disk| disk.device == device) {
            let label = super::CACHE_LABEL.to_owned();
            disk.content = Ok(Content::Xfs { label, uuid: uuid.to_owned() });
        }
    }

    fn place_of(&self, uuid: &str) -> Option<&Place> {
        let is_it = |place: &&Place| place.disk.as_ref().is_some_and(|disk| disk.uuid == uuid);
        self.places.iter().find(is_it)
    }

    /// The primary cache disk, if it is mounted and is what the record says.
    fn primary(&self) -> Option<Mounted> {
        let place = self.places.iter().find(|place| place.is_primary())?;
        if is_stale(place, &self.record) { None } else { mounted(place) }
    }

    fn described(&self, disk: &Attached) -> Disk {
        let mut described = described(disk, &self.record);
        if self.record_lost && described.role == Role::OtherCache {
            "a cache disk, of this appliance or another one".clone_into(&mut described.holds);
        }
        described
    }

    fn report(mut self) -> Report {
        let primary = self.primary();
        let places = self.record.further.iter().filter_map(|uuid| self.place_of(uuid));
        let further = places.filter_map(mounted).collect();
        if primary.is_none() {
            if self.problem.is_empty() {
                self.problem = self.warnings.pop().unwrap_or_else(|| "not mounted yet".to_owned());
            }
            let is_there =
                |uuid: &&String| self.disks.iter().any(|d| d.cache_uuid() == Some(*uuid));
            let gone = self.record.primary.iter().filter(|uuid| !is_there(uuid)).cloned();
            self.missing.extend(gone);
        }
        Report {
            disks: self.disks.iter().map(|disk| self.described(disk)).collect(),
            primary,
            further,
            problem: self.problem,
            warnings: self.warnings,
            missing: self.missing,
            gateway_must_end: self.gateway_must_end,
            draining: self.draining,
            gateway_silent: self.gateway_silent,
        }
    }
}

fn of_places(places: &[Place]) -> Record {
    let uuids = |primary: bool| {
        let wanted = places.iter().filter(move |place| place.is_primary() == primary);
        wanted.filter_map(|place| Some(place.disk.as_ref()?.uuid.clone()))
    };
    Record { primary: uuids(true).next(), further: uuids(false).collect(), released: Vec::new() }
}

/// Whether it must not stay mounted.
fn is_stale(place: &Place, record: &Record) -> bool {
    let Some(disk) = &place.disk else { return true };
    if place.is_primary() {
        record.primary.as_ref() != Some(&disk.uuid)
    } else {
        !record.further.contains(&disk.uuid)
    }
}

fn mounted(place: &Place) -> Option<Mounted> {
    let disk = place.disk.as_ref()?;
    let size = ByteSize(size_of(&disk.device));
    Some(Mounted { uuid: disk.uuid.clone(), device: disk.device.clone(), size })
}

/// The cache disk with this UUID, unless there are copies of it.
fn only<'a>(disks: &'a mut [Attached], uuid: &str) -> Option<&'a mut Attached> {
    let mut found = disks.iter_mut().filter(|disk| disk.cache_uuid() == Some(uuid));
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

fn described(disk: &Attached, record: &Record) -> Disk {
    let role = match disk.cache_uuid() {
        _ if disk.is_system => Role::System,
        Some(uuid) if record.primary.as_deref() == Some(uuid) => Role::Primary,
        Some(uuid) if record.has(uuid) => Role::Further,
        _ if disk.is_empty() => Role::Blank,
        Some(_) => Role::OtherCache,
        None => Role::Foreign,
    };
    Disk {
        name: disk.device.trim_start_matches("/dev/").to_owned(),
        size: disk.size,
        model: disk.model.clone(),
        role,
        uuid: disk.cache_uuid().map(str::to_owned),
        holds: match role {
            Role::System => "the appliance itself".to_owned(),
            Role::Primary | Role::Further => "a cache disk of this appliance".to_owned(),
            Role::OtherCache => "a cache disk of another appliance".to_owned(),
            Role::Blank | Role::Foreign => disk.words(),
        },
    }
}

#[cfg(test)]
mod tests;

//! Changes of the system disk, each in an order in which every cut of the power leaves a machine that
//! boots: nothing that the running version boots with is ever touched, and the boot loaders hear of
//! another one only when all of it is on the disk and was read back.
//!
//! Both loaders are told, whichever the machine uses.
use std::io::{self, Read};

use super::{
    esp::{self, Environment, Image, TRIES},
    manifest::{BLOCK_BYTES, Manifest, Member},
    port::Port,
    stream::{Part, Stream, sha256},
};
use crate::slot::Slot;

/// What an installation says of itself.
pub(crate) type Say<'a> = &'a mut dyn FnMut(&str);

/// Writes an update into the slot beside the running one, and puts it on trial.
///
/// # Errors
/// Words for the operator. The running version boots as before.
pub(crate) fn install<R: Read>(
    port: &mut impl Port,
    running: Slot,
    manifest: &Manifest,
    mut stream: Stream<R>,
    say: Say<'_>,
) -> Result<(), String> {
    let target = running.other();
    set_aside(port, running)?;
    stream
        .member(Part::Root, &manifest.root, |at, block| {
            port.write_root(at, block).map_err(|error| disk("the root file system", &error))
        })
        .map_err(|wrong| wrong.to_string())?;
    port.sync_root().map_err(|error| disk("the root file system", &error))?;
    read_back(port, &manifest.root)?;
    say("Root file system written and read back");

    let mut efi = Vec::new();
    stream
        .member(Part::Efi, &manifest.efi, |_, block| {
            efi.extend_from_slice(block);
            Ok(())
        })
        .map_err(|wrong| wrong.to_string())?;
    stream.end().map_err(|wrong| wrong.to_string())?;
    let config = esp::config_text(target, &manifest.cmdline);
    for (path, content) in [
        (esp::kernel(target), manifest.kernel.of(&efi)),
        (esp::initrd(target), manifest.initrd.of(&efi)),
        (esp::config(target), config.as_bytes()),
        (esp::set_aside(target), efi.as_slice()),
    ] {
        port.put(&path, content).map_err(|error| disk(&path, &error))?;
        let found = port.read(&path).map_err(|error| disk(&path, &error))?;
        if found.as_deref() != Some(content) {
            return Err(format!("The system disk does not keep what is written to it ({path})."));
        }
    }
    say("Kernel written and read back");
    let number = next_number(port)?;
    put_on_trial(port, running, &esp::set_aside(target), number)?;
    say("The boot loaders try it at the next start");
    Ok(())
}

/// Puts the version in the other slot on trial once more: it ran before, or failed.
///
/// # Errors
/// Words for the operator. The running version boots as before.
pub(crate) fn go_back(port: &mut impl Port, running: Slot) -> Result<(), String> {
    let target = running.other();
    let there = |path: &str| port.read(path).map(|found| found.is_some());
    let image = images(port)?.into_iter().find(|image| image.slot == target);
    let whole = [esp::config(target), esp::kernel(target), esp::initrd(target)];
    for path in &whole {
        if !there(path).map_err(|error| disk(path, &error))? {
            return Err(format!("Slot {} holds no version ({path}).", target.letter()));
        }
    }
    let image = image.ok_or_else(|| format!("Slot {} holds no version.", target.letter()))?;
    let number = next_number(port)?;
    put_on_trial(port, running, &image.path(), number)
}

/// Makes the version that runs the one that is booted from now on.
///
/// # Errors
/// Words; it stays on trial.
pub(crate) fn bless(port: &mut impl Port, running: Slot) -> Result<(), String> {
    let ours = images(port)?.into_iter().filter(|image| image.slot == running);
    if let Some(image) = ours.max_by_key(|image| image.number)
        && image.left.is_some()
    {
        let kept = esp::kept(image.number, running);
        port.rename(&image.path(), &kept).map_err(|error| disk(&kept, &error))?;
    }
    set_environment(port, Environment { slot: running, trial: None })
}

/// Takes the other slot away from both loaders.
fn set_aside(port: &mut impl Port, running: Slot) -> Result<(), String> {
    let target = running.other();
    set_environment(port, Environment { slot: running, trial: None })?;
    let aside = esp::set_aside(target);
    let mut has_one = port.read(&aside).map_err(|error| disk(&aside, &error))?.is_some();
    for image in images(port)?.into_iter().filter(|image| image.slot == target) {
        let path = image.path();
        // The first keeps its room on the ESP for what comes.
        let done = if has_one { port.remove(&path) } else { port.rename(&path, &aside) };
        done.map_err(|error| disk(&path, &error))?;
        has_one = true;
    }
    Ok(())
}

fn put_on_trial(
    port: &mut impl Port,
    running: Slot,
    image: &str,
    number: u64,
) -> Result<(), String> {
    let target = running.other();
    let tried = esp::tried(number, target);
    port.rename(image, &tried).map_err(|error| disk(&tried, &error))?;
    set_environment(port, Environment { slot: running, trial: Some((target, TRIES)) })
}

fn set_environment(port: &mut impl Port, environment: Environment) -> Result<(), String> {
    let path = esp::ENVIRONMENT;
    let block = environment.block();
    let found = port.read(path).map_err(|error| disk(path, &error))?;
    if found.as_deref() == Some(&block) {
        return Ok(());
    }
    port.put(path, &block).map_err(|error| disk(path, &error))
}

fn images(port: &impl Port) -> Result<Vec<Image>, String> {
    let names = port.images().map_err(|error| disk(esp::IMAGES, &error))?;
    Ok(names.iter().filter_map(|name| Image::of(name)).collect())
}

fn next_number(port: &impl Port) -> Result<u64, String> {
    let highest = images(port)?.iter().map(|image| image.number).max().unwrap_or_default();
    highest.checked_add(1).ok_or_else(|| "the numbers of updates are used up".to_owned())
}

/// Reads the root file system from the disk again, block by block.
fn read_back(port: &impl Port, member: &Member) -> Result<(), String> {
    let mut at = 0;
    for digest in &member.blocks {
        let length = (member.size - at).min(BLOCK_BYTES);
        let mut block = vec![0; usize::try_from(length).unwrap_or_default()];
        port.read_root(at, &mut block).map_err(|error| disk("the root file system", &error))?;
        if !digest.eq_ignore_ascii_case(&sha256(&block)) {
            return Err(format!(
                "The system disk does not keep what is written to it (byte {at} of the slot)."
            ));
        }
        at += length;
    }
    Ok(())
}

fn disk(what: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::StorageFull => format!("The system disk has no room for {what}."),
        _ => format!("The system disk fails at {what}: {error}."),
    }
}

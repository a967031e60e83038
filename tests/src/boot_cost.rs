//! What a boot of the appliance costs, beside one with PID 1 and image as they were at an earlier revision.
//!
//! The gateway's program is the same in both, and so is everything around them; they take turns, so that what
//! else the machine does meets both, and every second round the other one begins, so that what changes slowly
//! meets both, too. Figures of emulated machines say little: what counts are the ratios.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    artifacts,
    console::Console,
    lab::{Alone, BOOT_LIMIT, Parts},
    pages::{choose_on_serial, log_in_on_serial, page_on_serial, status_on_serial},
    wait::poll_until,
    workspace::Workspace,
};

const SHUTDOWN_LIMIT: Duration = Duration::from_secs(180);
const PAGE_LIMIT: Duration = Duration::from_secs(120);
/// The page with the memory in use on the console that had no log-in.
const OLD_SUPPORT_KEY: &str = "3";
const HOME: &str = "\x1b[1~";

/// What an appliance took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// From power on to the first answer of NFS, with both file systems still to be made.
    first_boot: Duration,
    /// The same, of any later boot.
    boot: Duration,
    /// What the later boot took of the host's processors.
    boot_cpu: Duration,
    /// What is in use of the guest's memory when it serves, in MiB: of everything, and of the gateway.
    memory_mib: f64,
    gateway_mib: f64,
}

/// Boots both in turns, so many rounds, and prints each figure with its ratio.
///
/// # Errors
/// When one cannot be built or does not come up.
pub fn compare(against: &str, rounds: u32) -> Result<()> {
    let parts = Parts::build()?;
    let before = Parts { image: earlier(&parts.workspace, against)?, ..parts.clone() };
    let mut all = Vec::new();
    for round in 1..=rounds {
        let (of_before, of_now) = (|| cost("boot-before", &before), || cost("boot-now", &parts));
        let pair = if round % 2 == 1 {
            let first = of_before()?;
            (first, of_now()?)
        } else {
            let first = of_now()?;
            (of_before()?, first)
        };
        println!("round {round} of {rounds}");
        print(&[pair]);
        all.push(pair);
    }
    println!(
        "all rounds: the medians of the figures and of the ratios, and the least and greatest ratio"
    );
    print(&all);
    Ok(())
}

/// A line for each figure: `against`, this revision, and this one's ratio to it. Without rounds there is
/// nothing to say: everything was built.
fn print(pairs: &[(Cost, Cost)]) {
    if pairs.is_empty() {
        return;
    }
    let seconds = |of: fn(&Cost) -> Duration| move |cost: &Cost| of(cost).as_secs_f64();
    line("first boot, s", pairs, seconds(|cost| cost.first_boot));
    line("boot, s", pairs, seconds(|cost| cost.boot));
    line("boot, CPU s of the host", pairs, seconds(|cost| cost.boot_cpu));
    line("memory in use, MiB", pairs, |cost| cost.memory_mib);
    line("gateway's part of it, MiB", pairs, |cost| cost.gateway_mib);
    line("memory without the gateway, MiB", pairs, |cost| cost.memory_mib - cost.gateway_mib);
}

fn line(what: &str, pairs: &[(Cost, Cost)], figure: impl Fn(&Cost) -> f64) {
    let before = median(pairs.iter().map(|(before, _)| figure(before)).collect());
    let now = median(pairs.iter().map(|(_, now)| figure(now)).collect());
    let ratios: Vec<f64> = pairs.iter().map(|(before, now)| figure(now) / figure(before)).collect();
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = ratios.iter().copied().fold(0.0, f64::max);
    let ratio = median(ratios);
    println!(
        "{what:<32} before {before:>6.1}   now {now:>6.1}   ratio {ratio:.2} ({least:.2}-{greatest:.2})"
    );
}

/// The middle one; of two, the one between them.
fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}

fn cost(name: &str, parts: &Parts) -> Result<Cost> {
    let alone = Alone::with_parts(name, parts.clone())?;
    let begun = Instant::now();
    let mut appliance = alone.power_on()?;
    alone.wait_for_nfs(&mut appliance.machine)?;
    let first_boot = begun.elapsed();
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;
    drop(appliance);

    let begun = Instant::now();
    let mut appliance = alone.power_on()?;
    alone.wait_for_nfs(&mut appliance.machine)?;
    let boot = begun.elapsed();
    let boot_cpu = appliance.machine.cpu_time()?;
    let page = page_with_memory(&mut appliance.serial)?;
    let (memory_mib, gateway_mib) =
        memory_in(&page).with_context(|| format!("no memory in use in:\n{page}"))?;
    appliance.machine.shut_down(SHUTDOWN_LIMIT)?;
    Ok(Cost { first_boot, boot, boot_cpu, memory_mib, gateway_mib })
}

/// The console's page that tells the memory in use; the console of earlier revisions had no log-in.
fn page_with_memory(serial: &mut Console) -> Result<String> {
    let front = poll_until("the console", BOOT_LIMIT, || {
        let screen = serial.screen();
        let is_there = screen.contains(":/sales /mnt/sales")
            && (screen.contains("Enter: ") || screen.contains("3: Support"));
        Ok(is_there.then_some(screen))
    })?;
    if front.contains("3: Support") {
        serial.send(OLD_SUPPORT_KEY)?;
        page_on_serial(serial, "Support: ", PAGE_LIMIT)?;
        // It shows its end first.
        serial.send(HOME)?;
        return page_on_serial(serial, "in use of", PAGE_LIMIT);
    }
    log_in_on_serial(serial, PAGE_LIMIT)?;
    choose_on_serial(serial, "View System Resource Check", PAGE_LIMIT)?;
    let page = page_on_serial(serial, "in use of", PAGE_LIMIT)?;
    serial.send("xx")?;
    status_on_serial(serial, "", PAGE_LIMIT)?;
    Ok(page)
}

/// `180 MiB in use of 480 MiB; gateway 33 MiB`, wrapped, and with a mark at a line's end.
fn memory_in(page: &str) -> Option<(f64, f64)> {
    // A mark at a line's end may come between a figure and its unit.
    let is_word = |word: &&str| !word.is_empty() && !word.starts_with('[');
    let words: Vec<&str> = page.split([' ', '\n', ';']).filter(is_word).collect();
    let mib = |at: usize| {
        let figure: f64 = words.get(at)?.parse().ok()?;
        match *words.get(at + 1)? {
            "KiB" => Some(figure / 1024.0),
            "MiB" => Some(figure),
            "GiB" => Some(figure * 1024.0),
            _ => None,
        }
    };
    let used = words.windows(3).position(|three| three == ["in", "use", "of"])?;
    let own = words.iter().skip(used).position(|word| *word == "gateway")? + used;
    Some((mib(used.checked_sub(2)?)?, mib(own + 1)?))
}

/// The image as the revision builds it, around the gateway of this one; kept in `out/boot`.
fn earlier(workspace: &Workspace, revision: &str) -> Result<PathBuf> {
    let mut look_up = Command::new("git");
    let commit = output(look_up.args(["rev-parse", "--verify", revision]), workspace.root())?;
    let folder = workspace.out().join("boot").join(commit.trim());
    let (source, init) = (folder.join("source"), folder.join("init"));
    if !init.exists() {
        fs::create_dir_all(&source)?;
        let archive = source.join("archive.tar");
        let to = format!("--output={}", archive.display());
        output(Command::new("git").args(["archive", &to, commit.trim()]), workspace.root())?;
        output(Command::new("tar").arg("xf").arg(&archive), &source)?;
        fs::remove_file(&archive)?;
        fs::copy(artifacts::image_builder_in(&source)?, folder.join("image"))?;
        // Last: it says that all of this was done.
        fs::copy(artifacts::init_in(&source)?, &init)?;
    }
    let image = folder.join("tidegate.img");
    let mut build = Command::new(folder.join("image"));
    build.arg("build").arg("--gateway").arg(artifacts::gateway(workspace)?);
    build.arg("--init").arg(&init).arg("--out").arg(&image);
    build.arg("--cache").arg(folder.join("packages"));
    output(&mut build, &source)?;
    ensure!(image.exists(), "the builder of {revision} made no {}", image.display());
    Ok(image)
}

/// Runs a program; what it prints.
fn output(command: &mut Command, folder: &Path) -> Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    if !output.status.success() {
        bail!("{program} failed ({})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_in_use_is_read_from_either_console() {
        let old = " Memory\n 96 MiB in use of 477 MiB; gateway 21 MiB\n";
        assert_eq!(memory_in(old), Some((96.0, 21.0)));
        let new = " Memory       0.5 GiB, recommended 4.0 GiB; 1.1 GiB in use of 3.9   [OK]\n\
                   \u{20}             GiB; gateway 412 MiB\n";
        assert_eq!(memory_in(new), Some((1.1 * 1024.0, 412.0)));
        let parted = "1 GiB; 90     [FAIL]\n MiB in use of 477 MiB; gateway\n 7.5 MiB";
        assert_eq!(memory_in(parted), Some((90.0, 7.5)));
        assert_eq!(memory_in("in use of"), None);
    }

    #[test]
    fn the_median_is_the_middle() {
        assert!(median(vec![3.0, 1.0, 2.0]).total_cmp(&2.0).is_eq());
        assert!(median(vec![4.0, 1.0]).total_cmp(&2.5).is_eq());
        assert!(median(Vec::new()).is_nan());
    }
}

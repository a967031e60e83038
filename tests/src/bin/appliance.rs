//! `cargo appliance`: builds the appliance, boots it in QEMU with VMware's virtual hardware beside
//! an S3 store, and says how to use it.
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use e2e::{
    accel::Accelerator,
    appliance_vm::{ApplianceVm, DiskBus, Firmware, Network},
    artifacts, attach, host,
    instructions::Instructions,
    lab::{self, start_store},
    qemu::Machine,
    run_state::{self, RunState},
    stop_signal,
    workspace::Workspace,
};
use image::{PrintProgress, Progress};

/// Builds the appliance and runs it here, with VMware's virtual hardware, a blank 150 GB cache disk
/// (sparse) and an S3 store on this machine. Prints how to mount it. Ctrl-C shuts it down; what it
/// holds is kept for the next run.
#[derive(Debug, Parser)]
#[command(name = "cargo appliance")]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Forget disks, settings and bucket of earlier runs.
    #[arg(long)]
    fresh: bool,
    /// Memory in MiB.
    #[arg(long, default_value_t = 512, value_name = "MIB")]
    memory: u32,
    /// bios or uefi.
    #[arg(long, default_value = "bios")]
    firmware: Firmware,
    /// What the boot disk is attached to: pvscsi, virtio or ahci (uefi: virtio or ahci).
    #[arg(long, default_value = "pvscsi")]
    disk_bus: DiskBus,
    /// Run the image that is there.
    #[arg(long)]
    no_build: bool,
    /// Shut it down again as soon as it serves NFS.
    #[arg(long)]
    exit_when_ready: bool,
    /// Where disks, settings and bucket are kept [default: out/appliance].
    #[arg(long, value_name = "FOLDER", global = true)]
    state: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Subcommand)]
enum Command {
    /// Attach this terminal to the running appliance's serial console.
    Console,
}

/// The serial line's socket, below the state.
const SERIAL: &str = "run/appliance.serial";
/// How long a guest may take to stop its services and switch itself off.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Some(Command::Console) => attach::serial(&state_folder(&arguments).join(SERIAL)),
        None => run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cargo appliance: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn state_folder(arguments: &Arguments) -> PathBuf {
    arguments.state.clone().unwrap_or_else(|| Workspace::find().out().join("appliance"))
}

fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::find();
    let mut progress = PrintProgress::new();
    let (image, sha256) = image(&workspace, arguments.no_build, &mut progress)?;
    let accelerator = accelerator(&workspace, &mut progress)?;
    let folder = state_folder(arguments);
    let _alone = run_state::lock(&folder)?;
    if arguments.fresh && folder.exists() {
        fs::remove_dir_all(&folder)?;
        progress.step("state of earlier runs removed");
    }
    let state = RunState::open(&folder)?;
    progress.step(state.prepare(&image, &sha256)?);

    // From here on Ctrl-C is a wish to be carried out in order.
    let stop = stop_signal::channel()?;
    let store = start_store(state.s3_port, Some(state.bucket_folder())).with_context(|| {
        format!(
            "port {} was free at the first run and another program has it now: end that, or give up \
             what is kept here (--fresh)",
            state.s3_port
        )
    })?;
    progress.step(&format!("S3 store: {}", store.endpoint()));

    let network = Network::User { nfs: state.nfs_port, portmapper: state.portmapper_port };
    let mut vm = ApplianceVm::new(state.boot_disk(), state.cache_disk(), state.seed(), network);
    vm.firmware = arguments.firmware;
    vm.boot_bus = arguments.disk_bus;
    vm.memory_mib = arguments.memory;
    // VNC display N is port 5900 + N.
    let vnc_port = e2e::net::free_port(5901)?;
    vm.vnc_display = Some(vnc_port.saturating_sub(5900)).filter(|_| vnc_port >= 5900);
    progress.step("appliance: booting");
    let booting = Instant::now();
    let mut machine = vm.start(&state.run_folder(), accelerator)?;
    let nfs = SocketAddr::from((Ipv4Addr::LOCALHOST, state.nfs_port));
    let mut said = 0;
    let ready = lab::wait_for_nfs(nfs, &mut machine, |_| {
        let seconds = booting.elapsed().as_secs();
        if seconds >= said + 10 {
            said = seconds;
            progress.note(&format!("{seconds} s; its console: cargo appliance console"));
        }
    });
    if let Err(error) = ready {
        return Err(error.context("the appliance does not serve NFS"));
    }
    let seconds = booting.elapsed().as_secs_f64();
    progress.step(&format!("appliance: serves NFS, {seconds:.1} s after power on"));
    let instructions = Instructions { state: &state, vnc_port: vm.vnc_display.map(|_| vnc_port) };
    println!("{instructions}");
    if !arguments.exit_when_ready {
        wait_for_the_end(&mut machine, &stop)?;
    }
    if machine.is_running()? {
        progress.step("shutting the appliance down (Ctrl-C again cuts its power)");
        shut_down(&mut machine, &stop)?;
    }
    progress.step("the appliance is off; `cargo appliance` starts it again as it was");
    Ok(())
}

fn image(
    workspace: &Workspace,
    no_build: bool,
    progress: &mut PrintProgress,
) -> Result<(PathBuf, String)> {
    host::ensure_packages(&[host::QEMU, host::COMPILER, &host::for_image()].concat())?;
    if no_build {
        let image = workspace.image();
        ensure!(image.exists(), "there is no {}: run without --no-build", image.display());
        let sha256 = image::debs::sha256_file(&image)?;
        return Ok((image, sha256));
    }
    host::ensure_musl_target()?;
    let report = artifacts::image(workspace, progress)?;
    Ok((report.image, report.sha256))
}

fn accelerator(workspace: &Workspace, progress: &mut PrintProgress) -> Result<Accelerator> {
    let kernel = artifacts::kernel(workspace)?;
    let accelerator = lab::choose_accelerator(workspace, &kernel)?;
    progress.step(match accelerator {
        Accelerator::Kvm => "QEMU: hardware virtualisation (KVM)",
        Accelerator::Emulation => {
            "QEMU: emulation, because no stock kernel boots under KVM here; everything is several times slower"
        }
    });
    Ok(accelerator)
}

fn wait_for_the_end(machine: &mut Machine, stop: &mpsc::Receiver<()>) -> Result<()> {
    loop {
        match stop.recv_timeout(Duration::from_millis(500)) {
            Ok(()) => return Ok(()),
            Err(mpsc::RecvTimeoutError::Timeout) if machine.is_running()? => {}
            Err(mpsc::RecvTimeoutError::Timeout | mpsc::RecvTimeoutError::Disconnected) => {
                return Ok(());
            }
        }
    }
}

fn shut_down(machine: &mut Machine, stop: &mpsc::Receiver<()>) -> Result<()> {
    machine.press_power_button()?;
    let end = Instant::now() + SHUTDOWN_LIMIT;
    while machine.is_running()? {
        ensure!(stop.recv_timeout(Duration::from_millis(200)).is_err(), "power cut on request");
        ensure!(Instant::now() < end, "the appliance did not shut down in time; power cut");
    }
    Ok(())
}

//! The set-up of the end-to-end tests: S3 store on the host, client VM, and an appliance with its
//! disks on the client's virtual LAN.
//!
//! Tests in one process take turns: two pairs of emulated machines at once only make both slow.
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use image::PrintProgress;
use s3_store::{S3Store, StoreConfig};

use crate::{
    accel::Accelerator,
    appliance_vm::{ApplianceVm, Network, new_boot_disk, new_cache_disk},
    artifacts,
    client_image::ClientImage,
    client_vm::ClientVm,
    console::Console,
    host, net, pages,
    qemu::Machine,
    seed,
    uplink::Guest,
    wait::poll_until,
    workspace::Workspace,
};

/// From power on to the first answer of the NFS service: half a minute emulated on an idle machine.
pub const BOOT_LIMIT: Duration = Duration::from_secs(600);

/// Held by the test whose turn it is.
static TURN: Mutex<()> = Mutex::new(());

/// Waits for the turn of the calling test.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What every set-up is built from, built once.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The repository.
    pub workspace: Workspace,
    /// The appliance's image.
    pub image: PathBuf,
    /// How QEMU runs.
    pub accelerator: Accelerator,
}

impl Parts {
    /// Builds the image, after installing what that takes.
    ///
    /// # Errors
    /// When it cannot be built.
    pub fn build() -> Result<Self> {
        host::ensure_packages(&[host::QEMU, host::COMPILER, &host::for_image()].concat())?;
        host::ensure_musl_target()?;
        let workspace = Workspace::find();
        let image = artifacts::image(&workspace, &mut PrintProgress::new())?.image;
        Self::with_image(workspace, image)
    }

    /// Takes an image that was built already.
    ///
    /// # Errors
    /// When it is not known how QEMU runs here.
    pub fn with_image(workspace: Workspace, image: PathBuf) -> Result<Self> {
        let accelerator = choose_accelerator(&workspace, &artifacts::kernel(&workspace)?)?;
        Ok(Self { workspace, image, accelerator })
    }
}

/// How QEMU runs guests with `kernel` here.
///
/// # Errors
/// When the outcome of the trial cannot be kept.
pub fn choose_accelerator(workspace: &Workspace, kernel: &Path) -> Result<Accelerator> {
    let _building = workspace.building()?;
    Accelerator::choose(kernel, &workspace.out().join("kvm"))
}

/// Starts an S3 store with the story's bucket; kept in `directory`, or in memory.
///
/// # Errors
/// When the port is taken or the directory cannot be used.
pub fn start_store(port: u16, directory: Option<PathBuf>) -> Result<S3Store> {
    Ok(S3Store::start_blocking(StoreConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        access_key_id: seed::ACCESS_KEY.to_owned(),
        secret_access_key: seed::SECRET_KEY.to_owned(),
        region: seed::REGION.to_owned(),
        buckets: vec![seed::BUCKET.to_owned()],
        directory,
        base_domain: None,
    })?)
}

/// A running set-up.
#[derive(Debug)]
pub struct Lab {
    /// The client.
    pub client: ClientVm,
    /// The S3 store.
    pub store: S3Store,
    /// The appliance's hardware, to be changed while it is off.
    pub hardware: ApplianceVm,
    parts: Parts,
    folder: PathBuf,
    appliance: Option<Appliance>,
    /// Last, so that the machines are gone before the next test starts.
    _turn: MutexGuard<'static, ()>,
}

/// The appliance while it runs.
#[derive(Debug)]
pub struct Appliance {
    /// The machine.
    pub machine: Machine,
    /// Its serial console.
    pub serial: Console,
}

impl Lab {
    /// Builds everything, boots the client and lays out new disks; logs and disks are in
    /// `out/test/NAME`.
    ///
    /// # Errors
    /// When anything of that fails.
    pub fn new(name: &str) -> Result<Self> {
        let turn = turn();
        let parts = Parts::build()?;
        let folder = new_folder(&parts.workspace, name)?;
        let client_image = ClientImage::build(&parts.workspace, &mut PrintProgress::new())?;
        let client = ClientVm::start(&client_image, &folder, parts.accelerator, Guest::Appliance)?;
        let store = start_store(0, None)?;
        let network = Network::Lan(client.lan().to_owned());
        let hardware = new_appliance(&parts, &folder, &store, network)?;
        Ok(Self { client, store, hardware, parts, folder, appliance: None, _turn: turn })
    }

    /// Switches the appliance on.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn power_on(&mut self) -> Result<()> {
        let machine = self.hardware.start(&self.folder, self.parts.accelerator)?;
        let serial = Console::connect(&machine.serial_socket(), Duration::from_secs(60))?;
        self.appliance = Some(Appliance { machine, serial });
        Ok(())
    }

    /// The running appliance.
    ///
    /// # Errors
    /// When it is switched off.
    pub fn appliance(&mut self) -> Result<&mut Appliance> {
        self.appliance.as_mut().context("the appliance is switched off")
    }

    /// Cuts the appliance's power.
    ///
    /// # Errors
    /// When it is off.
    pub fn cut_power(&mut self) -> Result<()> {
        self.appliance.take().context("the appliance is switched off")?.machine.cut_power()
    }

    /// Waits for the serial console to show the command that mounts the share, and returns it.
    ///
    /// # Errors
    /// When it does not within [`BOOT_LIMIT`]; with the end of the console's output.
    pub fn mount_command(&mut self) -> Result<String> {
        let appliance = self.appliance()?;
        let share = format!(":/{0} /mnt/{0}", seed::SHARE);
        let page = pages::status_on_serial(&appliance.serial, &share, BOOT_LIMIT)?;
        let mut lines = page.lines().map(str::trim);
        let mount = lines.find(|line| line.starts_with("mount -t nfs") && line.ends_with(&share));
        Ok(mount.context("the console's mount command")?.to_owned())
    }

    /// The folder of logs and pictures.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The parts it was built from.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }
}

/// An appliance without a client, on QEMU's user network.
#[derive(Debug)]
pub struct Alone {
    /// Its hardware.
    pub hardware: ApplianceVm,
    /// The S3 store.
    pub store: S3Store,
    /// The parts it was built from.
    pub parts: Parts,
    folder: PathBuf,
    nfs: SocketAddr,
    _turn: MutexGuard<'static, ()>,
}

impl Alone {
    /// Builds everything and lays out new disks in `out/test/NAME`.
    ///
    /// # Errors
    /// When anything of that fails.
    pub fn new(name: &str) -> Result<Self> {
        let turn = turn();
        Self::of(name, Parts::build()?, turn)
    }

    /// Lays out new disks for parts that were built already.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn with_parts(name: &str, parts: Parts) -> Result<Self> {
        Self::of(name, parts, turn())
    }

    fn of(name: &str, parts: Parts, turn: MutexGuard<'static, ()>) -> Result<Self> {
        let folder = new_folder(&parts.workspace, name)?;
        let store = start_store(0, None)?;
        let nfs = net::free_port(0)?;
        let network = Network::User { nfs, portmapper: net::free_port(0)? };
        let hardware = new_appliance(&parts, &folder, &store, network)?;
        let nfs = SocketAddr::from((Ipv4Addr::LOCALHOST, nfs));
        Ok(Self { hardware, store, parts, folder, nfs, _turn: turn })
    }

    /// Switches it on.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn power_on(&self) -> Result<Appliance> {
        let machine = self.hardware.start(&self.folder, self.parts.accelerator)?;
        let serial = Console::connect(&machine.serial_socket(), Duration::from_secs(60))?;
        Ok(Appliance { machine, serial })
    }

    /// Waits until NFS answers.
    ///
    /// # Errors
    /// When it does not within [`BOOT_LIMIT`], with what the machine printed on its serial line.
    pub fn wait_for_nfs(&self, machine: &mut Machine) -> Result<()> {
        wait_for_nfs(self.nfs, machine, |_| {})
    }

    /// The folder of logs and pictures.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// Waits until NFS answers at `address` while `machine` runs; `tick` is told now and then.
///
/// # Errors
/// When it does not within [`BOOT_LIMIT`] or the machine ends; with what it printed.
pub fn wait_for_nfs(
    address: SocketAddr,
    machine: &mut Machine,
    mut tick: impl FnMut(&mut Machine),
) -> Result<()> {
    let ready = poll_until("the appliance's NFS service", BOOT_LIMIT, || {
        anyhow::ensure!(machine.is_running()?, "QEMU ended while the appliance was booting");
        tick(machine);
        let answer =
            net::rpc_null(address, net::NFS_PROGRAM, net::NFS_VERSION, Duration::from_secs(5));
        Ok(answer.ok())
    });
    ready.with_context(|| format!("its serial console ends with:\n{}", tail(&machine.serial_log())))
}

fn tail(text: &str) -> &str {
    let from = text.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
    &text[from..]
}

/// An empty folder `out/test/NAME`.
///
/// # Errors
/// When an old one cannot be removed.
pub fn new_folder(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let folder = workspace.out().join("test").join(name);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

fn new_appliance(
    parts: &Parts,
    folder: &Path,
    store: &S3Store,
    network: Network,
) -> Result<ApplianceVm> {
    let file = |name: &str| folder.join(name);
    new_boot_disk(&parts.image, &file("boot.img"))?;
    new_cache_disk(&file("cache.img"))?;
    std::fs::write(file("seed.toml"), seed::document(store.address().port())?)?;
    Ok(ApplianceVm::new(file("boot.img"), file("cache.img"), file("seed.toml"), network))
}

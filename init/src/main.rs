//! PID 1 of the appliance, its network service and its console: one static binary, several entries.
//!
//! `init` as PID 1 runs stage 1 in the initramfs and stage 2 in the root file system; `init network`,
//! `init console TTY`, `init errand`, `init disks TASK`, `init phase NAME`, `init load-drivers ALIAS…`, `init find-seed`, `init guestinfo` and
//! `init exec-…` are what PID 1 starts; as `shutdown` and `sh` it is what VMware's tools start.
mod cgroup;
mod children;
mod claim;
mod confine;
mod console;
mod control;
mod disks;
mod errand;
mod gateway_disks;
mod gateway_tool;
mod journald;
mod kernel_settings;
mod log;
mod machine;
mod memory;
mod modules;
mod mounts;
mod network;
mod not_toml;
mod observed;
mod password;
mod phases;
mod pid1;
mod power;
#[cfg(test)]
mod power_cut;
mod reserve;
mod seed;
mod service;
mod shutdown;
mod signatures;
mod slot;
#[cfg(test)]
mod small_disk;
mod stage1;
mod supervisor;
mod support;
mod sys;
mod time;
mod trial;
mod uevents;
mod unkept;
mod unread;
mod update;
mod verity;

use std::{path::Path, process::ExitCode};

/// Tells the initramfs from the root file system, as systemd does.
const INITRD_MARK: &str = "/etc/initrd-release";

fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if let Some(done) = power::called(&program, &arguments) {
        return ended(done, &program);
    }
    let done = match arguments.as_slice() {
        ["console", tty] => console::run(tty),
        ["network"] => network::run(),
        ["write-update", device, rest @ ..] => update::write(device, rest),
        ["keep-version"] => update::keep_version(),
        ["errand"] => errand::run(),
        ["disks", task] => disks::run_task(task),
        ["serve-bundle", name] => support::serve(name),
        ["find-seed"] => seed::print_seed(),
        ["guestinfo"] => seed::print_guestinfo(),
        ["load-drivers", aliases @ ..] => {
            modules::load_for(aliases);
            Ok(())
        }
        ["phase", name] => phases::print_phase(name),
        ["exec-gateway", rest @ ..] => service::exec_gateway(rest),
        ["exec-gateway-tool", rest @ ..] => gateway_tool::exec(rest),
        ["exec-console", tty] => service::exec_console(tty),
        ["exec-vmtools"] => service::exec_vm_tools(),
        _ if std::process::id() == 1 => {
            pid1::install_panic_hook();
            if Path::new(INITRD_MARK).exists() { stage1::run() } else { pid1::run() }
        }
        _ => Err(anyhow::anyhow!(
            "init is the appliance's PID 1; it also runs as: init console TTY, init network"
        )),
    };
    ended(done, &format!("init {}", arguments.join(" ")))
}

fn ended(done: anyhow::Result<()>, what: &str) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            sys::say(&format!("{what}: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

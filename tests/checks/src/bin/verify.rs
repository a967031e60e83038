//! `cargo verify`: every check and every test. What is formatted, linted or compiled badly ends it; tests that fail
//! do not, so that one run tells of all of them. One step follows the other, but that the fuzz targets are compiled
//! beside all of them, and that tests in virtual machines run side by side.
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use checks::{
    fuzzing::{self, Compiling},
    host::{self, Need},
    moto::{self, Moto},
    test_count::{TestCount, failed_test},
    vm_tests::{self, VM_TESTS, VmTest},
    workspace::{GATEWAY_VARIABLE, Workspace},
};
use clap::Parser;

/// Runs every check and every test, the appliance's own story in virtual machines included.
#[derive(Debug, Parser)]
#[command(name = "cargo verify")]
struct Arguments {
    /// Leave out what needs virtual machines.
    #[arg(long)]
    quick: bool,
    /// Leave out moto, an S3 server by other authors that is installed from PyPI.
    #[arg(long)]
    without_moto: bool,
    /// DMTF's and VMware's OVF schemas (all.xsd), which this repository does not hold: the OVA's
    /// descriptor is checked against them.
    #[arg(long, value_name = "FOLDER")]
    ovf_schema: Option<PathBuf>,
}

/// Against the schemas; the other checks of the OVA run again with it.
const OVA_TESTS: [&str; 9] =
    ["test", "--release", "--workspace", TESTING[0], TESTING[1], "--test", "ova", "--", "schemas"];

/// The load generator of `cargo bench-nfs` is linted, too: that takes no libnfs.
const LINTED: &str = "gateway/testing,e2e/libnfs";
/// The gateway's fakes, which its protocol tests need.
const TESTING: [&str; 2] = ["--features", "gateway/testing"];

/// NFS clients that others wrote, for the gateway's protocol tests. Not `showmount` and `rpcinfo`:
/// their packages start services; the story asks with `showmount` in its virtual machine.
const CLIENTS: &[Need] = &[Need {
    package: "libnfs-utils",
    why: "is an NFS client in user space",
    file: "/usr/bin/nfs-cat",
}];
/// Tells the protocol tests that these may not be missing.
const CLIENTS_REQUIRED: &str = "TIDEGATE_NFS_CLIENTS_REQUIRED";

/// Tells the gateway's tests that they can have user and mount namespaces, for a journal of their own.
const NAMESPACES_REQUIRED: &str = "TIDEGATE_NAMESPACES_REQUIRED";

/// What the checkers of the tests take beside the build's needs.
const CHECKERS: &[Need] = &[
    Need {
        package: "virt-v2v",
        why: "reads the OVA as another importer does",
        file: "/usr/bin/virt-v2v",
    },
    Need {
        package: "libxml2-utils",
        why: "checks the OVF descriptor against its schemas",
        file: "/usr/bin/xmllint",
    },
];

fn main() -> ExitCode {
    let mut verify = Verify {
        workspace: Workspace::find(),
        begun: Instant::now(),
        count: TestCount::default(),
        failed: Vec::new(),
        steps: Vec::new(),
        left_out: Vec::new(),
        moto: None,
        fuzz: None,
        has_namespaces: may_have_namespaces(),
    };
    let outcome = verify.run(&Arguments::parse());
    println!();
    for (step, seconds) in &verify.steps {
        println!("{seconds:>7.1} s  {step}");
    }
    println!("{:>7.1} s  in all", verify.begun.elapsed().as_secs_f64());
    for what in &verify.left_out {
        println!("left out: {what}");
    }
    for test in &verify.failed {
        println!("failed: {test}");
    }
    if let Err(error) = &outcome {
        println!("cargo verify: {error:#}");
    }
    println!("{} passed, {} failed", verify.count.passed, verify.count.failed);
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Verify {
    /// What was not checked, and how it would be.
    left_out: Vec<&'static str>,
    workspace: Workspace,
    begun: Instant,
    count: TestCount,
    /// The names of tests that failed.
    failed: Vec<String>,
    steps: Vec<(&'static str, f64)>,
    /// Runs from before the tests to the end.
    moto: Option<Moto>,
    /// The fuzz targets, from their compiling beside everything else to the end, where they run.
    fuzz: Option<Compiling>,
    /// Whether this machine lets anybody have user and mount namespaces.
    has_namespaces: bool,
}

impl Verify {
    fn run(&mut self, arguments: &Arguments) -> Result<()> {
        self.step("packages that the checks need", |_| install(arguments))?;
        self.fuzz = Some(Compiling::begin(self.workspace.root())?);
        self.step("formatting (cargo fmt)", |verify| {
            host::run(&mut verify.cargo(&["fmt", "--all", "--check"]))?;
            let fuzz = ["--manifest-path", "gateway/fuzz/Cargo.toml"];
            host::run(&mut verify.cargo(&[&["fmt"], &fuzz[..], &["--check"]].concat()))
        })?;
        self.step("lints (cargo clippy)", |verify| {
            host::run(&mut verify.cargo(&[
                "clippy",
                "--release",
                "--workspace",
                "--all-targets",
                TESTING[0],
                LINTED,
                "--",
                "-D",
                "warnings",
            ]))
        })?;
        self.step("licences, bans and sources (cargo deny)", |verify| {
            let check = ["check", "licenses", "bans", "sources"];
            let deny = ["deny", "--config", ".cargo/deny.toml"];
            host::run(&mut verify.cargo(&[deny.as_slice(), &check].concat()))
        })?;
        self.step("compiling the tests", |verify| {
            host::run(&mut verify.cargo(&[
                "test",
                "--release",
                "--workspace",
                TESTING[0],
                TESTING[1],
                "--no-run",
            ]))
        })?;
        if arguments.without_moto {
            self.left_out.push("the store's tests on moto (--without-moto)");
        } else {
            self.step("moto, an S3 server by others (PyPI)", |verify| {
                verify.moto = Some(Moto::start(&verify.workspace)?);
                Ok(())
            })?;
        }
        if !self.has_namespaces {
            self.left_out.push("events in the journal (unshare --user --mount is not allowed)");
        }
        // What the steps after it find is said, too.
        let tests = self.step("tests", |verify| {
            verify.tests(&["--no-fail-fast", "--", "--skip", vm_tests::MODULE])
        });
        match &arguments.ovf_schema {
            Some(folder) => self.step("the OVA's descriptor against its schemas", |verify| {
                let folder = folder.canonicalize().context("the folder of the schemas")?;
                host::run(verify.cargo(&OVA_TESTS).env("TIDEGATE_OVF_SCHEMA", folder))
            })?,
            None => self.left_out.push("the OVF schemas (--ovf-schema FOLDER)"),
        }
        let appliance = if arguments.quick {
            self.left_out.push("the appliance in virtual machines (--quick)");
            Ok(())
        } else {
            self.step("the appliance in virtual machines", Self::appliance)
        };
        // Last: their compiling takes what the steps before leave of the processors.
        self.step("fuzzing, briefly (cargo fuzz)", |verify| match verify.fuzz.take() {
            Some(fuzz) => fuzz.run_briefly().map(drop),
            None => bail!("the fuzz targets are not compiled"),
        })?;
        tests.and(appliance)
    }

    fn appliance(&mut self) -> Result<()> {
        let command = |test: &VmTest| {
            let mut command = self.test_command()?;
            command.args(test.words());
            Ok(command)
        };
        let outcome = vm_tests::run(VM_TESTS, command, &self.workspace.out().join("vm"))?;
        self.count.passed += outcome.count.passed;
        self.count.failed += outcome.count.failed;
        if !outcome.failed.is_empty() {
            bail!("{}", outcome.failed.join(", "));
        }
        Ok(())
    }

    fn step(
        &mut self,
        name: &'static str,
        work: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        println!("\n== {name}  [{:.0} s]", self.begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        let outcome = work(self).context(name);
        self.steps.push((name, begun.elapsed().as_secs_f64()));
        outcome
    }

    fn cargo(&self, words: &[&str]) -> Command {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(words).current_dir(self.workspace.root());
        command
    }

    /// Cargo's tests of the whole workspace, so that nothing is compiled with other features than before.
    fn test_command(&self) -> Result<Command> {
        let mut command = self.cargo(&["test", "--release", "--workspace", TESTING[0], TESTING[1]]);
        if let Some(moto) = &self.moto {
            command.env(moto::ENDPOINT, &moto.endpoint).env(moto::REQUIRED, "1");
        }
        if self.has_namespaces {
            command.env(NAMESPACES_REQUIRED, "1");
        }
        command.env(GATEWAY_VARIABLE, built_gateway()?).env(CLIENTS_REQUIRED, "1");
        Ok(command)
    }

    /// Runs cargo's tests, and adds up their summaries while showing their output.
    fn tests(&mut self, words: &[&str]) -> Result<()> {
        let mut running = self
            .test_command()?
            .args(words)
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let output = running.stdout.take().context("cargo's output")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            self.count.add_line(&line);
            self.failed.extend(failed_test(&line).map(str::to_owned));
        }
        let status = running.wait()?;
        if !status.success() {
            bail!("cargo test failed ({status})");
        }
        Ok(())
    }
}

/// Whether a process of this machine may have user and mount namespaces of its own.
fn may_have_namespaces() -> bool {
    let tried =
        Command::new("unshare").args(["--user", "--map-root-user", "--mount", "true"]).output();
    tried.is_ok_and(|tried| tried.status.success())
}

/// The gateway that was compiled for the workspace's tests: beside this program.
fn built_gateway() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let gateway = own.with_file_name("gateway");
    anyhow::ensure!(gateway.exists(), "cargo test has not built {}", gateway.display());
    Ok(gateway)
}

fn install(arguments: &Arguments) -> Result<()> {
    let mut needs = [host::COMPILER, CLIENTS, fuzzing::NEEDS].concat();
    if !arguments.without_moto {
        needs.extend(moto::NEEDS);
    }
    if !arguments.quick {
        needs.extend([host::QEMU, host::VIRTUAL_LAN, CHECKERS].concat());
        needs.extend(host::for_image());
        host::ensure_musl_target()?;
    }
    host::ensure_packages(&needs)?;
    host::ensure_cargo_tool("fmt", &["rustup", "component", "add", "rustfmt"])?;
    host::ensure_cargo_tool("clippy", &["rustup", "component", "add", "clippy"])?;
    host::ensure_cargo_tool("deny", &["cargo", "install", "--locked", "cargo-deny"])?;
    host::ensure_cargo_tool("fuzz", &["cargo", "install", "--locked", "cargo-fuzz"])?;
    Ok(())
}

//! `cargo verify`: every check and every test, one after another; stops at the first failure. Beside
//! them only the fuzz targets are compiled.
use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};

use anyhow::{Context, Result, bail};
use clap::Parser;
use e2e::{
    artifacts::GATEWAY_VARIABLE,
    fuzzing::{self, Compiling},
    host::{self, Need},
    moto::{self, Moto},
    test_count::TestCount,
    workspace::Workspace,
};

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

/// Programs of e2e's tests; each test in them is in a module of this name.
const VM_TESTS: &[&str] = &[
    "trial",
    "laptop",
    "story",
    "console",
    "disks",
    "settings",
    "outside",
    "support",
    "network",
    "clock",
    "power",
    "firmware",
    "ova",
    "appliance",
    "outside",
    "support",
];
/// One whose tests need only client machines, which are there by then: they run side by side, so that each
/// processor has a machine to emulate.
const CLIENTS_TEST: &str = "conformance";
/// Against the schemas; the other checks of the OVA run again with it.
const OVA_TESTS: [&str; 9] =
    ["test", "--release", "--workspace", TESTING[0], TESTING[1], "--test", "ova", "--", "schemas"];
const VM_MODULE: &str = "in_a_vm::";

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
        steps: Vec::new(),
        left_out: Vec::new(),
        moto: None,
        fuzz: None,
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
    steps: Vec<(&'static str, f64)>,
    /// Runs from before the tests to the end.
    moto: Option<Moto>,
    /// The fuzz targets, from their compiling beside everything else to the end, where they run.
    fuzz: Option<Compiling>,
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
        self.step("tests", |verify| verify.tests(&["--no-fail-fast", "--", "--skip", VM_MODULE]))?;
        match &arguments.ovf_schema {
            Some(folder) => self.step("the OVA's descriptor against its schemas", |verify| {
                let folder = folder.canonicalize().context("the folder of the schemas")?;
                host::run(verify.cargo(&OVA_TESTS).env("TIDEGATE_OVF_SCHEMA", folder))
            })?,
            None => self.left_out.push("the OVF schemas (--ovf-schema FOLDER)"),
        }
        if arguments.quick {
            self.left_out.push("the appliance in virtual machines (--quick)");
        } else {
            self.step("the appliance in virtual machines", Self::appliance)?;
        }
        // Last: their compiling takes what the steps before leave of the processors.
        self.step("fuzzing, briefly (cargo fuzz)", |verify| match verify.fuzz.take() {
            Some(fuzz) => fuzz.run_briefly().map(drop),
            None => bail!("the fuzz targets are not compiled"),
        })
    }

    fn appliance(&mut self) -> Result<()> {
        let before = self.count.passed;
        let mut words: Vec<&str> = VM_TESTS.iter().flat_map(|name| ["--test", name]).collect();
        words.extend(["--", VM_MODULE, "--nocapture", "--test-threads", "1"]);
        self.tests(&words)?;
        self.tests(&[
            "--test",
            CLIENTS_TEST,
            "--",
            VM_MODULE,
            "--nocapture",
            "--test-threads",
            "2",
        ])?;
        let (ran, programs) = (self.count.passed - before, VM_TESTS.len() + 1);
        anyhow::ensure!(
            ran >= programs as u64,
            "{ran} tests ran in virtual machines; there are {programs} programs of them"
        );
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

    /// Runs cargo's tests of the whole workspace, so that nothing is compiled with other features
    /// than before, and adds up their summaries while showing their output.
    fn tests(&mut self, words: &[&str]) -> Result<()> {
        let mut command = self.cargo(&["test", "--release", "--workspace", TESTING[0], TESTING[1]]);
        if let Some(moto) = &self.moto {
            command.env(moto::ENDPOINT, &moto.endpoint).env(moto::REQUIRED, "1");
        }
        let mut running = command
            .args(words)
            .env(GATEWAY_VARIABLE, built_gateway()?)
            .env(CLIENTS_REQUIRED, "1")
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run cargo")?;
        let output = running.stdout.take().context("cargo's output")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            self.count.add_line(&line);
        }
        let status = running.wait()?;
        if !status.success() {
            bail!("cargo test failed ({status})");
        }
        Ok(())
    }
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

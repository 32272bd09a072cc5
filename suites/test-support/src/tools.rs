//! Programs of others that tests use, at the versions that `ci/tools` fixes.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Builds a Go program of `ci/tools`, unless it is there already, and returns its path. `package` is one
/// of its packages, such as `./registry`, or one of its tools.
#[track_caller]
pub fn go_program(package: &str) -> PathBuf {
    let name = Path::new(package).file_name().expect("a package has a name");
    let (target, _lock) = place();
    let program = target.join(name);
    // As the local cluster builds its own: what Go has compiled for one serves the other.
    let mut go = go("", "build");
    go.args(["-buildvcs=false", "-ldflags=-s -w", "-o"]).arg(&program).arg(package);
    succeed(go);
    program
}

/// Runs the Go tests of a module in `ci/tools`, and returns what they say.
#[track_caller]
pub fn test_go_module(module: &str) -> String {
    let mut go = go(module, "test");
    // Go does not see that a file outside of the module has changed, and would show what it remembers.
    go.args(["-count=1", "-v", "./..."]);
    succeed(go)
}

/// Installs a program of npm as `ci/tools/MODULE` locks it, unless it is there already, and returns its
/// path.
#[track_caller]
pub fn npm_program(module: &str, name: &str) -> PathBuf {
    let (target, _lock) = place();
    let (source, installed) = (tools().join(module), target.join(module));
    fs::create_dir_all(&installed).expect("a directory can be made");
    let program = installed.join("node_modules/.bin").join(name);
    let is_current =
        |file: &str| fs::read(source.join(file)).ok() == fs::read(installed.join(file)).ok();
    let lock = "package-lock.json";
    if program.exists() && is_current(lock) {
        return program;
    }
    fs::copy(source.join("package.json"), installed.join("package.json"))
        .expect("it can be copied");
    fs::copy(source.join(lock), installed.join(lock)).expect("it can be copied");
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"]).current_dir(&installed);
    succeed(npm);
    program
}

fn tools() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ci/tools")
}

/// Where the programs are, and the lock of the one test that makes them.
fn place() -> (PathBuf, File) {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target =
        target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"));
    let place = target.join("tools");
    fs::create_dir_all(&place).expect("a directory can be made");
    let place = place.canonicalize().expect("it was made");
    let lock = File::create(place.join("lock")).expect("the directory can be written to");
    lock.lock().expect("a file can be locked");
    (place, lock)
}

fn go(module: &str, command: &str) -> Command {
    let mut go = Command::new("go");
    go.args([command, "-mod=readonly", "-trimpath"])
        .current_dir(tools().join(module))
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "")
        .env("GOTOOLCHAIN", "local")
        .env("GOWORK", "off");
    go
}

#[track_caller]
fn succeed(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let [stdout, stderr] =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(output.status.success(), "{command:?}\n{stdout}{stderr}");
    stdout
}

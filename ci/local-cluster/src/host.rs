//! What this program needs of the machine that it runs on.

use std::{env, fs, path::Path};

use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, statfs};

use crate::{
    error::Error,
    paths::{CACHE_VARIABLE, Cache},
};

/// A file of a Debian package and the package to install when it is missing.
struct Need {
    /// A program that is looked up in `PATH`, or an absolute path.
    file: &'static str,
    package: &'static str,
}

const TO_RUN: &[Need] = &[
    // `ip` makes the veth pair; `nsenter` lets `load` reach containerd.
    Need { file: "ip", package: "iproute2" },
    Need { file: "nsenter", package: "util-linux" },
    Need { file: "cp", package: "coreutils" },
    Need { file: "tar", package: "tar" },
];

const TO_BUILD: &[Need] = &[
    Need { file: "mmdebstrap", package: "mmdebstrap" },
    Need {
        file: "/usr/share/keyrings/debian-archive-keyring.gpg",
        package: "debian-archive-keyring",
    },
    Need { file: "gpgv", package: "gpgv" },
    // The Go command verifies the module proxy's certificate.
    Need { file: "/etc/ssl/certs/ca-certificates.crt", package: "ca-certificates" },
    Need { file: "cc", package: "gcc" },
    Need { file: "/usr/include/unistd.h", package: "libc6-dev" },
];

/// Checks that this is root on Linux with what a cluster needs at run time, and with what building
/// needs too if `building`.
pub fn check(cache: &Cache, building: bool) -> Result<(), Error> {
    let to_build = if building { TO_BUILD } else { &[] };
    check_packages(TO_RUN.iter().chain(to_build))?;
    if building && !exists("go") {
        return Err(Error::other(
            "no `go` command in `PATH`, which builds Kubernetes and containerd",
        )
        .with_hint("install Go 1.26 or newer and put its `bin` directory into `PATH`"));
    }
    if !file_system_known("overlay") {
        return Err(Error::other("the kernel has no `overlay` file system")
            .with_hint("run `modprobe overlay`"));
    }
    check_file_system(cache)
}

/// Checks that this is root with what builds and packs an image.
pub fn check_for_images() -> Result<(), Error> {
    check_packages(TO_RUN.iter().filter(|need| need.package == "tar").chain(TO_BUILD))
}

fn check_packages(needs: impl Iterator<Item = &'static Need>) -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::other("not root, which is needed for namespaces, mounts and cgroups")
            .with_hint("run it with `sudo`"));
    }
    let packages = missing(needs, exists);
    if !packages.is_empty() {
        return Err(Error::other(format!("missing Debian packages: {}", packages.join(", ")))
            .with_hint(format!("run `apt-get install --yes {}`", packages.join(" "))));
    }
    Ok(())
}

/// Overlayfs takes no layer that can be written to from another overlayfs, which is what the root
/// of a container usually is.
fn check_file_system(cache: &Cache) -> Result<(), Error> {
    let root = cache.root();
    fs::create_dir_all(root).map_err(|source| Error::path("make", root, source))?;
    let found = statfs(root).map_err(|errno| Error::path("examine", root, errno))?;
    if found.filesystem_type() == OVERLAYFS_SUPER_MAGIC {
        let message = format!(
            "`{}` is on overlayfs, which can't hold the node's file system",
            root.display()
        );
        return Err(Error::other(message)
            .with_hint(format!("set `{CACHE_VARIABLE}` to a directory on ext4 or xfs")));
    }
    Ok(())
}

fn missing<'a>(
    needs: impl Iterator<Item = &'a Need>,
    exists: impl Fn(&str) -> bool,
) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        needs.filter(|need| !exists(need.file)).map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn exists(file: &str) -> bool {
    if file.starts_with('/') {
        return Path::new(file).exists();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(file).is_file())
}

fn file_system_known(name: &str) -> bool {
    // An unreadable list proves nothing: the mount itself will show it.
    fs::read_to_string("/proc/filesystems")
        .map_or(true, |list| list.lines().any(|line| line.split_whitespace().last() == Some(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_missing_package_is_named_once() {
        let none = missing(TO_RUN.iter().chain(TO_BUILD), |_| false);
        assert!(none.contains(&"mmdebstrap"));
        assert!(none.contains(&"iproute2"));
        let mut unique = none.clone();
        unique.dedup();
        assert_eq!(none, unique);
    }

    #[test]
    fn nothing_is_missing_when_every_file_exists() {
        assert!(missing(TO_RUN.iter().chain(TO_BUILD), |_| true).is_empty());
    }
}

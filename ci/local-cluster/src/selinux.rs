//! SELinux on the machine that the node shares its kernel with.

use std::path::Path;

/// Where its file system is (selinux(8)).
pub const MOUNT: &str = "/sys/fs/selinux";

/// Where its policy is (`selinux_config(5)`). Container runtimes read there which labels containers get
/// (`lxc_contexts(5)`); without it they give none.
pub const POLICY: &str = "/etc/selinux";

/// Whether processes and files have labels. The kernel may still only warn.
pub fn is_enabled() -> bool {
    Path::new(MOUNT).join("enforce").exists() && Path::new(POLICY).join("config").exists()
}

//! The program as an image.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::TestDir;

/// The program with what it is linked to, as the root file system of an image.
#[track_caller]
pub fn program_tree(dir: &TestDir, program: &str) -> PathBuf {
    let root = dir.path("tree");
    put(&root, program, "/bin/nestcheck");
    let stripped = Command::new("strip").arg(root.join("bin/nestcheck")).status();
    assert!(stripped.expect("binutils are installed").success());
    let linked = Command::new("ldd").arg(program).output().expect("ldd is installed");
    let linked = String::from_utf8(linked.stdout).expect("it prints text");
    let paths = linked.split_whitespace().filter(|word| word.starts_with('/'));
    paths.for_each(|path| put(&root, path, path));
    root
}

fn put(root: &Path, from: &str, to: &str) {
    let to = root.join(to.trim_start_matches('/'));
    fs::create_dir_all(to.parent().expect("it is in a directory")).expect("it can be made");
    fs::copy(from, to).expect("it can be copied");
}

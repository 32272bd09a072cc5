//! A store for podman beside the user's own: on the same file system and with the same driver, so that
//! what holds of one holds of the other, and the user's images and containers stay untouched.

use std::{
    env, fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
};

use rustix::process::getegid;
use serde::Deserialize;

/// The configuration files of podman's store that count where the user has none
/// (containers-storage.conf(5)).
const OF_SYSTEM: [&str; 2] = ["/etc/containers/storage.conf", "/usr/share/containers/storage.conf"];

/// The keys that say where the store is: podman without root reads the last one, skopeo the others.
const PLACES: [&str; 3] = ["graphroot", "runroot", "rootless_storage_path"];

/// The key of a second place for images, which would be the user's own.
const IMAGE_STORE: &str = "imagestore";

/// What `podman info` says of the user's own store.
#[derive(Debug, Default, Deserialize)]
struct Info {
    #[serde(default)]
    store: Own,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Own {
    config_file: PathBuf,
    graph_driver_name: String,
    graph_root: PathBuf,
}

/// A store for podman.
#[derive(Debug)]
pub(super) struct Storage {
    directory: PathBuf,
    configuration: PathBuf,
}

impl Storage {
    /// Makes an empty store of a run, beside the one of which `podman info` said this. `private` is a
    /// directory with a short path, for sockets and mounts.
    pub(super) fn make(info: &[u8], run: &str, private: &Path) -> io::Result<Self> {
        // Where podman says nothing, it has no store yet, or does not work.
        let Info { store: own } = serde_json::from_slice(info).unwrap_or_default();
        let parent = place_for_another(&own.graph_root).map(Path::to_owned);
        let parent = parent.or_else(usual_parent).ok_or_else(|| {
            io::Error::other("neither `podman info` nor `HOME` tells where the user's store is")
        })?;
        let mut make = fs::DirBuilder::new();
        make.mode(0o700);
        make.recursive(true).create(&parent)?;
        let directory = parent.join(format!("nestcheck-{run}"));
        make.recursive(false).create(&directory)?;
        // A volume passes the pod's fsGroup on, which need not be a group of podman's namespace.
        chown(&directory, None, Some(getegid().as_raw()))?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
        let text = own_text(&own.config_file);
        let text = with_places(
            &text,
            &own.graph_driver_name,
            &directory.join("storage"),
            &runtime_directory(private).join("containers"),
        );
        let configuration = private.join("storage.conf");
        fs::write(&configuration, text)?;
        Ok(Self { directory, configuration })
    }

    /// The directory in which it is, for the stores of single cases too.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its storage.conf.
    pub(super) fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Where the commands of podman that clean up look: no other setting can lead them elsewhere.
    pub(super) fn options(&self, private: &Path) -> [String; 2] {
        let run_root = runtime_directory(private).join("containers");
        [format!("--root={}", self.root().display()), format!("--runroot={}", run_root.display())]
    }

    /// Where podman's images and containers are.
    pub(super) fn root(&self) -> PathBuf {
        self.directory.join("storage")
    }
}

impl Drop for Storage {
    /// Removes what the user may remove, where nothing else has: nestcheck was interrupted before a case
    /// ran.
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// What takes the place of the user's `XDG_RUNTIME_DIR`, in which podman keeps what must not outlive a
/// restart: mounts, networks, and the process that holds its user namespace.
pub(super) fn runtime_directory(private: &Path) -> PathBuf {
    private.join("run")
}

/// Where another store can be that behaves as this one: on the same file system.
fn place_for_another(store: &Path) -> Option<&Path> {
    let parent = store.parent().filter(|_| store.is_absolute())?;
    let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
    // A volume may be mounted at the store itself.
    let is_mounted = device(store).is_some_and(|of_store| Some(of_store) != device(parent));
    Some(if is_mounted { store } else { parent })
}

/// Where podman's store is unless something else is configured.
fn usual_parent() -> Option<PathBuf> {
    let of = |name: &str| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = of("XDG_DATA_HOME").or_else(|| Some(of("HOME")?.join(".local/share")))?;
    Some(data.join("containers"))
}

/// The configuration that counts for the user.
fn own_text(named: &Path) -> String {
    let given = env::var_os("CONTAINERS_STORAGE_CONF").map(PathBuf::from);
    let files = given.into_iter().chain([named.to_owned()]);
    let mut files = files.chain(OF_SYSTEM.map(PathBuf::from));
    files.find_map(|file| fs::read_to_string(file).ok()).unwrap_or_default()
}

/// A configuration with another place for the store, and the driver that is in use where it names none.
fn with_places(text: &str, driver: &str, root: &Path, run_root: &Path) -> String {
    let key = |line: &str| line.split_once('=').map(|(key, _)| key.trim().to_owned());
    let is_place = |line: &str| {
        key(line).is_some_and(|key| key == IMAGE_STORE || PLACES.contains(&key.as_str()))
    };
    let kept: Vec<&str> = text.lines().filter(|line| !is_place(line)).collect();
    let values = [root, run_root, root];
    let places = PLACES.iter().zip(values);
    let mut places: Vec<_> =
        places.map(|(key, path)| format!("{key} = \"{}\"", path.display())).collect();
    let names_driver = kept.iter().any(|line| key(line).as_deref() == Some("driver"));
    if !names_driver && !driver.is_empty() {
        places.push(format!("driver = \"{driver}\""));
    }
    // A key belongs to the table whose head is above it.
    let name = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        line.strip_prefix('[')?.strip_suffix(']').map(|name| name.trim().to_owned())
    };
    let head = kept.iter().position(|line| name(line).as_deref() == Some("storage"));
    let (before, after) = kept.split_at(head.unwrap_or(kept.len()));
    let after = after.iter().skip(1);
    let lines = before.iter().copied().chain(["[storage]"]);
    let lines = lines.chain(places.iter().map(String::as_str)).chain(after.copied());
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(text: &str, driver: &str) -> String {
        with_places(text, driver, Path::new("/h/n/storage"), Path::new("/tmp/n/run"))
    }

    #[test]
    fn the_users_options_stay_and_the_places_change() {
        let own = "# mine\n[storage]\ndriver = \"overlay\"\ngraphroot = \"/h/storage\"\n\
                   rootless_storage_path=\"/x\"\n[storage.options.overlay]\n\
                   mount_program = \"/usr/bin/fuse-overlayfs\"\n";
        let expected = "# mine\n[storage]\ngraphroot = \"/h/n/storage\"\nrunroot = \
                        \"/tmp/n/run\"\nrootless_storage_path = \"/h/n/storage\"\ndriver = \"overlay\"\n[storage.options.overlay]\n\
                        mount_program = \"/usr/bin/fuse-overlayfs\"\n";
        assert_eq!(placed(own, "overlay"), expected);
    }

    #[test]
    fn the_driver_in_use_is_named_where_no_file_names_one() {
        let alone = "[storage]\ngraphroot = \"/h/n/storage\"\nrunroot = \"/tmp/n/run\"\n\
                     rootless_storage_path = \"/h/n/storage\"\n";
        assert_eq!(placed("", "vfs"), format!("{alone}driver = \"vfs\"\n"));
        assert_eq!(placed("", ""), alone);
        let options = "[storage.options]\nsize = \"\"";
        assert_eq!(placed(options, ""), format!("{options}\n{alone}"));
    }

    #[test]
    fn a_second_place_for_images_is_not_taken_over() {
        let own = "[ storage ] # mine\nimagestore = \"/h/images\"\ndriver = \"overlay\"\n";
        let text = placed(own, "");
        assert!(!text.contains("/h/images"), "{text}");
        assert_eq!(
            text.matches("storage]").count() + text.matches("storage ]").count(),
            1,
            "{text}"
        );
    }

    #[test]
    fn a_store_that_is_a_mount_has_the_other_one_in_it() {
        assert_eq!(place_for_another(Path::new("/proc")), Some(Path::new("/proc")));
        assert_eq!(place_for_another(Path::new("/proc/self")), Some(Path::new("/proc")));
        assert_eq!(place_for_another(Path::new("storage")), None);
    }

    #[test]
    fn a_store_is_made_in_the_directory_of_the_users_own() {
        let home = tempfile::tempdir().expect("a directory");
        let private = tempfile::tempdir().expect("a directory");
        let info = serde_json::json!({"store": {"configFile": "/none", "graphDriverName": "vfs",
            "graphRoot": home.path().join("storage")}});

        let storage = Storage::make(info.to_string().as_bytes(), "abc", private.path());

        let storage = storage.expect("a store");
        assert_eq!(storage.directory(), home.path().join("nestcheck-abc"));
        assert!(!storage.root().exists());
        let text = fs::read_to_string(storage.configuration()).expect("a file");
        assert!(text.contains("nestcheck-abc/storage\"") && text.contains("driver"), "{text}");
        drop(storage);
        assert_eq!(fs::read_dir(home.path()).expect("a directory").count(), 0);
    }
}

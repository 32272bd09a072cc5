//! Lines for the Containerfile of a workspace image. They are the same for every image: nothing of a
//! cluster or a report gets into them.

use super::{Change, Cost, Step};
use crate::{
    verdict::{Place, Repair},
    workload::programs::packages,
};

/// The user's line in /etc/passwd and its home directory.
const NAMED_USER: &str = "\
RUN { getent passwd 1000 > /dev/null \\
        || { echo 'user:x:1000:1000::/home/user:/bin/sh' >> /etc/passwd \\
            && echo 'user:x:1000:' >> /etc/group; }; } \\
    && mkdir -p /home/user && chown 1000:1000 /home/user";

/// All ids of a pod but those up to the user's own (newuidmap(1): a process may map ids that its user
/// has in /etc/subuid; KEP-127: a pod has the ids 0 to 65535).
const SUBORDINATE_IDS: &str = "\
RUN name=\"$(getent passwd 1000 | cut -d: -f1)\" && test -n \"$name\" \\
    && echo \"$name:1001:64535\" > /etc/subuid \\
    && echo \"$name:1001:64535\" > /etc/subgid";

/// Without the setuid bit: with it the helpers run as the pod's root, which has lost the capabilities.
const HELPER_CAPABILITIES: &str = "\
RUN chmod u-s,g-s \"$(command -v newuidmap)\" \"$(command -v newgidmap)\" \\
    && setcap cap_setuid+ep \"$(command -v newuidmap)\" \\
    && setcap cap_setgid+ep \"$(command -v newgidmap)\"";

const STORAGE_DRIVER: &str = "\
RUN home=\"$(getent passwd 1000 | cut -d: -f6)\" && mkdir -p \"$home/.config/containers\" \\
    && printf '[storage]\\ndriver = \"overlay\"\\n' > \"$home/.config/containers/storage.conf\" \\
    && chown -R 1000:1000 \"$home/.config/containers\"";

/// Packages by distribution: those of Fedora, Debian, Alpine and openSUSE.
type ByDistribution = [Vec<&'static str>; 4];

/// Whether a change is one of the image.
pub(super) fn is_of_image(repair: Repair) -> bool {
    is_package(repair)
        || matches!(
            repair,
            Repair::NamedUser
                | Repair::SubordinateIds
                | Repair::HelperCapabilities
                | Repair::StorageDriver
        )
}

/// Whether a change installs a package.
pub(super) fn is_package(repair: Repair) -> bool {
    packages(repair).is_some()
}

/// The change of the image; none where it is not one. `all` are all packages that the image lacks:
/// they are installed together.
pub(super) fn change(repair: Repair, all: &[Repair]) -> Option<Change> {
    let (title, lines) = match repair {
        Repair::NamedUser => {
            ("Give user 1000 of the image a name and a home directory", vec![NAMED_USER])
        }
        Repair::SubordinateIds => {
            ("Give the image's user ranges of ids that fit a pod", vec![SUBORDINATE_IDS])
        }
        Repair::HelperCapabilities => {
            let steps = vec![Step::Containerfile {
                lines: vec![install_setcap(), HELPER_CAPABILITIES.to_owned()],
            }];
            let title = "Give newuidmap and newgidmap their file capabilities";
            return Some(Change::new(title, Place::Image, &[Cost::ImageBuild], steps));
        }
        Repair::StorageDriver => {
            ("Let podman store images with the overlay driver", vec![STORAGE_DRIVER])
        }
        _ if is_package(repair) => return Some(install(all)),
        _ => return None,
    };
    let lines = lines.into_iter().map(str::to_owned).collect();
    let steps = vec![Step::Containerfile { lines }];
    let change = Change::new(title, Place::Image, &[Cost::ImageBuild], steps);
    Some(match repair {
        Repair::SubordinateIds => change.with_note(
            "an entrypoint that writes /etc/subuid and /etc/subgid itself has to write the same; it \
             knows a pod with a user namespace by `HOST_USERS=false`",
        ),
        _ => change,
    })
}

/// The installation of all packages that the image lacks.
fn install(repairs: &[Repair]) -> Change {
    let mut names = ByDistribution::default();
    for found in repairs.iter().filter_map(|repair| packages(*repair)) {
        let of_each = [found.fedora, found.debian, found.alpine, found.suse];
        for (names, name) in names.iter_mut().zip(of_each) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let mut lines = vec![format!("RUN {}", install_line(&names))];
    if repairs.contains(&Repair::IdHelpers) {
        // Some distributions ship them setuid.
        lines.extend([install_setcap(), HELPER_CAPABILITIES.to_owned()]);
    }
    let steps = vec![Step::Containerfile { lines }];
    Change::new("Install what the image lacks", Place::Image, &[Cost::ImageBuild], steps)
}

/// Installs setcap(8), where the image lacks it.
fn install_setcap() -> String {
    let names = ["libcap", "libcap2-bin", "libcap-utils", "libcap-progs"].map(|name| vec![name]);
    format!("RUN command -v setcap > /dev/null || {{ {}; }}", install_line(&names))
}

fn install_line([fedora, debian, alpine, suse]: &ByDistribution) -> String {
    let (fedora, debian) = (fedora.join(" "), debian.join(" "));
    format!(
        "if command -v apt-get > /dev/null; then \\\n        \
             apt-get update \\\n        \
             && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends {debian}; \\\n    \
         elif command -v dnf > /dev/null; then dnf install --assumeyes {fedora}; \\\n    \
         elif command -v microdnf > /dev/null; then microdnf install --assumeyes {fedora}; \\\n    \
         elif command -v apk > /dev/null; then apk add --no-cache {}; \\\n    \
         else zypper --non-interactive install {}; \\\n    \
         fi",
        alpine.join(" "),
        suse.join(" "),
    )
}

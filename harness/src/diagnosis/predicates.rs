//! What the probe's facts about a pod say for or against a cause. A fact that could not be read
//! speaks for none.

use probe::{
    Capability, DeviceState, Facts, HelperBinary, IdRange, OpenOutcome, Reading, SeccompMode,
    SubordinateRange, SubordinateRanges,
};

/// Fewer ids than this are too few for the users of ordinary images (Debian's system users end at
/// 999, `adduser.conf(5)`).
const FEW_IDS: u64 = 1000;

/// The user's own ranges in a file; none where the file or the user's name is unknown.
fn own_ranges<'a>(
    facts: &'a Facts,
    file: &'a Reading<SubordinateRanges>,
) -> Option<Vec<&'a SubordinateRange>> {
    let name = facts.user_name.known()?.as_deref();
    let number = facts.effective_uid.to_string();
    let is_own = |owner: &str| owner == number || Some(owner) == name;
    Some(file.known()?.ranges.iter().filter(|range| is_own(&range.owner)).collect())
}

/// Whether it is so of the user's ranges of user ids or of group ids. The test gets the ranges,
/// the pod's map, and the user's own id.
fn of_either(facts: &Facts, test: fn(&[&SubordinateRange], &[IdRange], u32) -> bool) -> bool {
    [
        (&facts.subordinate_uids, &facts.uid_map, facts.effective_uid),
        (&facts.subordinate_gids, &facts.gid_map, facts.effective_gid),
    ]
    .into_iter()
    .any(|(file, map, own)| match (own_ranges(facts, file), map.known()) {
        (Some(ranges), Some(map)) => test(&ranges, map, own),
        _ => false,
    })
}

fn bounds(range: &SubordinateRange) -> (u64, u64) {
    let first = u64::from(range.start);
    (first, first + u64::from(range.count))
}

/// A range has ids that the pod itself does not have.
pub(super) fn range_leaves_map(facts: &Facts) -> bool {
    of_either(facts, |ranges, map, _own| {
        ranges.iter().any(|range| {
            let (first, end) = bounds(range);
            !map.iter().any(|map| {
                let inside = u64::from(map.inside);
                inside <= first && end <= inside + u64::from(map.count)
            })
        })
    })
}

/// Two ranges share an id, or one holds the user's own.
pub(super) fn ranges_overlap(facts: &Facts) -> bool {
    of_either(facts, |ranges, _map, own| {
        let mut bounds: Vec<_> = ranges.iter().map(|range| bounds(range)).collect();
        bounds.push((u64::from(own), u64::from(own) + 1));
        bounds.sort_unstable();
        bounds.windows(2).any(|pair| pair[1].0 < pair[0].1)
    })
}

/// The user has no line in /etc/passwd.
pub(super) fn user_is_nameless(facts: &Facts) -> bool {
    facts.user_name.known().is_some_and(Option::is_none)
}

/// The user has no range, though others have.
pub(super) fn ranges_are_others(facts: &Facts) -> bool {
    own_ranges(facts, &facts.subordinate_uids).is_some_and(|own| own.is_empty())
        && facts.subordinate_uids.known().is_some_and(|all| !all.ranges.is_empty())
}

/// The user has no range at all.
pub(super) fn has_no_range(facts: &Facts) -> bool {
    of_either(facts, |ranges, _map, _own| ranges.is_empty())
}

/// The user's ranges have too few ids for ordinary images.
pub(super) fn has_few_ids(facts: &Facts) -> bool {
    of_either(facts, |ranges, _map, _own| {
        ranges.iter().map(|range| u64::from(range.count)).sum::<u64>() < FEW_IDS
    })
}

/// execve(2) grants nothing.
pub(super) fn has_no_new_privs(facts: &Facts) -> bool {
    facts.no_new_privs.known() == Some(&true)
}

/// No program can ever gain `CAP_SETUID` and `CAP_SETGID`.
pub(super) fn lacks_setid(facts: &Facts) -> bool {
    facts.capabilities.known().is_some_and(|sets| {
        let bounding = sets.bounding;
        !(bounding.contains(Capability::SETUID) && bounding.contains(Capability::SETGID))
    })
}

/// A helper has neither the capability that it needs nor the setuid bit.
pub(super) fn helper_is_powerless(facts: &Facts) -> bool {
    let lacks = |helper: &Reading<Option<HelperBinary>>, needed: Capability| {
        let Some(Some(helper)) = helper.known() else { return false };
        let Some(capabilities) = helper.file_capabilities.known() else { return false };
        let grants = capabilities.is_some_and(|granted| granted.permitted.contains(needed));
        !grants && !helper.mode.is_setuid()
    };
    lacks(&facts.newuidmap, Capability::SETUID) || lacks(&facts.newgidmap, Capability::SETGID)
}

/// A helper is setuid: it runs as the pod's root, which has no capability but the two.
pub(super) fn helper_is_setuid(facts: &Facts) -> bool {
    [&facts.newuidmap, &facts.newgidmap]
        .into_iter()
        .any(|helper| matches!(helper.known(), Some(Some(helper)) if helper.mode.is_setuid()))
}

/// System calls are filtered.
pub(super) fn has_seccomp_filter(facts: &Facts) -> bool {
    facts.seccomp.known() == Some(&SeccompMode::Filter)
}

/// SELinux enforces its policy on the node.
pub(super) fn selinux_enforces(facts: &Facts) -> bool {
    facts.selinux_enforcing.known() == Some(&true)
}

/// A kernel setting forbids user namespaces, or leaves no power in them.
pub(super) fn sysctl_forbids_namespaces(facts: &Facts) -> bool {
    let sysctls = &facts.sysctls;
    sysctls.max_user_namespaces.known() == Some(&0)
        || sysctls.unprivileged_userns_clone.known() == Some(&0)
        || sysctls.apparmor_restrict_unprivileged_userns.known() == Some(&1)
}

fn is_present(facts: &Facts, path: &str, test: fn(mode: u32) -> bool) -> bool {
    let state = facts.device(path).and_then(|device| device.state.known());
    matches!(state, Some(DeviceState::Present { mode, .. }) if test(mode.bits()))
}

/// Reading and writing for others, as the pod's user is to the node's root.
const OTHERS: u32 = 0o006;

/// The device is there, but not for everybody.
fn mode_shuts_out(facts: &Facts, path: &str) -> bool {
    is_present(facts, path, |mode| mode & OTHERS != OTHERS)
}

/// The device is there for everybody, and the kernel refuses all the same, with EPERM: the cgroup
/// of the pod does not allow the device (the kernel's `devcgroup_check_permission`).
fn cgroup_shuts_out(facts: &Facts, path: &str) -> bool {
    let refused = facts.device(path).is_some_and(|device| {
        matches!(&device.open_read_write, OpenOutcome::Refused { errno } if errno.as_str() == "EPERM")
    });
    refused && is_present(facts, path, |mode| mode & OTHERS == OTHERS)
}

/// The device is not there.
fn is_absent(facts: &Facts, path: &str) -> bool {
    let state = facts.device(path).and_then(|device| device.state.known());
    matches!(state, Some(DeviceState::Absent))
}

/// Parts of /proc are hidden or can't be written.
pub(super) fn proc_is_masked(facts: &Facts) -> bool {
    facts.mounts.known().is_some_and(|mounts| {
        let at_proc: Vec<_> = mounts.iter().filter(|it| it.is_at_or_below("/proc")).collect();
        at_proc.len() > 1 || at_proc.iter().any(|mount| mount.is_read_only())
    })
}

pub(super) fn fuse_is_absent(facts: &Facts) -> bool {
    is_absent(facts, "/dev/fuse")
}

pub(super) fn tun_is_absent(facts: &Facts) -> bool {
    is_absent(facts, "/dev/net/tun")
}

pub(super) fn fuse_mode_shuts_out(facts: &Facts) -> bool {
    mode_shuts_out(facts, "/dev/fuse")
}

pub(super) fn fuse_cgroup_shuts_out(facts: &Facts) -> bool {
    cgroup_shuts_out(facts, "/dev/fuse")
}

pub(super) fn tun_mode_shuts_out(facts: &Facts) -> bool {
    mode_shuts_out(facts, "/dev/net/tun")
}

pub(super) fn tun_cgroup_shuts_out(facts: &Facts) -> bool {
    cgroup_shuts_out(facts, "/dev/net/tun")
}

#!/bin/sh
# Turns a Debian tree into a developer's workspace. mmdebstrap calls it with the
# tree's root as $1.
set -eu
root=$1

# The ordinary user, and the ids that it may hand out inside a pod whose user
# namespace has 65536 ids: all but 0 to 1000 and the last one.
chroot "$root" useradd --uid 1000 --user-group --create-home --shell /bin/bash user
echo user:1001:64535 > "$root/etc/subuid"
echo user:1001:64535 > "$root/etc/subgid"

# File capabilities instead of setuid: with setuid the helpers run as root of the
# pod, which has lost every capability but SETUID and SETGID, and are refused.
chmod u-s "$root/usr/bin/newuidmap" "$root/usr/bin/newgidmap"
chroot "$root" setcap cap_setuid+ep /usr/bin/newuidmap
chroot "$root" setcap cap_setgid+ep /usr/bin/newgidmap

home=$root/home/user
mkdir -p "$home/.config/containers" "$home/.local/share/containers"

# No mount_program: podman uses the kernel's overlayfs where it can and looks for
# fuse-overlayfs where it can't. The image's own root is an overlay, which can't
# hold another one: mount an emptyDir on ~/.local/share/containers.
cat > "$home/.config/containers/storage.conf" <<'CONF'
[storage]
driver = "overlay"
CONF

# There is no systemd in a pod: no journal, no cgroup manager but the files.
cat > "$home/.config/containers/containers.conf" <<'CONF'
[containers]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "crun"
CONF

# Nothing is pulled from a registry; what is built locally needs no signature.
cat > "$home/.config/containers/policy.json" <<'CONF'
{"default": [{"type": "insecureAcceptAnything"}]}
CONF

chroot "$root" chown -R user:user /home/user

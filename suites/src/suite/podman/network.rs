//! POD-NET: the networks that podman gives containers.

use std::time::Duration;

use harness::{
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::{Command, PROBE},
};
use k8s_openapi::api::core::v1::Sysctl;

use super::{address, expect_error, need_program, remove, serving, start_server};
use crate::{
    fixtures::{NEIGHBOUR, NESTED_POD},
    steps::{podman, probe_command, scratch_image, shell_image, still_works},
    suite::{NESTED, WITH_DEVICES},
};

/// What the server in the neighbour says.
const NEIGHBOURS_TEXT: &str = "from the neighbour";

/// The port of the server that all cases share.
const PORT: &str = "18000";

/// A server in the neighbour, for all cases that ask for one.
pub(super) async fn server_in(neighbour: &PodHandle) -> Result<String, Failure> {
    let serve = ["serve", "--port", PORT, "--text", NEIGHBOURS_TEXT];
    neighbour.once("server", || start_server(neighbour, &serve)).await?;
    Ok(format!("http://{}:{PORT}/", address(neighbour)?))
}

/// Does what needs a connection from one pod to another. Where that fails, and a NetworkPolicy of
/// somebody else selects one of them, and the pods themselves do not reach each other either, the
/// policy is the reason and podman's network is not.
pub(super) async fn between_pods(
    cx: &Context,
    from: &PodHandle,
    to: &PodHandle,
    act: impl Future<Output = CaseResult>,
) -> CaseResult {
    let Err(failure) = act.await else { return Ok(()) };
    if !matches!(failure, Failure::Product { .. } | Failure::Timeout { .. }) {
        return Err(failure);
    }
    let Some(cause) = cx.policies_between(from, Some(to)).await else { return Err(failure) };
    let Ok(url) = server_in(to).await else { return Err(failure) };
    // No policy can have stopped a server that its own pod does not reach.
    let own = format!("http://127.0.0.1:{PORT}/");
    let own = ["get", own.as_str(), "--deadline", "3"];
    if !matches!(to.run(&probe_command(&own)).await, Ok(own) if own.exit_code == 0) {
        return Err(failure);
    }
    let get = ["get", url.as_str(), "--deadline", "3"];
    match from.run(&probe_command(&get)).await {
        Ok(by_pod) if by_pod.exit_code != 0 => {
            let (from, to) = (from.name(), to.name());
            let reason = format!("the pod `{from}` itself does not reach the pod `{to}`");
            Err(Failure::blocked_by(format!("{reason}; {}", cause.wrong), cause))
        }
        _ => Err(failure),
    }
}

/// A case that is blocked because the pod itself does not reach something of the cluster: by a
/// NetworkPolicy of somebody else where there is one that selects the pod.
pub(super) async fn shut_off(
    cx: &Context,
    pod: &PodHandle,
    reason: String,
    remedy: &str,
) -> Failure {
    match cx.policies_between(pod, None).await {
        Some(cause) => Failure::blocked_by(format!("{reason}; {}", cause.wrong), cause),
        None => Failure::blocked(reason, remedy),
    }
}

inventory::submit!(Case {
    id: "POD-NET-01A",
    suite: "podman",
    name: "reaches_another_pod",
    title: "A container with podman's default network reaches a server in another pod",
    why: "A build that downloads packages and a service that calls another one both leave the \
          container through podman's default network. In a pod that network is pasta, which \
          copies packets between the container and a tun device.",
    fix: "Give the pod /dev/net/tun (annotations `io.kubernetes.cri-o.Devices` and \
          `devices.crio.io` on CRI-O, a RuntimeClass on containerd), install `passt`, and on \
          SELinux hosts use container-selinux 2.246 or newer.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD, &NEIGHBOUR],
    kind: CaseKind::Live(|cx| Box::pin(reaches_another_pod(cx))),
    ..Case::DEFAULT
});

async fn reaches_another_pod(cx: Context) -> CaseResult {
    let (workspace, neighbour) = (cx.pod(&NESTED_POD).await?, cx.pod(&NEIGHBOUR).await?);
    let image = scratch_image(&workspace).await?;
    let url = server_in(&neighbour).await?;
    let get = podman(&["run", "--rm", "--name=pod-net-01a", &image, "/probe", "get", &url]);
    let act = async {
        let answer = workspace.output(&get).await?;
        cx.check_equal("answer of another pod", NEIGHBOURS_TEXT, &answer)
    };
    between_pods(&cx, &workspace, &neighbour, act).await
}

inventory::submit!(Case {
    id: "POD-NET-01B",
    suite: "podman",
    name: "asks_a_name_server_in_another_pod",
    title: "A container with podman's default network queries a name server in another pod over \
        UDP",
    why: "Name lookups use UDP, which pasta forwards separately from TCP. If only TCP works, \
          downloads by address succeed and every download by name hangs.",
    fix: "See POD-NET-01A. If only UDP fails, look for a NetworkPolicy or a firewall of the node \
          that drops port 53.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD, &NEIGHBOUR],
    kind: CaseKind::Live(|cx| Box::pin(asks_a_name_server_in_another_pod(cx))),
    ..Case::DEFAULT
});

async fn asks_a_name_server_in_another_pod(cx: Context) -> CaseResult {
    let (workspace, neighbour) = (cx.pod(&NESTED_POD).await?, cx.pod(&NEIGHBOUR).await?);
    let image = scratch_image(&workspace).await?;
    // An address that is for examples only (RFC 5737): no other server gives it.
    let serve = ["serve-dns", "--port", "53", "--address", "192.0.2.53"];
    neighbour.once("name server", || start_server(&neighbour, &serve)).await?;
    let dns = format!("--dns={}", address(&neighbour)?);
    let name = "pod-net-01b.test.";
    let resolve =
        podman(&["run", "--rm", "--name=pod-net-01b", &dns, &image, "/probe", "resolve", name]);
    let act = async {
        let addresses = workspace.output(&resolve).await?;
        cx.check_equal("address that the other pod's name server gives", "192.0.2.53", &addresses)
    };
    between_pods(&cx, &workspace, &neighbour, act).await
}

inventory::submit!(Case {
    id: "POD-NET-01C",
    suite: "podman",
    name: "knows_the_names_of_the_cluster",
    title: "A container with podman's default network resolves the cluster's service names as the \
        pod does",
    why: "A container should find the services of the cluster by the same names as its workspace, \
          because podman copies the pod's resolv.conf. Otherwise an application in the workspace \
          cannot reach its database.",
    fix: "Look at /etc/resolv.conf in the container. If it names another server than the pod's \
          own or pasta's 169.254.1.1, remove `dns_servers` from containers.conf. If the case is \
          blocked, repair the cluster's DNS first.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(3),
    kind: CaseKind::Live(|cx| Box::pin(knows_the_names_of_the_cluster(cx))),
    ..Case::DEFAULT
});

async fn knows_the_names_of_the_cluster(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let resolve = ["resolve", "kubernetes.default.svc", "--deadline", "3"];
    let by_pod = workspace.run(&probe_command(&resolve)).await?;
    if by_pod.exit_code != 0 {
        let reported = String::from_utf8_lossy(&by_pod.stderr);
        let reason = format!("the pod itself finds no service by name: {}", reported.trim_end());
        let remedy = "see whether the cluster's DNS runs, and whether the pod may reach it";
        return Err(shut_off(&cx, &workspace, reason, remedy).await);
    }
    let image = scratch_image(&workspace).await?;
    let run = ["run", "--rm", "--name=pod-net-01c", &image, "/probe"];
    let inside = workspace.output(&podman(&[&run[..], &resolve].concat())).await?;
    cx.check_equal("address of the API server's service", &by_pod.text(), &inside)
}

inventory::submit!(Case {
    id: "POD-NET-02",
    suite: "podman",
    name: "publishes_a_port",
    title: "A published port is reachable on the pod's loopback, and from another pod at the pod's \
        address",
    why: "A developer starts a web application in a container and opens it in the browser. The \
          port must be reachable in the workspace itself and, through the cluster's routes, from \
          other pods.",
    fix: "Give the pod /dev/net/tun and install `passt`. If only the other pod cannot connect, \
          look for a NetworkPolicy in the namespace.",
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD, &NEIGHBOUR],
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(publishes_a_port(cx))),
    ..Case::DEFAULT
});

async fn publishes_a_port(cx: Context) -> CaseResult {
    let (workspace, neighbour) = (cx.pod(&NESTED_POD).await?, cx.pod(&NEIGHBOUR).await?);
    let image = scratch_image(&workspace).await?;
    let (name, text) = ("pod-net-02", "published");
    let publish = ["--publish", "18102:8080"];
    workspace.output(&serving(name, &publish, &image, text)).await?;
    let answer = workspace.output(&probe_command(&["get", "http://127.0.0.1:18102/"])).await?;
    cx.check_equal("answer at the pod's loopback", text, &answer)?;
    let url = format!("http://{}:18102/", address(&workspace)?);
    let act = async {
        let answer = neighbour.output(&probe_command(&["get", &url])).await?;
        cx.check_equal("answer to another pod at the pod's address", text, &answer)
    };
    between_pods(&cx, &neighbour, &workspace, act).await?;
    let port = workspace.output(&podman(&["port", name])).await?;
    cx.check_equal("published port", "8080/tcp -> 0.0.0.0:18102", &port)?;
    remove(&workspace, &[name]).await
}

/// Prints a process's network interfaces, sorted, and which network namespace it has.
const SHOW_NETWORK: &str = "
    while read -r name rest; do
        case $name in *:) echo \"${name%:}\";; esac
    done < /proc/net/dev
    link=$(ls -l /proc/self/ns/net)
    echo \"${link##* }\"
";

inventory::submit!(Case {
    id: "POD-NET-03",
    suite: "podman",
    name: "has_no_network_or_the_pods",
    title: "A container without a network has only the loopback, and one with the host network has \
        the pod's",
    why: "`--network=none` cuts a build off from the network. `--network=host` is the alternative \
          without /dev/net/tun. Both must do what they promise: no interface but the loopback, \
          and exactly the network of the pod.",
    fix: "If `--network=host` fails, look for `netns` in containers.conf. If `--network=none` \
          fails, the pod's seccomp or AppArmor profile forbids new network namespaces: use \
          Unconfined.",
    level: Level::Extended,
    requires: NESTED,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(5),
    kind: CaseKind::Live(|cx| Box::pin(has_no_network_or_the_pods(cx))),
    ..Case::DEFAULT
});

async fn has_no_network_or_the_pods(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = shell_image(&workspace).await?;
    let of_pod = workspace.output(&Command::new(["sh", "-c", SHOW_NETWORK])).await?;
    let of_container = async |network: &str| {
        let run = ["run", "--rm", "--name=pod-net-03", network, &image, "sh", "-c", SHOW_NETWORK];
        workspace.output(&podman(&run)).await
    };
    let host = of_container("--network=host").await?;
    cx.check_equal("interfaces and namespace with the host's network", &of_pod, &host)?;
    let none = of_container("--network=none").await?;
    let (interfaces, namespace) = none.rsplit_once('\n').unwrap_or_default();
    cx.check_equal("interfaces without a network", "lo", interfaces)?;
    let is_own = namespace.starts_with("net:[") && !of_pod.ends_with(namespace);
    cx.check("network namespace without a network", "one of its own", namespace, is_own)
}

inventory::submit!(Case {
    id: "POD-NET-04",
    suite: "podman",
    name: "finds_containers_by_name",
    title: "Containers in a user-defined network find each other by name, and others don't",
    why: "Compose files connect services by name. That needs a netavark bridge in podman's own \
          network namespace and aardvark-dns as its name server. A container in another network \
          finds the names of its own network, and not these.",
    fix: "Install `netavark`, `aardvark-dns` and `nftables` in the workspace image, and give the \
          pod /dev/net/tun.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(8),
    kind: CaseKind::Live(|cx| Box::pin(finds_containers_by_name(cx))),
    ..Case::DEFAULT
});

async fn finds_containers_by_name(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let image = scratch_image(&workspace).await?;
    let (network, server) = ("pod-net-04", "pod-net-04-server");
    workspace.output(&podman(&["network", "create", "--ignore", network])).await?;
    let option = format!("--network={network}");
    workspace.output(&serving(server, &[&option], &image, "by name")).await?;
    let url = format!("http://{server}:8080/");
    let get = podman(&["run", "--rm", &option, &image, "/probe", "get", &url]);
    cx.check_equal("answer by name", "by name", &workspace.output(&get).await?)?;

    finds_nobody_of_another_network(&cx, &workspace, &image, server).await?;
    // A server that ended has no name in any network.
    let answers = async {
        let answer = workspace.output(&get).await?;
        cx.check_equal("answer by name, after the look-up elsewhere", "by name", &answer)
    };
    still_works("the server", answers).await?;
    remove(&workspace, &[server]).await?;
    workspace.output(&podman(&["network", "rm", network])).await?;
    let rest = workspace.run(&podman(&["network", "exists", network])).await?.exit_code;
    cx.check_equal("exit code of `network exists` after rm", "1", &rest.to_string())
}

/// Expects that a container of a second network finds the names of that one, and not this server:
/// a name that anybody finds would prove nothing about networks.
async fn finds_nobody_of_another_network(
    cx: &Context,
    workspace: &PodHandle,
    image: &str,
    server: &str,
) -> CaseResult {
    let (network, neighbour) = ("pod-net-04-other", "pod-net-04-neighbour");
    // Internal, so that its name server asks no other one about what it does not know.
    let create = ["network", "create", "--ignore", "--internal", network];
    workspace.output(&podman(&create)).await?;
    let option = format!("--network={network}");
    workspace.output(&serving(neighbour, &[&option], image, "elsewhere")).await?;
    let look_up = async |name: &str| {
        let resolve = ["/probe", "resolve", name, "--deadline", "3"];
        let run = [&["run", "--rm", &option, image][..], &resolve].concat();
        workspace.run(&podman(&run)).await
    };
    let known = look_up(neighbour).await?.exits(0)?.text();
    let is_address = known.parse::<std::net::IpAddr>().is_ok();
    cx.check("look-up in another network of a name there", "an address", known, is_address)?;
    let words = format!("`{server}` has no address");
    let unknown = look_up(server).await?;
    expect_error(cx, "look-up in another network of the server's name", &unknown, &[&words])?;
    remove(workspace, &[neighbour]).await?;
    workspace.output(&podman(&["network", "rm", network])).await.map(drop)
}

inventory::submit!(Case {
    id: "POD-NET-05",
    suite: "podman",
    name: "falls_back_to_slirp",
    title: "A container on slirp4netns reaches another pod, and its published port is reachable",
    why: "slirp4netns is the older network of rootless podman up to version 5. Some images and \
          scripts still request it by name. podman 6 does not have it, so there the case does not \
          apply.",
    fix: "Use pasta, the default. Where slirp4netns is still needed, install `slirp4netns`. It \
          needs /dev/net/tun, as pasta does.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD, &NEIGHBOUR],
    expected: Duration::from_secs(2),
    kind: CaseKind::Live(|cx| Box::pin(falls_back_to_slirp(cx))),
    ..Case::DEFAULT
});

/// podman removed slirp4netns with this version (podman, `libpod/networking_linux.go`).
const FIRST_WITHOUT_SLIRP: u32 = 6;

/// The first number of a version such as `6.0.0-dev`.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

async fn falls_back_to_slirp(cx: Context) -> CaseResult {
    let (workspace, neighbour) = (cx.pod(&NESTED_POD).await?, cx.pod(&NEIGHBOUR).await?);
    let version = podman(&["version", "--format={{.Client.Version}}"]);
    let version = workspace.output(&version).await?;
    if major(&version).is_some_and(|major| major >= FIRST_WITHOUT_SLIRP) {
        return Err(Failure::not_applicable(format!("podman {version} has no slirp4netns")));
    }
    let remedy = "nothing needs it where pasta works, and podman 6 does not have it";
    need_program(&workspace, "slirp4netns", remedy).await?;
    let image = scratch_image(&workspace).await?;
    let name = "pod-net-05";
    let options = ["--network=slirp4netns", "--publish=18105:8080"];
    workspace.output(&serving(name, &options, &image, "by slirp")).await?;
    let answer = workspace.output(&probe_command(&["get", "http://127.0.0.1:18105/"])).await?;
    cx.check_equal("answer at the published port", "by slirp", &answer)?;
    let url = server_in(&neighbour).await?;
    let act = async {
        let answer = workspace.output(&podman(&["exec", name, "/probe", "get", &url])).await?;
        cx.check_equal("answer of another pod", NEIGHBOURS_TEXT, &answer)
    };
    between_pods(&cx, &workspace, &neighbour, act).await?;
    remove(&workspace, &[name]).await
}

inventory::submit!(Case {
    id: "POD-NET-06",
    suite: "podman",
    name: "refuses_a_privileged_port",
    title: "A privileged port is refused with an error that names it",
    why: "Port 80 in a compose file is the most common beginner's mistake in a workspace. The \
          error must name the port, so that users look in the right place.",
    fix: "Publish a port from 1024 on. To allow lower ones, set the sysctl \
          `net.ipv4.ip_unprivileged_port_start` in the pod.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    expected: Duration::from_secs(7),
    kind: CaseKind::Live(|cx| Box::pin(refuses_a_privileged_port(cx))),
    ..Case::DEFAULT
});

async fn refuses_a_privileged_port(cx: Context) -> CaseResult {
    // A pod of its own: containerd lets everybody listen on every port, unless a pod says otherwise.
    let mut pod = cx.manifest(&NESTED_POD)?;
    pod.metadata.name = Some("pod-net-06".to_owned());
    let context = pod.spec.get_or_insert_default().security_context.get_or_insert_default();
    let first = "net.ipv4.ip_unprivileged_port_start".to_owned();
    context.sysctls = Some(vec![Sysctl { name: first, value: "1024".to_owned() }]);
    let workspace = cx.provision_pod(&NESTED_POD, &pod).await?;
    let image = scratch_image(&workspace).await?;
    let listen = ["timeout", "5", PROBE, "serve", "--port", "1023", "--text", "x"];
    let control = workspace.run(&Command::new(listen)).await?;
    expect_error(&cx, "control: a listener on port 1023", &control, &["1023"])?;
    let run = ["run", "--rm", "--publish=1023:8080", &image, "/probe", "print", "x"];
    let refused = workspace.run(&podman(&run)).await?;
    let words = ["1023", "ermission denied"];
    expect_error(&cx, "container that publishes port 1023", &refused, &words)?;
    let run = ["run", "--rm", "--publish=1024:8080", &image, "/probe", "print", "x"];
    let allowed = workspace.output(&podman(&run)).await?;
    cx.check_equal("container that publishes port 1024", "x", &allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slirp_ends_with_podman_6() {
        let has_slirp = |version| major(version).is_none_or(|it| it < FIRST_WITHOUT_SLIRP);
        assert!(has_slirp("4.9.3") && has_slirp("5.8.0-rc1") && has_slirp(""));
        assert!(!has_slirp("6.0.0-dev") && !has_slirp("10.1.0"));
    }
}

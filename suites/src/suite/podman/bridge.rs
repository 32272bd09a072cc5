//! POD-NET-08: what a container in a network of podman's own reaches of the cluster.

use std::{net::IpAddr, time::Duration};

use harness::{
    diagnosis::CheckId,
    engine::{Case, CaseKind, Context, Inside, PodHandle},
    verdict::{CaseResult, Failure, Level},
    workload::Command,
};

use super::{
    address,
    network::{between_pods, server_in, shut_off},
};
use crate::{
    fixtures::{NEIGHBOUR, NESTED_POD},
    steps::{podman, probe_command, scratch_image},
    suite::WITH_DEVICES,
};

inventory::submit!(Case {
    id: "POD-NET-08A",
    suite: "podman",
    name: "reaches_another_pod_from_a_bridge",
    title: "A container in a user-defined network reaches another pod, and the network has no \
            address of the cluster",
    why: "Every compose file makes a network of its own. podman takes a free range from 10.89.0.0 \
          on, but it sees only the pod's own interface. If the cluster's pods, services or name \
          servers are in that range, containers of the project can't reach them, although a plain \
          `podman run` can.",
    fix: "Set `default_subnet_pools` in containers.conf to a range that the cluster does not use, \
          such as `[{base = \"192.168.128.0/17\", size = 24}]`. If the ranges differ, install \
          netavark and nftables, and see POD-NET-04.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD, &NEIGHBOUR],
    expected: Duration::from_secs(4),
    kind: CaseKind::Live(|cx| Box::pin(reaches_another_pod_from_a_bridge(cx))),
    ..Case::DEFAULT
});

async fn reaches_another_pod_from_a_bridge(cx: Context) -> CaseResult {
    let (workspace, neighbour) = (cx.pod(&NESTED_POD).await?, cx.pod(&NEIGHBOUR).await?);
    let image = scratch_image(&workspace).await?;
    let (url, network) = (server_in(&neighbour).await?, "pod-net-08a");
    workspace.output(&podman(&["network", "create", "--ignore", network])).await?;
    is_outside_of_the_cluster(&cx, &workspace, &neighbour, network).await?;
    let option = format!("--network={network}");
    let get = podman(&["run", "--rm", &option, &image, "/probe", "get", &url]);
    let act = async {
        let by_pod = workspace.output(&probe_command(&["get", &url])).await?;
        cx.check_equal("answer of another pod", &by_pod, &workspace.output(&get).await?)
    };
    between_pods(&cx, &workspace, &neighbour, act).await?;
    workspace.output(&podman(&["network", "rm", network])).await.map(drop)
}

/// Expects that no address of the cluster that the pod knows is in a network of podman's.
async fn is_outside_of_the_cluster(
    cx: &Context,
    workspace: &PodHandle,
    neighbour: &PodHandle,
    network: &str,
) -> CaseResult {
    let format = "{{range .Subnets}}{{.Subnet}} {{end}}";
    let inspect = ["network", "inspect", "--format", format, network];
    let subnets = workspace.output(&podman(&inspect)).await?;
    let is_subnet = |subnet: &str| {
        let base = subnet.split_once('/').and_then(|(base, _)| base.parse().ok());
        base.is_some_and(|base| has_address(subnet, base))
    };
    if subnets.trim().is_empty() || !subnets.split_whitespace().all(is_subnet) {
        let what = format!("podman shows no subnets of the network `{network}`: `{subnets}`");
        return Err(Failure::product(what));
    }
    let script = "
        echo \"${KUBERNETES_SERVICE_HOST:-}\"
        while read -r key value; do
            if [ \"$key\" = nameserver ]; then echo \"$value\"; fi
        done < /etc/resolv.conf
    ";
    let known = Command::shell("look for addresses of the cluster", script, [""; 0]);
    let mut addresses = workspace.output(&known).await?;
    for pod in [workspace, neighbour] {
        addresses.push('\n');
        addresses.push_str(&address(pod)?);
    }
    let addresses: Vec<IpAddr> =
        addresses.split_whitespace().filter_map(|text| text.parse().ok()).collect();
    let taken: Vec<_> = subnets
        .split_whitespace()
        .flat_map(|subnet| addresses.iter().map(move |address| (subnet, address)))
        .filter(|(subnet, address)| has_address(subnet, **address))
        .map(|(subnet, address)| format!("{subnet} has {address}"))
        .collect();
    let observed = if taken.is_empty() {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        format!("{subnets}, without {}", addresses.join(", "))
    } else {
        taken.join("; ")
    };
    cx.check(CheckId::PodmanSubnets, "nothing in common", observed, taken.is_empty())
}

/// Whether a subnet, such as `10.89.0.0/24`, has an address.
fn has_address(subnet: &str, address: IpAddr) -> bool {
    let Some((base, length)) = subnet.split_once('/') else { return false };
    let (Ok(base), Ok(length)) = (base.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    let (base, address, all) = match (base, address) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (u128::from(base.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    // A shift by all bits is none.
    let rest = all - length.min(all);
    rest == 128 || (base >> rest) == (address >> rest)
}

/// Where the probe begins to say what an HTTP server answered.
const ANSWER: &str = "the answer is ";

inventory::submit!(Case {
    id: "POD-NET-08B",
    suite: "podman",
    name: "reaches_services_from_a_bridge",
    title: "A container in a user-defined network resolves and reaches the cluster's services by \
            their full names",
    why: "In a network of podman's own, aardvark-dns answers for the names of containers and asks \
          the pod's name servers for all others. An application of a compose file reaches the \
          team's database in the cluster only if both work. It needs the full name, such as \
          `database.team.svc.cluster.local`: podman puts its own search domain in the place of \
          the pod's.",
    fix: "If only the name fails, look at `dns_servers` in containers.conf and update \
          aardvark-dns. If the connection fails, see POD-NET-08A. If the case is blocked, repair \
          the cluster's DNS first.",
    level: Level::Extended,
    requires: WITH_DEVICES,
    pods: &[&NESTED_POD],
    inside: Inside::Pod,
    expected: Duration::from_secs(4),
    kind: CaseKind::Live(|cx| Box::pin(reaches_services_from_a_bridge(cx))),
    ..Case::DEFAULT
});

async fn reaches_services_from_a_bridge(cx: Context) -> CaseResult {
    let workspace = cx.pod(&NESTED_POD).await?;
    let script = "
        while read -r key domains; do
            if [ \"$key\" = search ]; then
                for domain in $domains; do
                    case $domain in svc.*) echo \"kubernetes.default.$domain.\" ;; esac
                done
            fi
        done < /etc/resolv.conf
    ";
    let look = Command::shell("look for the cluster's domain", script, [""; 0]);
    let name = workspace.output(&look).await?;
    let remedy = "see whether the cluster's DNS runs, and whether the pod may reach it";
    if name.is_empty() {
        let reason = "the pod's /etc/resolv.conf has no search domain of services";
        return Err(Failure::blocked(reason, remedy));
    }
    let resolve = ["resolve", name.as_str(), "--deadline", "3"];
    let by_pod = workspace.run(&probe_command(&resolve)).await?;
    if by_pod.exit_code != 0 {
        let reported = String::from_utf8_lossy(&by_pod.stderr);
        let reason = format!("the pod itself finds no service by name: {}", reported.trim_end());
        return Err(shut_off(&cx, &workspace, reason, remedy).await);
    }
    let image = scratch_image(&workspace).await?;
    let network = "pod-net-08b";
    workspace.output(&podman(&["network", "create", "--ignore", network])).await?;
    let option = format!("--network={network}");
    let inside = |arguments: &[&str]| {
        podman(&[&["run", "--rm", option.as_str(), image.as_str(), "/probe"], arguments].concat())
    };
    let resolved = workspace.output(&inside(&resolve)).await?;
    cx.check_equal("address of the API server's service", &by_pod.text(), &resolved)?;

    // The API server answers a request without TLS too, if only that it is one.
    let url = format!("http://{name}:443/");
    let get = ["get", url.as_str(), "--deadline", "5"];
    let by_pod = workspace.run(&probe_command(&get)).await?;
    let by_pod = String::from_utf8_lossy(&by_pod.stderr);
    let Some((_, expected)) = by_pod.trim_end().split_once(ANSWER) else {
        let reason = format!("the pod itself reaches no service: {}", by_pod.trim_end());
        let remedy = "see whether the node has kube-proxy or its replacement, and whether a \
                      NetworkPolicy forbids it";
        return Err(shut_off(&cx, &workspace, reason, remedy).await);
    };
    let by_container = workspace.run(&inside(&get)).await?;
    let by_container = String::from_utf8_lossy(&by_container.stderr);
    let observed = by_container.trim_end().split_once(ANSWER).map_or(&*by_container, |it| it.1);
    cx.check_equal("answer of the API server's service", expected, observed)?;
    workspace.output(&podman(&["network", "rm", network])).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_has_the_addresses_with_its_prefix() {
        let has = |subnet, address: &str| {
            has_address(subnet, address.parse().expect("the test names an address"))
        };
        assert!(has("10.89.0.0/24", "10.89.0.10"));
        assert!(!has("10.89.0.0/24", "10.89.1.10"));
        assert!(has("10.89.0.0/16", "10.89.1.10"));
        assert!(has("0.0.0.0/0", "192.0.2.1"));
        assert!(has("10.0.0.1/32", "10.0.0.1") && !has("10.0.0.1/32", "10.0.0.2"));
        assert!(has("fd00::/8", "fd12::1") && has("::/0", "fd12::1"));
        assert!(!has("fd00::/8", "10.0.0.1") && !has("10.0.0.0/8", "::1"));
        assert!(!has("10.0.0.0", "10.0.0.0") && !has("", "10.0.0.0"));
    }
}

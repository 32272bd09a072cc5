use k8s_openapi::apimachinery::pkg::apis::meta::v1::{StatusCause, StatusDetails};
use kube::core::Status as ApiStatus;

use super::*;

fn failure(message: &str) -> Status {
    Status {
        status: Some("Failure".into()),
        message: Some(message.into()),
        reason: Some("InternalError".into()),
        code: Some(500),
        ..Status::default()
    }
}

/// Answers in place of an exit code, and who gave them. Those of Kubernetes 1.32 with containerd
/// 2.4 and crun were recorded on the local cluster; the others are from public issues.
const RECORDED: &[(&str, ExecStatus)] = &[
    // 1.32.5, the kubelet restarts.
    (
        "Internal error occurred: error sending request: Post \"https://10.99.1.2:10250/exec/\
         default/t/c?command=true&error=1&output=1\": dial tcp 10.99.1.2:10250: connect: \
         connection refused",
        not_begun(Lost::Node),
    ),
    (
        "Internal error occurred: unable to upgrade connection: pod does not exist",
        not_begun(Lost::Node),
    ),
    // 1.32.5, containerd restarts.
    (
        "Internal error occurred: unable to upgrade connection: rpc error: code = Unavailable \
         desc = connection error: desc = \"transport: Error while dialing: dial unix \
         /run/containerd/containerd.sock: connect: connection refused\"",
        not_begun(Lost::Node),
    ),
    // 1.32.5 with crun, a program that is absent or not executable.
    (
        "Internal error occurred: error executing command in container: failed to exec in \
         container: failed to start exec \"2d0b\": OCI runtime exec failed: executable file \
         `/nope` not found: No such file or directory",
        ExecStatus::Refused,
    ),
    (
        "Internal error occurred: error executing command in container: failed to exec in \
         container: failed to start exec \"2ea5\": OCI runtime exec failed: the path \
         `/etc/passwd` exists but it is not executable: Operation not permitted",
        ExecStatus::Refused,
    ),
    // runc's words.
    (
        "Internal error occurred: error executing command in container: failed to exec in \
         container: failed to start exec \"1f\": OCI runtime exec failed: exec failed: unable \
         to start container process: exec: \"bash\": executable file not found in $PATH: unknown",
        ExecStatus::Refused,
    ),
    // kubernetes/kubernetes#62511, #107186, #40817; opsnull/…#246.
    (
        "error dialing backend: dial tcp 192.168.1.14:10250: getsockopt: no route to host",
        not_begun(Lost::Node),
    ),
    ("error dialing backend: dial tcp 10.0.3.123:10250: i/o timeout", not_begun(Lost::Node)),
    ("error dialing backend: remote error: tls: internal error", not_begun(Lost::Node)),
    // A container that restarts or has ended.
    ("unable to upgrade connection: container not found (\"tools\")", not_begun(Lost::Pod)),
    (
        "cannot exec into a container in a completed pod; current phase is Failed",
        not_begun(Lost::Pod),
    ),
    (
        "Internal error occurred: error executing command in container: failed to exec in \
         container: failed to load task: no running task found: task 7c1f not found: not found",
        not_begun(Lost::Pod),
    ),
    // moby/moby#37009.
    (
        "OCI runtime exec failed: exec failed: cannot exec a container that has stopped: unknown",
        not_begun(Lost::Pod),
    ),
    // What breaks under a command.
    (
        "error reading from error stream: next reader: websocket: close 1006 (abnormal closure): \
         unexpected EOF",
        end_unknown(Lost::Node),
    ),
    (
        "Internal error occurred: error executing command in container: failed to exec in \
         container: failed to start exec \"9a\": ttrpc: closed: unknown",
        end_unknown(Lost::Node),
    ),
    (
        "Internal error occurred: error executing command in container: rpc error: code = \
         Unavailable desc = error reading from server: EOF",
        end_unknown(Lost::Node),
    ),
    ("a text of a later release", end_unknown(Lost::Node)),
    ("", end_unknown(Lost::Node)),
];

#[test]
fn every_recorded_answer_is_known() {
    for (message, expected) in RECORDED {
        assert_eq!(of_status(&failure(message)), *expected, "{message}");
    }
}

#[test]
fn an_exit_code_is_read_from_the_status() {
    let success = Status { status: Some("Success".into()), ..Status::default() };
    assert_eq!(of_status(&success), ExecStatus::Exited(0));
    let cause = StatusCause {
        reason: Some("ExitCode".into()),
        message: Some("42".into()),
        ..StatusCause::default()
    };
    let failed = Status {
        details: Some(StatusDetails { causes: Some(vec![cause]), ..StatusDetails::default() }),
        ..failure("command terminated with non-zero exit code")
    };
    assert_eq!(of_status(&failed), ExecStatus::Exited(42));
    assert_eq!(of_status(&Status::default()), end_unknown(Lost::Node));
}

#[test]
fn an_http_answer_in_place_of_a_connection_began_nothing_unless_it_is_a_gateways() {
    let refused = "dial tcp 10.0.0.1:10250: connect: connection refused";
    let not_begun = |who| Some(ExecLoss::NotBegun(who));
    let unknown = Some(ExecLoss::EndUnknown(Lost::ApiServer));
    let table = [
        (500, format!("error dialing backend: {refused}"), not_begun(Lost::Node)),
        (500, String::new(), not_begun(Lost::Node)),
        (502, String::new(), unknown),
        (502, format!("error dialing backend: {refused}"), not_begun(Lost::Node)),
        (503, "the apiserver is shutting down".to_owned(), not_begun(Lost::ApiServer)),
        (504, String::new(), unknown),
        (429, "too many requests".to_owned(), not_begun(Lost::ApiServer)),
        (400, "container nope is not valid for pod t".to_owned(), None),
        (403, "pods \"t\" is forbidden".to_owned(), None),
        (404, "pods \"t\" not found".to_owned(), None),
        (500, "unable to upgrade connection: Unauthorized".to_owned(), None),
    ];
    for (code, message, loss) in table {
        assert_eq!(of_response(code, &message), loss, "{code} {message}");
    }
}

/// Why a container does not start, and whether its node was lost. From public issues of
/// Kubernetes, containerd and CRI-O.
const STARTS: &[(&str, bool)] = &[
    (
        "rpc error: code = Unavailable desc = connection error: desc = \"transport: Error while \
         dialing: dial unix /run/containerd/containerd.sock: connect: connection refused\"",
        true,
    ),
    ("rpc error: code = Unavailable desc = error reading from server: EOF", true),
    ("rpc error: code = DeadlineExceeded desc = context deadline exceeded", true),
    ("context deadline exceeded", true),
    ("failed to create containerd task: failed to create shim task: ttrpc: closed", true),
    (
        "failed to reserve container name \"tools_w_t_81f1_0\": name \"tools_w_t_81f1_0\" is \
         reserved for \"9c4e\"",
        true,
    ),
    (
        "Kubelet may be retrying requests that are timing out in CRI-O due to system load: the \
         requested container k8s_tools is now ready and will be provided to the kubelet on next \
         retry: error reserving ctr name k8s_tools for id 9c4e: name is reserved",
        true,
    ),
    ("error reserving ctr name k8s_tools for id 9c4e: name is reserved", true),
    ("failed to generate container spec: device /dev/kmsg is not in allowed_devices", false),
    (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed: \
         runc create failed: unable to start container process: exec: \"sh\": executable file not \
         found in $PATH: unknown",
        false,
    ),
    ("because", false),
    ("", false),
];

#[test]
fn a_container_whose_runtime_is_away_starts_later() {
    for (message, is_lost) in STARTS {
        assert_eq!(is_start_lost(message), *is_lost, "{message}");
        assert_eq!(is_pull_lost(message), *is_lost, "{message}");
    }
    assert!(is_start_lost("rpc error: code = NotFound desc = failed to find sandbox id \"9c4e\""));
}

#[test]
fn a_network_plugin_that_fails_is_not_the_runtime() {
    for message in [
        "rpc error: code = Unknown desc = failed to setup network for sandbox \"9c4e\": plugin \
         type=\"bridge\" failed (add): context deadline exceeded",
        "rpc error: code = Unknown desc = failed to create pod network sandbox k8s_w_t(9c4e): \
         error adding pod t_w to CNI network \"multus-cni-network\": the daemon is not running",
    ] {
        assert!(!is_start_lost(message), "{message}");
    }
}

#[test]
fn a_registry_that_refuses_or_is_away_is_not_the_runtime() {
    let message = "failed to pull and unpack image \"registry.test/nope:1\": failed to resolve \
         reference \"registry.test/nope:1\": failed to do request: Head \
         \"https://registry.test/v2/nope/manifests/1\": context deadline exceeded";
    assert!(!is_pull_lost(message));
    let refused = "rpc error: code = Unavailable desc = failed to resolve reference: dial tcp \
         10.0.0.9:5000: connect: connection refused";
    assert!(!is_pull_lost(refused));
    assert!(!is_pull_lost("rpc error: code = NotFound desc = \"registry.test/nope:1\": not found"));
}

#[test]
fn an_end_that_nobody_saw_is_a_loss() {
    for (reason, is_lost) in [
        ("ContainerStatusUnknown", true),
        ("Unknown", true),
        ("Error", false),
        ("OOMKilled", false),
        ("Completed", false),
    ] {
        assert_eq!(is_end_lost(reason), is_lost, "{reason}");
    }
}

#[test]
fn only_a_request_that_found_nobody_surely_began_nothing() {
    let io = |kind| KubeError::Service(Box::new(std::io::Error::from(kind)));
    let refused = io(std::io::ErrorKind::ConnectionRefused);
    assert_eq!(of_error(&refused), Some(ExecLoss::NotBegun(Lost::ApiServer)));
    let reset = io(std::io::ErrorKind::ConnectionReset);
    assert_eq!(of_error(&reset), Some(ExecLoss::EndUnknown(Lost::Connection)));
    let forbidden = KubeError::Api(Box::new(ApiStatus { code: 403, ..ApiStatus::default() }));
    assert_eq!(of_error(&forbidden), None);
}

#[test]
fn only_what_comes_back_as_it_was_is_waited_for() {
    assert!(ExecLoss::NotBegun(Lost::Node).may_start_again());
    assert!(ExecLoss::NotBegun(Lost::ApiServer).may_start_again());
    assert!(!ExecLoss::NotBegun(Lost::Pod).may_start_again());
    assert!(!ExecLoss::NotBegun(Lost::Node).after_begin().may_start_again());
}

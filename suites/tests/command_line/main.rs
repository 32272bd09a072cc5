//! The command without a cluster: every mistake is one line with a hint and the exit code of the
//! help, and what needs no cluster works without one.

mod compare;
mod documentation;
mod expectations;
mod inside;
mod options;
mod prometheus;
mod remedy;
mod reports;
mod site;
mod without_cluster;

use std::{fs, os::unix::ffi::OsStringExt, time::Duration};

use nix::sys::signal::Signal;
use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use test_support::{
    Finished, Kubeconfig, Running, TestDir, answering_server, closed_address, listener,
    silent_server,
};

/// Longer than the command's timeouts with a server that it meets for the first time, shorter
/// than any other of its deadlines.
const FIRST_CONTACT: Duration = Duration::from_secs(20);

/// Runs `nestcheck` on a bench of its own and expects that it leaves nothing there.
#[track_caller]
fn nestcheck(arguments: &[&str]) -> Finished {
    let dir = TestDir::new();
    let finished = dir.nestcheck(arguments);
    assert_eq!(dir.content(), [""; 0], "{finished}");
    finished
}

/// A kubeconfig that is good as such.
fn good() -> Kubeconfig {
    Kubeconfig::to("https://127.0.0.1:1")
}

// Kubeconfigs.

#[test]
fn a_missing_kubeconfig_is_named() {
    for command in ["run", "preflight"] {
        nestcheck(&[command, "--kubeconfig", "/no/such/file"])
            .refuses(2, &["kubeconfig", "`/no/such/file`", "No such file"])
            .hints(&["--kubeconfig"]);
    }
}

#[test]
fn a_kubeconfig_that_is_a_directory_is_named() {
    let dir = TestDir::new();
    let directory = dir.path(".").display().to_string();
    dir.nestcheck(["run", "--kubeconfig", &directory])
        .refuses(2, &["kubeconfig", &directory])
        .hints(&["--kubeconfig"]);
}

#[test]
fn no_kubeconfig_anywhere_is_reported_with_the_places() {
    nestcheck(&["run"]).refuses(2, &["kubeconfig", "/.kube/config"]).hints(&["--kubeconfig"]);
}

#[test]
fn a_missing_kubeconfig_of_the_environment_is_named() {
    let dir = TestDir::new();
    let mut command = dir.command(["preflight"]);
    command.env("KUBECONFIG", "/no/such/file");
    Running::start(command).finish().refuses(2, &["kubeconfig"]);
}

#[test]
fn a_kubeconfig_that_is_not_yaml_is_named() {
    let dir = TestDir::new();
    for text in ["a: [\n", "\t\0", "- a\n- b\n", "just words", "users: 5\n"] {
        let path = dir.write("kubeconfig", text);
        dir.nestcheck(["run", "--kubeconfig", &path])
            .refuses(2, &["kubeconfig", &path])
            .hints(&["YAML"]);
    }
}

#[test]
fn yaml_that_is_no_kubeconfig_is_named() {
    let dir = TestDir::new();
    for text in ["", "{}", "kind: Pod\nmetadata: {name: x}\n"] {
        let path = dir.write("kubeconfig", text);
        dir.nestcheck(["run", "--kubeconfig", &path]).refuses(2, &["kubeconfig", &path]);
    }
}

#[test]
fn a_kubeconfig_without_a_current_context_hints_at_the_flag() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&good().with("/current-context", Value::Null));
    dir.nestcheck(["run", "--kubeconfig", &path])
        .refuses(2, &[&path, "no current context"])
        .hints(&["--context NAME", "`here`"]);
}

#[test]
fn an_unknown_context_hints_at_the_known_ones() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&good());
    dir.nestcheck(["run", "--kubeconfig", &path, "--context", "there"])
        .refuses(2, &["no context `there`", &path])
        .hints(&["`here`"]);
}

#[test]
fn a_context_without_its_cluster_is_refused() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&good().with("/contexts/0/context/cluster", json!("lost")));
    dir.nestcheck(["run", "--kubeconfig", &path])
        .refuses(2, &[&path, "no cluster `lost`"])
        .hints(&["--context"]);
}

#[test]
fn broken_certificates_are_refused() {
    let dir = TestDir::new();
    for (pointer, text) in [
        ("/clusters/0/cluster/certificate-authority-data", "%%%"),
        ("/clusters/0/cluster/certificate-authority-data", "bm8gY2VydGlmaWNhdGU="),
        ("/clusters/0/cluster/certificate-authority", "/no/such/authority"),
        ("/users/0/user/client-certificate-data", "%%%"),
    ] {
        let mut kubeconfig = good().with(pointer, json!(text));
        if pointer.contains("client-certificate") {
            kubeconfig = kubeconfig.with("/users/0/user/client-key-data", json!("%%%"));
        }
        let path = dir.kubeconfig(&kubeconfig);
        dir.nestcheck(["run", "--kubeconfig", &path]).refuses(2, &["kubeconfig", &path]);
    }
}

#[test]
fn a_server_that_is_no_url_is_refused() {
    let dir = TestDir::new();
    for server in ["", "http://", "not a url", "https://[::1"] {
        let path = dir.kubeconfig(&Kubeconfig::to(server));
        dir.nestcheck(["run", "--kubeconfig", &path]).refuses(2, &["kubeconfig", &path]);
    }
}

// Servers.

#[test]
fn an_unreachable_server_is_named() {
    for command in ["run", "preflight"] {
        let dir = TestDir::new();
        let server = format!("https://{}", closed_address());
        let path = dir.kubeconfig(&Kubeconfig::to(&server));
        dir.nestcheck([command, "--kubeconfig", &path])
            .refuses(4, &[&server, "refused"])
            .hints(&["reachable"])
            .within(FIRST_CONTACT);
        assert_eq!(dir.content(), ["kubeconfig"], "nothing ran, so there is no report");
    }
}

#[test]
fn a_server_without_a_name_in_dns_is_named() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&Kubeconfig::to("https://nestcheck.invalid:6443"));
    dir.nestcheck(["preflight", "--kubeconfig", &path])
        .refuses(4, &["https://nestcheck.invalid:6443"])
        .within(FIRST_CONTACT);
}

#[test]
fn a_silent_server_is_given_up_soon() {
    let dir = TestDir::new();
    let server = format!("https://{}", silent_server());
    let path = dir.kubeconfig(&Kubeconfig::to(&server));
    dir.nestcheck(["run", "--kubeconfig", &path])
        .refuses(4, &[&server, "no answer within"])
        .within(FIRST_CONTACT);
    assert_eq!(dir.content(), ["kubeconfig"], "nothing ran, so there is no report");
}

#[test]
fn a_signal_ends_the_wait_for_a_silent_server() {
    for (signal, code) in [(Signal::SIGHUP, 129), (Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let dir = TestDir::new();
        let (listener, address) = listener();
        let path = dir.kubeconfig(&Kubeconfig::to(&format!("https://{address}")));
        let running = dir.start(["run", "--kubeconfig", &path]);
        // It hears signals before it connects.
        let connection = listener.accept().expect("it connects");
        running.signal(signal);
        let finished = running.finish();
        finished.exits(code).within(Duration::from_secs(5));
        drop(connection);
        assert_eq!(dir.content(), ["kubeconfig"], "nothing ran, so there is no report");
    }
}

#[test]
fn a_server_that_speaks_no_tls_is_named() {
    let dir = TestDir::new();
    let server = format!("https://{}", answering_server("HTTP/1.0 400 Bad Request\r\n\r\n"));
    let path = dir.kubeconfig(&Kubeconfig::to(&server));
    dir.nestcheck(["preflight", "--kubeconfig", &path]).refuses(4, &[&server]);
}

#[test]
fn a_server_that_is_no_kubernetes_is_named() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello",
        "HTTP/1.1 404 Not Found\r\ncontent-length: 9\r\nconnection: close\r\n\r\nnot found",
        "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}",
    ] {
        let dir = TestDir::new();
        let server = format!("http://{}", answering_server(answer));
        let path = dir.kubeconfig(&Kubeconfig::to(&server));
        dir.nestcheck(["preflight", "--kubeconfig", &path]).refuses(4, &[&server]);
    }
}

// Arguments.

#[test]
fn an_unknown_filter_is_named_and_the_known_suites_are_shown() {
    for command in ["run", "list"] {
        for filter in ["pdoman", "!pdoman", "!", "", "POD", "podman::nothing"] {
            nestcheck(&[command, "--", filter])
                .refuses(2, &[&format!("`{filter}`")])
                .hints(&["`podman`", "nestcheck list"]);
        }
    }
}

#[test]
fn an_unknown_profile_is_named_and_the_known_ones_are_shown() {
    for command in ["run", "list"] {
        nestcheck(&[command, "--profile", "openshit"])
            .refuses(2, &["--profile", "openshit"])
            .hints(&["`openshift`", "`microshift`", "`kubernetes`", "`smoke`"]);
    }
}

#[test]
fn a_malformed_image_is_refused() {
    for image in ["", " ", "a b", "localhost/Workspace:1", "a/", ":1", "http://x/y"] {
        nestcheck(&["run", "--image", image])
            .refuses(2, &["--image", "not an image reference"])
            .hints(&["HOST/NAME:TAG"]);
    }
}

#[test]
fn a_malformed_image_of_the_environment_is_refused() {
    let dir = TestDir::new();
    let mut command = dir.command(["run"]);
    command.env("NESTCHECK_IMAGE", "a b");
    Running::start(command).finish().refuses(2, &["not an image reference"]);
}

#[test]
fn numbers_out_of_range_are_refused() {
    for jobs in ["0", "x", "-1", "65", "1.5", ""] {
        nestcheck(&["run", &format!("--jobs={jobs}")]).refuses(2, &["--jobs"]);
    }
    for shard in ["3/2", "0/2", "1/0", "1", "a/b", "", "1/99999999999"] {
        nestcheck(&["run", &format!("--shard={shard}")])
            .refuses(2, &["--shard", "is not a shard"])
            .hints(&["--shard 1/3"]);
    }
    for timeout in ["0s", "-5m", "soon", "5", ""] {
        nestcheck(&["run", &format!("--timeout={timeout}")])
            .refuses(2, &["--timeout", "not a duration"])
            .hints(&["`10m`"]);
    }
}

#[test]
fn a_way_to_get_devices_that_is_none_is_refused() {
    for route in ["", "cdi", "runtime-class=", "runtime-class=Nested", "annotation=yes"] {
        for verb in ["run", "preflight"] {
            nestcheck(&[verb, &format!("--devices={route}")])
                .refuses(2, &["--devices", "not a way to get devices"])
                .hints(&["`runtime-class:NAME`"]);
        }
    }
}

#[test]
fn a_report_directory_that_cannot_be_written_is_named_before_the_cluster_is_asked() {
    let dir = TestDir::new();
    let file = dir.write("file", "");
    let path = dir.kubeconfig(&good());
    for directory in [file.clone(), format!("{file}/below"), "/proc/nestcheck".to_owned()] {
        dir.nestcheck(["run", "--kubeconfig", &path, "--report-dir", &directory])
            .refuses(2, &["report directory", &format!("`{directory}`")])
            .hints(&["--report-dir"]);
    }
}

#[test]
fn a_run_that_could_not_begin_leaves_no_report_of_an_earlier_one() {
    let dir = TestDir::new();
    let path = dir.kubeconfig(&good());
    let directory = dir.path("report");
    fs::create_dir(&directory).expect("it can be made");
    for name in ["junit.xml", "report.json", "index.html", "events.jsonl", "mine.txt"] {
        fs::write(directory.join(name), "of an earlier run").expect("it can be written");
    }
    let report_dir = directory.display().to_string();
    dir.nestcheck(["run", "--kubeconfig", &path, "--report-dir", &report_dir]).refuses(4, &[]);
    let rest: Vec<_> = fs::read_dir(&directory)
        .expect("the directory had a file of somebody else")
        .map(|entry| entry.expect("it can be read").file_name())
        .collect();
    assert_eq!(rest, ["mine.txt"], "a green report of yesterday would be taken for today's");
}

#[test]
fn unknown_words_are_refused_with_a_way_on() {
    nestcheck(&[]).refuses(2, &["command"]).hints(&["`run`", "--help"]);
    nestcheck(&["prefligt"]).refuses(2, &["'prefligt'"]).hints(&["'preflight'"]);
    nestcheck(&["frobnicate"]).refuses(2, &["'frobnicate'"]).hints(&["--help"]);
    nestcheck(&["run", "--frobnicate"]).refuses(2, &["'--frobnicate'"]);
    nestcheck(&["run", "--report-di", "x"]).refuses(2, &["'--report-di'"]).hints(&["--report-dir"]);
    nestcheck(&["run", "--jobs"]).refuses(2, &["--jobs"]);
    nestcheck(&["run", "--jobs=1", "--jobs=2"]).refuses(2, &["--jobs"]);
    nestcheck(&["list", "-o", "yaml"]).refuses(2, &["yaml", "text, json"]);
    nestcheck(&["completions", "cmd"]).refuses(2, &["cmd", "bash"]);
    nestcheck(&["report"]).refuses(2, &["<DIR>"]);
    nestcheck(&["report", "a", "b"]).refuses(2, &["`a`"]);
    nestcheck(&["compare", "a"]).refuses(2, &["<REPORT>"]);
}

#[test]
fn a_value_with_the_words_of_a_hint_is_shown_as_it_is() {
    nestcheck(&["run", "--jobs", "a; b"]).refuses(2, &["'a; b'"]).hints(&["--help"]);
}

// Anything at all.

/// Words that mean something to the command, and words that don't.
fn argument() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 48] = [
        "compare",
        "--rerun",
        "run",
        "list",
        "preflight",
        "report",
        "completions",
        "man",
        "help",
        "--help",
        "-h",
        "--version",
        "-V",
        "--",
        "-",
        "-o",
        "json",
        "text",
        "--output=json",
        "--profile",
        "smoke",
        "--shard",
        "1/3",
        "3/2",
        "--jobs",
        "--jobs=8",
        "0",
        "--timeout",
        "5m",
        "--image",
        "localhost/workspace:1",
        "--kubeconfig",
        "--context",
        "--report-dir",
        "--no-preflight",
        "--devices",
        "annotation",
        "--format",
        "junit",
        "--dialect",
        "gitlab",
        "bash",
        "podman",
        "!podman",
        "POD-03",
        "/proc",
        "",
        "a; b",
    ];
    prop_oneof![
        6 => select(&WORDS[..]).prop_map(|word| word.as_bytes().to_vec()),
        1 => "\\PC{0,12}".prop_map(String::into_bytes),
        // No NUL: the kernel takes none.
        1 => proptest::collection::vec(1..=255_u8, 0..12),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn no_arguments_make_it_panic(arguments in proptest::collection::vec(argument(), 0..7)) {
        let dir = TestDir::new();
        let arguments = arguments.into_iter().map(std::ffi::OsString::from_vec);
        let finished = dir.nestcheck(arguments);
        finished.exits_as_documented();
        let refused = finished.code != Some(0);
        prop_assert_eq!(refused, finished.stderr.starts_with("error: "), "{}", finished);
        if refused {
            prop_assert_eq!(&finished.stdout, "", "{}", finished);
            prop_assert!(finished.stderr.lines().count() >= 2, "{}", finished);
        }
    }
}

//! A workspace image in a real registry that wants a password: pushed, mirrored, pulled by its digest.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::IpAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use harness::base::manifest;
use serde_json::{Value, json};
use test_support::{Live, NodePod, Report, Running, TestDir, go_program};

use crate::outputs::{assert_absent, outputs, said};

/// The registry that the image is named after. Nobody is there: only its mirror can be reached.
const SOURCE: &str = "registry.nestcheck.invalid";

/// The user of the registry, as a pull secret has it, and as the registry has it (bcrypt).
const AUTH: &str = "cHVsbGVyOmNhbmFyeS1vZi1yZWdpc3RyeS10ZXN0";
const HTPASSWD: &str = "puller:$2a$04$JQ6qI5n/ySrs4tcJYhnS8ureqF3MQzZqu2qRusX5cGFLE9/8VYDcO\n";

const CANARIES: [&str; 2] = ["canary-of-registry-test", AUTH];

/// The registry of distribution, until the test ends.
struct Registry {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Registry {
    #[track_caller]
    fn start(dir: &TestDir, address: IpAddr) -> Self {
        let config = json!({
            "version": "0.1",
            "storage": {"filesystem": {"rootdirectory": dir.path("storage")}},
            "http": {"addr": format!("{address}:0"), "secret": "test"},
            "auth": {"htpasswd": {"realm": "test", "path": dir.write("htpasswd", HTPASSWD)}},
        });
        let config = dir.write("config.yml", &config.to_string());
        let mut child = Command::new(go_program("./registry"))
            .args(["serve", &config])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut log = String::new();
        let address = loop {
            let line = lines.next().and_then(Result::ok);
            let line = line.unwrap_or_else(|| panic!("the registry does not listen: {log}"));
            if let Some((_, address)) = line.split_once("listening on ") {
                let end = address.find(|character: char| {
                    character != '.' && character != ':' && !character.is_ascii_digit()
                });
                break address[..end.unwrap_or(address.len())].to_owned();
            }
            log.push_str(&line);
        };
        let log = Arc::new(Mutex::new(log));
        let shared = Arc::clone(&log);
        // Nobody else reads what it says, and it ends where nobody does.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push_str(&(line + "\n"));
            }
        });
        Self { child, address, log }
    }

    /// The requests that were answered, each with who asked.
    fn requests(&self) -> Vec<String> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.lines().filter(|line| line.contains("http.request.uri")).map(str::to_owned).collect()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command in a directory, and returns what it prints.
#[track_caller]
fn output(command: &mut Command, dir: &TestDir) -> String {
    let output = command.current_dir(dir.path("")).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {stderr}");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// Pushes the workspace image, and returns its digest.
#[track_caller]
fn push(cluster: &Live, dir: &TestDir, image: &str) -> String {
    let archive = dir.path("workspace.tar");
    cluster.export_image(&archive);
    fs::create_dir(dir.path("layout")).expect("it can be made");
    output(Command::new("tar").arg("-xf").arg(&archive).args(["-C", "layout"]), dir);
    fs::remove_file(archive).expect("it can be removed");
    let mut crane = Command::new(go_program("github.com/google/go-containerregistry/cmd/crane"));
    // As `docker login` would write it.
    crane.args(["push", "--insecure", "layout", image]).env("DOCKER_CONFIG", dir.path("docker"));
    let pushed = output(&mut crane, dir);
    fs::remove_dir_all(dir.path("layout")).expect("it can be removed");
    let (_, digest) = pushed.trim().split_once('@').expect("crane names what it pushed");
    digest.to_owned()
}

/// The node's containerd asks the mirror in place of the source, as
/// <https://github.com/containerd/containerd/blob/main/docs/hosts.md> describes it, until this is dropped.
fn mirror<'a>(cluster: &'a Live, source: &str, mirror: &str) -> NodePod<'a> {
    let hosts = format!("server = \"http://{mirror}\"\n");
    let script = "
        trap 'rm -rf \"/certs.d/$1\"; exit' TERM
        mkdir -p \"/certs.d/$1\"
        echo \"$2\" >\"/certs.d/$1/hosts.toml\"
        touch /tmp/ready
        sleep infinity & wait
    ";
    let container = json!({
        "name": "keep", "image": "localhost/workspace:1",
        "command": ["sh", "-euc", script, "sh", source, hosts],
        "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
        "securityContext": {"privileged": true, "runAsUser": 0},
        "volumeMounts": [{"name": "hosts", "mountPath": "/certs.d"}],
    });
    let directory = json!({"path": "/etc/containerd/certs.d", "type": "DirectoryOrCreate"});
    let spec = json!({
        "restartPolicy": "Never", "automountServiceAccountToken": false,
        "containers": [container], "volumes": [{"name": "hosts", "hostPath": directory}],
    });
    NodePod::start(cluster, "nestcheck-test-mirror", &spec)
}

/// The source and the mirror in the object that `nestcheck images` prints.
#[track_caller]
fn mirror_set(dir: &TestDir, image: &str, mirror: &str) -> (String, String) {
    let printed = dir.nestcheck(["images", "--image", image, "--mirror", mirror]);
    printed.exits(0);
    let set: Value = manifest::parse("the object", &printed.stdout).expect("it is YAML");
    assert_eq!(set["kind"], "ImageDigestMirrorSet");
    let mirrors = &set["spec"]["imageDigestMirrors"][0];
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&mirrors["source"]), text(&mirrors["mirrors"][0]))
}

#[test]
#[ignore = "needs a local cluster: ci/test makes it"]
fn an_image_of_a_registry_with_a_password_is_pulled_from_its_mirror_by_digest() {
    let (cluster, dir, server) = (Live::take(), TestDir::new(), TestDir::new());
    let registry = Registry::start(&server, cluster.own_address());
    // The node does not have it from an earlier test.
    let repository = format!("test-{}/workspace", std::process::id());
    let mirrored = format!("{}/{repository}", registry.address);
    let entry = json!({"auth": AUTH});
    let logins = json!({"auths": {SOURCE: entry, registry.address.as_str(): entry}}).to_string();
    server.write("docker/config.json", &logins);
    let digest = push(&cluster, &server, &format!("{mirrored}:1"));
    let image = format!("{SOURCE}/{repository}@{digest}");

    // The list of images is what the node pulls, and the object leads it to the mirror.
    assert_eq!(dir.nestcheck(["images", "--image", &image]).stdout, format!("{image}\n"));
    let (from, to) = mirror_set(&dir, &image, &mirrored);
    assert_eq!((&from, &to), (&format!("{SOURCE}/{repository}"), &mirrored));
    let host = |repository: &str| repository.split('/').next().unwrap_or_default().to_owned();
    let _mirror = mirror(&cluster, &host(&from), &host(&to));

    let run = ["run", "ID-01", "--kubeconfig", cluster.kubeconfig(), "--image", &image];
    let refused = dir.nestcheck(run);
    refused.exits(4).says(&["CAUSE the node can't pull the image: `", "`--pull-secret`"]);
    let log =
        fs::read_to_string(dir.path("nestcheck-report/events.jsonl")).expect("there is a log");
    assert!(log.contains("no basic auth credentials"), "{log}");

    let secret = server.write("pull.json", &logins);
    let options = ["--pull-secret", &secret, "--report-dir", "pulled"];
    let mut traced = dir.command(run.iter().chain(&options));
    traced.env("NESTCHECK_LOG", "trace");
    let pulled = Running::start(traced).finish();
    pulled.exits(0);
    let report = Report::read(&dir.path("pulled"));
    let facts = report.json("/run/cluster").to_string();
    assert!(facts.contains("\"image id\"") && facts.contains(&digest), "not {digest}: {facts}");
    assert_absent(&outputs(&dir, report.directory()), &CANARIES);
    assert_absent(&[said(&refused), said(&pulled)].concat(), &CANARIES);
    let asked = format!("/v2/{repository}/manifests/{digest}?ns={SOURCE}");
    let requests = registry.requests();
    let by_node = |line: &&String| line.contains(&asked) && line.contains("containerd");
    assert!(requests.iter().any(|line| by_node(&line)), "{requests:#?}");
    cluster.is_clean();
}

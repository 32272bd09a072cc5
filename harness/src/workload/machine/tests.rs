use std::{path::Path, time::Instant};

use super::*;

/// A machine whose user has no podman, so that no store is made.
fn machine() -> Machine {
    let directory = private_directory(&env::temp_dir()).expect("a directory");
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        content: text.as_bytes().to_vec(),
        architecture: None,
    };
    let probe = file("probe", "#!/bin/sh\necho \"$1\"\n");
    let text = file("images/a/b", "text");
    lay_out(directory.path(), &[probe, text]).expect("the files");
    let here = directory.path().join("files");
    // One of its own: the end of a machine ends the processes of its run.
    let run = format!("{:x}", fastrand::u64(..));
    let replacements = vec![Replacement { of_pods: FILES_DIRECTORY.to_owned(), here }];
    let environment = vec![
        (MARK.to_owned(), PathBuf::from(&run)),
        ("TMPDIR".to_owned(), directory.path().join("tmp")),
    ];
    Machine {
        directory,
        run,
        replacements,
        environment,
        storage: None,
        has_own_store: false,
        failed_info: None,
    }
}

async fn ran(machine: &Machine, command: &Command) -> Output {
    machine.run(command, &Pod::default()).await.expect("it ends")
}

fn shell(script: &str) -> Command {
    Command::shell("a script", script, [""; 0])
}

#[tokio::test]
async fn the_exit_code_and_both_streams_arrive() {
    let machine = machine();
    let output = ran(&machine, &shell("echo out; echo err >&2; exit 7")).await;
    assert_eq!((output.exit_code, output.text().as_str()), (7, "out"));
    assert_eq!(output.stderr, b"err\n");
    let killed = ran(&machine, &shell("kill -9 $$")).await;
    assert_eq!(killed.exit_code, 137);
}

#[tokio::test]
async fn a_program_that_is_missing_or_may_not_run_has_the_exit_code_of_a_shell() {
    let machine = machine();
    assert_eq!(ran(&machine, &Command::new(["/no/such/program"])).await.exit_code, 127);
    assert_eq!(ran(&machine, &Command::new(["nestcheck-no-such-program"])).await.exit_code, 127);
    assert_eq!(ran(&machine, &Command::new(["/etc/passwd"])).await.exit_code, 126);
}

#[tokio::test]
async fn no_case_calls_podman_before_its_store_is_proven() {
    let mut machine = machine();
    let failed = ran(&machine, &shell("echo 'cannot set up namespace' >&2; exit 125")).await;
    machine.failed_info = Some(failed);
    for command in [Command::new(["podman", "ps"]), shell("true; buildah images")] {
        let refused = machine.run(&command, &Pod::default()).await.expect_err("it is not run");
        assert!(refused.message().contains("cannot set up namespace"), "{refused:?}");
    }
    assert_eq!(ran(&machine, &shell("exit 3")).await.exit_code, 3);
}

#[tokio::test]
async fn a_container_of_the_run_ends_with_it() {
    let machine = machine();
    // As conmon does: its child has the environment of the image.
    let script = "
        setsid sh -c 'env -i sleep 60 & echo $!; wait' > \"$TMPDIR/id\" 2> /dev/null &
        until [ -s \"$TMPDIR/id\" ]; do sleep 0.01; done
        cat \"$TMPDIR/id\"
    ";
    let started = ran(&machine, &shell(script)).await;
    let id = started.text();
    assert!(Path::new("/proc").join(&id).exists(), "{id}: {started:?}");
    assert_eq!(leftovers::end_processes(MARK, &machine.run), 0);
    let state = fs::read_to_string(Path::new("/proc").join(&id).join("stat")).unwrap_or_default();
    // Nobody may have waited for it yet.
    assert!(state.is_empty() || state.contains(") Z "), "{state}");
}

#[tokio::test]
async fn standard_input_is_read_or_left_alone() {
    let machine = machine();
    let output = ran(&machine, &Command::new(["cat"]).with_stdin("given")).await;
    assert_eq!(output.text(), "given");
    let much = vec![b'x'; 1024 * 1024];
    assert_eq!(ran(&machine, &Command::new(["true"]).with_stdin(much)).await.exit_code, 0);
    assert_eq!(ran(&machine, &Command::new(["cat"])).await.text(), "", "there is none");
}

#[tokio::test]
async fn output_is_bounded() {
    let machine = machine();
    let output = ran(&machine, &shell("head -c 3000000 /dev/zero")).await;
    assert_eq!((output.exit_code, output.stdout.len()), (0, 1024 * 1024));
}

#[tokio::test]
async fn the_paths_of_pods_are_those_of_the_private_directory() {
    let machine = machine();
    assert_eq!(ran(&machine, &Command::new([PROBE, "facts"])).await.text(), "facts");
    let script = "cat /nestcheck/images/a/b; stat -c ' %a' /nestcheck/images/a/b; mktemp -d";
    let output = ran(&machine, &shell(script)).await.text();
    let (read, temporary) = output.split_once('\n').expect("two lines");
    assert_eq!(read, "text 555", "as a ConfigMap's file");
    assert!(Path::new(temporary).starts_with(machine.directory.path().join("tmp")), "{output}");
    let mode = fs::metadata(machine.directory.path()).expect("a directory").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

/// Whether a process runs: one that ended and that nobody waited for does not.
fn is_running(process: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

async fn ends(process: &str) -> bool {
    for _ in 0..100 {
        if !is_running(process) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}

/// A script that starts a child in the same group, writes its process id to a file and waits.
fn waiting(machine: &Machine) -> (Command, PathBuf) {
    let path = machine.directory.path().join("process");
    let script = "sleep 100 & echo $! > \"$1.new\"; mv \"$1.new\" \"$1\"; echo begun; wait";
    (Command::shell("wait", script, [path.display().to_string()]), path)
}

#[tokio::test]
async fn a_deadline_kills_the_whole_group_and_reports_what_was_written() {
    let machine = machine();
    let (command, path) = waiting(&machine);
    let began = Instant::now();

    let ended = machine.run(&command.within(Duration::from_millis(500)), &Pod::default()).await;

    assert!(began.elapsed() < Duration::from_secs(20));
    let Err(Failure::Timeout { message, .. }) = ended else { panic!("{ended:?}") };
    assert!(message.contains("it had written: begun"), "{message}");
    let child = fs::read_to_string(path).expect("it began");
    assert!(ends(child.trim()).await, "the child still runs");
}

#[tokio::test]
async fn a_command_that_nobody_waits_for_is_killed() {
    let machine = machine();
    let (command, path) = waiting(&machine);
    let pod = Pod::default();
    let begun = async {
        while !path.exists() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        ended = machine.run(&command, &pod) => panic!("{ended:?}"),
        () = begun => {}
    }
    let child = fs::read_to_string(path).expect("it began");
    assert!(ends(child.trim()).await, "the child still runs");
}

#[tokio::test]
async fn what_outlives_its_command_ends_with_the_machine() {
    let machine = machine();
    let script = "sleep 100 > /dev/null 2>&1 & echo $!";
    let server = ran(&machine, &shell(script)).await.text();
    assert!(is_running(&server), "a server is to outlive its command");
    let path = machine.directory.path().to_owned();

    machine.clean_up().await.expect("nothing is left");
    drop(machine);

    assert!(ends(&server).await, "the server still runs");
    assert!(!path.exists());
}

#[tokio::test]
async fn another_container_is_not_there() {
    let machine = machine();
    let command = Command::new(["id"]).in_container("second");
    let ended = machine.run(&command, &Pod::default()).await;
    assert!(matches!(ended, Err(Failure::Harness { .. })), "{ended:?}");
}

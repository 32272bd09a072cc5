//! Programs that the image lacks: what the probe found once decides before a command runs, so that a
//! hundred cases do not fail for one reason.

use probe::Facts;

use crate::verdict::{Attribution, Failure, Place, Repair, SignatureId};

/// A program that containers need, or others that do the same.
#[derive(Debug, PartialEq, Eq)]
struct Program {
    /// Any of these is enough.
    names: &'static [&'static str],
    /// How messages call it.
    shown: &'static str,
    /// The packages that have it.
    packages: Packages,
    /// The change by which an image gets it.
    repair: Repair,
}

/// The names of a program's package.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Packages {
    /// On Fedora, and on Red Hat's universal base images.
    pub(crate) fedora: &'static str,
    /// On Debian and Ubuntu.
    pub(crate) debian: &'static str,
    /// On Alpine.
    pub(crate) alpine: &'static str,
    /// On openSUSE.
    pub(crate) suse: &'static str,
}

impl Packages {
    const fn same(name: &'static str) -> Self {
        Self { fedora: name, debian: name, alpine: name, suse: name }
    }
}

const PODMAN: Program = Program {
    names: &["podman"],
    shown: "`podman`",
    packages: Packages::same("podman"),
    repair: Repair::Podman,
};

const CONMON: Program = Program {
    names: &["conmon", "conmon-rs"],
    shown: "`conmon`",
    packages: Packages::same("conmon"),
    repair: Repair::Conmon,
};

const RUNTIME: Program = Program {
    names: &["crun", "runc", "youki", "runsc", "krun", "kata-runtime"],
    shown: "`crun` or `runc`",
    packages: Packages::same("crun"),
    repair: Repair::OciRuntime,
};

const UID_MAPPER: Program = Program {
    names: &["newuidmap"],
    shown: "`newuidmap`",
    packages: MAPPERS,
    repair: Repair::IdHelpers,
};

const GID_MAPPER: Program = Program {
    names: &["newgidmap"],
    shown: "`newgidmap`",
    packages: MAPPERS,
    repair: Repair::IdHelpers,
};

const MAPPERS: Packages =
    Packages { fedora: "shadow-utils", debian: "uidmap", alpine: "shadow-subids", suse: "shadow" };

const PASTA: Program = Program {
    names: &["pasta"],
    shown: "`pasta`",
    packages: Packages::same("passt"),
    repair: Repair::Pasta,
};

const NETAVARK: Program = Program {
    names: &["netavark"],
    shown: "`netavark`",
    packages: Packages::same("netavark"),
    repair: Repair::Netavark,
};

const NAMES: Program = Program {
    names: &["aardvark-dns", "dnsname"],
    shown: "`aardvark-dns`",
    packages: Packages::same("aardvark-dns"),
    repair: Repair::AardvarkDns,
};

const FIREWALL: Program = Program {
    names: &["nft", "iptables"],
    shown: "`nft` or `iptables`",
    packages: Packages::same("nftables"),
    repair: Repair::Nftables,
};

const INIT: Program = Program {
    names: &["catatonit"],
    shown: "`catatonit`",
    packages: Packages::same("catatonit"),
    repair: Repair::Catatonit,
};

const COMPOSE: Program = Program {
    names: &["podman-compose"],
    shown: "`podman-compose`",
    packages: Packages::same("podman-compose"),
    repair: Repair::PodmanCompose,
};

/// All of them, in the order in which they are listed.
const ALL: [&Program; 11] = [
    &PODMAN,
    &CONMON,
    &RUNTIME,
    &UID_MAPPER,
    &GID_MAPPER,
    &PASTA,
    &NETAVARK,
    &NAMES,
    &FIREWALL,
    &INIT,
    &COMPOSE,
];

/// What podman needs on an overlay, and what no command asks for by its name.
const FUSE_OVERLAYFS: Packages = Packages::same("fuse-overlayfs");

/// The packages by which an image is repaired; none where packages are not what it lacks.
pub(crate) fn packages(repair: Repair) -> Option<&'static Packages> {
    if repair == Repair::FuseOverlayfs {
        return Some(&FUSE_OVERLAYFS);
    }
    ALL.into_iter().find(|program| program.repair == repair).map(|program| &program.packages)
}

/// Without which no podman command works.
const BASE: [&Program; 3] = [&PODMAN, &CONMON, &RUNTIME];

/// What podman needs for a bridge network, in which containers find each other by name.
const BRIDGE: [&Program; 4] = [&PASTA, &NETAVARK, &NAMES, &FIREWALL];

/// What a command needs of the image.
#[derive(Debug, Default, PartialEq, Eq)]
struct Needs {
    /// It can't do its work without these.
    programs: Vec<&'static Program>,
    /// It only reports, so that it runs anyway: its failure is what a case is about.
    only_reports: bool,
}

/// The failure of a command that needs a program which the image lacks. None where it may run.
pub(super) fn block(arguments: &[String], facts: &Facts) -> Option<Failure> {
    let Needs { programs, only_reports } = needs(arguments);
    let missing = lacked(programs, facts);
    if only_reports || missing.is_empty() {
        return None;
    }
    let cause = attribution(facts);
    Some(Failure::blocked_by(cause.wrong.clone(), cause))
}

/// Why a command failed that needs a program which the image lacks.
pub(super) fn blame(arguments: &[String], facts: &Facts) -> Option<Attribution> {
    (!lacked(needs(arguments).programs, facts).is_empty()).then(|| attribution(facts))
}

/// The cause, where the image lacks the program of this name and all that do the same.
pub(crate) fn lacking(name: &str, facts: &Facts) -> Option<Attribution> {
    let program = ALL.into_iter().find(|program| program.names.contains(&name))?;
    (!lacked(vec![program], facts).is_empty()).then(|| attribution(facts))
}

/// The cause, which is one for all commands: it has every program that the image lacks.
fn attribution(facts: &Facts) -> Attribution {
    let missing = lacked(ALL.to_vec(), facts);
    let of = |package: fn(&Packages) -> &'static str| {
        let mut names: Vec<_> = missing.iter().map(|it| package(&it.packages)).collect();
        names.dedup();
        names.join(" ")
    };
    let fix = format!(
        "install them in the image: `dnf install {}` (Fedora, UBI), `apt-get install {}` (Debian, \
         Ubuntu), `apk add {}` (Alpine), `zypper install {}` (openSUSE)",
        of(|it| it.fedora),
        of(|it| it.debian),
        of(|it| it.alpine),
        of(|it| it.suse),
    );
    let mut repairs: Vec<_> = missing.iter().map(|program| program.repair).collect();
    repairs.dedup();
    Attribution {
        signature: Some(SignatureId::F43),
        wrong: format!("the image lacks {}", list(&missing)),
        place: Place::Image,
        fix: Some(fix),
        repairs,
    }
}

fn list(programs: &[&Program]) -> String {
    let names: Vec<_> = programs.iter().map(|program| program.shown).collect();
    match names.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Those that are not there. What the probe did not look for may be.
fn lacked(programs: Vec<&'static Program>, facts: &Facts) -> Vec<&'static Program> {
    let is_absent = |name: &&str| {
        let found = facts.programs.iter().find(|it| it.name == **name);
        found.is_some_and(|it| it.path.is_none())
    };
    programs.into_iter().filter(|program| program.names.iter().all(is_absent)).collect()
}

/// What a command needs, of all commands of a script.
fn needs(arguments: &[String]) -> Needs {
    let mut all = Needs { programs: Vec::new(), only_reports: true };
    let is_script = arguments.first().is_some_and(|program| program == "sh");
    let lines: Vec<Vec<&str>> = if is_script {
        let lines = arguments.iter().flat_map(|argument| argument.lines());
        lines.map(|line| line.split_whitespace().collect()).collect()
    } else {
        vec![arguments.iter().map(String::as_str).collect()]
    };
    for words in lines {
        let is_tool = |word: &&str| matches!(*word, "podman" | "podman-compose" | "docker-compose");
        let Some(at) = words.iter().position(is_tool) else { continue };
        let found = match words[at] {
            "podman" => needs_of_podman(&words[at + 1..]),
            tool => needs_of_compose(tool, &words[at + 1..]),
        };
        all.only_reports &= found.only_reports;
        for program in found.programs {
            if !all.programs.contains(&program) {
                all.programs.push(program);
            }
        }
    }
    all
}

fn needs_of_podman(words: &[&str]) -> Needs {
    let is_command = |word: &&&str| !word.starts_with('-');
    let command = words.iter().find(is_command).copied().unwrap_or_default();
    let mut programs = BASE.to_vec();
    let only_reports = matches!(command, "" | "info" | "version" | "unshare" | "system");
    // Without them the first command in a pod fails, whichever it is.
    programs.extend([&UID_MAPPER, &GID_MAPPER]);
    let network = words.iter().find_map(|word| word.strip_prefix("--network="));
    // Options of a variable, or of the pod, may choose the network.
    let may_differ = words
        .iter()
        .any(|word| word.contains('$') || word.starts_with("--pod") || *word == "--net");
    match (command, network) {
        ("run" | "create", Some(network)) => match network {
            "none" | "host" | "private" | "slirp4netns" => {}
            _ if network.contains(':') || network.contains('$') => {}
            "pasta" => programs.push(&PASTA),
            _ => programs.extend(BRIDGE),
        },
        ("run" | "create", None) if !may_differ => programs.push(&PASTA),
        ("network", _) => programs.push(&NETAVARK),
        _ => {}
    }
    if words.contains(&"--init") {
        programs.push(&INIT);
    }
    Needs { programs, only_reports }
}

fn needs_of_compose(tool: &str, words: &[&str]) -> Needs {
    let only_reports = words.first().is_none_or(|word| word.contains("version"));
    let own = (tool == "podman-compose").then_some(&COMPOSE);
    let mut programs: Vec<&Program> = own.into_iter().collect();
    if !only_reports {
        programs.extend(BASE);
        programs.extend([&UID_MAPPER, &GID_MAPPER]);
    }
    if words.contains(&"up") {
        programs.extend(BRIDGE);
    }
    Needs { programs, only_reports }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::diagnosis::facts_of_tests;

    /// Facts of an image that has all but these.
    fn without(absent: &[&str]) -> Facts {
        let names = ALL.iter().flat_map(|program| program.names);
        let programs: Vec<Value> = names
            .map(|name| {
                let path = (!absent.contains(name)).then(|| format!("/usr/bin/{name}"));
                json!({"name": name, "path": path})
            })
            .collect();
        let mut facts = facts_of_tests();
        facts.programs = serde_json::from_value(json!(programs)).expect("programs");
        facts
    }

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    fn blocked(line: &str, absent: &[&str]) -> bool {
        block(&words(line), &without(absent)).is_some()
    }

    #[test]
    fn a_command_is_blocked_by_what_it_needs_and_by_nothing_else() {
        for (line, absent, expected) in [
            ("podman run --rm --network=none t", &["conmon", "conmon-rs"][..], true),
            ("podman run --rm --network=none t", &["pasta", "netavark", "nft", "iptables"], false),
            ("podman run --rm t", &["pasta"], true),
            ("podman run --rm --network=pasta t", &["pasta"], true),
            ("podman run --rm --network=slirp4netns t", &["pasta"], false),
            ("podman run --rm --network=own t", &["aardvark-dns", "dnsname"], true),
            ("podman run --rm --network=container:web t", &["pasta"], false),
            ("podman run --init --network=none t", &["catatonit"], true),
            ("podman exec web id", &["pasta"], false),
            ("podman network create own", &["netavark"], true),
            ("podman info", &["crun", "conmon"], false),
            ("podman unshare cat /proc/self/uid_map", &["newuidmap"], false),
            ("podman-compose version", &["podman-compose"], false),
            ("env A=1 podman-compose --file f up --detach", &["nft", "iptables"], true),
            ("env A=1 podman-compose --file f down", &["nft", "iptables"], false),
            ("docker-compose up", &["podman-compose"], false),
            ("/nestcheck/probe facts", &["podman", "conmon", "crun"], false),
        ] {
            assert_eq!(blocked(line, absent), expected, "`{line}` without {absent:?}");
        }
    }

    #[test]
    fn a_command_that_only_reports_runs_and_its_failure_is_the_missing_programs() {
        for (line, absent) in [("podman info", "newuidmap"), ("podman unshare true", "newgidmap")] {
            let blamed = blame(&words(line), &without(&[absent])).expect("a cause");
            assert_eq!(blamed.wrong, format!("the image lacks `{absent}`"));
            assert_eq!(lacking(absent, &without(&[absent])), Some(blamed));
        }
        assert_eq!(lacking("crun", &without(&["crun"])), None, "there is runc");
        assert_eq!(lacking("nonesuch", &without(&[])), None);
    }

    #[test]
    fn an_alternative_is_as_good() {
        for absent in ["crun", "runc", "nft", "iptables", "conmon", "aardvark-dns"] {
            assert!(!blocked("podman run --network=own t", &[absent]), "{absent}");
        }
        assert!(blocked("podman run --network=own t", &["nft", "iptables"]));
    }

    #[test]
    fn a_script_needs_what_its_commands_need() {
        let script = "context=$(mktemp -d)\npodman build --quiet \"$context\"\necho pasta";
        let arguments = ["sh", "-euc", script, "name"].map(str::to_owned);
        assert!(block(&arguments, &without(&["newuidmap"])).is_some());
        assert!(block(&arguments, &without(&["pasta"])).is_none());
    }

    #[test]
    fn nothing_is_blamed_that_was_not_looked_for() {
        let facts = facts_of_tests();
        assert!(facts.programs.is_empty());
        assert_eq!(block(&words("podman run t"), &facts), None);
        assert_eq!(blame(&words("podman info"), &facts), None);
    }

    #[test]
    fn the_cause_lists_all_that_is_missing_with_its_packages() {
        let facts = without(&["conmon", "conmon-rs", "newuidmap", "newgidmap", "pasta"]);

        let Some(Failure::Blocked { reason, remedy, cause }) =
            block(&words("podman run --network=none t"), &facts)
        else {
            panic!("it is blocked")
        };

        let cause = cause.expect("a cause");
        assert_eq!(cause.wrong, "the image lacks `conmon`, `newuidmap`, `newgidmap` and `pasta`");
        assert_eq!(reason, cause.wrong, "all cases are blocked in the same words");
        assert_eq!((cause.signature, cause.place), (Some(SignatureId::F43), Place::Image));
        assert!(remedy.contains("`dnf install conmon shadow-utils passt`"), "{remedy}");
        assert!(remedy.contains("`apt-get install conmon uidmap passt`"), "{remedy}");
        assert!(remedy.contains("`apk add conmon shadow-subids passt`"), "{remedy}");
        assert!(remedy.contains("`zypper install conmon shadow passt`"), "{remedy}");
        assert_eq!(blame(&words("podman info"), &facts), Some(*cause));
    }
}

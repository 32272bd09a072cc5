//! Images that recipes make of the workspace image: that they have what the recipe has left, and
//! that nothing of the recipe outlives it.

use std::fs;

use crate::support::{Cluster, processes_of};

/// In the workspace image that folder has three files.
const MADE_ANEW: &str = "
rm -r /home/user/.config/containers
mkdir /home/user/.config/containers
echo new >/home/user/.config/containers/only
mv /etc/skel /etc/skeleton
rm /etc/subuid
sleep 864213 </dev/null >/dev/null 2>&1 &
";

#[test]
#[ignore = "needs root and a built cache"]
fn a_derived_image_has_what_its_recipe_left_and_nothing_runs_on() {
    let cluster = Cluster::running("test-derive", &[]);
    let recipe = cluster.folder().join("made-anew.sh");
    fs::write(&recipe, MADE_ANEW).unwrap();
    let image = cluster.command(&["derive", recipe.to_str().unwrap()]).expect("it is made");
    assert_eq!(image.trim(), "localhost/made-anew:1");
    assert_eq!(
        processes_of(&["sleep", "864213"]),
        [0_i64; 0],
        "the recipe left a process on the host"
    );

    let image = format!("--image={}", image.trim());
    let options = ["--image-pull-policy=Never", "--restart=Never", "--command", "--"];
    let run = ["run", "reader", &image];
    cluster.kubectl(&[&run[..], &options, &["sleep", "600"]].concat());
    cluster.kubectl(&["wait", "--for=condition=Ready", "pod/reader", "--timeout=60s"]);
    let shell = |script: &str| cluster.kubectl(&["exec", "reader", "--", "sh", "-c", script]);
    assert_eq!(shell("ls -A ~/.config/containers"), "only\n", "a folder that was made anew");
    assert_eq!(shell("ls -Ad /etc/skel* /etc/subuid 2>/dev/null; :"), "/etc/skeleton\n");
    assert!(shell("ls -A /etc/skeleton").contains(".profile"), "a folder that was renamed");
}

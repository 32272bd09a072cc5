//! Makes cargo look into the recipes, whose files are part of the program: also when one is added.

fn main() {
    println!("cargo::rerun-if-changed=recipes");
}

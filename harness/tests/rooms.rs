//! The modules of the harness use each other in one direction.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use syn::{
    Attribute, File, Item, UseTree,
    visit::{self, Visit},
};

/// The rooms from the bottom up: each may use those before it.
const ROOMS: [&str; 10] = [
    "base",
    "cluster",
    "facts",
    "verdict",
    "sandbox",
    "diagnosis",
    "workload",
    "remedy",
    "engine",
    "report",
];

/// The rooms that each room uses, with one file that does.
type Uses = BTreeMap<(String, String), PathBuf>;

#[test]
fn every_room_uses_only_rooms_below_it() -> Result<(), Box<dyn Error>> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let uses = uses(&source)?;
    assert!(uses.len() >= ROOMS.len(), "the paths of the source are not understood: {uses:?}");
    let upward: Vec<_> = uses
        .iter()
        .filter(|((from, to), _)| floor(from) <= floor(to))
        .map(|((from, to), file)| format!("`{from}` uses `{to}` in {}", file.display()))
        .collect();
    assert!(upward.is_empty(), "these point upwards:\n{}", upward.join("\n"));
    Ok(())
}

#[test]
fn the_rooms_are_the_modules_of_the_library() -> Result<(), Box<dyn Error>> {
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs");
    let file = syn::parse_file(&fs::read_to_string(library)?)?;
    let modules: BTreeSet<String> = file
        .items
        .iter()
        .filter_map(|item| match item {
            Item::Mod(module) => Some(module.ident.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(modules, ROOMS.map(str::to_owned).into());
    Ok(())
}

#[test]
fn paths_are_found_wherever_they_stand() -> Result<(), Box<dyn Error>> {
    let file = syn::parse_file(
        "use crate::{Error, base::{a, b}, facts as f};
         fn look() { crate::engine::run::<crate::report::Report>(); }
         fn log() { tracing::info!(x = %crate::verdict::name()); }
         #[cfg(test)] mod tests { use crate::sandbox::x; }",
    )?;
    let mut found = Rooms::default();
    found.visit_file(&file);
    let expected = ["Error", "base", "engine", "facts", "report", "verdict"].map(str::to_owned);
    assert_eq!(found.0, expected.into());
    Ok(())
}

/// Where a room stands; `Error` and what else the library exports is at the bottom.
fn floor(room: &str) -> usize {
    ROOMS.iter().position(|name| *name == room).map_or(0, |floor| floor + 1)
}

fn uses(source: &Path) -> Result<Uses, Box<dyn Error>> {
    let mut uses = Uses::new();
    for path in rust_files(source)? {
        let inner = path.strip_prefix(source)?;
        let Some(room) = inner.components().next().map(std::path::Component::as_os_str) else {
            continue;
        };
        let room = room.to_string_lossy().into_owned();
        let file: File = syn::parse_file(&fs::read_to_string(&path)?)?;
        let mut rooms = Rooms::default();
        rooms.visit_file(&file);
        for used in rooms.0.into_iter().filter(|used| *used != room) {
            uses.entry((room.clone(), used)).or_insert_with(|| inner.to_owned());
        }
    }
    uses.retain(|(from, to), _| floor(from) > 0 && floor(to) > 0);
    Ok(uses)
}

fn rust_files(directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(rust_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            // A file of unit tests may use what it likes.
            && path.file_name().is_some_and(|name| name != "tests.rs")
        {
            files.push(path);
        }
    }
    Ok(files)
}

/// The second segments of paths that begin with `crate`.
#[derive(Default)]
struct Rooms(BTreeSet<String>);

impl Rooms {
    fn add_tree(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => {
                self.0.insert(path.ident.to_string());
            }
            UseTree::Name(name) => {
                self.0.insert(name.ident.to_string());
            }
            UseTree::Rename(rename) => {
                self.0.insert(rename.ident.to_string());
            }
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(tree)),
            // It hides which rooms are used.
            UseTree::Glob(_) => {
                self.0.extend(ROOMS.map(str::to_owned));
            }
        }
    }
}

impl<'ast> Visit<'ast> for Rooms {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        match &item.tree {
            UseTree::Path(path) if path.ident == "crate" => self.add_tree(&path.tree),
            _ => {}
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(second) = segments.next()
        {
            self.0.insert(second.ident.to_string());
        }
        visit::visit_path(self, path);
    }

    /// The arguments of a macro are tokens, not paths.
    fn visit_macro(&mut self, invocation: &'ast syn::Macro) {
        let tokens = invocation.tokens.to_string();
        let mut rest = tokens.as_str();
        while let Some((_, after)) = rest.split_once("crate :: ") {
            let name: String =
                after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            self.0.insert(name);
            rest = after;
        }
        visit::visit_macro(self, invocation);
    }
}

fn is_test(item: &Item) -> bool {
    let attributes: &[Attribute] = match item {
        Item::Mod(module) => &module.attrs,
        Item::Fn(function) => &function.attrs,
        Item::Use(import) => &import.attrs,
        Item::Impl(block) => &block.attrs,
        _ => &[],
    };
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|name| name == "test")
    })
}

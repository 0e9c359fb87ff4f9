//! Background work on repositories, one at a time, so that they stay quick however much is pushed: packing in
//! geometric steps, a commit graph, bitmaps, packed references; and git's own check of all objects on demand.
//!
//! A push only notes that its project was pushed to. What was asked for by hand is kept in the database until
//! it is done, so that a restart forgets none of it.

pub(crate) mod api;
mod service;
pub(crate) mod store;

pub(crate) use api::routes as api_routes;

use std::path::Path;

/// Loose objects, as estimated, from which on packing is worth while.
const LOOSE: usize = 512;
/// Packs from which on packing is worth while.
const PACKS: usize = 12;
/// References in files of their own from which on they are packed.
const REFERENCES: usize = 64;

/// What a repository looks like on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    loose: usize,
    packs: usize,
    references: usize,
    graph: bool,
}

/// What is worth doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Due {
    pack: bool,
    references: bool,
    graph: bool,
}

/// What is due, from counts alone.
fn due(state: State) -> Due {
    let pack = state.loose >= LOOSE || state.packs >= PACKS;
    Due {
        pack,
        references: state.references >= REFERENCES,
        // New commits are in no graph yet; one that is there is renewed when packing is.
        graph: pack || !state.graph,
    }
}

/// Looks at a repository without opening it. Loose objects are estimated from one of their 256 folders, as
/// git does.
fn look(repository: &Path) -> State {
    let count = |path: &Path, wanted: &dyn Fn(&str) -> bool, most: usize| {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_name().to_str().is_some_and(wanted))
            .take(most)
            .count()
    };
    let objects = repository.join("objects");
    let sampled = ["17", "5a", "c3", "e8"]
        .iter()
        .map(|folder| count(&objects.join(folder), &|_| true, 1_000))
        .sum::<usize>();
    let mut references = 0;
    let mut folders = vec![repository.join("refs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                _ => references += 1,
            }
        }
        if references > REFERENCES {
            break;
        }
    }
    State {
        loose: sampled * 64,
        packs: count(&objects.join("pack"), &|name| name.ends_with(".pack"), 10_000),
        references,
        graph: objects.join("info/commit-graphs").exists() || objects.join("info/commit-graph").exists(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_done_before_it_is_worth_while() {
        let calm = State {
            loose: LOOSE - 1,
            packs: PACKS - 1,
            references: REFERENCES - 1,
            graph: true,
        };
        assert_eq!(due(calm), Due::default());
        assert!(due(State { loose: LOOSE, ..calm }).pack);
        assert!(due(State { packs: PACKS, ..calm }).pack);
        assert!(
            due(State {
                references: REFERENCES,
                ..calm
            })
            .references
        );
        assert!(due(State { graph: false, ..calm }).graph);
    }

    #[test]
    fn a_repository_is_counted_without_being_opened() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["objects/17", "objects/pack", "refs/heads/feature"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in [
            "objects/17/aa",
            "objects/17/bb",
            "objects/pack/pack-1.pack",
            "objects/pack/pack-1.idx",
            "refs/heads/main",
            "refs/heads/feature/x",
        ] {
            std::fs::write(at(name), "x").unwrap();
        }
        let state = look(folder.path());
        assert_eq!(
            (state.loose, state.packs, state.references, state.graph),
            (128, 1, 2, false)
        );
    }
}

//! A git history like that of a large project, the same on every machine: many small files, of which each
//! commit changes a line or two.

use crate::{Result, platform::git};
use std::{
    fmt::Write as _,
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
};

/// Files in one folder.
pub const PER_FOLDER: usize = 40;
const LINES: usize = 40;
/// 2020-01-01, the first commit's time.
const EPOCH: usize = 1_577_836_800;

/// Numbers that look random and never change (SplitMix64).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % (end.max(1) as u64)).unwrap_or_default()
    }
}

/// Makes a bare repository with that many commits on `main` over that many files, well packed.
pub fn generate(folder: &Path, commits: usize, tree: usize) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    git(folder, &["init", "-q", "--bare"])?;
    let mut child = Command::new("git")
        .args(["fast-import", "--quiet"])
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()?;
    let mut out = BufWriter::new(child.stdin.take().ok_or("fast-import takes no input")?);
    let mut numbers = Numbers::new(1);
    let mut files: Vec<Vec<u64>> = (0..tree)
        .map(|_| (0..LINES).map(|_| numbers.next()).collect())
        .collect();
    for commit in 0..commits {
        let message = format!("Change {commit}\n\nWhy it is needed: {:x}\n", numbers.next());
        write!(
            out,
            "commit refs/heads/main\nmark :{}\ncommitter Author {} <author{}@example.org> {} +0000\ndata {}\n{message}",
            commit + 1,
            commit % 37,
            commit % 37,
            EPOCH + commit * 600,
            message.len(),
        )?;
        for _ in 0..=numbers.below(2) {
            // Some files change often, most seldom; the first commits fill the tree.
            let file = if commit < tree {
                commit
            } else {
                numbers.below(tree).min(numbers.below(tree))
            };
            let line = numbers.below(LINES);
            files[file][line] = numbers.next();
            let mut content = String::with_capacity(2048);
            for value in &files[file] {
                let _ = writeln!(
                    content,
                    "let value_{:04x} = compute({value:016x});",
                    value & 0xffff
                );
            }
            writeln!(
                out,
                "M 100644 inline src/part{:02}/file{file:04}.rs\ndata {}\n{content}",
                file / PER_FOLDER,
                content.len()
            )?;
        }
        if commit % 1000 == 999 {
            write!(
                out,
                "reset refs/tags/v0.{}.0\nfrom :{}\n\n",
                commit / 1000,
                commit + 1
            )?;
        }
    }
    drop(out.into_inner().map_err(|error| error.to_string())?);
    if !child.wait()?.success() {
        return Err("git fast-import failed".into());
    }
    git(folder, &["repack", "-adfq", "--window=10", "--depth=50"])?;
    git(folder, &["symbolic-ref", "HEAD", "refs/heads/main"])?;
    Ok(())
}

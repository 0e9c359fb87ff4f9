use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// A working copy driven by stock git.
pub struct Git {
    folder: tempfile::TempDir,
}

impl Git {
    /// A fresh repository on the branch `main`.
    #[must_use]
    pub fn init() -> Self {
        let git = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        git.ok(&["init", "-q", "-b", "main"]);
        git
    }

    /// A clone.
    #[must_use]
    pub fn clone(url: &str) -> Self {
        let git = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        git.ok(&["clone", "-q", url, "."]);
        git
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Runs git as on a machine without any configuration.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Output {
        run_in(self.folder.path(), args)
    }

    /// Runs git, which must succeed; returns what it printed.
    pub fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs git, which must fail; returns what it said.
    #[must_use]
    pub fn refused(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "git {args:?} should have failed");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Writes a file.
    pub fn write(&self, path: &str, content: &str) {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Commits everything; returns the commit.
    pub fn commit(&self, message: &str) -> String {
        drop(self.ok(&["add", "-A"]));
        drop(self.ok(&["commit", "-q", "--allow-empty", "-m", message]));
        self.ok(&["rev-parse", "HEAD"]).trim().to_owned()
    }
}

fn run_in(folder: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .args([
            "-c",
            "user.name=developer",
            "-c",
            "user.email=developer@example.org",
            "-c",
            "commit.gpgsign=false",
        ])
        .args(args)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        .output()
        .unwrap()
}

//! Embeds what the pages need: each file compressed once here, and named by its content, so that browsers
//! may keep it for ever.

use sha2::Digest as _;
use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
};

/// (address under /assets/, file under assets/, media type)
const FILES: &[(&str, &str, &str)] = &[
    (
        "tabler.css",
        "node_modules/@tabler/core/dist/css/tabler.min.css",
        "text/css",
    ),
    (
        "tabler.js",
        "node_modules/@tabler/core/dist/js/tabler.min.js",
        "text/javascript",
    ),
    (
        "htmx.js",
        "node_modules/htmx.org/dist/htmx.min.js",
        "text/javascript",
    ),
    (
        "echarts.js",
        "node_modules/echarts/dist/echarts.common.min.js",
        "text/javascript",
    ),
    ("bascule.css", "bascule.css", "text/css"),
    ("bascule.js", "bascule.js", "text/javascript"),
    ("board.js", "board.js", "text/javascript"),
    ("theme.js", "theme.js", "text/javascript"),
    ("logo.svg", "logo.svg", "image/svg+xml"),
];

/// Tabler's outline icons that pages may use, by name.
const ICONS: &[&str] = &[
    "activity",
    "alert-circle",
    "alert-triangle",
    "apps",
    "archive",
    "arrow-back-up",
    "arrow-down",
    "arrow-left",
    "arrow-right",
    "arrow-up",
    "arrows-exchange",
    "ban",
    "bell",
    "book",
    "box",
    "brand-git",
    "bug",
    "building",
    "calendar",
    "chart-bar",
    "chart-line",
    "check",
    "chevron-down",
    "chevron-right",
    "circle",
    "circle-check",
    "circle-dashed",
    "circle-dot",
    "circle-minus",
    "circle-x",
    "clock",
    "cloud",
    "code",
    "copy",
    "cpu",
    "database",
    "device-desktop",
    "dots",
    "download",
    "edit",
    "external-link",
    "eye",
    "file",
    "file-code",
    "file-diff",
    "file-text",
    "filter",
    "fingerprint",
    "flag",
    "flame",
    "folder",
    "gauge",
    "git-branch",
    "git-commit",
    "git-cherry-pick",
    "git-compare",
    "git-fork",
    "git-merge",
    "git-pull-request",
    "git-pull-request-closed",
    "git-pull-request-draft",
    "grip-vertical",
    "hand-stop",
    "hash",
    "heartbeat",
    "help",
    "history",
    "home",
    "hourglass",
    "info-circle",
    "key",
    "layout-kanban",
    "link",
    "list",
    "list-check",
    "loader",
    "lock",
    "logout",
    "menu-2",
    "message",
    "minus",
    "moon",
    "package",
    "package-export",
    "player-pause",
    "player-play",
    "player-skip-forward",
    "player-stop",
    "plug-connected",
    "plug-connected-x",
    "plus",
    "refresh",
    "rocket",
    "route",
    "search",
    "server",
    "settings",
    "shield",
    "shield-check",
    "shield-x",
    "signature",
    "stack-2",
    "sun",
    "tag",
    "target",
    "terminal-2",
    "timeline",
    "trash",
    "trending-up",
    "upload",
    "urgent",
    "user",
    "users",
    "x",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("assets");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=assets/package-lock.json");
    if !root.join("node_modules/.package-lock.json").exists() {
        return Err("the pages' libraries are missing: run `make setup` first (it calls `npm ci` in crates/web/assets)".into());
    }
    let mut table = String::from("&[\n");
    for (name, file, kind) in FILES {
        let path = root.join(file);
        if !file.starts_with("node_modules") {
            println!("cargo::rerun-if-changed={}", path.display());
        }
        let bytes = fs::read(&path).map_err(|e| format!("{}: {e}; run `make setup`", path.display()))?;
        let hash = hex::encode(&sha2::Sha256::digest(&bytes)[..6]);
        let packed = out.join(format!("{}.gz", name.replace('/', "_")));
        pack(&bytes, &packed)?;
        writeln!(
            table,
            "    Asset {{ name: {name:?}, hash: {hash:?}, kind: {kind:?}, gzip: include_bytes!({packed:?}) }},"
        )?;
    }
    table.push(']');
    fs::write(out.join("assets.rs"), table)?;

    let mut icons = String::from("&[\n");
    for name in ICONS {
        let path = root.join(format!("node_modules/@tabler/icons/icons/outline/{name}.svg"));
        let svg = fs::read_to_string(&path).map_err(|e| format!("icon {name}: {e}"))?;
        let inner = svg
            .split_once('>')
            .and_then(|(_, rest)| rest.rsplit_once("</svg>"))
            .map(|(inner, _)| inner);
        let inner = inner
            .ok_or_else(|| format!("icon {name}: not an SVG"))?
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        writeln!(icons, "    ({name:?}, {inner:?}),")?;
    }
    icons.push(']');
    fs::write(out.join("icons.rs"), icons)?;
    Ok(())
}

fn pack(bytes: &[u8], to: &Path) -> std::io::Result<()> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    fs::write(to, encoder.finish()?)
}

//! Diagrams that people write into Markdown as Mermaid, drawn here, so that no script has to draw them in the
//! browser. Each is shown as a picture of its own (`<img>` with the SVG in its address): nothing within runs, and
//! nothing within asks for anything. A diagram that cannot be drawn is shown as it is written, with the reason.

use crate::{Kept, Markup};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use merman::{
    Engine, MermaidConfig, OperationControl, ParseOptions, RenderError, RenderOutput, RenderRequest,
    Renderer, SvgEnvironment, SvgRequest,
    svg::{RenderResourcePolicy, SvgPipeline},
};
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};
use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
    time::Instant,
};

/// Longest diagram, in bytes; longer ones are no pictures any more.
const SOURCE: usize = 20_000;
/// Largest picture, in bytes.
const PICTURE: usize = 512 * 1024;
/// Most diagrams drawn of one text.
const DIAGRAMS: usize = 30;
/// How long one diagram, and all new ones of one text, may take.
const PATIENCE: Duration = Duration::from_millis(700);
const PATIENCE_IN_ALL: Duration = Duration::from_millis(1500);
/// What the one who draws may put on its stack: texts that people write may be nested deeply.
const STACK: usize = 16 * 1024 * 1024;

/// As comrak writes a fenced block, and the cleaner leaves it.
const OPEN: &str = "<pre><code class=\"language-mermaid\">";
const CLOSE: &str = "</code></pre>";

/// Diagrams by their source.
static DRAWN: LazyLock<Kept<String, Arc<Drawn>>> = LazyLock::new(|| Kept::new(8 * 1024 * 1024));
/// For light pages and for dark ones.
static RENDERERS: LazyLock<[Renderer; 2]> = LazyLock::new(|| ["default", "dark"].map(renderer));

/// What became of a diagram.
enum Drawn {
    Picture { html: String },
    Broken { reason: String },
}

fn renderer(theme: &str) -> Renderer {
    let config = MermaidConfig::from_value(serde_json::json!({
        "theme": theme,
        "securityLevel": "strict",
        "fontFamily": "Arial, Helvetica, sans-serif",
    }));
    Renderer::new()
        .with_engine(Engine::new().with_site_config(config))
        .with_parse_options(ParseOptions::strict())
}

/// Draws the diagrams in rendered, cleaned Markdown.
pub(crate) fn draw(html: String) -> String {
    if !html.contains(OPEN) {
        return html;
    }
    let mut parts = html.split(OPEN);
    let mut out = parts.next().unwrap_or_default().to_owned();
    let blocks: Vec<(&str, &str)> = parts
        .map(|part| part.split_once(CLOSE).unwrap_or((part, "")))
        .collect();
    let sources: Vec<String> = blocks
        .iter()
        .take(DIAGRAMS)
        .map(|(block, _)| unescape(block))
        .collect();
    let drawn = all(&sources);
    for (at, (block, after)) in blocks.iter().enumerate() {
        let source = format!("{OPEN}{block}{CLOSE}");
        match drawn.get(at).map(|drawn| &**drawn) {
            Some(Drawn::Picture { html }) => out.push_str(&format!(
                "<figure class=\"diagram\"><div>{html}</div><details><summary>Source of the diagram</summary>{source}</details></figure>"
            )),
            Some(Drawn::Broken { reason }) => out.push_str(&format!(
                "<figure class=\"diagram\"><p class=\"alert alert-warning mb-2\">This diagram cannot be drawn: {}</p>{source}</figure>",
                Markup::text(reason)
            )),
            None => out.push_str(&source),
        }
        out.push_str(after);
    }
    out
}

/// The text behind what the cleaner has escaped.
pub(crate) fn unescape(html: &str) -> String {
    html.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'")
        .replace("&nbsp;", "\u{a0}")
        .replace("&amp;", "&")
}

fn all(sources: &[String]) -> Vec<Arc<Drawn>> {
    let known: Vec<_> = sources.iter().map(|source| DRAWN.get(source)).collect();
    let missing: Vec<String> = sources
        .iter()
        .zip(&known)
        .filter(|(_, known)| known.is_none())
        .map(|(source, _)| source.clone())
        .collect();
    let mut new = if missing.is_empty() {
        Vec::new()
    } else {
        apart(missing)
    }
    .into_iter();
    let drawn = known.into_iter().map(|known| {
        known.or_else(|| new.next()).unwrap_or_else(|| {
            Arc::new(Drawn::Broken {
                reason: "the renderer failed on it.".to_owned(),
            })
        })
    });
    drawn.collect()
}

/// Draws on a thread with room enough, while other requests go on. What panics there is a broken diagram here.
fn apart(sources: Vec<String>) -> Vec<Arc<Drawn>> {
    let work = move || {
        let end = Instant::now() + PATIENCE_IN_ALL;
        sources.iter().map(|source| one(source, end)).collect()
    };
    let run = || {
        let thread = std::thread::Builder::new()
            .name("diagrams".to_owned())
            .stack_size(STACK)
            .spawn(work);
        match thread.map(std::thread::JoinHandle::join) {
            Ok(Ok(drawn)) => drawn,
            Ok(Err(_)) => {
                tracing::error!("the renderer of diagrams panicked");
                Vec::new()
            }
            Err(error) => {
                tracing::error!(%error, "no thread for diagrams");
                Vec::new()
            }
        }
    };
    match Handle::try_current() {
        Ok(handle) if handle.runtime_flavor() == RuntimeFlavor::MultiThread => block_in_place(run),
        _ => run(),
    }
}

fn one(source: &str, end: Instant) -> Arc<Drawn> {
    let left = end.saturating_duration_since(Instant::now()).min(PATIENCE);
    let drawn = match picture(source, left) {
        Ok(html) => Drawn::Picture { html },
        // Another time it may be quicker.
        Err(Broken::Slow) => {
            return Arc::new(Drawn::Broken {
                reason: "drawing it takes too long. Split it into smaller ones.".to_owned(),
            });
        }
        Err(Broken::Because(reason)) => Drawn::Broken { reason },
    };
    let weight = source.len()
        + match &drawn {
            Drawn::Picture { html } => html.len(),
            Drawn::Broken { reason } => reason.len(),
        };
    let drawn = Arc::new(drawn);
    DRAWN.put(source.to_owned(), drawn.clone(), weight);
    drawn
}

enum Broken {
    Slow,
    Because(String),
}

/// Both pictures, of which the page's theme hides one.
fn picture(source: &str, patience: Duration) -> Result<String, Broken> {
    if source.len() > SOURCE {
        let reason = format!("it is longer than {SOURCE} bytes. Split it into smaller ones.");
        return Err(Broken::Because(reason));
    }
    let control = OperationControl::new().with_deadline(patience);
    let mut html = String::new();
    for (renderer, hidden) in RENDERERS.iter().zip(["hide-theme-dark", "hide-theme-light"]) {
        let svg = svg(renderer, source, control.clone())?;
        if svg.len() > PICTURE {
            let reason = "the picture would be too large. Split it into smaller ones.";
            return Err(Broken::Because(reason.to_owned()));
        }
        let kind = Markup::text(attribute(&svg, "aria-roledescription").unwrap_or("Mermaid"));
        let size = size(&svg)
            .map(|(width, height)| format!(" width=\"{width}\" height=\"{height}\""))
            .unwrap_or_default();
        // The label's own box is cut as tightly as the fonts of the one who measured it; those of readers differ.
        let svg = svg.replace("overflow:hidden", "overflow:visible");
        html.push_str(&format!(
            "<img class=\"{hidden}\" alt=\"Diagram ({kind}); its source is below\"{size} src=\"data:image/svg+xml;base64,{}\">",
            BASE64_STANDARD.encode(&svg)
        ));
    }
    Ok(html)
}

fn svg(renderer: &Renderer, source: &str, control: OperationControl) -> Result<String, Broken> {
    let request = SvgRequest {
        environment: SvgEnvironment::deterministic()
            .with_resource_policy(RenderResourcePolicy::interactive()),
        // Labels are SVG's own text: HTML within a picture is shown differently by each browser.
        pipeline: Some(SvgPipeline::resvg_safe()),
        ..SvgRequest::default()
    };
    match renderer.render(RenderRequest::svg(source, control, request)) {
        Ok(RenderOutput::Svg(Some(output))) => Ok(output.into_parts().0),
        Ok(_) | Err(RenderError::NoDiagram) => Err(Broken::Because(
            "it does not begin with a kind of diagram, such as `flowchart LR`.".to_owned(),
        )),
        Err(RenderError::Cancelled(_)) => Err(Broken::Slow),
        Err(error) => {
            let reason: String = error.to_string().chars().take(300).collect();
            Err(Broken::Because(format!("{}.", reason.trim_end_matches('.'))))
        }
    }
}

/// An attribute of the SVG's outermost element.
fn attribute<'a>(svg: &'a str, name: &str) -> Option<&'a str> {
    let (tag, _) = svg.split_once('>')?;
    let (_, after) = tag.split_once(&format!(" {name}=\""))?;
    after.split_once('"').map(|(value, _)| value)
}

/// Width and height in pixels, rounded up.
fn size(svg: &str) -> Option<(u32, u32)> {
    let mut numbers = attribute(svg, "viewBox")?.split_ascii_whitespace().skip(2);
    let mut next = || {
        let number: f64 = numbers.next()?.parse().ok()?;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within the bounds just looked at"
        )]
        (1.0..100_000.0).contains(&number).then_some(number.ceil() as u32)
    };
    Some((next()?, next()?))
}

#[cfg(test)]
mod tests {
    use crate::markdown;

    fn html(diagram: &str) -> String {
        markdown::render(&format!("Before\n\n```mermaid\n{diagram}\n```\n\nafter"), None).to_string()
    }

    /// The pictures' own text.
    fn pictures(html: &str) -> Vec<String> {
        use base64::{Engine as _, prelude::BASE64_STANDARD};
        html.split("base64,")
            .skip(1)
            .map(|part| {
                let data = BASE64_STANDARD.decode(part.split('"').next().unwrap()).unwrap();
                String::from_utf8(data).unwrap()
            })
            .collect()
    }

    #[test]
    fn a_block_becomes_two_pictures_with_its_source() {
        for diagram in [
            "flowchart LR\n  A[Push & pull] --> B{Policy?}",
            "sequenceDiagram\n  Developer->>Forge: push\n  Forge-->>Developer: refused",
            "classDiagram\n  Issue <|-- Incident",
            "stateDiagram-v2\n  [*] --> Open\n  Open --> Done",
            "erDiagram\n  PROJECT ||--o{ ISSUE : has",
            "gantt\n  dateFormat YYYY-MM-DD\n  Write :a, 2026-01-01, 10d",
            "pie\n  \"Build\" : 40\n  \"Wait\" : 60",
            "gitGraph\n  commit\n  branch feature\n  commit",
            "mindmap\n  root((Bascule))\n    Forge",
            "timeline\n  2025 : Grow",
        ] {
            let html = html(diagram);
            let pictures = pictures(&html);
            assert_eq!(pictures.len(), 2, "{diagram}: {html}");
            assert!(pictures.iter().all(|svg| svg.starts_with("<svg")), "{diagram}");
            assert_ne!(pictures[0], pictures[1], "one for light pages, one for dark ones");
            assert!(
                html.contains("<summary>Source of the diagram</summary>"),
                "{html}"
            );
            assert!(
                html.contains("<p>Before</p>") && html.contains("<p>after</p>"),
                "{html}"
            );
            assert!(html.contains(" width=\""), "{diagram}: {html}");
        }
    }

    #[test]
    fn a_broken_diagram_shows_its_source_and_the_reason() {
        for broken in [
            "flowchart LR\n  A[Push --> B{<b>",
            "no such thing",
            "",
            &"x".repeat(30_000),
        ] {
            let html = html(broken);
            assert!(
                html.contains("cannot be drawn") && !html.contains("<img"),
                "{html}"
            );
            assert!(html.contains("<pre><code class=\"language-mermaid\">"), "{html}");
            assert!(!html.contains("<b>"), "{html}");
        }
    }

    #[test]
    fn hostile_diagrams_neither_run_nor_ask_for_anything() {
        for hostile in [
            "flowchart LR\n  A[\"<img src=x onerror=alert(1)>\"] --> B[\"<script>alert(1)</script>\"]",
            "flowchart LR\n  A-->B\n  click A \"javascript:alert(1)\"\n  click B call alert(1)",
            "%%{init: {\"securityLevel\":\"loose\",\"themeCSS\":\"*{background:url(https://evil.example/x)}\"}}%%\nflowchart LR\n  A-->B",
            "flowchart LR\n  A[x]\n  style A fill:url(https://evil.example/x)",
            "flowchart LR\n  A@{ img: \"https://evil.example/x.png\", label: \"x\" }",
            "sequenceDiagram\n  A->>B: <iframe src=\"https://evil.example\"></iframe>\n  link A: x @ javascript:alert(1)",
            "flowchart LR\n  A[\"</svg><script>alert(1)</script>\"]",
        ] {
            let html = html(hostile);
            for sign in ["<script", "<iframe", "<img src=x", "href=\"javascript:"] {
                assert!(!html.contains(sign), "{hostile}: {sign}: {html}");
            }
            for svg in pictures(&html) {
                for sign in [
                    "<script",
                    "<iframe",
                    "onerror=",
                    "\"javascript:",
                    "(https://evil",
                    "\"https://evil",
                ] {
                    assert!(!svg.contains(sign), "{hostile}: {sign}: {svg}");
                }
            }
        }
    }

    #[test]
    fn endless_and_deep_diagrams_end() {
        let deep = |open: &str, close: &str| format!("{}x\n{}", open.repeat(1500), close.repeat(1500));
        for diagram in [
            format!("stateDiagram-v2\n{}", deep("state a {\n", "}\n")),
            format!("sequenceDiagram\n{}", deep("alt a\n", "end\n")),
            format!(
                "flowchart LR\n{}B --> {}D",
                "A & ".repeat(2000),
                "C & ".repeat(2000)
            ),
            format!("%%{{init: {}}}%%\nflowchart LR\nA-->B", "{\"a\":".repeat(3000)),
            format!("flowchart LR\n{}A", "A-->".repeat(4500)),
            "block-beta\ncolumns 1000000000\na:999999999".to_owned(),
            "packet-beta\n0-999999999: \"x\"".to_owned(),
        ] {
            assert!(html(&diagram).contains("language-mermaid"));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn it_is_drawn_within_a_server_as_well() {
        assert!(html("flowchart LR\n  Within --> Server").contains("<img"));
    }
}

//! Pages, as a browser gets them.

use crate::fixture::{Server, commit, git_ok, work_tree, write};
use scraper::{Html, Selector};
use std::os::unix::ffi::OsStrExt as _;

fn texts(page: &str, selector: &str) -> Vec<String> {
    let selector = Selector::parse(selector).unwrap();
    Html::parse_document(page)
        .select(&selector)
        .map(|found| found.text().collect::<String>().trim().to_owned())
        .collect()
}

fn attributes(page: &str, selector: &str, name: &str) -> Vec<String> {
    let selector = Selector::parse(selector).unwrap();
    Html::parse_document(page)
        .select(&selector)
        .filter_map(|found| found.attr(name).map(str::to_owned))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_project_says_exactly_what_to_type() {
    let server = Server::start().await;
    let project = server.project("fresh").await;
    let page = server.page("developer", "/acme/fresh").await;
    assert!(
        page.contains(&format!("git clone {}", project.clone_url)),
        "{page}"
    );
    assert_eq!(
        attributes(&page, "button[data-copy]", "data-copy"),
        [project.clone_url]
    );
    assert!(
        server
            .page("reporter", "/acme/fresh")
            .await
            .contains("needs at least the role developer")
    );
    assert!(
        server
            .page("guest", "/acme/fresh")
            .await
            .contains("but not its code")
    );
    assert!(
        server
            .page("reporter", "/acme/fresh/-/commits")
            .await
            .contains("Nothing was pushed yet")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn code_history_and_changes_are_shown() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    write(
        &work,
        "src/main.rs",
        "fn main() {\n    println!(\"<b>bye</b>\");\n}\n",
    );
    write(&work, "docs/guide.md", "# Guide\n");
    write(&work, "data.json", "{}\n");
    commit(&work, "Say bye\n\nBecause it is late.").await;
    git_ok(&work, &["switch", "--quiet", "--create", "feature/nice-one"]).await;
    git_ok(&work, &["tag", "v1.2.0"]).await;
    git_ok(
        &work,
        &["push", "--quiet", "origin", "main", "feature/nice-one", "v1.2.0"],
    )
    .await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;

    let home = server.page("reporter", "/acme/web").await;
    assert_eq!(
        texts(&home, "table[aria-label=Files] td:first-child a"),
        ["docs", "src", "README.md", "data.json"]
    );
    assert!(
        home.contains("/acme/web/-/blob/main/docs/guide.md"),
        "the README's link is made absolute"
    );
    let rows = texts(&home, "table[aria-label=Files] tr");
    assert!(
        rows[2].contains("Begin") && rows[3].contains("Say bye"),
        "each entry with its last change: {rows:?}"
    );

    // A branch with a slash in its name, and a path below it.
    let blob = server
        .page("reporter", "/acme/web/-/blob/feature/nice-one/src/main.rs")
        .await;
    assert_eq!(texts(&blob, "table.code td.no"), ["1", "2", "3"]);
    assert!(
        blob.contains("hl-") && !blob.contains("<b>bye"),
        "coloured and escaped"
    );
    let redirect = server.get("reporter", "/acme/web/-/blob/main/src").await;
    assert_eq!(redirect.headers()["location"], "/acme/web/-/tree/main/src");

    let commits = server.page("reporter", "/acme/web/-/commits").await;
    assert_eq!(
        texts(&commits, "table[aria-label=Commits] a.fw-bold"),
        ["Say bye", "Begin"]
    );
    let page = server
        .page("reporter", &format!("/acme/web/-/commit/{head}"))
        .await;
    assert_eq!(
        texts(&page, "tr.diff-del td:last-child"),
        ["-    println!(\"hello\");"]
    );
    assert!(
        page.contains("Because it is late.") && page.contains("3 files changed"),
        "{page}"
    );
    assert!(
        server
            .page("reporter", "/acme/web/-/branches")
            .await
            .contains("feature/nice-one")
    );
    assert!(
        server
            .page("reporter", "/acme/web/-/tags")
            .await
            .contains("v1.2.0")
    );
    assert_eq!(
        server
            .get("reporter", "/acme/web/-/tree/nowhere/x")
            .await
            .status(),
        404
    );
    assert_eq!(
        server
            .get("reporter", "/acme/web/-/commit/../../x")
            .await
            .status(),
        404
    );
    assert_eq!(server.get("guest", "/acme/web/-/tree/main").await.status(), 403);
    assert_eq!(
        server.get("reporter", "/acme/web.git").await.headers()["location"],
        "/acme/web"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_file_names_are_shown_whole_and_harmless() {
    let server = Server::start().await;
    server.project("web").await;
    let work = server.path("hostile");
    work_tree(&work, &server.address("maintainer", "web")).await;
    let names: [&[u8]; 8] = [
        b"a\nb",
        b"<script>alert(1)",
        b"\xff\xfe.txt",
        b"100%.txt",
        b"%41.txt",
        b"q?x=1#y&z",
        b"\"quoted' name",
        "exe\u{202e}gpj.txt".as_bytes(),
    ];
    for (at, name) in names.iter().enumerate() {
        let path = work.join(std::ffi::OsStr::from_bytes(name));
        std::fs::write(path, format!("content {at}\n")).unwrap();
    }
    std::fs::write(work.join("page.html"), "<script>alert(document.cookie)</script>").unwrap();
    std::fs::write(work.join("pixel.png"), b"\x89PNG\r\n\x1a\n....").unwrap();
    std::fs::write(
        work.join("README.md"),
        "<script>alert(1)</script>[x](javascript:alert(1))",
    )
    .unwrap();
    commit(&work, "<img src=x onerror=alert(1)>").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;

    let home = server.page("reporter", "/acme/web").await;
    for sign in ["<script>alert", "<img src=x", "javascript:alert"] {
        assert!(!home.contains(sign), "{sign}");
    }
    let links = attributes(&home, "table[aria-label=Files] td:first-child a", "href");
    assert_eq!(links.len(), 11);
    let mut contents = Vec::new();
    for link in links {
        let page = server.page("reporter", &link).await;
        assert!(!page.contains("<script>alert"), "{link}");
        let raw = server.get("reporter", &link.replace("/-/blob/", "/-/raw/")).await;
        assert_eq!(raw.status(), 200, "{link}");
        let headers = raw.headers().clone();
        let picture = headers["content-type"] == "image/png";
        assert_eq!(
            headers["content-disposition"]
                .to_str()
                .unwrap()
                .starts_with("attachment"),
            !picture,
            "{link}"
        );
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(picture || headers["content-type"] == "application/octet-stream");
        contents.extend(raw.text().await.ok().filter(|text| text.starts_with("content ")));
    }
    contents.sort();
    assert_eq!(
        contents,
        (0..8).map(|at| format!("content {at}\n")).collect::<Vec<_>>(),
        "each by its own address"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_found_made_and_changed_on_pages() {
    let server = Server::start().await;
    server.project("alpha").await;
    server.project("beta").await;
    let page = server.page("reporter", "/explore?search=alp").await;
    assert_eq!(texts(&page, "table[aria-label=Projects] a"), ["acme/alpha"]);
    assert_eq!(
        texts(
            &server.page("stranger", "/explore").await,
            "table[aria-label=Projects] a"
        ),
        [""; 0]
    );
    assert!(
        server
            .page("owner", "/acme")
            .await
            .contains("/acme/-/projects/new")
    );
    assert!(
        !server
            .page("developer", "/acme")
            .await
            .contains("/acme/-/projects/new")
    );
    let post = |path: &str, body: &'static str| {
        server
            .http
            .post(format!("{}{path}", server.url))
            .basic_auth("owner", Some("x"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body)
            .send()
    };
    let made = post(
        "/acme/-/projects",
        "name=gamma&description=Third&visibility=internal",
    )
    .await
    .unwrap();
    assert_eq!(made.headers()["location"], "/acme/gamma");
    assert_eq!(
        texts(
            &server.page("stranger", "/explore").await,
            "table[aria-label=Projects] a"
        ),
        ["acme/gamma"]
    );
    let saved = post(
        "/acme/gamma/-/settings",
        "name=delta&description=New&visibility=private&default_branch=main",
    )
    .await
    .unwrap();
    assert_eq!(saved.headers()["location"], "/acme/delta/-/settings");
    assert_eq!(server.get("owner", "/acme/gamma").await.status(), 307);
    post("/acme/delta/-/settings/protect", "pattern=release%2F*")
        .await
        .unwrap();
    assert!(
        server
            .page("owner", "/acme/delta/-/settings")
            .await
            .contains("release/*")
    );
    post("/acme/delta/-/settings/unprotect", "pattern=release%2F*")
        .await
        .unwrap();
    assert!(
        !server
            .page("owner", "/acme/delta/-/settings")
            .await
            .contains(">release/*<")
    );
    assert_eq!(
        post("/acme/delta/-/settings/unprotect", "pattern=main")
            .await
            .unwrap()
            .status(),
        409
    );
    assert_eq!(
        post("/acme/delta/-/settings/delete", "path=wrong")
            .await
            .unwrap()
            .status(),
        422
    );
    assert_eq!(
        post("/acme/delta/-/settings/delete", "path=acme%2Fdelta")
            .await
            .unwrap()
            .status(),
        303
    );
    assert_eq!(server.get("owner", "/acme/delta").await.status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_many_lines_is_shown_in_parts() {
    let server = Server::start().await;
    let (_, work) = server.seeded("long").await;
    for n in 0..4 {
        write(
            &work,
            &format!("part-{n}.txt"),
            &(0..2_000).map(|line| format!("{n} {line}\n")).collect::<String>(),
        );
    }
    commit(&work, "Many lines").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    let head = git_ok(&work, &["rev-parse", "HEAD"]).await;
    let mut next = format!("/acme/long/-/commit/{head}");
    let mut seen = 0;
    for _ in 0..4 {
        let page = server.page("reporter", &next).await;
        let lines = texts(&page, "tr.diff-add").len();
        assert!(lines <= bascule_core::limits::SHOWN_DIFF_LINES);
        seen += lines;
        match attributes(&page, "a[rel=next]", "href").pop() {
            Some(href) => next = href,
            None => break,
        }
    }
    assert_eq!(seen, 8_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_file_is_shown_page_by_page_and_every_number_leads_to_its_line() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    let long: String = (1..=2_500).map(|n| format!("line {n}\n")).collect();
    write(&work, "long.txt", &long);
    // Above what is shown at once: 1.5 MiB.
    let wide: String = (1..=3_000)
        .map(|n| format!("{n} {}\n", "x".repeat(512)))
        .collect();
    write(&work, "wide.txt", &wide);
    commit(&work, "Add long files").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    for name in ["long.txt", "wide.txt"] {
        let path = format!("/acme/web/-/blob/main/{name}");
        let (mut at, mut seen) = (path.clone(), Vec::new());
        loop {
            let page = server.page("reporter", &at).await;
            let numbers = texts(&page, "table.code td.no");
            assert!(numbers.len() <= 1_000 && page.len() < 3 * 1024 * 1024, "{at}");
            let places = attributes(&page, "table.code tr", "id");
            assert_eq!(places[0], format!("L{}", numbers[0]));
            assert!(page.contains("Blame"), "{at}");
            seen.extend(numbers);
            match attributes(&page, "a[rel=next]", "href").pop() {
                Some(next) => at = next,
                None => break,
            }
        }
        let lines = if name == "long.txt" { 2_500 } else { 3_000 };
        assert!(
            seen.iter()
                .enumerate()
                .all(|(at, number)| *number == (at + 1).to_string())
        );
        assert_eq!(seen.len(), lines, "{name}");
        let second = server.page("reporter", &format!("{path}?from=1001")).await;
        assert_eq!(
            attributes(&second, "a[rel=prev]", "href"),
            [format!("{path}?from=1")]
        );
        assert_eq!(
            server
                .get("reporter", &format!("{path}?from=9999"))
                .await
                .status(),
            404
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drawing_is_shown_as_an_image_and_never_opened_as_a_page() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    write(
        &work,
        "logo.svg",
        "<?xml version=\"1.0\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" onload=\"alert(1)\"/>\n",
    );
    write(&work, "page.html", "<html><svg></svg></html>\n");
    commit(&work, "Draw").await;
    git_ok(&work, &["push", "--quiet", "origin", "main"]).await;
    let ask = async |path: &str, dest: &str| {
        let answer = server
            .http
            .get(format!("{}{path}", server.url))
            .basic_auth("reporter", Some("x"))
            .header("sec-fetch-dest", dest)
            .send()
            .await
            .unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert!(header("content-security-policy").contains("sandbox"));
        assert_eq!(header("x-content-type-options"), "nosniff");
        let how = header("content-disposition");
        (header("content-type"), how.split(';').next().unwrap().to_owned())
    };
    let shown = ("image/svg+xml".to_owned(), "inline".to_owned());
    let saved = ("application/octet-stream".to_owned(), "attachment".to_owned());
    for (path, dest, expected) in [
        ("/acme/web/-/raw/main/logo.svg", "image", &shown),
        ("/acme/web/-/blob/main/logo.svg", "image", &shown),
        ("/acme/web/-/raw/main/logo.svg", "document", &saved),
        ("/acme/web/-/raw/main/logo.svg", "iframe", &saved),
        ("/acme/web/-/raw/main/page.html", "image", &saved),
    ] {
        assert_eq!(&ask(path, dest).await, expected, "{path} as {dest}");
    }
    let page = server.page("reporter", "/acme/web/-/blob/main/logo.svg").await;
    assert_eq!(
        attributes(&page, "main img", "src"),
        ["/acme/web/-/raw/main/logo.svg"]
    );
    assert_eq!(
        texts(&page, "table.code td.no"),
        ["1", "2"],
        "its source is below"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn to_suggest_a_change_keeps_what_was_typed() {
    let server = Server::start().await;
    let (_, work) = server.seeded("web").await;
    server.branch(&work, "topic", "a.txt", "one\ntwo\n").await;
    server.open_request("web", "topic").await;
    let base = "/acme/web/-/merge-requests/1";
    let form = server
        .page("developer", &format!("{base}/comment?path=a.txt&side=new&line=2"))
        .await;
    let to = attributes(&form, "form[method=post] button[formaction]", "formaction");
    assert_eq!(to, [format!("{base}/comment/suggest")]);
    let answer = server
        .http
        .post(format!("{}{}", server.url, to[0]))
        .basic_auth("developer", Some("x"))
        .header("accept", "text/html")
        .form(&[
            ("path", "a.txt"),
            ("side", "new"),
            ("line", "2"),
            ("to", "2"),
            ("body", "Better so:"),
        ])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let page = answer.text().await.unwrap();
    let typed = texts(&page, "textarea[name=body]");
    assert_eq!(typed, ["Better so:\n\n```suggestion:-0+0\ntwo\n```"]);

    // Kept back for a review, nothing has changed since.
    let answer = server
        .http
        .post(format!("{}{base}/comment", server.url))
        .basic_auth("developer", Some("x"))
        .form(&[
            ("path", "a.txt"),
            ("side", "new"),
            ("line", "2"),
            ("body", typed[0].as_str()),
            ("draft", "yes"),
        ])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 303);
    let page = server.page("developer", base).await;
    assert!(page.contains("Suggested change"), "{page}");
    assert!(!page.contains("The lines have changed since"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_with_what_is_not_there_keeps_its_form() {
    let server = Server::start().await;
    server.seeded("web").await;
    let answer = server
        .get("reporter", "/acme/web/-/compare?from=main&to=nowhere")
        .await;
    assert_eq!(answer.status(), 404);
    let page = answer.text().await.unwrap();
    assert_eq!(attributes(&page, "main input[name=to]", "value"), ["nowhere"]);
    assert_eq!(texts(&page, "main [role=alert] code"), ["nowhere"]);
    let home = server.page("reporter", "/acme/web").await;
    assert!(attributes(&home, "main a", "href").contains(&"/acme/web/-/fork".to_owned()));
}

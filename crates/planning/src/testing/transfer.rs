//! Lists from and to spreadsheets.

use super::*;

async fn import(world: &World, who: &str, csv: &str, dry: bool) -> (u16, Value) {
    let path = format!("/api/v1/projects/ward/app/issues/import?dry_run={dry}");
    let (status, json) = world.send(who, "POST", &path, "text/csv", csv, false).await;
    (status.as_u16(), serde_json::from_str(&json).unwrap())
}

const GOOD: &str = "title,labels,assignees,due_date,state,confidential,description\n\
    Print a list,\"type::feature, priority::high\",developer,2024-08-01,,,\"two\nlines\"\n\
    Old,,,,closed,,\n\
    Hole,,,,,yes,\n";

#[tokio::test]
async fn every_row_is_taken_or_none() {
    let world = World::new().await;
    let (status, report) = import(&world, "reporter", GOOD, true).await;
    assert_eq!(
        (status, report["rows"].as_i64(), report["created"].as_i64()),
        (200, Some(3), Some(0))
    );
    assert!(world.column("open").await.is_empty());
    let bad = format!("{GOOD},nope,,,,,\nX,type::bug;type::feature,stranger,tomorrow,maybe,perhaps,\n");
    let (_, report) = import(&world, "reporter", &bad, false).await;
    assert_eq!(report["created"], 0);
    let wrong: Vec<(i64, &str)> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| (error["row"].as_i64().unwrap(), error["column"].as_str().unwrap()))
        .collect();
    assert_eq!(
        wrong,
        [
            (5, "title"),
            (5, "labels"),
            (6, "labels"),
            (6, "assignees"),
            (6, "due_date"),
            (6, "confidential"),
            (6, "state")
        ]
    );
    assert!(world.column("open").await.is_empty());
    let (_, report) = import(&world, "reporter", GOOD, false).await;
    assert_eq!(report["created"], 3);
    assert_eq!(
        (world.column("todo").await.len(), world.column("done").await.len()),
        (1, 1)
    );
    assert_eq!(import(&world, "guest", GOOD, true).await.0, 403);
    assert_eq!(
        import(&world, "reporter", "number\n1\n", true).await.1["code"],
        "no_title_column"
    );
}

#[tokio::test]
async fn what_is_exported_can_be_imported() {
    let world = World::new().await;
    import(&world, "reporter", GOOD, false).await;
    let (_, csv) = world
        .send(
            "reporter",
            "GET",
            "/api/v1/projects/ward/app/issues/export",
            "",
            "",
            false,
        )
        .await;
    assert!(csv.contains("\"two\nlines\"") && csv.contains("Hole"), "{csv}");
    let (_, report) = import(&world, "reporter", &csv, false).await;
    assert_eq!(
        (
            report["created"].as_i64(),
            report["errors"].as_array().unwrap().len()
        ),
        (Some(3), 0),
        "{report}"
    );
    // Each sees what they may.
    let (_, guests) = world
        .send("guest", "GET", "/ward/app/-/issues/export", "", "", false)
        .await;
    assert!(
        guests.contains("Print a list") && !guests.contains("Hole"),
        "{guests}"
    );
}

#[tokio::test]
async fn the_page_shows_what_is_wrong_before_anything_is_opened() {
    let world = World::new().await;
    let send = |text: &str, take: bool| {
        let taken = if take {
            "--b\r\nContent-Disposition: form-data; name=\"take\"\r\n\r\nyes\r\n"
        } else {
            ""
        };
        format!("--b\r\nContent-Disposition: form-data; name=\"text\"\r\n\r\n{text}\r\n{taken}--b--\r\n")
    };
    let kind = "multipart/form-data; boundary=b";
    let path = "/ward/app/-/issues/import";
    assert!(world.page("reporter", path).await.contains("Look at it"));
    let (_, html) = world
        .send(
            "reporter",
            "POST",
            path,
            kind,
            &send("title\n<b>x</b>\n,", false),
            false,
        )
        .await;
    assert!(
        html.contains("Open 1 issues") && !html.contains("<b>x</b>"),
        "{html}"
    );
    let (_, html) = world
        .send(
            "reporter",
            "POST",
            path,
            kind,
            &send("title,labels\nx,nope", true),
            false,
        )
        .await;
    assert!(
        html.contains("There is no label") && world.column("open").await.is_empty(),
        "{html}"
    );
    let (_, html) = world
        .send("reporter", "POST", path, kind, &send("nothing", true), false)
        .await;
    assert!(html.contains("The first row names no column"), "{html}");
    let (status, _) = world
        .send("reporter", "POST", path, kind, &send("title\nx", true), false)
        .await;
    assert_eq!(
        (status, world.column("open").await),
        (StatusCode::SEE_OTHER, vec!["x".to_owned()])
    );
}

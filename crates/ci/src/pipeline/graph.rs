//! Where the jobs of a pipeline are drawn, and the lines between them. Pure. Cards have one size, so that the lines
//! are known without a browser's help; what each job waits for by its stage alone meets in one point, so that a
//! stage of a hundred jobs behind another of a hundred needs two hundred lines and not ten thousand.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A job, as far as it is drawn.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Index of its stage.
    pub stage: usize,
    /// What it waits for; `None` is all of the earlier stages.
    pub needs: Option<Vec<String>>,
}

/// How the columns are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum View {
    /// One column a stage.
    #[default]
    Stages,
    /// One column for each step of waiting.
    Needs,
}

/// Jobs drawn as one card: those that `parallel` made of one, or a single job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    /// The common name, or the job's.
    pub name: String,
    /// Indices into the nodes.
    pub jobs: Vec<usize>,
}

/// A column of cards.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// Its stage; empty where columns are no stages.
    pub stage: Option<usize>,
    /// Its cards, from the top.
    pub cards: Vec<Card>,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Path data, as SVG has it.
    pub path: String,
    /// Number of the card it comes from; none where it comes from the meeting point of a stage.
    pub from: Option<usize>,
    /// Number of the card it goes to.
    pub to: Option<usize>,
}

/// The drawing. Cards are numbered through, column by column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Width and height in pixels.
    pub size: (usize, usize),
    /// Lines that were too many to draw.
    pub left_out: usize,
}

/// Pixels, the same as in the stylesheet (`.graph`).
const CARD: (usize, usize) = (208, 52);
const GAP: (usize, usize) = (40, 8);
const HEAD: usize = 32;
/// More lines than this nobody follows by eye.
const LINES: usize = 1_500;

/// The name that jobs of one `parallel` have in common: `test` of `test 2/5` and of `test: [linux, arm]`.
#[must_use]
pub fn common_name(name: &str) -> &str {
    if let Some((base, rest)) = name.split_once(": [")
        && rest.ends_with(']')
        && !base.is_empty()
    {
        return base;
    }
    if let Some((base, last)) = name.rsplit_once(' ')
        && let Some((number, total)) = last.split_once('/')
        && !base.is_empty()
        && [number, total]
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
    {
        return base;
    }
    name
}

/// How a card of several jobs stands: the first of these that any of them is.
#[must_use]
pub fn together<'a>(statuses: impl Iterator<Item = &'a str>) -> &'static str {
    const ORDER: [&str; 12] = [
        "failed",
        "canceling",
        "running",
        "pending",
        "waiting_for_resource",
        "warning",
        "manual",
        "canceled",
        "created",
        "scheduled",
        "success",
        "skipped",
    ];
    let all: BTreeSet<&str> = statuses.collect();
    ORDER
        .into_iter()
        .find(|status| all.contains(status))
        .unwrap_or("created")
}

/// The steps of waiting before each job.
fn depths(nodes: &[Node]) -> Vec<usize> {
    let by_name: HashMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (node.name.as_str(), at))
        .collect();
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|at| nodes[*at].stage);
    let mut depth: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut before = 0; // the first column behind all earlier stages
    let mut start = 0;
    while start < order.len() {
        let stage = nodes[order[start]].stage;
        let end = order[start..]
            .iter()
            .position(|at| nodes[*at].stage != stage)
            .map_or(order.len(), |length| start + length);
        // Jobs of one stage may need each other: each look settles at least one, or the rest wait in a circle.
        let mut open: Vec<usize> = order[start..end].to_vec();
        while !open.is_empty() {
            let count = open.len();
            open.retain(|at| {
                let found = match &nodes[*at].needs {
                    None => Some(before),
                    Some(needs) => needs
                        .iter()
                        .filter_map(|name| by_name.get(name.as_str()))
                        .try_fold(0, |most, need| depth[*need].map(|d| most.max(d + 1))),
                };
                depth[*at] = found;
                found.is_none()
            });
            if open.len() == count {
                for at in open.drain(..) {
                    depth[at] = Some(before);
                }
            }
        }
        before = order[..end]
            .iter()
            .filter_map(|at| depth[*at])
            .max()
            .map_or(0, |d| d + 1);
        start = end;
    }
    depth.into_iter().map(Option::unwrap_or_default).collect()
}

/// Draws jobs, given in the order in which they stand in the pipeline.
#[must_use]
pub fn draw(nodes: &[Node], view: View) -> Drawing {
    let place: Vec<usize> = match view {
        View::Stages => nodes.iter().map(|node| node.stage).collect(),
        View::Needs => depths(nodes),
    };
    let mut columns: BTreeMap<usize, Vec<Card>> = BTreeMap::new();
    let mut known: HashMap<(usize, &str), usize> = HashMap::new();
    for (at, node) in nodes.iter().enumerate() {
        let name = common_name(&node.name);
        let cards = columns.entry(place[at]).or_default();
        let card = known.entry((place[at], name)).or_insert(cards.len());
        match cards.get_mut(*card) {
            Some(card) => card.jobs.push(at),
            None => cards.push(Card {
                name: name.to_owned(),
                jobs: vec![at],
            }),
        }
    }
    let columns: Vec<Column> = columns
        .into_iter()
        .map(|(stage, mut cards)| {
            for card in &mut cards {
                if let [only] = card.jobs[..] {
                    card.name.clone_from(&nodes[only].name);
                }
            }
            Column {
                stage: (view == View::Stages).then_some(stage),
                cards,
            }
        })
        .collect();
    let mut drawing = Drawing {
        size: size(&columns),
        columns,
        ..Drawing::default()
    };
    connect(nodes, &mut drawing);
    drawing
}

fn size(columns: &[Column]) -> (usize, usize) {
    let rows = columns
        .iter()
        .map(|column| column.cards.len())
        .max()
        .unwrap_or_default();
    (
        (columns.len() * (CARD.0 + GAP.0)).saturating_sub(GAP.0),
        HEAD + rows * (CARD.1 + GAP.1),
    )
}

/// A card's place: its number, column and row.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    number: usize,
    column: usize,
    row: usize,
}

impl Place {
    fn left(self) -> (usize, usize) {
        (self.column * (CARD.0 + GAP.0), self.middle())
    }

    fn right(self) -> (usize, usize) {
        (self.left().0 + CARD.0, self.middle())
    }

    fn middle(self) -> usize {
        HEAD + self.row * (CARD.1 + GAP.1) + CARD.1 / 2
    }
}

fn connect(nodes: &[Node], drawing: &mut Drawing) {
    let mut places: Vec<Option<Place>> = vec![None; nodes.len()];
    let mut number = 0;
    for (column, cards) in drawing.columns.iter().enumerate() {
        for (row, card) in cards.cards.iter().enumerate() {
            for job in &card.jobs {
                places[*job] = Some(Place { number, column, row });
            }
            number += 1;
        }
    }
    let by_name: HashMap<&str, usize> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| (node.name.as_str(), at))
        .collect();
    let stages: BTreeSet<usize> = nodes.iter().map(|node| node.stage).collect();
    let mut seen: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut entered: BTreeSet<(usize, usize)> = BTreeSet::new();
    let mut left_out = 0;
    let mut lines = Vec::new();
    let mut add = |line: Line| {
        if lines.len() < LINES {
            lines.push(line);
        } else {
            left_out += 1;
        }
    };
    for (at, node) in nodes.iter().enumerate() {
        let Some(to) = places[at] else { continue };
        match &node.needs {
            Some(needs) => {
                for from in needs
                    .iter()
                    .filter_map(|name| by_name.get(name.as_str()))
                    .filter_map(|need| places[*need])
                {
                    if from.number != to.number && seen.insert((from.number, to.number)) {
                        add(Line {
                            path: curve(from.right(), to, from.column == to.column),
                            from: Some(from.number),
                            to: Some(to.number),
                        });
                    }
                }
            }
            None => {
                let Some(before) = stages.range(..node.stage).next_back() else {
                    continue;
                };
                let joint = joint_of(to);
                if entered.insert((*before, to.column)) {
                    let from: BTreeMap<usize, Place> = nodes
                        .iter()
                        .enumerate()
                        .filter(|(_, other)| other.stage == *before)
                        .filter_map(|(at, _)| places[at])
                        .filter(|place| place.column < to.column)
                        .map(|place| (place.number, place))
                        .collect();
                    for place in from.into_values() {
                        let (x, y) = place.right();
                        add(Line {
                            path: bend((x, y), joint),
                            from: Some(place.number),
                            to: None,
                        });
                    }
                }
                if entered.insert((usize::MAX, to.number)) {
                    add(Line {
                        path: bend(joint, to.left()),
                        from: None,
                        to: Some(to.number),
                    });
                }
            }
        }
    }
    drawing.lines = lines;
    drawing.left_out = left_out;
}

/// Where the lines of a whole stage meet: before the column that waits for it, at its first card.
fn joint_of(to: Place) -> (usize, usize) {
    (to.left().0.saturating_sub(GAP.0 / 2), HEAD + CARD.1 / 2)
}

fn bend((x1, y1): (usize, usize), (x2, y2): (usize, usize)) -> String {
    if y1 == y2 {
        return format!("M{x1} {y1}H{x2}");
    }
    let half = usize::midpoint(x1, x2);
    format!("M{x1} {y1}C{half} {y1} {half} {y2} {x2} {y2}")
}

fn curve(from: (usize, usize), to: Place, same: bool) -> String {
    if same {
        let (x, y) = to.right();
        let out = x + GAP.0 / 2;
        return format!("M{} {}C{out} {} {out} {y} {x} {y}", from.0, from.1, from.1);
    }
    bend(from, to.left())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn node(name: &str, stage: usize, needs: Option<&[&str]>) -> Node {
        Node {
            name: name.to_owned(),
            stage,
            needs: needs.map(|list| list.iter().map(|name| (*name).to_owned()).collect()),
        }
    }

    fn names(drawing: &Drawing) -> Vec<Vec<&str>> {
        drawing
            .columns
            .iter()
            .map(|column| column.cards.iter().map(|card| card.name.as_str()).collect())
            .collect()
    }

    #[test]
    fn jobs_of_one_parallel_are_one_card() {
        for (name, common) in [
            ("test 2/5", "test"),
            ("test: [linux, arm 1/2]", "test"),
            ("deploy 1", "deploy 1"),
            ("a/b", "a/b"),
            ("x: [y", "x: [y"),
            (": [y]", ": [y]"),
            (" 1/2", " 1/2"),
        ] {
            assert_eq!(common_name(name), common, "{name}");
        }
        let nodes = [
            node("t 1/2", 0, None),
            node("t 2/2", 0, None),
            node("u 1/9", 0, None),
        ];
        let drawing = draw(&nodes, View::Stages);
        assert_eq!(names(&drawing), [["t", "u 1/9"]]);
        assert_eq!(drawing.columns[0].cards[0].jobs, [0, 1]);
        assert_eq!(together(["success", "running", "failed"].into_iter()), "failed");
        assert_eq!(together(["success", "skipped"].into_iter()), "success");
    }

    #[test]
    fn the_view_of_needs_puts_jobs_behind_what_they_wait_for() {
        let nodes = [
            node("build", 1, None),
            node("lint", 2, Some(&[])),
            node("test", 2, Some(&["build"])),
            node("report", 2, Some(&["test"])),
            node("deploy", 3, None),
            node("early", 3, Some(&["lint", "gone"])),
        ];
        let drawing = draw(&nodes, View::Needs);
        assert_eq!(
            names(&drawing),
            [
                vec!["build", "lint"],
                vec!["test", "early"],
                vec!["report"],
                vec!["deploy"]
            ]
        );
        assert_eq!(names(&draw(&nodes, View::Stages))[1], ["lint", "test", "report"]);
        // build → test → report, lint → early; three of the stage before meet and go on to deploy.
        let direct = drawing
            .lines
            .iter()
            .filter(|line| line.from.is_some() && line.to.is_some());
        assert_eq!(direct.count(), 3);
        assert_eq!(drawing.lines.len(), 3 + 3 + 1);
    }

    #[test]
    fn stages_of_hundreds_of_jobs_need_few_lines() {
        let nodes: Vec<Node> = (0..500)
            .map(|at| node(&format!("job-{at}"), at / 250, None))
            .collect();
        let drawing = draw(&nodes, View::Stages);
        assert_eq!((drawing.lines.len(), drawing.left_out), (500, 0));
        let names: Vec<String> = (0..250).map(|at| format!("job-{at}")).collect();
        let needs: Vec<&str> = names.iter().take(50).map(String::as_str).collect();
        let nodes: Vec<Node> = (0..500)
            .map(|at| {
                node(
                    &format!("job-{at}"),
                    at / 250,
                    (at >= 250).then_some(needs.as_slice()),
                )
            })
            .collect();
        let drawing = draw(&nodes, View::Needs);
        assert_eq!((drawing.lines.len(), drawing.left_out), (LINES, 250 * 50 - LINES));
    }

    proptest! {
        #[test]
        fn any_jobs_are_all_drawn_once_within_the_drawing(
            jobs in prop::collection::vec((0_usize..4, prop::option::of(prop::collection::vec(0_usize..30, 0..4))), 0..30),
            needs in any::<bool>(),
        ) {
            let nodes: Vec<Node> = jobs
                .iter()
                .enumerate()
                .map(|(at, (stage, needs))| {
                    let names: Option<Vec<String>> =
                        needs.as_ref().map(|list| list.iter().map(|n| format!("j{n}")).collect());
                    Node { needs: names, ..node(&format!("j{at}"), *stage, None) }
                })
                .collect();
            let drawing = draw(&nodes, if needs { View::Needs } else { View::Stages });
            let mut drawn: Vec<usize> = drawing
                .columns
                .iter()
                .flat_map(|column| column.cards.iter().flat_map(|card| card.jobs.clone()))
                .collect();
            drawn.sort_unstable();
            prop_assert_eq!(drawn, (0..nodes.len()).collect::<Vec<_>>());
            prop_assert!(drawing.columns.len() <= nodes.len());
        }
    }
}

//! Every refusal, with its code: what happened, why it is a rule, what to do next.

use crate::{Direction, FORMAT, Set, limits, validate::way};
use bascule_core::{Digest, Name, Problem, Timestamp};
use std::io;

const AGAIN: &str =
    "Copy the file again from where it was made, and import it again; what was accepted stays.";

pub(crate) fn untrusted(found: &str, known: &[&str]) -> Problem {
    let known = match known {
        [] => "no key is trusted here".to_owned(),
        known => format!("trusted are {}", known.join(", ")),
    };
    Problem::invalid("bundle_untrusted_key", format!("The bundle is signed by the key `{}`, which is not trusted here.", short(found)))
        .why(format!("A bundle is believed for its signature alone, and never for being the first of its kind; {known}."))
        .next("If the key is the right one, get it another way than with the bundle (`bascule release key` on the other instance) and add it to the trusted keys.")
}

pub(crate) fn tampered(what: &str) -> Problem {
    Problem::invalid(
        "bundle_tampered",
        format!("The bundle is not what was signed: {what}."),
    )
    .why("A medium failed, or somebody changed the file. Nothing of it that is not signed was kept.")
    .next(AGAIN)
}

pub(crate) fn truncated(place: &str) -> Problem {
    Problem::invalid(
        "bundle_truncated",
        format!("The file ends too early, in {place}."),
    )
    .why(
        "It was not copied to its end. What came before the cut was checked and is kept, so nothing is lost.",
    )
    .next(AGAIN)
}

pub(crate) fn unreadable(error: &io::Error) -> Problem {
    Problem::bad_request(
        "bundle_unreadable",
        format!("The bundle cannot be read: {error}."),
    )
    .why("What came before the fault was checked and is kept.")
    .next("Look at the medium, and import the file again.")
}

pub(crate) fn hostile(what: &str) -> Problem {
    Problem::invalid("bundle_hostile", format!("The archive holds what no bundle holds: {what}."))
        .why("A bundle has plain files alone, under names that follow from their digests. Anything else is there to write outside the staging area or to fill the disk.")
        .next("Do not unpack the file. Ask whoever gave it to you where it comes from.")
}

pub(crate) fn not_a_bundle(why: &str) -> Problem {
    Problem::invalid("bundle_not_a_bundle", format!("This is no bundle: {why}."))
        .why("A bundle is a tar archive that begins with the signed manifest `bundle.json`.")
        .next("Check that the file is the one that `bascule bundle export` or `bascule bundle report` wrote, not one packed again.")
}

pub(crate) fn too_large(size: u64) -> Problem {
    Problem::too_large(format!(
        "The bundle's manifest claims {size} bytes; at most {} are read.",
        limits::MANIFEST_BYTES
    ))
    .why("The manifest is held in memory, so it may not be of any size.")
    .next("Export in more steps: an incremental bundle names only what changed.")
}

/// The code of a manifest that makes no sense.
pub(crate) const BAD_MANIFEST: &str = "bundle_bad_manifest";

/// The same of a manifest of which nobody knows who signed it.
pub(crate) fn unproven_manifest(problem: Problem) -> Problem {
    problem
        .why("The key that it names is not among those that were given, so it may have been altered on the way, or be newer than this version.")
        .next("Look again with the key of whoever made it: bascule bundle inspect --key KEY.pem FILE.")
}

pub(crate) fn bad_manifest(why: &str) -> Problem {
    Problem::invalid(BAD_MANIFEST, format!("The bundle's manifest cannot be followed: {why}."))
        .why("It is signed, so the instance that made it is at fault, or it is newer than this one. A field or kind that this version does not know is never passed over.")
        .next("Bring this instance up to date; if it is, report the fault to whoever runs the other one.")
}

pub(crate) fn unknown_format(found: &str) -> Problem {
    Problem::invalid(
        "bundle_unknown_format",
        format!("The bundle has the format `{}`.", short(found)),
    )
    .why(format!("This version understands: `{FORMAT}`."))
    .next(
        "Bring this instance up to date first, or let the hub export in a format that this one understands.",
    )
}

pub(crate) fn wrong_site(found: &Name, own: &Name) -> Problem {
    Problem::invalid(
        "bundle_wrong_site",
        format!("The bundle is of the site `{found}`; here it is `{own}`."),
    )
    .why("A site's bundle holds what that site is meant to run, and nobody else's.")
    .next(format!("Ask for one with `bascule bundle export --to {own}`."))
}

pub(crate) fn wrong_direction(set: &Set, expected: Direction) -> Problem {
    Problem::invalid(
        "bundle_wrong_direction",
        format!(
            "The bundle is a {}, which travels {}.",
            set.kind,
            way(set.kind.direction())
        ),
    )
    .why(format!(
        "Here are imported bundles that travel {}.",
        way(expected)
    ))
    .next("Carry it to the other side; reports are imported by the hub, all others by the site.")
}

pub(crate) fn replayed(sequence: u64, applied: u64) -> Problem {
    Problem::conflict(
        "bundle_replayed",
        format!("The bundle has the sequence number {sequence}; {applied} is applied already."),
    )
    .why("An older bundle brought again would undo recalls and put back what was replaced.")
    .next("Nothing is to be done if it was imported before. Otherwise ask for a new bundle.")
}

pub(crate) fn superseded(sequence: u64, checkpoint: u64) -> Problem {
    Problem::conflict(
        "bundle_stale",
        format!(
            "The bundle has the sequence number {sequence}, which is older than the checkpoint {checkpoint}."
        ),
    )
    .why("A checkpoint says everything anew; what came before it counts no longer.")
    .next("Import what was exported after the checkpoint.")
}

pub(crate) fn expired(sequence: u64, at: Timestamp) -> Problem {
    Problem::conflict(
        "bundle_stale",
        format!("The bundle {sequence} was to be used before {at}, and is stale."),
    )
    .why("What it allows may have been recalled since.")
    .next("Ask for a new bundle. If it is new, look whether this machine's clock is right.")
}

pub(crate) fn other_base(sequence: u64, base: u64, expected: &Digest, found: &Digest) -> Problem {
    Problem::conflict(
        "bundle_other_base",
        format!(
            "The bundle {sequence} builds upon another bundle {base} than the one that was applied here."
        ),
    )
    .why(format!(
        "It names {}, and here {} was applied; what changed between those two is unknown.",
        expected.short(),
        found.short()
    ))
    .next("Ask the hub for a checkpoint.")
}

pub(crate) fn sequence_taken(sequence: u64, staged: &str) -> Problem {
    Problem::conflict(
        "bundle_sequence_taken",
        format!("Another bundle with the sequence number {sequence} is waiting here already."),
    )
    .why(format!(
        "A sequence number is given once; {staged} came first, and which of the two is meant cannot be known."
    ))
    .next("Discard the one that is wrong, and import the other again.")
}

pub(crate) fn busy() -> Problem {
    Problem::conflict("bundle_busy", "Another import is going on.")
        .why("Two at once would step on each other's files.")
        .next("Wait until it ends, and try again.")
}

pub(crate) fn missing(digest: &Digest) -> Problem {
    Problem::new(
        404,
        "bundle_not_carried",
        format!("The bundle does not carry {digest}."),
    )
    .why("It is not in its list, or the exporter left it out because this instance said that it has it.")
    .next("Read it from this instance's own blobs.")
}

/// A fault of the staging area's disk, or of the file that is exported to.
pub(crate) fn disk(error: &io::Error) -> Problem {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    if matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge) {
        return Problem::new(507, "bundle_disk_full", "There is no room left for the bundle.")
            .why(format!(
                "The disk says: {error}. What was written whole before is kept, the rest was removed."
            ))
            .next("Free some space, and try again; it goes on where it stopped.");
    }
    Problem::new(
        500,
        "bundle_disk",
        format!("The bundle cannot be written or read here: {error}."),
    )
    .why("What was written whole before is kept.")
    .next("Look at the disk and the rights of the folder, and try again.")
}

pub(crate) fn no_room(limit: u64, needed: u64) -> Problem {
    Problem::new(507, "bundle_disk_full", "There is no room left for the bundle.")
        .why(format!("The staging area may hold {limit} bytes, and would hold {needed}. What was written whole before is kept."))
        .next("Apply or discard what is waiting, or allow more; then import the file again.")
}

/// Text from outside, cut to what a sentence bears.
pub(crate) fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

//! Job logs: bytes as the runner sends them, durable before they are acknowledged. What comes in small pieces, as most
//! logs do, is in the database, in rows of at most 64 KiB; what comes in large ones is among the blobs, and the database
//! only knows where, so that a job that writes much does not swell it. The checksum goes along with each piece; no log is
//! ever read as a whole.

use crate::retention;
use bascule_core::{Digest, JobId, Timestamp, limits};
use bascule_store::{Blobs, Db, Migration, Query, Result, Tx, args, row};
use bytes::Bytes;

/// Large pieces are blobs.
pub const LARGE_PIECES: Migration = Migration {
    id: "ci-2611-log-blobs",
    sql: "ALTER TABLE job_trace ADD COLUMN digest TEXT;",
};

/// Largest piece in the database.
const PIECE: usize = 64 * 1024;
/// A request that brings at least so much becomes a blob.
const LARGE: usize = 256 * 1024;
/// How often a large piece is put in its place anew because the log grew meanwhile.
const TRIES: usize = 3;

row! { struct Head { trace_bytes: i64, trace_crc: i64 } }
row! { struct Piece { start: i64, length: i64, bytes: Vec<u8>, digest: Option<Digest> } }

/// What became of bytes that a runner sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// They are stored; the log now has so many bytes.
    Stored(u64),
    /// They do not follow what is stored, which has so many bytes.
    Gap(u64),
    /// The log would be longer than allowed.
    TooLong,
}

/// Adds bytes that begin at `start`. A repetition of what is stored is skipped, so that a runner whose
/// answer got lost goes on.
pub async fn append(
    db: &Db,
    blobs: &Blobs,
    job: JobId,
    start: u64,
    bytes: Bytes,
    now: Timestamp,
) -> Result<Appended> {
    for _ in 0..TRIES {
        // A blob is stored before the transaction, which does no other I/O; it is for the place that the log ends at now.
        let mut large = None;
        if bytes.len() >= LARGE
            && let Some(head) = head(db, job).await?
        {
            let stored = u64::try_from(head.trace_bytes).unwrap_or_default();
            let new = bytes.slice(known(start, stored, bytes.len())..);
            let fits = start <= stored && stored + new.len() as u64 <= limits::TRACE_BYTES;
            if fits && new.len() >= LARGE {
                large = Some((stored, blobs.put_bytes(new).await?.digest));
            }
        }
        if let Some(appended) = append_in(db, job, start, &bytes, large.as_ref(), now).await? {
            return Ok(appended);
        }
        if let Some((_, digest)) = large {
            retention::store::note_one(db, &digest, now).await?;
        }
    }
    append_in(db, job, start, &bytes, None, now)
        .await
        .map(|appended| appended.unwrap_or(Appended::Gap(0)))
}

/// Bytes of a piece that are stored already.
fn known(start: u64, stored: u64, length: usize) -> usize {
    usize::try_from(stored.saturating_sub(start))
        .unwrap_or(usize::MAX)
        .min(length)
}

/// `None` if a blob was stored for another place than the log ends at.
async fn append_in(
    db: &Db,
    job: JobId,
    start: u64,
    bytes: &[u8],
    large: Option<&(u64, Digest)>,
    now: Timestamp,
) -> Result<Option<Appended>> {
    let tx = db.begin().await?;
    // Writing first makes others wait who add to the same log.
    tx.run("UPDATE job SET heard_at = $2 WHERE id = $1", args![job, now])
        .await?;
    let Some(head) = head(&tx, job).await? else {
        return Ok(Some(Appended::Gap(0)));
    };
    let stored = u64::try_from(head.trace_bytes).unwrap_or_default();
    if start > stored {
        tx.commit().await?;
        return Ok(Some(Appended::Gap(stored)));
    }
    let new = bytes.get(known(start, stored, bytes.len())..).unwrap_or_default();
    if stored + new.len() as u64 > limits::TRACE_BYTES {
        return Ok(Some(Appended::TooLong));
    }
    match large {
        Some((at, _)) if *at != stored => return Ok(None),
        Some((_, digest)) => insert(&tx, job, head.trace_bytes, new.len(), &[], Some(digest)).await?,
        None => insert_pieces(&tx, job, head.trace_bytes, new).await?,
    }
    let total = advance(&tx, job, &head, new).await?;
    tx.commit().await?;
    Ok(Some(Appended::Stored(total)))
}

/// Adds a line of the platform's own.
pub async fn append_line(db: &Db, job: JobId, line: &[u8]) -> Result<()> {
    let tx = db.begin().await?;
    if let Some(head) = head(&tx, job).await? {
        insert_pieces(&tx, job, head.trace_bytes, line).await?;
        advance(&tx, job, &head, line).await?;
    }
    tx.commit().await
}

async fn head(on: &impl Query, job: JobId) -> Result<Option<Head>> {
    on.one("SELECT trace_bytes, trace_crc FROM job WHERE id = $1", args![job])
        .await
}

async fn insert(
    tx: &Tx,
    job: JobId,
    start: i64,
    length: usize,
    bytes: &[u8],
    digest: Option<&Digest>,
) -> Result<()> {
    tx.run(
        "INSERT INTO job_trace (job_id, start, length, bytes, digest) VALUES ($1, $2, $3, $4, $5)",
        args![
            job,
            start,
            i64::try_from(length).unwrap_or_default(),
            bytes.to_vec(),
            digest.cloned()
        ],
    )
    .await?;
    Ok(())
}

async fn insert_pieces(tx: &Tx, job: JobId, start: i64, new: &[u8]) -> Result<()> {
    let mut at = start;
    for piece in new.chunks(PIECE) {
        insert(tx, job, at, piece.len(), piece, None).await?;
        at += i64::try_from(piece.len()).unwrap_or_default();
    }
    Ok(())
}

/// Notes the new length and checksum; the new length.
async fn advance(tx: &Tx, job: JobId, head: &Head, new: &[u8]) -> Result<u64> {
    let before = u64::try_from(head.trace_bytes).unwrap_or_default();
    let total = before + new.len() as u64;
    if !new.is_empty() {
        let mut crc = crc32fast::Hasher::new_with_initial_len(
            u32::try_from(head.trace_crc).unwrap_or_default(),
            before,
        );
        crc.update(new);
        tx.run(
            "UPDATE job SET trace_bytes = $2, trace_crc = $3 WHERE id = $1",
            args![
                job,
                i64::try_from(total).unwrap_or_default(),
                i64::from(crc.finalize())
            ],
        )
        .await?;
    }
    Ok(total)
}

/// Forgets a log whose checksum is wrong, so that the runner sends it again from the beginning.
pub async fn clear(db: &Db, job: JobId, now: Timestamp) -> Result<()> {
    let tx = db.begin().await?;
    clear_in(&tx, job, now).await?;
    tx.commit().await
}

/// The same in someone's transaction.
pub async fn clear_in(tx: &Tx, job: JobId, now: Timestamp) -> Result<()> {
    retention::store::drop_logs(tx, &[job], now).await
}

/// At most about `most` bytes from `from` on.
pub async fn read(on: &impl Query, blobs: &Blobs, job: JobId, from: u64, most: usize) -> Result<Vec<u8>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let mut out = Vec::new();
    let mut at = from;
    while out.len() < most {
        let pieces: Vec<Piece> = on
            .all(
                "SELECT start, length, bytes, digest FROM job_trace WHERE job_id = $1 AND start + length > $2
                 ORDER BY start LIMIT 16",
                args![job, at],
            )
            .await?;
        if pieces.is_empty() {
            break;
        }
        for piece in pieces {
            let skip = at - piece.start;
            let left = most - out.len();
            if let Some(digest) = &piece.digest {
                let end = piece
                    .length
                    .min(skip.saturating_add(i64::try_from(left).unwrap_or(i64::MAX)));
                let range = u64::try_from(skip).unwrap_or_default()..u64::try_from(end).unwrap_or_default();
                out.extend_from_slice(&blobs.read_range(digest, range).await?);
                at = piece.start + end;
            } else {
                let skip = usize::try_from(skip).unwrap_or_default();
                out.extend_from_slice(piece.bytes.get(skip..).unwrap_or_default());
                at = piece.start + piece.length;
            }
            if out.len() >= most {
                break;
            }
        }
    }
    Ok(out)
}

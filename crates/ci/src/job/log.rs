//! Job logs: bytes as the runner sends them, in pieces of at most 64 KiB in the database, durable before
//! they are acknowledged.

use bascule_core::{JobId, Timestamp, limits};
use bascule_store::{Db, Query, Result, Tx, args, row};

/// Largest piece.
const PIECE: usize = 64 * 1024;

row! { struct Head { trace_bytes: i64, trace_crc: i64 } }
row! { struct Piece { start: i64, bytes: Vec<u8> } }

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
pub async fn append(db: &Db, job: JobId, start: u64, bytes: &[u8], now: Timestamp) -> Result<Appended> {
    let tx = db.begin().await?;
    // Writing first makes others wait who add to the same log.
    tx.run("UPDATE job SET heard_at = $2 WHERE id = $1", args![job, now])
        .await?;
    let Some(head) = head(&tx, job).await? else {
        return Ok(Appended::Gap(0));
    };
    let stored = u64::try_from(head.trace_bytes).unwrap_or_default();
    if start > stored {
        tx.commit().await?;
        return Ok(Appended::Gap(stored));
    }
    let known = usize::try_from(stored - start).unwrap_or(usize::MAX);
    let new = bytes.get(known..).unwrap_or_default();
    if stored + new.len() as u64 > limits::JOB_LOG_BYTES {
        return Ok(Appended::TooLong);
    }
    let total = write(&tx, job, &head, new).await?;
    tx.commit().await?;
    Ok(Appended::Stored(total))
}

/// Adds a line of the platform's own.
pub async fn append_line(db: &Db, job: JobId, line: &[u8]) -> Result<()> {
    let tx = db.begin().await?;
    if let Some(head) = head(&tx, job).await? {
        write(&tx, job, &head, line).await?;
    }
    tx.commit().await
}

async fn head(tx: &Tx, job: JobId) -> Result<Option<Head>> {
    tx.one("SELECT trace_bytes, trace_crc FROM job WHERE id = $1", args![job])
        .await
}

async fn write(tx: &Tx, job: JobId, head: &Head, new: &[u8]) -> Result<u64> {
    let mut at = head.trace_bytes;
    for piece in new.chunks(PIECE) {
        let length = i64::try_from(piece.len()).unwrap_or_default();
        tx.run(
            "INSERT INTO job_trace (job_id, start, length, bytes) VALUES ($1, $2, $3, $4)",
            args![job, at, length, piece.to_vec()],
        )
        .await?;
        at += length;
    }
    if !new.is_empty() {
        let before = u64::try_from(head.trace_bytes).unwrap_or_default();
        let mut crc = crc32fast::Hasher::new_with_initial_len(
            u32::try_from(head.trace_crc).unwrap_or_default(),
            before,
        );
        crc.update(new);
        tx.run(
            "UPDATE job SET trace_bytes = $2, trace_crc = $3 WHERE id = $1",
            args![job, at, i64::from(crc.finalize())],
        )
        .await?;
    }
    Ok(u64::try_from(at).unwrap_or_default())
}

/// Forgets a log whose checksum is wrong, so that the runner sends it again from the beginning.
pub async fn clear(db: &Db, job: JobId) -> Result<()> {
    let tx = db.begin().await?;
    clear_in(&tx, job).await?;
    tx.commit().await
}

/// The same in someone's transaction.
pub async fn clear_in(tx: &Tx, job: JobId) -> Result<()> {
    tx.run("DELETE FROM job_trace WHERE job_id = $1", args![job])
        .await?;
    tx.run(
        "UPDATE job SET trace_bytes = 0, trace_crc = 0 WHERE id = $1",
        args![job],
    )
    .await?;
    Ok(())
}

/// At most about `most` bytes from `from` on.
pub async fn read(on: &impl Query, job: JobId, from: u64, most: usize) -> Result<Vec<u8>> {
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    let mut out = Vec::new();
    let mut at = from;
    while out.len() < most {
        let pieces: Vec<Piece> = on
            .all(
                "SELECT start, bytes FROM job_trace WHERE job_id = $1 AND start + length > $2 ORDER BY start LIMIT 16",
                args![job, at],
            )
            .await?;
        if pieces.is_empty() {
            break;
        }
        for piece in pieces {
            let skip = usize::try_from(at - piece.start).unwrap_or_default();
            out.extend_from_slice(piece.bytes.get(skip..).unwrap_or_default());
            at = piece.start + i64::try_from(piece.bytes.len()).unwrap_or_default();
            if out.len() >= most {
                break;
            }
        }
    }
    Ok(out)
}

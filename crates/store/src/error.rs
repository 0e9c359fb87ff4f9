use bascule_core::Problem;

/// What can go wrong with the database or the blobs.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database refused or could not be reached.
    #[error("database: {0}")]
    Database(#[from] sea_orm::DbErr),
    /// A row holds something this version cannot read.
    #[error("column {column}: {reason}")]
    Column {
        /// The column.
        column: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The blob store failed.
    #[error("blobs: {0}")]
    Blobs(#[from] object_store::Error),
    /// More bytes than allowed.
    #[error("larger than {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// What was being stored could not be read to its end.
    #[error("reading what was to be stored: {0}")]
    Source(String),
    /// A migration that was applied once is not what it was.
    #[error("migration {0} was changed after it was applied; migrations are immutable, add a new one")]
    MigrationChanged(String),
    /// Something that was to be JSON is not.
    #[error("json: {0}")]
    Json(#[from] serde_json::Error),
}

/// A result of the store.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether a uniqueness rule refused the change.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        match self {
            Self::Database(error) => matches!(
                error.sql_err(),
                Some(sea_orm::SqlErr::UniqueConstraintViolation(_))
            ),
            _ => false,
        }
    }

    /// Whether the disk (or the bucket's quota) is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let text = self.to_string();
        [
            "No space left",
            "disk is full",
            "StorageFull",
            "os error 28",
            "QuotaExceeded",
        ]
        .iter()
        .any(|sign| text.contains(sign))
    }
}

/// The one place where a store failure becomes something a person reads: the cause goes to the log, once.
impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        if let Error::TooLarge { limit } = error {
            return Self::too_large(format!("What you sent is larger than {limit} bytes."))
                .why("Every upload has a limit, so that one cannot fill the disk for all.")
                .next("Send less, or ask an administrator to raise the limit.");
        }
        tracing::error!(error = %error, "store failure");
        if error.is_full() {
            return Self::new(
                507,
                "storage_full",
                "The server's disk is full; nothing was stored.",
            )
            .why("What cannot be stored whole is not stored at all.")
            .next("Ask an administrator to free or add space, then send it again.");
        }
        if let Error::Source(_) = error {
            return Self::bad_request("incomplete", "What you sent ended early; nothing was stored.")
                .next("Send it again.");
        }
        Self::internal()
    }
}

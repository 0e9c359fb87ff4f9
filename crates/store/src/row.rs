//! Reading rows and binding values without an entity layer: SQL stays visible, types stay ours.

use crate::{Error, Result};
use bascule_core as core;
use sea_orm::{QueryResult, TryGetError, TryGetable, Value};
use serde::{Serialize, de::DeserializeOwned};

/// One row of an answer.
pub struct Row(pub(crate) QueryResult);

/// A value that one column can hold.
pub trait Column: Sized {
    /// Reads the column, `None` where it is NULL.
    ///
    /// # Errors
    /// The column is missing or holds another type.
    fn read_opt(row: &Row, name: &str) -> Result<Option<Self>>;

    /// Reads the column.
    ///
    /// # Errors
    /// As [`Column::read_opt`], and when it is NULL.
    fn read(row: &Row, name: &str) -> Result<Self> {
        Self::read_opt(row, name)?.ok_or_else(|| Error::Column {
            column: name.to_owned(),
            reason: "NULL where a value must be".to_owned(),
        })
    }
}

/// Something a whole row can be read as; made by [`row!`](crate::row).
pub trait FromRow: Sized + Send {
    /// Reads the row.
    ///
    /// # Errors
    /// A column is missing or holds another type.
    fn from_row(row: &Row) -> Result<Self>;
}

/// A value that can be bound to a `$n`.
pub trait ToSql {
    /// The value as the driver takes it.
    fn to_sql(&self) -> Value;
}

fn plain<T: TryGetable>(row: &Row, name: &str) -> Result<Option<T>> {
    match row.0.try_get_by_nullable::<T, _>(name) {
        Ok(value) => Ok(Some(value)),
        Err(TryGetError::Null(_)) => Ok(None),
        Err(TryGetError::DbErr(error)) => Err(Error::Column {
            column: name.to_owned(),
            reason: error.to_string(),
        }),
    }
}

macro_rules! plain_columns {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn read_opt(row: &Row, name: &str) -> Result<Option<Self>> {
                plain::<$type>(row, name)
            }
        }
        impl ToSql for $type {
            fn to_sql(&self) -> Value {
                Value::from(self.clone())
            }
        }
        impl ToSql for Option<$type> {
            fn to_sql(&self) -> Value {
                Value::from(self.clone())
            }
        }
    )*};
}

plain_columns!(String, i64, i32, bool, f64, Vec<u8>);

impl ToSql for str {
    fn to_sql(&self) -> Value {
        Value::from(self.to_owned())
    }
}

impl ToSql for Option<&str> {
    fn to_sql(&self) -> Value {
        Value::from(self.map(str::to_owned))
    }
}

impl<T: ToSql + ?Sized> ToSql for &T {
    fn to_sql(&self) -> Value {
        (**self).to_sql()
    }
}

impl<T: Column> Column for Option<T> {
    fn read_opt(row: &Row, name: &str) -> Result<Option<Self>> {
        T::read_opt(row, name).map(Some)
    }
}

macro_rules! text_columns {
    ($($type:ty),*) => {$(
        impl Column for $type {
            fn read_opt(row: &Row, name: &str) -> Result<Option<Self>> {
                plain::<String>(row, name)?
                    .map(|text| {
                        text.parse::<$type>()
                            .map_err(|e| Error::Column { column: name.to_owned(), reason: e.to_string() })
                    })
                    .transpose()
            }
        }
        impl ToSql for $type {
            fn to_sql(&self) -> Value {
                Value::from(self.to_string())
            }
        }
        impl ToSql for Option<$type> {
            fn to_sql(&self) -> Value {
                Value::from(self.as_ref().map(ToString::to_string))
            }
        }
    )*};
}

text_columns!(
    core::UserId,
    core::DeployKeyId,
    core::GroupId,
    core::ProjectId,
    core::SessionId,
    core::TokenId,
    core::KeyId,
    core::ThreadId,
    core::CommentId,
    core::FactId,
    core::RunnerId,
    core::AgentId,
    core::ReleaseId,
    core::ProductId,
    core::EnvironmentId,
    core::DeploymentId,
    core::RolloutId,
    core::InstanceId,
    core::TaskId,
    core::IncidentId,
    core::MergeRequestId,
    core::IssueId,
    core::LabelId,
    core::MilestoneId,
    core::TodoId,
    core::MailId,
    core::WebhookId,
    core::HookDeliveryId,
    core::Digest,
    core::Role,
    core::InstanceRole,
    core::Name
);

macro_rules! integer_columns {
    ($($type:ty: $make:expr, $get:expr;)*) => {$(
        impl Column for $type {
            fn read_opt(row: &Row, name: &str) -> Result<Option<Self>> {
                Ok(plain::<i64>(row, name)?.map($make))
            }
        }
        impl ToSql for $type {
            fn to_sql(&self) -> Value {
                let get: fn(&$type) -> i64 = $get;
                Value::from(get(self))
            }
        }
        impl ToSql for Option<$type> {
            fn to_sql(&self) -> Value {
                let get: fn(&$type) -> i64 = $get;
                Value::from(self.as_ref().map(get))
            }
        }
    )*};
}

integer_columns! {
    core::Timestamp: core::Timestamp::from_micros, |t| t.micros();
    core::PipelineId: core::PipelineId, |id| id.0;
    core::JobId: core::JobId, |id| id.0;
}

/// A column that holds JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned> Column for Json<T> {
    fn read_opt(row: &Row, name: &str) -> Result<Option<Self>> {
        plain::<String>(row, name)?
            .map(|text| {
                serde_json::from_str(&text).map(Json).map_err(|e| Error::Column {
                    column: name.to_owned(),
                    reason: e.to_string(),
                })
            })
            .transpose()
    }
}

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> Value {
        Value::from(serde_json::to_string(&self.0).unwrap_or_else(|_| "null".to_owned()))
    }
}

macro_rules! tuples {
    ($($($name:ident: $type:ident),+;)*) => {$(
        /// A row read by position: columns named `c0`, `c1`, … in the query.
        impl<$($type: Column + Send),+> FromRow for ($($type,)+) {
            fn from_row(row: &Row) -> Result<Self> {
                Ok(($($type::read(row, stringify!($name))?,)+))
            }
        }
    )*};
}

tuples! {
    c0: A;
    c0: A, c1: B;
    c0: A, c1: B, c2: C;
    c0: A, c1: B, c2: C, c3: D;
}

/// The places of several values, from `$first` on: `$3, $4, $5`.
#[must_use]
pub fn places(first: usize, count: usize) -> String {
    let places: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    places.join(", ")
}

/// Binds a value behind those that are bound, and returns its place: `$3`.
pub fn bind(values: &mut Vec<Value>, value: &(impl ToSql + ?Sized)) -> String {
    values.push(value.to_sql());
    format!("${}", values.len())
}

/// Binds several values behind those that are bound, and returns their places for an `IN (…)`. Of no values it
/// is `NULL`, as nothing is in `IN (NULL)`, where `IN ()` is no SQL. How many may be bound, the engine bounds:
/// what is without a bound is asked for in chunks.
///
/// ```
/// use bascule_store::{args, bind_all};
///
/// let mut values = args!["open"];
/// assert_eq!(bind_all(&mut values, &[7_i64, 8]), "$2, $3");
/// assert_eq!(values.len(), 3);
/// assert_eq!(bind_all::<i64>(&mut values, &[]), "NULL");
/// ```
pub fn bind_all<T: ToSql>(values: &mut Vec<Value>, more: &[T]) -> String {
    if more.is_empty() {
        return "NULL".to_owned();
    }
    let places = places(values.len() + 1, more.len());
    values.extend(more.iter().map(ToSql::to_sql));
    places
}

/// Defines a struct whose fields are the columns of a query, read by name.
#[macro_export]
macro_rules! row {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident : $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        $vis struct $name { $($(#[$field_meta])* $field_vis $field: $type),* }

        impl $crate::FromRow for $name {
            fn from_row(row: &$crate::Row) -> $crate::Result<Self> {
                Ok(Self { $($field: $crate::Column::read(row, stringify!($field))?),* })
            }
        }
    };
}

/// Values for `$1`, `$2`, …, in order.
#[macro_export]
macro_rules! args {
    ($($value:expr),* $(,)?) => { vec![$($crate::ToSql::to_sql(&$value)),*] };
}

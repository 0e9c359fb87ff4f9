//! Lists are given by the page; the next page begins after the last entry, so that nothing is skipped when
//! entries come and go meanwhile.

use bascule_core::limits;
use serde::Deserialize;

/// Which part of a list is wanted.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Wanted {
    after: Option<String>,
    limit: Option<i64>,
}

impl Wanted {
    pub(crate) fn after(&self) -> &str {
        self.after.as_deref().unwrap_or_default()
    }

    pub(crate) fn limit(&self) -> i64 {
        self.limit
            .unwrap_or(limits::PAGE_ENTRIES)
            .clamp(1, limits::API_PAGE_ENTRIES)
    }
}

/// Cuts a list that was read with one entry too many, and says where the next page begins.
pub(crate) fn cut<T>(mut found: Vec<T>, limit: i64, key: impl Fn(&T) -> String) -> (Vec<T>, Option<String>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(key) } else { None };
    (found, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_has_no_next() {
        assert_eq!(
            cut(vec![1, 2, 3], 2, i32::to_string),
            (vec![1, 2], Some("2".to_owned()))
        );
        assert_eq!(cut(vec![1, 2], 2, i32::to_string), (vec![1, 2], None));
        assert_eq!(
            Wanted {
                after: None,
                limit: Some(i64::MAX)
            }
            .limit(),
            limits::API_PAGE_ENTRIES
        );
        assert_eq!(
            Wanted {
                after: None,
                limit: Some(-1)
            }
            .limit(),
            1
        );
    }
}

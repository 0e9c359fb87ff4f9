//! The order of a group's issues: a whole number each, far apart, so that one can be put between two others without
//! touching them. Where two have no room left between them, all are spread anew.

/// How far apart numbers are spread.
pub(crate) const GAP: i64 = 1 << 20;

/// A number between two others (`None`: no neighbour on that side); `None` where there is no room.
pub(crate) fn between(above: Option<i64>, below: Option<i64>) -> Option<i64> {
    match (above, below) {
        (None, None) => Some(GAP),
        (Some(above), None) => above.checked_add(GAP),
        (None, Some(below)) => below.checked_sub(GAP),
        (Some(above), Some(below)) => {
            let room = below.checked_sub(above)?;
            (room >= 2).then(|| above + room / 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn without_room_there_is_none() {
        assert_eq!(between(Some(1), Some(2)), None);
        assert_eq!(between(Some(2), Some(2)), None);
        assert_eq!(between(Some(2), Some(1)), None);
        assert_eq!(between(Some(i64::MAX), None), None);
        assert_eq!(between(Some(i64::MIN), Some(i64::MAX)), None);
        assert_eq!(between(Some(1), Some(3)), Some(2));
    }

    proptest! {
        #[test]
        fn it_stands_between(above in proptest::option::of(-1_i64 << 50..1_i64 << 50), room in 0_i64..1_i64 << 40) {
            let below = above.map(|above| above + room);
            if let Some(rank) = between(above, below) {
                prop_assert!(above.is_none_or(|above| above < rank));
                prop_assert!(below.is_none_or(|below| rank < below));
            } else {
                prop_assert!(room < 2);
            }
        }
    }
}

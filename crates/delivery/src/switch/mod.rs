//! Group steps: products that can only switch together do so on a person's word. All of the group ends, those that
//! need others first; once nothing of it runs any more the new versions start, and they serve once all of them are
//! proven. Where one is not, all go back to what they were. In between nothing of the group serves, and never do
//! versions stand beside each other that do not go together.

pub(crate) mod api;
mod groups;
pub(crate) mod pages;
pub(crate) mod service;
pub(crate) mod store;

use bascule_core::{DeploymentId, Timestamp};
use bascule_store::row;

/// What a deployment of a group step is caused by.
pub(crate) const CAUSE: &str = "switch";

/// What was decided for the whole group; it never changes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Course {
    /// Nothing yet.
    Open,
    /// All are proven: all serve.
    Done,
    /// One is not: all go back.
    Back,
}

impl Course {
    /// As stored.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Back => "back",
        }
    }
}

row! {
    /// A group step.
    #[derive(Clone, Debug)]
    pub(crate) struct Switch {
        /// That of its first deployment.
        pub id: DeploymentId,
        pub site: String,
        pub actor: String,
        pub reason: String,
        pub course: String,
        /// Why it was decided so.
        pub why: String,
        pub at: Timestamp,
    }
}

impl Switch {
    /// What was decided; what is unknown is not.
    pub fn course(&self) -> Course {
        [Course::Done, Course::Back]
            .into_iter()
            .find(|course| course.as_str() == self.course)
            .unwrap_or(Course::Open)
    }
}

row! {
    /// A deployment of a group step.
    #[derive(Clone, Debug)]
    pub(crate) struct Member {
        pub deployment_id: DeploymentId,
        /// Whose turn to end it is: after all with a lower one.
        pub place: i64,
    }
}

/// In which order a group ends: whoever needs another before that one. `needs(a, b)`: the a-th needs the b-th. Where
/// they need each other in a circle, the first of them begins.
pub(crate) fn order(count: usize, needs: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut left: Vec<usize> = (0..count).collect();
    let mut ordered = Vec::with_capacity(count);
    while !left.is_empty() {
        let free = left
            .iter()
            .position(|one| left.iter().all(|other| other == one || !needs(*other, *one)))
            .unwrap_or(0);
        ordered.push(left.remove(free));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_needs_another_ends_before_it_and_a_circle_has_a_beginning() {
        // 0 needs 2, 1 needs 0.
        assert_eq!(order(3, |a, b| matches!((a, b), (0, 2) | (1, 0))), [1, 0, 2]);
        assert_eq!(order(2, |a, b| a != b), [0, 1]);
        assert!(order(0, |_, _| true).is_empty());
    }
}

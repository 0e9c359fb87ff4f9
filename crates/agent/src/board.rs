//! What the agent says of its instances, kept in one place from which reports are made.

use bascule_core::{InstanceId, TaskId};
use bascule_wire::{
    agent::{DesiredInstance, InstanceReport, InstanceState},
    task::{TaskReport, TaskState},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;

/// All reports, and a count that rises with each change.
#[derive(Debug)]
pub(crate) struct Board {
    reports: Mutex<BTreeMap<InstanceId, InstanceReport>>,
    tasks: Mutex<BTreeMap<TaskId, TaskReport>>,
    changes: watch::Sender<u64>,
}

impl Board {
    pub(crate) fn new() -> Self {
        Self {
            reports: Mutex::default(),
            tasks: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// The reports now.
    pub(crate) fn reports(&self) -> Vec<InstanceReport> {
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// What is said of tasks now.
    pub(crate) fn tasks(&self) -> Vec<TaskReport> {
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }

    /// Says how a task stands.
    pub(crate) fn put_task(&self, report: TaskReport) {
        let before = self
            .tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(report.task, report.clone());
        if before != Some(report) {
            self.changed();
        }
    }

    /// Takes down tasks that nobody asks for any more, unless they run.
    pub(crate) fn keep_tasks(&self, asked: &BTreeSet<TaskId>) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = tasks.len();
        tasks.retain(|task, report| asked.contains(task) || report.state == TaskState::Running);
        let fewer = tasks.len() < before;
        drop(tasks);
        if fewer {
            self.changed();
        }
    }

    /// Rises with each change.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Puts up an instance.
    pub(crate) fn put(&self, spec: &DesiredInstance, state: InstanceState, message: &str) {
        let report = InstanceReport {
            instance: spec.instance,
            deployment: spec.deployment,
            state,
            address: None,
            pid: None,
            restarts: 0,
            message: message.to_owned(),
            started_at: None,
            smoke: None,
        };
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(spec.instance, report);
        self.changed();
    }

    /// Puts up what was said of an instance before this version of the agent ran.
    pub(crate) fn put_again(&self, report: InstanceReport) {
        self.reports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(report.instance, report);
        self.changed();
    }

    /// Changes what is said of an instance.
    pub(crate) fn update(&self, instance: InstanceId, change: impl FnOnce(&mut InstanceReport)) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = reports.get_mut(&instance) else {
            return;
        };
        let before = report.state;
        change(report);
        if before != report.state {
            let (state, message) = (report.state, report.message.lines().next().unwrap_or_default());
            tracing::info!(%instance, ?state, message, "an instance changed");
        }
        drop(reports);
        self.changed();
    }

    /// Says where an instance stands, where that is news.
    pub(crate) fn say(&self, instance: InstanceId, state: InstanceState, message: &str) {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let news = reports
            .get(&instance)
            .is_some_and(|report| report.state != state || report.message != message);
        drop(reports);
        if news {
            self.update(instance, |report| {
                report.state = state;
                message.clone_into(&mut report.message);
                if matches!(state, InstanceState::Stopped | InstanceState::Failed) {
                    (report.address, report.pid) = (None, None);
                }
            });
        }
    }

    /// Takes down all instances but these.
    pub(crate) fn keep(&self, instances: &BTreeSet<InstanceId>) {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let before = reports.len();
        reports.retain(|instance, _| instances.contains(instance));
        let changed = reports.len() != before;
        drop(reports);
        if changed {
            self.changed();
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

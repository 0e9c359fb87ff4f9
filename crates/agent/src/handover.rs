//! What the next version of the agent, which this process becomes, is told of the instances that run.

use crate::{Machine, upgrade};
use bascule_core::InstanceId;
use bascule_sandbox::{
    Running,
    handover::{Handed, Part, adopt, receive},
};
use bascule_wire::agent::{DesiredInstance, InstanceReport};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
    sync::PoisonError,
};

/// The form of what is told. A version that does not know it is not become.
pub const FORMAT: u32 = 1;

/// An instance that runs and can be handed over.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) spec: DesiredInstance,
    pub(crate) port: u16,
    pub(crate) part: Part,
}

#[derive(Serialize, Deserialize)]
struct Told {
    format: u32,
    /// The process that tells, which is the one that is told.
    stage: Option<String>,
    instances: Vec<Instance>,
}

/// An instance as it was when it was handed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Instance {
    pub(crate) spec: DesiredInstance,
    pub(crate) report: Option<InstanceReport>,
    pub(crate) port: u16,
    command: Handed,
}

/// What was taken over and is still to be gone on with.
pub(crate) type Taken = BTreeMap<InstanceId, (Instance, Running)>;

fn file(data: &Path) -> PathBuf {
    data.join("handover.json")
}

/// Becomes another program, which goes on with all instances that run. Comes back only where that failed.
pub(crate) async fn become_program(machine: &Machine, program: &Path) -> io::Error {
    // Nothing is being started from here on.
    let _still = machine.starts.write().await;
    let (instances, parts): (Vec<_>, Vec<_>) = {
        let reports: BTreeMap<_, _> = machine
            .board
            .reports()
            .into_iter()
            .map(|report| (report.instance, report))
            .collect();
        let live = machine.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.iter()
            .map(|(id, live)| {
                let instance = Instance {
                    spec: live.spec.clone(),
                    report: reports.get(id).cloned(),
                    port: live.port,
                    command: live.part.handed(),
                };
                (instance, live.part.clone())
            })
            .unzip()
    };
    let told = Told {
        format: FORMAT,
        stage: upgrade::stage_of_this(),
        instances,
    };
    if let Err(error) = write(&machine.data_dir, &told) {
        return error;
    }
    let command = upgrade::in_place(program);
    let error = bascule_sandbox::handover::become_program(command, &parts).await;
    drop(fs::remove_file(file(&machine.data_dir)));
    error
}

fn write(data: &Path, told: &Told) -> io::Result<()> {
    // Temporary files get mode 0600; variables may hold secrets.
    let mut kept = tempfile::NamedTempFile::new_in(data)?;
    serde_json::to_writer(&mut kept, told)?;
    kept.flush()?;
    kept.persist(file(data))?;
    Ok(())
}

/// Takes over what the program before this one told, if this process was told anything.
pub(crate) fn take(data: &Path) -> Taken {
    let Ok(text) = fs::read(file(data)) else {
        return Taken::new();
    };
    drop(fs::remove_file(file(data)));
    let told: Told = match serde_json::from_slice(&text) {
        Ok(told) => told,
        Err(error) => {
            tracing::error!(%error, "what the version before told cannot be read; instances are started anew");
            return Taken::new();
        }
    };
    // Of another process, which died.
    if told.stage.is_none() || told.stage != upgrade::stage_of_this() {
        return Taken::new();
    }
    let outputs = match receive(told.instances.len()) {
        Ok(outputs) => outputs,
        Err(error) => {
            tracing::error!(%error, "the outputs of instances are lost; they are started anew");
            return Taken::new();
        }
    };
    let mut taken = Taken::new();
    for (instance, output) in told.instances.into_iter().zip(outputs) {
        let id = instance.spec.instance;
        match adopt(&instance.command, output) {
            Ok(running) => drop(taken.insert(id, (instance, running))),
            Err(error) => tracing::warn!(instance = %id, %error, "an instance ended meanwhile"),
        }
    }
    tracing::info!(
        instances = taken.len(),
        "going on with what the version before started"
    );
    taken
}

//! How jobs run as pods of a Kubernetes cluster. Names are those of GitLab's executor, as far as it has them.

use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// Settings of the executor `kubernetes`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesConfig {
    /// How to reach the cluster; by the service account of the runner's own pod if unset.
    pub kubeconfig: Option<PathBuf>,
    /// Where pods of jobs are made. Better one that holds nothing else.
    pub namespace: String,
    /// The service account of jobs' pods; its token is not given to them.
    pub service_account: String,
    /// An image with this program and git, which fetches sources and keeps results beside the job.
    pub helper_image: String,
    /// When the helper's image is pulled, in Kubernetes' word: `Always`, `IfNotPresent`, `Never`.
    pub helper_pull_policy: String,
    /// Secrets of the namespace by which nodes pull images; what the job itself knows is added.
    pub image_pull_secrets: Vec<String>,
    /// Labels of the nodes that jobs may run on.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that jobs put up with: `"key=value" = "NoSchedule"`.
    pub node_tolerations: BTreeMap<String, String>,
    /// More labels of pods.
    pub pod_labels: BTreeMap<String, String>,
    /// More annotations of pods.
    pub pod_annotations: BTreeMap<String, String>,
    /// Seconds that a pod has until its containers run.
    pub poll_timeout: u64,
    /// Processors asked for, of each job's container; `500m`.
    pub cpu_request: String,
    /// Memory asked for; `256Mi`.
    pub memory_request: String,
    /// Disk asked for.
    pub ephemeral_storage_request: String,
    /// Processors of each service at most.
    pub service_cpu_limit: String,
    /// Memory of each service at most; as the job's if empty.
    pub service_memory_limit: String,
    /// Processors of the helper at most.
    pub helper_cpu_limit: String,
    /// Memory of the helper at most.
    pub helper_memory_limit: String,
    /// The user that all containers run as, for namespaces that allow no root.
    pub run_as_user: Option<i64>,
    /// Whether programs such as `sudo` may raise their rights.
    pub allow_privilege_escalation: bool,
    /// A runtime such as gVisor's or Kata's, by the name of its `RuntimeClass`.
    pub runtime_class_name: String,
    /// The pods' priority class.
    pub priority_class_name: String,
    /// Whether each job gets a `NetworkPolicy`; without it jobs reach whatever pods of the namespace reach.
    pub network_policy: bool,
    /// Ranges of addresses that every job reaches, such as the server's within the cluster: `10.0.0.7/32`.
    pub network_egress: Vec<String>,
    /// Ranges that no job reaches, not even with an open network.
    pub network_except: Vec<String>,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            namespace: "default".to_owned(),
            service_account: String::new(),
            helper_image: String::new(),
            helper_pull_policy: "IfNotPresent".to_owned(),
            image_pull_secrets: Vec::new(),
            node_selector: BTreeMap::new(),
            node_tolerations: BTreeMap::new(),
            pod_labels: BTreeMap::new(),
            pod_annotations: BTreeMap::new(),
            poll_timeout: 180,
            cpu_request: String::new(),
            memory_request: String::new(),
            ephemeral_storage_request: String::new(),
            service_cpu_limit: String::new(),
            service_memory_limit: String::new(),
            helper_cpu_limit: String::new(),
            helper_memory_limit: "512Mi".to_owned(),
            run_as_user: None,
            allow_privilege_escalation: false,
            runtime_class_name: String::new(),
            priority_class_name: String::new(),
            network_policy: true,
            network_egress: Vec::new(),
            // Where clouds tell machines their secrets.
            network_except: vec!["169.254.0.0/16".to_owned()],
        }
    }
}

//! Request and response types that cross the network, shared by the server and by those who call it:
//! runner, agent, edge and command line. Data only; each capability keeps its own module.

pub mod advisory;
pub mod agent;
pub mod bundle;
pub mod ci;
pub mod ci_results;
pub mod delivery;
pub mod drill;
pub mod edge;
pub mod environments;
pub mod fleet;
pub mod forge;
pub mod identity;
pub mod incidents;
pub mod insights;
pub mod merge_request;
pub mod notices;
pub mod pipelines;
pub mod planning;
pub mod preview;
pub mod release;
pub mod review;
pub mod runner;
pub mod task;
pub mod telemetry;
pub mod views;
pub mod workflow;

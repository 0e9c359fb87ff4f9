//! The command line: `bascule <noun> <verb>`. Client verbs speak to a server through its JSON API alone.

mod advisory;
mod bundle;
mod carry;
mod ci;
mod ci_results;
mod code;
mod context;
mod delivery;
mod drill;
mod environments;
#[cfg(test)]
mod examples;
mod finding;
mod fleet;
mod flow;
mod identity;
mod incident;
mod insights;
mod key;
mod ledger;
mod mr;
mod mr_change;
mod notices;
pub mod output;
mod pages;
mod partner;
mod plan;
mod planning;
mod preview;
mod product;
mod project;
mod release;
mod review;
mod runners;
mod schedule;
mod storage;
mod task;
mod trigger;
mod values;
mod variable;
mod views;

use crate::config::ServerOptions;
use clap::{Parser, Subcommand};
use context::{Context, Remote};

/// From the commit to production and back to the post-mortem: the DevOps platform that an institution runs
/// by itself.
#[derive(Debug, Parser)]
#[command(
    name = "bascule",
    version,
    arg_required_else_help = true,
    after_help = "Examples:
  bascule up --data ./data --listen 127.0.0.1:8080    run the whole platform here
  bascule login http://127.0.0.1:8080                 keep address and token for the verbs below
  bascule project create demo/appointments            then: git push
  bascule deploy demo/appointments 1.1.0 --to production --wait
  bascule insights demo/appointments

Exit codes: 0 done, 1 failed, 2 wrongly called, 3 refused by a rule, 4 server not reachable."
)]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub remote: Remote,
}

/// Every noun and one-word verb.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run server, runner, agent and edge in one process
    #[command(after_help = "Example:
  bascule up --data /var/lib/bascule --listen 127.0.0.1:8080 --ssh-listen 127.0.0.1:2222

Prints `ready URL` once it serves. The first administrator's token is in DIR/admin.token, the password in
DIR/admin.password. SIGTERM stops it gracefully.")]
    Up(ServerOptions),
    /// Run the server alone
    #[command(after_help = "Example:
  bascule server --data /var/lib/bascule --listen 0.0.0.0:8080 --external-url https://bascule.example.org")]
    Server(ServerOptions),
    /// Run a job runner against a server
    #[command(after_help = "Example:
  bascule runner --server https://bascule.example.org --runner-token glrt-… --data /var/lib/bascule-runner")]
    Runner(crate::roles::RunnerOptions),
    /// Run the one job of a pod, beside it; a runner of the executor kubernetes starts it
    #[cfg(feature = "kubernetes")]
    #[command(hide = true)]
    JobHelper(crate::roles::JobHelperOptions),
    /// Run an environment's agent
    #[command(after_help = "Examples, the first time; later without --code or enrol:
  bascule agent --server https://bascule.example.org --code benr-… --data /var/lib/bascule-agent
  bascule agent enrol benr-… --server https://agents.example.org:8443 --data /var/lib/bascule-agent")]
    Agent(crate::roles::AgentOptions),
    /// Run a traffic proxy
    #[command(after_help = "Examples:
  bascule edge --server https://bascule.example.org --code benr-… --data DIR --shared 0.0.0.0:8000
  bascule edge --routes routes.json --shared 127.0.0.1:8000    without a server")]
    Edge(crate::roles::EdgeOptions),
    /// Say what is missing on this machine, and how to get it
    #[command(after_help = "Example:\n  bascule doctor")]
    Doctor,
    /// Keep a server's address and an access token for later verbs
    #[command(after_help = "Examples:
  bascule login http://127.0.0.1:8080 --token bsc_…
  bascule login http://127.0.0.1:8080 < data/admin.token")]
    Login {
        /// The server's address
        address: String,
    },
    /// Who the token belongs to
    #[command(after_help = "Example:\n  bascule whoami")]
    Whoami,
    /// Accounts
    #[command(subcommand)]
    User(identity::User),
    /// Access tokens
    #[command(subcommand)]
    Token(identity::Token),
    /// SSH keys of yours, and deploy keys of projects
    #[command(subcommand)]
    Key(key::Key),
    /// Groups and their members
    #[command(subcommand)]
    Group(identity::Group),
    /// Outside partners: people from outside, limited to named projects, until an end date
    #[command(subcommand)]
    Partner(partner::Partner),
    /// Projects
    #[command(subcommand)]
    Project(project::Project),
    /// History and files without a clone
    #[command(subcommand)]
    Code(code::Code),
    /// Merge requests and the merge queue
    #[command(subcommand)]
    Mr(mr::Mr),
    /// The workflow policy: the rules by which a group or project works
    #[command(subcommand)]
    Flow(flow::Flow),
    /// Pipelines
    #[command(subcommand)]
    Pipeline(ci::Pipeline),
    /// Jobs and their logs
    #[command(subcommand)]
    Job(ci::Job),
    /// Schedules: pipelines that start by themselves, again and again
    #[command(subcommand)]
    Schedule(schedule::Schedule),
    /// Static sites that jobs made
    #[command(subcommand)]
    Pages(pages::Pages),
    /// Trigger tokens: what other programs start pipelines with
    #[command(subcommand)]
    Trigger(trigger::Trigger),
    /// All of CI: pipelines and what they found out, the file checked, what groups require
    #[command(subcommand)]
    Ci(ci_results::Ci),
    /// Jobs that wait for a runner: their places, and why each waits
    #[command(after_help = "Examples:
  bascule queue
  bascule queue -p demo/appointments
  bascule queue -g demo --json")]
    Queue(runners::Queue),
    /// CI variables and secrets of projects, groups and the instance
    #[command(subcommand)]
    Variable(variable::Variable),
    /// Runners: who runs jobs, for whom, and what they have; `bascule runner` runs one
    #[command(subcommand)]
    Runners(runners::Runners),
    /// Releases and their evidence
    #[command(subcommand)]
    Release(release::Release),
    /// Advisories: what is known to be weak, in the OSV format
    #[command(subcommand)]
    Advisory(advisory::Advisory),
    /// Findings: releases with a component that an advisory speaks of
    #[command(subcommand)]
    Finding(finding::Finding),
    /// Signed files that carry releases to a site without a network, and its reports back
    #[command(subcommand)]
    Bundle(bundle::Bundle),
    /// Environments and what runs there
    #[command(subcommand)]
    Environment(delivery::Environment),
    /// Agents: who is enrolled, and how they are
    #[command(subcommand)]
    Agents(fleet::Members),
    /// Edges: who is enrolled
    #[command(subcommand)]
    Edges(fleet::Members),
    /// Deploy a release to an environment
    #[command(after_help = "Examples:
  bascule deploy demo/appointments 1.0.0 --to staging
  bascule deploy demo/appointments 1.1.0 --to production --wait

With --wait: exit code 0 when it serves, 1 when it failed or was undone.")]
    Deploy(delivery::Deploy),
    /// What should run where, what holds it, and why
    #[command(after_help = "Examples:
  bascule plan
  bascule plan --in site-7
  bascule plan --in site-7 --why health/clinic@1.1.0
  bascule plan --in site-7 --log --json
  bascule plan --diff environments/site-7.yaml     what this file would change, before it is pushed
  bascule plan --request 12 -p platform/fleet      what merging that request would change
  bascule plan --diff HEAD                         the same for a commit of the environments project
  bascule plan switch --in site-7                  what can only switch together, and what that costs

With --why: exit code 0 when it runs or could be put there now, 3 when something holds it.")]
    Plan(plan::Plan),
    /// Where a commit is: which releases contain it, and in which environments it runs by now
    #[command(after_help = "Examples:
  bascule where 3f2a91c                       in a clone: of the project that it came from
  bascule where 1.1.0 --project health/clinic
  bascule where HEAD --json

Exit code 0 when it runs somewhere, 3 when it does not yet.")]
    Where(views::Where),
    /// Call releases back: no environment takes them, and those that run one leave it
    #[command(after_help = "Example:
  bascule recall health/clinic 1.2.x --reason \"loses appointments\" --floor 1.1.0
  bascule recall health/clinic 1.2.3 --reason \"the fault was in the network\" --lift
  bascule recall health/clinic --list

Said again, it corrects reason and floor.")]
    Recall(plan::Recall),
    /// Approve a version in a team's name
    #[command(after_help = "Examples:
  bascule approve health/clinic 1.2.0 --as security --in site-7
  bascule approve health/clinic 1.2.0 --as security --channel stable
  bascule approve health/clinic --list")]
    Approve(plan::Approve),
    /// Hold all changes in an environment, or let them go on
    #[command(after_help = "Examples:
  bascule suppress site-7 --reason \"audit\" --minutes 120
  bascule suppress site-7 --end
  bascule suppress --list")]
    Suppress(plan::Suppress),
    /// What a file no longer declares, and what becomes of it
    #[command(after_help = "Examples:
  bascule prune --in site-7
  bascule prune --in site-7 --confirm

Exit code 3 while it is more than may be taken away at once.")]
    Prune(environments::Prune),
    /// How products differ between their environments, differences first
    #[command(after_help = "Examples:
  bascule parity
  bascule parity health/clinic --all

Values of variables are never shown: `value A` and `value B` are unlike.")]
    Parity(environments::Parity),
    /// Secrets that files of environments refer to by name
    #[command(subcommand)]
    Secret(environments::Secret),
    /// What a product's bascule.yaml asks of others: checks for a pipeline
    #[command(subcommand)]
    Product(product::Product),
    /// Commands run once in an environment: approved, recorded, their output streamed
    #[command(subcommand)]
    Task(task::Task),
    /// Previews of merge requests: where they answer, or why they do not
    #[command(subcommand)]
    Preview(preview::Preview),
    /// Rollouts: watch, promote, pause, resume, abort
    #[command(subcommand)]
    Rollout(delivery::Rollout),
    /// Issues: what is to be done
    #[command(subcommand)]
    Issue(planning::Issue),
    /// The board: what stands where, who is there
    #[command(subcommand)]
    Board(planning::Board),
    /// Labels of a project or group
    #[command(subcommand)]
    Label(planning::Label),
    /// Milestones of a project or group
    #[command(subcommand)]
    Milestone(planning::Milestone),
    /// What waits for you
    #[command(subcommand)]
    Todo(notices::Todo),
    /// Webhooks of a project or group: who is told of events
    #[command(subcommand)]
    Webhook(notices::Webhook),
    /// Incidents
    #[command(subcommand)]
    Incident(incident::Incident),
    /// Drills: something is made to fail on purpose, and nothing else changes
    #[command(subcommand)]
    Drill(drill::Drill),
    /// DORA, MTTx and RCI, of a project or of the whole instance
    #[command(after_help = "Examples:
  bascule insights
  bascule insights demo/appointments --from 2026-01-01T00:00:00Z --facts")]
    Insights(insights::Insights),
    /// The ledger of facts
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Print a shell's completion script
    #[command(after_help = "Example:
  bascule completion bash > /etc/bash_completion.d/bascule")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the table of all routes and who may call them; for the authorisation test
    #[command(hide = true)]
    Routes,
    /// Called by git on a push; not for people
    #[command(hide = true)]
    Hook {
        /// Which hook, and what it needs
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

impl Verb {
    /// Whether it runs a part of the platform rather than asking one.
    pub fn serves(&self) -> bool {
        #[cfg(feature = "kubernetes")]
        if matches!(self, Self::JobHelper(_)) {
            return true;
        }
        matches!(
            self,
            Self::Up(_) | Self::Server(_) | Self::Runner(_) | Self::Agent(_) | Self::Edge(_)
        )
    }
}

/// Runs a client verb; the exit code when it went well.
pub async fn client(verb: Verb, remote: &Remote) -> bascule_core::Result<u8> {
    let context = || Context::new(remote);
    match verb {
        Verb::Login { address } => identity::login(&address, remote).await,
        Verb::Whoami => identity::whoami(&context()?).await,
        Verb::User(verb) => verb.run(&context()?).await,
        Verb::Token(verb) => verb.run(&context()?).await,
        Verb::Key(verb) => verb.run(&context()?).await,
        Verb::Group(verb) => verb.run(&context()?).await,
        Verb::Partner(verb) => verb.run(&context()?).await,
        Verb::Project(verb) => verb.run(&context()?).await,
        Verb::Code(verb) => verb.run(&context()?).await,
        Verb::Mr(verb) => verb.run(&context()?).await,
        Verb::Flow(verb) => verb.run(&context()?).await,
        Verb::Pipeline(verb) => verb.run(&context()?).await,
        Verb::Ci(verb) => verb.run(&context()?).await,
        Verb::Job(verb) => verb.run(&context()?).await,
        Verb::Schedule(verb) => verb.run(&context()?).await,
        Verb::Pages(verb) => verb.run(&context()?).await,
        Verb::Trigger(verb) => verb.run(&context()?).await,
        Verb::Queue(verb) => verb.run(&context()?).await,
        Verb::Variable(verb) => verb.run(&context()?).await,
        Verb::Runners(verb) => verb.run(&context()?).await,
        Verb::Release(release::Release::Verify(verify)) => release::verify(&verify, remote.json),
        Verb::Release(verb) => verb.run(&context()?).await,
        Verb::Advisory(verb) => verb.run(&context()?).await,
        Verb::Finding(verb) => verb.run(&context()?).await,
        Verb::Drill(verb) => verb.run(&context()?).await,
        Verb::Bundle(bundle::Bundle::Inspect(inspect)) => bundle::inspect_files(&inspect, remote.json),
        Verb::Bundle(verb) => verb.run(&context()?).await,
        Verb::Environment(verb) => verb.run(&context()?).await,
        Verb::Agents(verb) => verb.run("agent", &context()?).await,
        Verb::Edges(verb) => verb.run("edge", &context()?).await,
        Verb::Deploy(verb) => verb.run(&context()?).await,
        Verb::Rollout(verb) => verb.run(&context()?).await,
        Verb::Task(verb) => verb.run(&context()?).await,
        Verb::Preview(verb) => verb.run(&context()?).await,
        Verb::Plan(verb) => verb.run(&context()?).await,
        Verb::Prune(verb) => verb.run(&context()?).await,
        Verb::Parity(verb) => verb.run(&context()?).await,
        Verb::Secret(verb) => verb.run(&context()?).await,
        Verb::Product(verb) => verb.run(&Context::new(&product::in_job(remote))?).await,
        Verb::Where(verb) => verb.run(&context()?).await,
        Verb::Recall(verb) => verb.run(&context()?).await,
        Verb::Approve(verb) => verb.run(&context()?).await,
        Verb::Suppress(verb) => verb.run(&context()?).await,
        Verb::Issue(verb) => verb.run(&context()?).await,
        Verb::Board(verb) => verb.run(&context()?).await,
        Verb::Label(verb) => verb.run(&context()?).await,
        Verb::Milestone(verb) => verb.run(&context()?).await,
        Verb::Todo(verb) => verb.run(&context()?).await,
        Verb::Webhook(verb) => verb.run(&context()?).await,
        Verb::Incident(verb) => verb.run(&context()?).await,
        Verb::Insights(verb) => verb.run(&context()?).await,
        Verb::Ledger(ledger::Ledger::Verify(verify)) if verify.data.is_some() => {
            ledger::verify_offline(&verify, remote.json).await
        }
        Verb::Ledger(verb) => verb.run(&context()?).await,
        _ => Ok(output::code::USAGE),
    }
}

/// A file named on the command line, read whole.
fn read_file(path: &std::path::Path) -> bascule_core::Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        output::usage(
            &format!("{} cannot be read: {error}.", path.display()),
            "Check the path.",
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn every_verb_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}

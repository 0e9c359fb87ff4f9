//! The pages on which people set up CI: of the instance, of a group, of a project.

mod pages;
mod project;

use crate::Ci;
use axum::routing::{get, post};
use bascule_core::Permission;
use bascule_web::{Access, Routes};

pub(crate) fn routes() -> Routes<Ci> {
    let of_all = Access::Instance(Permission::InstanceManage);
    let of_group = Access::Group(Permission::GroupManage);
    let of_project = Access::Project(Permission::ProjectManage);
    let base = "/{group}/{project}/-/settings/ci";
    Routes::new()
        .page(
            "GET,POST",
            "/admin/ci",
            of_all,
            get(pages::of_all).post(pages::set_of_all),
        )
        .page(
            "POST",
            "/admin/ci/{name}/delete",
            of_all,
            post(pages::remove_of_all),
        )
        .page(
            "GET,POST",
            "/{group}/-/settings/ci",
            of_group,
            get(pages::of_group).post(pages::set_of_group),
        )
        .page(
            "POST",
            "/{group}/-/settings/ci/limit",
            of_group,
            post(pages::set_limit),
        )
        .page(
            "POST",
            "/{group}/-/settings/ci/{name}/delete",
            of_group,
            post(pages::remove_of_group),
        )
        .page(
            "GET,POST",
            base,
            of_project,
            get(project::show).post(project::set_variable),
        )
        .page(
            "POST",
            &format!("{base}/{{name}}/delete"),
            of_project,
            post(project::remove_variable),
        )
        .page(
            "POST",
            &format!("{base}/results"),
            of_project,
            post(project::set_coverage),
        )
        .page(
            "POST",
            &format!("{base}/merge-pipelines"),
            of_project,
            post(project::set_merge_pipelines),
        )
        .page(
            "POST",
            &format!("{base}/resource-group"),
            of_project,
            post(project::set_resource_mode),
        )
        .page(
            "POST",
            &format!("{base}/sites/remove"),
            of_project,
            post(project::remove_site),
        )
        .page(
            "POST",
            &format!("{base}/job-tokens"),
            of_project,
            post(project::let_in),
        )
        .page(
            "POST",
            &format!("{base}/job-tokens/remove"),
            of_project,
            post(project::let_in_no_more),
        )
}

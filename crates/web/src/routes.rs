//! Declaring routes: path, who may call it, and what serves it, in one place; the API's description and the
//! authorisation test come from the same declaration.

use crate::access::{Access, enforce};
use axum::{
    Router,
    extract::{RawPathParams, Request},
    middleware::{Next, from_fn},
    routing::MethodRouter,
};
use utoipa::openapi::{Components, HttpMethod, OpenApi, PathItem, RefOr, Schema, path::Paths};

/// One route, as the authorisation test walks it.
#[derive(Clone, Debug)]
pub struct RouteEntry {
    /// HTTP method, in capitals.
    pub method: String,
    /// Path with `{parameters}`.
    pub path: String,
    /// Who may call it.
    pub access: Access,
}

/// Routes of a capability.
pub struct Routes<S = ()> {
    router: Router<S>,
    api: OpenApi,
    table: Vec<RouteEntry>,
}

impl<S: Clone + Send + Sync + 'static> Default for Routes<S> {
    fn default() -> Self {
        Self {
            router: Router::new(),
            api: OpenApi::default(),
            table: Vec::new(),
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Routes<S> {
    /// No routes yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds JSON handlers declared with `#[utoipa::path]`, as made by [`routes!`](crate::routes).
    #[must_use]
    pub fn api(mut self, access: Access, (schemas, paths, methods): ApiMethods<S>) -> Self {
        let mut path = String::new();
        for (at, item) in &paths.paths {
            path.clone_from(at);
            for method in methods_of(item) {
                self.table.push(RouteEntry {
                    method: method.to_owned(),
                    path: at.clone(),
                    access,
                });
            }
        }
        self.router = self.router.route(&path, guard(methods, access));
        for (at, item) in paths.paths {
            match self.api.paths.paths.get_mut(&at) {
                Some(known) => known.merge_operations(item),
                None => {
                    self.api.paths.paths.insert(at, item);
                }
            }
        }
        let components = self.api.components.get_or_insert_with(Components::new);
        components.schemas.extend(schemas);
        self
    }

    /// Adds a page or any route without an API description. `methods` names what `handler` serves, as in
    /// `"GET"` or `"GET,POST"`.
    #[must_use]
    pub fn page(mut self, methods: &str, path: &str, access: Access, handler: MethodRouter<S>) -> Self {
        for method in methods.split(',') {
            self.table.push(RouteEntry {
                method: method.trim().to_owned(),
                path: path.to_owned(),
                access,
            });
        }
        self.router = self.router.route(path, guard(handler, access));
        self
    }

    /// Puts a layer around the routes so far, outside of the gate.
    #[must_use]
    pub fn wrap(mut self, layer: impl FnOnce(Router<S>) -> Router<S>) -> Self {
        self.router = layer(self.router);
        self
    }

    /// Adds all routes of another.
    #[must_use]
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.api.merge(other.api);
        self.table.extend(other.table);
        self
    }

    /// Gives the handlers their state.
    #[must_use]
    pub fn with_state<T: Clone + Send + Sync + 'static>(self, state: S) -> Routes<T> {
        Routes {
            router: self.router.with_state(state),
            api: self.api,
            table: self.table,
        }
    }
}

impl Routes {
    /// Takes everything apart: the router, the API's description, the table for the authorisation test.
    pub fn into_parts(self) -> (Router, OpenApi, Vec<RouteEntry>) {
        (self.router, self.api, self.table)
    }
}

/// What [`routes!`](crate::routes) makes.
pub type ApiMethods<S> = (Vec<(String, RefOr<Schema>)>, Paths, MethodRouter<S>);

fn guard<S: Clone + Send + Sync + 'static>(methods: MethodRouter<S>, access: Access) -> MethodRouter<S> {
    methods.layer(from_fn(
        move |params: RawPathParams, request: Request, next: Next| enforce(access, params, request, next),
    ))
}

fn methods_of(item: &PathItem) -> Vec<&'static str> {
    let all = [
        (HttpMethod::Get, "GET", item.get.is_some()),
        (HttpMethod::Post, "POST", item.post.is_some()),
        (HttpMethod::Put, "PUT", item.put.is_some()),
        (HttpMethod::Patch, "PATCH", item.patch.is_some()),
        (HttpMethod::Delete, "DELETE", item.delete.is_some()),
        (HttpMethod::Head, "HEAD", item.head.is_some()),
    ];
    all.into_iter()
        .filter(|(_, _, present)| *present)
        .map(|(_, name, _)| name)
        .collect()
}

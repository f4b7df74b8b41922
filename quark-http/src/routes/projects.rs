//! Projects: apps with environments.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quark_core::deployment::Version;
use quark_core::{BranchName, Error};

use super::ApiState;
use super::deployments::accepted;
use crate::body::{JsonBody, ProjectPath, WishKey};
use crate::dto::{
    CreateDeployment, CreateProject, CreatePush, DeploymentView, ProblemBody, ProjectList, ProjectView, PushedList,
    RemovalList, UpdateProject,
};
use crate::problem::Problem;

/// Makes a project known, and the apps of its environments. Nothing runs yet.
#[utoipa::path(
    post, path = "/api/v1/projects", tag = "projects", request_body = CreateProject,
    responses(
        (status = 201, body = ProjectView),
        (status = 409, description = "A name or host name is taken", body = ProblemBody),
        (status = 422, description = "A value is not acceptable", body = ProblemBody),
    )
)]
pub(super) async fn create(
    State(state): State<ApiState>,
    JsonBody(body): JsonBody<CreateProject>,
) -> Result<Response, Problem> {
    let project = state.engine.create_project(body.into_project()?).await?;
    let location = HeaderValue::from_str(&format!("/api/v1/projects/{}", project.project.spec.name)).ok();
    let mut response = (StatusCode::CREATED, Json(ProjectView::from(project))).into_response();
    if let Some(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// All projects, by name.
#[utoipa::path(get, path = "/api/v1/projects", tag = "projects", responses((status = 200, body = ProjectList)))]
pub(super) async fn list(State(state): State<ApiState>) -> Result<Json<ProjectList>, Problem> {
    let mut items = Vec::new();
    for record in state.engine.projects().await? {
        match state.engine.project(&record.spec.name).await {
            Ok(project) => items.push(project.into()),
            // It has gone in between.
            Err(error) if error.code() == "project_not_found" => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Json(ProjectList { items }))
}

/// What is known of a project and its apps.
#[utoipa::path(
    get, path = "/api/v1/projects/{project}", tag = "projects", params(("project" = String, Path)),
    responses((status = 200, body = ProjectView), (status = 404, body = ProblemBody))
)]
pub(super) async fn read(
    State(state): State<ApiState>,
    ProjectPath(name): ProjectPath,
) -> Result<Json<ProjectView>, Problem> {
    Ok(Json(state.engine.project(&name).await?.into()))
}

/// Replaces what is said about a project. Its apps follow: they are made,
/// changed (the next deployment of each takes it up) or removed.
#[utoipa::path(
    put, path = "/api/v1/projects/{project}", tag = "projects", params(("project" = String, Path)),
    request_body = UpdateProject,
    responses(
        (status = 200, body = ProjectView),
        (status = 404, body = ProblemBody),
        (status = 409, description = "It was changed meanwhile, or a name is taken", body = ProblemBody),
        (status = 422, description = "A value is not acceptable", body = ProblemBody),
    )
)]
pub(super) async fn update(
    State(state): State<ApiState>,
    ProjectPath(name): ProjectPath,
    JsonBody(body): JsonBody<UpdateProject>,
) -> Result<Json<ProjectView>, Problem> {
    let before = state.engine.project(&name).await?.project;
    let (version, by) = (Version(body.version), body.by.clone().unwrap_or_else(|| "api".to_owned()));
    let project = body.into_project(&before.spec)?;
    if project.name != name {
        let error = Error::invalid("template.name", "project_name", "a project cannot be renamed");
        return Err(error.with_hint("its apps have names that come from its own").into());
    }
    Ok(Json(state.engine.update_project(project, version, &by).await?.into()))
}

/// Takes all apps of a project out of service for good, and then the project away.
#[utoipa::path(
    delete, path = "/api/v1/projects/{project}", tag = "projects", params(("project" = String, Path)),
    responses((status = 202, body = RemovalList), (status = 404, body = ProblemBody), (status = 409, body = ProblemBody))
)]
pub(super) async fn remove(
    State(state): State<ApiState>,
    ProjectPath(name): ProjectPath,
) -> Result<(StatusCode, Json<RemovalList>), Problem> {
    let removals = state.engine.remove_project(&name, "api").await?;
    Ok((StatusCode::ACCEPTED, Json(RemovalList { items: removals.into_iter().map(Into::into).collect() })))
}

/// Asks for a version of a branch to be brought into service, in the environment
/// that has the branch; its preview is made if there is none.
#[utoipa::path(
    post, path = "/api/v1/projects/{project}/deployments", tag = "projects",
    params(
        ("project" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "Names the wish"),
    ),
    request_body = CreateDeployment,
    responses(
        (status = 202, body = DeploymentView),
        (status = 404, description = "No such project, or no environment for the branch", body = ProblemBody),
        (status = 409, body = ProblemBody),
        (status = 422, body = ProblemBody),
        (status = 503, description = "The engine is in safe mode", body = ProblemBody),
    )
)]
pub(super) async fn deploy(
    State(state): State<ApiState>,
    ProjectPath(name): ProjectPath,
    key: WishKey,
    JsonBody(body): JsonBody<CreateDeployment>,
) -> Result<Response, Problem> {
    let mut request = body.into_request()?;
    request.key = key.or(request.key)?;
    let branch: BranchName = request.branch.take().ok_or_else(|| {
        Error::invalid("branch", "branch_missing", "it must be said which branch")
            .with_hint("the branch decides which environment is deployed")
    })?;
    Ok(accepted(state.engine.deploy_branch(&name, branch, request).await?))
}

/// Tells that a branch of a repository has moved, or is gone: what is for it and
/// deploys by itself is deployed; the preview of a branch that is gone is removed.
/// Told again under the same key, it changes nothing.
#[utoipa::path(
    post, path = "/api/v1/pushes", tag = "projects",
    params(("Idempotency-Key" = Option<String>, Header, description = "Names the delivery")),
    request_body = CreatePush,
    responses(
        (status = 202, body = PushedList),
        (status = 422, body = ProblemBody),
        (status = 503, description = "The engine is in safe mode", body = ProblemBody),
    )
)]
pub(super) async fn push(
    State(state): State<ApiState>,
    key: WishKey,
    JsonBody(body): JsonBody<CreatePush>,
) -> Result<(StatusCode, Json<PushedList>), Problem> {
    let key = key.or(body.key()?)?.ok_or_else(|| {
        Error::invalid("key", "key_missing", "a push needs a key, so that it can be told twice")
            .with_hint("send the id of the delivery as `Idempotency-Key`")
    })?;
    let pushed = state.engine.push(body.into_request(key)?).await?;
    Ok((StatusCode::ACCEPTED, Json(PushedList { items: pushed.into_iter().map(Into::into).collect() })))
}

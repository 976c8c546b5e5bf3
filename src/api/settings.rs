//! `/chats/config/*` (api.md §2.13). A setting of the deployment says what it takes and shows
//! ([`Exposed`]); reading and writing are the same for all of them.

mod deployment;
pub mod models;
pub mod own;
pub mod personal;

use super::{
    auth::Caller,
    body,
    doc::Doc,
    problem::{Problem, Result},
    state::ApiState,
};
use crate::{
    config::models::REASONING_EFFORTS,
    ids::ModelConfigId,
    llm::catalog::{Catalog, Unusable},
    store::settings::{Deployment, Setting},
    turn::prompt::sanitize::sanitize,
};
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Serialize, de::DeserializeOwned};
use utoipa::ToSchema;

/// Longest prompt text in bytes (api.md §1.7).
const MAX_PROMPT: usize = 131_072;

/// From whom a setting is hidden. What is hidden does not exist: 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hidden {
    /// From nobody; those who are no administrators may look at it, and are refused (403) to change it.
    Never,
    /// From those who are no administrators, who are refused (403) to change it.
    Reading,
    /// From those who are no administrators, even when they try to change it.
    Always,
}

/// A setting of the deployment at the API.
pub trait Exposed: Setting {
    /// What a change carries.
    type In: DeserializeOwned + ToSchema;
    /// What is shown.
    type Out: Serialize + ToSchema;
    /// From whom it is hidden.
    const HIDDEN: Hidden;
    /// One line about it, for reading and for changing.
    const ABOUT: (&'static str, &'static str);
    /// What the OpenAPI document says of reading it.
    const GET: Doc = {
        let errors: &[u16] = if matches!(Self::HIDDEN, Hidden::Never) { &[] } else { &[404] };
        Doc::new(Self::ABOUT.0).replies::<Self::Out>().errors(errors)
    };
    /// What the OpenAPI document says of changing it.
    const PUT: Doc = {
        let errors: &[u16] =
            if matches!(Self::HIDDEN, Hidden::Always) { &[400, 404, 413] } else { &[400, 413] };
        Doc::new(Self::ABOUT.1).takes::<Self::In>().errors(errors)
    };

    /// What is shown of it.
    fn show(all: &Deployment) -> Self::Out;

    /// The new value, checked.
    ///
    /// # Errors
    /// 400 that names the field.
    fn accept(input: Self::In, state: &ApiState) -> impl Future<Output = Result<Self>>;
}

/// A setting that is taken, stored and shown in one form.
trait Plain: Setting + ToSchema {
    const HIDDEN: Hidden;
    const ABOUT: (&'static str, &'static str);

    async fn checked(self, state: &ApiState) -> Result<Self>;
}

impl<S: Plain> Exposed for S {
    type In = S;
    type Out = S;
    const HIDDEN: Hidden = <S as Plain>::HIDDEN;
    const ABOUT: (&'static str, &'static str) = <S as Plain>::ABOUT;

    fn show(all: &Deployment) -> S {
        S::of(all).clone()
    }

    async fn accept(input: S, state: &ApiState) -> Result<S> {
        input.checked(state).await
    }
}

/// Shows a setting of the deployment.
pub async fn get<S: Exposed>(state: web::Data<ApiState>, caller: Caller) -> Result<HttpResponse> {
    if S::HIDDEN != Hidden::Never {
        caller.require_admin(|| Problem::not_found("Setting"))?;
    }
    Ok(body::ok(&S::show(&state.live.current())))
}

/// Changes a setting of the deployment.
pub async fn put<S: Exposed>(
    request: HttpRequest,
    state: web::Data<ApiState>,
    caller: Caller,
    payload: web::Payload,
) -> Result<HttpResponse> {
    caller.require_admin(|| match S::HIDDEN {
        Hidden::Always => Problem::not_found("Setting"),
        Hidden::Never | Hidden::Reading => only_administrators(),
    })?;
    let value = S::accept(read(&request, payload).await?, &state).await?;
    state.live.put(&value, state.clock.now()).await?;
    Ok(body::no_content())
}

fn only_administrators() -> Problem {
    Problem::forbidden("Only administrators may change settings of the deployment.")
}

/// The body of a change: at most 256 KiB (api.md §2.13).
async fn read<T: DeserializeOwned>(request: &HttpRequest, payload: web::Payload) -> Result<T> {
    let body = body::read(request, payload, body::SMALL_LIMIT).await?;
    body::parse(&body)
}

/// Text that goes into prompts, without what nobody sees.
fn prompt(field: &str, text: &str) -> Result<String> {
    if text.len() > MAX_PROMPT {
        return Err(Problem::field(field, format!("{field} may have at most {MAX_PROMPT} bytes.")));
    }
    if text.contains('\0') {
        return Err(Problem::field(field, format!("{field} must not contain NUL characters.")));
    }
    Ok(sanitize(text))
}

/// An effort, or none for a missing or empty one.
fn effort(text: Option<String>) -> Result<Option<String>> {
    match text.filter(|text| !text.is_empty()) {
        Some(text) if !REASONING_EFFORTS.contains(&text.as_str()) => {
            let rule = format!("reasoning_effort must be one of {}.", REASONING_EFFORTS.join(", "));
            Err(Problem::field("reasoning_effort", rule))
        }
        text => Ok(text),
    }
}

/// Whether a model can be set for later use: it and its provider are there and enabled. Whether a key is
/// there does not count, as that may differ between users and change.
fn settable(catalog: &Catalog, id: ModelConfigId) -> Result<(), Unusable> {
    match catalog.model(id) {
        None => Err(Unusable::Unknown),
        Some(model) if !model.record.enabled => Err(Unusable::Disabled),
        Some(model) if !model.is_offered() => Err(Unusable::ProviderDisabled),
        Some(_) => Ok(()),
    }
}

/// The id of a model that can be set for later use, as text.
async fn settable_text(state: &ApiState, text: &str) -> Result<ModelConfigId> {
    let wrong = |why: String| Problem::field("model_config_id", why);
    let id: ModelConfigId =
        text.parse().map_err(|_| wrong("model_config_id must be the UUID of a model.".into()))?;
    let found = state.catalog.checked(|catalog| settable(catalog, id)).await?;
    found.map_err(|why| wrong(format!("model_config_id cannot be used: {why}.")))?;
    Ok(id)
}

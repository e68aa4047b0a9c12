//! Routes: read the request, call the service, answer.

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use contracts::users::Users as _;
use kernel::{Email, Time, UserId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};
use web::{
    Caller, IfMatch, Json, List, MaybeIdempotencyKey, Page, Path, Query, Result, Role, Staff, Versioned,
    openapi::Problems,
};

use crate::{
    Account, AccountChange, Name, NewAccount, Password, Users,
    service::{Change, Tokens},
};

/// The public API.
pub fn routes(service: Users) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(register, list))
        .routes(routes!(get, change))
        .routes(routes!(set_password))
        .routes(routes!(log_in))
        .routes(routes!(refresh))
        .routes(routes!(log_out))
        .routes(routes!(jwks))
        .with_state(service)
}

/// An account as its owner and staff see it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserReply {
    /// Whose.
    #[schema(inline)]
    pub id: UserId,
    /// What to call them.
    #[schema(value_type = String, examples("Ann"))]
    pub name: Name,
    /// Where to write to.
    #[schema(inline)]
    pub email: Email,
    /// What they may do.
    #[schema(inline)]
    pub role: Role,
    /// Counts its changes, from 1.
    pub version: i64,
    /// When it was made.
    #[schema(inline)]
    pub created_at: Time,
}

impl From<Account> for UserReply {
    fn from(account: Account) -> UserReply {
        let Account { id, name, email, role, version, created_at } = account;
        UserReply { id, name, email, role, version, created_at }
    }
}

fn versioned(account: Account) -> Versioned<UserReply> {
    Versioned::new(account.version, account.into())
}

/// What `POST /users` takes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// What to call them: 1 to 100 characters.
    #[schema(value_type = String, min_length = 1, max_length = 100, examples("Ann"))]
    pub name: Name,
    /// Where to write to; one account each.
    #[schema(inline)]
    pub email: Email,
    /// 8 to 200 characters. Without one nobody can sign in until staff set one.
    #[schema(value_type = Option<String>, min_length = 8, max_length = 200, format = Password)]
    pub password: Option<Password>,
}

/// Makes an account. Anyone may; it is a customer's.
#[utoipa::path(post, path = "/users", tag = "users", security(()), request_body = Register, responses(
    (status = 201, body = UserReply, headers(("location", description = "where the account is"))),
    (status = 409, description = "`email_taken`"), Problems))]
async fn register(
    State(users): State<Users>,
    key: MaybeIdempotencyKey,
    Json(body): Json<Register>,
) -> Result<Response> {
    let Register { name, email, password } = body;
    let key = key.0.map(|key| key.recognised_by(format!("{name:?} {email}").as_bytes()));
    let answer = users.register(NewAccount { name, email, password }, key.as_ref()).await?;
    let location = format!("/users/{}", answer.value.id);
    Ok(([(header::LOCATION, location)], answer.map(versioned).reply_as(StatusCode::CREATED)).into_response())
}

/// Which accounts are asked for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Which {
    /// The one with this address.
    #[param(value_type = Option<String>)]
    email: Option<Email>,
}

/// Lists accounts, the newest first. For staff.
#[utoipa::path(get, path = "/users", tag = "users", security(("bearer" = [])), params(Which, Page), responses(
    (status = 200, body = List<UserReply>, headers(("etag", description = "of what is listed"))),
    (status = 304, description = "the caller has just this page"),
    (status = 403, description = "`forbidden`"), Problems))]
async fn list(
    State(users): State<Users>,
    _: Staff,
    Query(which): Query<Which>,
    page: Page,
) -> Result<List<UserReply>> {
    Ok(users.list(which.email.as_ref(), &page).await?.map(UserReply::from))
}

/// Shows an account: one's own, or to staff any. It may be remembered for five
/// minutes; a change that was answered shows at once.
#[utoipa::path(get, path = "/users/{id}", tag = "users", security(("bearer" = [])), params(("id" = inline(UserId), Path)), responses(
    (status = 200, body = UserReply, headers(("etag", description = "its version"))),
    (status = 304, description = "the caller has this version"),
    (status = 404, description = "`no_such_user`: there is none, or the caller may not see it"), Problems))]
async fn get(
    State(users): State<Users>,
    caller: Caller,
    Path(id): Path<UserId>,
) -> Result<Versioned<UserReply>> {
    Ok(versioned(users.get(&caller, id).await?))
}

/// What `PATCH /users/{id}` takes; what is left out stays.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// What to call them.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 100)]
    pub name: Option<Name>,
    /// Where to write to.
    #[schema(inline)]
    pub email: Option<Email>,
    /// The new password; one's own only. Ends all other sessions.
    #[schema(value_type = Option<String>, min_length = 8, max_length = 200, format = Password)]
    pub password: Option<Password>,
    /// The password it replaces.
    #[schema(format = Password)]
    pub current_password: Option<String>,
    /// What they may do; administrators only, and not their own.
    #[schema(inline)]
    pub role: Option<Role>,
}

/// Changes an account: one's own, staff those of customers, administrators any.
#[utoipa::path(patch, path = "/users/{id}", tag = "users", security(("bearer" = [])), params(("id" = inline(UserId), Path)), request_body = ChangeUser,
    responses(
        (status = 200, body = UserReply, headers(("etag", description = "its version"))),
        (status = 403, description = "`wrong_password`, `role_by_admin`, `not_a_customer`, `password_of_another`"),
        (status = 404, description = "`no_such_user`: there is none, or the caller may not see it"),
        (status = 409, description = "`email_taken`, `own_role`, `password_changed`"),
        (status = 412, description = "`stale`: it has another version than `If-Match` says"), Problems))]
async fn change(
    State(users): State<Users>,
    caller: Caller,
    Path(id): Path<UserId>,
    if_match: IfMatch,
    key: MaybeIdempotencyKey,
    Json(body): Json<ChangeUser>,
) -> Result<Response> {
    let ChangeUser { name, email, password, current_password, role } = body;
    let rest = format!("{name:?} {email:?} {role:?} {}", password.is_some());
    let key = key.0.map(|key| key.recognised_by(rest.as_bytes()));
    let change = AccountChange { name, email, password, current_password, role };
    let ask = Change { caller: &caller, id, if_match, change };
    Ok(users.change(ask, key.as_ref()).await?.map(versioned).reply_as(StatusCode::OK))
}

/// What `POST /users/{id}/password` takes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// 8 to 200 characters.
    #[schema(value_type = String, min_length = 8, max_length = 200, format = Password)]
    pub password: Password,
}

/// Sets the password of an account whose owner cannot, and ends its sessions.
/// Staff do it for customers, administrators for anybody.
#[utoipa::path(post, path = "/users/{id}/password", tag = "users", security(("bearer" = [])), params(("id" = inline(UserId), Path)),
    request_body = SetPassword, responses(
        (status = 204, description = "it is set"),
        (status = 403, description = "`forbidden`, `not_a_customer`"),
        (status = 404, description = "`no_such_user`"), Problems))]
async fn set_password(
    State(users): State<Users>,
    _: Staff,
    caller: Caller,
    Path(id): Path<UserId>,
    Json(body): Json<SetPassword>,
) -> Result<StatusCode> {
    users.set_password(&caller, id, &body.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What `POST /login` takes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LogIn {
    /// Whose account.
    #[schema(inline)]
    pub email: Email,
    /// Its password.
    #[schema(format = Password, max_length = 1000)]
    pub password: String,
}

/// Tokens for somebody who signed in (names of RFC 6749, section 5.1).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct SignedIn {
    /// For every call, as `Authorization: Bearer …`: a JWT.
    pub access_token: String,
    /// For the next tokens; good once.
    pub refresh_token: String,
    /// `Bearer`
    pub token_type: String,
    /// Seconds until the access token expires.
    pub expires_in: u64,
    /// Who signed in.
    pub user: UserReply,
}

/// Signs in.
#[utoipa::path(post, path = "/login", tag = "users", security(()), request_body = LogIn, responses(
    (status = 200, body = SignedIn),
    (status = 401, description = "`wrong_credentials`"),
    (status = 429, description = "`too_many_sign_ins`"), Problems))]
async fn log_in(State(users): State<Users>, Json(body): Json<LogIn>) -> Result<Response> {
    let tokens = users.sign_in(&body.email, &body.password).await?;
    Ok(signed_in(&users, tokens))
}

/// What `POST /token/refresh` takes.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshTokens {
    /// The one that came with the last tokens.
    pub refresh_token: String,
}

/// Exchanges a refresh token for new tokens. Each is good once: one that comes
/// again ends the session. Of two exchanges at the same time one wins, and the
/// other is told `refresh_token_raced`.
#[utoipa::path(post, path = "/token/refresh", tag = "users", security(()), request_body = RefreshTokens, responses(
    (status = 200, body = SignedIn),
    (status = 401, description = "`refresh_token_reused`, `refresh_token_unknown`, `session_ended`"),
    (status = 409, description = "`refresh_token_raced`"), Problems))]
async fn refresh(State(users): State<Users>, Json(body): Json<RefreshTokens>) -> Result<Response> {
    let tokens = users.refresh(&body.refresh_token).await?;
    Ok(signed_in(&users, tokens))
}

fn signed_in(users: &Users, tokens: Tokens) -> Response {
    let Tokens { access_token, refresh_token, account } = tokens;
    let reply = SignedIn {
        access_token,
        refresh_token,
        token_type: "Bearer".into(),
        expires_in: users.settings.access_token.as_secs(),
        user: account.into(),
    };
    (no_store(), Json(reply)).into_response()
}

/// Secrets stay out of caches (RFC 6749, section 5.1).
fn no_store() -> [(HeaderName, HeaderValue); 1] {
    [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))]
}

/// Signs out: ends the session of the token that is sent.
#[utoipa::path(post, path = "/logout", tag = "users", security(("bearer" = [])), responses(
    (status = 204, description = "the session has ended"),
    (status = 401, description = "`unauthenticated`"), Problems))]
async fn log_out(State(users): State<Users>, caller: Caller) -> Result<StatusCode> {
    users.sign_out(&caller).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The keys that access tokens can be checked with (RFC 7517).
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Jwks {
    /// That of the newest tokens first.
    keys: Vec<Jwk>,
}

/// An Ed25519 key (RFC 8037).
#[derive(Clone, Debug, Serialize, ToSchema)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    r#use: &'static str,
    alg: &'static str,
    kid: String,
    x: String,
}

/// Shows the public keys that access tokens are signed with.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "users", security(()), responses((status = 200, body = Jwks), Problems))]
async fn jwks(State(users): State<Users>) -> Result<Response> {
    let keys = users.keys(contracts::users::Keys {}).await?;
    let jwk = |key: contracts::users::PublicKey| Jwk {
        kty: "OKP",
        crv: "Ed25519",
        r#use: "sig",
        alg: "EdDSA",
        kid: key.kid,
        x: key.x,
    };
    let reply = Jwks { keys: keys.into_iter().map(jwk).collect() };
    Ok(([(header::CACHE_CONTROL, "public, max-age=300")], Json(reply)).into_response())
}

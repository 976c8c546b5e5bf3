//! What the OpenAPI document says of a route. A [`Doc`] stands beside each handler and is named in
//! the URL table, so that a route without one does not compile.

use serde::Serialize;
use std::borrow::Cow;
use utoipa::{
    ToSchema,
    openapi::{RefOr, schema::Schema as OpenApiSchema},
};

/// A schema by name.
pub type Named = (String, RefOr<OpenApiSchema>);

/// A type on the wire. Made in constants, so it holds functions and no values.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// Name in the document's components.
    pub name: fn() -> Cow<'static, str>,
    /// The schema itself.
    pub schema: fn() -> RefOr<OpenApiSchema>,
    /// Adds what the schema refers to.
    pub referenced: fn(&mut Vec<Named>),
}

impl Schema {
    /// That of a type.
    #[must_use]
    pub const fn of<T: ToSchema>() -> Self {
        Self { name: T::name, schema: T::schema, referenced: T::schemas }
    }
}

/// What a request carries.
#[derive(Debug, Clone, Copy)]
pub enum Body {
    /// JSON that must be there.
    Json(Schema),
    /// JSON that may be left out.
    OptionalJson(Schema),
    /// Raw bytes of one of these content types.
    Bytes(&'static [&'static str]),
}

/// What a success carries.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// No body.
    Nothing,
    /// JSON.
    Json(Schema),
    /// Any JSON object.
    Object,
    /// Text or bytes of one of these content types.
    Media(&'static [&'static str]),
    /// A WebSocket whose text frames from the server are of this schema.
    Frames(Schema),
}

/// Type of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamKind {
    /// Text.
    Text,
    /// A whole number within these bounds, both included.
    Integer(i64, i64),
    /// A hyphenated UUID.
    Uuid,
    /// RFC 3339.
    Time,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// Text, may be repeated.
    Repeated,
}

/// A parameter of the query string or a header.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Key.
    pub name: &'static str,
    /// Type.
    pub kind: ParamKind,
    /// Whether a request without it is refused.
    pub required: bool,
    /// Whether it is a header instead.
    pub header: bool,
    /// One line about it.
    pub about: &'static str,
}

impl Param {
    /// An optional key of the query string.
    #[must_use]
    pub const fn query(name: &'static str, kind: ParamKind, about: &'static str) -> Self {
        Self { name, kind, required: false, header: false, about }
    }

    /// An optional header.
    #[must_use]
    pub const fn header(name: &'static str, about: &'static str) -> Self {
        Self { name, kind: ParamKind::Text, required: false, header: true, about }
    }

    /// The same, but a request without it is refused.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// `Idempotency-Key`, of every POST that accepts work.
pub const IDEMPOTENCY_KEY: Param =
    Param::header("Idempotency-Key", "The same key and body get the same answer; another body gets a 409");

/// A success that has nothing but a text to tell (api.md §1.3).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TextReply)]
pub struct Message {
    /// The text.
    pub message: &'static str,
}

/// What the document says of a route.
#[derive(Debug, Clone, Copy)]
pub struct Doc {
    /// One line about it.
    pub summary: &'static str,
    /// What it takes.
    pub body: Option<Body>,
    /// What a success carries.
    pub reply: Reply,
    /// Query string and headers.
    pub params: &'static [Param],
    /// Statuses of its errors, beside those that every route with a session has.
    pub errors: &'static [u16],
    /// Whether it answers without a session.
    pub open: bool,
    /// Whether it also answers with server-sent events.
    pub events: bool,
}

impl Doc {
    /// A route that takes no body and answers without one.
    #[must_use]
    pub const fn new(summary: &'static str) -> Self {
        Self {
            summary,
            body: None,
            reply: Reply::Nothing,
            params: &[],
            errors: &[],
            open: false,
            events: false,
        }
    }

    /// Takes a JSON body.
    #[must_use]
    pub const fn takes<T: ToSchema>(mut self) -> Self {
        self.body = Some(Body::Json(Schema::of::<T>()));
        self
    }

    /// Takes a JSON body that may be left out.
    #[must_use]
    pub const fn may_take<T: ToSchema>(mut self) -> Self {
        self.body = Some(Body::OptionalJson(Schema::of::<T>()));
        self
    }

    /// Takes raw bytes.
    #[must_use]
    pub const fn takes_bytes(mut self, content_types: &'static [&'static str]) -> Self {
        self.body = Some(Body::Bytes(content_types));
        self
    }

    /// Answers with JSON.
    #[must_use]
    pub const fn replies<T: ToSchema>(mut self) -> Self {
        self.reply = Reply::Json(Schema::of::<T>());
        self
    }

    /// Answers with something else.
    #[must_use]
    pub const fn answers(mut self, reply: Reply) -> Self {
        self.reply = reply;
        self
    }

    /// Becomes a WebSocket on which the server sends text frames of this type.
    #[must_use]
    pub const fn frames<T: ToSchema>(mut self) -> Self {
        self.reply = Reply::Frames(Schema::of::<T>());
        self
    }

    /// Sends the same frames as server-sent events to clients that ask for them.
    #[must_use]
    pub const fn or_events(mut self) -> Self {
        self.events = true;
        self
    }

    /// Query string and headers.
    #[must_use]
    pub const fn params(mut self, params: &'static [Param]) -> Self {
        self.params = params;
        self
    }

    /// Statuses of its errors.
    #[must_use]
    pub const fn errors(mut self, statuses: &'static [u16]) -> Self {
        self.errors = statuses;
        self
    }

    /// Answers without a session.
    #[must_use]
    pub const fn open(mut self) -> Self {
        self.open = true;
        self
    }
}

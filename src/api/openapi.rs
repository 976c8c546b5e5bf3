//! The OpenAPI 3.1 document, made from the URL table and the [`Doc`]s beside the handlers.

use super::{
    doc::{Body, Doc, Param, ParamKind, Reply, Schema},
    problem::ProblemBody,
    routes,
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use utoipa::openapi::{RefOr, schema::Schema as OpenApiSchema};

/// Errors that every route with a session may answer: no session, another site's request, too many
/// requests, an internal error, an overloaded or unreachable database.
const COMMON_ERRORS: &[u16] = &[401, 403, 429, 500, 503];

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut components = Components::default();
    let error = components.reference(&Schema::of::<ProblemBody<'static>>());
    let mut paths = Map::new();
    for (path, route) in routes::all() {
        let item = paths.entry(path.clone()).or_insert_with(|| {
            let names = path_parameters(&path);
            if names.is_empty() { json!({}) } else { json!({ "parameters": names }) }
        });
        item[route.method.to_ascii_lowercase()] = operation(&path, &route, &mut components, &error);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "chatd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Durable conversations with AI agents.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "security": [{ "header": [] }, { "bearer": [] }, { "cookie": [] }],
        "components": {
            "securitySchemes": {
                "header": { "type": "apiKey", "in": "header", "name": "Coder-Session-Token" },
                "bearer": { "type": "http", "scheme": "bearer" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": super::auth::SESSION },
            },
            "schemas": components.0,
        },
    })
}

/// The schemas of the document by name.
#[derive(Default)]
struct Components(BTreeMap<String, Value>);

impl Components {
    /// A reference to the schema, which is added with all it refers to; an array stays where it is.
    fn reference(&mut self, schema: &Schema) -> Value {
        let mut referenced = Vec::new();
        (schema.referenced)(&mut referenced);
        for (name, schema) in referenced {
            self.0.entry(name).or_insert_with(|| value(&schema));
        }
        let own = (schema.schema)();
        match &own {
            RefOr::T(OpenApiSchema::Array(_)) | RefOr::Ref(_) => value(&own),
            RefOr::T(_) => {
                let name = (schema.name)().into_owned();
                let reference = json!({ "$ref": format!("#/components/schemas/{name}") });
                self.0.entry(name).or_insert_with(|| value(&own));
                reference
            }
        }
    }
}

fn value(schema: &RefOr<OpenApiSchema>) -> Value {
    // A schema is made of strings, numbers and maps with string keys: it always serialises.
    let mut value = serde_json::to_value(schema).unwrap_or_default();
    drop_null_defaults(&mut value);
    value
}

/// That a key may be left out is said by `required`. Generators take a default, also one of `null`, for a key
/// that is always there, and clients made from such a document must give all of them.
fn drop_null_defaults(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("default").is_some_and(Value::is_null) {
                map.remove("default");
            }
            map.values_mut().for_each(drop_null_defaults);
        }
        Value::Array(list) => list.iter_mut().for_each(drop_null_defaults),
        _ => {}
    }
}

fn operation(path: &str, route: &routes::Route, components: &mut Components, error: &Value) -> Value {
    let doc = &route.doc;
    let mut responses = Map::new();
    responses.insert(route.success.to_string(), success(doc, components));
    if doc.events {
        let text = json!({ "schema": { "type": "string" } });
        let about = "Server-sent events. The data of each is what a text frame of the WebSocket is; the last one, \
                     `close`, has the code and the reason of the end";
        let events = json!({ "description": about, "content": { super::events::MEDIA_TYPE: text } });
        responses.insert("200".to_owned(), events);
    }
    let common = if doc.open { &[500_u16, 503][..] } else { COMMON_ERRORS };
    let of_bodies: &[u16] = if doc.body.is_some() { &[408, 415] } else { &[] };
    for status in doc.errors.iter().chain(common).chain(of_bodies) {
        responses.entry(status.to_string()).or_insert_with(|| {
            let phrase = reason(*status);
            json!({ "description": phrase, "content": { "application/json": { "schema": error } } })
        });
    }
    let mut operation = json!({
        "operationId": operation_id(path, route.method),
        "summary": doc.summary,
        "tags": [tag(path)],
        "responses": responses,
    });
    if !doc.params.is_empty() {
        operation["parameters"] = doc.params.iter().map(parameter).collect();
    }
    if let Some(body) = &doc.body {
        operation["requestBody"] = request_body(body, components);
    }
    if doc.open {
        operation["security"] = json!([]);
    }
    operation
}

fn success(doc: &Doc, components: &mut Components) -> Value {
    match &doc.reply {
        Reply::Nothing => json!({ "description": "Done" }),
        Reply::Json(schema) => {
            let schema = components.reference(schema);
            json!({ "description": "Done", "content": { "application/json": { "schema": schema } } })
        }
        Reply::Object => {
            let schema = json!({ "type": "object" });
            json!({ "description": "Done", "content": { "application/json": { "schema": schema } } })
        }
        Reply::Media(types) => {
            let content: Map<String, Value> =
                types.iter().map(|t| ((*t).to_owned(), json!({ "schema": { "type": "string" } }))).collect();
            json!({ "description": "Done", "content": content })
        }
        Reply::Frames(schema) => {
            let schema = components.reference(schema);
            json!({ "description": "Switching to WebSocket", "x-websocket-frames": schema })
        }
    }
}

fn request_body(body: &Body, components: &mut Components) -> Value {
    match body {
        Body::Json(schema) | Body::OptionalJson(schema) => {
            let content = json!({ "application/json": { "schema": components.reference(schema) } });
            json!({ "required": matches!(body, Body::Json(_)), "content": content })
        }
        Body::Bytes(types) => {
            let content: Map<String, Value> = types.iter().map(|t| ((*t).to_owned(), json!({}))).collect();
            json!({ "required": true, "content": content })
        }
    }
}

fn parameter(param: &Param) -> Value {
    let schema = match param.kind {
        ParamKind::Text => json!({ "type": "string" }),
        ParamKind::Integer(low, high) => json!({ "type": "integer", "minimum": low, "maximum": high }),
        ParamKind::Uuid => json!({ "type": "string", "format": "uuid" }),
        ParamKind::Time => json!({ "type": "string", "format": "date-time" }),
        ParamKind::OneOf(values) => json!({ "type": "string", "enum": values }),
        ParamKind::Repeated => json!({ "type": "array", "items": { "type": "string" } }),
    };
    json!({
        "name": param.name,
        "in": if param.header { "header" } else { "query" },
        "required": param.required,
        "description": param.about,
        "schema": schema,
    })
}

/// Path parameters: chats, users and the like are UUIDs (users also names), messages are integers.
fn path_parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = match name {
                "message" | "queued" => json!({ "type": "integer", "format": "int64", "minimum": 1 }),
                "user" | "organization" | "group" | "name" | "context" | "idOrName" | "provider" | "key" => {
                    json!({ "type": "string" })
                }
                _ => json!({ "type": "string", "format": "uuid" }),
            };
            json!({ "name": name, "in": "path", "required": true, "schema": schema })
        })
        .collect()
}

/// A stable name for generated clients: method and path without what varies between deployments.
fn operation_id(path: &str, method: &str) -> String {
    let words = path.split(['/', '-', '.', '{', '}']).filter(|w| !w.is_empty() && *w != "api");
    words.fold(method.to_ascii_lowercase(), |id, word| format!("{id}_{}", word.to_ascii_lowercase()))
}

/// The first segment that says what a path is about.
fn tag(path: &str) -> &str {
    path.split('/').find(|s| !matches!(*s, "" | "api" | "v2" | "experimental")).unwrap_or("chatd")
}

fn reason(status: u16) -> &'static str {
    actix_web::http::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("An error")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_an_operation() {
        let document = document();
        let mut count = 0;
        for (path, route) in routes::all() {
            let operation = &document["paths"][&path][route.method.to_ascii_lowercase()];
            assert_eq!(operation["summary"], route.doc.summary, "{} {path}", route.method);
            assert!(operation["responses"][route.success.to_string()].is_object());
            count += 1;
        }
        let items = || document["paths"].as_object().unwrap().values();
        let methods =
            || items().flat_map(|item| item.as_object().unwrap()).filter(|(k, _)| *k != "parameters");
        assert_eq!(methods().count(), count, "a line of the table hides another");
        let mut ids: Vec<_> = methods().map(|(_, o)| o["operationId"].as_str().unwrap()).collect();
        ids.sort_unstable();
        assert!(ids.windows(2).all(|w| w[0] != w[1]), "operation ids are unique");
        assert_eq!(
            document["paths"]["/api/v2/chats/{chat}/queue/{queued}"]["parameters"][1]["name"],
            "queued"
        );
    }

    /// Where a macro gives the names on the wire, the schema must not have those of the source.
    #[test]
    fn names_are_those_on_the_wire() {
        let document = document();
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            for value in schema["enum"].as_array().into_iter().flatten() {
                let text = value.as_str().unwrap();
                assert_eq!(text, text.to_lowercase(), "{name}");
            }
        }
    }

    /// A client made from the document can send a part that has only what its type needs.
    #[test]
    fn no_key_that_may_be_left_out_has_a_default_of_null() {
        let text = document().to_string();
        assert!(!text.contains("\"default\":null"));
        assert!(text.contains("\"InputPart\""));
    }

    /// A reply whose code and document differ is worse than none, and so is a dangling reference.
    #[test]
    fn references_resolve_and_json_replies_have_a_schema() {
        let document = document();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        fn walk(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(r)) = map.get("$ref") {
                        found.push(r.clone());
                    }
                    map.values().for_each(|v| walk(v, found));
                }
                Value::Array(list) => list.iter().for_each(|v| walk(v, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        walk(&document, &mut found);
        assert!(!found.is_empty());
        for reference in found {
            let name = reference.strip_prefix("#/components/schemas/").expect("a local reference");
            assert!(schemas.contains_key(name), "{name} is not in the document");
        }
    }
}

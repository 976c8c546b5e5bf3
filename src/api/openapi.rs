//! The OpenAPI 3.1 document, made from the URL table.

use super::routes;
use serde_json::{Map, Value, json};

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths = Map::new();
    for (path, route) in routes::all() {
        let item = paths.entry(path.clone()).or_insert_with(|| {
            let names = parameters(&path);
            if names.is_empty() { json!({}) } else { json!({ "parameters": names }) }
        });
        item[route.method.to_ascii_lowercase()] = operation(&path, &route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "chatd",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Durable conversations with AI agents.",
        },
        "paths": paths,
        "security": [{ "header": [] }, { "bearer": [] }, { "cookie": [] }],
        "components": {
            "securitySchemes": {
                "header": { "type": "apiKey", "in": "header", "name": "Coder-Session-Token" },
                "bearer": { "type": "http", "scheme": "bearer" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": super::auth::SESSION },
            },
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["message"],
                    "properties": {
                        "message": { "type": "string" },
                        "detail": { "type": "string" },
                        "validations": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "required": ["field", "detail"],
                                "properties": { "field": { "type": "string" }, "detail": { "type": "string" } },
                            },
                        },
                    },
                },
            },
        },
    })
}

fn operation(path: &str, route: &routes::Route) -> Value {
    let success = match route.success {
        101 => json!({ "description": "Switching to WebSocket" }),
        204 => json!({ "description": "Done" }),
        _ if path == "/metrics" => json!({ "description": "Done", "content": { "text/plain": {} } }),
        _ => json!({ "description": "Done", "content": { "application/json": {} } }),
    };
    let error = json!({
        "description": "An error",
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Error" } } },
    });
    let mut operation = json!({
        "summary": route.summary,
        "responses": { route.success.to_string(): success, "default": error },
    });
    let is_open = matches!(path, "/healthz" | "/readyz" | "/metrics" | "/openapi.json" | "/api/v2/buildinfo");
    if is_open {
        operation["security"] = json!([]);
    }
    operation
}

fn parameters(path: &str) -> Vec<Value> {
    path.split('/')
        .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
        .collect()
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
            assert_eq!(operation["summary"], route.summary, "{} {path}", route.method);
            assert!(operation["responses"][route.success.to_string()].is_object());
            count += 1;
        }
        let operations: usize = document["paths"]
            .as_object()
            .unwrap()
            .values()
            .map(|item| item.as_object().unwrap().keys().filter(|k| *k != "parameters").count())
            .sum();
        assert_eq!(operations, count, "a line of the table hides another");
        assert_eq!(
            document["paths"]["/api/v2/chats/{chat}/queue/{queued}"]["parameters"][1]["name"],
            "queued"
        );
    }
}

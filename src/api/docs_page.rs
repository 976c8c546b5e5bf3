//! `/docs`: the OpenAPI document as a page to read. One file without scripts, fonts or anything else from
//! elsewhere, made of the same document as `/openapi.json`.

use super::{
    doc::{Doc, Reply},
    openapi,
};
use actix_web::{HttpResponse, http::header};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, sync::OnceLock};

const STYLE: &str = include_str!("docs_page.css");

/// The prefix under which the chats of existing clients are, and the one that says the same.
const PREFIXES: [&str; 2] = ["/api/v2/", "/api/experimental/"];

/// What the OpenAPI document says of it.
pub const DOCS: Doc = Doc::new("This document as a page").answers(Reply::Media(&["text/html"])).open();

/// The page.
pub async fn docs() -> HttpResponse {
    static PAGE: OnceLock<(String, String)> = OnceLock::new();
    let (page, policy) = PAGE.get_or_init(|| {
        let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        (page(&openapi::document()).into_string(), policy)
    });
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((header::CONTENT_SECURITY_POLICY, policy.as_str()))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .body(page.as_str())
}

/// An operation with every path it has.
struct Operation<'a> {
    method: &'a str,
    /// The first is the one to use.
    paths: Vec<&'a str>,
    /// Parameters in the path.
    path_parameters: &'a [Value],
    about: &'a Value,
}

impl Operation<'_> {
    fn id(&self) -> &str {
        text(&self.about["operationId"])
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The operations by what they are about. One that is under both prefixes is one.
fn by_tag(paths: &Map<String, Value>) -> BTreeMap<&str, Vec<Operation<'_>>> {
    let mut tags: BTreeMap<&str, Vec<Operation<'_>>> = BTreeMap::new();
    let prefixes = |path: &str| PREFIXES.iter().position(|p| path.starts_with(p)).unwrap_or(0);
    let mut all: Vec<_> = paths.iter().collect();
    all.sort_by_key(|(path, _)| prefixes(path));
    for (path, item) in all {
        let Some(item_map) = item.as_object() else { continue };
        let bare = |path: &str| PREFIXES.iter().find_map(|p| path.strip_prefix(p)).map(str::to_owned);
        for (method, about) in item_map.iter().filter(|(key, _)| *key != "parameters") {
            let operations = tags.entry(text(&about["tags"][0])).or_default();
            let twin = operations
                .iter_mut()
                .find(|o| o.method == method && bare(path).is_some() && bare(o.paths[0]) == bare(path));
            match twin {
                Some(known) => known.paths.push(path),
                None => operations.push(Operation {
                    method,
                    paths: vec![path],
                    path_parameters: list(&item["parameters"]),
                    about,
                }),
            }
        }
    }
    tags
}

fn page(document: &Value) -> Markup {
    let nothing = Map::new();
    let paths = document["paths"].as_object().unwrap_or(&nothing);
    let schemas = document["components"]["schemas"].as_object().unwrap_or(&nothing);
    let tags = by_tag(paths);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (text(&document["info"]["title"])) " API" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                nav {
                    p { strong { (text(&document["info"]["title"])) " API" } }
                    ul {
                        @for (tag, operations) in &tags {
                            li { a href={ "#tag-" (tag) } { (tag) } " " span.count { (operations.len()) } }
                        }
                        li { a href="#schemas" { "Schemas" } " " span.count { (schemas.len()) } }
                    }
                }
                main {
                    h1 { (text(&document["info"]["title"])) " " (text(&document["info"]["version"])) }
                    p { (text(&document["info"]["description"])) }
                    p { "For programs: " a href="/openapi.json" { "/openapi.json" } " (OpenAPI "
                        (text(&document["openapi"])) ")." }
                    @for (tag, operations) in &tags {
                        h2 id={ "tag-" (tag) } { (tag) }
                        @for operation in operations { (one(operation)) }
                    }
                    h2 id="schemas" { "Schemas" }
                    @for (name, schema) in schemas { (named(name, schema)) }
                }
            }
        }
    }
}

fn one(operation: &Operation<'_>) -> Markup {
    let about = operation.about;
    let parameters: Vec<&Value> =
        operation.path_parameters.iter().chain(list(&about["parameters"])).collect();
    let nothing = Map::new();
    let responses = about["responses"].as_object().unwrap_or(&nothing);
    html! {
        details id=(operation.id()) {
            summary {
                span.method.(operation.method) { (operation.method.to_uppercase()) } " "
                code { (operation.paths[0]) } " "
                span.about { (text(&about["summary"])) }
            }
            @if operation.paths.len() > 1 {
                p { "Also: " @for path in &operation.paths[1..] { code { (path) } " " } }
            }
            @if about["security"].as_array().is_some_and(Vec::is_empty) {
                p { "Needs no session." }
            }
            @if !parameters.is_empty() {
                h4 { "Parameters" }
                table {
                    @for parameter in parameters {
                        tr {
                            td { code { (text(&parameter["name"])) } @if parameter["required"] == true { " *" } }
                            td { (text(&parameter["in"])) }
                            td { (kind(&parameter["schema"])) }
                            td { (text(&parameter["description"])) }
                        }
                    }
                }
            }
            @if let Some(content) = about["requestBody"]["content"].as_object() {
                h4 { "Body" @if about["requestBody"]["required"] != true { " (optional)" } }
                @for (media, body) in content { p { code { (media) } ": " (kind(&body["schema"])) } }
            }
            h4 { "Answers" }
            table {
                @for (status, response) in responses {
                    tr {
                        td { code { (status) } }
                        td { (text(&response["description"])) }
                        td {
                            @if let Some(content) = response["content"].as_object() {
                                @for (media, body) in content { code { (media) } " " (kind(&body["schema"])) " " }
                            }
                            @if let Some(frames) = response.get("x-websocket-frames") { "frames: " (kind(frames)) }
                        }
                    }
                }
            }
        }
    }
}

fn named(name: &str, schema: &Value) -> Markup {
    html! {
        details id={ "schema-" (name) } {
            summary { code { (name) } " " span.about { (text(&schema["description"])) } }
            (fields(schema))
        }
    }
}

/// The fields of an object, or what else a schema is.
fn fields(schema: &Value) -> Markup {
    let required = list(&schema["required"]);
    html! {
        @if let Some(properties) = schema["properties"].as_object() {
            table {
                @for (name, property) in properties {
                    tr {
                        td { code { (name) } @if required.iter().any(|r| r == name) { " *" } }
                        td { (kind(property)) }
                        td { (text(&property["description"])) }
                    }
                }
            }
        } @else if let Some(parts) = schema["allOf"].as_array() {
            @for part in parts { (fields(part)) }
        } @else if let Some(choices) = choices(schema) {
            p { "One of:" }
            @for choice in choices { (fields(choice)) }
        } @else {
            p { (kind(schema)) }
        }
    }
}

fn choices(schema: &Value) -> Option<&Vec<Value>> {
    schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array())
}

/// The type of a schema in a few words; names are links.
fn kind(schema: &Value) -> Markup {
    if let Some(name) = schema["$ref"].as_str().and_then(|r| r.rsplit('/').next()) {
        return html! { a href={ "#schema-" (name) } { (name) } };
    }
    if let Some(values) = schema["enum"].as_array() {
        return html! { @for value in values { code { (value) } " " } };
    }
    if let Some(choices) = choices(schema) {
        return html! { @for (n, choice) in choices.iter().enumerate() { @if n > 0 { " or " } (kind(choice)) } };
    }
    if let Some(parts) = schema["allOf"].as_array() {
        return html! { @for (n, part) in parts.iter().enumerate() { @if n > 0 { " with " } (kind(part)) } };
    }
    let of = match &schema["type"] {
        Value::String(one) => one.clone(),
        Value::Array(many) => many.iter().map(text).collect::<Vec<_>>().join(" or "),
        _ => "any value".to_owned(),
    };
    html! {
        @if of.contains("array") { (of) " of " (kind(&schema["items"])) }
        @else if of.contains("object") && schema["additionalProperties"].is_object() {
            "object of " (kind(&schema["additionalProperties"]))
        }
        @else { (of) }
        @if let Some(format) = schema["format"].as_str() { " (" (format) ")" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_page_has_every_operation_and_nothing_from_elsewhere() {
        let document = openapi::document();
        let page = page(&document).into_string();
        for (path, item) in document["paths"].as_object().unwrap() {
            assert!(page.contains(&format!("<code>{path}</code>")), "{path}");
            for (_, about) in item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters") {
                assert!(page.contains(&maud::html! { (text(&about["summary"])) }.into_string()));
            }
        }
        for name in document["components"]["schemas"].as_object().unwrap().keys() {
            assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name}");
        }
        for foreign in ["src=", "url(", "@import", "<script", "<link", "href=\"http"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        // Every link leads somewhere.
        for target in page.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(page.contains(&format!("id=\"{target}\"")), "{target}");
        }
    }

    #[test]
    fn text_is_text() {
        let schema = json!({ "type": "object", "properties": { "<b>": { "type": ["string", "null"],
            "description": "<script>alert(1)</script>" } }, "required": ["<b>"] });
        let shown = named("X", &schema).into_string();
        assert!(!shown.contains("<script>") && shown.contains("&lt;script&gt;"), "{shown}");
        assert!(shown.contains("string or null"), "{shown}");
    }
}

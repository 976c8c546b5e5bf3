//! Organizations, their members and groups, and what one may ask beforehand.

use super::{make, person};
use crate::support::{both, fake_model::says};
use serde_json::{Value, json};

const ORGANIZATIONS: &str = "/api/v2/organizations";

fn names(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|o| o["name"].as_str().unwrap()).collect()
}

both! {
    async fn organizations_are_made_filled_and_removed(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let made = admin.post(ORGANIZATIONS, json!({ "name": "lab", "description": "Where we try" })).await.json(201);
        assert_eq!((&made["display_name"], &made["is_default"], &made["icon"]), (&json!("lab"), &json!(false), &json!("")));
        let id = made["id"].as_str().unwrap();
        for bad in [json!({}), json!({ "name": "a b" }), json!({ "name": "x", "icon": "javascript:1" }), json!({ "name": "x", "description": "a\nb" })] {
            admin.post(ORGANIZATIONS, bad).await.problem(400);
        }
        admin.post(ORGANIZATIONS, json!({ "name": "lab" })).await.problem(409);
        // Strangers do not see it; members do.
        let ann = person(&daemon, "ann", json!({})).await;
        assert_eq!(names(&ann.get(ORGANIZATIONS).await.json(200)), ["default"]);
        for path in ["lab", id] {
            ann.get(&format!("{ORGANIZATIONS}/{path}")).await.problem(404);
            ann.get(&format!("{ORGANIZATIONS}/{path}/members")).await.problem(404);
            ann.get(&format!("{ORGANIZATIONS}/{path}/groups")).await.problem(404);
        }
        let member = admin.post(&format!("{ORGANIZATIONS}/lab/members/ann"), json!({ "roles": ["agents-access"] })).await.json(201);
        assert_eq!((&member["username"], &member["roles"][0]["name"]), (&json!("ann"), &json!("agents-access")));
        assert_eq!(names(&ann.get(ORGANIZATIONS).await.json(200)), ["default", "lab"]);
        assert_eq!(ann.get(&format!("{ORGANIZATIONS}/{id}")).await.json(200)["description"], "Where we try");
        let members = ann.get(&format!("{ORGANIZATIONS}/lab/members")).await.json(200);
        assert_eq!(members.as_array().unwrap().len(), 2, "{members}");
        admin.post(&format!("{ORGANIZATIONS}/lab/members/nobody"), json!({})).await.problem(404);
        admin.post(&format!("{ORGANIZATIONS}/lab/members/ann"), json!({ "roles": ["king"] })).await.problem(400);
        admin.put(&format!("{ORGANIZATIONS}/lab/members/nobody/roles"), json!({ "roles": [] })).await.problem(404);
        // A chat in it; then it cannot go any more.
        let empty = admin.post(ORGANIZATIONS, json!({ "name": "empty" })).await.json(201);
        h.model.push([says("hello")]);
        let chat = ann.create_chat_with(json!({ "organization_id": id, "content": [{ "type": "text", "text": "hi" }] })).await;
        ann.stream(chat["id"].as_str().unwrap(), None).await.settled().await;
        admin.delete(&format!("{ORGANIZATIONS}/lab")).await.problem(409);
        admin.delete(&format!("{ORGANIZATIONS}/default")).await.problem(409);
        admin.post(&format!("{ORGANIZATIONS}/empty/groups"), json!({ "name": "g" })).await.json(201);
        admin.delete(&format!("{ORGANIZATIONS}/{}", empty["id"].as_str().unwrap())).await.empty(204);
        admin.get(&format!("{ORGANIZATIONS}/empty")).await.problem(404);
        // Renamed, the default one is still the default one.
        let renamed = admin.patch(&format!("{ORGANIZATIONS}/default"), json!({ "name": "home" })).await.json(200);
        assert_eq!((&renamed["name"], &renamed["is_default"]), (&json!("home"), &json!(true)));
        admin.patch(&format!("{ORGANIZATIONS}/home"), json!({ "name": "lab" })).await.problem(409);
        let bob = make(&admin, "bob", json!({})).await;
        assert_eq!(bob["organization_ids"], json!([renamed["id"]]));
        let both = make(&admin, "both", json!({ "organization_ids": [id, renamed["id"]] })).await;
        assert_eq!(both["organization_ids"].as_array().unwrap().len(), 2);
    }

    async fn groups_have_members_of_their_organization(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let ann = make(&admin, "ann", json!({})).await;
        let bob = person(&daemon, "bob", json!({})).await;
        let at = |tail: &str| format!("{ORGANIZATIONS}/default/groups{tail}");
        let group = admin.post(&at(""), json!({ "name": "red", "display_name": "Red", "add_users": [ann["id"]] })).await.json(201);
        assert_eq!((&group["member_count"], &group["display_name"]), (&json!(1), &json!("Red")));
        admin.post(&at(""), json!({ "name": "red" })).await.problem(409);
        admin.post(&at(""), json!({ "name": "no good" })).await.problem(400);
        admin.put(&at("/red/members/bob"), json!({})).await.empty(204);
        admin.put(&at("/red/members/bob"), json!({})).await.empty(204);
        let members = bob.get(&at("/red/members")).await.json(200);
        let usernames: Vec<_> = members.as_array().unwrap().iter().map(|m| m["username"].as_str().unwrap()).collect();
        assert_eq!(usernames, ["ann", "bob"]);
        assert_eq!(bob.get(&at("")).await.json(200)[0]["member_count"], 2);
        bob.patch(&at("/red"), json!({ "name": "mine" })).await.problem(403);
        let id = group["id"].as_str().unwrap();
        let changed = admin.patch(&at(&format!("/{id}")), json!({ "name": "blue", "remove_users": [ann["id"]] })).await.json(200);
        assert_eq!((&changed["name"], &changed["member_count"]), (&json!("blue"), &json!(1)));
        admin.get(&at("/red")).await.problem(404);
        // Nobody from elsewhere, and no group of elsewhere.
        admin.post(ORGANIZATIONS, json!({ "name": "lab" })).await.json(201);
        admin.get(&format!("{ORGANIZATIONS}/lab/groups/{id}")).await.problem(404);
        admin.post(&format!("{ORGANIZATIONS}/lab/groups"), json!({ "name": "g", "add_users": [ann["id"]] })).await.problem(400);
        admin.get(&format!("{ORGANIZATIONS}/lab/groups/g")).await.problem(404);
        admin.patch(&at("/blue"), json!({ "add_users": ["11111111-1111-4111-8111-111111111111"] })).await.problem(400);
        // Who leaves the organization leaves its groups.
        admin.delete(&format!("{ORGANIZATIONS}/default/members/bob")).await.empty(204);
        admin.delete(&format!("{ORGANIZATIONS}/default/members/bob")).await.problem(404);
        assert_eq!(admin.get(&at("/blue")).await.json(200)["member_count"], 0);
        admin.delete(&at("/blue")).await.empty(204);
        admin.delete(&at("/blue")).await.problem(404);
    }

    async fn one_may_ask_beforehand(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let ann = person(&daemon, "ann", json!({})).await;
        let visitor = person(&daemon, "visitor", json!({ "agents_access": false })).await;
        h.model.push([says("hi")]);
        let chat = ann.create_chat("Mine").await;
        ann.stream(chat["id"].as_str().unwrap(), None).await.settled().await;
        let (organization, me) = (ann.organization().await, ann.get(crate::people::ME).await.json(200)["id"].clone());
        let checks = json!({ "checks": {
            "create": { "object": { "resource_type": "chat", "organization_id": organization, "owner_id": "me" }, "action": "create" },
            "create_any": { "object": { "resource_type": "chat", "any_org": true }, "action": "create" },
            "read_chat": { "object": { "resource_type": "chat", "resource_id": chat["id"] }, "action": "read" },
            "send": { "object": { "resource_type": "chat", "resource_id": chat["id"] }, "action": "ssh" },
            "settings": { "object": { "resource_type": "deployment_config" }, "action": "update" },
            "users": { "object": { "resource_type": "user" }, "action": "create" },
            "ann": { "object": { "resource_type": "user", "resource_id": me }, "action": "update" },
            "organization": { "object": { "resource_type": "organization", "organization_id": organization }, "action": "read" },
            "group": { "object": { "resource_type": "group", "organization_id": organization }, "action": "update" },
        } });
        let yes = async |api: &crate::support::client::Api| {
            let answers = api.post("/api/v2/authcheck", checks.clone()).await.json(200);
            let answers = answers.as_object().unwrap().clone();
            assert_eq!(answers.len(), 9, "{answers:?}");
            answers.into_iter().filter(|(_, yes)| yes == &json!(true)).map(|(name, _)| name).collect::<Vec<_>>()
        };
        let mut own = yes(&ann).await;
        own.sort();
        assert_eq!(own, ["ann", "create", "create_any", "organization", "read_chat", "send"]);
        assert_eq!(yes(&visitor).await, ["organization"]);
        let mut all = yes(&admin).await;
        all.sort();
        assert_eq!(all, ["ann", "create", "create_any", "group", "organization", "read_chat", "settings", "users"]);
        assert_eq!(ann.post("/api/v2/authcheck", json!({})).await.json(200), json!({}));
        ann.post("/api/v2/authcheck", json!({ "checks": { "x": {} } })).await.problem(400);
        ann.with_token(None).post("/api/v2/authcheck", json!({})).await.problem(401);
    }
}

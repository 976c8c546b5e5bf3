//! Skills that users wrote (api.md §2.16).

use crate::support::{
    both,
    client::Api,
    fake_model::{Reply, says},
};
use serde_json::{Value, json};

fn skill(name: &str, body: &str) -> Value {
    json!({ "content": format!("---\nname: {name}\ndescription: About {name}\n---\n{body}\n") })
}

async fn names(api: &Api, path: &str) -> Vec<String> {
    let list = api.get(path).await.json(200);
    list.as_array()
        .expect("an array")
        .iter()
        .map(|s| s["name"].as_str().expect("a name").to_owned())
        .collect()
}

both! {
    async fn a_skill_is_written_read_changed_and_deleted(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        assert_eq!(api.get("/users/me/skills").await.json(200), json!([]));
        let made = api.post("/users/me/skills", skill("go-home", "Walk.")).await.json(201);
        assert_eq!((&made["name"], &made["description"]), (&json!("go-home"), &json!("About go-home")));
        assert!(made["content"].as_str().is_some_and(|c| c.contains("Walk.")), "{made}");
        assert_eq!(made["id"].as_str().map(str::len), Some(36));
        api.post("/users/me/skills", skill("a-first", "x")).await.json(201);
        let list = api.get("/users/me/skills").await.json(200);
        let keys: Vec<_> = list[1].as_object().expect("an object").keys().cloned().collect();
        assert_eq!(keys, ["created_at", "description", "id", "name", "updated_at"]);
        assert_eq!(names(&api, "/users/me/skills").await, ["a-first", "go-home"]);
        assert_eq!(api.get("/users/me/skills/go-home").await.json(200), made);
        let changed = api.patch("/users/me/skills/go-home", skill("go-home", "Run.")).await.json(200);
        assert!(changed["content"].as_str().is_some_and(|c| c.contains("Run.")), "{changed}");
        assert_eq!((&changed["id"], &changed["created_at"]), (&made["id"], &made["created_at"]));
        assert_ne!(changed["updated_at"], made["updated_at"]);
        api.delete("/users/me/skills/go-home").await.empty(204);
        api.delete("/users/me/skills/go-home").await.problem(404);
        api.get("/users/me/skills/go-home").await.problem(404);
        api.patch("/users/me/skills/go-home", skill("go-home", "x")).await.problem(404);
    }

    async fn the_model_sees_the_skills_and_reads_them(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        api.post("/users/me/skills", skill("go-home", "<!-- no -->Walk.")).await.json(201);
        h.model.push([
            Reply::empty()
                .calls("read_skill", json!({ "name": "go-home" }))
                .calls("read_skill", json!({ "name": "personal/go-home" }))
                .calls("read_skill", json!({ "name": "workspace/go-home" }))
                .calls("read_skill", json!({ "name": " " })),
            says("I walk."),
        ]);
        let chat = api.create_chat("Go home.").await;
        let mut stream = api.stream(chat["id"].as_str().unwrap(), None).await;
        let results = stream.answered(2).await.parts_of("tool-result");
        for result in &results[..2] {
            assert_eq!(result["result"], json!({ "name": "go-home", "body": "Walk.", "files": [] }));
        }
        assert!(results[2]["result"]["error"].as_str().unwrap().contains("no skill"), "{results:?}");
        assert!(results[3]["result"]["error"].as_str().unwrap().contains("must not be blank"), "{results:?}");
        let first = h.turn(0).await;
        assert!(first.system().contains("<available-skills>") && first.system().contains("- go-home: About go-home"));
        assert!(first.tool_names().contains(&"read_skill"));
        // Without any the model hears nothing of skills.
        api.delete("/users/me/skills/go-home").await.empty(204);
        h.model.push([says("Hello.")]);
        let chat = api.create_chat("Hello.").await;
        api.stream(chat["id"].as_str().unwrap(), None).await.answered(1).await;
        let last = h.turn(2).await;
        assert!(!last.system().contains("available-skills") && !last.tool_names().contains(&"read_skill"));
    }

    async fn what_is_no_skill_is_refused(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let long = "x".repeat(64 * 1024);
        let content = |text: &str| json!({ "content": text });
        for bad in [
            json!({}),
            content(""),
            content("no front matter"),
            content("---\nname: a\nno end"),
            content("---\ndescription: nameless\n---\nx"),
            content("---\nname: Not_Kebab\n---\nx"),
            content("---\nname: 12\n---\nx"),
            content("---\nname: a\ndescription: [x]\n---\nx"),
            content("---\nname: a\n---\n"),
            content("---\nname: a\n---\n<!-- nothing -->"),
            content("---\nname: a\n---\n\0"),
            content(&format!("---\nname: a\n---\n{long}")),
            content(&format!("---\nname: {}\n---\nx", "n".repeat(257))),
            content(&format!("---\nname: a\ndescription: {}\n---\nx", "d".repeat(4097))),
        ] {
            let problem = api.post("/users/me/skills", bad.clone()).await.problem(400);
            assert_eq!(problem["validations"][0]["field"], json!("content"), "{bad}");
        }
        api.post("/users/me/skills", json!({ "content": 7 })).await.problem(400);
        let largest = format!("---\nname: large\ndescription: {}\n---\n", "d".repeat(4096));
        let rest = "x".repeat(64 * 1024 - largest.len());
        api.post("/users/me/skills", content(&(largest + &rest))).await.json(201);
        api.post("/users/me/skills", skill("large", "again")).await.problem(409);
        let renamed = api.patch("/users/me/skills/large", skill("small", "x")).await.problem(400);
        assert_eq!(renamed["validations"][0]["field"], json!("content"));
        api.get("/users/me/skills/%00").await.problem(404);
        api.get("/users/me/skills/small").await.problem(404);
    }

    async fn others_skills_are_hidden_from_all_but_administrators(h: Harness) {
        let daemon = h.daemon().await;
        let admin = daemon.api();
        let eve = daemon.api_as(&daemon.token_for("eve", &[]).await);
        let bob = daemon.api_as(&daemon.token_for("bob", &[]).await);
        eve.post("/users/me/skills", skill("mine", "x")).await.json(201);
        bob.post("/users/bob/skills", skill("mine", "another of that name")).await.json(201);
        for path in ["/users/eve/skills", "/users/eve/skills/mine", "/users/nobody/skills"] {
            bob.get(path).await.problem(404);
        }
        bob.post("/users/eve/skills", skill("planted", "x")).await.problem(404);
        bob.patch("/users/eve/skills/mine", skill("mine", "x")).await.problem(404);
        bob.delete("/users/eve/skills/mine").await.problem(404);
        assert_eq!(names(&admin, "/users/eve/skills").await, ["mine"]);
        admin.post("/users/eve/skills", skill("helpful", "x")).await.json(201);
        assert_eq!(names(&eve, "/users/me/skills").await, ["helpful", "mine"]);
        admin.get("/users/nobody/skills").await.problem(404);
        admin.with_token(None).get("/users/me/skills").await.problem(401);
        // To write for somebody who is gone is too late, for those who may know.
        let gone = format!("/users/{}/skills", eve.get("/api/v2/users/me").await.json(200)["id"].as_str().expect("an id"));
        admin.delete("/api/v2/users/eve").await.empty(204);
        let late = admin.post(&gone, skill("late", "x")).await.problem(409);
        assert!(late["message"].as_str().is_some_and(|m| m.contains("deleted")), "{late}");
        bob.post(&gone, skill("late", "x")).await.problem(404);
        admin.post("/users/11111111-1111-4111-8111-111111111111/skills", skill("late", "x")).await.problem(404);
        admin.get(&gone).await.problem(404);
    }

    async fn a_user_has_at_most_a_hundred_however_many_come_at_once(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        for at in 0..95 {
            api.post("/users/me/skills", skill(&format!("s{at}"), "x")).await.json(201);
        }
        let burst = (95..105).map(|at| {
            let api = api.clone();
            async move { api.post("/users/me/skills", skill(&format!("s{at}"), "x")).await.status }
        });
        let mut statuses = futures_util::future::join_all(burst).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [[201; 5], [409; 5]].concat());
        assert_eq!(names(&api, "/users/me/skills").await.len(), 100);
        api.delete("/users/me/skills/s0").await.empty(204);
        api.post("/users/me/skills", skill("one-more", "x")).await.json(201);
    }
}

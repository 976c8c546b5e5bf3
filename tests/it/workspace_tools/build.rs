use super::{Bound, LOCAL, error, ok, template};
use crate::support::{
    both,
    client::Fold,
    fake_model::{Gate, Reply, calls, says},
    outside::{eventually, stays},
    turns::{id, text, working_directory},
};
use serde_json::{Value, json};
use std::time::Duration;

both! {
    async fn a_turn_puts_the_end_of_its_workspace_off(h: Harness) {
        h.configure("[[templates]]\nname = \"box\"\nkind = \"local\"\nttl = \"6s\"\nactivity_bump = \"4s\"\n");
        let daemon = h.daemon().await;
        let gate = Gate::new();
        h.model.push([Reply::empty().gate(&gate).says("Hi.")]);
        let bound = Bound::make(&daemon, "used").await;
        let path = format!("/api/v2/workspaces/{}", bound.workspace);
        // The turn asks nothing of the workspace: it waits for the model.
        h.turn(0).await;
        stays(Duration::from_secs(10), "it runs", async || {
            bound.api.get(&path).await.json(200)["status"] == "running"
        })
        .await;
        gate.open();
        bound.ends("Hi.").await;
        eventually("its end", async || (bound.api.get(&path).await.json(200)["status"] == "stopped").then_some(())).await;
        bound.end().await;
    }

    async fn a_template_asks_and_a_chat_answers(h: Harness) {
        let long = "x".repeat(400);
        h.configure(&format!(
            "[[templates]]\nname = \"box\"\nkind = \"local\"\n\
             parameters = [{{ name = \"tea\", description = \"{long}\", options = [{{ name = \"Green\", value = \"green\" }}, {{ name = \"Black\", value = \"black\" }}] }}, {{ name = \"cups\", type = \"number\", default = \"1\" }}]\n\
             presets = [{{ name = \"party\", default = true, parameters = {{ cups = \"9\" }} }}]\n"
        ));
        let daemon = h.daemon().await;
        let api = daemon.api();
        let template_id = template(&api, "box").await;
        let preset = api.get("/api/v2/templates").await.json(200)[0]["presets"][0]["id"].clone();
        let create = |more: Value| {
            let mut args = json!({ "template_id": template_id });
            args.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            calls("create_workspace", args)
        };
        h.model.push([
            calls("read_template", json!({ "template_id": template_id })),
            create(json!({})),
            create(json!({ "parameters": { "tea": "red" } })),
            create(json!({ "parameters": { "tea": "green", "milk": "yes" } })),
            create(json!({ "parameters": { "tea": "green" }, "preset_id": template_id })),
            create(json!({ "parameters": { "tea": "green" }, "preset_id": preset })),
            calls("execute", json!({ "command": "echo $CHATD_PARAMETER_TEA $CHATD_PARAMETER_CUPS" })),
            says("Done."),
        ]);
        let chat = id(&api.create_chat("Tea").await);
        let mut stream = api.stream(&chat, None).await;
        let ended = |held: &Fold| held.texts("assistant").last().is_some_and(|text| text == "Done.");
        let results = stream.until("the end", ended).await.parts_of("tool-result");
        let read = ok(&results[0]);
        assert_eq!(read["parameters"][0]["description"].as_str().map(str::len), Some(300), "{read}");
        assert_eq!(
            read["parameters"][1],
            json!({ "name": "cups", "display_name": "", "description": "", "type": "number", "default": "1",
                "required": false, "mutable": false, "ephemeral": false, "form_type": "input" }),
        );
        assert_eq!((&read["parameters"][0]["required"], &read["parameters"][0]["form_type"]), (&json!(true), &json!("radio")));
        assert_eq!(read["parameters"][0]["options"][1]["value"], "black");
        assert_eq!(
            read["presets"],
            json!([{ "id": preset, "name": "party", "description": "", "default": true, "icon": "",
                "parameters": [{ "name": "cups", "value": "9" }] }]),
        );
        for (result, said) in results[1..5].iter().zip(["requires the parameter", "one of green, black", "no parameter \"milk\"", "no preset"]) {
            assert!(error(result).contains(said), "{result}");
        }
        assert_eq!(ok(&results[5])["created"], json!(true), "{}", results[5]);
        assert_eq!(ok(&results[6])["output"], "green 9\n");
        let workspace = api.chat(&chat).await["workspace_id"].as_str().expect("an id").to_owned();
        let path = format!("/api/v2/workspaces/{workspace}");
        api.post(&format!("{path}/builds"), json!({ "transition": "delete" })).await.json(201);
        eventually("the workspace is gone", async || (api.get(&path).await.status == 404).then_some(())).await;
    }

    async fn a_chat_creates_stops_and_starts_its_workspace(h: Harness) {
        h.configure(LOCAL);
        let daemon = h.daemon().await;
        let api = daemon.api();
        let template_id = template(&api, "box").await;
        let external = template(&api, "person").await;
        h.model.push([
            calls("list_templates", json!({ "query": "FOLD" })),
            Reply::empty()
                .calls("read_template", json!({ "template_id": template_id }))
                .calls("read_template", json!({ "template_id": "x" }))
                .calls("create_workspace", json!({ "template_id": external }))
                .calls("start_workspace", json!({}))
                .calls("stop_workspace", json!({})),
            calls("create_workspace", json!({ "template_id": template_id, "name": "My Project!" })),
            Reply::empty()
                .calls("create_workspace", json!({ "template_id": template_id }))
                .calls("start_workspace", json!({}))
                .calls("execute", json!({ "command": "echo here >f; pwd" })),
            calls("stop_workspace", json!({})),
            Reply::empty()
                .calls("stop_workspace", json!({}))
                .calls("create_workspace", json!({ "template_id": template_id }))
                .calls("execute", json!({ "command": "true" })),
            calls("start_workspace", json!({})),
            calls("execute", json!({ "command": "cat f" })),
            says("All done."),
        ]);
        let mut watch = api.watch().await;
        let chat = id(&api.create_chat("Work.").await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.until("the end", |h| h.texts("assistant").last().is_some_and(|t| t == "All done.")).await;
        let results = held.parts_of("tool-result");
        let listed = ok(&results[0]);
        assert_eq!((&listed["count"], &listed["total_count"], &listed["page"], &listed["total_pages"]),
            (&json!(1), &json!(1), &json!(1), &json!(1)), "{listed}");
        assert_eq!(listed["templates"][0]["id"], json!(template_id));
        assert_eq!(ok(&results[1])["template"]["name"], "box");
        assert!(error(&results[2]).contains("no UUID"));
        assert!(error(&results[3]).contains("started by a person"));
        assert!(error(&results[4]).contains("create_workspace") && error(&results[5]).contains("create_workspace"));
        let created = ok(&results[6]);
        assert_eq!(created["created"], json!(true), "{created}");
        assert!(created["build_id"].is_string() && created.get("agent_status").is_none(), "{created}");
        let name = created["workspace_name"].as_str().unwrap();
        assert!(name.starts_with("admin/my-project-"), "{name}");
        let again = ok(&results[7]);
        assert_eq!((&again["created"], &again["status"], &again["workspace_name"]),
            (&json!(false), &json!("already_exists"), &json!(name)), "{again}");
        let started = ok(&results[8]);
        assert_eq!((&started["started"], &started["no_build"]), (&json!(true), &json!(true)), "{started}");
        assert_eq!(ok(&results[9])["success"], json!(true));
        let stopped = ok(&results[10]);
        assert!(stopped["stopped"] == json!(true) && stopped["build_id"].is_string(), "{stopped}");
        assert_eq!(ok(&results[11])["no_build"], json!(true));
        let rests = ok(&results[12]);
        assert_eq!((&rests["created"], &rests["status"]), (&json!(false), &json!("stopped")), "{rests}");
        assert!(error(&results[13]).contains("start_workspace"), "{}", results[13]);
        let begun = ok(&results[14]);
        assert!(begun["started"] == json!(true) && begun["build_id"].is_string(), "{begun}");
        assert_eq!(ok(&results[15])["output"], "here\n");

        let now = api.get(&format!("/chats/{chat}")).await.json(200);
        let workspace = now["workspace_id"].as_str().expect("a workspace").to_owned();
        assert_eq!(now["build_id"], begun["build_id"]);
        assert!(now["agent_id"].is_string(), "{now}");
        let last = h.turn(h.turns() - 1).await;
        assert_eq!(format!("{}\n", working_directory(&last)), ok(&results[9])["output"].as_str().unwrap());
        watch.until("the chat's workspace is another one", |event| event["kind"] == "status_change"
            && event["chat"]["workspace_id"] == json!(workspace)).await;
        let path = format!("/api/v2/workspaces/{workspace}");
        api.post(&format!("{path}/builds"), json!({ "transition": "delete" })).await.json(201);
        eventually("the workspace is gone", async || (api.get(&path).await.status == 404).then_some(())).await;
    }

    async fn what_stands_in_the_way_of_a_workspace_is_told(h: Harness) {
        h.configure(LOCAL);
        h.configure("[limits]\nworkspaces_per_user = 1\n");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let template_id = template(&api, "person").await;
        let made = api.post("/api/v2/workspaces", json!({ "name": "only", "template_id": template_id })).await.json(201);
        let allowed = template(&api, "box").await;
        h.model.push([calls("create_workspace", json!({ "template_id": allowed, "name": "second" })), says("A pity.")]);
        let chat = id(&api.create_chat("Work.").await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.settled().await;
        let refused = &held.parts_of("tool-result")[0];
        assert_eq!(ok(refused)["error_code"], "workspace_quota_exceeded", "{refused}");
        assert!(ok(refused)["next_steps"].is_array());
        api.put("/api/experimental/chats/config/template-allowlist", json!({ "template_ids": [template_id] })).await.empty(204);
        h.model.push([
            Reply::empty()
                .calls("list_templates", json!({ "page": 7 }))
                .calls("read_template", json!({ "template_id": allowed }))
                .calls("create_workspace", json!({ "template_id": allowed }))
                .calls("create_workspace", json!({ "template_id": template_id, "parameters": { "x": "y" } })),
            says("Still a pity."),
        ]);
        api.post(&format!("/chats/{chat}/messages"), text("Again.")).await.json(200);
        let held = stream.until("the end", |h| h.texts("assistant").last().is_some_and(|t| t == "Still a pity.")).await;
        let results = held.parts_of("tool-result");
        assert_eq!((&ok(&results[1])["count"], &ok(&results[1])["total_count"]), (&json!(0), &json!(1)));
        assert!(error(&results[2]).contains("no such template") && error(&results[3]).contains("no such template"));
        assert!(error(&results[4]).contains("started by a person"));
        let path = format!("/api/v2/workspaces/{}", id(&made));
        api.post(&format!("{path}/builds"), json!({ "transition": "delete" })).await.json(201);
        eventually("the workspace is gone", async || (api.get(&path).await.status == 404).then_some(())).await;
    }

    async fn a_workspace_whose_start_failed_is_to_be_started_again(h: Harness) {
        h.configure("[[templates]]\nname = \"bad\"\nkind = \"command\"\nstart = \"exit 4\"\nstop = \"true\"\n");
        let daemon = h.daemon().await;
        let api = daemon.api();
        let body = json!({ "name": "bad", "template_id": template(&api, "bad").await });
        let workspace = id(&api.post("/api/v2/workspaces", body).await.json(201));
        let path = format!("/api/v2/workspaces/{workspace}");
        eventually("it failed", async || (api.get(&path).await.json(200)["status"] == "failed").then_some(())).await;
        h.model.push([says("Hello.")]);
        let body = json!({ "workspace_id": workspace, "content": [{ "type": "text", "text": "Hello" }] });
        let chat = id(&api.create_chat_with(body).await);
        let bound = Bound { api, chat, workspace, folder: String::new() };
        bound.ends("Hello.").await;
        let refused = bound.call(&h, "execute", json!({ "command": "true" })).await;
        assert!(error(&refused).contains("Use start_workspace"), "{refused}");
        bound.end().await;
    }

    async fn a_question_ends_the_turn_and_the_next_message_answers_it(h: Harness) {
        let daemon = h.daemon().await;
        let api = daemon.api();
        let option = |label: &str| json!({ "label": label, "description": "as it says" });
        let questions = json!({ "questions": [
            { "header": "Colour", "question": "Which?", "options": [option("red"), option("blue")] },
        ] });
        h.model.push([calls("ask_user_question", questions.clone())]);
        let body = json!({ "plan_mode": "plan", "content": [{ "type": "text", "text": "Plan." }] });
        let chat = id(&api.create_chat_with(body).await);
        let mut stream = api.stream(&chat, None).await;
        let held = stream.until("the question", |h| h.is("waiting") && !h.parts_of("tool-result").is_empty()).await;
        assert_eq!(ok(&held.parts_of("tool-result")[0]), &questions);
        assert_eq!(h.turns(), 1);
        h.model.push([says("Red it is.")]);
        api.post(&format!("/chats/{chat}/messages"), text("red")).await.json(200);
        let held = stream.until("the answer", |h| h.texts("assistant").last().is_some_and(|t| t == "Red it is.")).await;
        assert!(held.is("waiting"));
        // Outside of plan mode there is no such tool.
        let names: Vec<String> = h.turn(1).await.tool_names().into_iter().map(str::to_owned).collect();
        assert!(names.iter().any(|n| n == "ask_user_question") && !names.iter().any(|n| n == "process_list"), "{names:?}");
    }
}

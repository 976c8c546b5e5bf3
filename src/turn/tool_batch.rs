//! Runs the local calls of one step together and answers them in call order (agent-loop.md §8).

use crate::{
    chat::{
        json::Json,
        message::{NewMessage, Part, Role, ToolCallPart, ToolResultPart, Visibility},
    },
    clock::{Clock, Timestamp},
    tools::{
        Repeat, ToolContext,
        outcome::{ToolOutcome, result_budget},
        registry::{Lookup, Registry},
    },
};
use futures_util::{FutureExt as _, future::join_all};
use std::{collections::HashSet, panic::AssertUnwindSafe};

/// The answers of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchOutput {
    /// Rows to commit: for each call, in call order, an assistant row with its attachments if it has
    /// any, then one tool row.
    pub messages: Vec<NewMessage>,
    /// The same, as live parts to publish.
    pub parts: Vec<(Role, Part)>,
    /// Ids of the calls whose results were over the budget.
    pub cut: HashSet<String>,
}

/// What a batch runs with.
pub struct Setting<'a> {
    /// The tools of the turn.
    pub registry: &'a Registry,
    /// Where the calls run.
    pub ctx: &'a ToolContext,
    /// The model's window in tokens; it sets the size of a result.
    pub context_limit: Option<i64>,
    /// Wall time.
    pub clock: &'a Clock,
    /// Ids of the calls that were begun before, by a process that did not live to tell what came of them.
    pub repeated: &'a HashSet<String>,
}

/// Runs all calls concurrently and waits for all of them, but for those with an answer already. Dropping
/// the future cancels every call; nothing is committed then and the interruption answers the calls. A
/// panic of one tool fails that call only.
///
/// `answers` has an entry for each call; [`refusals`] is where it begins. `ended` is told of each call that
/// ran, when it ends.
pub async fn run(
    with: &Setting<'_>,
    calls: &[ToolCallPart],
    answers: Vec<Option<ToolOutcome>>,
    ended: impl AsyncFn(&ToolCallPart, &ToolOutcome),
) -> BatchOutput {
    let budget = result_budget(with.context_limit);
    // One future polled in place, not spawned tasks: dropping it drops the tools at once.
    let running = calls.iter().zip(answers).map(async |(call, answer)| {
        let (whole, ran) = match answer {
            Some(outcome) => (outcome, false),
            None => (one(with, call).await, true),
        };
        let size = whole.result.get().len();
        let outcome = whole.within(budget);
        if ran {
            ended(call, &outcome).await;
        }
        let cut = outcome.result.get().len() < size;
        (outcome, cut, with.clock.now())
    });
    let outcomes = join_all(running).await;
    let mut output = BatchOutput { messages: Vec::new(), parts: Vec::new(), cut: HashSet::new() };
    for (call, (outcome, cut, at)) in calls.iter().zip(outcomes) {
        if cut {
            output.cut.insert(call.tool_call_id.clone());
        }
        output.add(call, outcome, at);
    }
    output
}

/// The calls that may leave something behind that a second run would leave twice.
pub fn unrepeatable<'a>(
    registry: &Registry,
    calls: &'a [ToolCallPart],
    answers: &[Option<ToolOutcome>],
) -> Vec<&'a ToolCallPart> {
    let never = |call: &ToolCallPart| match registry.lookup(&call.tool_name) {
        Lookup::Tool(tool) => tool.repeat() != Repeat::Again,
        Lookup::Inactive | Lookup::Dynamic | Lookup::Unknown => false,
    };
    let open = calls.iter().zip(answers).filter(|(_, answer)| answer.is_none());
    open.map(|(call, _)| call).filter(|call| never(call)).collect()
}

/// The policy of exclusive tools: beside other calls, none of them runs. One entry a call.
#[must_use]
pub fn refusals(registry: &Registry, calls: &[ToolCallPart]) -> Vec<Option<ToolOutcome>> {
    let exclusive = registry.exclusive();
    let named = calls.iter().map(|call| call.tool_name.as_str()).find(|name| exclusive.contains(*name));
    let Some(culprit) = named.filter(|_| calls.len() > 1) else { return vec![None; calls.len()] };
    let refusal = |call: &ToolCallPart| {
        Some(if exclusive.contains(&call.tool_name) {
            ToolOutcome::error(format!(
                "{} has to be called alone; call it again without other tools in the same step",
                call.tool_name
            ))
        } else {
            ToolOutcome::error(format!(
                "skipped, because {culprit} was called in the same step and has to be called alone"
            ))
        })
    };
    calls.iter().map(refusal).collect()
}

async fn one(with: &Setting<'_>, call: &ToolCallPart) -> ToolOutcome {
    let name = &call.tool_name;
    let tool = match with.registry.lookup(name) {
        Lookup::Tool(tool) => tool,
        Lookup::Inactive => {
            return ToolOutcome::error(format!("the tool {name:?} is not active in this turn"));
        }
        Lookup::Unknown => return ToolOutcome::error(format!("there is no tool {name:?}")),
        Lookup::Dynamic => return ToolOutcome::error(format!("the tool {name:?} is run by the client only")),
    };
    let ctx = ToolContext {
        tool_call_id: call.tool_call_id.clone(),
        repeated: with.repeated.contains(&call.tool_call_id),
        ..with.ctx.clone()
    };
    let args = call.args.as_ref().map_or("{}", Json::get);
    // The tool is dropped with its panic, and the context is this call's own: nothing half-changed
    // is looked at afterwards.
    AssertUnwindSafe(async { tool.run(&ctx, args).await }).catch_unwind().await.unwrap_or_else(|_| {
        ToolOutcome::error(format!("the tool {name:?} crashed; this is a fault of the tool"))
    })
}

impl BatchOutput {
    fn add(&mut self, call: &ToolCallPart, outcome: ToolOutcome, at: Timestamp) {
        if !outcome.attachments.is_empty() {
            self.messages.push(NewMessage::new(Role::Assistant, Visibility::Both, &outcome.attachments));
            self.parts.extend(outcome.attachments.into_iter().map(|part| (Role::Assistant, part)));
        }
        let part = Part::ToolResult(ToolResultPart {
            tool_call_id: call.tool_call_id.clone(),
            tool_name: call.tool_name.clone(),
            mcp_server_config_id: call.mcp_server_config_id,
            result: Some(outcome.result),
            is_error: outcome.is_error,
            is_media: outcome.is_media,
            created_at: Some(at),
            ..ToolResultPart::default()
        });
        self.messages.push(NewMessage::new(Role::Tool, Visibility::Both, std::slice::from_ref(&part)));
        self.parts.push((Role::Tool, part));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{llm::request::ToolSpec, tools::Tool, turn::fixtures::at};
    use serde_json::{Value, json};
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    use tokio::sync::Barrier;

    /// A tool whose behaviour is its name.
    struct Fake {
        name: &'static str,
        barrier: Arc<Barrier>,
        runs: Arc<AtomicUsize>,
    }

    #[async_trait::async_trait]
    impl Tool for Fake {
        fn name(&self) -> &str {
            self.name
        }
        fn description(&self) -> &str {
            ""
        }
        fn input_schema(&self) -> Json {
            Json::of(&json!({"type": "object", "properties": {}}))
        }
        fn is_exclusive(&self) -> bool {
            self.name == "advisor"
        }
        async fn run(&self, ctx: &ToolContext, args: &str) -> ToolOutcome {
            self.runs.fetch_add(1, Ordering::SeqCst);
            match self.name {
                "meet" => {
                    self.barrier.wait().await;
                    ToolOutcome::ok(&json!({"args": args, "id": ctx.tool_call_id}))
                }
                "panic" => panic!("on purpose"),
                "hang" => std::future::pending().await,
                "long" => ToolOutcome::ok(&"x".repeat(100_000)),
                "attach" => ToolOutcome {
                    attachments: vec![Part::File {
                        media_type: "text/plain".into(),
                        name: None,
                        data: None,
                        file_id: None,
                    }],
                    ..ToolOutcome::ok("ok")
                },
                _ => ToolOutcome::error("failed"),
            }
        }
    }

    struct World {
        registry: Registry,
        runs: Arc<AtomicUsize>,
    }

    fn world() -> World {
        let (barrier, runs) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
        let names = ["meet", "panic", "hang", "long", "attach", "fail", "advisor", "off"];
        let tool =
            |name| Arc::new(Fake { name, barrier: barrier.clone(), runs: runs.clone() }) as Arc<dyn Tool>;
        let mut registry = Registry::new(names.map(tool).to_vec());
        registry.activate_only(&names[..7].iter().map(|&name| name.to_owned()).collect::<HashSet<_>>());
        let ask = ToolSpec { name: "ask".into(), description: String::new(), input_schema: Json::of("") };
        registry.add_dynamic(vec![ask]);
        World { registry, runs }
    }

    fn calls(names: &[&str]) -> Vec<ToolCallPart> {
        let call = |(n, name): (usize, &&str)| ToolCallPart {
            tool_call_id: format!("c{n}"),
            tool_name: (*name).to_owned(),
            args: Some(Json::of(&json!({ "n": n }))),
            ..ToolCallPart::default()
        };
        names.iter().enumerate().map(call).collect()
    }

    async fn run_all(world: &World, names: &[&str], limit: Option<i64>) -> BatchOutput {
        let ctx = ToolContext { tool_call_id: String::new(), ..ToolContext::nowhere() };
        let clock = Clock::manual(at(7));
        let with = Setting {
            registry: &world.registry,
            ctx: &ctx,
            context_limit: limit,
            clock: &clock,
            repeated: &HashSet::new(),
        };
        let calls = calls(names);
        run(&with, &calls, refusals(&world.registry, &calls), async |_, _| {}).await
    }

    fn results(output: &BatchOutput) -> Vec<Value> {
        let tools = output.messages.iter().filter(|message| message.role == Role::Tool);
        tools.map(|message| message.content.read::<Vec<Value>>().unwrap().remove(0)).collect()
    }

    #[tokio::test]
    async fn calls_run_together_and_answer_in_order() {
        // The two can only end if both run at the same time.
        let output = run_all(&world(), &["meet", "fail", "meet"], None).await;
        let results = results(&output);
        assert_eq!(results[0]["result"], json!({"args": "{\"n\":0}", "id": "c0"}));
        assert_eq!(
            results[1],
            json!({"type": "tool-result", "tool_call_id": "c1", "tool_name": "fail", "is_error": true,
                   "result": {"error": "failed"}, "created_at": at(7).to_string()})
        );
        assert_eq!(results[2]["result"]["id"], "c2");
        assert_eq!(output.parts.len(), 3);
    }

    #[tokio::test]
    async fn every_kind_of_failure_is_a_result() {
        let output = run_all(&world(), &["nope", "off", "ask", "panic", "fail"], None).await;
        let results = results(&output);
        for (result, said) in results.iter().zip([
            "there is no tool \"nope\"",
            "\"off\" is not active",
            "run by the client",
            "\"panic\" crashed",
            "failed",
        ]) {
            assert_eq!(result["is_error"], true);
            assert!(result["result"]["error"].as_str().unwrap().contains(said), "{result}");
        }
    }

    #[tokio::test]
    async fn exclusive_tools_run_alone_or_not_at_all() {
        let world = world();
        let output = run_all(&world, &["fail", "advisor", "ask"], None).await;
        let said: Vec<String> =
            results(&output).iter().map(|r| r["result"]["error"].as_str().unwrap().to_owned()).collect();
        assert!(said[0].contains("skipped, because advisor") && said[2].contains("skipped"));
        assert!(said[1].contains("called alone"));
        assert_eq!(world.runs.load(Ordering::SeqCst), 0);
        run_all(&world, &["advisor"], None).await;
        assert_eq!(world.runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn results_are_bounded_and_attachments_shown() {
        let output = run_all(&world(), &["long", "attach"], Some(30_000)).await;
        assert!(results(&output)[0]["result"].as_str().unwrap().len() <= 30_000);
        assert_eq!(output.cut, HashSet::from(["c0".to_owned()]));
        let roles: Vec<Role> = output.messages.iter().map(|message| message.role).collect();
        assert_eq!(roles, [Role::Tool, Role::Assistant, Role::Tool]);
        assert_eq!(output.parts.iter().map(|(role, _)| *role).collect::<Vec<_>>(), roles);
    }

    #[tokio::test]
    async fn what_is_answered_does_not_run_and_what_ran_is_told() {
        let world = world();
        let ctx = ToolContext { tool_call_id: String::new(), ..ToolContext::nowhere() };
        let clock = Clock::manual(at(7));
        let with = Setting {
            registry: &world.registry,
            ctx: &ctx,
            context_limit: None,
            clock: &clock,
            repeated: &HashSet::new(),
        };
        let calls = calls(&["fail", "hang", "nope", "off"]);
        let mut answers = refusals(&world.registry, &calls);
        answers[1] = Some(ToolOutcome::unknown("hang"));
        let open = unrepeatable(&world.registry, &calls, &answers);
        assert_eq!(open.iter().map(|call| call.tool_call_id.as_str()).collect::<Vec<_>>(), ["c0"]);
        let told = std::cell::RefCell::new(Vec::new());
        let output = run(&with, &calls, answers, async |call, outcome| {
            told.borrow_mut().push((call.tool_call_id.clone(), outcome.is_error));
        })
        .await;
        assert_eq!(world.runs.load(Ordering::SeqCst), 1);
        assert_eq!(told.into_inner(), [("c0".into(), true), ("c2".into(), true), ("c3".into(), true)]);
        let said = results(&output)[1]["result"]["error"].as_str().unwrap().to_owned();
        assert!(said.contains("nobody knows how far it came"), "{said}");
    }

    #[tokio::test]
    async fn a_dropped_batch_ends_its_tools() {
        let world = world();
        let batch = run_all(&world, &["hang", "hang"], None);
        assert!(batch.now_or_never().is_none());
        assert_eq!(world.runs.load(Ordering::SeqCst), 2);
    }
}

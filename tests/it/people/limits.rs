//! Who asks too often is told when to come again.

use super::{ME, PASSWORD, make};
use crate::support::{
    both,
    client::{Answer, Api},
};
use serde_json::json;

fn retry_after(answer: &Answer) -> u64 {
    let value = answer.headers.get("retry-after").expect("Retry-After");
    value.to_str().unwrap().parse().expect("a number of seconds")
}

both! {
    async fn requests_of_a_user_are_limited(h: Harness) {
        h.configure("[limits]\nrequests_per_minute = 20");
        let daemon = h.daemon().await;
        let ann = daemon.api_as(&daemon.token_for("ann", &[]).await);
        let bob = daemon.api_as(&daemon.token_for("bob", &[]).await);
        let mut refused = None;
        // Twenty at once, and one more every three seconds.
        for n in 0..60 {
            let answer = ann.get(ME).await;
            if answer.status == 429 {
                assert!(n >= 20, "after {n}");
                refused = Some(answer);
                break;
            }
        }
        let refused = refused.expect("a limit");
        assert!((1..=4).contains(&retry_after(&refused)), "{refused:?}");
        refused.problem(429);
        // A handshake counts too, another user's limit is another's.
        assert_eq!(crate::support::client::refusal(&ann.url("/chats/watch"), None).await, 401);
        bob.get(ME).await.json(200);
        Api::new(daemon.url(), None).get("//healthz").await.json(200);
    }

    async fn uploads_and_downloads_of_a_user_are_limited_together(h: Harness) {
        h.configure("[limits]\nfiles_per_minute = 3");
        let daemon = h.daemon().await;
        let ann = daemon.api_as(&daemon.token_for("ann", &[]).await);
        let upload = async |api: &Api| api.upload("a.txt", "text/plain", b"text".to_vec()).await;
        let file = upload(&ann).await.json(201);
        let path = format!("/chats/files/{}", file["id"].as_str().expect("an id"));
        for _ in 0..2 {
            assert_eq!(ann.get(&path).await.status, 200);
        }
        let refused = upload(&ann).await;
        // One more every twenty seconds.
        assert!((1..=21).contains(&retry_after(&refused)), "{refused:?}");
        refused.problem(429);
        ann.get(&path).await.problem(429);
        // Another user's limit is another's.
        upload(&daemon.api()).await.json(201);
    }

    async fn attempts_to_sign_in_are_limited(h: Harness) {
        h.configure("[limits]\nlogins_per_minute = 3");
        let daemon = h.daemon().await;
        make(&daemon.api(), "ann", json!({})).await;
        make(&daemon.api(), "bob", json!({})).await;
        let nobody = Api::new(daemon.url(), None);
        let attempt = async |login: &str, password: &str| {
            nobody.post("/api/v2/users/login", json!({ "email": login, "password": password })).await
        };
        for _ in 0..3 {
            attempt("ann@example.test", "guess").await.problem(401);
        }
        let refused = attempt(" Ann@example.test", PASSWORD).await;
        assert!((1..=21).contains(&retry_after(&refused)), "{refused:?}");
        refused.problem(429);
        attempt("bob@example.test", PASSWORD).await.json(201);
        // Somebody who tries many names from one address.
        let mut last = 0;
        for n in 0..40 {
            last = attempt(&format!("guess{n}"), "guess").await.status;
            if last == 429 {
                break;
            }
        }
        assert_eq!(last, 429);
    }
}
